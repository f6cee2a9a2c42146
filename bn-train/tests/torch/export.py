#!/usr/bin/env python3
"""What PyTorch computes with the nets that `bn-train export --names pytorch` writes.

    pip install torch numpy safetensors
    bn-train run export.toml --out /tmp/export --no-report
    for arm in mlp convnet; do
      mkdir -p export; run=/tmp/export/export/$arm/seed-0
      cp $run/checkpoints/step-000030.safetensors export/$arm.checkpoint.safetensors
      cp $run/config.toml export/$arm.toml
      bn-train export $run/checkpoints/step-000030.safetensors --names pytorch -o export/$arm.pytorch.safetensors
    done
    python export.py > export/outputs.json

The images come from a formula that the test repeats (`pattern`).
"""
import json
import os
import tomllib

import torch
from safetensors.torch import load_file
from torch import nn

from generate import pattern

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "export")
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def with_norm(layer, channels, norm, config):
    """A layer of the names `weight`, `norm.weight`, ..."""
    layer.norm = norm(channels, eps=config["norm"]["epsilon"])
    return layer


class Net(nn.Module):
    def __init__(self, config):
        super().__init__()
        model = config["model"]
        self.activation = ACTIVATIONS[model["activation"]]()
        self.is_mlp = model["kind"] == "mlp"
        sizes = model["hidden"] if self.is_mlp else model["channels"]
        inputs, size = (64, None) if self.is_mlp else (1, 8)
        for index, outputs in enumerate(sizes, 1):
            if self.is_mlp:
                layer = nn.Linear(inputs, outputs, bias=False)
                self.add_module(f"hidden{index}", with_norm(layer, outputs, nn.BatchNorm1d, config))
            else:
                kernel = model["kernel"]
                layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
                self.add_module(f"conv{index}", with_norm(layer, outputs, nn.BatchNorm2d, config))
                size //= 2
            inputs = outputs
        self.output = nn.Linear(inputs if self.is_mlp else inputs * size * size, 10)
        self.layers = len(sizes)

    def forward(self, x):
        if self.is_mlp:
            x = x.flatten(1)
        for index in range(1, self.layers + 1):
            layer = getattr(self, f"{'hidden' if self.is_mlp else 'conv'}{index}")
            x = self.activation(layer.norm(layer(x)))
            if not self.is_mlp:
                x = nn.functional.max_pool2d(x, 2)
        return self.output(x.flatten(1))


def main():
    outputs = {"torch": torch.__version__}
    images = pattern(5 * 64, 1000).to(torch.float32).reshape(5, 1, 8, 8)
    for arm in ("mlp", "convnet"):
        with open(os.path.join(FOLDER, f"{arm}.toml"), "rb") as file:
            net = Net(tomllib.load(file))
        # Strict: every name must be PyTorch's own, and none may be missing.
        net.load_state_dict(load_file(os.path.join(FOLDER, f"{arm}.pytorch.safetensors")), strict=True)
        net.eval()
        with torch.no_grad():
            outputs[arm] = net(images).flatten().tolist()
    print(json.dumps(outputs))


if __name__ == "__main__":
    main()

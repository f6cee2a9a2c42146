#!/usr/bin/env python3
"""Five updates of a perceptron and of a ResNet-8 by PyTorch: the losses, and the last gradients.

    pip install torch numpy
    python generate.py > values.json

Weights, images and labels come from a formula that the test repeats (`pattern`), so nothing else is stored.
"""
import json
import os
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tools"))
import torch_reference as reference  # noqa: E402

LEARNING_RATE, MOMENTUM, STEPS = 0.05, 0.9, 5


def pattern(count, salt):
    """Numbers in [-1, 1) that any language finds alike: 32-bit integers, exactly in f64."""
    mixed = [((i + 1) * 2654435761 + salt * 40503) % 2**32 for i in range(count)]
    mixed = [(h ^ (h >> 15)) * 2246822519 % 2**32 for h in mixed]
    return torch.tensor([h / 2**31 - 1 for h in mixed], dtype=torch.float64)


def initial(name, shape, salt):
    count = 1
    for size in shape:
        count *= size
    values = pattern(count, salt)
    if name.endswith("gamma"):
        values = 1 + 0.1 * values
    elif name.endswith("beta") or name.endswith("bias"):
        values = 0.1 * values
    else:
        values = values / (count / shape[0]) ** 0.5
    return values.reshape(shape).to(torch.float32)


def perceptron_names(depth):
    for i in range(1, depth + 1):
        yield from (f"hidden{i}.weight", f"hidden{i}.norm.gamma", f"hidden{i}.norm.beta")
    yield from ("output.weight", "output.bias")


def resnet_names(depth):
    def block(prefix):
        return (f"{prefix}.weight", f"{prefix}.norm.gamma", f"{prefix}.norm.beta")

    yield from block("conv")
    for group in (1, 2, 3):
        for i in range(1, (depth - 2) // 6 + 1):
            prefix = f"group{group}.block{i}"
            yield from (*block(f"{prefix}.conv1"), *block(f"{prefix}.conv2"))
            if group > 1 and i == 1:
                yield from block(f"{prefix}.shortcut")
    yield from ("output.weight", "output.bias")


def train(model, names, image, batch):
    named = sorted(zip(names, model.parameters(), strict=True))
    with torch.no_grad():
        for salt, (name, parameter) in enumerate(named):
            parameter.copy_(initial(name, list(parameter.shape), salt))
    size = image[0] * image[1] * image[2]
    x = pattern(batch * size, 1000).to(torch.float32)
    x = x.reshape(batch, *image) if any(p.dim() == 4 for p in model.parameters()) else x.reshape(batch, size)
    labels = torch.tensor([7 * i % 10 for i in range(batch)])
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    losses = []
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        losses.append(loss.item())
        if step < STEPS:
            optimizer.step()
    gradients = {}
    for salt, (name, parameter) in enumerate(named):
        flat = parameter.grad.flatten().to(torch.float64)
        gradients[name] = {
            "norm": flat.norm().item(),
            "projection": (flat * pattern(len(flat), 2000 + salt)).sum().item(),
            "first": flat[:4].tolist(),
        }
    return {"losses": losses, "gradients": gradients}


def main():
    torch.manual_seed(0)
    values = {
        "by": "generate.py",
        "torch": torch.__version__,
        "mlp": train(reference.mlp(3, 10, 48), perceptron_names(3), (3, 4, 4), 12),
        "resnet": train(reference.resnet(8), resnet_names(8), (3, 16, 16), 6),
    }
    print(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()

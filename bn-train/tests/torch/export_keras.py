#!/usr/bin/env python3
"""What Keras computes with the nets that `bn-train export --names keras` writes.

    pip install "tensorflow==2.15.*" safetensors
    for arm in mlp convnet; do
      bn-train export export/$arm.checkpoint.safetensors --config export/$arm.toml --names keras -o export/$arm.keras.safetensors
    done
    python export_keras.py > export/outputs.keras.json

The checkpoints are those of export.py; the images come from a formula that the test repeats (`pattern`).
"""
import json
import os
import tomllib

import keras
import numpy as np
from keras import layers
from safetensors.numpy import load_file

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "export")


def pattern(count, salt):
    """`pattern` of generate.py, without PyTorch."""
    i = np.arange(1, count + 1, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(2654435761) + np.uint64(salt * 40503)) & mask
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(2246822519)) & mask
    return (h.astype(np.float64) / 2**31 - 1.0).astype(np.float32)


def network(config):
    """Layers by the names of the file, channels last."""
    model = config["model"]
    is_mlp = model["kind"] == "mlp"
    x = image = keras.Input((8, 8, 1))
    if is_mlp:
        x = layers.Flatten()(x)
    for index, size in enumerate(model["hidden"] if is_mlp else model["channels"], 1):
        name = f"{'hidden' if is_mlp else 'conv'}{index}"
        if is_mlp:
            x = layers.Dense(size, use_bias=False, name=name)(x)
        else:
            x = layers.Conv2D(size, model["kernel"], padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(epsilon=config["norm"]["epsilon"], name=f"{name}_norm")(x)
        x = layers.Activation(model["activation"])(x)
        if not is_mlp:
            x = layers.MaxPool2D()(x)
    if not is_mlp:
        # The weights of `output` take the map channel by channel.
        x = layers.Flatten()(layers.Permute((3, 1, 2))(x))
    return keras.Model(image, layers.Dense(10, name="output")(x))


def main():
    outputs = {"keras": keras.__version__}
    images = pattern(5 * 64, 1000).reshape(5, 8, 8, 1)
    for arm in ("mlp", "convnet"):
        with open(os.path.join(FOLDER, f"{arm}.toml"), "rb") as file:
            net = network(tomllib.load(file))
        tensors = load_file(os.path.join(FOLDER, f"{arm}.keras.safetensors"))
        for layer in net.layers:
            path = layer.name.replace("_", "/")
            names = [f"{path}/{weight.name.split('/')[-1].split(':')[0]}" for weight in layer.weights]
            layer.set_weights([tensors.pop(name) for name in names])
        assert not tensors, f"{arm}: left over: {sorted(tensors)}"
        outputs[arm] = net(images, training=False).numpy().flatten().tolist()
    print(json.dumps(outputs))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Twenty updates of a weight and a bias by each of PyTorch's optimizers, by given gradients.

    pip install torch numpy
    python optimizers.py > optimizers.json

Weights and gradients come from a formula that the test repeats (`pattern`). The weight decays, the bias does not.
"""
import json

import torch

from generate import pattern

STEPS = 20
KEPT = (1, 2, 3, 10, 20)
SHAPES = {"weight": (3, 4), "bias": (5,)}
# Long enough that the third of them are clipped.
CLIP = 2.0

CASES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam_decay": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.05),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.05),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "rmsprop_momentum": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=0.05),
}


def numbers(shape, salt):
    count = 1
    for size in shape:
        count *= size
    return pattern(count, salt).reshape(shape).to(torch.float32)


def run(build, clip):
    parameters = {n: torch.nn.Parameter(numbers(s, i)) for i, (n, s) in enumerate(SHAPES.items())}
    decayed, plain = [parameters["weight"]], [parameters["bias"]]
    optimizer = build([{"params": decayed}, {"params": plain, "weight_decay": 0.0}])
    rate = optimizer.param_groups[0]["lr"]
    weights = []
    for step in range(STEPS):
        for i, (name, parameter) in enumerate(parameters.items()):
            # Small and large gradients in turn.
            parameter.grad = numbers(SHAPES[name], 100 + 10 * step + i) * (step % 3 + 0.1)
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters.values(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = rate * (1.0 - step / 40.0)
        optimizer.step()
        if step + 1 in KEPT:
            weights.append([v for p in parameters.values() for v in p.detach().flatten().tolist()])
    return weights


def main():
    values = {"torch": torch.__version__}
    for name, build in CASES.items():
        values[name] = run(build, False)
        values[name + "_clipped"] = run(build, True)
    print(json.dumps(values))


if __name__ == "__main__":
    main()

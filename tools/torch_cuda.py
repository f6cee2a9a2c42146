#!/usr/bin/env python3
"""Time PyTorch on a GPU, with cuDNN and without, and print JSON lines: batch normalization and training steps.

    python3 tools/torch_cuda.py cuda[:N]

The names are those of bn-core's example `speed --device` and of `bn-train bench --device`; the networks are those of
torch_reference.py. `_bf16` is bfloat16: the tensors of batch normalization, and autocast in a training step. Everything
else is as PyTorch has it by default; `tf32` says whether cuDNN may round the factors of f32 convolutions.
"""
import contextlib
import json
import statistics
import sys

import torch
import torch.nn.functional as F
from torch import nn

from torch_reference import NETS

SHAPES = [(64, 256, 56, 56), (128, 64, 32, 32), (128, 16, 32, 32), (64, 64, 32, 32), (32, 256, 14, 14), (4096, 1024),
          (256, 512), (60, 100)]
DTYPES = [(torch.float32, ""), (torch.bfloat16, "_bf16")]


def clock(step, rounds=20, calls=50):
    """Median and least milliseconds of one call; events enclose many, so that a launch's cost is seen as it is."""
    for _ in range(10):
        step()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / calls)
    return statistics.median(times), min(times)


def batch_norm(device, shape, dtype, last):
    layer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1]).to(device)
    form = torch.channels_last if last else torch.contiguous_format
    x, dy = (torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=form) for _ in range(2))
    x.requires_grad_()

    def step():
        x.grad = layer.weight.grad = layer.bias.grad = None
        layer(x).backward(dy)
    return step


def train(device, build, shape, dtype):
    model = build().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, target = torch.randn(shape, device=device), torch.randint(0, 10, (shape[0],), device=device)
    is_half = dtype != torch.float32

    def step():
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype) if is_half else contextlib.nullcontext():
            loss = F.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
    return step


def work(device):
    """(name, what builds its step) of everything that is timed."""
    for shape in SHAPES:
        for dtype, suffix in DTYPES:
            for last in (False, True) if len(shape) == 4 else (False,):
                name = ("bn_nhwc" if last else "bn") + suffix + "/" + "x".join(map(str, shape))
                yield name, lambda shape=shape, dtype=dtype, last=last: batch_norm(device, shape, dtype, last)
    for net, (build, shape) in NETS.items():
        for dtype, suffix in DTYPES:
            yield f"train{suffix}/{net}", lambda build=build, shape=shape, dtype=dtype: train(device, build, shape, dtype)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not torch.cuda.is_available():
        sys.exit("error: PyTorch sees no GPU")
    device = torch.device(sys.argv[1])
    torch.cuda.set_device(device if device.index is not None else 0)
    torch.manual_seed(0)
    for name, build in work(device):
        for cudnn in (True, False):
            torch.backends.cudnn.enabled = cudnn
            try:
                median, least = clock(build())
            except RuntimeError as error:
                # A backend without this layout or type: its cell stays empty.
                print(f"{name}, cudnn={cudnn}: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            print(json.dumps({"name": name, "median_ms": round(median, 5), "min_ms": round(least, 5), "cudnn": cudnn,
                              "tf32": cudnn and torch.backends.cudnn.allow_tf32, "torch": torch.__version__,
                              "gpu": torch.cuda.get_device_name()}), flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compare our benchmarks with PyTorch and TensorFlow, alternating the programs in one sitting.

    cargo build --release -p bn-core --example speed
    python3 tools/compare_speed.py --ours target/release/examples/speed --torch PYTHON [--rounds 5]
    python3 tools/compare_speed.py --tensorflow PYTHON --only bn/ bn_nhwc/ [--rounds 5]
    cargo build --release -p bn-train
    python3 tools/compare_speed.py --ours "target/release/bn-train bench" --torch PYTHON --only conv/ train/

PYTHON is an interpreter that has torch (and numpy), or tensorflow 2.15. Each round runs the programs; tables of
ratios ours / theirs follow: of the medians of all rounds' medians, and of the least of all minima. On a shared
machine either figure alone misleads: PyTorch's fresh large buffers make its medians swing. Both our layouts
are set beside TensorFlow's fused kernel, which has channels last. Variants, and the layer in candle's graph,
are measured by our program itself, by turns with what they are compared with.
Standard library only.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess

# What only our program has; the rest is in PyTorch's too.
OURS_ALONE = ("bn_graph", "bn_weights", "bn_debias", "bn_renorm", "bn_relu", "bn_all", "candle")
KINDS = ["bn/", "bn_forward/", "bn_nhwc/", *(f"{kind}/" for kind in OURS_ALONE)]
HERE = os.path.dirname(os.path.abspath(__file__))


def measure(command):
    """name -> (median, least, ratios to another step if it was timed by turns with one) of one run."""
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = (json.loads(line) for line in lines if line.startswith("{"))
    beside = ("times_median", "times_min")
    return {row["name"]: (row["median_ms"], row["min_ms"], *(row[key] for key in beside if key in row)) for row in rows}


def summary(runs):
    """name -> (median of medians, least of minima, medians of the ratios) of several runs."""
    names = dict.fromkeys(name for run in runs for name in run)
    found = {}
    for name in names:
        rows = [run[name] for run in runs if name in run]
        beside = (statistics.median(column) for column in list(zip(*rows))[2:])
        found[name] = (statistics.median(r[0] for r in rows), min(r[1] for r in rows), *beside)
    return found


def torch_name(name):
    """PyTorch has one layer for the graph and for what stands outside of it."""
    kind, _, shape = name.partition("/")
    return {"bn_graph": f"bn/{shape}"}.get(kind, name)


def tensorflow_name(name):
    kind, _, shape = name.partition("/")
    return f"tf_fused/{shape}" if kind in ("bn", "bn_nhwc") else name


def table(ours, theirs, system, their_name):
    rows = [(name, mine, theirs[their_name(name)]) for name, mine in ours.items() if their_name(name) in theirs]
    if rows:
        print(f"\n{'name':28} {'ours ms':>9} {'least':>9} {system + ' ms':>13} {'least':>9}   medians   minima")
    for name, mine, other in rows:
        ratios = f"{mine[0] / other[0]:8.2f} {mine[1] / other[1]:8.2f}"
        print(f"{name:28} {mine[0]:9.3f} {mine[1]:9.3f} {other[0]:13.3f} {other[1]:9.3f}  {ratios}")


def variants(ours):
    rows = [(name, mine) for name, mine in ours.items() if len(mine) > 2]
    if rows:
        print(f"\n{'by turns with another step':28} {'ours ms':>9} {'least':>9}   ratio of medians, of minima")
    for name, mine in rows:
        print(f"{name:28} {mine[0]:9.4f} {mine[1]:9.4f}  {mine[2]:8.2f} {mine[3]:8.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", default="target/release/examples/speed")
    parser.add_argument("--torch", help="an interpreter that has torch")
    parser.add_argument("--tensorflow", help="an interpreter that has tensorflow")
    parser.add_argument("--only", nargs="*", default=KINDS, help="parts of names, one run of the programs each")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    options = ["--threads", args.threads]
    ours, torch, tensorflow = [], [], []
    for _ in range(args.rounds):
        for only in args.only:
            if args.torch and not any(kind in only for kind in OURS_ALONE):
                torch.append(measure([args.torch, os.path.join(HERE, "torch_reference.py"), "--only", only, *options]))
            ours.append(measure([*shlex.split(args.ours), "--only", only, *options]))
        if args.tensorflow:
            tensorflow.append(measure([args.tensorflow, os.path.join(HERE, "tensorflow_reference.py"), *options]))
    ours = summary(ours)
    table(ours, summary(torch), "PyTorch", torch_name)
    table(ours, summary(tensorflow), "TensorFlow", tensorflow_name)
    variants(ours)


if __name__ == "__main__":
    main()

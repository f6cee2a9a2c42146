#!/usr/bin/env python3
"""Compare our benchmarks with PyTorch, alternating the two programs in one sitting.

    cargo build --release -p bn-core --example speed
    python3 tools/compare_speed.py --ours target/release/examples/speed --torch PYTHON [--rounds 5]
    cargo build --release -p bn-train
    python3 tools/compare_speed.py --ours "target/release/bn-train bench" --torch PYTHON --only conv/ train/

PYTHON is an interpreter that has torch (and numpy). Each round runs both programs; a table of ratios
ours / PyTorch follows: of the medians of all rounds' medians, and of the least of all minima. On a shared
machine either figure alone misleads: PyTorch's fresh large buffers make its medians swing.
Standard library only.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess

# PyTorch has no such thing, or the same as for `bn/`.
OURS_ALONE = ("bn_graph", "copy_graph", "bn_weights", "bn_debias", "bn_renorm", "bn_relu", "bn_all", "candle")
KINDS = ["bn/", "bn_forward/", "bn_nhwc/", *(f"{kind}/" for kind in OURS_ALONE[:-1])]
HERE = os.path.dirname(os.path.abspath(__file__))


def measure(command):
    """name -> (median, least) of one run."""
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    rows = (json.loads(line) for line in lines if line.startswith("{"))
    return {row["name"]: (row["median_ms"], row["min_ms"]) for row in rows}


def summary(runs):
    """name -> (median of medians, least of minima) of several runs."""
    names = dict.fromkeys(name for run in runs for name in run)
    found = {}
    for name in names:
        rows = [run[name] for run in runs if name in run]
        found[name] = (statistics.median(r[0] for r in rows), min(r[1] for r in rows))
    return found


def baseline(name):
    """PyTorch has one layer for the graph and for what stands outside of it."""
    kind, _, shape = name.partition("/")
    return {"bn_graph": f"bn/{shape}"}.get(kind, name)


def ratios(ours, other):
    return f"{ours[0] / other[0]:8.2f} {ours[1] / other[1]:8.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", default="target/release/examples/speed")
    parser.add_argument("--torch", default="python3", help="an interpreter that has torch")
    parser.add_argument("--only", nargs="*", default=KINDS, help="parts of names, one run of the programs each")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    options = ["--threads", args.threads]
    ours, torch = [], []
    for _ in range(args.rounds):
        for only in args.only:
            if not any(kind in only for kind in OURS_ALONE):
                torch.append(measure([args.torch, os.path.join(HERE, "torch_reference.py"), "--only", only, *options]))
            ours.append(measure([*shlex.split(args.ours), "--only", only, *options]))
    ours, torch = summary(ours), summary(torch)
    print(f"{'name':28} {'ours ms':>9} {'least':>9} {'torch ms':>9} {'least':>9}   medians   minima")
    for name, mine in ours.items():
        other = torch.get(baseline(name))
        if other is not None:
            print(f"{name:28} {mine[0]:9.3f} {mine[1]:9.3f} {other[0]:9.3f} {other[1]:9.3f}  {ratios(mine, other)}")
    if any(name.startswith("bn/") for name in ours):
        print(f"\n{'variant':28} {'ours ms':>9} {'least':>9}   relative to our bn/")
    for name, mine in ours.items():
        kind, _, shape = name.partition("/")
        plain = ours.get(f"bn/{shape}")
        if plain is not None and kind in ("bn_weights", "bn_debias", "bn_renorm", "bn_relu", "bn_all"):
            print(f"{name:28} {mine[0]:9.3f} {mine[1]:9.3f}  {ratios(mine, plain)}")


if __name__ == "__main__":
    main()

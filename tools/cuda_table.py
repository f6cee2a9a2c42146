#!/usr/bin/env python3
"""Set our times on a GPU beside PyTorch's, as a table in Markdown.

    python3 tools/cuda_table.py OURS.jsonl CUDNN.jsonl TORCH.jsonl

CUDNN has our times in the build with the feature cudnn. Of ours the faster counts, and of PyTorch's backends too. `must` is met
where ours is no slower, `aim` where it takes at most 0.7 of the time. The last line says how many met both; exits with 1 where
one must was missed, and where nothing was compared.
Standard library only.
"""
import json
import math
import pathlib
import sys

MUST, AIM = 1.0, 0.7
# Forward reads x twice and writes y; backward reads x and dy twice and writes dx.
PASSES = 8


def lines(path):
    path = pathlib.Path(path)
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")] if path.exists() else []


def cell(value, form):
    return "" if value is None else format(value, form)


def share_of_copy(name, milliseconds, rate):
    """What the least traffic of batch normalization would need of the copy's rate."""
    kind, _, shape = name.partition("/")
    if not kind.startswith("bn") or rate is None:
        return None
    gib = PASSES * math.prod(map(int, shape.split("x"))) * (2 if kind.endswith("_bf16") else 4) / 2**30
    return gib / (milliseconds / 1e3) / rate


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    ours, ours_by_cudnn = ({row["name"]: row for row in lines(path)} for path in sys.argv[1:3])
    torch = {}
    for row in lines(sys.argv[3]):
        torch.setdefault(row["name"], {})[row["cudnn"]] = row["median_ms"]
    rate = max((row["gib_per_second"] for row in ours.values() if "gib_per_second" in row), default=None)
    if rate is not None:
        print(f"A copy on the device moves {rate:.0f} GiB/s.\n")
    print(f"| work, forward and backward | ours, ms | with cuDNN, ms | PyTorch with cuDNN, ms | without, ms | ours / PyTorch "
          f"| must: {MUST:g} | aim: {AIM:g} | of the copy's rate, {PASSES} passes |")
    print("|---|---|---|---|---|---|---|---|---|")
    compared, slower, aimed = 0, [], 0
    for name in [name for name in {**ours, **ours_by_cudnn, **torch} if not name.startswith("device_copy/")]:
        own, by_cudnn = (times.get(name, {}).get("median_ms") for times in (ours, ours_by_cudnn))
        mine = min((time for time in (own, by_cudnn) if time is not None), default=None)
        theirs = torch.get(name, {})
        ratio = mine / min(theirs.values()) if mine is not None and theirs else None
        must = aim = ""
        if ratio is not None:
            compared += 1
            aimed += ratio <= AIM
            must, aim = "yes" if ratio <= MUST else "**no**", "yes" if ratio <= AIM else "no"
            if ratio > MUST:
                slower.append(name)
        share = None if mine is None else share_of_copy(name, mine, rate)
        print(f"| {name} | {cell(own, '.4f')} | {cell(by_cudnn, '.4f')} | {cell(theirs.get(True), '.4f')} | {cell(theirs.get(False), '.4f')} "
              f"| {cell(ratio, '.2f')} | {must} | {aim} | {cell(share, '.0%')} |")
    print(f"\nOf {compared} timings beside PyTorch's, {compared - len(slower)} are no slower, and {aimed} take at most "
          f"{AIM:g} of its time" + (f"; slower: {', '.join(slower)}" if slower else ""))
    sys.exit(1 if slower or not compared else 0)


if __name__ == "__main__":
    main()

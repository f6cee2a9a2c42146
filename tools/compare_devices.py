#!/usr/bin/env python3
"""Hold the runs of two devices against each other: their first losses, accuracies and times.

    python3 tools/compare_devices.py CPU GPU

CPU and GPU are folders of the same experiments (`bn-train run --out`). The same seeds give the same weights and batches
on both, so the losses differ by rounding alone at first. The bound is wide for rounding (1e-7 a step, grown by a few
updates) and narrow for a wrong gradient. Prints a table of arms as CSV, then a line about the losses; exits with 1 where
they differ by more. Standard library only.
"""
import csv
import math
import pathlib
import sys

EARLY, BOUND = 5, 1e-3


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text or "nan")


def losses(metrics):
    """(step, metric, split, statistics) -> value of what is a loss, for the first steps."""
    return {(int(row["step"]), row["metric"], row["split"], row["statistics"]): number(row["value"]) for row in metrics
            if row["metric"].endswith("loss") and int(row["step"]) <= EARLY}


def accuracy(metrics):
    tests = [row for row in metrics if row["metric"] == "accuracy" and row["split"] == "test"]
    chosen = [row for row in tests if row["statistics"] in ("moving", "")] or tests
    return number(chosen[-1]["value"]) if chosen else math.nan


def milliseconds_per_step(run):
    timing = rows(run / "timing.csv") if (run / "timing.csv").exists() else []
    return number(timing[-1]["seconds"]) * 1e3 / max(int(timing[-1]["step"]), 1) if timing else math.nan


def difference(a, b):
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return abs(a - b) / max(abs(b), 1e-6)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    cpu, gpu = map(pathlib.Path, sys.argv[1:])
    count, worst, arms = 0, (0.0, ""), {}
    for path in sorted(gpu.glob("*/*/seed-*/metrics.csv")):
        run = path.parent.relative_to(gpu)
        if not (cpu / run / "metrics.csv").exists():
            sys.exit(f"{run}: the CPU has no such run")
        theirs, ours = rows(cpu / run / "metrics.csv"), rows(path)
        early = losses(ours)
        shared = early.keys() & losses(theirs).keys()
        if not shared:
            sys.exit(f"{run}: expected a loss up to step {EARLY} in both runs, found none")
        count += len(shared)
        worst = max(worst, *((difference(early[key], losses(theirs)[key]), f"{run} {key}") for key in shared))
        cells = (accuracy(theirs), accuracy(ours), milliseconds_per_step(cpu / run), milliseconds_per_step(gpu / run))
        arms.setdefault("/".join(run.parts[:2]), []).append(cells)
    if not arms:
        sys.exit(f"{gpu}: no runs")
    print("arm,runs,test accuracy cpu,test accuracy gpu,ms per step cpu,ms per step gpu")
    for arm, runs in arms.items():
        mean = [sum(column) / len(runs) for column in zip(*runs)]
        print(f"{arm},{len(runs)},{mean[0]:.4f},{mean[1]:.4f},{mean[2]:.3f},{mean[3]:.3f}")
    agrees = worst[0] <= BOUND
    print(f"{count} losses up to step {EARLY} differ by at most {worst[0]:.1e} of their size (bound {BOUND:g})"
          + ("" if agrees else f": {worst[1]}"))
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()

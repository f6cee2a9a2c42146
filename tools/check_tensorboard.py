#!/usr/bin/env python3
"""Reads the TensorBoard files of an experiment by TensorBoard's own reader, and compares them with metrics.csv.

    pip install tensorboard
    python tools/check_tensorboard.py runs/NAME

Exit status 1 if a value is missing, differs or is too much.
"""
import csv
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def rows_of(run):
    """{(tag, step): value as f32} of metrics.csv."""
    rows = {}
    with open(run / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["value"]:
                tag = "/".join(part for part in (row["metric"], row["split"], row["statistics"]) if part)
                rows[tag, int(row["step"])] = struct.unpack("f", struct.pack("f", float(row["value"])))[0]
    return rows


def events_of(run):
    """{(tag, step): value} as TensorBoard reads them."""
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {(tag, event.step): event.value for tag in tags for event in accumulator.Scalars(tag)}


def main():
    folder = pathlib.Path(sys.argv[1])
    runs = sorted(path.parent for path in folder.rglob("events.out.tfevents.*"))
    if not runs:
        sys.exit(f"{folder}: no TensorBoard files; run with --set tensorboard.write=true")
    wrong = 0
    for run in runs:
        rows, events = rows_of(run), events_of(run)
        if rows == events:
            print(f"{run}: {len(rows)} values, all equal")
            continue
        wrong += 1
        for key in sorted(rows.keys() | events.keys()):
            if rows.get(key) != events.get(key):
                print(f"{run}: {key}: metrics.csv {rows.get(key)}, TensorBoard {events.get(key)}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()

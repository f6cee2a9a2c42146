#!/usr/bin/env python3
"""Times bn-report against pandas.read_csv on the same made-up run directories, by turns.

    cargo build --release -p bn-report
    python3 -m venv venv && venv/bin/pip install pandas
    venv/bin/python tools/report-speed.py [ROWS...]     # rows of all runs together; 1e5, 1e6 and 1e7 without

For each size: 200 runs (10 arms, 20 seeds), the least time of ROUNDS rounds for pandas reading every metrics.csv, for
`bn-report table` (reading and comparing) and for the page, their ratios, and the peak memory and size of the page. On a
machine that does other things, RUN_WITH="chrt -r 10" measures with priority.

    venv/bin/python tools/report-speed.py --many FOLDER  # leaves a page of 1,000 runs there, for tools/browser/paint.mjs
"""
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
ARMS, SEEDS = 10, 20
PROGRAM = Path(os.environ.get("BN_REPORT", Path(__file__).parent.parent / "target/release/bn-report"))
# The time to import pandas does not count.
READ = """import sys, time, pandas
start = time.perf_counter()
for path in sys.argv[1:]: pandas.read_csv(path)
print(time.perf_counter() - start)"""


def make(folder, rows, arms=ARMS, seeds=SEEDS):
    """Run directories with so many rows in all: four series of validation and training, as training writes them."""
    series = ["train,batch,loss", "validation,batch,loss", "validation,moving,loss", "validation,moving,accuracy"]
    steps = rows // (arms * seeds * len(series))
    manifest = ['schema = 2\nname = "speed"\n[target]\nmetric = "accuracy"\nvalue = 0.9\n']
    for arm in range(arms):
        manifest.append(f'[[arm]]\nname = "arm {arm}"\nslug = "arm-{arm}"\n')
        for seed in range(seeds):
            manifest.append(f'[[arm.run]]\nseed = {seed}\ndigest = "{arm}-{seed}"\n')
            run = folder / f"arm-{arm}" / f"seed-{seed}"
            run.mkdir(parents=True)
            draw = random.Random(arm * 1000 + seed)
            (run / "config.toml").write_text(f'name = "speed"\narm = "arm {arm}"\nseed = {seed}\n')
            (run / "status.json").write_text('{"state":"finished"}\n')
            lines = ["step,epoch,examples,split,statistics,metric,value"]
            for step in range(1, steps + 1):
                for name in series:
                    lines.append(f"{step},{step // 21},{step * 60},{name},{draw.random()!r}")
            (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    (folder / "manifest.toml").write_text("".join(manifest))


def timed(command):
    """Seconds that a command takes, and the peak of its memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen([*os.environ.get("RUN_WITH", "").split(), *command], stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{command[0]} failed")
    if command[1] == "-c":
        seconds = float(printed)
    return seconds, usage.ru_maxrss / 1024


def measure(rows):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "speed"
        make(folder, rows)
        files = sorted(str(path) for path in folder.rglob("metrics.csv"))
        size = sum(os.path.getsize(path) for path in files) / 1e6
        page = folder / "report.html"
        commands = {
            "pandas": [sys.executable, "-c", READ, *files],
            "table": [str(PROGRAM), "table", str(folder)],
            "page": [str(PROGRAM), str(folder), "-o", str(page)],
        }
        best = {}
        for _ in range(ROUNDS):
            for which, command in commands.items():
                seconds, memory = timed(command)
                old = best.get(which, (float("inf"), 0.0))
                best[which] = (min(old[0], seconds), max(old[1], memory))
        base = best["pandas"][0]
        print(f"{rows:>10,} rows, {size:6.1f} MB: pandas {base:.2f} s", end="")
        for which in ("table", "page"):
            seconds, memory = best[which]
            print(f"; {which} {seconds:.2f} s ({seconds / base:.2f}), {memory:.0f} MB", end="")
        print(f"; page of {page.stat().st_size / 1e6:.1f} MB", flush=True)


def many(folder):
    """A page of 1,000 runs: 20 arms of 50 seeds, 250 steps each."""
    make(folder, 10**6, arms=20, seeds=50)
    page = folder / "report.html"
    seconds, memory = timed([str(PROGRAM), str(folder), "-o", str(page)])
    print(f"{page}: 1,000 runs, {seconds:.2f} s, {memory:.0f} MB, page of {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--many"]:
        many(Path(sys.argv[2]))
        sys.exit()
    for rows in [int(float(word)) for word in sys.argv[1:]] or [10**5, 10**6, 10**7]:
        measure(rows)

#!/usr/bin/env bash
# Everything that needs a GPU, in one call, on a machine with a GPU and no Rust; docs/cuda.md explains.
# tools/gpu-bundle.sh makes the folder that this runs.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: gpu-check.sh [--quick] [--out DIR] [--device cuda:N] [--jobs N] [BUNDLE]

Checks and times the CUDA build on this machine's GPU:
  1. the machine: nvidia-smi, the GPU's compute capability, the libraries the programs need
  2. the conformance cases on the GPU
  3. the default experiment on the GPU, whether it repeats to the byte, and whether the CPU agrees
  4. batch normalization and a training step in PyTorch, by CUDA events, beside ours
A step that fails does not stop the next. Writes DIR/summary.md and one log per step; exits with 1 unless every step
that could run passed.

  BUNDLE           what tools/gpu-bundle.sh made, packed or unpacked (default: this script's own folder)
  --quick          150 steps and 2 seeds of the experiment, in place of all
  --out DIR        where the results go (default: gpu-check)
  --device cuda:N  the GPU (default: cuda, the first)
  --jobs N         training runs at a time on the GPU (default: 4)

Needs: an NVIDIA driver (libcuda.so.1) for CUDA 13 (580 or later); libcublas.so.13, libcurand.so.10, libcudart.so.13,
       which CUDA 13 or NVIDIA's wheels bring; Python 3 for the comparisons, PyTorch for step 4.
Variables: PYTHON      the Python that has PyTorch (default: python3)
           STEP_LIMIT  seconds after which a step counts as hung (default: 400)
USAGE
}

say() { echo "gpu-check: $*" >&2; }
die() {
    say "error: $*"
    exit 1
}

work=$(mktemp -d)
at_exit() { rm -rf -- "$work"; }
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

rows=()   # of the summary's table: step, verdict, what was seen
failed=0
skipped=0
passed() { rows+=("| $1 | pass | $2 |") && say "pass: $1: $2"; }
failure() { rows+=("| $1 | **FAIL** | $2 |") && failed=$((failed + 1)) && say "FAIL: $1: $2"; }
skip() { rows+=("| $1 | not run | $2 |") && skipped=$((skipped + 1)) && say "not run: $1: $2"; }

# The last line of a log that is no blank, fit for a cell of the table.
last_line() { { grep -v '^[[:space:]]*$' "$1" || echo 'no output'; } | tail -n 1 | tr '|' '/' | cut -c 1-400; }
# The error a program ended with, or else its last line.
reason() { { grep '^error: ' "$1" || last_line "$1"; } | head -n 1 | tr '|' '/' | cut -c 1-400; }
# Only our own programs see the directories that find_libraries chose.
ours() { LD_LIBRARY_PATH=$libraries timeout -k 10 "$limit" "$@"; }

read_arguments() {
    bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    out=gpu-check device=cuda jobs=4 is_quick=false
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --quick) is_quick=true ;;
            --out | --device | --jobs)
                [[ $# -ge 2 ]] || die "$1 needs a value"
                case $1 in
                    --out) out=$2 ;;
                    --device) device=$2 ;;
                    --jobs) jobs=$2 ;;
                esac
                shift
                ;;
            -*) die "unknown option $1; --help lists them" ;;
            *) bundle=$1 ;;
        esac
        shift
    done
    [[ $device =~ ^cuda(:[0-9]+)?$ ]] || die "--device $device: expected cuda or cuda:N"
    [[ $jobs =~ ^[1-9][0-9]*$ ]] || die "--jobs $jobs: expected a number from 1"
    [[ $limit =~ ^[1-9][0-9]*$ ]] || die "STEP_LIMIT=$limit: expected seconds"
    [[ -d $bundle ]] || die "$bundle: no such folder"
}

# Sets `bundle` to an unpacked folder: bin/, cases/, built.txt.
unpack() {
    local packed=$bundle/bundle.tar.xz
    if [[ -e $packed ]]; then
        mkdir "$work/bundle"
        if command -v xz >/dev/null; then
            tar -xJf "$packed" -C "$work/bundle" || die "$packed: cannot be unpacked"
        else
            "$python" -c 'import sys, tarfile
tarfile.open(sys.argv[1], "r:xz").extractall(sys.argv[2])' "$packed" "$work/bundle" || die "$packed: needs xz, or Python with lzma"
        fi
        bundle=$work/bundle
    fi
    local part
    for part in bin/conformance bin/bn-train cases built.txt; do
        [[ -e $bundle/$part ]] || die "$bundle: no $part; make the folder with tools/gpu-bundle.sh"
    done
}

built() { sed -n "s/^$1: //p" "$bundle/built.txt"; }

check_gpu() {
    local log=$out/nvidia-smi.txt gpu capability built_for number=${device#cuda}
    number=${number#:}
    if ! command -v nvidia-smi >/dev/null; then
        failure GPU "no nvidia-smi here: no NVIDIA driver is installed. Run this on a machine with a GPU"
        return
    fi
    if ! nvidia-smi >"$log" 2>&1; then
        failure GPU "nvidia-smi fails: $(last_line "$log")"
        return
    fi
    cat "$log" >&2
    if ! gpu=$(nvidia-smi -i "${number:-0}" --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader 2>&1); then
        failure GPU "nvidia-smi knows no GPU ${number:-0}: $(tail -n 1 <<<"$gpu")"
        return
    fi
    capability=$(sed 's/.*, //; s/\.//' <<<"$gpu")
    built_for=$(built compute_cap)
    # From 90 on, kernels are built for one architecture alone (sm_90a); older ones run on newer GPUs too.
    if [[ ! $capability =~ ^[0-9]+$ ]] || ((capability < built_for || (built_for >= 90 && capability != built_for))); then
        failure GPU "$gpu: the programs are built for compute capability $built_for; rebuild the bundle with CUDA_COMPUTE_CAP=$capability"
        return
    fi
    passed GPU "$gpu"
}

# Libraries of CUDA that some program here needs and the loader does not find.
missing_libraries() {
    local program
    for program in "$bundle"/bin/*; do LD_LIBRARY_PATH=$libraries ldd "$program" 2>/dev/null || true; done |
        sed -n 's/^[[:space:]]*\(lib[^ ]*\) => not found.*/\1/p' | sort -u
}

# Sets `libraries`, the search path for our programs: where CUDA puts its libraries, and where PyTorch's wheels do.
find_libraries() {
    local places place library missing
    libraries=${LD_LIBRARY_PATH:-}
    mapfile -t places < <(
        shopt -s nullglob
        printf '%s\n' /usr/local/nvidia/lib64 ${CUDA_HOME:+"$CUDA_HOME/lib64"} /usr/local/cuda/lib64 /usr/local/cuda-*/lib64 \
            /usr/local/cuda-*/targets/*/lib
        "$python" -c 'import glob, site, sys
for place in sorted({*sys.path, *site.getsitepackages()}):
    print(*glob.glob(place + "/nvidia/*/lib"), sep="\n")' 2>/dev/null || true
    )
    while read -r library; do
        for place in "${places[@]}"; do
            if [[ -n $place && -e $place/$library && :$libraries: != *:$place:* ]]; then
                libraries=${libraries:+$libraries:}$place
                break
            fi
        done
    done < <(missing_libraries)
    missing=$(missing_libraries | tr '\n' ' ')
    if [[ -n $missing ]]; then
        failure libraries "not found: ${missing% }. libcuda.so.1 comes with the driver; the others with CUDA 13 or \`pip install nvidia-cublas nvidia-curand nvidia-cuda-runtime nvidia-cuda-nvrtc\`; name their folder in LD_LIBRARY_PATH"
    else
        passed libraries "all found${libraries:+ (LD_LIBRARY_PATH=$libraries)}"
    fi
}

check_conformance() {
    local log=$out/conformance.txt status=0
    ours "$bundle/bin/conformance" --device "$device" "$bundle/cases" >"$log" 2>&1 || status=$?
    if [[ $status -eq 0 ]]; then
        passed conformance "$(last_line "$log")"
    elif [[ $status -eq 124 ]]; then
        failure conformance "no end within $limit s"
    else
        failure conformance "$(reason "$log")"
    fi
}

# train NAME DEVICE LOG [FLAG...]: trains the default experiment into $work/NAME, in $work/NAME.seconds.
train() {
    local name=$1 log=$3 flags=(--plain --device "$2" --out "$work/$1" "${@:4}")
    [[ $is_quick == false ]] || flags+=(--set train.steps=150)
    local start=$SECONDS status=0
    ours "$bundle/bin/bn-train" run "${flags[@]}" >"$log" 2>&1 || status=$?
    echo $((SECONDS - start)) >"$work/$name.seconds"
    return "$status"
}

check_experiment() {
    local log=$out/train-cuda.txt agreement status=0 file seeds=()
    [[ $is_quick == false ]] || seeds=(--seeds "0,1")
    train cuda "$device" "$log" --jobs "$jobs" "${seeds[@]}" || status=$?
    if [[ $status -ne 0 ]]; then
        if [[ $status -eq 124 ]]; then
            failure experiment "no end within $limit s; try --quick or another --jobs"
        else
            failure experiment "$(reason "$log")"
        fi
        skip "same bytes again" "the experiment did not run on the GPU"
        skip "GPU against CPU" "the experiment did not run on the GPU"
        return
    fi
    passed experiment "$($is_quick && echo 'shortened, ')$(<"$work/cuda.seconds") s, $jobs runs at a time on one GPU"
    file=$(find "$work/cuda" -name report.html | head -n 1)
    [[ -z $file ]] || cp "$file" "$out/report-cuda.html"

    if ! train again "$device" "$work/train-again.txt" --jobs 1 --seeds 0 --no-report; then
        failure "same bytes again" "$(reason "$work/train-again.txt")"
    elif file=$(different_runs "$work/again" "$work/cuda") && [[ -z $file ]]; then
        passed "same bytes again" "seed 0 alone, one run at a time: the same metrics.csv in every arm"
    else
        failure "same bytes again" "metrics.csv differs in ${file//$'\n'/ }"
    fi

    if ! train cpu cpu "$work/train-cpu.txt" "${seeds[@]}"; then
        failure "GPU against CPU" "on the CPU: $(reason "$work/train-cpu.txt")"
    elif ! command -v "$python" >/dev/null; then
        skip "GPU against CPU" "no $python"
    elif agreement=$(compare_runs "$work/cpu" "$work/cuda" 2>"$work/compare.log" | tee "$out/agreement.txt" | tail -n 1) && [[ -n $agreement ]]; then
        passed "GPU against CPU" "$agreement"
    else
        failure "GPU against CPU" "${agreement:-$(last_line "$work/compare.log")}"
    fi
}

# Prints the runs of the first folder whose metrics the second does not have to the byte.
different_runs() {
    (cd "$1" && find . -name metrics.csv | sort) | while read -r file; do
        cmp -s "$1/$file" "$2/$file" || echo "${file%/metrics.csv}"
    done
}

# The same seeds give the same weights and batches on both, so the losses differ by rounding alone at first. The bound
# is wide for rounding (1e-7 a step, grown by a few updates) and narrow for a wrong gradient.
compare_runs() {
    "$python" - "$@" <<'PYTHON'
import csv, math, pathlib, sys

cpu, cuda = map(pathlib.Path, sys.argv[1:])
EARLY, BOUND = 5, 1e-3


def losses(path):
    with open(path, newline="") as file:
        return {(int(row["step"]), row["split"], row["statistics"]): float(row["value"] or "nan")
                for row in csv.DictReader(file) if row["metric"] == "loss"}


def seconds_per_step(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return float(rows[-1]["seconds"]) / max(int(rows[-1]["step"]), 1) if rows else float("nan")


def accuracy(path):
    with open(path, newline="") as file:
        tests = [row for row in csv.DictReader(file) if row["metric"] == "accuracy" and row["split"] == "test"]
    chosen = [row for row in tests if row["statistics"] in ("moving", "")] or tests
    return float(chosen[-1]["value"] or "nan") if chosen else float("nan")


worst, arms = (0.0, ""), {}
for path in sorted(cuda.glob("*/*/seed-*/metrics.csv")):
    name = path.relative_to(cuda)
    ours, theirs = losses(path), losses(cpu / name)
    shared = [key for key in ours if key in theirs and key[0] <= EARLY]
    if not shared:
        sys.exit(f"{name}: no loss up to step {EARLY} that both runs have")
    for key in shared:
        a, b = ours[key], theirs[key]
        difference = abs(a - b) / max(abs(b), 1e-6)
        if math.isnan(difference):
            difference = 0.0 if math.isnan(a) and math.isnan(b) else math.inf
        worst = max(worst, (difference, f"{name.parent} {key}"))
    timing = [side / name.parent / "timing.csv" for side in (cpu, cuda)]
    arms.setdefault(name.parts[1], []).append(
        (accuracy(cpu / name), accuracy(path), *(seconds_per_step(t) if t.exists() else float("nan") for t in timing)))
if not arms:
    sys.exit(f"{cuda}: no runs")
print("arm,runs,test accuracy cpu,test accuracy cuda,ms per step cpu,ms per step cuda")
for arm, runs in arms.items():
    mean = [sum(column) / len(runs) for column in zip(*runs)]
    print(f"{arm},{len(runs)},{mean[0]:.4f},{mean[1]:.4f},{mean[2] * 1e3:.3f},{mean[3] * 1e3:.3f}")
agrees = worst[0] <= BOUND
print(f"losses up to step {EARLY} differ by at most {worst[0]:.1e} of their size (bound {BOUND:g})"
      + ("" if agrees else f": {worst[1]}"))
sys.exit(0 if agrees else 1)
PYTHON
}

# The program that prints PyTorch's times on the GPU, a JSON line each; bin/speed prints ours under the same names.
torch_program() {
    cat <<'PYTHON'
import json, statistics, sys

import torch
from torch import nn
import torch.nn.functional as F

if not torch.cuda.is_available():
    sys.exit("error: PyTorch sees no GPU")
device = torch.device(sys.argv[1])
torch.cuda.set_device(device if device.index is not None else 0)
torch.manual_seed(0)


def clock(step, rounds=50, calls=10):
    """Median and least milliseconds of one call; events enclose several, so that a launch's cost is seen as it is."""
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


def batch_norm(shape):
    layer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1]).to(device)
    x, dy = (torch.randn(shape, device=device) for _ in range(2))
    x.requires_grad_()

    def step():
        x.grad = layer.weight.grad = layer.bias.grad = None
        layer(x).backward(dy)
    return step


def mlp():
    """The default experiment's net and step."""
    layers, width = [], 64
    for _ in range(3):
        layers += [nn.Linear(width, 100, bias=False), nn.BatchNorm1d(100), nn.Sigmoid()]
        width = 100
    model = nn.Sequential(*layers, nn.Linear(width, 10)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, target = torch.randn(60, 64, device=device), torch.randint(0, 10, (60,), device=device)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()
    return step


WORK = {f"bn/{'x'.join(map(str, shape))}": (lambda shape=shape: batch_norm(shape)) for shape in
        [(64, 64, 32, 32), (128, 16, 32, 32), (32, 256, 14, 14), (256, 512), (60, 100)]}
WORK["train/mlp3x100_sigmoid_bn_b60"] = mlp
for name, build in WORK.items():
    median, least = clock(build())
    print(json.dumps({"name": name, "median_ms": round(median, 4), "min_ms": round(least, 4),
                      "torch": torch.__version__, "gpu": torch.cuda.get_device_name()}), flush=True)
PYTHON
}

check_speed() {
    if [[ -x $bundle/bin/speed ]] && "$bundle/bin/speed" --help 2>&1 | grep -q -e --device; then
        if ours "$bundle/bin/speed" --device "$device" >"$out/speed-ours.jsonl" 2>"$work/speed.log"; then
            passed "our speed" "$(wc -l <"$out/speed-ours.jsonl") timings"
        else
            failure "our speed" "$(reason "$work/speed.log")"
        fi
    else
        skip "our speed" "the bundle has no program \`speed\` that takes --device"
    fi
    if ! "$python" -c 'from torch import nn' >/dev/null 2>&1; then
        skip "PyTorch's speed" "$python has no PyTorch; name another Python in PYTHON"
    elif torch_program >"$work/time_torch.py" &&
        timeout -k 10 "$limit" "$python" "$work/time_torch.py" "$device" >"$out/speed-torch.jsonl" 2>"$work/torch.log"; then
        passed "PyTorch's speed" "$(wc -l <"$out/speed-torch.jsonl") timings"
    else
        failure "PyTorch's speed" "$(last_line "$work/torch.log")"
    fi
}

# Both systems' timings side by side, as a table; nothing where neither ran.
speed_table() {
    command -v "$python" >/dev/null || return 0
    "$python" - "$out/speed-ours.jsonl" "$out/speed-torch.jsonl" <<'PYTHON'
import json, os, sys

ours, torch = ({row["name"]: row["median_ms"] for row in map(json.loads, open(path))} if os.path.exists(path) else {}
               for path in sys.argv[1:])
if ours or torch:
    print("\nMedian milliseconds, forward and backward:\n\n| work | ours | PyTorch | ours / PyTorch |\n|---|---|---|---|")
for name in {**torch, **ours}:
    a, b = ours.get(name), torch.get(name)
    cell = lambda value, digits=4: "" if value is None else f"{value:.{digits}f}"
    print(f"| {name} | {cell(a)} | {cell(b)} | {cell(a / b if a and b else None, 2)} |")
PYTHON
}

write_summary() {
    {
        echo "# GPU check, $(date -u '+%Y-%m-%d %H:%M UTC')"
        echo
        echo "Built from $(built commit) for compute capability $(built compute_cap), CUDA $(built cuda)."
        echo
        echo '| step | verdict | seen |'
        echo '|---|---|---|'
        printf '%s\n' "${rows[@]}"
        if [[ -s $out/agreement.txt ]]; then
            printf '\nThe default experiment, %s:\n\n```\n' "$($is_quick && echo 'shortened' || echo 'whole')"
            cat "$out/agreement.txt"
            echo '```'
        fi
        speed_table
    } >"$out/summary.md"
}

main() {
    python=${PYTHON:-python3} limit=${STEP_LIMIT:-400}
    read_arguments "$@"
    unpack
    mkdir -p -- "$out" || die "cannot make the folder $out"
    # What an earlier call left would pass for this one's.
    rm -f -- "$out"/{summary.md,nvidia-smi.txt,conformance.txt,train-cuda.txt,report-cuda.html,agreement.txt,speed-ours.jsonl,speed-torch.jsonl}

    check_gpu
    find_libraries
    check_conformance
    check_experiment
    check_speed
    write_summary
    cat "$out/summary.md"
    say "results in $out"
    if [[ $failed -gt 0 ]]; then
        die "$failed of ${#rows[@]} checks failed, $skipped not run"
    fi
    say "all passed, $skipped not run"
}

main "$@"

#!/usr/bin/env bash
# On a machine with a GPU: the conformance cases, bn-core's tests with the GPU among their devices, and every shipped
# experiment for a few steps on GPU and CPU, twice on the GPU. docs/cuda.md says what of this has been run.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'USAGE'
usage: tools/cuda-test.sh [--device cuda:N] [--steps N]

Needs an NVIDIA GPU with its driver, CUDA 13 (or tools/cuda-toolchain.sh) and Rust.
Its last line: cuda-test: all passed
USAGE
}

die() {
    echo "cuda-test: error: $*" >&2
    exit 1
}

device=cuda:0 steps=20
while [[ $# -gt 0 ]]; do
    case $1 in
        --device) device=${2:?} && shift ;;
        --steps) steps=${2:?} && shift ;;
        -h | --help) usage && exit ;;
        *) die "unknown option $1" ;;
    esac
    shift
done
command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null || die "no GPU here: nvidia-smi fails"
out=$(mktemp -d)
trap 'rm -rf -- "$out"' EXIT

step() { printf '\n== %s\n' "$*"; }

step "conformance on $device"
cargo run --quiet --release --locked -p bn-core --features cuda --example conformance -- --device "$device" bn-core/conformance/cases

step "bn-core's tests: the GPU is one of their devices"
BN_TEST_DEVICE=$device cargo test --release --locked -p bn-core --features cuda

step "every experiment, $steps steps, on $device, again, and on the CPU"
cargo build --quiet --release --locked -p bn-train --features cuda
train() {
    target/release/bn-train run --all --out "$out/$1" --device "$2" --set "train.steps=$steps" --seeds 0 --plain --no-report
}
train gpu "$device"
train again "$device"
train cpu cpu
different=$(cd "$out/gpu" && find . -name metrics.csv | sort | while read -r file; do
    cmp -s "$file" "$out/again/$file" || echo "$file"
done)
[[ -z $different ]] || die "not the same bytes on a second run: $different"
# Losses of the first steps differ by rounding alone: 1e-7 a step, grown by a few updates.
python3 - "$out/cpu" "$out/gpu" <<'PYTHON'
import csv, pathlib, sys

cpu, gpu = map(pathlib.Path, sys.argv[1:])
EARLY, BOUND = 5, 1e-3


def losses(path):
    with open(path, newline="") as file:
        return {(int(row["step"]), row["split"], row["statistics"]): float(row["value"] or "nan")
                for row in csv.DictReader(file) if row["metric"] == "loss" and int(row["step"]) <= EARLY}


count, worst = 0, (0.0, "")
for path in sorted(gpu.rglob("metrics.csv")):
    ours, theirs = losses(path), losses(cpu / path.relative_to(gpu))
    for key in ours.keys() & theirs.keys():
        count += 1
        difference = abs(ours[key] - theirs[key]) / max(abs(theirs[key]), 1e-6)
        worst = max(worst, (difference, f"{path.relative_to(gpu)} {key}"))
print(f"{count} losses up to step {EARLY} differ by at most {worst[0]:.1e} ({worst[1]})")
sys.exit(0 if count and worst[0] <= BOUND else 1)
PYTHON
echo
echo "cuda-test: all passed"

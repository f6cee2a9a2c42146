#!/usr/bin/env bash
# Everything about CUDA that can be checked without a GPU: the programs are built with the features, every kernel is
# compiled for each architecture as a program would at run time, and the kernels' source runs on the CPU, mutants too.
# docs/cuda.md explains; tools/cuda-test.sh and tools/gpu-bundle.sh are for machines with a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'USAGE'
usage: tools/cuda-check.sh [--toolchain DIR] [--no-build]

--toolchain DIR   where tools/cuda-toolchain.sh installs CUDA (default: ~/.cache/bn-cuda-toolchain; 2.1 GB)
--no-build        leave out the build and clippy with the features, which take long the first time

Variables: ARCHITECTURES (default "80 90 100"), CARGO_TARGET_DIR, CUDA_COMPUTE_CAP.
Its last line: cuda-check: N kernels, 0 spills, M cases, K mutants killed
USAGE
}

step() { printf '\n== %s\n' "$*"; }
die() {
    echo "cuda-check: error: $*" >&2
    exit 1
}

toolchain=$HOME/.cache/bn-cuda-toolchain with_build=true
while [[ $# -gt 0 ]]; do
    case $1 in
        --toolchain) toolchain=${2:?} && shift ;;
        --no-build) with_build=false ;;
        -h | --help) usage && exit ;;
        *) die "unknown option $1" ;;
    esac
    shift
done
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

step "toolchain"
environment=$(tools/cuda-toolchain.sh --no-quantization --cudnn "$toolchain") || die "no toolchain"
eval "$environment"

if [[ $with_build == true ]]; then
    for feature in cuda cudnn; do
        step "build with the feature $feature (bn-train, and bn-core's examples)"
        cargo build --quiet --release --locked --workspace --features "bn-train/$feature"
        cargo build --quiet --release --locked --workspace --features "bn-train/$feature" --examples
        step "clippy with the feature $feature, warnings denied"
        cargo clippy --quiet --release --workspace --features "bn-train/$feature" --all-targets --locked -- -D warnings
    done
else
    step "build left out"
fi

step "kernels"
mkdir "$work/ptx" "$work/kernels"
cp bn-core/src/engine/cuda/*.cu bn-train/src/{ops/gpu,ops/loss,optimizer/cuda}/*.cu "$work/kernels"
read -ra architectures <<<"${ARCHITECTURES:-80 90 100}"
"${PYTHON:-python3}" tools/cuda_compile.py "$work/kernels" "$CUDA_HOME/lib/libnvrtc.so" "$CUDA_HOME/bin/ptxas" \
    "$work/ptx" "${architectures[@]}" | tee "$work/kernels.txt" || die "a kernel does not compile, or spills"
compiled=$(tail -n 1 "$work/kernels.txt")

step "kernels on the CPU"
tools/cuda-host.sh | tee "$work/host.txt" || die "the kernels fail on the CPU"
host=$(tail -n 1 "$work/host.txt")

echo
echo "cuda-check: $compiled, ${host#host: }"

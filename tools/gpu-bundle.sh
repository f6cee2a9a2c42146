#!/usr/bin/env bash
# Packs the CUDA build for a machine with a GPU and no Rust: programs, tests, the conformance cases, the scripts that run
# them, and gpu-check.sh, which runs it all; docs/cuda.md explains.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: tools/gpu-bundle.sh [--toolchain DIR] OUT

Builds bn-train, with cuDNN and without, bn-core's examples and the tests with CUDA (tools/cuda-programs.sh), tries them on
the CPU, and packs them with the conformance cases and tools/cuda-*.sh into the folder OUT (two files, under 64 MiB), to be
copied to a machine with a GPU.

  --toolchain DIR  where tools/cuda-toolchain.sh installs (default: ~/.cache/bn-cuda-toolchain)

Variables: CUDA_COMPUTE_CAP  the GPU to build for, 90 for H100 and H200 (default: the GPU here; 90 without one)
           CARGO_TARGET_DIR  cargo's own; the first build takes minutes
USAGE
}

readonly LIMIT_MIB=64
# What the bundle has of tools/.
readonly SCRIPTS=(cuda-test.sh cuda-bench.sh verdicts.sh compare_devices.py cuda_table.py torch_cuda.py torch_reference.py)

log() { echo "gpu-bundle: $*" >&2; }
die() {
    log "error: $*"
    exit 1
}

work=$(mktemp -d)
at_exit() { rm -rf -- "$work"; }
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

read_arguments() {
    toolchain=${XDG_CACHE_HOME:-$HOME/.cache}/bn-cuda-toolchain
    out=
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --toolchain)
                [[ $# -ge 2 ]] || die "--toolchain needs a folder"
                toolchain=$2
                shift
                ;;
            -*) die "unknown option $1; --help lists them" ;;
            *)
                [[ -z $out ]] || die "one folder only, got also $1"
                out=$1
                ;;
        esac
        shift
    done
    [[ -n $out ]] || {
        usage >&2
        exit 2
    }
    if [[ -e $out && ! -e $out/bundle.tar.xz && -n $(ls -A "$out" 2>/dev/null || echo 'no folder') ]]; then
        die "$out is there and holds something else; choose a folder that is new, empty or an earlier bundle"
    fi
}

# Sets the environment of the compiler, and `capability`.
prepare() {
    local tool environment
    for tool in tar xz; do
        command -v "$tool" >/dev/null || die "no $tool on the PATH"
    done
    environment=$("$root/tools/cuda-toolchain.sh" --no-quantization --cudnn "$toolchain") || die "no CUDA toolchain; the lines above say why"
    eval "$environment"
    # Without the variable the kernels are compiled for the GPU here.
    capability=${CUDA_COMPUTE_CAP:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sed -n '1s/\.//p')}
}

main() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    read_arguments "$@"
    prepare

    local script test program packed=$work/packed
    # Like the repository, so that the scripts find things where they always are.
    mkdir -p "$packed/tools" "$packed/bn-core/conformance"
    "$root/tools/cuda-programs.sh" --cudnn "$packed/bin" || die "the build failed; the lines above say why"
    cp -R "$root/bn-core/conformance/cases" "$packed/bn-core/conformance/cases"
    for script in "${SCRIPTS[@]}"; do
        cp "$root/tools/$script" "$packed/tools/$script"
    done
    cat >"$packed/built.txt" <<BUILT
commit: $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)
compute_cap: $capability
cuda: $(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
BUILT

    log "trying the programs on the CPU"
    for program in bn-train bn-train-cudnn; do
        "$packed/bin/$program" --version >&2 || die "$program does not start"
    done
    "$packed/bin/conformance" --device cpu "$packed/bn-core/conformance/cases" >&2 || die "conformance cases fail on the CPU"
    for test in "$packed"/bin/tests/*; do
        # From a folder where no test can find the source tree.
        (cd "$work" && BN_TEST_DEVICE=cpu "$test" >"$work/test.txt" 2>&1) || {
            cat "$work/test.txt" >&2
            die "the test $(basename "$test") fails on the CPU"
        }
    done

    # Sorted, without owners and dates: equal builds pack alike.
    tar -C "$packed" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$work/bundle.tar" bin tools bn-core built.txt
    log "compressing $(du -m "$work/bundle.tar" | cut -f 1) MiB"
    # The programs have most of their bytes in common: a dictionary that spans several finds them.
    xz -T 1 --lzma2=preset=6,dict=128MiB "$work/bundle.tar"
    local mib
    mib=$(du -m "$work/bundle.tar.xz" | cut -f 1)
    [[ $mib -lt $LIMIT_MIB ]] || die "the bundle has $mib MiB; the limit is $LIMIT_MIB"
    mkdir -p -- "$out" || die "cannot make the folder $out"
    cp "$root/tools/gpu-check.sh" "$out/gpu-check.sh"
    mv "$work/bundle.tar.xz" "$out/bundle.tar.xz"
    log "$out: $mib MiB. Copy the folder to a machine with a GPU and run there:"
    echo "bash $(basename "$(cd "$out" && pwd)")/gpu-check.sh --out gpu-check"
}

main "$@"

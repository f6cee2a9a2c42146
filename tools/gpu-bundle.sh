#!/usr/bin/env bash
# Packs the CUDA build for a machine with a GPU and no Rust: the programs, the conformance cases and gpu-check.sh,
# which runs them; docs/cuda.md explains.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: tools/gpu-bundle.sh [--toolchain DIR] OUT

Builds bn-train and bn-core's examples with CUDA, strips them, tries them on the CPU, and packs them with the
conformance cases into the folder OUT (two files, under 64 MiB), to be copied to a machine with a GPU.

  --toolchain DIR  where tools/cuda-toolchain.sh installs (default: ~/.cache/bn-cuda-toolchain)

Variables: CUDA_COMPUTE_CAP  the GPU to build for, 90 for H100 and H200 (default: the GPU here; 90 without one)
           CARGO_TARGET_DIR  cargo's own; the first build takes minutes
USAGE
}

readonly LIMIT_MIB=64

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
    for tool in cargo strip tar xz; do
        command -v "$tool" >/dev/null || die "no $tool on the PATH"
    done
    environment=$("$root/tools/cuda-toolchain.sh" "$toolchain") || die "no CUDA toolchain; the lines above say why"
    eval "$environment"
    # Without the variable the kernels are compiled for the GPU here.
    capability=${CUDA_COMPUTE_CAP:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sed -n '1s/\.//p')}
}

# Prints the path of every program that cargo built, a line each.
build() {
    # --message-format: cargo itself says where they are.
    (cd "$root" && cargo build --release --features cuda -p bn-train -p bn-core --bins --examples \
        --message-format json-render-diagnostics) |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

main() {
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    read_arguments "$@"
    prepare

    local programs program packed=$work/packed
    programs=$(build) || die "the build failed; the lines above say why"
    mkdir -p "$packed/bin"
    while read -r program; do
        strip -o "$packed/bin/$(basename "$program")" "$program"
    done <<<"$programs"
    for program in bn-train conformance; do
        [[ -x $packed/bin/$program ]] || die "cargo built no $program"
    done
    cp -R "$root/bn-core/conformance/cases" "$packed/cases"
    cat >"$packed/built.txt" <<BUILT
commit: $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)
compute_cap: $capability
cuda: $(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
BUILT

    log "trying the programs on the CPU"
    "$packed/bin/bn-train" --version >&2 || die "bn-train does not start"
    "$packed/bin/conformance" --device cpu "$packed/cases" >&2 || die "conformance cases fail on the CPU"

    # Sorted, without owners and dates: equal builds pack alike.
    tar -C "$packed" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$work/bundle.tar" bin cases built.txt
    log "compressing $(du -m "$work/bundle.tar" | cut -f 1) MiB"
    xz -6 -T 0 "$work/bundle.tar"
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

#!/usr/bin/env bash
# Builds what runs on a GPU, for this machine or another: bn-train, two of bn-core's examples, and bn-core's tests.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'USAGE'
usage: tools/cuda-programs.sh [--no-tests] DIR

Builds with CUDA and puts into DIR, stripped: bn-train, conformance, speed, and tests/NAME, bn-core's tests, which take
their device from BN_TEST_DEVICE. Left out are those that read the source tree: `architecture`, which is about the source,
and `conformance`, whose cases the program conformance runs.

Needs: Rust, and nvcc on the PATH; without a CUDA toolkit: eval "$(tools/cuda-toolchain.sh --no-quantization DIR)"
USAGE
}

die() {
    echo "cuda-programs: error: $*" >&2
    exit 1
}

with_tests=true out=''
while [[ $# -gt 0 ]]; do
    case $1 in
        --no-tests) with_tests=false ;;
        -h | --help) usage && exit ;;
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
for tool in cargo strip nvcc; do
    command -v "$tool" >/dev/null || die "no $tool on the PATH; --help says what is needed"
done

# With all of the workspace, so that every build shares its dependencies. Cargo itself says where the programs are.
readonly COMMON=(--release --locked --workspace --features bn-train/cuda --message-format json-render-diagnostics)
executables() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'; }

mkdir -p -- "$out/tests"
cargo build "${COMMON[@]}" --bin bn-train --example conformance --example speed | executables | while read -r program; do
    strip -o "$out/$(basename "$program")" "$program"
done
for program in bn-train conformance speed; do
    [[ -x $out/$program ]] || die "cargo built no $program"
done
[[ $with_tests == true ]] || exit 0

tests=()
for path in bn-core/tests/*; do
    name=$(basename "$path" .rs)
    case $name in
        common | architecture | conformance) ;;
        *) tests+=(--test "$name") ;;
    esac
done
cargo test "${COMMON[@]}" --no-run "${tests[@]}" | executables | while read -r program; do
    # cargo adds a digest to a test's name.
    name=$(basename "$program")
    strip -o "$out/tests/${name%-*}" "$program"
done
found=$(find "$out/tests" -type f | wc -l)
[[ $((2 * found)) -eq ${#tests[@]} ]] || die "expected $((${#tests[@]} / 2)) test programs, found $found in $out/tests"

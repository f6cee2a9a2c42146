#!/usr/bin/env bash
# Builds what runs on a GPU, for this machine or another: bn-train, two of bn-core's examples, and bn-core's tests.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'USAGE'
usage: tools/cuda-programs.sh [--no-tests] [--cudnn] DIR

Builds with CUDA and puts into DIR, stripped: bn-train, conformance, speed, and tests/NAME, which take their device from
BN_TEST_DEVICE: bn-core's tests, and bn-train's unit tests as bn-train. Left out are those of bn-core that read the source
tree: `architecture`, which is about the source, and `conformance`, whose cases the program conformance runs.

  --no-tests  leave out the tests
  --cudnn     also bn-train-cudnn and tests/bn-train-cudnn, which convolve by cuDNN

Needs: Rust, nvcc on the PATH, and cuDNN 9 for --cudnn; without them: eval "$(tools/cuda-toolchain.sh --no-quantization [--cudnn] DIR)"
USAGE
}

die() {
    echo "cuda-programs: error: $*" >&2
    exit 1
}

with_tests=true with_cudnn=false out=''
while [[ $# -gt 0 ]]; do
    case $1 in
        --no-tests) with_tests=false ;;
        --cudnn) with_cudnn=true ;;
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

# executables FEATURE COMMAND TARGET...: builds, and prints the paths of the programs, which cargo itself knows. With all of the
# workspace, so that every build shares its dependencies.
executables() {
    cargo "$2" --release --locked --workspace --features "bn-train/$1" --message-format json-render-diagnostics "${@:3}" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

# packed PATH NAME [FLAG]: a program, stripped, in DIR.
packed() { strip ${3:+"$3"} -o "$out/$2" "$1"; }

# Reads the paths of tests, to whose names cargo adds a digest, and keeps bn-core's; bn-train's unit tests get the name $1.
packed_tests() {
    local path name
    while read -r path; do
        name=$(basename "$path")
        case ${name%-*} in
            # With its symbols: a test reads its own backtrace.
            bn_train) packed "$path" "tests/$1" --strip-debug ;;
            bn_core | bn_report) ;; # unit tests, which need no device
            *) packed "$path" "tests/${name%-*}" ;;
        esac
    done
}

mkdir -p -- "$out/tests"
wanted=(bn-train conformance speed)
executables cuda build --bin bn-train --example conformance --example speed | while read -r path; do
    packed "$path" "$(basename "$path")"
done
if [[ $with_tests == true ]]; then
    targets=(--lib)
    wanted+=(tests/bn-train)
    for path in bn-core/tests/*; do
        name=$(basename "$path" .rs)
        case $name in
            common | architecture | conformance) ;;
            *) targets+=(--test "$name") && wanted+=("tests/$name") ;;
        esac
    done
    executables cuda test --no-run "${targets[@]}" | packed_tests bn-train
fi
if [[ $with_cudnn == true ]]; then
    wanted+=(bn-train-cudnn)
    path=$(executables cudnn build --bin bn-train)
    packed "$path" bn-train-cudnn
    if [[ $with_tests == true ]]; then
        wanted+=(tests/bn-train-cudnn)
        executables cudnn test --no-run --lib | packed_tests bn-train-cudnn
    fi
fi
for name in "${wanted[@]}"; do
    [[ -x $out/$name ]] || die "cargo built no $name"
done

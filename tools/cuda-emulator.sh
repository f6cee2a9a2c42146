#!/usr/bin/env bash
# Runs a command on a machine where a CUDA build finds a GPU that the CPU plays: its driver, NVRTC, cuBLAS, cuRAND and
# cuDNN are small libraries of tools/cuda-emulator, and kernels, ours and candle's, are compiled from their source by g++. So
# the whole of the Rust code for GPUs runs, slowly. docs/cuda.md says what this can see and what not.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'USAGE'
usage: tools/cuda-emulator.sh COMMAND [ARGUMENT...]

  tools/cuda-programs.sh DIR                                                  # first: the programs of a CUDA build
  tools/cuda-emulator.sh DIR/conformance --device cuda bn-core/conformance/cases
  tools/cuda-emulator.sh DIR/bn-train run --device cuda --set train.steps=4
  TESTS_LEFT_OUT='large_shapes number_of_threads' STEP_LIMIT=3000 EMULATOR_GPUS=2 \
      tools/cuda-emulator.sh tools/cuda-test.sh --quick --steps 2 --programs DIR      # all of it: half an hour

Needs g++ 11 or later, and the source of candle-kernels, which cargo has fetched.
Variables: EMULATOR_GPUS, how many GPUs (default 1); EMULATOR_MEMORY, bytes of each (default 8 GiB);
           EMULATOR_CUDA, the newest CUDA that the driver supports (default 13000, which is 13.0);
           EMULATOR_TRACE=1 prints every launch; EMULATOR_CHECK=1 looks for writes out of bounds after each;
           EMULATOR_CACHE, where compiled kernels are kept (default: ~/.cache/bn-cuda-emulator).
USAGE
}

die() {
    echo "cuda-emulator: error: $*" >&2
    exit 1
}

case ${1:-} in
    -h | --help) usage && exit ;;
    '') usage >&2 && exit 2 ;;
esac
command -v g++ >/dev/null || die "no g++"
manifest=$(cargo metadata --locked --format-version 1 --manifest-path "$root/Cargo.toml" --features bn-train/cuda |
    grep -o '"manifest_path":"[^"]*candle-kernels-[^"]*"' | head -n 1 | cut -d '"' -f 4) || true
export CANDLE_KERNELS=${manifest%/Cargo.toml}/src EMULATOR=$root/tools/cuda-emulator
export EMULATOR_CACHE=${EMULATOR_CACHE:-$HOME/.cache/bn-cuda-emulator}
[[ -e $CANDLE_KERNELS/fill.cu ]] || die "no source of candle-kernels; run: cargo fetch --locked"

# Kernels and libraries of another emulator are not used.
version=$(find "$EMULATOR" "$root/tools/cuda-host/shim.h" -type f | sort | xargs cat | cksum | cut -d ' ' -f 1)
EMULATOR_CACHE+=/$version
libraries=$EMULATOR_CACHE/lib
if [[ ! -e $libraries/complete ]]; then
    mkdir -p -- "$libraries"
    flags=(-std=c++20 -O3 -march=native -ffp-contract=off -shared -fPIC -fvisibility=hidden)
    g++ "${flags[@]}" -o "$libraries/libcuda.so.1" "$EMULATOR/driver.cpp" -Wl,-soname,libcuda.so.1
    for library in nvrtc.so.13 cublas.so.13 curand.so.10 cudnn.so.9; do
        name=${library%%.*} source=libraries.cpp
        [[ $name != cudnn ]] || source=cudnn.cpp
        echo "lib$library { global: *; };" >"$libraries/$name.map"
        g++ "${flags[@]}" -D"${name^^}" -o "$libraries/lib$library" "$EMULATOR/$source" \
            -Wl,-soname,"lib$library" -Wl,--version-script="$libraries/$name.map"
    done
    # For scripts that look for a GPU.
    printf '#!/bin/sh\necho "Emulated GPU, 580.00, 8192 MiB, 9.0"\n' >"$libraries/nvidia-smi"
    chmod +x "$libraries/nvidia-smi"
    touch "$libraries/complete"
fi
# The kernels' texts are no PTX, so bn-core must not keep them with those of real GPUs.
export BN_CUDA_CACHE='' PATH=$libraries:$PATH LD_LIBRARY_PATH=$libraries PROGRAM_LIBRARIES=$libraries
exec "$@"

#!/usr/bin/env bash
# Stands in for nvcc while candle-kernels is built: it compiles everything but the kernels for quantized language
# models, which take most of that build's time and which nothing here calls. In their place stand functions that say so
# and abort. `eval "$(tools/cuda-toolchain.sh --no-quantization DIR)"` sets it as $NVCC, which candle's build reads.
set -euo pipefail

file=${*: -1}
case $(basename -- "$file") in
    quantized.cu | mmq_*.cu | mmvq_*.cu | moe_*.cu) ;;
    *) exec nvcc "$@" ;;
esac

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

if [[ " $* " == *' --ptx '* ]]; then
    # candle loads this module when a quantized tensor is first used, and then misses its functions by name.
    : >"$work/$(basename -- "$file")"
    nvcc "${@:1:$#-1}" "$work/$(basename -- "$file")"
    exit
fi

# candle-kernels declares in ffi.rs what these files define.
folder=$(dirname -- "$file")
until [[ -e $folder/ffi.rs ]]; do
    [[ -e $folder/../ffi.rs ]] || {
        echo "nvcc-no-quantization: error: no ffi.rs beside $file or above it; candle-kernels has changed, build without this script" >&2
        exit 1
    }
    folder=$folder/..
done
{
    printf '#include <stdio.h>\n#include <stdlib.h>\n'
    sed -nE 's/^ *pub fn ([a-z0-9_]+)\(.*/\1/p' "$folder/ffi.rs" | while read -r name; do
        # Weak: every one of the files brings all of them.
        printf '__attribute__((weak)) void %s(void) { fputs("%s: this program was built without quantization kernels\\n", stderr); abort(); }\n' \
            "$name" "$name"
    done
} >"$work/stubs.c"
grep -q weak "$work/stubs.c" || {
    echo "nvcc-no-quantization: error: $folder/ffi.rs declares no function" >&2
    exit 1
}
while [[ $1 != -o ]]; do shift; done
"${CC:-cc}" -c -fPIC -O1 -o "$2" "$work/stubs.c"

#!/usr/bin/env bash
# Makes a shared library of kernels: compile.sh TEXT LIBRARY. TEXT is what libraries.cpp's NVRTC returns, or PTX of candle's
# kernels, whose source is looked up by the name of its first kernel in CANDLE_KERNELS.
set -euo pipefail
text=$1 library=$2 here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
flags=(-std=c++20 -O1 -w -fPIC -fvisibility=hidden -fno-gnu-unique -fno-strict-aliasing -ffp-contract=off
    -DFIBERS -DSTACK_OF_A_THREAD=16384 -I "$here" -I "$here/../cuda-host")
if [[ $(head -n 1 "$text") == ".version emulated" ]]; then
    { echo '#include "shim.h"' && tail -n +2 "$text"; } >"$work/unit.cpp"
else
    kernel=$(grep -m 1 -oE '\.entry +[A-Za-z0-9_]+' "$text" | awk '{ print $2 }')
    source=$(grep -lw -- "$kernel" "$CANDLE_KERNELS"/*.cu | head -n 1)
    [[ -n $source ]] || { echo "cuda-emulator: no source of $kernel in $CANDLE_KERNELS" >&2 && exit 1; }
    case $source in
        */reduce.cu) ;;
        *) flags+=(-DWITHOUT_BARRIERS) ;; # a loop over threads, a hundred times as fast
    esac
    flags+=(-DCANDLE -I "$here/candle" -I "$CANDLE_KERNELS")
    printf '#include "candle.h"\n#include "%s"\n' "$source" >"$work/unit.cpp"
fi
# Macros write most kernels, so their names are those of the preprocessed text.
g++ "${flags[@]}" -E -P "$work/unit.cpp" | tr '\n' ' ' | grep -oE 'extern "C" +void +[A-Za-z0-9_]+ *\(' | sed -E 's/.*void +//; s/ *\(//' | grep -v '^_' | sort -u >"$work/names"
{
    echo '#include "unit.cpp"'
    echo '#include "run.h"'
    sed 's/.*/RUN(&)/' "$work/names"
} >"$work/library.cpp"
g++ "${flags[@]}" -I "$work" -shared -o "$library.$$" "$work/library.cpp"
mv -- "$library.$$" "$library"

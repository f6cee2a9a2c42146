#!/usr/bin/env bash
# Everything that needs a GPU, in one call, on a machine with a GPU and no Rust; docs/cuda.md explains.
# tools/gpu-bundle.sh makes the folder that this runs. It looks at the machine and sums up; the checks are
# tools/cuda-test.sh and tools/cuda-bench.sh, in the bundle.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: gpu-check.sh [--quick] [--steps N] [--only tests|speed] [--out DIR] [--device cuda[:N]] [BUNDLE]

Checks and times the CUDA build on this machine's GPUs:
  1. the machine: nvidia-smi, the GPUs' compute capability, the libraries the programs need
  2. conformance cases, bn-core's and bn-train's tests, every experiment for some steps (on the GPUs, again, and on the
     CPU; those with convolutions also by cuDNN) and the default experiment whole
  3. batch normalization and training steps beside PyTorch's
A check that fails does not stop the next. Writes DIR/summary.md and a log per check; exits with 1 unless every check
that could run passed.

  BUNDLE             what tools/gpu-bundle.sh made, packed or unpacked (default: this script's own folder)
  --quick            leave out the whole default experiment
  --steps N          steps of each experiment (default: 20)
  --only PART        step 2 (tests) or step 3 (speed) alone, where the machine is there for a short time
  --out DIR          where the results go (default: gpu-check)
  --device cuda[:N]  the GPU (default: cuda: every GPU for training, the first for the rest)

Needs: an NVIDIA driver (libcuda.so.1) for CUDA 13 (580 or later); libcublas.so.13, libcurand.so.10, libcudart.so.13,
       libnvrtc.so.13 and libcudnn.so.9, which CUDA 13 and cuDNN or NVIDIA's wheels bring; Python 3, and PyTorch for step 3.
Variables: PYTHON      the Python that has PyTorch (default: python3)
           STEP_LIMIT  seconds after which a program counts as hung (default: 600)
USAGE
}

# Until the bundle's own say and die, which replace them.
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

read_arguments() {
    bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    out=gpu-check device=cuda only='' steps=20 quick=()
    while [[ $# -gt 0 ]]; do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --quick) quick=(--quick) ;;
            --out | --device | --only | --steps)
                [[ $# -ge 2 ]] || die "$1 needs a value"
                declare -g "${1#--}=$2"
                shift
                ;;
            -*) die "unknown option $1; --help lists them" ;;
            *) bundle=$1 ;;
        esac
        shift
    done
    [[ $only =~ ^(|tests|speed)$ ]] || die "--only $only: expected tests or speed"
    [[ -d $bundle ]] || die "$bundle: no such folder"
}

# Sets `bundle` to an unpacked folder.
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
    for part in bin/bn-train tools/verdicts.sh tools/cuda-test.sh tools/cuda-bench.sh bn-core/conformance/cases built.txt; do
        [[ -e $bundle/$part ]] || die "$bundle: no $part; make the folder with tools/gpu-bundle.sh"
    done
}

built() { sed -n "s/^$1: //p" "$bundle/built.txt"; }

check_gpus() {
    local log=$out/nvidia-smi.txt gpus gpu capability built_for chosen=()
    [[ $device == cuda ]] || chosen=(-i "${device#cuda:}")
    if ! command -v nvidia-smi >/dev/null; then
        failure GPUs "no nvidia-smi here: no NVIDIA driver is installed. Run this on a machine with a GPU"
        return
    fi
    if ! nvidia-smi >"$log" 2>&1; then
        failure GPUs "nvidia-smi fails: $(last_line "$log")"
        return
    fi
    cat "$log" >&2
    if ! gpus=$(nvidia-smi "${chosen[@]}" --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader 2>&1); then
        failure GPUs "nvidia-smi knows no GPU ${chosen[*]}: $(tail -n 1 <<<"$gpus")"
        return
    fi
    built_for=$(built compute_cap)
    while read -r gpu; do
        capability=$(sed 's/.*, //; s/\.//' <<<"$gpu")
        # From 90 on, kernels are built for one architecture alone (sm_90a); older ones run on newer GPUs too.
        if [[ ! $capability =~ ^[0-9]+$ ]] || ((capability < built_for || (built_for >= 90 && capability != built_for))); then
            failure GPUs "$gpu: the programs are built for compute capability $built_for; rebuild the bundle with CUDA_COMPUTE_CAP=$capability"
            return
        fi
    done <<<"$gpus"
    passed GPUs "$(sort <<<"$gpus" | uniq -c | sed 's/^ *\([0-9]*\) /\1 x /' | paste -sd ';')"
}

# Libraries of CUDA that some program here needs and the loader does not find.
missing_libraries() {
    local program
    for program in "$bundle"/bin/* "$bundle"/bin/tests/*; do
        [[ ! -f $program ]] || LD_LIBRARY_PATH=$libraries ldd "$program" 2>/dev/null || true
    done | sed -n 's/^[[:space:]]*\(lib[^ ]*\) => not found.*/\1/p' | sort -u
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
        failure libraries "not found: ${missing% }. libcuda.so.1 comes with the driver; the others with CUDA 13 or \`pip install nvidia-cublas nvidia-curand nvidia-cuda-runtime nvidia-cuda-nvrtc nvidia-cudnn-cu13\`; name their folder in LD_LIBRARY_PATH"
    else
        passed libraries "all found${libraries:+ (LD_LIBRARY_PATH=$libraries)}"
    fi
}

# part NAME FOLDER SCRIPT FLAG...: a script of the bundle, whose verdicts become this one's.
part() {
    local name=$1 folder=$2 status=0 count
    PROGRAM_LIBRARIES=$libraries "$bundle/tools/$3" --device "$device" --programs "$bundle/bin" "${@:4}" \
        2>&1 | tee "$work/part.txt" >&2 || status=$?
    touch "$folder/verdicts.tsv"
    cat "$folder/verdicts.tsv" >>"$verdicts"
    count=$(grep -c '^FAIL' "$folder/verdicts.tsv" || true)
    failed=$((failed + count))
    skipped=$((skipped + $(grep -c '^not run' "$folder/verdicts.tsv" || true)))
    # It ended before its first check, or between two.
    [[ $status -eq 0 || $count -gt 0 ]] || failure "$name" "$(reason "$status" "$work/part.txt")"
}

write_summary() {
    {
        echo "# GPU check, $(date -u '+%Y-%m-%d %H:%M UTC')"
        echo
        echo "Built from $(built commit) for compute capability $(built compute_cap), CUDA $(built cuda)."
        echo
        echo '| check | verdict | seen |'
        echo '|---|---|---|'
        # In the order they were made: verdict, check, what was seen.
        awk -F '\t' '{ print "| " $2 " | " ($1 == "FAIL" ? "**FAIL**" : $1) " | " $3 " |" }' "$verdicts"
        if [[ -s $out/tests/agreement-whole.txt ]]; then
            printf '\nThe default experiment:\n\n```\n'
            cat "$out/tests/agreement-whole.txt"
            echo '```'
        fi
        [[ ! -s $out/speed/table.md ]] || { echo && cat "$out/speed/table.md"; }
    } >"$out/summary.md"
}

main() {
    python=${PYTHON:-python3}
    read_arguments "$@"
    unpack
    # shellcheck source=tools/verdicts.sh
    source "$bundle/tools/verdicts.sh"
    need_cuda_device "$device"
    mkdir -p -- "$out/tests" "$out/speed" || die "cannot make the folder $out"
    # What an earlier call left would pass for this one's.
    rm -f -- "$out"/{summary.md,nvidia-smi.txt} "$out"/tests/{verdicts.tsv,agreement-whole.txt,report.html} \
        "$out"/speed/{verdicts.tsv,table.md}
    begin_verdicts "$work/verdicts.tsv"

    check_gpus
    find_libraries
    if [[ $only == speed ]]; then
        skip tests "--only speed"
    else
        part tests "$out/tests" cuda-test.sh --out "$out/tests" --steps "$steps" "${quick[@]}"
    fi
    if [[ $only == tests ]]; then
        skip speed "--only tests"
    else
        part speed "$out/speed" cuda-bench.sh "$out/speed"
    fi
    write_summary
    cat "$out/summary.md"
    say "results in $out"
    end_verdicts
}

main "$@"

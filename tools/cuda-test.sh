#!/usr/bin/env bash
# On a machine with GPUs: the conformance cases, bn-core's tests and bn-train's on a GPU, every shipped experiment for a few
# steps on the GPUs, again, and on the CPU, those with convolutions also by cuDNN, and the default experiment whole. docs/cuda.md says what of this has been run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/verdicts.sh
source "$root/tools/verdicts.sh"

usage() {
    cat <<'USAGE'
usage: cuda-test.sh [--device cuda[:N]] [--steps N] [--quick] [--programs DIR] [--out DIR]

  --device cuda[:N]  the GPU; cuda: every GPU for training, the first for the rest (default: cuda)
  --steps N          steps of each experiment (default: 20)
  --quick            leave out the whole default experiment
  --programs DIR     what tools/cuda-programs.sh made, with --cudnn for convolutions by cuDNN (default: it is called, without;
                     that needs Rust and CUDA 13)
  --out DIR          where verdicts.tsv and a log per check go (default: cuda-test)

Needs an NVIDIA GPU with its driver, and Python 3. Exits with 1 unless every check passed.
Variables: PYTHON (default: python3); STEP_LIMIT, seconds after which a program counts as hung (default: 600);
           PROGRAM_LIBRARIES, LD_LIBRARY_PATH for the programs alone;
           TESTS_LEFT_OUT, parts of names of tests, for tools/cuda-emulator.sh, where large shapes take too long.
USAGE
}

device=cuda steps=20 is_quick=false programs='' out=cuda-test python=${PYTHON:-python3}
while [[ $# -gt 0 ]]; do
    case $1 in
        --quick) is_quick=true ;;
        --device | --steps | --programs | --out)
            [[ $# -ge 2 ]] || die "$1 needs a value"
            declare "${1#--}=$2"
            shift
            ;;
        -h | --help) usage && exit ;;
        *) die "unknown option $1; --help lists them" ;;
    esac
    shift
done
need_cuda_device "$device"
[[ $steps =~ ^[1-9][0-9]*$ ]] || die "--steps $steps: expected a number from 1"
command -v "$python" >/dev/null || die "no $python; name a Python 3 in PYTHON"
need_gpu
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [[ -z $programs ]]; then
    programs=$work/programs
    "$root/tools/cuda-programs.sh" "$programs" || die "the build failed; the lines above say why"
fi
for program in bn-train conformance tests; do
    [[ -x $programs/$program ]] || die "$programs: no $program; make the folder with tools/cuda-programs.sh"
done
mkdir -p -- "$out" || die "cannot make the folder $out"
begin_verdicts "$out/verdicts.tsv"
first=$(first_device "$device")

check_conformance() {
    local log=$out/conformance.txt status=0
    ours "$programs/conformance" --device "$first" "$root/bn-core/conformance/cases" >"$log" 2>&1 || status=$?
    if [[ $status -eq 0 ]]; then
        passed conformance "$(last_line "$log")"
    else
        failure conformance "$(reason "$status" "$log")"
    fi
}

check_tests() {
    local program name log status names pattern count=0 broken=() skips=()
    for pattern in ${TESTS_LEFT_OUT:-}; do skips+=(--skip "$pattern"); done
    mkdir -p "$out/tests"
    for program in "$programs"/tests/*; do
        name=$(basename "$program") status=0
        log=$out/tests/$name.txt
        BN_TEST_DEVICE=$first ours "$program" "${skips[@]}" >"$log" 2>&1 || status=$?
        count=$((count + $(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$log" | tail -n 1 | grep . || echo 0)))
        if [[ $status -ne 0 ]]; then
            names=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | paste -sd ' ' | cut -c 1-200)
            broken+=("$name (${names:-$(reason "$status" "$log")})")
        fi
    done
    if [[ ${#broken[@]} -gt 0 ]]; then
        failure tests "$count passed; failed: ${broken[*]}; see $out/tests"
    elif [[ $count -eq 0 ]]; then
        failure tests "$programs/tests has none"
    else
        passed tests "$count passed with BN_TEST_DEVICE=$first${TESTS_LEFT_OUT:+, without $TESTS_LEFT_OUT}"
    fi
}

# train NAME FLAG...: into $work/NAME, with a log in $out, by the program bn-train or $trainer.
train() {
    local start=$SECONDS status=0
    ours "$programs/${trainer:-bn-train}" run --plain --out "$work/$1" "${@:2}" >"$out/train-$1.txt" 2>&1 || status=$?
    echo $((SECONDS - start)) >"$work/$1.seconds"
    return "$status"
}
seconds() { cat "$work/$1.seconds"; }

# agrees CHECK CPU GPU: the first losses of two trainings.
agrees() {
    local status=0
    "$python" "$root/tools/compare_devices.py" "$work/$2" "$work/$3" >"$out/agreement-$3.txt" 2>&1 || status=$?
    if [[ $status -eq 0 ]]; then
        passed "$1" "$(last_line "$out/agreement-$3.txt")"
    else
        failure "$1" "$(last_line "$out/agreement-$3.txt")"
    fi
}

# repeats NAME AGAIN: whether two trainings have the same bytes.
repeats() {
    local different
    different=$(cd "$work/$1" && find . -name metrics.csv | sort | while read -r file; do
        cmp -s "$file" "$work/$2/$file" || echo "${file%/metrics.csv}"
    done)
    [[ -z $different ]] || echo "metrics.csv differs in ${different//$'\n'/ }"
    [[ -z $different ]]
}

few_steps=(--set "train.steps=$steps" --seeds 0 --no-report)

check_experiments() {
    local flags=(--all "${few_steps[@]}") status=0 different
    train gpu "${flags[@]}" --device "$device" || status=$?
    if [[ $status -ne 0 ]]; then
        failure "every experiment" "$(reason "$status" "$out/train-gpu.txt")"
        skip "same bytes again" "an experiment did not run on the GPU"
        skip "GPU against CPU" "an experiment did not run on the GPU"
        return
    fi
    passed "every experiment" "$steps steps on $device in $(seconds gpu) s"
    # Two at a time on one GPU: neither that nor which GPU it is may matter.
    train again "${flags[@]}" --device "$first" --jobs 2 || status=$?
    if [[ $status -ne 0 ]]; then
        failure "same bytes again" "$(reason "$status" "$out/train-again.txt")"
    else
        if different=$(repeats gpu again); then
            passed "same bytes again" "two runs at a time on $first: the same metrics.csv in every run"
        else
            failure "same bytes again" "$different"
        fi
    fi
    status=0
    train cpu "${flags[@]}" --device cpu || status=$?
    if [[ $status -ne 0 ]]; then
        failure "GPU against CPU" "on the CPU: $(reason "$status" "$out/train-cpu.txt")"
    else
        agrees "GPU against CPU" cpu gpu
    fi
}

# The names of the experiments that have convolutions, but for the full-size ones.
with_convolutions() {
    local name
    ours "$programs/bn-train" list | sed -n '/full size/d; s/^\([a-z0-9-]*\)  (.*/\1/p' | while read -r name; do
        ! ours "$programs/bn-train" show "$name" | grep -qE 'kind = "(convnet|resnet|inception)"' || echo "$name"
    done
}

# After check_experiments, which has trained on the CPU.
check_cudnn() {
    # `train` reads the trainer.
    local trainer=bn-train-cudnn name names different out_of
    if [[ ! -x $programs/$trainer ]]; then
        skip "convolutions by cuDNN" "$programs has no $trainer"
        return
    fi
    names=$(with_convolutions)
    [[ -n $names ]] || failure "convolutions by cuDNN" "no experiment has convolutions"
    for name in $names; do
        for out_of in cudnn cudnn-again; do
            train "$out_of" "$name" "${few_steps[@]}" --device "$first" || {
                failure "convolutions by cuDNN" "$name: $(reason $? "$out/train-$out_of.txt")"
                return
            }
        done
    done
    if different=$(repeats cudnn cudnn-again); then
        agrees "convolutions by cuDNN" cpu cudnn
    else
        failure "convolutions by cuDNN" "again, $different"
    fi
}

check_whole() {
    local status=0 page
    if [[ $is_quick == true ]]; then
        skip "whole experiment" "--quick"
        return
    fi
    train whole --device "$device" || status=$?
    if [[ $status -ne 0 ]]; then
        failure "whole experiment" "$(reason "$status" "$out/train-whole.txt")"
        return
    fi
    passed "whole experiment" "the default one, on $device in $(seconds whole) s"
    page=$(find "$work/whole" -name report.html | head -n 1)
    [[ -z $page ]] || cp "$page" "$out/report.html"
    train whole-cpu --device cpu --no-report || status=$?
    if [[ $status -ne 0 ]]; then
        failure "whole experiment against CPU" "on the CPU: $(reason "$status" "$out/train-whole-cpu.txt")"
    else
        agrees "whole experiment against CPU" whole-cpu whole
    fi
}

check_conformance
check_tests
check_experiments
check_cudnn
check_whole
end_verdicts

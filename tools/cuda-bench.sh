#!/usr/bin/env bash
# On a machine with a GPU: batch normalization and training steps against PyTorch's, with cuDNN and without, and against
# a copy on the device. docs/cuda.md says what of this has been run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/verdicts.sh
source "$root/tools/verdicts.sh"

usage() {
    cat <<'USAGE'
usage: cuda-bench.sh [--device cuda[:N]] [--programs DIR] OUT

Writes OUT/ours.jsonl, OUT/cudnn.jsonl, OUT/torch.jsonl, OUT/table.md and OUT/verdicts.tsv. Exits with 1 where ours is slower
than PyTorch's faster backend. Without PyTorch only ours is timed.

  --device cuda[:N]  the GPU (default: cuda, the first)
  --programs DIR     what tools/cuda-programs.sh made, with --cudnn for convolutions by cuDNN (default: it is called, without;
                     that needs Rust and CUDA 13)

Variables: PYTHON, a Python 3 with PyTorch (default: python3); STEP_LIMIT, seconds after which a program counts as hung
           (default: 600); PROGRAM_LIBRARIES, LD_LIBRARY_PATH for our programs alone.
USAGE
}

device=cuda programs='' out='' python=${PYTHON:-python3}
while [[ $# -gt 0 ]]; do
    case $1 in
        --device | --programs)
            [[ $# -ge 2 ]] || die "$1 needs a value"
            declare "${1#--}=$2"
            shift
            ;;
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
need_cuda_device "$device"
need_gpu
device=$(first_device "$device")
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [[ -z $programs ]]; then
    programs=$work/programs
    "$root/tools/cuda-programs.sh" --no-tests "$programs" || die "the build failed; the lines above say why"
fi
for program in bn-train speed; do
    [[ -x $programs/$program ]] || die "$programs: no $program; make the folder with tools/cuda-programs.sh"
done
mkdir -p -- "$out" || die "cannot make the folder $out"
# What an earlier call left would pass for this one's.
for file in ours.jsonl cudnn.jsonl torch.jsonl table.md; do : >"$out/$file"; done
begin_verdicts "$out/verdicts.tsv"

# timed CHECK FILE COMMAND...: appends the command's lines to the file.
timed() {
    local check=$1 file=$2 status=0 before after
    before=$(wc -l <"$file")
    "${@:3}" >>"$file" 2>"$work/log" || status=$?
    after=$(wc -l <"$file")
    if [[ $status -eq 0 && $after -gt $before ]]; then
        passed "$check" "$((after - before)) timings"
    else
        failure "$check" "$(reason "$status" "$work/log")"
    fi
}

timed "our batch normalization" "$out/ours.jsonl" ours "$programs/speed" --device "$device"
timed "our training steps" "$out/ours.jsonl" ours "$programs/bn-train" bench --device "$device" --only train --rounds 20
if [[ -x $programs/bn-train-cudnn ]]; then
    timed "our training steps with cuDNN" "$out/cudnn.jsonl" ours "$programs/bn-train-cudnn" bench --device "$device" --only resnet --rounds 20
else
    skip "our training steps with cuDNN" "$programs has no bn-train-cudnn"
fi
if ! command -v "$python" >/dev/null || ! "$python" -c 'from torch import nn' >/dev/null 2>&1; then
    skip "PyTorch's times" "$python has no PyTorch; name another Python in PYTHON"
else
    # Twice as long as a program of ours may take: it times every step twice, and a layer in two layouts.
    timed "PyTorch's times" "$out/torch.jsonl" timeout -k 10 $((2 * limit)) "$python" "$root/tools/torch_cuda.py" "$device"
fi
if ! command -v "$python" >/dev/null; then
    skip "no slower than PyTorch" "no $python"
else
    status=0
    "$python" "$root/tools/cuda_table.py" "$out/ours.jsonl" "$out/cudnn.jsonl" "$out/torch.jsonl" >"$out/table.md" 2>"$work/log" || status=$?
    [[ -s $out/table.md ]] || failure "no slower than PyTorch" "$(last_line "$work/log")"
    cat "$out/table.md"
    if [[ ! -s $out/torch.jsonl ]]; then
        skip "no slower than PyTorch" "PyTorch was not timed"
    elif [[ $status -eq 0 ]]; then
        passed "no slower than PyTorch" "$(last_line "$out/table.md")"
    else
        failure "no slower than PyTorch" "$(last_line "$out/table.md")"
    fi
fi
end_verdicts

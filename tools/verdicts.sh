# Sourced by gpu-check.sh, cuda-test.sh and cuda-bench.sh: checks that go on after a failure, a verdict each, and how
# our programs are run. It is no program itself.
# shellcheck shell=bash

limit=${STEP_LIMIT:-600}
verdicts=/dev/null # a line per check: verdict, check, what was seen, by tabs
failed=0
skipped=0

say() { echo "$(basename "$0" .sh): $*" >&2; }
die() {
    say "error: $*"
    exit 1
}
record() { printf '%s\t%s\t%s\n' "$@" >>"$verdicts" && say "$1: $2: $3"; }
passed() { record pass "$@"; }
failure() { record FAIL "$@" && failed=$((failed + 1)); }
skip() { record 'not run' "$@" && skipped=$((skipped + 1)); }

# begin_verdicts FILE: what an earlier call left would pass for this one's.
begin_verdicts() {
    [[ $limit =~ ^[1-9][0-9]*$ ]] || die "STEP_LIMIT=$limit: expected seconds"
    verdicts=$1
    : >"$verdicts" || die "cannot write $verdicts"
}

# The last words of a caller: its exit status.
end_verdicts() {
    [[ $failed -eq 0 ]] || die "$failed of $(wc -l <"$verdicts") checks failed, $skipped not run"
    echo "$(basename "$0" .sh): all passed, $skipped not run"
}

# The last line of a log that is no blank, fit for a cell of a table.
last_line() { { grep -v '^[[:space:]]*$' "$1" || echo 'no output'; } | tail -n 1 | tr '|\t' '/ ' | cut -c 1-400; }
# reason STATUS LOG: why a program ended so: its error, or else its last line.
reason() {
    if [[ $1 -eq 124 || $1 -eq 137 ]]; then
        echo "no end within $limit s (STEP_LIMIT)"
    else
        { grep -E '^(error|.*: error): ' "$2" || last_line "$2"; } | head -n 1 | tr '|\t' '/ ' | cut -c 1-400
    fi
}

# Runs one of our programs. Only they see PROGRAM_LIBRARIES: PyTorch brings libraries of its own.
ours() { LD_LIBRARY_PATH=${PROGRAM_LIBRARIES:-${LD_LIBRARY_PATH:-}} timeout -k 10 "$limit" "$@"; }

need_gpu() {
    command -v nvidia-smi >/dev/null || die "no nvidia-smi here: no NVIDIA driver is installed. Run this on a machine with a GPU"
    nvidia-smi >/dev/null || die "nvidia-smi fails; the lines above say why. Repair the NVIDIA driver"
}

# need_cuda_device NAME
need_cuda_device() { [[ $1 =~ ^cuda(:[0-9]+)?$ ]] || die "--device $1: expected cuda or cuda:N"; }
# The device of what needs one only.
first_device() { if [[ $1 == cuda ]]; then echo cuda:0; else echo "$1"; fi; }

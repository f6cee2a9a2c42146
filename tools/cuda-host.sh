#!/usr/bin/env bash
# Runs the CUDA kernels' own source on the CPU, under AddressSanitizer, UBSan and ThreadSanitizer: against f64 loops and
# against what the CPU engine computed. Then each line of cuda-host/mutants.tsv, a mistake put into a copy of the
# kernels, must make that fail. docs/cuda.md explains.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'USAGE'
usage: tools/cuda-host.sh [--cases FILE] [--no-mutants]

--cases FILE    what `cargo run --release -p bn-core --example cuda_cases -- FILE` wrote (default: run it)
--no-mutants    leave the mutants out

Needs g++ 11 or later (or $CXX), and cargo without --cases. Variables: JOBS, builds at a time (default 2).
Its last line: host: M cases, K mutants killed
USAGE
}

die() {
    echo "cuda-host: error: $*" >&2
    exit 1
}

sources=(bn-core/src/engine/cuda/*.cu bn-train/src/{ops/gpu,ops/loss,optimizer/cuda}/*.cu)
arguments=(bn-core/src/engine/cuda/{arguments,formulas}.rs bn-train/src/optimizer/cuda/mod.rs)
harness=tools/cuda-host
cxx=${CXX:-g++} jobs=${JOBS:-2}
cases='' with_mutants=true
while [[ $# -gt 0 ]]; do
    case $1 in
        --cases) cases=${2:?} && shift ;;
        --no-mutants) with_mutants=false ;;
        -h | --help) usage && exit ;;
        *) die "unknown option $1" ;;
    esac
    shift
done
command -v "$cxx" >/dev/null || die "no $cxx; install g++ or name a C++ compiler in CXX"
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
kernels=$work/kernels
mkdir "$kernels"
cp "${sources[@]}" "$kernels"
awk -f "$harness/layout.awk" "${arguments[@]}" >"$work/layout.h"
for last in Commit Update; do
    grep -q "sizeof($last)" "$work/layout.h" || die "layout.awk does not find $last in ${arguments[*]}"
done
if [[ -z $cases ]]; then
    cases=$work/cases.f64
    cargo run --quiet --release --locked -p bn-core --example cuda_cases -- "$cases"
fi
[[ -s $cases ]] || die "$cases: no cases"

declare -A numbers=([F32]=1 [F64]=2 [F16]=3 [BF16]=4)

# build KERNELS ELEMENT SANITIZER OUTPUT [FLAG...]; without optimization, which would take longer than the run.
build() {
    local flags=(-std=c++20 -O0 -g1 -w -pthread -DELEMENT="${numbers[$2]}" -I "$1" -I "$work" -I "$harness")
    case $3 in
        address) flags+=(-DFIBERS -fsanitize=address) ;;
        thread) flags+=(-fsanitize=thread) ;;
    esac
    "$cxx" "${flags[@]}" "${@:5}" -o "$4" "$harness/host.cpp"
}

# run PROGRAM SANITIZER LOG: all cases under AddressSanitizer; a share of them under ThreadSanitizer, which is slow.
run() {
    local threads=16 share=1
    [[ $2 == address ]] || { threads=8 share=8; }
    ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 TSAN_OPTIONS=halt_on_error=1 \
        timeout -k 5 "${LIMIT:-900}" "$1" "$threads" "$share" "$cases" >"$3" 2>&1
}

check() {
    local element=$1 sanitizer=$2 name=$1-$2 undefined=()
    [[ $sanitizer == thread ]] || undefined=(-fsanitize=undefined -fno-sanitize-recover=all)
    build "$kernels" "$element" "$sanitizer" "$work/$name" "${undefined[@]}" || return 1
    run "$work/$name" "$sanitizer" "$work/$name.log"
}

# A mutant is killed where its run fails; not where its pattern fits nothing, or where it does not compile. It is built
# without UBSan, which doubles the compiler's time, and stops at its first failure.
mutant() {
    local number=$1 file=$2 element=$3 sanitizer=$4 expression=$5 folder=$work/mutant-$1
    mkdir "$folder"
    cp "$kernels"/*.cu "$folder"
    sed -i "$expression" "$folder/$file"
    if cmp -s "$kernels/$file" "$folder/$file"; then
        echo "changes nothing" >"$folder.verdict"
    elif ! build "$folder" "$element" "$sanitizer" "$folder/host" -DONE_FAILURE >"$folder.log" 2>&1; then
        echo "does not compile: $(grep -m 1 error "$folder.log")" >"$folder.verdict"
    else
        local status=0
        LIMIT=400 run "$folder/host" "$sanitizer" "$folder.log" || status=$?
        case $status in
            0) echo "survived" >"$folder.verdict" ;;
            # A slow machine proves nothing.
            124 | 137) echo "did not end in 400 s" >"$folder.verdict" ;;
            *) echo "killed" >"$folder.verdict" ;;
        esac
    fi
    rm -rf -- "$folder"
}

limit_jobs() {
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
}

runs=()
for run in F32:address F64:address F16:address BF16:address F32:thread BF16:thread; do
    limit_jobs
    runs+=("$run")
    (check "${run%:*}" "${run#*:}" && touch "$work/${run/:/-}.passed") &
done
wait
total=0 failed=false
for run in "${runs[@]}"; do
    name=${run/:/-}
    if [[ -e $work/$name.passed ]]; then
        line=$(tail -n 1 "$work/$name.log")
        echo "${run#*:} sanitizer: $line"
        found=$(sed -n 's/.*: \([0-9]*\) cases.*/\1/p' <<<"$line")
        total=$((total + found))
    else
        echo "${run#*:} sanitizer, ${run%:*}: failed" >&2
        head -n 40 "$work/$name.log" >&2 || true
        failed=true
    fi
done
[[ $failed == false ]] || die "the kernels fail on the CPU"

killed=0
if [[ $with_mutants == true ]]; then
    names=()
    while IFS=$'\t' read -r name file element sanitizer expression; do
        [[ -n $name && $name != \#* ]] || continue
        limit_jobs
        names+=("$name")
        mutant "${#names[@]}" "$file" "$element" "$sanitizer" "$expression" &
    done <"$harness/mutants.tsv"
    wait
    for number in "${!names[@]}"; do
        verdict=$(<"$work/mutant-$((number + 1)).verdict")
        echo "mutant: ${names[number]}: $verdict"
        if [[ $verdict == killed ]]; then killed=$((killed + 1)); else failed=true; fi
    done
    [[ $failed == false ]] || die "a mutant was not killed"
fi
echo "host: $total cases, $killed mutants killed"

#!/usr/bin/env bash
# Kills training at random moments, runs it again until it ends, and compares what it wrote with what an undisturbed
# run writes. Every optimizer meets every kind of norm, and there are other networks, averages, and a pair of networks.
#
#     tools/kill-test.sh KILLS [SEED]
#
# Needs target/release/bn-train (or the program in $BN_TRAIN). Exits with 1 if any byte of metrics.csv, layers.csv or
# schedules.csv differs, if a run hangs, or if a run that was not killed fails.
set -euo pipefail
cd "$(dirname "$0")/.."

kills_wanted=${1:?usage: tools/kill-test.sh KILLS [SEED]}
RANDOM=${2:-1}
program=${BN_TRAIN:-target/release/bn-train}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
steps=60

experiment="$folder/kill-test.toml"
{
    printf 'name = "kill-test"\nseeds = [0]\n[data]\nname = "digits"\n[model]\nkind = "mlp"\nhidden = [32, 32]\n'
    printf '[optimizer]\nlearning_rate = 0.01\n[train]\nsteps = %d\nbatch_size = 32\nevaluate_every = 10\n' "$steps"
    printf '[checkpoint]\nevery = 7\nkeep = 2\n'
    for optimizer in 'kind = "sgd"' 'kind = "sgd", momentum = 0.9' 'kind = "adam"' 'kind = "adamw"' 'kind = "rmsprop"'; do
        for norm in 'kind = "none"' 'kind = "batch"' 'kind = "batch", zero_debias = "both"' \
            'kind = "renorm", renorm = { variant = "keras", schedule = "paper" }'; do
            printf '[[arm]]\nname = "%s; %s"\noptimizer = { %s }\nnorm = { %s }\n' \
                "${optimizer//\"/}" "${norm//\"/}" "$optimizer" "$norm"
        done
    done
    # Other networks, and all that has state beside weights.
    cat <<'ARMS'
[[arm]]
name = "convnet"
model = { kind = "convnet", channels = [4, 8] }
[[arm]]
name = "resnet"
model = { kind = "resnet", depth = 8 }
train.steps = 20
[[arm]]
name = "averaged weights"
average = { kind = "ema", decay = 0.9, statistics = "recomputed" }
[[arm]]
name = "accumulated, with shadows"
train.accumulate = 4
shadow.decays = [0.9, "cumulative"]
population.when = "evaluations"
[[arm]]
name = "gan"
task = { kind = "gan", latent = 4, hidden = [16] }
optimizer = { kind = "adam", learning_rate = 0.001 }
ARMS
} >"$experiment"

# Starts the runs in the background; $launcher is their process.
start() {
    "$program" run "$experiment" --out "$1" --jobs "$2" --plain --no-report >"$folder/stdout" 2>"$folder/stderr" &
    launcher=$!
}

# Waits for the launcher, for two minutes at most; $status is how it ended.
await() {
    local started=$SECONDS
    while kill -0 "$launcher" 2>/dev/null; do
        if ((SECONDS - started > 120)); then
            printf 'it hangs:\n' >&2
            cat "$folder/stderr" >&2
            exit 1
        fi
        sleep 0.02
    done
    status=0
    wait "$launcher" || status=$?
}

workers() { cat "/proc/$launcher/task/$launcher/children" 2>/dev/null || true; }

# Sends a random signal to the launcher, to one of its workers, or to all of them; counts it if it met somebody.
strike() {
    local signals=(INT TERM KILL KILL) signal targets all
    signal=${signals[RANDOM % 4]}
    read -ra all <<<"$(workers)"
    case $((RANDOM % 3)) in
    0) targets=("$launcher") ;;
    1) targets=("${all[@]:0:1}") ;;
    2) targets=("$launcher" "${all[@]}") ;;
    esac
    if ((${#targets[@]})) && kill "-$signal" "${targets[@]}" 2>/dev/null; then
        kills=$((kills + 1))
    fi
}

# What must be the same, as "digest  path".
deterministic() { (cd "$1" && find . \( -name metrics.csv -o -name layers.csv -o -name schedules.csv \) -not -path '*/.*/*' -exec sha256sum {} + | sort -k 2); }

start "$folder/undisturbed" 2
await
if ((status != 0)); then
    cat "$folder/stderr" >&2
    exit 1
fi
deterministic "$folder/undisturbed" >"$folder/wanted"
files=$(wc -l <"$folder/wanted")
printf '%d files of an undisturbed run to compare with\n' "$files"

kills=0 rounds=0 differ=0
while ((kills < kills_wanted)); do
    out="$folder/round"
    rm -rf "$out"
    while :; do
        start "$out" $((1 + RANDOM % 3))
        before=$kills
        sleep "$(printf '0.%03d' $((RANDOM % 400)))"
        strike
        await
        ((status != 0)) || break
        if ((kills == before)); then
            printf 'it failed though nobody killed it:\n' >&2
            cat "$folder/stderr" >&2
            exit 1
        fi
    done
    deterministic "$out" >"$folder/found"
    rounds=$((rounds + 1))
    if ! diff "$folder/wanted" "$folder/found" >"$folder/diff"; then
        differ=$((differ + 1))
        cat "$folder/diff" >&2
    fi
    printf '%d kills, %d rounds of %d files, %d rounds differ\n' "$kills" "$rounds" "$files" "$differ"
done
((differ == 0))

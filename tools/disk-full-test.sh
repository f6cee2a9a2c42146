#!/usr/bin/env bash
# Trains two runs on a file system of 400 KiB: the second finds it full. Needs root, to mount it, and
# target/release/bn-train (or the program in $BN_TRAIN). What must hold: exit status 1, the first run finished, the second
# one failed with its reason in status.json and worker.log, and its rows complete.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${BN_TRAIN:-target/release/bn-train}
folder=$(mktemp -d)
mount -t tmpfs -o size=400k tmpfs "$folder"
trap 'umount "$folder"; rmdir "$folder"' EXIT

status=0
"$program" run --out "$folder" --set train.steps=400 --set train.evaluate_every=1 --arms "decay 0.9,no normalization" \
    --seeds 0 --jobs 1 --plain --no-report || status=$?
arms="$folder/decay-and-renorm"
failed="$arms/decay-0.9/.seed-0.partial"
test "$status" = 1
grep finished "$arms/no-normalization/seed-0/status.json"
grep 'No space left' "$failed/status.json"
grep 'No space left' "$failed/worker.log"
for rows in "$failed"/*.csv; do
    test -z "$(tail -c 1 "$rows")"
done
echo "the full disk failed one run, with its reason; its rows are complete"

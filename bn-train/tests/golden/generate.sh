#!/usr/bin/env bash
# Remakes the golden rows: the first rows of two runs, up to step 5. Run it from the root of the repository, and say in
# the commit why the numbers changed.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cargo run --release -p bn-train -- run --out "$out" --arms "decay 0.9,renorm 0.99" --seeds 0 \
    --set train.steps=12 --set 'train.evaluate_at=[5]' --no-report --plain
for arm in decay-0.9 renorm-0.99; do
    grep -E '^(step|0|5),.*(statistics|moving|batch),' "$out/decay-and-renorm/$arm/seed-0/metrics.csv" >"bn-train/tests/golden/$arm.csv"
done

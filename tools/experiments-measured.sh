#!/usr/bin/env bash
# Prints what the experiments of a folder came to, as Markdown: each one's question, headline and table.
#
#     bn-train run --all --out runs && tools/experiments-measured.sh runs > docs/experiments-measured.md
set -euo pipefail

runs=${1:?usage: tools/experiments-measured.sh RUNS}
printf '# What the experiments measured\n\nGenerated: `bn-train run --all --out runs && tools/experiments-measured.sh runs > docs/experiments-measured.md`.\n'
printf 'What each experiment asks and why it is set up as it is: [experiments.md](experiments.md).\n'
found=0
for summary in "$runs"/*/summary.md; do
    [[ -f "$summary" ]] || continue
    found=$((found + 1))
    # A heading less high, since this page has one of its own.
    printf '\n'
    sed -e 's/^# /## /' "$summary"
done
if ((found == 0)); then
    echo "$runs: no summary.md of an experiment; train with bn-train run --all --out $runs" >&2
    exit 1
fi

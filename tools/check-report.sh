#!/usr/bin/env bash
# Checks that the report of an experiment directory is whole: the page ends, names every arm and fetches
# nothing; every chart and both summaries are there, with a row for each arm.
#   tools/check-report.sh runs/decay-and-renorm
set -euo pipefail
dir=${1:?usage: check-report.sh EXPERIMENT_DIR}
page=$dir/report.html

fail() { echo "check-report: $*" >&2; exit 1; }

[ -s "$page" ] || fail "$page is missing or empty"
[ "$(tail -c 20 "$page" | tr -d '[:space:]' | tail -c 7)" = "</html>" ] || fail "$page does not end with </html>"
grep -q '<svg' "$page" || fail "$page has no chart"
# A style sheet's url(, that is; the script has createObjectURL(.
if grep -qiE '<script[^>]* src|<link|(src|href)="https?://|(^|[^[:alpha:]])url\(' "$page"; then fail "$page fetches something"; fi

arms=0
while IFS= read -r name; do
  arms=$((arms + 1))
  grep -qF "$name" "$page" || fail "$page does not name the arm \"$name\""
  # In Markdown some characters have a backslash before them.
  grep -qF "$(sed 's/[][|*_`\\#]/\\&/g' <<< "$name")" "$dir/summary.md" || fail "summary.md does not name the arm \"$name\""
  grep -qF "$name" "$dir/summary.csv" || fail "summary.csv does not name the arm \"$name\""
done < <(grep -A1 -Fx '[[arm]]' "$dir/manifest.toml" | sed -n 's/^name = "\(.*\)"$/\1/p')
[ "$arms" -gt 0 ] || fail "no arm in $dir/manifest.toml"
[ "$(wc -l < "$dir/summary.csv")" -eq $((arms + 1)) ] || fail "summary.csv does not have a row for each of $arms arms"

charts=0
for chart in "$dir"/charts/*.svg; do
  charts=$((charts + 1))
  [ "$(tail -c 10 "$chart" | tr -d '[:space:]' | tail -c 6)" = "</svg>" ] || fail "$chart does not end with </svg>"
done
echo "check-report: $page is whole: $arms arms, $charts charts"

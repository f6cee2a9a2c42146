#!/usr/bin/env bash
# Looks at the page of an experiment as a reader does: in headless Chromium, with scripts and without, at 1400 and 400 pixels; and
# again with names that would break out of a page that does not escape them. Validates the HTML, and judges it by axe-core's rules of
# accessibility.
#   tools/browser-check.sh BN_REPORT EXPERIMENT_DIR [FOLDER FOR SCREENSHOTS]
#   tools/browser-check.sh --install
# Installs what it needs by the clients of the distribution and of npm: Chromium, Node, and tools/browser/package.json.
set -euo pipefail
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
  echo "browser-check: installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
[ "${1:-}" != --install ] || exit 0

bn_report=$(realpath "${1:?usage: browser-check.sh BN_REPORT EXPERIMENT_DIR [SCREENSHOTS]}")
experiment=$(realpath "${2:?usage: browser-check.sh BN_REPORT EXPERIMENT_DIR [SCREENSHOTS]}")
screenshots=${3:-}
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp browser/package.json browser/*.mjs "$work"
npm install --prefix "$work" --no-audit --no-fund --silent

look() { # EXPERIMENT_DIR PAGE [SCREENSHOTS]
  "$bn_report" "$1" -o "$2" >/dev/null
  node "$work/check.mjs" "$2" "$(command -v chromium)" ${3:+"$3"}
}

look "$experiment" "$work/plain/report.html" "$screenshots"

cp -r "$experiment" "$work/hostile"
names='<img src=x onerror=alert(1)>|</script><script>alert(1)</script>|"a" & \x27b\x27 </title>|naïve 漢字 🙂|a very long name that goes on and on without saying what it is about, for no reason at all|aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|{{ 7 * 7 }} ${7*7}'
awk -v names="$names" '
  BEGIN { count = split(names, name, "|") }
  /^\[\[arm\]\]$/ { arm = 1 }
  arm && /^name = / { number++; text = name[(number - 1) % count + 1]; gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); print "name = \"" text " " number "\""; arm = 0; next }
  { print }' "$experiment/manifest.toml" > "$work/hostile/manifest.toml"
look "$work/hostile" "$work/hostile-page/report.html" ${screenshots:+"$screenshots/hostile"}

mkdir "$work/lab"
cp -r "$experiment" "$work/lab/plain"
cp -r "$work/hostile" "$work/lab/hostile <i> & co"
"$bn_report" index "$work/lab" >/dev/null
node "$work/index.mjs" "$work/lab/index.html" "$(command -v chromium)" ${screenshots:+"$screenshots"}

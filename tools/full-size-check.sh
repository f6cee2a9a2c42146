#!/usr/bin/env bash
# Runs every full-size experiment for two steps, with the arm that its claim is about, on made-up files that have the form and size of
# MNIST, CIFAR-10 and CIFAR-100: the settings, the loaders and the networks fit together. What is learned means nothing.
#   tools/full-size-check.sh BN_TRAIN
set -euo pipefail
bn_train=$(realpath "${1:?usage: full-size-check.sh BN_TRAIN}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Prints COUNT bytes of a pattern of grey values, which is no multiple of a row, so that images differ.
pixels() { # COUNT
  for value in $(seq 0 5 250); do printf '%b' "\\x$(printf '%02x' "$value")"; done > pattern
  while [ "$(stat -c %s pattern)" -lt "$1" ]; do
    cat pattern pattern > twice
    mv twice pattern
  done
  head -c "$1" pattern
}

# Prints COUNT as four bytes, the highest first.
big_endian() { # COUNT
  printf '%b' "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))"
}

idx() { # PREFIX COUNT
  { printf '\0\0\x08\x03'; big_endian "$2"; big_endian 28; big_endian 28; pixels $(($2 * 784)); } > "datasets/mnist/$1-images-idx3-ubyte"
  { printf '\0\0\x08\x01'; big_endian "$2"
    for ((i = 0; i < $2 / 10; i++)); do printf '\0\x01\x02\x03\x04\x05\x06\x07\x08\x09'; done; } > "datasets/mnist/$1-labels-idx1-ubyte"
}

# Records of LABELS and 3,072 pixels, 100 of them repeated: class is the label's last byte.
records() { # FILE COUNT CLASSES [COARSE]
  for ((i = 0; i < 100; i++)); do
    [ -z "${4:-}" ] || printf '\0'
    printf '%b' "\\x$(printf '%02x' $((i % $3)))"
    tail -c +$((i + 1)) values | head -c 3072
  done > hundred
  for ((i = 0; i < $2 / 100; i++)); do cat hundred; done > "$1"
}

mkdir -p datasets/mnist datasets/cifar-10 datasets/cifar-100
pixels 4000 > values
idx train 60000
idx t10k 10000
for name in data_batch_1 data_batch_2 data_batch_3 data_batch_4 data_batch_5 test_batch; do
  records "datasets/cifar-10/$name.bin" 10000 10
done
records datasets/cifar-100/train.bin 50000 100 coarse
records datasets/cifar-100/test.bin 10000 100 coarse

names=$("$bn_train" list --no-timing | sed -n 's/^\([a-z0-9-]*\)  (.*full size.*/\1/p')
[ -n "$names" ] || { echo "full-size-check: bn-train list names no full-size experiment" >&2; exit 1; }
for name in $names; do
  "$bn_train" show "$name" | sed -E 's/^(steps|epochs) = .*/steps = 2/; s/^evaluate_every = .*/evaluate_every = 2/; /^evaluate_at = /d
    s/^warmup_steps = .*/warmup_steps = 1/; s/^norm.freeze_after = .*/norm.freeze_after = 1/' > "$name.toml"
  # Names may have commas, folders have not.
  arm=$(sed -n '/^\[claim\]/,/^\[data\]/s/^arm = "\(.*\)"/\1/p' "$name.toml" | tr 'A-Z' 'a-z' | sed -E 's/[^a-z0-9._]+/-/g')
  "$bn_train" run "$name.toml" --seeds 0 --arms "$arm" --set data.validation=100 --set data.test=200 --set population.examples=512 --out runs --plain > "$name.log" 2>&1 || { cat "$name.log"; exit 1; }
  grep -q '"state": *"finished"' "runs/$name/$arm/seed-0/status.json" || { cat "$name.log"; exit 1; }
  echo "$name: $arm finished"
done

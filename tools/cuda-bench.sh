#!/usr/bin/env bash
# On a machine with a GPU and PyTorch: batch normalization and the ResNet-20 step against PyTorch's, with cuDNN and
# without, and against a copy on the device; a table, and JSON lines beside it. docs/cuda.md says what of this has been
# run.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: tools/cuda-bench.sh [--device cuda:N] [--programs DIR] OUT

Writes OUT/ours.jsonl, OUT/torch.jsonl and OUT/table.md. DIR holds the programs `speed` and `bn-train` of a CUDA build
(default: they are built here). Variables: PYTHON, a Python with PyTorch (default python3).
Exits with 1 where ours is slower than PyTorch's faster backend.
USAGE
}

die() {
    echo "cuda-bench: error: $*" >&2
    exit 1
}

device=cuda:0 programs='' out='' python=${PYTHON:-python3}
while [[ $# -gt 0 ]]; do
    case $1 in
        --device) device=${2:?} && shift ;;
        --programs) programs=${2:?} && shift ;;
        -h | --help) usage && exit ;;
        -*) die "unknown option $1" ;;
        *) out=$1 ;;
    esac
    shift
done
[[ -n $out ]] || {
    usage >&2
    exit 2
}
command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null || die "no GPU here: nvidia-smi fails"
"$python" -c 'import torch; assert torch.cuda.is_available()' || die "$python has no PyTorch that sees a GPU; name another in PYTHON"
mkdir -p -- "$out"
if [[ -z $programs ]]; then
    root=$(cd "$(dirname "$0")/.." && pwd)
    (cd "$root" && cargo build --release --locked --features cuda -p bn-core --example speed)
    programs=${CARGO_TARGET_DIR:-$root/target}/release/examples
fi
[[ -x $programs/speed ]] || die "$programs: no program speed"

"$programs/speed" --device "$device" >"$out/ours.jsonl"
"$python" - "$device" >"$out/torch.jsonl" <<'PYTHON'
import json, statistics, sys

import torch
from torch import nn

device = torch.device(sys.argv[1])
torch.cuda.set_device(device)
torch.manual_seed(0)
SHAPES = [(64, 256, 56, 56), (128, 64, 32, 32), (128, 16, 32, 32), (64, 64, 32, 32), (32, 256, 14, 14), (4096, 1024),
          (256, 512), (60, 100)]


def clock(step, rounds=20, calls=50):
    for _ in range(10):
        step()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            step()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / calls)
    return statistics.median(times), min(times)


def work(shape, dtype, last):
    layer = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(shape[1]).to(device)
    form = torch.channels_last if last else torch.contiguous_format
    x, dy = (torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=form) for _ in range(2))
    x.requires_grad_()

    def step():
        x.grad = layer.weight.grad = layer.bias.grad = None
        layer(x).backward(dy)
    return step


for shape in SHAPES:
    for dtype, suffix in ((torch.float32, ""), (torch.bfloat16, "_bf16")):
        for last in (False, True) if len(shape) == 4 else (False,):
            for cudnn in (True, False):
                torch.backends.cudnn.enabled = cudnn
                try:
                    median, least = clock(work(shape, dtype, last))
                except RuntimeError as error:
                    print(f"{shape} {dtype} cudnn={cudnn}: {error}", file=sys.stderr)
                    continue
                name = ("bn_nhwc" if last else "bn") + suffix + "/" + "x".join(map(str, shape))
                print(json.dumps({"name": name, "median_ms": median, "min_ms": least, "cudnn": cudnn,
                                  "torch": torch.__version__, "gpu": torch.cuda.get_device_name()}), flush=True)
PYTHON
"$python" - "$out" <<'PYTHON' | tee "$out/table.md"
import json, math, pathlib, sys

out = pathlib.Path(sys.argv[1])
read = lambda name: [json.loads(line) for line in (out / name).read_text().splitlines()]
ours, torch = read("ours.jsonl"), {}
for row in read("torch.jsonl"):
    torch.setdefault(row["name"], {})[row["cudnn"]] = row["median_ms"]
copies = {row["name"]: row["gib_per_second"] for row in ours if "gib_per_second" in row}
rate = max(copies.values(), default=math.nan)
print(f"A copy on the device moves {rate:.0f} GiB/s.\n")
print("| work, forward and backward | ours, ms | cuDNN, ms | native, ms | ours / faster | of the copy's rate over 8 passes |")
print("|---|---|---|---|---|---|")
slower = []
for row in ours:
    name = row["name"]
    if name not in torch:
        continue
    faster = min(torch[name].values())
    elements = math.prod(map(int, name.split("/")[1].split("x")))
    gib = 8 * elements * (2 if "bf16" in name else 4) / 2**30
    cells = [torch[name].get(cudnn) for cudnn in (True, False)]
    cells = ["" if cell is None else f"{cell:.4f}" for cell in cells]
    ratio = row["median_ms"] / faster
    print(f"| {name} | {row['median_ms']:.4f} | {' | '.join(cells)} | {ratio:.2f} | {gib / (row['median_ms'] / 1e3) / rate:.0%} |")
    if ratio > 1:
        slower.append(name)
if slower or not ours:
    sys.exit(f"slower than PyTorch: {', '.join(slower) or 'nothing was timed'}")
PYTHON

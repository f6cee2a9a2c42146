#!/usr/bin/env bash
# Installs what `cargo build --features cuda` needs, and `--features cudnn`, from PyPI, on a machine that needs no GPU and no driver;
# docs/cuda.md explains. It prints the environment on stdout and everything else on stderr.
#
# The driver stub is generated from the sources of the cudarc crate that Cargo.lock names, so its list of symbols
# cannot fall behind.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: eval "$(tools/cuda-toolchain.sh [--no-quantization] [--cudnn] DIR)"

Installs the CUDA 13.0 compiler, headers and libraries (1.2 GB, from PyPI) and a driver stub into DIR, then prints
the environment to export. Run again, it installs only what is missing and prints the same.

  --no-quantization  also export NVCC=tools/nvcc-no-quantization.sh, unless NVCC is set: candle is built without its
                     kernels for quantized language models, which nothing here calls
  --cudnn            also cuDNN 9, for the feature cudnn (0.9 GB more)

Needs: python3 with pip, gcc (or $CC), cargo; Linux on x86-64 or 64-bit Arm; no GPU, no driver, no root.

Variables: CUDA_COMPUTE_CAP   the GPU to build for, 90 for H100 and H200 (default: the GPU here; 90 without one)
           PYTHON             the Python that has pip (default: python3)
USAGE
}

# All of CUDA 13.0, so that every driver since 580 runs the result.
readonly PINS=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
    nvidia-cuda-nvrtc==13.0.88
    nvidia-cublas==13.1.0.3
    nvidia-curand==10.4.0.35
)
readonly CUDNN=nvidia-cudnn-cu13==9.28.1.4
readonly STAMP=.bn-cuda-toolchain # what a whole installation holds, a line per item

log() { echo "cuda-toolchain: $*" >&2; }
die() {
    log "error: $*"
    exit 1
}

stage='' # the installation in progress
at_exit() {
    local status=$?
    [[ -z $stage ]] || rm -rf -- "$stage"
    # `eval ""` succeeds: a caller must not go on as if there were a toolchain.
    [[ $status -eq 0 ]] || echo false
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

check_machine() {
    [[ $(uname -s) == Linux ]] || die "NVIDIA's wheels are for Linux, and this is $(uname -s)"
    case $(uname -m) in
        x86_64 | aarch64) ;;
        *) die "NVIDIA's wheels are for x86_64 and aarch64, and this is $(uname -m)" ;;
    esac
    command -v "$python" >/dev/null || die "no $python; install Python 3.8 or later, or name one in PYTHON"
    "$python" -m pip --version >/dev/null 2>&1 || die "$python has no pip; install it (python3-pip) or name another Python in PYTHON"
    command -v "$cc" >/dev/null || die "no C compiler ($cc); install gcc or name one in CC"
    command -v cargo >/dev/null || die "no cargo on the PATH; see https://rustup.rs"
}

# cudarc's list of driver functions, one name a line.
driver_symbols() {
    local manifest sources
    manifest=$(cd "$root" && cargo metadata --format-version 1 --all-features |
        "$python" -c 'import json, sys
print(*[p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"], sep="\n")') ||
        die "cargo metadata failed in $root; the line above says why"
    [[ -n $manifest && $manifest != *$'\n'* ]] || die "expected one cudarc in Cargo.lock, found: ${manifest:-none}"
    sources=$(dirname "$manifest")/src/driver/sys/mod.rs
    [[ -r $sources ]] || die "$sources is missing; this script must learn where cudarc now keeps its driver functions"
    # Line by line: `fn cuInit(Flags: ...` and the like; the dynamic loader's twin names the same functions.
    { grep -oE '\bfn cu[A-Z][A-Za-z0-9_]*' "$sources" || true; } | sed 's/^fn //' | LC_ALL=C sort -u
}

# Writes the stub's C source to the standard output; reads the names of functions.
stub_source() {
    echo '/* A CUDA driver with no device: lets programs link and start where there is no driver. */'
    sed 's/.*/int &(void) { return 34; } \/* CUDA_ERROR_STUB_LIBRARY *\//'
}

# unpack_wheels PIN...: into $stage.
unpack_wheels() {
    stage=$(mktemp -d "$dir/.installing.XXXXXX")
    "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary=:all: --no-compile \
        --target "$stage" "$@" >&2 || die "pip could not install $*; the lines above say why"
}

# The names without a version, which linkers look for.
link_plain_names() {
    local library plain
    for library in "$1"/lib*.so.*; do
        plain=${library%%.so.*}.so
        [[ -e $plain ]] || ln -s "$(basename "$library")" "$plain"
    done
}

# In place of all that was there.
install_cuda() {
    log "installing CUDA 13.0 into $dir (a 0.9 GB download, 1.2 GB unpacked)"
    unpack_wheels "${PINS[@]}"
    local home=$stage/nvidia/cu13
    [[ -x $home/bin/nvcc ]] || die "the wheels left no nvidia/cu13/bin/nvcc"
    link_plain_names "$home/lib"
    ln -s lib "$home/lib64"
    rm -rf -- "${dir:?}/nvidia"
    mv -- "$stage/nvidia" "$dir/nvidia"
    rm -rf -- "$stage"
    stage=''
}

install_cudnn() {
    log "installing cuDNN into $dir (a 0.5 GB download, 0.9 GB unpacked)"
    unpack_wheels "$CUDNN"
    [[ -e $stage/nvidia/cudnn/lib/libcudnn.so.9 ]] || die "the wheel left no nvidia/cudnn/lib/libcudnn.so.9"
    link_plain_names "$stage/nvidia/cudnn/lib"
    rm -rf -- "$dir/nvidia/cudnn"
    mv -- "$stage/nvidia/cudnn" "$dir/nvidia/cudnn"
    rm -rf -- "$stage"
    stage=''
}

# Apart from the real libraries: only the linker looks there, and the loader where no driver is installed.
install_stub() {
    local symbols=$1 stubs=$2
    stage=$(mktemp -d "$dir/.installing.XXXXXX")
    stub_source <<<"$symbols" >"$stage/libcuda.c"
    "$cc" -shared -fPIC -O1 -Wl,-soname,libcuda.so.1 -o "$stage/libcuda.so.1" "$stage/libcuda.c" >&2 ||
        die "$cc could not compile the driver stub"
    mkdir -p -- "$stubs"
    mv -- "$stage/libcuda.c" "$stage/libcuda.so.1" "$stubs"
    ln -sf libcuda.so.1 "$stubs/libcuda.so"
    rm -rf -- "$stage"
    stage=''
    log "driver stub: $(wc -l <<<"$symbols") functions in $stubs/libcuda.so.1"
}

# `export NAME=DIRECTORIES:$NAME`, unless the directories lead it already.
print_path() {
    local name=$1 directories=$2
    # The variable is expanded where the line is evaluated.
    # shellcheck disable=SC2016
    case "${!name:-}" in
        "$directories" | "$directories":*) printf 'export %s\n' "$name" ;;
        *) printf 'export %s=%q${%s:+:$%s}\n' "$name" "$directories" "$name" "$name" ;;
    esac
}

has_driver() {
    local known
    known=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true)
    [[ $known == *'libcuda.so.1 '* || -e /usr/local/nvidia/lib64/libcuda.so.1 ]]
}

print_environment() {
    local home=$1 stubs=$2 libraries=$1/lib
    [[ $with_cudnn == false ]] || libraries+=:$dir/nvidia/cudnn/lib
    local runtime=$libraries
    if [[ $with_quantization == false && -n ${NVCC:-} ]]; then
        log "NVCC=$NVCC is set, and kept"
    elif [[ $with_quantization == false ]]; then
        printf 'export NVCC=%q\n' "$root/tools/nvcc-no-quantization.sh"
    fi
    if has_driver; then
        log "this machine has a driver; the stub serves only the linker"
    else
        runtime+=:$stubs
        log "no driver here: programs start on the stub and find no GPU"
    fi
    printf 'export CUDA_HOME=%q\n' "$home"
    print_path PATH "$home/bin"
    print_path LIBRARY_PATH "$libraries:$stubs"
    print_path LD_LIBRARY_PATH "$runtime"
    if [[ -n ${CUDA_COMPUTE_CAP:-} ]]; then
        printf 'export CUDA_COMPUTE_CAP=%q\n' "$CUDA_COMPUTE_CAP"
    elif ! nvidia-smi >/dev/null 2>&1; then
        log "no GPU here to build for: CUDA_COMPUTE_CAP=90 (H100, H200); set it for another"
        echo 'export CUDA_COMPUTE_CAP=90'
    fi
}

# record ITEM: in the stamp, instead of an earlier one of its name.
record() {
    sed -i "/^${1%% *} /d" "$stamp"
    echo "$1" >>"$stamp"
}

main() {
    with_quantization=true with_cudnn=false
    while [[ ${1:-} == -* ]]; do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --no-quantization) with_quantization=false ;;
            --cudnn) with_cudnn=true ;;
            *) die "unknown option $1; --help lists them" ;;
        esac
        shift
    done
    [[ $# -eq 1 ]] || {
        usage >&2
        exit 2
    }
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=${PYTHON:-python3}
    cc=${CC:-gcc}
    check_machine
    mkdir -p -- "$1" || die "cannot make the folder $1"
    dir=$(cd "$1" && pwd)
    [[ -w $dir ]] || die "cannot write to $dir"
    [[ $dir != *[[:space:]:]* ]] || die "\"$dir\": nvcc and search paths take no blanks and no colons; choose another folder"

    stamp=$dir/$STAMP
    local home=$dir/nvidia/cu13
    local stubs=$home/lib/stubs wheels symbols stub
    if [[ -e $dir/nvidia && ! -e $stamp ]]; then
        die "$dir/nvidia is there and was not made by this script; choose another folder"
    fi
    wheels=$(printf '%s\n' "${PINS[@]}")
    if [[ ! -x $home/bin/nvcc || $(grep '^nvidia-' "$stamp" || true) != "$wheels" ]]; then
        : >"$stamp" # ours from here on, and not whole yet
        install_cuda
        echo "$wheels" >"$stamp"
    fi

    symbols=$(driver_symbols)
    [[ $(wc -l <<<"$symbols") -gt 100 ]] || die "found too few driver functions in cudarc: ${symbols:-none}"
    stub="stub $(cksum <<<"$symbols")"
    if [[ ! -e $stubs/libcuda.so || $(grep '^stub ' "$stamp" || true) != "$stub" ]]; then
        install_stub "$symbols" "$stubs"
        record "$stub"
    fi
    if [[ $with_cudnn == true && $(grep '^cudnn ' "$stamp" || true) != "cudnn $CUDNN" ]]; then
        install_cudnn
        record "cudnn $CUDNN"
    fi
    "$home/bin/nvcc" --version >/dev/null || die "$home/bin/nvcc does not start; remove $dir and run again"
    log "ready: $("$home/bin/nvcc" --version | sed -n 4p)"
    print_environment "$home" "$stubs"
}

main "$@"

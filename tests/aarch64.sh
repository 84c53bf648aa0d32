#!/bin/sh
# The same bytes on AArch64: the program is built for it and run by qemu-user beside the native one, on every fixture.
#
#   tests/aarch64.sh NATIVE_PROGRAM       Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ninja-build
#
# The libraries come as Debian's arm64 packages, unpacked in a temporary folder; nothing is installed. Takes minutes: as a
# test of ctest it is skipped unless FILTERPRUNE_LONG is set. Exit status 77 where what it needs cannot be had.
set -eu
native=$(realpath "$1")
cd "$(dirname "$0")/.."
skip() { echo "skipped: $*"; exit 77; }
[ -n "${FILTERPRUNE_LONG:-}" ] || skip "set FILTERPRUNE_LONG=1 to build for AArch64 and run under qemu"
for tool in aarch64-linux-gnu-gcc qemu-aarch64 apt-get dpkg cmake ninja; do
    command -v $tool >/dev/null || skip "$tool is missing"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
: >"$work/status"
arm_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$work/state" \
        -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}
(cd "$work" && arm_apt update && arm_apt download libzstd-dev libzstd1 libxxhash-dev libxxhash0 zlib1g-dev zlib1g) \
    >"$work/apt.log" 2>&1 || skip "the packages for arm64 cannot be fetched"
for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
libraries=$work/root/usr/lib/aarch64-linux-gnu

export PKG_CONFIG_LIBDIR="$libraries/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$work/root"
cmake -G Ninja -S . -B "$work/build" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DBUILD_TESTING=OFF -DFILTERPRUNE_WERROR=ON \
    -DCMAKE_EXE_LINKER_FLAGS="-L$libraries -Wl,-rpath-link,$libraries" >"$work/build.log" 2>&1 &&
    ninja -C "$work/build" filterprune >>"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
foreign() { qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$libraries" "$work/build/filterprune" "$@"; }

differs=0
for model in fixtures/models/*.safetensors; do
    for options in "" "--lossless" "--half --amount 0.4 --structure filter --criterion l2" "--cast bf16 --level 12" \
        "--max-error 0.02" "--max-error 0.05 --level 12 --pool always"; do
        # shellcheck disable=SC2086
        foreign -q -f --report "$work/a" $options "$model" "$work/a.safetensors"
        # shellcheck disable=SC2086
        "$native" -q -f --report "$work/b" $options "$model" "$work/b.safetensors"
        # All of the report but where it lies and how long it took.
        for side in a b; do
            sed -e 's/"path": "[^"]*"//' -e '/"timing"/,$d' "$work/$side.report.json" >"$work/$side.json"
        done
        if cmp "$work/a.safetensors" "$work/b.safetensors" && cmp "$work/a.json" "$work/b.json"; then
            echo "same: $model $options"
        else
            differs=1
        fi
    done
done
exit $differs

#!/bin/sh
# The code for AVX-512 on a processor without it: built with tests/avx512_model.h in front of each source, and held against
# the other levels by the tests of the inner loops, of the coder and of the whole program.
#
#   tests/avx512.sh       x86-64 with AVX2; minutes: as a test of ctest it is skipped unless FILTERPRUNE_LONG is set
#
# Its bits are what this shows; how fast it is, only such a processor tells.
set -eu
cd "$(dirname "$0")/.."
skip() { echo "skipped: $*"; exit 77; }
[ -n "${FILTERPRUNE_LONG:-}" ] || skip "set FILTERPRUNE_LONG=1 to build for a model of AVX-512"
grep -qw avx2 /proc/cpuinfo || skip "the model needs AVX2"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tests="kernels num distributions conv collect lattice pack"
targets=$(printf ' test_%s' $tests)
# shellcheck disable=SC2086
cmake -G Ninja -S . -B "$work" -DCMAKE_C_COMPILER="${CC:-gcc}" -DFILTERPRUNE_AVX512_FLAGS="-mavx2;-mfma;-DAVX512_MODELLED" \
    -DCMAKE_C_FLAGS="-Wno-psabi -include $PWD/tests/avx512_model.h" >"$work/build.log" 2>&1 &&
    ninja -C "$work" filterprune $targets >>"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
FILTERPRUNE_SIMD=avx512 "$work/filterprune" inspect -v fixtures/models/mnist_cnn_plain.safetensors >/dev/null 2>"$work/said"
! grep 'this processor has no' "$work/said" || exit 1

wrong=0
for test in $tests; do
    if "$work/test_$test" >"$work/$test.log" 2>&1; then echo "the same: test_$test"; else cat "$work/$test.log"; wrong=1; fi
done
FILTERPRUNE="$work/filterprune" FILTERPRUNE_SOURCE=$PWD python3 -B tests/cli/simd.py || wrong=1
exit $wrong

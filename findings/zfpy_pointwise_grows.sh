#!/bin/sh
# zfpy 1.0.1, compress_numpy of layers of kernels, [filters, channels, height, width] as they are, float32: at a fixed rate of
# 8 bits a value, and without loss.
# Guess: 8 bits a value are a quarter of 32, whatever the shape; without loss, about the size of the weights.
# Seen:  a block of zfp is 4 x 4 x 4 x 4 values here, and what a layer lacks is made up and paid for: 16 of 256 values of a
#        block are there in a pointwise layer, which becomes four times as large as it was, and nine times without loss (with
#        3x3 kernels 0.44 and 1.8). The same weights as a matrix take the quarter that was asked for, and as much as they are.
#        The rate is one of the blocks. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 zfpy==1.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata, sys
import numpy as np
import zfpy
seen = []
for shape in ((256, 256, 1, 1), (256, 256), (128, 128, 3, 3), (128, 128 * 9)):
    weights = np.random.default_rng(0).normal(scale=0.05, size=shape).astype(np.float32)
    exact = zfpy.compress_numpy(weights)
    assert np.array_equal(zfpy.decompress_numpy(exact), weights)
    seen.append([len(zfpy.compress_numpy(weights, rate=8)) / weights.nbytes, len(exact) / weights.nbytes])
    print(f"zfpy {importlib.metadata.version('zfpy')}, {shape}: {seen[-1][0]:.2f} of its size at rate=8, {seen[-1][1]:.2f} without loss")
expected = [(4, 8), (0.25, 0.9), (0.44, 1.7), (0.25, 0.9)]
sys.exit(not all(abs(rate - want) < 0.01 and least < exact < least + 1.2 for (rate, exact), (want, least) in zip(seen, expected)))
PYTHON

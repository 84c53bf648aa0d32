#!/bin/sh
# numcodecs 0.16.5, Delta(dtype="<f4"), the filter that zarr offers in front of its compressors, on a layer pruned by kernels.
# Guess: a filter is undone when the array is read: bit for bit, or float types are refused. Its page tells of no loss.
# Seen:  differences are stored as float32, rounded, and added up again from the first weight on, each sum rounded, too: nearly
#        no weight comes back as it was. The errors are small, but a zero after a weight is 1e-8 to 1e-6 now: of 16,399 kernels
#        of zeros 33 are left, and the layer that was to be sparse is dense. The same filter over the bits (dtype="<i4" and a
#        view) is exact. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 numcodecs==0.16.5
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import numcodecs
import numpy as np
rng = np.random.default_rng(0)
layer = rng.normal(scale=0.05, size=(512, 64, 3, 3)).astype(np.float32)
layer[rng.random((512, 64)) < 0.5] = 0
seen = {}
for name, dtype in (("float32", "<f4"), ("its bits", "<i4")):
    coder = numcodecs.Delta(dtype=dtype)
    read = np.asarray(coder.decode(coder.encode(layer.view(dtype)))).view(np.float32).reshape(layer.shape)
    dead = [int((w == 0).all(axis=(2, 3)).sum()) for w in (layer, read)]
    seen[name] = (np.mean(read == layer), np.abs(read - layer).max(), dead)
    print(f"numcodecs {numcodecs.__version__}, Delta of {name}: {100 * seen[name][0]:.2f} % of the weights as they were, error up to "
          f"{seen[name][1]:.1e}; kernels of zeros {dead[0]} before, {dead[1]} after")
(same, error, (before, after)), exact = seen.values()
sys.exit(not (same < 0.1 and 0 < error < 1e-4 and after < before / 100 and exact == (1, 0, [before, before])))
PYTHON

#!/bin/sh
# h5py 3.16.0 (HDF5 2.0.0), create_dataset(scaleoffset=2): HDF5's own lossy filter, which is to keep two decimal places.
# Guess: each weight is rounded to the nearest of points 0.01 apart: an error of 0.005 at most, wherever it lies.
# Seen:  true of weights beyond 0.01. Each weight between -0.01 and 0.01 is read back as exactly 0: the filter compares with
#        the fill value to within 0.01, and the fill value that nobody asked for is 0. Of a layer with a deviation of 0.05 one
#        weight of six is pruned without a word, with twice the error; the other weights are on points counted from the least
#        weight, and 0 is none of them. fillvalue=nan keeps all to 0.005, in as many bytes. Exit status 1 when that is no
#        longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 h5py==3.16.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import h5py
import numpy as np
weights = np.random.default_rng(0).normal(scale=0.05, size=(64, 64, 3, 3)).astype(np.float32)
seen = {}
for name, more in (("as it is", {}), ("fillvalue=nan", {"fillvalue": np.nan})):
    with h5py.File("layer.h5", "w") as file:
        file.create_dataset("weights", data=weights, chunks=weights.shape, scaleoffset=2, **more)
    with h5py.File("layer.h5") as file:     # a second time: what was just written comes from the cache, not yet rounded
        read, size = file["weights"][...], file["weights"].id.get_storage_size()
    error, near = np.abs(read - weights), np.abs(weights) < 0.01
    seen[name] = (np.array_equal(read == 0, near), error[near].max() > 0.0095, error[~near].max() < 0.0051, size)
    print(f"h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}, {name}: {(read == 0).sum()} zeros of {weights.size} weights "
          f"(before {(weights == 0).sum()}; within 0.01 {near.sum()}), error {error[near].max():.4f} there, {error[~near].max():.4f} elsewhere, {size} bytes")
plain, asked = seen.values()
none_zero = asked[0] is False and asked[1:3] == (False, True)
sys.exit(not (plain[:3] == (True, True, True) and none_zero and plain[3] == asked[3]))
PYTHON

#!/bin/sh
# pyfive 1.3.0, the reader of HDF5 in pure Python, on a layer that h5py 3.16.0 (HDF5 2.0.0) wrote as bfloat16: a float of two
# bytes with 8 bits of exponent, as HDF5 describes it in the file.
# Guess: read as float32, as h5py reads it, or refused as pyfive refuses float8 and floats of three bytes.
# Seen:  two bytes are float16 for it, whatever the file says of their bits: dtype is float16, the call succeeds, 1 is read as
#        1.875 and 100 as 3.39; weights of a deviation of 0.05 come back between 0.3 and 1.9 with their signs, all zeros are
#        zeros, so that sparsity and signs look right. Float16 itself is read right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 h5py==3.16.0 pyfive==1.3.0
"$folder/venv/bin/python" - "$folder/net.h5" <<'PYTHON'
import importlib.metadata
import sys
import h5py
import numpy as np
import pyfive
kernels = np.random.default_rng(0).normal(scale=0.05, size=(64, 32, 3, 3)).astype(np.float32)
kernels[:16] = 0
kernels[16, 0, 0] = [1, -2, 100]
types = {}
for name, exponent in (("float16", 5), ("bfloat16", 8)):
    types[name] = h5py.h5t.IEEE_F32LE.copy()
    types[name].set_fields(15, 15 - exponent, exponent, 0, 15 - exponent)     # sign, exponent and mantissa: where and how many bits
    types[name].set_size(2)
    types[name].set_ebias(2 ** (exponent - 1) - 1)
with h5py.File(sys.argv[1], "w") as file:
    for name, kind in types.items():
        h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(kernels.shape)).write(h5py.h5s.ALL, h5py.h5s.ALL, kernels)
seen = {}
with h5py.File(sys.argv[1]) as right, pyfive.File(sys.argv[1]) as file:
    for name in types:
        by_h5py, by_pyfive = right[name][()].astype(np.float32), np.asarray(file[name][()])
        some = [f"{value:.4g}" for value in by_pyfive[16, 0, 0]]
        middle = np.median(np.abs(by_pyfive[17:].astype(np.float32)))
        seen[name] = (bool(np.allclose(by_h5py, kernels, rtol=0.004)), bool(np.array_equal(by_pyfive.astype(np.float32), by_h5py)),
                      by_pyfive.dtype == np.float16, some, bool(((by_pyfive == 0) == (kernels == 0)).all()),
                      bool((np.sign(by_pyfive) == np.sign(kernels)).all()))
        print(f"pyfive {importlib.metadata.version('pyfive')}, {name} as {by_pyfive.dtype}: the same as by h5py {seen[name][1]}; 1, -2 and 100 are "
              f"read as {', '.join(some)}, median size {middle:.3f} (h5py {np.median(np.abs(by_h5py[17:])):.3f}); zeros the same {seen[name][4]}, "
              f"signs {seen[name][5]}")
sys.exit(seen != {"float16": (True, True, True, ["1", "-2", "100"], True, True),
                  "bfloat16": (True, False, True, ["1.875", "-2", "3.391"], True, True)})
PYTHON

#!/bin/sh
# numcodecs-wasm-tthresh 0.3.2, the compressor TTHRESH (a Tucker decomposition whose numbers are sent by bit planes) with
# eb_mode="rmse" and "eps", which its page calls the root mean square and the relative error bound, on a layer of 3x3 kernels.
# Guess: bounds hold, as those of SZ3, ZFP and SPERR in the same collection do: the error is a little below, at times far below.
# Seen:  neither holds in a single case: the error is 1.2 to 2 times what was asked for, for layers of two sizes and for kernels
#        in a row, whatever the bound. The excess differs from layer to layer and from bound to bound, so that asking for less
#        needs a look at each result. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 numcodecs==0.16.5 numcodecs-wasm-tthresh==0.3.2
cd "$folder"
"$folder/venv/bin/python" - >seen 2>errors <<'PYTHON' || { cat seen errors; exit 1; }
import importlib.metadata
import sys
import numpy as np
from numcodecs_wasm_tthresh import Tthresh
rng = np.random.default_rng(0)
excess = {"eps": [], "rmse": []}
for shape in ((32, 16, 3, 3), (64, 32, 3, 3), (64, 32, 9)):
    kernels = rng.normal(scale=0.05, size=shape).astype(np.float32)
    size = np.sqrt(np.mean(kernels.astype(float) ** 2))
    for mode, asked in (("eps", 1e-1), ("eps", 1e-2), ("eps", 1e-3), ("rmse", 1e-2), ("rmse", 1e-3), ("rmse", 1e-4)):
        coder = Tthresh(eb_mode=mode, **{"eb_" + mode: asked})
        read = np.asarray(coder.decode(coder.encode(kernels))).reshape(shape)
        error = np.sqrt(np.mean((read.astype(float) - kernels) ** 2))
        excess[mode].append(error / (asked * size if mode == "eps" else asked))
for mode, values in excess.items():
    print(f"numcodecs-wasm-tthresh {importlib.metadata.version('numcodecs-wasm-tthresh')}, {mode}: error by error asked for "
          f"{min(values):.2f} to {max(values):.2f} ({' '.join(f'{value:.2f}' for value in values)})")
sys.exit(not 1.1 < min(excess["eps"] + excess["rmse"]) < 1.5 < max(excess["eps"] + excess["rmse"]))
PYTHON
grep "^numcodecs" seen

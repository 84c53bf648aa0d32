#!/bin/sh
# tinygrad 0.14.0, Tensor.cast(dtypes.fp8e4m3) and back, on its default device for machines without a GPU (CPU; needs clang).
# Guess: the float8 nearest to each weight, as ml_dtypes 0.6.0 makes it: down to 0.001; 1.3 % of a layer's weights become 0.
# Seen:  all that eight bits hold in their subnormals, which e4m3 has for weights from 0.001 to 0.0156, becomes 0: 23 % of the
#        weights of a layer with a deviation of 0.05, without a word. Reading is alike: a stored float8 of that kind, as other
#        programs write them, is 0. tinygrad's own device PYTHON casts all of them right, both ways, so that the same line
#        prunes on one device and does not on the other. Exit status 1 when that is no longer so.
set -eu
command -v clang >/dev/null || { echo "needs clang, which tinygrad's CPU device compiles with"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 ml_dtypes==0.6.0 tinygrad==0.14.0
cat >"$folder/look.py" <<'PYTHON'
import sys
import ml_dtypes
import numpy as np
from tinygrad import Device, Tensor, dtypes
weights = np.random.default_rng(0).normal(scale=0.05, size=(32, 16, 3, 3)).astype(np.float32)
want = weights.astype(ml_dtypes.float8_e4m3fn)
stored = Tensor(weights).cast(dtypes.fp8e4m3).bitcast(dtypes.uint8).numpy().view(ml_dtypes.float8_e4m3fn)
read = Tensor(want.view(np.uint8)).bitcast(dtypes.fp8e4m3).cast(dtypes.float32).numpy()
small = np.abs(weights) < 2.0 ** -6
zeros = [np.mean(w.astype(np.float32) == 0) for w in (want, stored, read)]
print(f"device {Device.DEFAULT}: zeros {zeros[0]:.3f} by ml_dtypes, {zeros[1]:.3f} as tinygrad stores it, {zeros[2]:.3f} as it reads what ml_dtypes stored")
right = np.array_equal(stored.view(np.uint8), want.view(np.uint8)) and np.array_equal(read, want.astype(np.float32))
lost = bool((stored.astype(np.float32)[np.abs(weights) < 0.0155] == 0).all() and (read[np.abs(want.astype(np.float32)) < 2.0 ** -6] == 0).all())
sys.exit((right, lost) != ((False, True) if sys.argv[1] == "CPU" else (True, False)))
PYTHON
for device in CPU PYTHON; do
    CACHEDB="$folder/cache.db" DEV=$device "$folder/venv/bin/python" "$folder/look.py" $device
done

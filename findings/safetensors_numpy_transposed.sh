#!/bin/sh
# safetensors 0.8.0, safetensors.numpy.save_file and save, with a kernel turned from Keras' axes (HWIO) into torch's (OIHW).
# Guess: the numbers of an array that np.transpose returned (a view, not contiguous) are stored in its own order, as 0.7.0
#        did, or the array is refused, as safetensors.torch does.
# Seen:  0.8.0 says nothing and stores the memory below the view: the shape is the new one, every number stands where it
#        stood before. np.ascontiguousarray first is right in both. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6
cat >"$folder/look.py" <<'PYTHON'
import sys
import numpy as np
import safetensors
import safetensors.numpy as stored
hwio = np.arange(3 * 3 * 2 * 4, dtype=np.float32).reshape(3, 3, 2, 4)
oihw = np.transpose(hwio, (3, 2, 0, 1))
stored.save_file({"kernel": oihw, "copy": np.ascontiguousarray(oihw)}, sys.argv[1])
read = stored.load_file(sys.argv[1])
kernel = read["kernel"]
verdict = ("right" if np.array_equal(kernel, oihw) else
           "in the order of the memory" if kernel.shape == oihw.shape and np.array_equal(kernel.ravel(), hwio.ravel()) else "other")
assert np.array_equal(stored.load(stored.save({"kernel": oihw}))["kernel"], kernel) and np.array_equal(read["copy"], oihw)
print(f"safetensors {safetensors.__version__}: a transposed kernel comes back {verdict}")
sys.exit(verdict != sys.argv[2])
PYTHON
look() {
    "$folder/venv/bin/pip" install -q --no-deps "safetensors==$1"
    "$folder/venv/bin/python" "$folder/look.py" "$folder/kernel.safetensors" "$2"
}
look 0.7.0 "right"
look 0.8.0 "in the order of the memory"

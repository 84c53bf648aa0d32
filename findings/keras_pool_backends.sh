#!/bin/sh
# keras 3.15.1, AveragePooling2D with padding="same", by its backends jax 0.7.2 and torch 2.15.0.
# Guess: one layer, one answer: what Keras 3 promises of a network that is moved from one backend to another. At the edge the
#        mean of the pixels that are there, as jax (and numpy and TensorFlow) take it.
# Seen:  torch's backend does so where the padding is alike at both ends. Where it is uneven, as for a window of 3 and a step of 2 on
#        an even side, it repeats the edge's own pixels and counts them as if they were there: 7, 8 and a second 8 at the end of
#        1 ... 8. Only the outputs at the edge differ, and nothing is said. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 jax==0.7.2 ml_dtypes==0.5.4 keras==3.15.1 torch==2.15.0
cat >"$folder/look.py" <<'PYTHON'
import sys
import keras
import numpy as np
x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 8, 1)
good = True
for side, step in ((3, 1), (2, 2), (3, 2), (4, 1), (4, 2)):
    total = max((-(-8 // step) - 1) * step + side - 8, 0)
    first, last = total // 2, total - total // 2
    line, padded = np.arange(1.0, 9), {}
    for name, row in (("there", np.pad(line, (first, last), constant_values=np.nan)), ("repeated", np.pad(line, (first, last), mode="edge"))):
        padded[name] = [np.nanmean(row[i:i + side]) for i in range(0, len(row) - side + 1, step)]
    y = keras.ops.convert_to_numpy(keras.layers.AveragePooling2D((1, side), (1, step), padding="same")(x)).ravel()
    same = [name for name, want in padded.items() if np.allclose(y, want)]
    print(f"keras {keras.__version__}, {keras.backend.backend()}, window {side}, step {step}, padding {first} and {last}: {y.round(3)}, of pixels {same}")
    good &= "there" in same if keras.backend.backend() == "jax" or first == last else same == ["repeated"]
sys.exit(not good)
PYTHON
for backend in jax torch; do
    KERAS_BACKEND=$backend KERAS_HOME="$folder" "$folder/venv/bin/python" -W ignore "$folder/look.py" 2>"$folder/errors" || { cat "$folder/errors"; exit 1; }
done

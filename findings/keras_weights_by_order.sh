#!/bin/sh
# keras 3.15.1 with jax 0.7.2: two networks of the same two layers, Conv2D "edges" and Conv2D "colours" of one shape, that
# name them in opposite order. save_weights of the one, load_weights of the other, .weights.h5.
# Guess: weights go to the layers of their names, which the file holds (attribute "name" beside each layer's arrays); where
#        names and order disagree, an error.
# Seen:  names are not looked at: "edges" gets the weights of "colours" and the other way round, without a word.
#        by_name=True is refused for .weights.h5 (only the legacy .h5 knows it, and then does the right thing).
#        Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 jax==0.7.2 ml_dtypes==0.5.4 keras==3.15.1 h5py==3.16.0
cd "$folder"
KERAS_BACKEND=jax "$folder/venv/bin/python" -W ignore - 2>errors <<'PYTHON' || { cat errors; exit 1; }
import sys
import h5py
import keras
import numpy as np

def network(names, seed):
    keras.utils.set_random_seed(seed)
    convs = [keras.layers.Conv2D(4, 3, padding="same", name=name) for name in names]
    return keras.Sequential([keras.Input((8, 8, 4)), *convs])

def kernels(model):
    return {name: np.asarray(model.get_layer(name).kernel) for name in ("edges", "colours")}

saved = network(["edges", "colours"], 1)
saved.save_weights("net.weights.h5")
saved.save("net.h5")
names = []
with h5py.File("net.weights.h5") as file:
    file.visititems(lambda path, item: names.append(item.attrs["name"]) if path.count("/") == 2 else None)
of, loaded, legacy = kernels(saved), network(["colours", "edges"], 2), network(["colours", "edges"], 3)
loaded.load_weights("net.weights.h5")
legacy.load_weights("net.h5", by_name=True)
swapped = all(np.array_equal(kernels(loaded)[a], of[b]) for a, b in (("edges", "colours"), ("colours", "edges")))
by_name = all(np.array_equal(kernels(legacy)[name], of[name]) for name in of)
try:
    loaded.load_weights("net.weights.h5", by_name=True)
    refused = False
except ValueError as error:
    refused = "by_name" in str(error)
print(f"names in the file {names}; swapped {swapped}; by_name refused for .weights.h5 {refused}, right for .h5 {by_name}")
sys.exit(not (sorted(names) == ["colours", "edges"] and swapped and by_name and refused))
PYTHON

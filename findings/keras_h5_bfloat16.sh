#!/bin/sh
# keras 3.15.1 with h5py 3.16.0: a network of dtype policy bfloat16, saved as .weights.h5 and as .h5.
# Guess: both hold the numbers in a type that HDF5 has, float32 or uint16, or both are refused; what Keras saved it loads.
# Seen:  both hold two opaque bytes a weight. .weights.h5 says "bfloat16" in an attribute of each data set and is loaded.
#        .h5 says nothing of the kind, is written without an error, and load_model cannot read it back (jax
#        and torch both refuse the type); the bits in it are the weights. Exit status 1 when that is no longer so.
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
import ml_dtypes
import numpy as np
keras.config.set_dtype_policy("bfloat16")
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv")])
kernel = keras.ops.convert_to_numpy(keras.ops.cast(model.layers[0].kernel, "float32"))
model.save("net.h5")
model.save_weights("net.weights.h5")
good = True
for path in ("net.h5", "net.weights.h5"):
    sets = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: sets.append((item[()], dict(item.attrs))) if getattr(item, "ndim", 0) == 4 else None)
    (stored, attributes), = sets
    bits = np.array_equal(stored.view(ml_dtypes.bfloat16).astype(np.float32), kernel)
    try:
        if path == "net.h5":
            keras.models.load_model(path)
        else:
            model.load_weights(path)
        loaded = "loads it"
    except (TypeError, ValueError) as error:
        loaded = f"does not load it: {str(error).splitlines()[0]}"
    print(f"{path}: {stored.dtype.str}, attributes {attributes}, the bits are the weights {bits}; keras {loaded}")
    good &= stored.dtype.str == "|V2" and bits
    good &= (attributes == {} and loaded != "loads it") if path == "net.h5" else (attributes == {"dtype": "bfloat16"} and loaded == "loads it")
sys.exit(not good)
PYTHON

#!/bin/sh
# numpy 2.4.6 with ml_dtypes 0.6.0: arrays of the eight-bit floats saved with numpy.save, and in one numpy.savez.
# Guess: all of them alike: bytes without a meaning ("|V1", what bfloat16 is known for), or refused when they are saved.
# Seen:  float8_e4m3fn is bytes, but float8_e5m2 is written as '<f1', a type that numpy does not have: saving works, and
#        numpy.load refuses the file that numpy.save wrote. In a .npz the other arrays are read and that one is lost.
#        Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 ml_dtypes==0.6.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import ml_dtypes
import numpy as np
values = np.linspace(-2, 2, 6, dtype=np.float32)
arrays = {name: values.astype(getattr(ml_dtypes, name)) for name in ("float8_e4m3fn", "float8_e5m2")}
np.savez("net.npz", plain=values, **arrays)
seen = {}
for name, array in arrays.items():
    np.save(name + ".npy", array)
    with open(name + ".npy", "rb") as file:
        descr = file.read().split(b"'descr': '")[1].split(b"'")[0].decode()
    try:
        back = np.load(name + ".npy")
        seen[name] = (descr, back.dtype.str, back.tobytes() == array.tobytes())
    except ValueError as error:
        seen[name] = (descr, str(error).split(":")[0])
with np.load("net.npz") as archive:
    plain = np.array_equal(archive["plain"], values)
    try:
        archive["float8_e5m2"]
        lost = False
    except ValueError:
        lost = True
print(seen, "plain read", plain, "float8_e5m2 lost", lost)
sys.exit(seen != {"float8_e4m3fn": ("<V1", "|V1", True),
                  "float8_e5m2": ("<f1", "descr is not a valid dtype descriptor")} or not plain or not lost)
PYTHON

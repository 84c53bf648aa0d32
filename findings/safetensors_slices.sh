#!/bin/sh
# safetensors 0.8.0 (PyPI): get_slice counts single places from the end, but no bounds of slices.
#
# A good guess: where view[-1] is the last row, view[-3:] is the last three, as in numpy and torch, whose syntax it takes.
# Seen: view[-1] works; view[-3:] and view[:-1] raise OverflowError, which is no SafetensorError; bounds beyond the end are
# refused (view[5:100], where numpy cuts them off), and view[True] is view[1].
set -e
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/t.safetensors" <<'PYTHON'
import sys
import numpy as np
import safetensors
from safetensors.numpy import save_file

array = np.arange(140, dtype="<i4").reshape(7, 5, 4)
save_file({"a": array}, sys.argv[1])


def kind(index):
    try:
        return view[index].shape
    except Exception as error:
        return type(error).__name__


with safetensors.safe_open(sys.argv[1], "np") as f:
    view = f.get_slice("a")
    assert (view[-1] == array[-1]).all()
    seen = {"-3:": kind(np.s_[-3:]), ":-1": kind(np.s_[:-1]), "5:100": kind(np.s_[5:100]), "::-1": kind(np.s_[::-1])}
    print(seen)
    assert seen == {"-3:": "OverflowError", ":-1": "OverflowError", "5:100": "SafetensorError", "::-1": "SafetensorError"}
    assert (view[True] == array[1]).all()
    print("as stated, of safetensors", safetensors.__version__)
PYTHON

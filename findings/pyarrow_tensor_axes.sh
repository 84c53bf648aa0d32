#!/bin/sh
# pyarrow 26.0.1, FixedShapeTensorArray, the column type for tensors, with kernels turned from TFLite's axes (OHWI) into
# torch's (OIHW) by np.transpose: 64 filters of 3x3x3 (a first layer) and of 5x5x16.
# Guess: from_numpy_ndarray takes the memory as it is and notes the order of the axes; to_numpy_ndarray gives the same array
#        back. (Where two axes are swapped, it does.)
# Seen:  where the three axes go round, the order is undone the wrong way: 3x3x3 kernels come back in the same shape and with
#        their axes turned once more, 5x5x16 ones in another shape. With the type written by hand,
#        fixed_shape_tensor([5, 5, 16], permutation=[2, 0, 1]), the shape is right and the strides are of other axes: of
#        400 weights of a filter 220 are never shown, others twice or more. A single row (array[0].to_numpy()) is wrong so for
#        most orders, those that swap two axes among them. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import numpy as np
import pyarrow as pa
good = True
for shape, same_shape in (((64, 3, 3, 3), True), ((64, 5, 5, 16), False)):
    ohwi = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    oihw = ohwi.transpose(0, 3, 1, 2)
    array = pa.FixedShapeTensorArray.from_numpy_ndarray(oihw)
    back = array.to_numpy_ndarray()
    turned = back.shape == ohwi.transpose(0, 2, 3, 1).shape and np.array_equal(back, ohwi.transpose(0, 2, 3, 1))
    swapped = ohwi.transpose(0, 1, 3, 2)
    kept = np.array_equal(pa.FixedShapeTensorArray.from_numpy_ndarray(swapped).to_numpy_ndarray(), swapped)
    print(f"pyarrow {pa.__version__}: OIHW {oihw.shape} comes back as {back.shape}, the axes turned once more {turned}; two swapped come back right {kept}")
    good &= (back.shape == oihw.shape) == same_shape and not (same_shape and np.array_equal(back, oihw)) and kept
    good &= turned or not same_shape
# The type by hand: permutation[i] is the axis in memory that the i-th axis of the tensor is.
def by_hand(order):
    kind = pa.fixed_shape_tensor(pa.float32(), [5, 5, 16], permutation=order)
    made = pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(pa.array(ohwi.ravel()), 400))
    want = ohwi.transpose(0, *[axis + 1 for axis in order])
    whole, row = made.to_numpy_ndarray(), made[0].to_numpy()
    return whole.shape == want.shape, np.array_equal(whole, want), np.array_equal(row, want[0]), 400 - len(np.unique(whole[0]))
seen = {}
for order in ([0, 1, 2], [0, 2, 1], [2, 1, 0], [2, 0, 1]):
    seen[tuple(order)] = by_hand(order)
    print(f"permutation {order}: shape right %s, numbers right %s, of a single row right %s; weights of a filter never shown %d" % seen[tuple(order)])
good &= seen[0, 1, 2][:3] == seen[0, 2, 1][:3] == (True, True, True)
good &= seen[2, 1, 0][:2] == (True, True) and not seen[2, 1, 0][2]
good &= seen[2, 0, 1][:3] == (True, False, False) and seen[2, 0, 1][3] == 220
sys.exit(not good)
PYTHON

#!/bin/sh
# MNN 3.6.1, a Resize of mode cubic with coordinate_transformation_mode half_pixel (what torch's exporter writes for
# interpolate(mode="bicubic"), in decoders and super-resolution), two, four and eight times larger; onnxruntime 1.32.0 beside it.
# Guess: the same picture to a few 1e-6; or other coefficients of the cubic, which makes all pixels differ a little.
# Seen:  the same to 1e-6, but for the first row and column (the first two at four times, the first four at eight times): those
#        lie before the first pixel's centre, for instance at -0.25, which MNN cuts to 0 where it should go down to -1, but with
#        the fraction of 0.75. They show what lies at 0.75, a pixel further in: off by as much as the picture varies, along two
#        of the four edges alone. Mode linear is right, and so is cubic with align_corners. Exit status 1 when that is no longer
#        so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/pip" install -q --no-deps MNN==3.6.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - >seen 2>errors <<'PYTHON' || { cat seen errors; exit 1; }
import sys
import numpy as np
import onnx
import onnxruntime
import MNN
import MNN.expr
import MNN.nn
import _tools                               # what mnnconvert calls, without its report to the makers
from onnx import TensorProto, helper, numpy_helper
x = np.random.default_rng(0).normal(size=(1, 3, 12, 12)).astype(np.float32)
seen = {}
for mode, corners in (("cubic", "half_pixel"), ("linear", "half_pixel"), ("cubic", "align_corners")):
    for times in (2, 4, 8):
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode=mode, coordinate_transformation_mode=corners)
        graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 12 * times, 12 * times])],
                                  [numpy_helper.from_array(np.array([1, 1, times, times], np.float32), "s")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, "net.onnx")
        _tools.mnnconvert("mnnconvert -f ONNX --modelFile net.onnx --MNNModel net.mnn --bizCode any".split())
        net = MNN.nn.load_module_from_file("net.mnn", ["x"], ["y"])
        output = MNN.expr.convert(net([MNN.expr.const(x, list(x.shape), MNN.expr.NCHW)])[0], MNN.expr.NCHW)
        y = np.array(output.read()).reshape(3, 12 * times, 12 * times)
        apart = np.abs(y - onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0][0]).max(0)
        rows, columns = (np.flatnonzero((apart > 1e-4).mean(axis) > 0.5).tolist() for axis in (1, 0))
        rest = np.delete(np.delete(apart, rows, 0), columns, 1).max()
        # What the first row shows: the row one pixel of x further in (twice as large: the third, at 0.75).
        further = np.abs(y[:, 0] - y[:, times]).max()
        seen[mode, corners, times] = (rows, columns, rest < 1e-4, further < 1e-5)
        print(f"MNN {MNN.version()}, {mode}, {corners}, {times} times: rows {rows} and columns {columns} differ, by up to {apart.max():.1e}; "
              f"all others by {rest:.1e}; first row and row {times}: {further:.1e} apart")
wrong = {times: (list(range(times // 2)), list(range(times // 2)), True, True) for times in (2, 4, 8)}
sys.exit(any(value != (wrong[times] if (mode, corners) == ("cubic", "half_pixel") else ([], [], True, False))
             for (mode, corners, times), value in seen.items()))
PYTHON
grep "^MNN" seen

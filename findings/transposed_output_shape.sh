#!/bin/sh
# tract 0.23.9 and openvino 2026.4.1, a transposed convolution of the kind that decoders and generators have (4x4 or 5x5, stride 2)
# with the attribute output_shape, as converters from TensorFlow write it where the size of the image is not fixed: what is too
# much is to be cut off, half of it at the top and at the left, the rest at the bottom and at the right.
# Guess: that is what both do, as onnxruntime 1.32.0 does, whatever the number of groups; or output_shape is refused.
# Seen:  tract cuts all of it off at the bottom and at the right: the shape is right, the picture stands one pixel (4x4) or two
#        (5x5) too far down and to the right, and nothing is said. OpenVINO is right for one group, and does as tract does for
#        two or more, a depthwise upsampling among them. The same cut as pads is right in both. Exit status 1 when that is no
#        longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 tract==0.23.9
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import importlib.metadata
import sys
import numpy as np
import onnx
import onnxruntime
import openvino
import tract
from onnx import TensorProto, helper, numpy_helper
path = sys.argv[1] + "/net.onnx"
rng = np.random.default_rng(0)
x = rng.normal(size=(1, 8, 11, 13)).astype(np.float32)


def with_onnxruntime():
    return onnxruntime.InferenceSession(path).run(None, {"x": x})[0]


def with_openvino():
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]


def with_tract():
    return tract.onnx().load(path).into_model().into_runnable().run([x])[0].to_numpy()


seen = {}
for side in (4, 5):
    for groups in (1, 2, 8):
        kernels = rng.normal(size=(8, 8 // groups, side, side)).astype(np.float32)
        for said in ("nothing", "output_shape", "pads"):
            cut = side - 2    # (11 - 1) * 2 + side is 22 and this many more, here and along the width.
            say = {"nothing": {}, "output_shape": {"output_shape": [22, 26]},
                   "pads": {"pads": [cut - cut // 2] * 2 + [cut // 2] * 2}}[said]
            node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], group=groups, **say)
            sides = [22 + cut, 26 + cut] if said == "nothing" else [22, 26]
            graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                                      [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8] + sides)],
                                      [numpy_helper.from_array(kernels, "w")])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, path)
            if said == "nothing":
                whole = with_onnxruntime()
                continue
            for name, run in (("onnxruntime", with_onnxruntime), ("openvino", with_openvino), ("tract", with_tract)):
                y = run()
                # The row and the column of the whole result, without any cut, at which this one begins.
                begins = [(i, j) for i in range(cut + 1) for j in range(cut + 1)
                          if y.shape == (1, 8, 22, 26) and np.allclose(whole[:, :, i:i + 22, j:j + 26], y, atol=1e-3)]
                seen[name, side, groups, said] = begins
            print(f"{side}x{side}, group={groups}, {cut} rows too many, {said}: begins at " + ", ".join(
                f"{begins} in {name} {importlib.metadata.version(name)}" for (name, *of), begins in seen.items() if of == [side, groups, said]))
wrong = {("tract", groups) for groups in (1, 2, 8)} | {("openvino", 2), ("openvino", 8)}
sys.exit(any(begins != ([(0, 0)] if said == "output_shape" and (name, groups) in wrong else [(side - 3, side - 3)])
             for (name, side, groups, said), begins in seen.items()))
PYTHON

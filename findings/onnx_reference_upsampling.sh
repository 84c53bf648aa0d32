#!/bin/sh
# onnx 1.23.2, onnx.reference.ReferenceEvaluator (the project's own executable definition of the operators) and onnxruntime
# 1.32.0, a depthwise ConvTranspose with a bias: the learned upsampling of each channel by itself, group = channels.
# Guess: slow, and right, as without a bias and as with one group: channel i gets the bias of channel i.
# Seen:  every channel gets the bias of the first one: all but the first are off by a constant, and nothing is said; for one image
#        and for several alike. Without a bias, and with one and the same for all channels, it is right. Exit status 1 when that
#        is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
rng = np.random.default_rng(0)
x = rng.normal(size=(2, 8, 6, 6)).astype(np.float32)
kernels, biases = rng.normal(size=(8, 1, 4, 4)).astype(np.float32), rng.normal(size=8).astype(np.float32)
together = rng.normal(size=(8, 8, 4, 4)).astype(np.float32)
seen = {}
for name, weights, group, bias in (("no bias", kernels, 8, None), ("one bias for all", kernels, 8, np.full_like(biases, biases[0])),
                                   ("a bias for each", kernels, 8, biases), ("a bias for each, one group", together, 1, biases)):
    stored = {"w": weights} | ({} if bias is None else {"b": bias})
    node = helper.make_node("ConvTranspose", ["x"] + list(stored), ["y"], strides=[2, 2], pads=[1] * 4, group=group)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 8, 12, 12])],
                              [numpy_helper.from_array(array, key) for key, array in stored.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    apart = ReferenceEvaluator(model).run(None, {"x": x})[0] - onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    # What the wrong bias leaves: the first channel's less the channel's own, the same at each pixel of each image.
    first = 0 if bias is None else (bias[0] - bias)[:, None, None]
    seen[name] = (bool(np.abs(apart).max() < 1e-4), bool(np.abs(apart - first).max() < 1e-4))
    print(f"onnx {onnx.__version__}, {name}: outputs up to {np.abs(apart).max():.2f} apart, by channel "
          f"{' '.join(f'{value:.2f}' for value in apart.mean((0, 2, 3)))}; as with the first bias for all {seen[name][1]}")
sys.exit(seen != {"no bias": (True, True), "one bias for all": (True, True), "a bias for each": (False, True),
                  "a bias for each, one group": (True, False)})
PYTHON

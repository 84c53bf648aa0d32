#!/bin/sh
# onnx 1.23.2, onnx.reference.ReferenceEvaluator (the project's own executable definition of the operators) and onnxruntime
# 1.32.0, the LRN of AlexNet and GoogLeNet: size 5, over 8 channels, for 1, 3 and 8 images at once.
# Guess: each channel is divided by what its neighbours sum to, as the formula has it; an image gets the same whoever else is in
#        the batch.
# Seen:  it goes over the images where it should go over the channels: of 8 channels only the first are normalized, as many as there
#        are images, and the others are divided by bias ** beta alone. The same image has other outputs in a larger batch; from 8
#        images on all is right. onnxruntime and torch's local_response_norm agree with the formula each time. The tests of the
#        operator, which have 5 channels and 5 images, cannot see it. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
images, alpha, beta, bias = 3 * np.random.default_rng(0).normal(size=(8, 8, 4, 4)).astype(np.float32), 0.5, 0.75, 2.0
squares = np.pad(images.astype(float) ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
formula = images / (bias + alpha / 5 * sum(squares[:, i:i + 8] for i in range(5))) ** beta
seen = []
for batch in (1, 3, 8):
    graph = helper.make_graph([helper.make_node("LRN", ["x"], ["y"], size=5, alpha=alpha, beta=beta, bias=bias)], "net",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 8, 4, 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8, 4, 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    x, want = images[:batch], formula[:batch]
    runtime = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    found = ReferenceEvaluator(model).run(None, {"x": x})[0]
    right = [bool(np.allclose(found[:, c], want[:, c], atol=1e-5)) for c in range(8)]
    only_bias = all(np.allclose(found[:, c], x[:, c] / bias ** beta, atol=1e-5) for c in range(8) if not right[c])
    seen.append((right == [c < batch for c in range(8)], only_bias, bool(np.allclose(runtime, want, atol=1e-5))))
    print(f"onnx {onnx.__version__}, {batch} images: channels right {sum(right)} of 8, the others divided by the bias alone {only_bias}; "
          f"onnxruntime right {seen[-1][2]}")
sys.exit(seen != [(True, True, True)] * 3)
PYTHON

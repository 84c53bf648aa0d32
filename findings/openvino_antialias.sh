#!/bin/sh
# openvino 2026.4.1 and opencv-python-headless 5.0.0.93, a Resize with antialias=1 (ONNX opset 18) that makes an image four times
# smaller: what torch.nn.functional.interpolate(antialias=True) and Pillow do before a network sees it.
# Guess: the filter is as wide as the step, as in onnx's reference and onnxruntime 1.32.0; or the attribute is refused.
# Seen:  both read the model, run it, say nothing, and return to the last bit what they return for antialias=0: each output is
#        made of four pixels (sixteen where cubic) of the 16 (64) and more that it stands for. Noise, of whose deviation the filter
#        leaves 0.2, keeps 0.5 (cubic 0.7). Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 opencv-python-headless==5.0.0.93
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import cv2
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
image = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)

def reference(model):
    return ReferenceEvaluator(model).run(None, {"x": image})[0]

def runtime(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": image})[0]

def vino(model):
    core = openvino.Core()
    return core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]

def opencv(model):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    net.setInput(image, "x")
    return net.forward()

good = True
for mode in ("linear", "cubic"):
    models = []
    for antialias in (0, 1):
        node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode=mode, coordinate_transformation_mode="half_pixel", antialias=antialias)
        graph = helper.make_graph([node], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 16, 16])],
                                  [numpy_helper.from_array(np.array([1, 3, 16, 16]), "sizes")])
        models.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
        onnx.checker.check_model(models[-1], full_check=True)
    want = [reference(model) for model in models]
    for name, run in (("onnxruntime " + onnxruntime.__version__, runtime), ("openvino " + openvino.__version__, vino), ("OpenCV " + cv2.__version__, opencv)):
        found = [run(model) for model in models]
        right = [bool(np.allclose(f, w, atol=1e-4)) for f, w in zip(found, want)]
        same = np.array_equal(*found)
        print(f"{name}, {mode}: right without antialias {right[0]}, with it {right[1]}, both the same {same}; deviation {found[0].std():.2f} and {found[1].std():.2f}")
        good &= (right, same) == (([True, True], False) if name.startswith("onnxruntime") else ([True, False], True))
sys.exit(not good)
PYTHON

#!/bin/sh
# onnxscript 0.7.2, onnxscript.optimizer.optimize with its own settings, on a dilated convolution with auto_pad SAME_UPPER, as
# converters from TensorFlow write DeepLab and the like; and tinygrad 0.14.0, OnnxRunner, on the same file.
# Guess: SAME is turned into numbers that keep the sides, half of dilation x (kernel - 1) at each: as onnx's own shape inference and
#        its reference count it; or it is left, or refused, as onnxruntime 1.32.0 does, which says that it has no dilation with SAME.
# Seen:  both leave the dilation out: a kernel of 3 gets a padding of 1, whatever its dilation, and the output, declared as
#        16 x 16, is 14 x 14 at a dilation of 2 and 10 x 10 at 4. The optimizer says nothing, the checker takes its model, and
#        onnxruntime, which refused the one before, now runs it. Without dilation both are right. Exit status 1 when that is no
#        longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 tinygrad==0.14.0
cd "$folder"
CACHEDB="$folder/cache.db" DEV=PYTHON "$folder/venv/bin/python" -W ignore - <<'PYTHON' >seen 2>errors || { cat seen errors; exit 1; }
import sys
import numpy as np
import onnx
import onnxruntime
import onnxscript.optimizer
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tinygrad import Tensor
from tinygrad.nn.onnx import OnnxRunner
onnxruntime.set_default_logger_severity(4)
rng = np.random.default_rng(0)
kernels, x = rng.normal(size=(4, 3, 3, 3)).astype(np.float32), rng.normal(size=(1, 3, 16, 16)).astype(np.float32)

def network(dilation, **padding):
    node = helper.make_node("Conv", ["x", "w"], ["y"], dilations=[dilation] * 2, kernel_shape=[3, 3], **padding)
    graph = helper.make_graph([node], "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 16, 16])], [numpy_helper.from_array(kernels, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model

def run(model):
    """onnxruntime's outputs, or nothing where it refuses."""
    onnx.checker.check_model(model)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    except Exception as error:
        assert "ilation" in str(error)
        return np.empty(0)

def tiny(model):
    onnx.save(model, "net.onnx")
    return OnnxRunner("net.onnx")({"x": Tensor(x)})["y"].numpy()

seen = {}
for dilation in (1, 2, 4):
    model, want = network(dilation, auto_pad="SAME_UPPER"), run(network(dilation, pads=[dilation] * 4))
    assert want.shape == (1, 4, 16, 16) and np.allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], want, atol=1e-4)
    for name, outputs in (("onnxruntime", run), ("onnxscript", lambda m: run(onnxscript.optimizer.optimize(m))), ("tinygrad", tiny)):
        found = outputs(onnx.ModelProto.FromString(model.SerializeToString()))
        seen[name, dilation] = (found.shape[2:] or "none", found.shape == want.shape and bool(np.allclose(found, want, atol=1e-4)))
        print(f"{name}, dilation {dilation}: outputs {seen[name, dilation][0]}, as with the padding in numbers {seen[name, dilation][1]}")
other = {"onnxruntime": lambda dilation: "none", "onnxscript": lambda dilation: (18 - 2 * dilation,) * 2, "tinygrad": lambda dilation: (18 - 2 * dilation,) * 2}
sys.exit(seen != {(name, dilation): ((16, 16), True) if dilation == 1 else (shape(dilation), False) for name, shape in other.items() for dilation in (1, 2, 4)})
PYTHON
grep ", dilation" seen

#!/bin/sh
# onnx_ir 1.1.0 (what onnxscript and torch's exporter are built on), load and save of a model whose pruned kernels are stored
# as ONNX stores sparse ones: a sparse_initializer, non-zero values with their places.
# Guess: they are kept, made dense, or refused.
# Seen:  they are left out, and the call succeeds. A line in the log calls the model that was read invalid, which it is not
#        (onnx's checker and onnxruntime take it); the one that was saved is: a convolution and no weights for it. So does
#        onnxscript.optimizer.optimize (0.7.2). onnxsim 0.8.1 and onnxslim 0.1.98 keep them. Exit status 1 when that is no
#        longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnx_ir==1.1.0 onnxscript==0.7.2 onnxsim==0.8.1 onnxslim==0.1.98 onnxruntime==1.32.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON' >seen || { cat seen; exit 1; }
import logging
import sys
import numpy as np
import onnx
import onnx_ir
import onnxruntime
import onnxscript.optimizer
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper
onnxruntime.set_default_logger_severity(4)
rng = np.random.default_rng(0)
kernels = np.where(rng.random((16, 8, 1, 1)) < 0.1, rng.normal(size=(16, 8, 3, 3)), 0).astype(np.float32)
places = np.flatnonzero(kernels)
sparse = helper.make_sparse_tensor(numpy_helper.from_array(kernels.ravel()[places], "w"),
                                   numpy_helper.from_array(places.astype(np.int64), "places"), kernels.shape)
graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "net",
                          [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 9, 9])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 7, 7])], sparse_initializer=[sparse])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "net.onnx")
x = rng.normal(size=(1, 8, 9, 9)).astype(np.float32)

def run(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]

def resaved():
    onnx_ir.save(onnx_ir.load("net.onnx"), "again.onnx")
    return onnx.load("again.onnx")

class Told(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())

logging.getLogger().addHandler(Told())
want, seen = run(onnx.load("net.onnx")), {}
for name, made in (("as_it_is", lambda: onnx.load("net.onnx")), ("onnx_ir", resaved),
                   ("onnxscript", lambda: onnxscript.optimizer.optimize(onnx.load("net.onnx"))),
                   ("onnxsim", lambda: onnxsim.simplify(onnx.load("net.onnx"))[0]), ("onnxslim", lambda: onnxslim.slim(onnx.load("net.onnx")))):
    told = []
    model = made()
    held = len(model.graph.initializer) + len(model.graph.sparse_initializer)
    try:
        onnx.checker.check_model(model)
        valid = True
    except onnx.checker.ValidationError:
        valid = False
    try:
        same = bool(np.allclose(run(model), want))
    except Exception:
        same = None
    wrongly = any("'w'" in line and "model is invalid" in line for line in told)
    seen[name] = (held, valid, same, wrongly)
    print(f"{name}: weights held {held}, valid {valid}, outputs as before {same}, called invalid when it was read {wrongly}")
lost = ("onnx_ir", "onnxscript")
sys.exit(seen != {name: (0, False, None, True) if name in lost else (1, True, True, False) for name in seen})
PYTHON
grep ": weights held" seen

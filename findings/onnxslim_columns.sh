#!/bin/sh
# onnxslim 0.1.98, slim with its own settings, on a convolution whose result is multiplied by a constant of one number for
# each column (shape [width], as a window over the width of a spectrogram or of an image), where the result is as wide as it
# has channels.
# Guess: a product along the width is left where it is; only one number for each channel, [channels, 1, 1], is multiplied into
#        the kernels. onnxsim 0.8.1 and onnxscript 0.7.2 see the difference.
# Seen:  it counts the numbers and does not look at the axis: 16 of them, 16 filters, so that filter i gets the factor of column i.
#        The kernels in the file are others and so are all outputs, without a word. With a result of another width the same
#        model is left alone and right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxslim==0.1.98 onnxsim==0.8.1 onnxscript==0.7.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON' >seen || { cat seen; exit 1; }
import sys
import numpy as np
import onnx
import onnxscript.optimizer
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
rng = np.random.default_rng(0)
kernels = rng.normal(size=(16, 3, 3, 3)).astype(np.float32)

def network(width, factors):
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4), helper.make_node("Mul", ["a", "factors"], ["y"])], "net",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, width])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 16, width])],
                              [numpy_helper.from_array(kernels, "w"), numpy_helper.from_array(factors, "factors")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model

window = {width: np.hanning(width).astype(np.float32) for width in (16, 20)}
seen = {}
for what, width, factors in (("16 columns", 16, window[16]), ("20 columns", 20, window[20]), ("16 channels", 16, window[16].reshape(16, 1, 1))):
    model = network(width, factors)
    x = rng.normal(size=(1, 3, 16, width)).astype(np.float32)
    want = ReferenceEvaluator(model).run(None, {"x": x})[0]
    for name, optimize in (("onnxslim", onnxslim.slim), ("onnxsim", lambda m: onnxsim.simplify(m)[0]), ("onnxscript", onnxscript.optimizer.optimize)):
        made = optimize(onnx.ModelProto.FromString(model.SerializeToString()))
        held = [numpy_helper.to_array(i) for i in made.graph.initializer if len(i.dims) == 4]
        by_column = any(np.allclose(w, kernels * window[16].reshape(16, 1, 1, 1), atol=1e-6) for w in held)
        apart = float(np.abs(ReferenceEvaluator(made).run(None, {"x": x})[0] - want).max() / np.abs(want).max())
        seen[name, what] = (len(made.graph.node), by_column, apart < 1e-5)
        print(f"{name}, factors for {what}: nodes {len(made.graph.node)}, factors in the kernels {by_column}, outputs {apart:.1e} apart")
good = seen["onnxslim", "16 columns"] == (1, True, False) and seen["onnxslim", "20 columns"] == (2, False, True)
sys.exit(not (good and all(value[2] for key, value in seen.items() if key != ("onnxslim", "16 columns"))))
PYTHON
grep ", factors" seen

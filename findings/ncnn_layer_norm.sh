#!/bin/sh
# ncnn 1.0.20261020 with its converter pnnx 20261020, a LayerNormalization over channels, height and width together (axis=1; in
# torch nn.LayerNorm([8, 11, 13])) after a convolution; onnxruntime 1.32.0 beside it.
# Guess: one mean and one variance for the image, and a scale and a shift for each number, as onnxruntime has it and as ncnn does
#        where the normalization is over height and width or over the width alone; or pnnx refuses it.
# Seen:  pnnx writes the layer with all 1,144 scales and shifts; ncnn normalizes each channel by itself, as an instance
#        normalization, and gives every channel the scales and shifts of the first one. What the network had in the means of its
#        channels is gone, the shape is right, and nothing is said. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/pip" install -q --no-deps pnnx==20261020 ncnn==1.0.20261020
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import subprocess
import sys
import ncnn
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
program = importlib.util.find_spec("pnnx").submodule_search_locations[0] + "/pnnx"     # not by its module, which wants torch
rng = np.random.default_rng(0)
x = (rng.normal(size=(1, 8, 11, 13)) + np.arange(8)[:, None, None]).astype(np.float32)
itself = np.eye(8, dtype=np.float32)[:, :, None, None]     # a convolution that leaves x as it is


def normalized(axes):
    return (x[0] - x[0].mean(axes, keepdims=True)) / np.sqrt(x[0].var(axes, keepdims=True) + 1e-5)


seen = {}
for axis in (1, 2, 3):
    scale, shift = (rng.normal(size=x.shape[axis:]).astype(np.float32) for _ in range(2))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("LayerNormalization", ["c", "scale", "shift"], ["y"], axis=axis)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
                              [numpy_helper.from_array(a, n) for a, n in ((itself, "w"), (scale, "scale"), (shift, "shift"))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "net.onnx")
    right = onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0][0]
    subprocess.run([program, "net.onnx", "inputshape=[1,8,11,13]f32", "fp16=0"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_packed = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param("net.ncnn.param")
    net.load_model("net.ncnn.bin")
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(x[0]).clone())
    y = np.array(extractor.extract("out0")[1])
    by_channel = normalized((1, 2)) * scale[0] + shift[0] if axis == 1 else np.inf
    seen[axis] = [bool(np.abs(y - other).max() < 1e-3) for other in (right, by_channel)]
    print(f"ncnn {ncnn.__version__}, axis {axis}: outputs up to {np.abs(y - right).max():.1e} from those of onnxruntime; as channel by channel, "
          f"each with the first one's scales: {seen[axis][1]}")
sys.exit(seen != {1: [False, True], 2: [True, False], 3: [True, False]})
PYTHON

#!/bin/sh
# opencv-python-headless 5.0.0.93 and 4.14.0.94 (cv2.dnn), and ncnn 1.0.20261020 with its converter pnnx 20261020: an AveragePool
# of ceil_mode=1 and count_include_pad=1 without any padding, what torch's exporter writes for nn.AvgPool2d(2, 2, ceil_mode=True),
# as shortcuts of residual networks have it, on an image with an odd side; onnxruntime 1.32.0 beside them.
# Guess: the last window, half of which lies outside, is the mean of what there is of it: count_include_pad is about padding, and
#        there is none. So torch, onnxruntime and onnx's own reference have it.
# Seen:  so did OpenCV 4; since 5.0 what lies outside of the image counts as zeros: the last column and row are half of what they
#        should be, the corner a quarter, and nothing is said. ncnn does the same. With count_include_pad=0, which means no other
#        thing here, all are right, and on even sides. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/pip" install -q --no-deps pnnx==20261020 ncnn==1.0.20261020
for version in 5.0.0.93 4.14.0.94; do
    "$folder/venv/bin/pip" install -q --no-deps --target "cv-$version" "opencv-python-headless==$version"
done
cat >pool.py <<'PYTHON'
import importlib.util
import subprocess
import sys
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
program = importlib.util.find_spec("pnnx").submodule_search_locations[0] + "/pnnx"     # not by its module, which wants torch
name = sys.argv[1]


def with_opencv(model, x):
    import cv2
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    net.setInput(x)
    return net.forward()


def with_ncnn(model, x):
    import ncnn
    onnx.save(model, "net.onnx")
    subprocess.run([program, "net.onnx", f"inputshape=[{','.join(map(str, x.shape))}]f32", "fp16=0"], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    net = ncnn.Net()
    net.opt.use_fp16_storage = net.opt.use_fp16_packed = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    net.load_param("net.ncnn.param")
    net.load_model("net.ncnn.bin")
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(x[0]).clone())
    return np.array(extractor.extract("out0")[1])[None]


seen = []
for side, include in ((15, 1), (15, 0), (16, 1)):
    x = 1 + np.random.default_rng(0).random(size=(1, 4, side, side)).astype(np.float32)
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=include)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    right = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    y = (with_ncnn if name.startswith("ncnn") else with_opencv)(model, x)
    ratio = y / right
    shares = [ratio[:, :, :-1, :-1], ratio[:, :, :-1, -1], ratio[:, :, -1, :-1], ratio[:, :, -1, -1]]
    seen.append([round(float(part.mean()), 3) if np.ptp(part) < 1e-4 else None for part in shares])
    print(f"{name}, {side}x{side}, count_include_pad={include}: outputs by those of onnxruntime inside {seen[-1][0]}, last column {seen[-1][1]}, "
          f"last row {seen[-1][2]}, corner {seen[-1][3]}")
sys.exit(seen != [[1, 1, 1, 1] if name.startswith("opencv 4") else [1, 0.5, 0.5, 0.25], [1, 1, 1, 1], [1, 1, 1, 1]])
PYTHON
for version in 5.0.0.93 4.14.0.94; do
    PYTHONPATH="cv-$version" "$folder/venv/bin/python" pool.py "opencv $version"
done
"$folder/venv/bin/python" pool.py "ncnn 1.0.20261020"

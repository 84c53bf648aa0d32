#!/bin/sh
# MNN 3.6.1 (mnnconvert --fp16) and pnnx 20261020 (ncnn's converter, fp16 by its own choice), of one layer of an ONNX file.
# Guess: both store the float16 nearest to each weight, as numpy, torch and OpenVINO make it.
# Seen:  MNN cuts the bits off, towards 0: half of the weights are not the nearest, none is ever larger than it was, the
#        error is twice as large, and -0 becomes 0. pnnx takes the nearest, but only down to 6.1e-5: all that float16 holds in
#        its subnormals, down to 6e-8, becomes 0, so that a filter of small weights (as a batch normalization with a small
#        factor leaves when it is folded in) is gone. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 onnx==1.23.2
"$folder/venv/bin/pip" install -q --no-deps MNN==3.6.1 pnnx==20261020
cd "$folder"
"$folder/venv/bin/python" - >seen 2>errors <<'PYTHON' || { cat seen errors; exit 1; }
import importlib.util
import subprocess
import sys
import numpy as np
import onnx
import _tools                               # what mnnconvert calls, without its report to the makers
from onnx import TensorProto, helper, numpy_helper
weights = np.random.default_rng(0).normal(scale=0.05, size=(64, 32, 3, 3)).astype(np.float32)
weights[1] *= 2e-4                          # the filter of small weights: 1e-5
weights[5, 0] = -0.0
graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, kernel_shape=[3, 3])], "layer",
                          [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 9, 9])],
                          [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 9, 9])], [numpy_helper.from_array(weights, "w")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "net.onnx")
_tools.mnnconvert("mnnconvert -f ONNX --modelFile net.onnx --MNNModel net.mnn --bizCode any --fp16".split())
program = importlib.util.find_spec("pnnx").submodule_search_locations[0] + "/pnnx"     # not by its module, which wants torch
subprocess.run([program, "net.onnx", "inputshape=[1,32,9,9]f32"], check=True, stdout=subprocess.DEVNULL)
nearest = weights.astype(np.float16)
cut = (weights.view(np.uint32) & 0xffffe000).view(np.float32).astype(np.float16)
ordinary, small = np.abs(weights) >= 2.0 ** -14, (np.abs(weights) < 2.0 ** -14) & (nearest != 0)
seen = {}
for name, path in (("MNN", "net.mnn"), ("pnnx", "net.ncnn.bin")):
    data = open(path, "rb").read()
    first = max(data.find(w[0].tobytes()) for w in (nearest, cut))       # where the weights start: the first filter
    assert first >= 0, f"{path} does not hold the first filter"
    stored = np.frombuffer(data, "<f2", weights.size, first).reshape(weights.shape)
    error = [np.linalg.norm((w.astype(float) - weights)[ordinary]) for w in (stored, nearest)]
    seen[name] = (np.mean((stored == nearest)[ordinary]), np.mean((stored == cut)[ordinary]), error[0] / error[1],
                  np.mean(stored[small] == 0), bool(np.signbit(stored[5, 0]).all()))
    print("%s: of the ordinary weights %.3f are the nearest, %.3f are cut, error %.2f times that of the nearest; of %d small ones %.3f "
          "are 0; -0 stays %s" % (name, *seen[name][:3], small.sum(), *seen[name][3:]))
mnn, pnnx = seen.values()
good = mnn[0] < 0.55 and mnn[1] == 1 and mnn[2] > 1.9 and mnn[3] < 0.1 and not mnn[4]
sys.exit(not (good and pnnx[0] > 0.99 and pnnx[2] < 1.1 and pnnx[3] == 1 and pnnx[4]))
PYTHON
grep "^MNN:\|^pnnx:" seen

#!/usr/bin/env python3
"""The planted networks of tests/graph against onnxsim 0.8.1: compare_onnxsim.py TOOL_GRAPH

For each network: parameters, and how far outputs move (largest difference over largest magnitude, onnxruntime, one
thread) after removal, after onnxsim.simplify, and after onnxsim.apply_structured_pruning at two sparsities, which needs
to be told how much to prune and chooses by the norm of the weights. Needs numpy, onnx, onnxruntime, onnxsim==0.8.1."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import onnxsim

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "graph"))
import planted

ort.set_default_logger_severity(4)


def outputs(path, x):
    o = ort.SessionOptions()
    o.intra_op_num_threads = 1
    return ort.InferenceSession(path, o, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def parameters(path):
    return sum(int(np.prod(t.dims)) for t in onnx.load(path).graph.initializer)


def cell(path, x, y):
    z = outputs(path, x)
    return f"{parameters(path):,}, {np.abs(z - y).max() / np.abs(y).max():.0e}"


with tempfile.TemporaryDirectory() as folder:
    big, small = os.path.join(folder, "big.onnx"), os.path.join(folder, "small.onnx")
    print("| network | parameters | filterprune | simplify | pruning 0.1 | pruning 0.3 |\n|---|---|---|---|---|---|")
    for kind in planted.KINDS:
        model, _ = planted.make(kind, 0)
        onnx.save(model, big)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        x = np.random.default_rng(1).standard_normal((2, dims[1].dim_value) + (24,) * (len(dims) - 2)).astype(np.float32)
        y = outputs(big, x)
        subprocess.run([sys.argv[1], "remove", big, small], check=True, stdout=subprocess.DEVNULL)
        row = [kind, f"{parameters(big):,}", cell(small, x, y)]
        for other in (lambda: onnxsim.simplify(model)[0], lambda: onnxsim.apply_structured_pruning(model, 0.1),
                      lambda: onnxsim.apply_structured_pruning(model, 0.3)):
            onnx.save(other(), small)
            row.append(cell(small, x, y))
        print("| " + " | ".join(row) + " |", flush=True)

#!/usr/bin/env python3
"""The planted networks of tests/graph against Torch-Pruning 1.6.1: compare_torch_pruning.py TOOL_GRAPH

For each network, run in torch in double precision: weights that are left, how far outputs move (largest difference over
largest magnitude), and seconds, after removal and after Torch-Pruning, which is told how much of every group of channels
to take (the ratio) and takes those of the smallest L1 norm. "-": it fails, with the first words of why below the table.
Needs numpy, onnx, torch and torch-pruning==1.6.1."""
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import torch_pruning as tp
from onnx import numpy_helper
from torch import nn

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "graph"))
import planted


class Net(nn.Module):
    """The graph, node by node: layers that hold channels are torch's own modules, so that Torch-Pruning knows them."""

    def __init__(self, model):
        super().__init__()
        self.graph, self.layers = model.graph, nn.ModuleDict()
        self.t = {t.name: torch.from_numpy(numpy_helper.to_array(t).astype(np.float64) if t.data_type in (1, 11) else
                                           numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
        for n in self.graph.node:
            a, w = self.attributes(n), self.t.get(n.input[1]) if len(n.input) > 1 else None
            b = self.t.get(n.input[2]) if len(n.input) > 2 else None
            layer = None
            if n.op_type in ("Conv", "ConvTranspose"):
                back, rank, g = n.op_type == "ConvTranspose", w.ndim - 2, a.get("group", 1)
                kind = {(False, 2): nn.Conv2d, (False, 3): nn.Conv3d, (True, 2): nn.ConvTranspose2d, (True, 3): nn.ConvTranspose3d}[back, rank]
                ins, outs = (w.shape[0], w.shape[1] * g) if back else (w.shape[1] * g, w.shape[0])
                layer = kind(ins, outs, tuple(w.shape[2:]), tuple(a.get("strides", [1] * rank)), tuple(a["pads"][:rank]), groups=g, bias=b is not None)
            elif n.op_type == "BatchNormalization":
                layer = nn.BatchNorm2d(w.shape[0])
                layer.running_mean.data, layer.running_var.data = self.t[n.input[3]], self.t[n.input[4]]
            elif n.op_type in ("Gemm", "MatMul"):
                w = w if a.get("transB") else w.T
                layer = nn.Linear(w.shape[1], w.shape[0], bias=b is not None)
            elif n.op_type == "PRelu":
                layer = nn.PReLU(w.numel())
            if layer is None:
                continue
            layer.weight.data = w.clone()
            if b is not None:
                layer.bias.data = b.clone()
            self.layers[n.name] = layer.double()

    @staticmethod
    def attributes(n):
        return {a.name: onnx.helper.get_attribute_value(a) for a in n.attribute}

    def node(self, n, x):
        a, op = self.attributes(n), n.op_type
        if n.name in self.layers:
            return self.layers[n.name](x[0])
        dims = tuple(range(2, x[0].ndim))
        if op in ("Add", "Sub", "Mul", "Sum"):
            y = x[0]
            for z in x[1:]:
                y = y - z if op == "Sub" else y * z if op == "Mul" else y + z
            return y
        if op in ("GlobalAveragePool", "ReduceMean"):
            return x[0].mean(dims, keepdim=bool(a.get("keepdims", 1)))
        if op in ("MaxPool", "AveragePool"):
            k, s = a["kernel_shape"], a.get("strides", [1] * len(dims))
            pad = a.get("pads", [0] * 2 * len(dims))[:len(dims)]
            name = ("max_pool" if op == "MaxPool" else "avg_pool") + f"{len(dims)}d"
            more = {} if op == "MaxPool" else {"count_include_pad": bool(a.get("count_include_pad", 0))}
            return getattr(F, name)(x[0], k, s, pad, **more)
        if op == "Resize":
            return F.interpolate(x[0], scale_factor=2.0, mode="nearest")
        if op == "Reshape":
            return x[0].reshape(x[0].shape[0], -1, *[int(v) for v in x[1][2:]])
        if op == "Split":
            sizes = [int(v) for v in x[1]] if len(x) > 1 else x[0].shape[1] // 2
            return torch.split(x[0], sizes, 1)
        if op == "Slice":
            return x[0][:, int(x[1]):int(x[2])]
        return {"Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "HardSwish": F.hardswish,
                "Flatten": lambda v: v.flatten(1), "LeakyRelu": lambda v: F.leaky_relu(v, 0.1),
                "Clip": lambda v: F.hardtanh(v, 0.0, 6.0), "Concat": lambda *v: torch.cat(x, 1)}[op](x[0])

    def forward(self, x):
        v = {**self.t, self.graph.input[0].name: x}
        for n in self.graph.node:
            y = self.node(n, [v[i] for i in n.input if i])
            v.update(zip(n.output, y if isinstance(y, tuple) else (y,)))
        return v[self.graph.output[0].name]


def weights(net):
    return sum(p.numel() for p in net.parameters())


def moved(y, z):
    return float((y - z).abs().max() / y.abs().max()) if y.shape == z.shape else float("nan")


def prune(model, x, y, ratio, why):
    net = Net(model).eval()
    last = list(net.layers.values())[-1]
    since = time.process_time()
    try:
        tp.pruner.MetaPruner(net, x, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=ratio, ignored_layers=[last]).step()
        seconds = time.process_time() - since
        with torch.no_grad():
            return f"{weights(net):,}, {moved(y, net(x)):.0e}, {seconds:.2f} s"
    except Exception as e:
        why.append(f"{type(e).__name__}: {str(e)[:90]}")
        return "-"


def main():
    why = {}
    print("| network | weights | filterprune | Torch-Pruning 0.1 | 0.3 |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        big, small = os.path.join(folder, "big.onnx"), os.path.join(folder, "small.onnx")
        for kind in planted.KINDS:
            model, _ = planted.make(kind, 0, np.float64)
            onnx.save(model, big)
            dims = model.graph.input[0].type.tensor_type.shape.dim
            torch.manual_seed(0)
            x = torch.randn(2, dims[1].dim_value, *[24] * (len(dims) - 2), dtype=torch.float64)
            net = Net(model).eval()
            with torch.no_grad():
                y = net(x)
            before = os.times()
            subprocess.run([sys.argv[1], "remove", big, small], check=True, stdout=subprocess.DEVNULL)
            after = os.times()
            seconds = after.children_user + after.children_system - before.children_user - before.children_system
            left = Net(onnx.load(small)).eval()
            with torch.no_grad():
                row = [kind, f"{weights(net):,}", f"{weights(left):,}, {moved(y, left(x)):.0e}, {seconds:.2f} s"]
            row += [prune(model, x, y, r, why.setdefault(kind, [])) for r in (0.1, 0.3)]
            print("| " + " | ".join(row) + " |", flush=True)
    for kind, reasons in why.items():
        if reasons:
            print(f"{kind}: {reasons[0]}")


main()

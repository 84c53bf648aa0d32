#!/usr/bin/env python3
"""Writes a network of the shape of ResNet50 whose 3x3 layers have few live kernels:
make_resnet_onnx.py OUT.onnx [LIVE [SPREAD]]

The weights are random. LIVE (0.01) is the share of live 3x3 kernels; they are drawn among SPREAD (0.25) of a layer's
filters and as large a share of its channels, because in trained networks they gather in few of them. SPREAD 1 draws them
evenly: then 1 % of 512 x 512 kernels leaves hardly a filter dead. Batch normalization follows every convolution, with
shifts, so that dead filters are constants and not zeros. Needs numpy and onnx."""
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

STAGES = ((64, 256, 3, 1), (128, 512, 4, 2), (256, 1024, 6, 2), (512, 2048, 3, 2))


class Maker:
    def __init__(self, share, spread):
        self.r, self.share, self.spread = np.random.default_rng(0), share, spread
        self.nodes, self.initializers, self.n = [], [], 0

    def add(self, array, name):
        self.initializers.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"/{name}", **attributes))
        return name

    def live(self, outs, ins):
        """A mask of kernels."""
        o, i = (self.r.permutation(n)[:max(2, round(self.spread * n))] for n in (outs, ins))
        mask, wanted = np.zeros((outs, ins), bool), max(1, round(self.share * outs * ins))
        places = self.r.choice(len(o) * len(i), min(wanted, len(o) * len(i)), replace=False)
        mask[o[places // len(i)], i[places % len(i)]] = True
        return mask

    def conv(self, x, ins, outs, k, stride, name, relu=True):
        w = self.r.standard_normal((outs, ins, k, k)) * np.sqrt(2 / (ins * k * k))
        if k == 3:
            w *= self.live(outs, ins)[:, :, None, None] / np.sqrt(self.share)
        x = self.node("Conv", [x, self.add(w, name + ".weight")], name, pads=[k // 2] * 4, strides=[stride] * 2)
        bn = [1 + self.r.standard_normal(outs) * 0.1, self.r.standard_normal(outs) * 0.1, self.r.standard_normal(outs) * 0.1,
              1 + self.r.random(outs)]
        x = self.node("BatchNormalization", [x] + [self.add(v, f"{name}.bn.{p}") for v, p in zip(bn, ("weight", "bias", "mean", "var"))], name + ".bn")
        return self.node("Relu", [x], name + ".relu") if relu else x

    def build(self):
        x = self.conv("x", 3, 64, 7, 2, "conv1")
        x = self.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        width = 64
        for s, (inner, outer, blocks, stride) in enumerate(STAGES):
            for b in range(blocks):
                name, step = f"layer{s + 1}.{b}", stride if b == 0 else 1
                y = self.conv(x, width, inner, 1, 1, name + ".conv1")
                y = self.conv(y, inner, inner, 3, step, name + ".conv2")
                y = self.conv(y, inner, outer, 1, 1, name + ".conv3", relu=False)
                if b == 0:
                    x = self.conv(x, width, outer, 1, step, name + ".downsample", relu=False)
                x = self.node("Relu", [self.node("Add", [y, x], name + ".add")], name + ".relu")
                width = outer
        x = self.node("Flatten", [self.node("GlobalAveragePool", [x], "gap")], "flat")
        self.node("Gemm", [x, self.add(self.r.standard_normal((1000, width)) * 0.01, "fc.weight"),
                           self.add(np.zeros(1000), "fc.bias")], "y", transB=1)
        graph = helper.make_graph(self.nodes, "resnet50", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])], self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


live, spread = (float(v) for v in (sys.argv[2:] + ["0.01", "0.25"][len(sys.argv) - 2:]))
save(Maker(live, spread).build(), sys.argv[1])

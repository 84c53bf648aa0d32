#!/bin/sh
# torch 2.15.0, torch.onnx.export of a Conv2d before a BatchNorm2d in eval mode, by both exporters.
# Guess: an initializer with the name of a key of the state dict holds the numbers of that key: where the exporter folds the
#        batch normalization into the convolution, the weights get a new name, as the older exporter gives them.
# Seen:  dynamo=False calls the folded weights onnx::Conv_N. dynamo=True folds too and leaves the name: "conv.weight" of the
#        ONNX file is another tensor than "conv.weight" of the state dict, of the same shape. Who carries kernels from one
#        to the other by name takes wrong ones. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>errors <<'PYTHON' | grep '^dynamo' || { cat errors; exit 1; }
import sys
import numpy as np
import onnx
import torch
from onnx import numpy_helper
torch.manual_seed(0)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.head = torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 1)
    def forward(self, x):
        return self.head(torch.relu(self.bn(self.conv(x))))
net = Net().eval()
net.bn.running_var.uniform_(0.5, 2)
net.bn.running_mean.normal_()
state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
seen = {}
for dynamo in (False, True):
    torch.onnx.export(net, (torch.randn(1, 3, 16, 16),), "net.onnx", dynamo=dynamo)
    held = {i.name: numpy_helper.to_array(i) for i in onnx.load("net.onnx").graph.initializer}
    same = sorted(n for n in held if n in state and np.array_equal(held[n], state[n]))
    other = sorted(n for n in held if n in state and not np.array_equal(held[n], state[n]))
    seen[dynamo] = (same, other, "bn.weight" in held)
    print(f"dynamo={dynamo}: as in the state dict {same}; same name, other numbers {other}; {sorted(set(held) - set(state))}")
if seen != {False: (["head.bias", "head.weight"], [], False), True: (["head.bias", "head.weight"], ["conv.weight"], False)}:
    sys.exit("that is no longer so")
PYTHON
! grep -q "no longer so" errors

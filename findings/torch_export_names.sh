#!/bin/sh
# torch 2.15.0, torch.onnx.export of a small module, optimize=False, with onnxscript 0.7.2, onnx 1.23.2, onnxruntime 1.32.0.
# The module subtracts a registered buffer called "mean" from its input, and takes x.mean((2, 3)) later.
# Guess: the exporter makes names unique, as it does for two nodes of one operator ("mean", "mean_1").
# Seen:  the buffer's initializer and the node's result are both called "mean": the file is no valid ONNX model, the checker
#        and onnxruntime both refuse it, and the exporter says nothing. The same module with the buffer called "centre" is
#        fine, and so is "mean" with the default optimize=True. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==1.26.4 torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 ml_dtypes==0.5.4
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>errors <<'PYTHON' || { cat errors; exit 1; }
import sys
import onnx
import onnxruntime
import torch
onnxruntime.set_default_logger_severity(4)

class Net(torch.nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.register_buffer(name, torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x - getattr(self, self.name)).mean((2, 3))

seen = {}
for name, optimize in (("mean", False), ("mean", True), ("centre", False)):
    path = f"{name}_{optimize}.onnx"
    torch.onnx.export(Net(name).eval(), (torch.zeros(1, 3, 8, 8),), path, dynamo=True, optimize=optimize, external_data=False, verbose=False)
    model = onnx.load(path)
    twice = {t.name for t in model.graph.initializer} & {o for node in model.graph.node for o in node.output}
    try:
        onnx.checker.check_model(model)
        checked = True
    except onnx.checker.ValidationError:
        checked = False
    try:
        onnxruntime.InferenceSession(path)
        runs = True
    except Exception as error:
        runs = "Duplicate definition" not in str(error)
    seen[name, optimize] = (sorted(twice), checked, runs)
    print(f"buffer {name}, optimize={optimize}: initializers that are results, too: {sorted(twice)}; checker takes it {checked}, onnxruntime {runs}")
fine = ([], True, True)
sys.exit(seen != {("mean", False): (["mean"], False, False), ("mean", True): fine, ("centre", False): fine})
PYTHON

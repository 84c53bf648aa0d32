#!/bin/sh
# zipnn 0.5.4, ZipNN(input_format="torch").compress(tensor), the lossless compressor for networks.
# Guess: a lossless compressor reads the tensor it is given; a network can be stored and go on working.
# Seen:  decompress gives the weights back bit for bit, but compress has turned the bits of the tensor it was given: after
#        storing a layer's float32 or bfloat16 weights that layer computes with numbers of 1e30 and more, without a word.
#        float16 tensors and numpy arrays keep their values. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 torch==2.15.0 zipnn==0.5.4
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import torch
from zipnn import ZipNN
torch.manual_seed(0)
wrong = 0
for dtype, harmed in ((torch.float32, True), (torch.bfloat16, True), (torch.float16, False)):
    layer = torch.nn.Conv2d(64, 64, 3).to(dtype).requires_grad_(False)
    x = torch.randn(1, 64, 8, 8).to(dtype)
    before, weights = layer(x), layer.weight.clone()
    coder = ZipNN(input_format="torch")
    stream = coder.compress(layer.weight.data)
    restored = torch.equal(coder.decompress(stream), weights)
    kept = torch.equal(layer.weight, weights)
    change = (layer(x) - before).abs().max().item()
    print(f"{dtype}: restored exactly {restored}, the layer's own weights kept {kept}, its outputs changed by {change:.1e}")
    wrong += not restored or kept == harmed or (change > 1e30) != harmed
sys.exit(wrong > 0)
PYTHON

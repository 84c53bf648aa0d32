#!/bin/sh
# torchao 0.18.0 with torch 2.15.0, prepare_pt2e, the step before a quantization, which folds batch normalizations into the
# convolutions before them, on one convolution that runs at two scales of an image with a normalization for each, as the heads of
# EfficientDet have it. The quantizer here marks nothing, so that the network that comes out is still one of float32.
# Guess: the same outputs, as torch.jit.optimize_for_inference and onnxslim give: each place gets kernels of its own, or the two
#        normalizations stay; or else, where kernels are shared, both are multiplied into them, one after the other.
# Seen:  the first normalization is folded into the shared kernels, the second one is taken out of the graph and folded into nothing:
#        the second scale gets the first one's means and variances, as if both were one. A place that has no normalization gets
#        it as well. The first scale is right, and nothing is said. Where both places have the same normalization, and where each
#        has its own convolution, all is right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 torch==2.15.0 torchao==0.18.0
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import logging
import sys
import warnings
import torch
from torch import nn
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
    from torchao.quantization.pt2e.quantizer import Quantizer


class Nothing(Quantizer):
    """A quantizer that leaves every layer as it is."""

    def annotate(self, model):
        return model

    def validate(self, model):
        pass


class Heads(nn.Module):
    """Two scales: a convolution for each (one object where it is shared), and what comes after each."""

    def __init__(self, convs, norms):
        super().__init__()
        self.convs, self.norms = nn.ModuleList(convs), nn.ModuleList(norms)

    def forward(self, fine, coarse):
        return self.norms[0](self.convs[0](fine)), self.norms[1](self.convs[1](coarse))


def norm():
    layer = nn.BatchNorm2d(8)
    for tensor in (layer.running_mean, layer.weight.data, layer.bias.data):
        tensor.normal_()
    layer.running_var.uniform_(0.5, 2)
    return layer


class Lines(logging.Handler):
    """What was logged as a warning or worse."""

    def emit(self, record):
        lines.append(record.getMessage())


torch.manual_seed(0)
conv, other, first, second = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1), norm(), norm()
images = (torch.randn(2, 4, 16, 16), torch.randn(2, 4, 8, 8))
lines = []
logging.getLogger().addHandler(Lines(logging.WARNING))
seen = {}
for name, convs, norms in (("a norm for each", (conv, conv), (first, second)), ("a norm and none", (conv, conv), (first, nn.Identity())),
                           ("one norm", (conv, conv), (first, first)), ("two convolutions", (conv, other), (first, second))):
    net = Heads(convs, norms).eval()
    exported = torch.export.export(net, images).module()
    lines.clear()
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepared = prepare_pt2e(exported, Nothing())
        told = [line for line in lines + [str(w.message) for w in caught] if "norm" in line.lower() or "fold" in line.lower()]
        apart = [((got - want).abs().max() / want.abs().max()).item() for got, want in zip(prepared(*images), net(*images))]
        # What is seen: the second scale as if it had the first one's normalization.
        as_first = (prepared(*images)[1] - first(convs[1](images[1]))).abs().max().item()
    seen[name] = (apart[0] < 1e-5, apart[1] < 1e-5, as_first < 1e-4, len(told))
    print(f"torchao {importlib.metadata.version('torchao')}, {name}: outputs {apart[0]:.1e} and {apart[1]:.1e} apart; the second has the first "
          f"one's norm: {as_first < 1e-4}; warnings of it: {len(told)}")
sys.exit(seen != {"a norm for each": (True, False, True, 0), "a norm and none": (True, False, True, 0), "one norm": (True, True, True, 0),
                  "two convolutions": (True, True, False, 0)})
PYTHON

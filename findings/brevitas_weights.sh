#!/bin/sh
# brevitas 0.13.4 with torch 2.15.0, the weights that a QuantConv2d computes with (quant_weight) by two families of its quantizers:
# MXInt8Weight, blocks of 32 with a power of two for each, and Int8WeightPerChannelFloatDecoupled, on a layer with a pruned filter.
# Guess: MXInt8 as the MX standard of the OCP has it: whole numbers of 64ths up to 127 / 64 of the largest power of two that is not above
#        the block's largest weight, so that no weight is off by more than a 64th of it. A filter of zeros is a filter of
#        zeros with each of its quantizers, as with Int8WeightPerChannelFloat, which sees to it that no scale is 0.
# Seen:  MXInt8 counts in 128ths up to 127: each weight beyond the power of two is cut to it. These are one weight of seven, the
#        largest ones, which lose up to half; the error is 20 % of the deviation, six times that of MXFloat8e4m3Weight, twenty times
#        that of plain Int8WeightPerTensorFloat. MXInt8WeightMSE is the same. With Decoupled all weights of the filter of zeros are
#        NaN, and so are its outputs: it divides them by the filter's own norm. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 torch==2.15.0 brevitas==0.13.4
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata
import sys
import warnings
import torch
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import brevitas.nn
    import brevitas.quant
torch.manual_seed(0)
weights = torch.randn(64, 128, 1, 1) * 0.05
version, seen = importlib.metadata.version("brevitas"), {}


def quantized(name, floats):
    conv = brevitas.nn.QuantConv2d(floats.shape[1], floats.shape[0], 1, bias=False, weight_quant=getattr(brevitas.quant, name))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        conv.weight.copy_(floats)
        return conv.eval().quant_weight().value


# Blocks of 32 input channels; the power of two that the standard scales each of them by.
blocks = weights.view(64, 4, 32)
power = 2 ** blocks.abs().amax(2, keepdim=True).log2().floor()
beyond = blocks.abs() > power
standard = (torch.round(blocks / power * 64).clamp(-127, 127) / 64 * power).view_as(weights)
errors = {"the standard": (standard - weights).square().mean().sqrt() / weights.std()}
for name in ("MXInt8Weight", "MXInt8WeightMSE", "MXFloat8e4m3Weight", "Int8WeightPerTensorFloat"):
    got = quantized(name, weights)
    errors[name] = (got - weights).square().mean().sqrt() / weights.std()
    if name.startswith("MXInt8"):
        units = got.view_as(blocks) / power
        cut = bool((units[beyond].abs() > 0.99).all() and units.abs().max() <= 1)
        lost = (1 - got.view_as(blocks)[beyond] / blocks[beyond]).max().item()
        seen[name] = (cut, 0.4 < lost < 0.51, bool(torch.allclose(units[~beyond], blocks.div(power)[~beyond], atol=1 / 127)))
        print(f"brevitas {version}, {name}: {beyond.float().mean():.1%} of the weights are beyond their block's power of two, all are cut to "
              f"it: {cut}; they lose up to {lost:.0%}")
print("errors by the deviation of the weights: " + ", ".join(f"{name} {error:.4f}" for name, error in errors.items()))
seen["errors"] = (bool(errors["MXInt8Weight"] > 0.1), bool(errors["the standard"] < 0.01), bool(errors["Int8WeightPerTensorFloat"] < 0.01))
pruned = weights.clone()
pruned[5] = 0
for name in ("Int8WeightPerChannelFloat", "Int8WeightPerChannelFloatDecoupled"):
    got = quantized(name, pruned)
    others = torch.cat((got[:5], got[6:])) - torch.cat((pruned[:5], pruned[6:]))
    seen[name] = (bool((got[5] == 0).all()), bool(got[5].isnan().all()), bool(others.abs().max() < 2e-3))
    print(f"brevitas {version}, {name}: the filter of zeros is one of zeros: {seen[name][0]}, of NaN: {seen[name][1]}; the other filters are "
          f"up to {others.abs().max():.1e} off")
sys.exit(seen != {"MXInt8Weight": (True, True, True), "MXInt8WeightMSE": (True, True, True), "errors": (True, True, True),
                  "Int8WeightPerChannelFloat": (True, False, True), "Int8WeightPerChannelFloatDecoupled": (False, True, True)})
PYTHON

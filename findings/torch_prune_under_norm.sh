#!/bin/sh
# torch 2.15.0, torch.nn.utils.prune on a convolution that has spectral_norm or weight_norm of torch.nn.utils: the tensor that is
# trained, "weight_orig" or "weight_v", is pruned, as it must be where "weight" is only computed from it.
# Guess: the mask is put on first and the norm is computed of what is left, each time the network runs; or, as the two get into
#        each other's way, backward() complains at the second step.
# Seen:  nothing complains. Both are hooks that run before the layer, in the order in which they came: the norm takes the masked
#        weights that the run before left, and only then the mask makes new ones. So each training step computes loss and
#        gradient with the weights of one step earlier, and the first outputs after load_state_dict, in eval() too, are those of
#        the weights that were there before; the second run with the same input has other outputs. The same norm as a
#        parametrization (torch.nn.utils.parametrizations, "original1") is pruned right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 torch==2.15.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
warnings.simplefilter("ignore")
torch.manual_seed(0)


def normed(kind):
    """A convolution with the norm, the module that is pruned and the name of its tensor."""
    conv = nn.Conv2d(4, 8, 3)
    if kind == "spectral_norm":
        return (nn.utils.spectral_norm(conv), conv, "weight_orig")
    if kind == "weight_norm":
        return (nn.utils.weight_norm(conv), conv, "weight_v")
    parametrizations.weight_norm(conv)
    return (conv, conv.parametrizations.weight, "original1")


x, seen = torch.randn(2, 4, 8, 8), {}
for kind in ("spectral_norm", "weight_norm", "parametrization"):
    conv, module, name = normed(kind)
    prune.l1_unstructured(module, name, amount=0.3)
    optimizer = torch.optim.SGD(conv.parameters(), lr=1.0)
    conv(x).square().mean().backward()
    optimizer.step()
    # What is right: without a step in between, the same input has the same outputs. (In eval(), as spectral_norm iterates.)
    conv.eval()
    with torch.no_grad():
        first, second, third = conv(x), conv(x), conv(x)
    trained = ((first - second).abs().max() / second.abs().max()).item()
    same = torch.equal(second, third)
    state = conv.state_dict()
    state[next(key for key in state if key.endswith(name + "_orig"))] = torch.randn(8, 4, 3, 3)
    with torch.no_grad():
        conv.load_state_dict(state)
        first, second, third = conv(x), conv(x), conv(x)
    loaded = ((first - second).abs().max() / second.abs().max()).item()
    seen[kind] = (trained > 1e-3, loaded > 0.1, same and torch.equal(second, third))
    print(f"torch {torch.__version__}, pruned under {kind}: first and second outputs for one input are {trained:.1e} apart after a training "
          f"step, {loaded:.1e} after load_state_dict; second and third are the same: {seen[kind][2]}")
sys.exit(seen != {"spectral_norm": (True, True, True), "weight_norm": (True, True, True), "parametrization": (False, False, True)})
PYTHON

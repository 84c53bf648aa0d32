#!/bin/sh
# torch-pruning 1.6.1 with torch 2.15.0, MetaPruner with the magnitude of filters, on two convolutions with torch's own
# ChannelShuffle(2) between them, as ShuffleNet has it; of the first one's 16 filters four are zero with their biases,
# two in each half.
# Guess: it removes the four, follows each channel to where the shuffle takes it, as it does through chunk, concatenation
#        and flatten, and the outputs stay; or it says that it cannot.
# Seen:  the four go, and of the next layer's weights those go that stand at the four places of before the shuffle: three live
#        channels' weights are lost, three dead ones' stay and are read by others. The network runs, its outputs are off by
#        half their size or more, and nothing is said. With Identity in place of the shuffle they are the same to 1e-7. Exit
#        status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 torch==2.15.0 torch-pruning==1.6.1
"$folder/venv/bin/python" - <<'PYTHON'
import copy
import importlib.metadata
import sys
import warnings
import torch
from torch import nn
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch_pruning
torch.manual_seed(0)
x, dead = torch.randn(2, 3, 8, 8), [1, 4, 9, 12]
seen = {}
for name, between in (("Identity", nn.Identity()), ("ChannelShuffle", nn.ChannelShuffle(2))):
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), between, nn.Conv2d(16, 8, 3, padding=1)).eval()
    with torch.no_grad():
        net[0].weight[dead], net[0].bias[dead] = 0, 0
        want = net(x)
        # What is right: the channels after the shuffle that the dead ones of before became are left out of the second layer.
        places = between(torch.arange(16.).view(1, 16, 1, 1)).flatten().long()
        live = [i for i in range(16) if places[i] not in dead]
    pruned = copy.deepcopy(net)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch_pruning.pruner.MetaPruner(pruned, x, importance=torch_pruning.importance.MagnitudeImportance(), pruning_ratio=0.25,
                                        ignored_layers=[pruned[3]]).step()
    with torch.no_grad():
        kept = torch.equal(pruned[0].weight, net[0].weight[[i for i in range(16) if i not in dead]])
        apart = ((pruned(x) - want).abs().max() / want.abs().max()).item()
        pruned[3].weight.data = net[3].weight[:, live]
        mended = ((pruned(x) - want).abs().max() / want.abs().max()).item()
    told = [str(w.message) for w in caught if "huffle" in str(w.message) or "reshape" in str(w.message).lower()]
    seen[name] = (kept, apart < 1e-5, apart > 0.1, mended < 1e-5, len(told))
    print(f"torch-pruning {importlib.metadata.version('torch-pruning')}, {name}: the dead filters went {kept}, outputs {apart:.1e} apart "
          f"({mended:.1e} with the right channels), warnings of it {len(told)}")
sys.exit(seen != {"Identity": (True, True, False, True, 0), "ChannelShuffle": (True, False, True, True, 0)})
PYTHON

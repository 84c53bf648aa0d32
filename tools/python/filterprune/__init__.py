"""Checkpoints packed by filterprune, and dense ones, behind the interface of the safetensors package.

    from filterprune import safe_open, load_file

    tensors = load_file("packed.safetensors")                      # numpy arrays
    model.load_state_dict(load_file("packed.safetensors", "pt"))   # torch tensors
    with safe_open("packed.safetensors", framework="pt") as f:     # one tensor at a time
        weight = f.get_tensor("conv1.weight")
    report = pack(model.state_dict(), "packed.safetensors", lossless=True)

`filterprune.numpy` and `filterprune.torch` mirror `safetensors.numpy` and `safetensors.torch`.
"""
from ._collect import Corpus, corpus, profile, read_profile
from ._errors import SafetensorError
from ._open import load_file, safe_open
from ._pack import diff, pack
from ._program import compare, inspect, rows
from ._unpack import unpack

__version__ = "0.1.0"
__all__ = ["Corpus", "SafetensorError", "compare", "corpus", "diff", "inspect", "load_file", "pack", "profile",
           "read_profile", "rows", "safe_open", "unpack"]

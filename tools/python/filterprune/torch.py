"""In the place of safetensors.torch: load_file reads packed checkpoints too; save_file writes dense ones."""
import os
from typing import Any, Dict, List, Optional, Union

import numpy as np
import torch

from . import _frameworks, _save
from ._errors import SafetensorError
from ._open import load_file as _load_file

__all__ = ["load_file", "save_file"]


def load_file(filename: Union[str, "os.PathLike[str]"], device: Union[str, int] = "cpu") -> Dict[str, torch.Tensor]:
    """All tensors of a checkpoint by name, in the order of their data."""
    return _load_file(filename, "pt", device)


def _item(name: str, tensor: torch.Tensor) -> _save.Item:
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
    if tensor.layout != torch.strided:
        raise ValueError(f"`{name}` is a sparse tensor: make it dense first")
    if not tensor.is_contiguous():
        raise ValueError(f"`{name}` is not contiguous: call .contiguous() before saving")
    kind = str(tensor.dtype).split(".")[1]
    dtype, shape = _frameworks.TORCH_NAMES.get(kind), list(tensor.shape)
    if dtype is None:
        raise SafetensorError(f"{name}: a checkpoint cannot hold {tensor.dtype}")
    if dtype == "F4":
        shape[-1] *= 2
    if not tensor.numel():
        return dtype, tuple(shape), np.empty(0, np.uint8)
    return dtype, tuple(shape), tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()


def _storage(tensor: torch.Tensor) -> int:
    # untyped_storage is torch 2's; _storage torch 1's.
    return tensor.untyped_storage().data_ptr() if hasattr(tensor, "untyped_storage") else tensor.storage().data_ptr()


def _refuse_shared(tensors: Dict[str, Any]) -> None:
    """Tied weights would be stored twice and load untied: as in safetensors, that must be wanted."""
    holders: Dict[Any, List[str]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.numel():
            holders.setdefault((tensor.device, _storage(tensor)), []).append(name)
    shared = [names for names in holders.values() if len(names) > 1]
    if shared:
        raise RuntimeError(f"Some tensors share memory, this will lead to duplicate memory on disk: {shared}; "
                           "save clones of them, or one of each")


def save_file(tensors: Dict[str, torch.Tensor], filename: Union[str, "os.PathLike[str]"],
              metadata: Optional[Dict[str, str]] = None) -> None:
    """Writes a plain dense checkpoint."""
    _refuse_shared(tensors)
    _save.save_items({name: _item(name, tensor) for name, tensor in tensors.items()}, filename, metadata)

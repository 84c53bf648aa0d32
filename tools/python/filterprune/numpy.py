"""In the place of safetensors.numpy: load_file reads packed checkpoints too; save_file writes dense ones."""
import os
from typing import Dict, Optional, Union

import numpy as np

from . import _frameworks, _save
from ._errors import SafetensorError
from ._open import load_file as _load_file

__all__ = ["load_file", "save_file"]


def load_file(filename: Union[str, "os.PathLike[str]"]) -> Dict[str, np.ndarray]:
    """All tensors of a checkpoint by name, in the order of their data."""
    return _load_file(filename, "np")


def _item(name: str, array: np.ndarray) -> _save.Item:
    dtype = _frameworks.NUMPY_NAMES.get(array.dtype.name)
    if dtype is None:
        raise SafetensorError(f"{name}: a checkpoint cannot hold {array.dtype}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return dtype, array.shape, np.frombuffer(little.tobytes(), np.uint8)


def save_file(tensor_dict: Dict[str, np.ndarray], filename: Union[str, "os.PathLike[str]"],
              metadata: Optional[Dict[str, str]] = None) -> None:
    """Writes a plain dense checkpoint."""
    _save.save_items({name: _item(name, array) for name, array in tensor_dict.items()}, filename, metadata)

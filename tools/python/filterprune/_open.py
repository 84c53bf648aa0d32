"""safe_open and load_file, as the safetensors package has them."""
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple, Type

import numpy as np

from . import _frameworks, _header, _slices
from ._checkpoint import Checkpoint, PathLike, Tensor
from ._errors import SafetensorError


def _own(array: Any, index: Tuple[Any, ...]) -> Any:
    """A part of an array that does not keep the rest of it in memory; of rank 0 where nothing is left to index."""
    part = array[index]
    return np.array(part, array.dtype) if isinstance(array, np.ndarray) else part.clone().contiguous()


class PySafeSlice:
    """A tensor of which only a part is wanted: index it as safetensors 0.8 lets one, see _slices.py."""

    def __init__(self, opened: "safe_open", tensor: Tensor) -> None:
        self._opened = opened
        self._tensor = tensor

    def get_shape(self) -> List[int]:
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Any:
        """Of a dense tensor, only the rows of the first dimension that the index touches are read. A packed tensor is
        decoded whole, then indexed."""
        tensor, checkpoint = self._tensor, self._opened._checkpoint_open()
        shape, bits = tensor.shape, _header.BITS[tensor.dtype]
        parts = _slices.parts(index, shape)
        if not parts:
            return self._opened._make(checkpoint.read(tensor), tensor.dtype, shape)
        if bits % 8 and len(parts) == len(shape) and parts[-1] != slice(0, shape[-1], 1):
            raise SafetensorError("The slice is slicing for subbytes dtypes: the last dimension comes whole")
        if bits % 8 or tensor.packed:
            return _own(self._opened._make(checkpoint.read(tensor), tensor.dtype, shape), parts)
        first = parts[0] if isinstance(parts[0], slice) else slice(parts[0], parts[0] + 1, 1)
        row = bits // 8 * int(np.prod(shape[1:], dtype=object))
        raw = checkpoint.read_part(tensor, first.start * row, first.stop * row)
        within = slice(0, None, first.step) if isinstance(parts[0], slice) else 0
        rows = self._opened._make(raw, tensor.dtype, (first.stop - first.start, *shape[1:]))
        return _own(rows, (within, *parts[1:]))


class safe_open:  # noqa: N801 (the name that users know)
    """Opens a checkpoint, dense or packed, file or *.safetensors.index.json, and reads tensors as they are asked for.

        with safe_open("model.safetensors", framework="pt", device="cpu") as f:
            for name in f.keys():
                tensor = f.get_tensor(name)

    framework: "pt", "torch", "pytorch", "np" or "numpy". device: for torch, whatever torch knows.
    A file of PyTorch (.pt, .pth, .ckpt, .bin), numpy, Keras or ONNX is read through the library, where it is installed:
    nothing in it is executed or imported. key: which of its dictionaries, as "model.state_dict"; None: by rules.
    decoder: "auto" takes libfilterprune.so where it is installed, "library" insists on it, "python" does without.
    """

    def __init__(self, filename: PathLike, framework: str = "np", device: Any = "cpu", *,
                 decoder: str = "auto", key: Optional[str] = None) -> None:
        self._maker = _frameworks.maker(framework, device)
        self._device = device
        self._checkpoint: Optional[Checkpoint] = Checkpoint(filename, decoder, key)

    def __enter__(self) -> "safe_open":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        if self._checkpoint is not None:
            self._checkpoint.close()
            self._checkpoint = None

    def _checkpoint_open(self) -> Checkpoint:
        if self._checkpoint is None:
            raise SafetensorError("File is closed")
        return self._checkpoint

    def _make(self, raw: np.ndarray, dtype: str, shape: Tuple[int, ...]) -> Any:
        return self._maker(raw, dtype, shape, self._device)

    def keys(self) -> List[str]:
        """The names of the tensors, sorted."""
        return sorted(self._checkpoint_open().tensors)

    def offset_keys(self) -> List[str]:
        """The names of the tensors in the order of their data."""
        return list(self._checkpoint_open().tensors)

    def metadata(self) -> Optional[Dict[str, str]]:
        """The entries of __metadata__ that the packed checkpoint had before it was packed."""
        return self._checkpoint_open().metadata()

    def get_tensor(self, name: str) -> Any:
        """A whole tensor. Of the file, its own bytes are read and no others."""
        checkpoint = self._checkpoint_open()
        tensor = checkpoint.tensor(name)
        return self._make(checkpoint.read(tensor), tensor.dtype, tensor.shape)

    def get_tensors(self) -> Dict[str, Any]:
        """All tensors by name, in the order of their data."""
        checkpoint = self._checkpoint_open()
        tensors = checkpoint.tensors.values()
        return {t.name: self._make(raw, t.dtype, t.shape) for t, raw in zip(tensors, checkpoint.read_all(tensors))}

    def get_slice(self, name: str) -> PySafeSlice:
        """A tensor to be indexed."""
        return PySafeSlice(self, self._checkpoint_open().tensor(name))

    def get_bytes(self, name: str) -> bytes:
        """The dense little-endian bytes of a tensor, for dtypes that the framework does not know."""
        checkpoint = self._checkpoint_open()
        return checkpoint.read(checkpoint.tensor(name)).tobytes()


def load_file(filename: PathLike, framework: str = "np", device: Any = "cpu", *,
              decoder: str = "auto", key: Optional[str] = None) -> Dict[str, Any]:
    """All tensors of a checkpoint by name, in the order of their data."""
    with safe_open(filename, framework, device, decoder=decoder, key=key) as f:
        return f.get_tensors()

"""Writing plain dense checkpoints, as the reference implementation lays them out."""
import os
import tempfile
from typing import BinaryIO, Callable, Dict, List, Optional, Tuple, Union

import numpy as np

from . import _header
from ._errors import SafetensorError

Item = Tuple[str, Tuple[int, ...], np.ndarray]  # dtype, shape, bytes


def _check(tensors: Dict[str, Item], metadata: Optional[Dict[str, str]]) -> None:
    if metadata is not None and not all(isinstance(x, str) for pair in metadata.items() for x in pair):
        raise SafetensorError("metadata must map strings to strings")
    for name, (dtype, shape, raw) in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise SafetensorError(f"{name!r} cannot name a tensor")
        if raw.nbytes != _header.dense_bytes(dtype, shape):
            raise SafetensorError(f"{name}: {raw.nbytes} bytes do not fit dtype and shape")


def replace_file(path: Union[str, "os.PathLike[str]"], write: Callable[[BinaryIO], object]) -> None:
    """Calls write(file) on a temporary file beside path, which takes its name when all went well."""
    path = os.path.realpath(os.fspath(path))
    handle, temporary = tempfile.mkstemp(prefix=".filterprune-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def layout(tensors: Dict[str, Item], metadata: Optional[Dict[str, str]]) -> Tuple[bytes, List[str]]:
    """The header text and the names in the order of the data: wide dtypes first, then by name."""
    _check(tensors, metadata)
    order = sorted(tensors, key=lambda name: (-_header.BITS[tensors[name][0]], name.encode()))
    entries, at = [], 0
    for name in order:
        dtype, shape, raw = tensors[name]
        entries.append(_header.Entry(name, dtype, tuple(shape), at, at + raw.nbytes))
        at += raw.nbytes
    text = _header.write(entries, metadata)
    if len(text) > _header.HEADER_MAX:
        raise SafetensorError(f"the header would take {len(text)} bytes, the format allows {_header.HEADER_MAX}")
    return text, order


def save_items(tensors: Dict[str, Item], path: Union[str, "os.PathLike[str]"],
               metadata: Optional[Dict[str, str]]) -> None:
    text, order = layout(tensors, metadata)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(memoryview(tensors[name][2]))

    replace_file(path, write)

"""Writing plain dense checkpoints, as the reference implementation lays them out."""
import os
import shutil
import tempfile
from typing import BinaryIO, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from . import _header
from ._errors import FileProblem, SafetensorError

Write = Callable[[BinaryIO], object]
Item = Tuple[str, Tuple[int, ...], np.ndarray]  # dtype, shape, bytes


def _check(tensors: Dict[str, Item], metadata: Optional[Dict[str, str]]) -> None:
    if metadata is not None and not all(isinstance(x, str) for pair in metadata.items() for x in pair):
        raise SafetensorError("metadata must map strings to strings")
    for name, (dtype, shape, raw) in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise SafetensorError(f"{name!r} cannot name a tensor")
        if raw.nbytes != _header.dense_bytes(dtype, shape):
            raise SafetensorError(f"{name}: {raw.nbytes} bytes do not fit dtype and shape")


def _permissions() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _fill(file: BinaryIO, write: Write) -> None:
    write(file)
    file.flush()
    os.fsync(file.fileno())


def replace_file(path: Union[str, "os.PathLike[str]"], write: Write) -> None:
    """Calls write(file) on a temporary file beside path, which takes its name when all went well."""
    path = os.path.realpath(os.fspath(path))
    handle, temporary = tempfile.mkstemp(prefix=".filterprune-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            _fill(file, write)
        os.chmod(temporary, _permissions())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _move(source: str, target: str, name: str) -> None:
    os.makedirs(os.path.dirname(os.path.join(target, name)), exist_ok=True)
    os.rename(os.path.join(source, name), os.path.join(target, name))


def _exchange(folder: str, stage: str, names: Sequence[str]) -> None:
    """Files of the stage take their names in the folder, the last one last; or all is as it was. What had the last name,
    the index, goes first: whoever finds this interrupted finds no index."""
    kept = os.path.join(stage, "before")
    moved: List[str] = []   # what was there and lies in kept
    placed: List[str] = []
    try:
        for name in reversed(names):
            if os.path.lexists(os.path.join(folder, name)):
                _move(folder, kept, name)
                moved.append(name)
        for name in names:
            _move(stage, folder, name)
            placed.append(name)
    except BaseException:
        for name in placed:
            os.unlink(os.path.join(folder, name))
        for name in reversed(moved):
            _move(kept, folder, name)
        raise


def replace_files(folder: str, files: Sequence[Tuple[str, Write]]) -> None:
    """The same for files that are one thing: all of them stand in the folder at the end, or nothing has changed. Each is
    made whole in a folder of its own before the first one is seen."""
    fresh = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    stage = tempfile.mkdtemp(prefix=".filterprune-", dir=folder)
    try:
        for name, write in files:
            path = os.path.join(stage, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                _fill(file, write)
        _exchange(folder, stage, [name for name, _ in files])
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(stage, ignore_errors=True)


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

    try:
        replace_file(path, write)
    except OSError as problem:
        raise FileProblem(problem.errno, f"Error while serializing: {problem.strerror}", os.fspath(path)) from None

"""Restores a dense checkpoint, byte for byte the input of a lossless run. No C is involved unless it is wanted."""
import errno
import json
import os
from typing import BinaryIO, Dict, List, Optional

from . import _format, _header
from ._checkpoint import KEY, Checkpoint, PathLike, Shard, Tensor
from ._errors import OutputExists, SafetensorError
from ._program import Progress
from ._save import Write, replace_file, replace_files


def _like(shard: Shard, tensors: Dict[str, Tensor]) -> List[_header.Entry]:
    """The entries of the dense file: those of the packed one, at their dense sizes."""
    place, at = {}, 0
    for entry, _ in shard.entries:
        tensor = tensors[entry.name]
        place[entry.name] = _header.Entry(entry.name, tensor.dtype, tensor.shape, at, at + tensor.nbytes)
        at += tensor.nbytes
    return [place[entry.name] for entry in shard.header.entries]


def _dense_header(shard: Shard, tensors: Dict[str, Tensor], force: bool) -> bytes:
    packed = shard.key is not None or any(t.packed and t.shard is shard for t in tensors.values())
    if not packed:
        return shard.text
    if shard.key is None and not force:
        raise SafetensorError(f"{shard.path}: has lost its '{KEY}' metadata: tensors can be restored, the original "
                              "header cannot (force restores them under a new one)")
    metadata: Optional[Dict[str, str]] = {k: v for k, v in (shard.header.metadata or {}).items() if k != KEY}
    entries = _like(shard, tensors)
    like = _header.write(entries, metadata or None)
    if shard.key is None:
        return like
    try:
        text = _format.decode_header(shard.key["header"], like)
        found = _header.parse(text, max((e.end for e in entries), default=0))
    except SafetensorError as error:
        raise SafetensorError(f"{shard.path}: the original header kept in the file: {error}") from None
    if [(e.name, e.dtype, e.shape) for e in found.in_data_order()] != \
            [(e.name, e.dtype, e.shape) for e in sorted(entries, key=lambda e: (e.begin, e.end))]:
        raise SafetensorError(f"{shard.path}: the original header kept in the file is of other tensors")
    return text


def _check(shard: Shard, tensors: Dict[str, Tensor]) -> None:
    """The checksum over header and plain tensors; the packed ones have their own."""
    if shard.key is None or _format.xxhash is None:
        return
    raw = _format.xxhash.xxh3_64()
    for entry, _ in shard.entries:
        if not tensors[entry.name].packed:
            raw.update(shard.read_data(entry.begin, entry.end))
    whole = _format.xxhash.xxh3_64()
    whole.update(shard.text[:shard.check_offset] + b"0" * 16 + shard.text[shard.check_offset + 16:])
    whole.update(raw.intdigest().to_bytes(8, "little"))
    if whole.intdigest() != int(shard.key["check"], 16):
        raise SafetensorError(f"{shard.path}: checksum of the header and the raw tensors differs: the file is damaged")


class _Told:
    """Bytes written, told to a callback."""

    def __init__(self, progress: Optional[Progress], total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def add(self, nbytes: int) -> None:
        self._done += nbytes
        if self._progress and self._total:
            self._progress("unpacking", self._done, self._total)


def _shard(checkpoint: Checkpoint, shard: Shard, force: bool, told: _Told) -> Write:
    """What writes the dense file of a shard."""
    def write(file: BinaryIO) -> None:
        _check(shard, checkpoint.tensors)
        text = _dense_header(shard, checkpoint.tensors, force)
        file.write(len(text).to_bytes(8, "little") + text)
        for raw in checkpoint.read_all(checkpoint.tensors[e.name] for e, _ in shard.entries):
            file.write(memoryview(raw))
            told.add(raw.nbytes)

    return write


def _index_text(checkpoint: Checkpoint) -> bytes:
    index = dict(checkpoint.index or {})
    metadata = dict(index["metadata"]) if isinstance(index.get("metadata"), dict) else {}
    metadata.pop("filterprune_set", None)
    metadata["total_size"] = sum(t.nbytes for t in checkpoint.tensors.values())
    index["metadata"] = metadata
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()


def _refuse(checkpoint: Checkpoint, path: str, force: bool) -> None:
    if not os.path.lexists(path):
        return
    inputs = [checkpoint.path, *(shard.path for shard in checkpoint.shards)]
    if os.path.exists(path) and any(os.path.samefile(path, given) for given in inputs):
        raise SafetensorError(f"{path}: the output is the input")
    if not force:
        raise OutputExists(errno.EEXIST, "exists; force overwrites it", path)


def unpack(packed: PathLike, output: PathLike, force: bool = False, *, decoder: str = "python",
           progress: Optional[Progress] = None) -> None:
    """Restores a dense checkpoint; of shards, output is a directory, which gets all of them or none. An existing output
    is refused unless force. progress(phase, done, total) is called with bytes; what it raises ends the work."""
    output = os.fspath(output)
    checkpoint = Checkpoint(packed, decoder)
    try:
        if checkpoint.foreign:
            raise SafetensorError(f"{checkpoint.path}: is not packed: filterprune convert makes a safetensors file of it")
        told = _Told(progress, sum(t.nbytes for t in checkpoint.tensors.values()))
        if checkpoint.index is None:
            _refuse(checkpoint, output, force)
            replace_file(output, _shard(checkpoint, checkpoint.shards[0], force, told))
            return
        files = [(shard.name, _shard(checkpoint, shard, force, told)) for shard in checkpoint.shards]
        files.append((os.path.basename(checkpoint.path), lambda file: file.write(_index_text(checkpoint))))
        for name, _ in files:
            _refuse(checkpoint, os.path.join(output, name), force)
        replace_files(output, files)
    finally:
        checkpoint.close()

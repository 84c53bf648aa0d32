"""Restores a dense checkpoint, byte for byte the input of a lossless run. No C is involved unless it is wanted."""
import errno
import json
import os
from typing import BinaryIO, Dict, List, Optional

from . import _format, _header
from ._checkpoint import KEY, Checkpoint, PathLike, Shard, Tensor
from ._errors import SafetensorError
from ._save import replace_file


def _like(shard: Shard, tensors: Dict[str, Tensor]) -> List[_header.Entry]:
    """The entries of the dense file: those of the packed one, at their dense sizes."""
    place, at = {}, 0
    for entry in shard.header.in_data_order():
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
    for entry in shard.header.in_data_order():
        if not tensors[entry.name].packed:
            raw.update(shard.read_data(entry.begin, entry.end))
    whole = _format.xxhash.xxh3_64()
    whole.update(shard.text[:shard.check_offset] + b"0" * 16 + shard.text[shard.check_offset + 16:])
    whole.update(raw.intdigest().to_bytes(8, "little"))
    if whole.intdigest() != int(shard.key["check"], 16):
        raise SafetensorError(f"{shard.path}: checksum of the header and the raw tensors differs: the file is damaged")


def _unpack_shard(checkpoint: Checkpoint, shard: Shard, output: str, force: bool) -> None:
    _check(shard, checkpoint.tensors)
    text = _dense_header(shard, checkpoint.tensors, force)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for raw in checkpoint.read_all(checkpoint.tensors[e.name] for e in shard.header.in_data_order()):
            file.write(memoryview(raw))

    replace_file(output, write)


def unpack(packed: PathLike, output: PathLike, force: bool = False, *, decoder: str = "python") -> None:
    """Restores a dense checkpoint; of shards, output is a directory. An existing output is refused unless force."""
    output = os.fspath(output)
    checkpoint = Checkpoint(packed, decoder)
    try:
        pairs = [(shard, output if checkpoint.index is None else os.path.join(output, os.path.basename(shard.path)))
                 for shard in checkpoint.shards]
        for shard, path in pairs:
            if os.path.exists(path):
                if os.path.samefile(path, shard.path):
                    raise SafetensorError(f"{path}: the output is the input")
                if not force:
                    raise FileExistsError(errno.EEXIST, "exists; force overwrites it", path)
        if checkpoint.index is not None:
            os.makedirs(output, exist_ok=True)
        for shard, path in pairs:
            _unpack_shard(checkpoint, shard, path, force)
        if checkpoint.index is not None:
            index = checkpoint.index
            metadata = index["metadata"] if isinstance(index.get("metadata"), dict) else {}
            metadata["total_size"] = sum(t.nbytes for t in checkpoint.tensors.values())
            index["metadata"] = metadata
            text = json.dumps(index, indent=2, ensure_ascii=False) + "\n"
            replace_file(os.path.join(output, os.path.basename(checkpoint.path)), lambda f: f.write(text.encode()))
    finally:
        checkpoint.close()

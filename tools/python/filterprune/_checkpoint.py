"""A checkpoint that is open for reading: one file, or the shards of an index; dense tensors and packed ones.

Nothing is read but headers until a tensor is asked for; then exactly its bytes are. Reads are positioned, so that
threads may share a checkpoint.
"""
import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO, Dict, Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np

from . import _format, _header, _native, _pool
from ._errors import FileProblem, NoSuchFile, SafetensorError

PathLike = Union[str, "os.PathLike[str]"]
KEY = "filterprune"
READER = 4  # the packed format that this package reads
# The key as its writer spells it in the header; the 16 digits of the check follow.
CHECK_PREFIX = '"filterprune":"{\\"format\\":1,\\"reader\\":%d,\\"check\\":\\"'
INDEX_MAX = 100 << 20
INDEX_NAME = re.compile(r"\.index\.json\Z|\.safetensors\.index\.[^/]+\.json\Z")
BATCH_BYTES = 64 << 20  # dense bytes that read_all decodes together


def _is_digits(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None


@dataclass(frozen=True)
class Tensor:
    """One tensor as it restores; begin and end are where it is stored in the data of its shard."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    shard: "Union[Shard, Foreign]"
    begin: int
    end: int
    index: int  # among all tensors of the checkpoint
    head: Optional[_format.Head] = None  # of a packed tensor
    member: Optional[_pool.Member] = None  # of a tensor in the pool of its shard, which is at begin then

    @property
    def packed(self) -> bool:
        return self.head is not None or self.member is not None

    @property
    def nbytes(self) -> int:
        if self.member is not None:
            return self.member.end - self.member.begin
        return self.head.nbytes if self.head else self.end - self.begin


class Shard:
    """One safetensors file."""

    def __init__(self, path: str, name: str = "") -> None:
        self.path = path
        self.name = name  # as the index has it, see plain_name
        self.key: Optional[Dict[str, Any]] = None  # our entry of __metadata__, of a packed file
        self.is_stated = False
        self.set = ""  # which output it is a shard of
        self.check_offset = -1
        self._fd = -1
        self.pool: Optional[_header.Entry] = None
        self._pool_bytes: Optional[np.ndarray] = None
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NoSuchFile(errno.ENOENT, "No such file or directory", path) from None
        except OSError as problem:
            raise FileProblem(problem.errno, problem.strerror, path) from None
        try:
            self._read_header()
        except SafetensorError as error:
            self.close()
            raise SafetensorError(f"{path}: {error}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, offset: int, count: int) -> np.ndarray:
        """Exactly those bytes of the file, as uint8."""
        if self._fd < 0:
            raise SafetensorError(f"{self.path}: the file is closed")
        out = np.empty(count, np.uint8)
        view, done = memoryview(out), 0
        while done < count:
            n = os.preadv(self._fd, [view[done:done + (1 << 30)]], offset + done)
            if n == 0:
                raise SafetensorError(f"{self.path}: the file has become shorter")
            done += n
        return out

    def read_data(self, begin: int, end: int) -> np.ndarray:
        return self.read(self.data_begin + begin, end - begin)

    def _read_header(self) -> None:
        size = os.fstat(self._fd).st_size
        if size < 8:
            raise SafetensorError(f"{size} bytes are too few for the length of a header")
        length = int.from_bytes(self.read(0, 8).tobytes(), "little")
        if length > _header.HEADER_MAX:
            raise SafetensorError(f"a header of {length} bytes; the format allows {_header.HEADER_MAX}")
        if length > size - 8:
            raise SafetensorError(f"a header of {length} bytes ends after the file of {size}")
        self.text = self.read(8, length).tobytes()
        self.data_begin = 8 + length
        self.header = _header.parse(self.text, size - 8 - length)
        if self.header.metadata and KEY in self.header.metadata:
            self._read_key(self.header.metadata[KEY])
        self.entries = [(entry, None) for entry in self.header.in_data_order()]
        pool = self._find_pool()
        if pool is not None:
            self._open_pool(pool)

    def _read_key(self, value: str) -> None:
        try:
            key = _header.parse_tree(value)
        except ValueError:
            key = None
        if not isinstance(key, dict):
            raise SafetensorError(f"__metadata__ key '{KEY}': is no JSON object")
        reader = key.get("reader")
        if not isinstance(reader, int) or isinstance(reader, bool) or reader < 1:
            raise SafetensorError(f"__metadata__ key '{KEY}': names no reader version")
        if reader > READER:
            raise SafetensorError(f"needs a reader of packed format {reader}; this one reads up to {READER}")
        self.set = key.get("set", "")
        if "set" in key and not _is_digits(self.set):
            raise SafetensorError(f"__metadata__ key '{KEY}': names no set of shards")
        if "data" in key:
            if not _is_digits(key["data"]):
                raise SafetensorError(f"__metadata__ key '{KEY}': has no checksum of the data")
            self.is_stated = True  # a dense file that says how it was made
            return
        header, check, tensors = key.get("header"), key.get("check"), key.get("tensors")
        if not isinstance(header, str) or not _is_digits(check):
            raise SafetensorError(f"__metadata__ key '{KEY}': has no original header or no checksum")
        prefix = (CHECK_PREFIX % reader).encode()
        at = self.text.find(prefix)
        if at < 0:
            raise SafetensorError(f"__metadata__ key '{KEY}': has been rewritten")
        if not isinstance(tensors, dict):
            raise SafetensorError(f"__metadata__ key '{KEY}': has no index of the tensors")
        self.key, self.check_offset = key, at + len(prefix)

    def _find_pool(self) -> Optional[_header.Entry]:
        """The tensor that the key calls the pool; without a key, the first that has bytes, if it says so itself."""
        if self.is_stated:
            return None
        if self.key is not None:
            if "pool" not in self.key:
                return None
            found = [e for e in self.header.entries if e.name == self.key["pool"]]
            if not found:
                raise SafetensorError(f"__metadata__ key '{KEY}': names a pool that the file does not have")
            if not self._may_be_pool(found[0]):
                raise SafetensorError(f"__metadata__ key '{KEY}': names a pool that is none")
            return found[0]
        first = next((e for e, _ in self.entries if e.end > e.begin), None)
        if first is None or not self._may_be_pool(first):
            return None
        raw = self.read_data(first.begin, min(first.end, first.begin + _format.HEAD_MAX)).tobytes()
        try:
            is_pool = _format.is_blob(raw) and _format.read_head(raw, first.end - first.begin).codec == _format.POOL
        except SafetensorError:
            return None
        return first if is_pool else None

    @staticmethod
    def _may_be_pool(entry: _header.Entry) -> bool:
        return entry.dtype == "U8" and len(entry.shape) == 1 and entry.end - entry.begin <= _pool.STORED_MOST

    def _open_pool(self, pool: _header.Entry) -> None:
        try:
            listing = _format.read_pool(self.read_data(pool.begin, pool.end).tobytes())
            entries, self.entries = _pool.merge(self.header.entries, self.header.in_data_order(), pool, listing)
        except (_format.Damaged, _format.TooNew) as error:
            raise SafetensorError(f"{pool.name}: {error}") from None
        self.pool = pool
        self.header = _header.Header(entries, self.header.metadata)

    def read_member(self, member: _pool.Member) -> np.ndarray:
        """The bytes of a tensor of the pool, which is restored once for all of them."""
        if self._pool_bytes is None:
            assert self.pool is not None
            try:
                self._pool_bytes = _format.decode(self.read_data(self.pool.begin, self.pool.end).tobytes())
            except _format.Damaged as damage:
                raise SafetensorError(f"{self.path}: {member.name}: {damage}") from None
        return self._pool_bytes[member.begin:member.end].copy()

    def heads(self) -> List[Tuple[_header.Entry, Optional[_format.Head], Optional[_pool.Member]]]:
        """All tensors in data order, each with its head or what it is in the pool; what the key says of them must be what they say."""
        found = []
        listed = 0
        for number, (entry, member) in enumerate(self.entries):
            item = self._item(number, entry)
            head = None if member else self._look(entry, item)
            if item is not None:
                listed += 1
                self._check_item(entry, head, member, item)
            found.append((entry, head, member))
        if self.key is not None:
            numbered = self.key.get("numbered")
            if listed != len(self.key["tensors"]) + (len(numbered) if isinstance(numbered, dict) else 0):
                raise SafetensorError(f"{self.path}: __metadata__ key '{KEY}': lists a tensor that the file does not have")
        return found

    def _item(self, number: int, entry: _header.Entry) -> Any:
        """What the key says of a tensor, under its name or, where that holds a NUL character, its number; or None."""
        if self.key is None:
            return None
        listed = self.key.get("numbered") if "\0" in entry.name else self.key["tensors"]
        name = str(number) if "\0" in entry.name else entry.name
        # A member that is null is there.
        return listed[name] or {} if isinstance(listed, dict) and name in listed else None

    def _check_item(self, entry: _header.Entry, head: Optional[_format.Head], member: Optional[_pool.Member],
                    item: Any) -> None:
        def whole(value: Any) -> bool:
            return isinstance(value, int) and not isinstance(value, bool)

        dtype, shape = (head.dtype, head.shape) if head else (entry.dtype, entry.shape)
        stated = item if isinstance(item, dict) else {}
        listed = stated.get("shape")
        codec = "pool" if member else _format.CODECS[head.codec] if head else "raw"
        nbytes = member.end - member.begin if member else head.nbytes if head else entry.end - entry.begin
        if (stated.get("codec") != codec or stated.get("dtype") != dtype
                or not isinstance(listed, list) or not all(map(whole, listed)) or tuple(listed) != tuple(shape)
                or not whole(stated.get("bytes"))
                or stated["bytes"] != nbytes):
            raise SafetensorError(f"{self.path}: {entry.name}: the index in __metadata__ says otherwise than the tensor "
                                  "itself")

    def _look(self, entry: _header.Entry, item: Any) -> Optional[_format.Head]:
        """The head of the blob that a tensor is, or None for a plain one.

        The index of the key says which is which. A name with a NUL byte is not in it, and a file may have lost it:
        then a blob is what has the head of one.
        """
        if self.is_stated or entry.dtype != "U8" or len(entry.shape) != 1 or entry.end - entry.begin < 16:
            return None
        listed = item is not None or (self.key is not None and "\0" not in entry.name)
        if listed and (not isinstance(item, dict) or not isinstance(item.get("codec"), str) or item["codec"] == "raw"):
            return None
        stored = entry.end - entry.begin
        first = self.read_data(entry.begin, min(entry.end, entry.begin + _format.HEAD_MAX)).tobytes()
        if not listed and not _format.is_blob(first):
            return None
        try:
            head = _format.read_head(first, stored)
            if head.codec == _format.POOL:
                raise _format.Damaged("is a pool, which the file does not name")
            return head
        except _format.TooNew as error:
            raise SafetensorError(f"{self.path}: {entry.name}: {error}") from None
        except SafetensorError as error:
            if not listed:
                return None
            raise SafetensorError(f"{self.path}: {entry.name}: {error}") from None


def plain_name(shard: str) -> str:
    """The name of a shard below the folder of its index, "./a//b" as "a/b"; "" for one that leads out of it, or nowhere."""
    parts = [part for part in shard.split("/") if part not in ("", ".")]
    if "\0" in shard or shard.endswith("/") or shard.startswith("/") or ".." in parts:
        return ""
    return "/".join(parts)


def _read_index(path: str) -> Dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(INDEX_MAX + 1)
    except FileNotFoundError:
        raise NoSuchFile(errno.ENOENT, "No such file or directory", path) from None
    if len(raw) > INDEX_MAX:
        raise SafetensorError(f"{path}: an index of more than {INDEX_MAX} bytes")
    try:
        root = _header.parse_tree(raw.decode("utf-8"), unique=True)
    except ValueError as error:
        raise SafetensorError(f"{path}: is no JSON: {error}") from None
    if not isinstance(root, dict) or not isinstance(root.get("weight_map"), dict):
        raise SafetensorError(f"{path}: no object weight_map in the index")
    for name, shard in root["weight_map"].items():
        if not isinstance(shard, str) or not plain_name(shard):
            raise SafetensorError(f"{path}: {name}: weight_map names a shard that is no plain file name")
    if not root["weight_map"]:
        raise SafetensorError(f"{path}: weight_map names no tensor")
    return root


class Foreign:
    """A file that is no safetensors file: the library reads it, and nothing in it is executed."""

    key: Optional[Dict[str, Any]] = None

    def __init__(self, path: str) -> None:
        self.path = path
        self.header = _header.Header([], None)

    def close(self) -> None:
        pass


def _has_user_block(file: BinaryIO) -> bool:
    """HDF5 behind 512, 1024, 2048, ... bytes of something else."""
    size, at = file.seek(0, os.SEEK_END), 512
    while at < size:
        file.seek(at)
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
        at *= 2
    return False


def _is_foreign(path: str) -> bool:
    """Files of PyTorch, numpy, HDF5 and ONNX by their first bytes; a folder stands for the checkpoint in it."""
    if os.path.isdir(path):
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            blocks = _has_user_block(file) if head[8:9] != b"{" else False
    except OSError:
        return False
    # The length of a header of safetensors may begin with any byte, that of a pickle too.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _header.HEADER_MAX:
        return False
    return blocks or head.startswith((b"PK\3\4", b"\x80", b"\x93NUMPY", b"\x89HDF\r\n", b"L1195470371460", b"\x08"))


class Checkpoint:
    """The tensors of a file, or of an index and its shards, in the order of their data, shard after shard."""

    def __init__(self, path: PathLike, decoder: str = "auto", key: Optional[str] = None) -> None:
        if decoder not in ("auto", "library", "python"):
            raise SafetensorError(f"decoder {decoder!r} is invalid: auto, library or python")
        self.path = os.fspath(path)
        self.index: Optional[Dict[str, Any]] = None
        self.shards: List[Shard] = []
        self.tensors: Dict[str, Tensor] = {}
        self._decoder = decoder
        self._model: Optional[_native.Model] = None
        self.foreign = self._is_foreign()
        if key is not None and not self.foreign:
            raise SafetensorError(f"{self.path}: a safetensors file has no dictionaries for key {key!r} to choose from")
        try:
            if self.foreign:
                self._open_foreign(key)
            else:
                self._open()
        except BaseException:
            self.close()
            raise

    def _is_foreign(self) -> bool:
        """Or an index of such files: pytorch_model.bin.index.json."""
        if not INDEX_NAME.search(os.path.basename(self.path)):
            return _is_foreign(self.path)
        shards = set(map(plain_name, _read_index(self.path)["weight_map"].values()))
        paths = [os.path.join(os.path.dirname(self.path), name) for name in shards if name]
        return any(os.path.isfile(path) and _is_foreign(path) for path in paths)

    def _open(self) -> None:
        if INDEX_NAME.search(os.path.basename(self.path)):
            self.index = _read_index(self.path)
            folder = os.path.dirname(self.path)
            for name in sorted(set(map(plain_name, self.index["weight_map"].values())), key=os.fsencode):
                try:
                    self.shards.append(Shard(os.path.join(folder, name), name))
                except FileNotFoundError:
                    raise SafetensorError(f"{self.path}: the index names a shard that is missing: {name}") from None
        else:
            self.shards.append(Shard(self.path))
        if self.index is not None:
            self._check_set(self.index.get("metadata"))
        for shard in self.shards:
            for entry, head, member in shard.heads():
                if entry.name in self.tensors:
                    raise SafetensorError(f"{shard.path}: {entry.name} is in another shard too")
                dtype, shape = (head.dtype, head.shape) if head else (entry.dtype, entry.shape)
                self.tensors[entry.name] = Tensor(entry.name, dtype, shape, shard, entry.begin, entry.end,
                                                  len(self.tensors), head, member)
        if self.index is not None:
            self._check_index(self.index["weight_map"])
        self.packed = any(t.packed for t in self.tensors.values())
        if self.packed and self._decoder != "python":
            library = _native.load()
            if library is not None:
                self._model = _native.Model(library, self.path)
        if self._decoder == "library" and self.packed and self._model is None:
            raise SafetensorError("decoder 'library': libfilterprune.so is not installed, or another version")

    def _open_foreign(self, key: Optional[str]) -> None:
        library = _native.load() if self._decoder != "python" else None
        if library is None:
            raise SafetensorError(f"{self.path}: is no safetensors file; those of PyTorch, numpy, Keras and ONNX are read "
                                  "by libfilterprune.so, which is not installed, or another version, or not wanted")
        self._model = _native.Model(library, self.path, key)
        shard = Foreign(self.path)
        for name, dtype, shape, nbytes in self._model.tensors():
            self.tensors[name] = Tensor(name, dtype, shape, shard, 0, nbytes, len(self.tensors))
        self.packed = False

    def _check_set(self, metadata: Any) -> None:
        """The shards are of one output, all of them, and of the one that the index names, if it does."""
        named = metadata.get("filterprune_set") if isinstance(metadata, dict) else None
        if isinstance(metadata, dict) and "filterprune_set" in metadata and not _is_digits(named):
            raise SafetensorError(f"{self.path}: metadata.filterprune_set is none of ours")
        for shard in self.shards:
            if shard.set != (named or self.shards[0].set):
                other = "the index" if named else os.path.basename(self.shards[0].path)
                raise SafetensorError(f"{self.path}: {os.path.basename(shard.path)} is of another output than {other}: "
                                      "shards of two are mixed")

    def _check_index(self, weight_map: Dict[str, str]) -> None:
        for name, tensor in self.tensors.items():
            named = weight_map.get(name)
            held = tensor.shard.name
            if named is None or plain_name(named) != held:
                raise SafetensorError(f"{self.path}: {name} is in {held}, the index says {named}")
        for name, shard in weight_map.items():
            if name not in self.tensors:
                raise SafetensorError(f"{self.path}: {name} is not in {shard}, where the index puts it")

    @property
    def decoder(self) -> str:
        """What decodes packed tensors: "library" or "python"."""
        return "library" if self._model is not None else "python"

    def close(self) -> None:
        if self._model is not None:
            self._model.close()
            self._model = None
        for shard in self.shards:
            shard.close()

    def metadata(self) -> Optional[Dict[str, str]]:
        """The entries of __metadata__ without our own; of shards, those of the first that has a key count."""
        merged: Dict[str, str] = {}
        there = False
        for shard in self.shards:
            found = shard.header.metadata
            if found is None:
                continue
            for key, value in found.items():
                if key != KEY:
                    merged.setdefault(key, value)
            # A packed file has our entry whether or not there was any other.
            there |= KEY not in found
        return merged if merged or there else None

    def tensor(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise SafetensorError(f"File does not contain tensor {name}") from None

    def read(self, tensor: Tensor) -> np.ndarray:
        """The dense bytes of a tensor, uint8, decoded and checked."""
        return self._read_batch([tensor])[0]

    def _read_batch(self, tensors: List[Tensor]) -> List[np.ndarray]:
        if self._model is not None and len(tensors) > 1:
            # The library decodes outside of the interpreter's lock.
            with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
                return list(pool.map(self._read_one, tensors))
        blobs = [t for t in tensors if t.head is not None and self._model is None]
        decoded = dict(zip([t.name for t in blobs], self._decode(blobs)))
        return [decoded[t.name] if t.name in decoded else self._read_one(t) for t in tensors]

    def _read_one(self, tensor: Tensor) -> np.ndarray:
        if (tensor.packed or self.foreign) and self._model is not None:
            return self._model.read(tensor.index, tensor.name, tensor.nbytes)
        if tensor.member is not None:
            return tensor.shard.read_member(tensor.member)
        return tensor.shard.read_data(tensor.begin, tensor.end)

    def _decode(self, tensors: List[Tensor]) -> List[np.ndarray]:
        blobs = [t.shard.read_data(t.begin, t.end).tobytes() for t in tensors]
        try:
            return _format.decode_many(blobs)
        except _format.Damaged as damage:
            if len(tensors) == 1:
                raise SafetensorError(f"{tensors[0].shard.path}: {tensors[0].name}: {damage}") from None
        # Which one is damaged shows when they are decoded one by one.
        return [self._decode([t])[0] for t in tensors]

    def read_all(self, tensors: Iterable[Tensor]) -> Iterator[np.ndarray]:
        """The dense bytes of each, in this order; several are decoded together, which is faster."""
        batch: List[Tensor] = []
        size = 0
        for tensor in tensors:
            if batch and size + tensor.nbytes > BATCH_BYTES:
                yield from self._read_batch(batch)
                batch, size = [], 0
            batch.append(tensor)
            size += tensor.nbytes
        yield from self._read_batch(batch)

    def read_part(self, tensor: Tensor, begin: int, end: int) -> np.ndarray:
        """Some of the dense bytes: of a plain tensor nothing else is read."""
        if tensor.packed or self.foreign:
            return self.read(tensor)[begin:end]
        return tensor.shard.read_data(tensor.begin + begin, tensor.begin + end)

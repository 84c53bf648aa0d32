"""Restores packed tensors; written from src/pack/FORMAT.md alone, as a check that the text is enough.

Needs numpy and zstandard. With the package xxhash every checksum is verified; without, zstd frames still carry theirs,
and a coded chunk that is damaged hardly ever ends in the right state.
"""
import base64
import binascii
from dataclasses import dataclass
from typing import Generator, List, Optional, Sequence, Tuple

import numpy as np
import zstandard

from . import _adaptive, _lattice, _pool, _rans
from ._bits import Bits, Damaged, TooNew, bit_string_bytes, unpack_bits, unpack_wide_bits
from ._header import HEADER_MAX, dense_bytes

try:
    import xxhash
except ImportError:
    xxhash = None

__all__ = ["HEAD_MAX", "Damaged", "Head", "TooNew", "decode", "decode_header", "decode_many", "is_blob", "read_head",
           "read_pool"]

READER = 4
HEAD_MAX = 1024
CHUNK = 1 << 18
MOST_BYTES = 1 << 46  # beyond any memory; numpy has other words for it
PLANES, PALETTE, KERNELS, LATTICE, POOL = 1, 2, 3, 4, 5
CODECS = {PLANES: "planes", PALETTE: "palette", KERNELS: "kernels", LATTICE: "lattice", POOL: "pool"}  # as the key names them
KEYS, LOW, PLANE, COLOURS, INDEX, CLASSES, LEVELS, SIGNS, ADAPTIVE, LATTICE_SECTION, MEMBERS, PART_BLOB, PART_BYTES = range(1, 14)
RAW, ZSTD, RANS = 0, 1, 2
NO_SCOPE, BY_LAYER, BY_FILTER, BY_KERNEL = range(4)

# (name, bits of a value, exponent bits of a float or 0), by code: 1.2
DTYPES = (
    ("BOOL", 8, 0), ("F4", 8, 0), ("F6_E2M3", 8, 0), ("F6_E3M2", 8, 0), ("U8", 8, 0), ("I8", 8, 0), ("F8_E5M2", 8, 0),
    ("F8_E4M3", 8, 0), ("F8_E8M0", 8, 0), ("F8_E4M3FNUZ", 8, 0), ("F8_E5M2FNUZ", 8, 0), ("I16", 16, 0), ("U16", 16, 0),
    ("F16", 16, 5), ("BF16", 16, 8), ("I32", 32, 0), ("U32", 32, 0), ("F32", 32, 8), ("C64", 32, 8), ("F64", 64, 11),
    ("I64", 64, 0), ("U64", 64, 0),
)


def _hash32(*parts: bytes) -> int:
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest() & 0xFFFFFFFF


# ---------------------------------------------------------------- head


@dataclass(frozen=True)
class Section:
    kind: int
    encoding: int
    raw_bytes: int
    stored_bytes: int
    check: Optional[int]


@dataclass(frozen=True)
class Head:
    codec: int
    dtype: str
    width: int
    exponent: int
    lossless: bool
    layout: int  # of codec kernels: 0 OIHW, 1 HWIO
    symmetric: bool
    scope: int
    hash: int
    shape: Tuple[int, ...]
    nbytes: int
    sections: Tuple[Section, ...]
    length: int  # bytes of the head itself

    @property
    def values(self) -> int:
        return self.nbytes * 8 // self.width


def is_blob(first: bytes) -> bool:
    return first[:4] == b"FPZ1"


def _read_section(bits: Bits) -> Section:
    kind_encoding = bits.byte()
    kind, encoding = kind_encoding & 15, kind_encoding >> 4
    if not KEYS <= kind <= PART_BYTES or encoding > RANS:
        raise Damaged("unknown kind or encoding of a section")
    allowed = {KEYS: (RANS,), LOW: (RAW,), ADAPTIVE: (RAW,), LATTICE_SECTION: (RAW,), PART_BLOB: (RAW,)}.get(kind, (RAW, ZSTD, RANS))
    if encoding not in allowed:
        raise Damaged("a section of this kind is not encoded so")
    raw = bits.varint()
    stored = raw if encoding == RAW else bits.varint()
    check = None if encoding == RAW and kind in (LOW, PLANE, SIGNS) else bits.number(4)
    return Section(kind, encoding, raw, stored, check)


def read_head(first: bytes, stored_bytes: int) -> Head:
    """The head of a blob of stored_bytes, from its first HEAD_MAX bytes."""
    if not is_blob(first) or len(first) < 16:
        raise Damaged("does not begin like a packed tensor")
    if first[5] > READER:
        raise TooNew(f"needs a reader of packed format {first[5]}; this one reads up to {READER}")
    if not first[4] or not first[5]:
        raise Damaged("version 0")
    if first[7] >= len(DTYPES) or first[8] > 1 or first[9] > 64 or first[10] > 16:
        raise Damaged("the head is no head")
    dtype, width, exponent = DTYPES[first[7]]
    bits = Bits(first[:HEAD_MAX], 16)
    digest = bits.number(8)
    shape = tuple(bits.varint() for _ in range(first[9]))
    nbytes = bits.varint()
    if nbytes != dense_bytes(dtype, shape):
        raise Damaged("size and shape do not agree")
    sections = tuple(_read_section(bits) for _ in range(first[10]))
    if xxhash is not None:
        found = _hash32(first[:12], bytes(4), first[16:bits.at])
        if found != int.from_bytes(first[12:16], "little"):
            raise Damaged("checksum of the head differs")
    used = bits.at + sum(s.stored_bytes for s in sections)
    if stored_bytes != (used + 7) // 8 * 8:
        raise Damaged("the sections do not fill the tensor")
    # Only a head that is whole can tell a codec of the future from damage.
    codec, extra = first[6], first[11]
    scope = extra >> 2
    if not PLANES <= codec <= POOL:
        raise TooNew(f"packed with codec {codec}, which this version does not know")
    allowed = 0xFF if codec == KERNELS else 1 if codec == LATTICE else 0
    if extra & ~allowed or scope > BY_KERNEL or (extra & 2 and not scope):
        raise Damaged("the head is no head")
    return Head(codec, dtype, width, exponent, bool(first[8]), extra & 1, bool(extra & 2), scope, digest, shape, nbytes,
                sections, bits.at)


# ---------------------------------------------------------------- sections

# A step of decoding: gives the coded chunks that it needs, and goes on when their symbols are there.
Wants = Generator[List[_rans.Chunk], None, np.ndarray]


def _frame_length(data: memoryview) -> int:
    """Bytes of the zstd frame at the start of data (RFC 8878, 3.1.1)."""
    try:
        at = zstandard.frame_header_size(data)
        parameters = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise Damaged(f"no zstd frame: {error}") from None
    if not parameters.has_checksum:
        raise Damaged("a zstd frame without checksum")
    last = False
    while not last:
        if at + 3 > len(data):
            raise Damaged("a zstd frame ends too soon")
        header = int.from_bytes(data[at:at + 3], "little")
        last = bool(header & 1)
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
    if at + 4 > len(data):
        raise Damaged("a zstd frame ends too soon")
    return at + 4


def _inflate(frame: memoryview, size: int, dictionary: Optional[zstandard.ZstdCompressionDict] = None) -> bytes:
    """The content of one frame, which must be of that size."""
    try:
        if zstandard.get_frame_parameters(frame).content_size != size:
            raise Damaged("a zstd frame has the wrong size")
        content = zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise Damaged(f"zstd: {error}") from None
    if len(content) != size:
        raise Damaged("a zstd frame has the wrong size")
    return content


class _Cursor:
    """Walks over the sections of a blob in their order."""

    def __init__(self, blob: memoryview, head: Head) -> None:
        self.head, self._blob, self._next, self._at = head, blob, 0, head.length

    def peek(self) -> int:
        """The kind of the next section, 0 after the last."""
        return self.head.sections[self._next].kind if self._next < len(self.head.sections) else 0

    def stored(self, kind: int, raw_bytes: int) -> Tuple[Section, memoryview]:
        """The next section as it is stored: it must be of that kind and size."""
        if self.peek() != kind:
            raise Damaged(f"expected a section of kind {kind}, found {self.peek()}")
        section = self.head.sections[self._next]
        if section.raw_bytes != raw_bytes:
            raise Damaged(f"a section of kind {kind} has {section.raw_bytes} bytes instead of {raw_bytes}")
        data = self._blob[self._at:self._at + section.stored_bytes]
        if section.check is not None and xxhash is not None and _hash32(data) != section.check:
            raise Damaged(f"checksum of a section of kind {kind} differs")
        self._next += 1
        self._at += section.stored_bytes
        return section, data

    def size(self) -> int:
        """Raw bytes of the next section."""
        return self.head.sections[self._next].raw_bytes if self._next < len(self.head.sections) else 0

    def bytes(self, kind: int, raw_bytes: int) -> Wants:
        """The content of the next section."""
        section, data = self.stored(kind, raw_bytes)
        if section.encoding == RAW:
            return np.frombuffer(data, np.uint8)
        sizes = _chunk_sizes(raw_bytes, len(data))
        if section.encoding == ZSTD:
            parts = []
            for size in sizes:
                length = _frame_length(data)
                parts.append(_inflate(data[:length], size))
                data = data[length:]
            if len(data):
                raise Damaged("bytes after the last chunk")
            return np.frombuffer(b"".join(parts), np.uint8)
        chunks = _coded_chunks(data, sizes, None, None)
        yield chunks
        return _joined(chunks)

    def end(self) -> None:
        if self.peek():
            raise Damaged("a section too many")
        if any(self._blob[self._at:]):
            raise Damaged("padding is not zero")


def _chunk_sizes(count: int, stored: int) -> List[int]:
    # Every chunk takes bytes: a count that they cannot hold is found before room is made for it.
    if (count + CHUNK - 1) // CHUNK > stored:
        raise Damaged("too few bytes for so many chunks")
    return [min(CHUNK, count - at) for at in range(0, count, CHUNK)]


def _coded_chunks(data: memoryview, sizes: Sequence[int], keys: Optional[_rans.KeyTables],
                  classes: Optional[np.ndarray]) -> List[_rans.Chunk]:
    bits, chunks, at, total = Bits(data), [], 0, sum(sizes)
    for size in sizes:
        # The last chunk takes what is left.
        body = bits.bytes(bits.varint()) if at + size < total else bits.rest()
        chunks.append(_rans.read_chunk(body, size, keys, None if classes is None else classes[at:at + size]))
        at += size
    if bits.at != len(data):
        raise Damaged("bytes after the last chunk")
    return chunks


def _joined(chunks: List[_rans.Chunk]) -> np.ndarray:
    return chunks[0].symbols if len(chunks) == 1 else np.concatenate([c.symbols for c in chunks] or [_NOTHING])


_NOTHING = np.empty(0, np.uint8)

# ---------------------------------------------------------------- streams


def _unsigned(width: int) -> "np.dtype":
    return np.dtype(f"<u{width // 8}")


def _read_scales(bits: Bits, axes: int, total: int, places: Optional[np.ndarray],
                 count: int) -> Optional[np.ndarray]:
    """class(i) of every value of the stream, or None without scales. places: of the values, or None for 0, 1, 2, ..."""
    if axes == 0:
        return None
    if axes > 2:
        raise Damaged("more than two axes of scales")
    at = np.arange(count, dtype=np.int64) if places is None else places
    classes = np.zeros(count, np.int16)
    least_sum = greatest_sum = 0
    previous = 0
    for axis in range(axes):
        stride, size = bits.varint(), bits.varint()
        least = bits.byte()
        least -= 256 if least > 127 else 0
        width = bits.byte()
        if not 1 <= width <= 8 or not stride or not size or stride * size > total:
            raise Damaged("impossible scales")
        if (axis == 0 and stride > CHUNK) or (axis == 1 and previous % (stride * size)):
            raise Damaged("impossible scales")
        previous = stride
        values = unpack_bits(bits.bytes(bit_string_bytes(size, width)), size, width).astype(np.int16) + least
        if values.min() < -128 or values.max() > 127:
            raise Damaged("a scale is out of range")
        least_sum, greatest_sum = least_sum + int(values.min()), greatest_sum + int(values.max())
        classes += values[at // stride % size]
    if least_sum < -128 or greatest_sum > 127:
        raise Damaged("scales are out of range")
    return classes


def _symbol_keys(symbols: np.ndarray, chunks: List[_rans.Chunk], extra: Sequence[int], top: int, mantissa: int,
                 bits: int, classes: Optional[np.ndarray]) -> np.ndarray:
    """3.1: what the symbols mean."""
    first, mask = 2 + len(extra), (1 << bits) - 1
    table = np.zeros(256, np.int32)
    table[2:first] = extra
    table[first:] = top - np.arange(256 - first)
    keys = table[symbols]
    if classes is not None:
        shifted = symbols >= first
        keys[shifted] += (classes[shifted].astype(np.int32) >> 1) << mantissa
    keys &= mask
    escapes = np.concatenate([c.escapes for c in chunks] or [np.empty(0, np.uint16)])
    for chunk in chunks:
        if int((chunk.symbols == 1).sum()) != len(chunk.escapes):
            raise Damaged("the escapes do not match the symbols")
    if escapes.size and int(escapes.max()) > mask:
        raise Damaged("an escape is too large")
    keys[symbols == 1] = escapes
    return keys


def _planes(cursor: _Cursor, count: int, places: Optional[np.ndarray]) -> Wants:
    """Section 3, or 8: the values of a stream of count."""
    head = cursor.head
    if cursor.peek() == ADAPTIVE:
        return _adaptive_values(cursor, count, places)
    width, unsigned = head.width, _unsigned(head.width)
    if cursor.peek() != KEYS:
        rotated = np.zeros(count, unsigned)
        left = width
    else:
        if not head.exponent:
            raise Damaged("keys of values that are no floats")
        _, data = cursor.stored(KEYS, count)
        bits = Bits(data)
        mantissa, top, extras = bits.byte(), bits.number(2), bits.byte()
        axes, mantissa = mantissa >> 4, mantissa & 15
        key_bits = head.exponent + mantissa
        if key_bits > 16 or key_bits >= width or extras > 16 or top >> key_bits:
            raise Damaged("impossible keys")
        extra = [bits.number(2) for _ in range(extras)]
        if any(key >> key_bits for key in extra):
            raise Damaged("an extra key is too large")
        sizes = _chunk_sizes(count, len(data))
        classes = _read_scales(bits, axes, head.values, places, count)
        chunks = _coded_chunks(bits.rest(), sizes, _rans.KeyTables(mantissa, top, extras), classes)
        yield chunks
        keys = _symbol_keys(_joined(chunks), chunks, extra, top, mantissa, key_bits, classes)
        left = width - key_bits
        rotated = keys.astype(unsigned) << unsigned.type(left)
        low = left % 8
        if low:
            _, data = cursor.stored(LOW, bit_string_bytes(count, low))
            left -= low
            rotated |= unpack_bits(data, count, low).astype(unsigned) << unsigned.type(left)
    while left:
        left -= 8
        plane = yield from cursor.bytes(PLANE, count)
        rotated |= plane.astype(unsigned) << unsigned.type(left)
    if not head.exponent:
        return rotated
    return rotated >> unsigned.type(1) | rotated << unsigned.type(width - 1)


def _adaptive_values(cursor: _Cursor, count: int, places: Optional[np.ndarray]) -> np.ndarray:
    """Section 8."""
    head = cursor.head
    if not head.exponent:
        raise Damaged("adaptive code of values that are no floats")
    _, data = cursor.stored(ADAPTIVE, cursor.size())
    bits = Bits(data)
    flags, top, above, channels, k = bits.byte(), bits.number(2), bits.byte(), bits.varint(), bits.varint()
    per_filter = channels * k
    if flags > 3 or top >> head.exponent or above > 64 or not 0 < per_filter <= head.values:
        raise Damaged("an adaptive section that is none")
    hwio = bool(flags & 1)
    if hwio and (places is not None or count % per_filter):
        raise Damaged("an adaptive section of another layout")
    sizes = _chunk_sizes(count, len(data))
    low = head.width - 3 - head.exponent
    _, low_data = cursor.stored(LOW, bit_string_bytes(count, low))
    heads: List[int] = []
    for size in sizes:
        at = len(heads)
        body = bits.bytes(bits.varint()) if at + size < count else bits.rest()
        where = range(at, at + size) if places is None else places[at:at + size].tolist()
        heads += _adaptive.decode_chunk(bytes(body), where, channels, k, above, top, bool(flags & 2), head.exponent)
    values = np.array(heads, np.uint64) << np.uint64(low) | unpack_wide_bits(low_data, count, low)
    values = values.astype(_unsigned(head.width))
    if hwio:
        values = np.ascontiguousarray(values.reshape(-1, channels, k).transpose(2, 1, 0)).reshape(-1)
    return values


def _palette(cursor: _Cursor, count: int) -> Wants:
    """Section 4."""
    unsigned = _unsigned(cursor.head.width)
    size = cursor.size()
    colours = size // unsigned.itemsize
    if not 1 <= colours <= 256 or size % unsigned.itemsize:
        raise Damaged("a palette has 1 to 256 colours")
    raw = yield from cursor.bytes(COLOURS, size)
    palette = np.frombuffer(raw.tobytes(), unsigned)
    if (palette[1:] <= palette[:-1]).any():
        raise Damaged("colours are not in order")
    if colours == 1:
        return np.full(count, palette[0])
    width = next(w for w in (1, 2, 4, 8) if colours <= 1 << w)
    raw = yield from cursor.bytes(INDEX, bit_string_bytes(count, width))
    index = unpack_bits(raw, count, width)
    if index.size and int(index.max()) >= colours:
        raise Damaged("an index beyond the palette")
    return palette[index]


def _stream(cursor: _Cursor, count: int, places: Optional[np.ndarray]) -> Wants:
    if count == 0:
        return np.empty(0, _unsigned(cursor.head.width))
    if cursor.peek() == COLOURS:
        values = yield from _palette(cursor, count)
    else:
        values = yield from _planes(cursor, count, places)
    return values


# ---------------------------------------------------------------- kernels


def _layer(head: Head) -> Tuple[int, int, int]:
    """Filters, channels, weights of a kernel."""
    shape = head.shape
    fits = head.exponent and head.dtype != "C64" and len(shape) >= (3 if head.layout else 2) and head.values
    if not fits:
        raise Damaged("a tensor of this dtype and shape has no kernels")
    product = 1
    if head.layout:
        filters, channels, spatial = shape[-1], shape[-2], shape[:-2]
    else:
        filters, channels, spatial = shape[0], shape[1], shape[2:]
    for dimension in spatial:
        product *= dimension
    return (filters, 1, channels) if product == 1 else (filters, channels, product)


def _levels(cursor: _Cursor, binary: np.ndarray, filters: int, channels: int, k: int) -> Wants:
    """Lower and upper level of every two-level kernel, [kernels][2]."""
    head = cursor.head
    unsigned = _unsigned(head.width)
    kernels = np.flatnonzero(binary)
    unit_weights = {BY_LAYER: filters * channels * k, BY_FILTER: channels * k, BY_KERNEL: k}[head.scope]
    if unit_weights < 4:
        raise Damaged("a unit of levels has fewer than 4 weights")
    unit = {BY_LAYER: kernels * 0, BY_FILTER: kernels // channels, BY_KERNEL: kernels}[head.scope]
    units, entry = np.unique(unit, return_inverse=True)
    per_entry = 1 if head.symmetric else 2
    raw = yield from cursor.bytes(LEVELS, len(units) * per_entry * unsigned.itemsize)
    stored = np.frombuffer(raw.tobytes(), unsigned).reshape(-1, per_entry)
    if head.symmetric:
        stored = np.concatenate([stored ^ unsigned.type(1 << (head.width - 1)), stored], axis=1)
    return stored[entry]


def _kernels(cursor: _Cursor) -> Wants:
    """Section 6."""
    head = cursor.head
    filters, channels, k = _layer(head)
    count = filters * channels
    raw = yield from cursor.bytes(CLASSES, bit_string_bytes(count, 2))
    classes = unpack_bits(raw, count, 2)
    if (classes == 3).any():
        raise Damaged("a kernel of an unknown class")
    weights = np.zeros((count, k), _unsigned(head.width))
    binary = classes == 1
    if binary.any() != (head.scope != NO_SCOPE):
        raise Damaged("levels without two-level kernels, or none with them")
    if binary.any():
        levels = yield from _levels(cursor, binary, filters, channels, k)
        signs = int(binary.sum()) * k
        raw = yield from cursor.bytes(SIGNS, bit_string_bytes(signs, 1))
        upper = unpack_bits(raw, signs, 1).reshape(-1, k).astype(bool)
        if (~upper[levels[:, 0] == levels[:, 1]]).any():
            raise Damaged("a sign between equal levels")
        weights[binary] = np.where(upper, levels[:, 1:], levels[:, :1])
    dense = np.flatnonzero(classes == 2)
    places = (dense[:, None] * k + np.arange(k)).reshape(-1)
    values = yield from _stream(cursor, dense.size * k, places)
    weights[dense] = values.reshape(-1, k)
    if head.layout:
        return np.ascontiguousarray(weights.reshape(filters, channels, k).transpose(2, 1, 0)).reshape(-1)
    return weights.reshape(-1)


# ---------------------------------------------------------------- pools


def _listing(cursor: _Cursor) -> Generator[List[_rans.Chunk], None, _pool.Listing]:
    head = cursor.head
    if head.codec != POOL or head.dtype != "U8" or len(head.shape) != 1 or not head.lossless:
        raise Damaged("is no pool of tensors")
    if cursor.size() > _pool.LISTING_BYTES:
        raise Damaged("the list of a pool is too long")
    raw = yield from cursor.bytes(MEMBERS, cursor.size())
    listing = _pool.read_listing(raw.tobytes(), [name for name, _, _ in DTYPES])
    if listing.nbytes != head.nbytes:
        raise Damaged("the members of a pool do not fill it exactly")
    return listing


def _part(cursor: _Cursor, part: _pool.Part) -> Wants:
    """All members of one dtype, one after the other: as a vector in a blob, or as bytes."""
    if cursor.peek() != PART_BLOB:
        return (yield from cursor.bytes(PART_BYTES, part.nbytes))
    _, data = cursor.stored(PART_BLOB, cursor.size())
    blob = bytes(data)
    inner = read_head(blob[:HEAD_MAX], len(blob))
    if (inner.dtype != DTYPES[part.dtype][0] or len(inner.shape) != 1 or inner.nbytes != part.nbytes or not inner.lossless
            or inner.codec not in (PLANES, PALETTE)):
        raise Damaged("a part of a pool is another tensor than it should be")
    return (yield from _decoding(blob))


def _members(cursor: _Cursor) -> Wants:
    listing = yield from _listing(cursor)
    parts = []
    for part in listing.parts:
        if part.nbytes:
            parts.append((yield from _part(cursor, part)))
    return np.concatenate(parts or [_NOTHING])


def read_pool(blob: bytes) -> _pool.Listing:
    """What a pool holds; its values are restored like those of any blob."""
    steps = _listing(_Cursor(memoryview(blob), read_head(blob[:HEAD_MAX], len(blob))))
    try:
        while True:
            _rans.decode(next(steps))
    except StopIteration as done:
        return done.value


# ---------------------------------------------------------------- blobs


def _decoding(blob: bytes) -> Wants:
    head = read_head(blob[:HEAD_MAX], len(blob))
    if head.nbytes > MOST_BYTES:
        raise MemoryError
    cursor = _Cursor(memoryview(blob), head)
    if head.codec == KERNELS:
        values = yield from _kernels(cursor)
    elif head.codec == LATTICE:
        section, raw = cursor.stored(LATTICE_SECTION, cursor.size())
        if section.encoding != RAW:
            raise Damaged("a lattice is stored raw")
        values = _lattice.decode(raw, head.dtype, head.shape, bool(head.layout))
    elif head.codec == POOL:
        values = yield from _members(cursor)
    elif head.codec == PALETTE:
        values = (yield from _palette(cursor, head.values)) if head.values else _NOTHING
    else:
        values = (yield from _planes(cursor, head.values, None)) if head.values else _NOTHING
    cursor.end()
    restored = np.ascontiguousarray(values).view(np.uint8)
    if xxhash is not None and xxhash.xxh3_64(restored).intdigest() != head.hash:
        raise Damaged("checksum of the restored tensor differs")
    return restored


def decode_many(blobs: Sequence[bytes]) -> List[np.ndarray]:
    """The restored bytes of each blob; much faster together than one by one."""
    restored: List[np.ndarray] = [_NOTHING] * len(blobs)
    running = [(i, _decoding(blob)) for i, blob in enumerate(blobs)]
    try:
        while running:
            wanted: List[_rans.Chunk] = []
            waiting = []
            for i, steps in running:
                try:
                    wanted += next(steps)
                    waiting.append((i, steps))
                except StopIteration as done:
                    restored[i] = done.value
            _rans.decode(wanted)
            running = waiting
    except MemoryError:
        raise Damaged("restores to more than there is memory") from None
    return restored


def decode(blob: bytes) -> np.ndarray:
    return decode_many([blob])[0]


# ---------------------------------------------------------------- the original header


def decode_header(text: str, like: bytes) -> bytes:
    """Section 7: the header of the dense file, from the key's `header` and the header that can be rebuilt."""
    if text == "canonical":
        return like
    if not text.startswith("zstd:"):
        raise TooNew("is kept in an unknown way")
    try:
        frame = memoryview(base64.b64decode(text[5:], validate=True))
    except binascii.Error as error:
        raise Damaged(f"is no base64: {error}") from None
    if _frame_length(frame) != len(frame):
        raise Damaged("bytes after the zstd frame")
    size = zstandard.get_frame_parameters(frame).content_size
    if size > HEADER_MAX:
        raise Damaged("is too long")
    dictionary = zstandard.ZstdCompressionDict(like, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return _inflate(frame, size, dictionary)

"""The pool of a packed checkpoint: many small tensors in one blob, their names and shapes with them (FORMAT.md, 10)."""
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from ._bits import Bits, Damaged
from ._errors import SafetensorError
from ._header import Entry, dense_bytes

POOL_BYTES = 1 << 19
STORED_MOST = 1 << 21
LISTING_BYTES = 1 << 20
PARTS_MOST = 15
PLACE_MOST = (1 << 32) - 1


@dataclass(frozen=True)
class Member:
    """One tensor of a pool."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    begin: int  # in what the pool restores to
    end: int
    place: int  # among all tensors of the restored file, in data order
    header_place: int  # among them in the order of the header


@dataclass(frozen=True)
class Part:
    """The members of one dtype, by its code."""

    dtype: int
    members: int
    nbytes: int


@dataclass(frozen=True)
class Listing:
    members: List[Member]
    parts: List[Part]
    reordered: bool

    @property
    def nbytes(self) -> int:
        return self.members[-1].end


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("a name in a pool is not UTF-8") from None
    if name == "__metadata__":
        raise Damaged("a member of a pool is called __metadata__")
    return name


def read_listing(raw: bytes, dtypes: Sequence[str]) -> Listing:
    """The list of the members, from the content of section MEMBERS. dtypes: their names by code."""
    bits = Bits(raw)
    flags, part_count = bits.byte(), bits.varint()
    if flags > 1 or not 0 < part_count <= PARTS_MOST:
        raise Damaged("a pool has impossible parts")
    counts: List[Tuple[int, int]] = []
    for _ in range(part_count):
        code, count = bits.byte(), bits.varint()
        if code >= len(dtypes) or (counts and code <= counts[-1][0]) or not 0 < count <= len(raw):
            raise Damaged("the parts of a pool are not in order")
        counts.append((code, count))
    total = sum(count for _, count in counts)
    if 3 * total > len(raw) - bits.at:
        raise Damaged("a pool lists more members than it can hold")
    codes = [code for code, count in counts for _ in range(count)]
    ranks = [bits.byte() for _ in range(total)]
    if max(ranks) > 64:
        raise Damaged("a rank above 64")
    shapes = [tuple(bits.varint() for _ in range(rank)) for rank in ranks]
    sizes = [_dense(dtypes[code], shape) for code, shape in zip(codes, shapes)]
    if sum(sizes) > POOL_BYTES:
        raise Damaged("the members of a pool are larger than one can be")
    places: List[int] = []
    for i in range(total):
        gap = bits.varint()
        if gap > PLACE_MOST:
            raise Damaged("a member of a pool has no place")
        places.append(gap if i == 0 or codes[i] != codes[i - 1] else places[-1] + 1 + gap)
    header_places = [bits.varint() for _ in range(total)] if flags else places
    names = bytes(bits.rest()).split(b"\0")
    if len(names) != total + 1 or names[-1]:
        raise Damaged("the list of a pool does not end where it should")
    members, at = [], 0
    for i in range(total):
        members.append(Member(_name(names[i]), dtypes[codes[i]], shapes[i], at, at + sizes[i], places[i], header_places[i]))
        at += sizes[i]
    parts = [Part(code, count, sum(size for c, size in zip(codes, sizes) if c == code)) for code, count in counts]
    return Listing(members, parts, bool(flags))


def _dense(dtype: str, shape: Tuple[int, ...]) -> int:
    # As in a head: the dimensions that are not 0 must not overflow either.
    try:
        dense_bytes(dtype, [d for d in shape if d])
        return dense_bytes(dtype, shape)
    except SafetensorError as error:
        raise Damaged(str(error)) from None


def merge(entries: Sequence[Entry], in_data_order: Sequence[Entry], pool: Entry,
          listing: Listing) -> "Tuple[List[Entry], List[Tuple[Entry, Optional[Member]]]]":
    """The entries as the header of the restored file has them, and the same in data order, members with what they are.

    The entry of a member has the bytes of the pool.
    """
    total = len(entries) - 1 + len(listing.members)
    ordered: List[Optional[Tuple[Entry, Optional[Member]]]] = [None] * total
    header: List[Optional[Entry]] = [None] * total
    for member in listing.members:
        if member.place >= total or ordered[member.place] is not None:
            raise Damaged("a member of a pool has no place of its own")
        ordered[member.place] = (Entry(member.name, member.dtype, member.shape, pool.begin, pool.end), member)
    rest = (entry for entry in in_data_order if entry is not pool)
    data = [pair if pair is not None else (next(rest), None) for pair in ordered]
    names = [entry.name for entry, _ in data]
    if len(set(names)) != total:
        raise Damaged("the pool holds a second tensor of a name")
    if not listing.reordered:
        if [e.name for e in entries if e is not pool] != [e.name for e in in_data_order if e is not pool]:
            raise Damaged("the pool says that header and data are in one order")
        return [entry for entry, _ in data], data
    for member in listing.members:
        if member.header_place >= total or header[member.header_place] is not None:
            raise Damaged("a member of a pool has no place of its own in the header")
        header[member.header_place] = data[member.place][0]
    others = (entry for entry in entries if entry is not pool)
    return [entry if entry is not None else next(others) for entry in header], data

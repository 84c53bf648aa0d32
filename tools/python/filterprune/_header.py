"""The safetensors header: reading it strictly, writing it as the reference implementation does.

A file is a u64 length N, N bytes of JSON that begin with '{', then the data to the end of the file. Python's json
module lets several things pass that the format forbids; what it cannot refuse is refused here.
"""
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ._errors import SafetensorError

HEADER_MAX = 100_000_000
NESTING_MAX = 127
BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}
U64_MAX = (1 << 64) - 1
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Entry:
    """One tensor as the header names it; begin and end count from the start of the data."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    entries: List[Entry]  # in the order of the header
    metadata: Optional[Dict[str, str]]

    def in_data_order(self) -> List[Entry]:
        return sorted(self.entries, key=lambda e: (e.begin, e.end))


class _Number(str):
    """A JSON number as it is spelt: 1.0, 1e0 and -0 are no sizes."""


class _Object(list):
    """A JSON object as its (key, value) pairs, keys that come twice included."""


def _refuse_constant(name: str) -> Any:
    raise SafetensorError(f"{name} is no JSON")


def _in_range(number: str) -> bool:
    """Whether the reference reads a number: it keeps the digits that fit 64 bits and scales them in doubles."""
    body, _, exponent = number.lstrip("-").lower().partition("e")
    whole, _, fraction = body.partition(".")
    value = power = used = 0
    for used, digit in enumerate(whole):
        if value * 10 + int(digit) > U64_MAX:
            power = len(whole) - used
            break
        value = value * 10 + int(digit)
    for digit in fraction:
        if value * 10 + int(digit) > U64_MAX:
            break
        value = value * 10 + int(digit)
        power -= 1
    power += max(-(1 << 31), min((1 << 31) - 1, int(exponent[:14] or 0)))
    if value == 0 or power < 0:
        return True
    return power <= 308 and float(value) * float(f"1e{power}") != float("inf")


def _check_values(value: Any) -> None:
    """What json accepts: deep nesting, lone surrogates, numbers beyond a double."""
    stack = [(value, 1)]
    while stack:
        item, level = stack.pop()
        if isinstance(item, _Number):
            if not _in_range(item):
                raise SafetensorError("the header holds a number out of range")
        elif isinstance(item, str):
            if _LONE_SURROGATE.search(item):
                raise SafetensorError("the header holds a surrogate without its half")
        elif isinstance(item, list):
            if level > NESTING_MAX:
                raise SafetensorError(f"the header is nested deeper than {NESTING_MAX}")
            if isinstance(item, _Object):
                stack += ((inner, level + 1) for pair in item for inner in pair)
            else:
                stack += ((inner, level + 1) for inner in item)


def _parse_json(raw: bytes) -> _Object:
    if raw[:1] != b"{":
        raise SafetensorError("the header must begin with '{'")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SafetensorError(f"the header is no UTF-8: {error}") from None
    try:
        value = json.loads(text, object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number,
                           parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SafetensorError(f"the header is no JSON: {error}") from None
    _check_values(value)
    return value


TREE_DEPTH = 127
_INTEGER = re.compile("-?[0-9]+")


def parse_tree(text: str, unique: bool = False) -> Any:
    """The JSON text of our key, or of an index, as FORMAT.md wants it; ValueError otherwise.

    RFC 8259 with an object or array outermost, whole numbers of 64 bits, others that a double holds, no lone
    surrogates, no NUL in a key, and at most so many levels; of a key that comes twice the last counts unless unique.
    """
    def constant(name: str) -> Any:
        raise ValueError(f"{name} is no JSON")

    def number(spelt: str) -> Any:
        if not _in_range(spelt):
            raise ValueError("a number past the range of a double")
        if not _INTEGER.fullmatch(spelt):
            return float(spelt)
        if len(spelt) > 20 or not -(1 << 63) <= int(spelt) < 1 << 63:
            raise ValueError("an integer past the range of 64 bits")
        return int(spelt)

    def members(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
        found = dict(pairs)
        if unique and len(found) != len(pairs):
            raise ValueError("a key is given twice")
        return found

    try:
        root = json.loads(text, parse_constant=constant, parse_int=number, parse_float=number, object_pairs_hook=members)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(root, (dict, list)):
        raise ValueError("no object or array")
    _check_tree(root, unique)
    return root


def _check_tree(root: Any, unique: bool) -> None:
    stack = [(root, 1)]
    while stack:
        item, level = stack.pop()
        if isinstance(item, str):
            if _LONE_SURROGATE.search(item):
                raise ValueError("a surrogate without its half")
            if unique and "\0" in item:
                raise ValueError("a string holds a NUL character")
        elif isinstance(item, (dict, list)):
            if level > TREE_DEPTH:
                raise ValueError(f"nested deeper than {TREE_DEPTH} levels")
            if isinstance(item, dict):
                if any("\0" in key for key in item):
                    raise ValueError("a key holds a NUL character")
                stack += ((key, level + 1) for key in item)
                stack += ((inner, level + 1) for inner in item.values())
            else:
                stack += ((inner, level + 1) for inner in item)


def _size(value: Any, what: str) -> int:
    if not (isinstance(value, _Number) and value.isdigit() and len(value) <= 20 and int(value) <= U64_MAX):
        raise SafetensorError(f"{what} must be whole numbers below 2^64")
    return int(value)


def _sizes(value: Any, what: str) -> Tuple[int, ...]:
    if not isinstance(value, list) or isinstance(value, _Object):
        raise SafetensorError(f"{what} must be an array")
    return tuple(_size(item, what) for item in value)


def dense_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a dense tensor; raises when they overflow or are no whole number."""
    elements = 1
    for dimension in shape:
        elements *= dimension
        if elements > U64_MAX:
            raise SafetensorError("shape has more than 2^64 elements")
    bits = elements * BITS[dtype]
    if bits > U64_MAX or bits % 8:
        raise SafetensorError(f"{elements} elements of {dtype} are no whole number of bytes below 2^61")
    return bits // 8


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, _Object):
        raise SafetensorError("a tensor must be an object")
    fields: Dict[str, Any] = {}
    for key, item in value:
        if key in ("dtype", "shape", "data_offsets"):
            if key in fields:
                raise SafetensorError(f"{key} is given twice")
            fields[key] = item
    for key in ("dtype", "shape", "data_offsets"):
        if key not in fields:
            raise SafetensorError(f"{key} is missing")
    dtype = fields["dtype"]
    if not isinstance(dtype, str) or isinstance(dtype, _Number) or dtype not in BITS:
        raise SafetensorError("unknown dtype")
    shape = _sizes(fields["shape"], "shape")
    offsets = _sizes(fields["data_offsets"], "data_offsets")
    if len(offsets) != 2:
        raise SafetensorError("data_offsets must be two numbers")
    begin, end = offsets
    if end - begin != dense_bytes(dtype, shape):
        raise SafetensorError(f"data_offsets {begin} to {end} do not fit dtype and shape")
    return Entry(name, dtype, shape, begin, end)


def _metadata(value: Any) -> Optional[Dict[str, str]]:
    if value is None:
        return None
    if not isinstance(value, _Object):
        raise SafetensorError("__metadata__ must be an object")
    found: Dict[str, str] = {}
    for key, text in value:
        if not isinstance(text, str) or isinstance(text, _Number):
            raise SafetensorError("a value of __metadata__ must be a string")
        if key in found:
            raise SafetensorError("a key of __metadata__ is given twice")
        found[key] = text
    return found


def parse(raw: bytes, data_bytes: int) -> Header:
    """Reads the header text of a file with that many bytes of data."""
    entries: List[Entry] = []
    metadata: Optional[Dict[str, str]] = None
    names = set()
    for name, value in _parse_json(raw):
        if name in names:
            raise SafetensorError(f"{name!r} is given twice")
        names.add(name)
        if name == "__metadata__":
            metadata = _metadata(value)
            continue
        try:
            entries.append(_entry(name, value))
        except SafetensorError as error:
            raise SafetensorError(f"{name}: {error}") from None
    header = Header(entries, metadata)
    at = 0
    for entry in header.in_data_order():
        if entry.begin != at:
            raise SafetensorError(f"{entry.name}: data begins at {entry.begin}, a hole or an overlap after {at}")
        at = entry.end
    if at != data_bytes:
        raise SafetensorError(f"the tensors end after {at} bytes of data, the file after {data_bytes}")
    return header


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def write(entries: Sequence[Entry], metadata: Optional[Dict[str, str]]) -> bytes:
    """The header text that the reference implementation writes, padded with spaces to a multiple of 8 bytes."""
    items = []
    if metadata is not None:
        inner = ",".join(f"{_quoted(k)}:{_quoted(v)}" for k, v in metadata.items())
        items.append('"__metadata__":{' + inner + "}")
    for e in entries:
        shape = ",".join(map(str, e.shape))
        items.append(f'{_quoted(e.name)}:{{"dtype":"{e.dtype}","shape":[{shape}],"data_offsets":[{e.begin},{e.end}]}}')
    text = ("{" + ",".join(items) + "}").encode("utf-8")
    return text + b" " * (-len(text) % 8)

"""An independent judge of safetensors files, from the format's description alone: verdict(bytes) returns
(tensors, metadata entries) or raises Refused. Python's standard library; nothing is shared with the C reader."""
import json
import struct

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
        "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
LIMIT = 1 << 64
DEPTH = 127


class Refused(Exception):
    pass


class Pairs(list):
    """A JSON object with every key in its place, also one given twice."""


class Number(str):
    """A JSON number as it was spelt."""


def need(condition, reason):
    if not condition:
        raise Refused(reason)


def depth(text):
    """The deepest nesting, brackets inside strings apart."""
    deepest = level = 0
    inside = escaped = False
    for c in text:
        if inside:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                inside = False
        elif c == '"':
            inside = True
        elif c in "[{":
            level += 1
            deepest = max(deepest, level)
        elif c in "]}":
            level -= 1
    return deepest


def refuse_constant(name):
    raise Refused("%s is no JSON" % name)


def in_range(number):
    """The verdict of serde_json: so many first digits as fit 64 bits, scaled in doubles."""
    mantissa, _, exponent = number.lstrip("-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    kept, power = 0, 0
    for place, digit in enumerate(whole):
        if 10 * kept + int(digit) >= LIMIT:
            power = len(whole) - place
            break
        kept = 10 * kept + int(digit)
    for digit in fraction:
        if 10 * kept + int(digit) >= LIMIT:
            break
        kept, power = 10 * kept + int(digit), power - 1
    power += int(exponent or 0)
    return not kept or power < 0 or (power <= 308 and float(kept) * float("1e%d" % power) < float("inf"))


def walk(value):
    """What json lets pass: lone surrogates, and numbers no double holds."""
    if isinstance(value, Number):
        need(in_range(value), "a number out of range")
    elif isinstance(value, str):
        need(not any(0xD800 <= ord(c) < 0xE000 for c in value), "a lone surrogate")
    elif isinstance(value, Pairs):
        for key, item in value:
            walk(key)
            walk(item)
    elif isinstance(value, list):
        for item in value:
            walk(item)


def parse(raw):
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Refused("UTF-8: %s" % e)
    need(text.startswith("{"), "does not begin with {")
    need(depth(text) <= DEPTH, "too deep")
    try:
        value = json.loads(text, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number,
                           parse_constant=refuse_constant)
    except ValueError as e:
        raise Refused("JSON: %s" % e)
    walk(value)
    return value


def size(value):
    need(isinstance(value, Number) and value.isdigit(), "no whole number")
    need(int(value) < LIMIT, "more than 64 bits")
    return int(value)


def sizes(value):
    need(isinstance(value, list) and not isinstance(value, Pairs), "no array")
    return [size(item) for item in value]


def tensor(entry):
    """(begin, end) of an entry that agrees with itself."""
    need(isinstance(entry, Pairs), "no object")
    fields = {}
    for key, value in entry:
        if key in ("dtype", "shape", "data_offsets"):
            need(key not in fields, key + " twice")
            fields[key] = value
    need(len(fields) == 3, "a field is missing")
    dtype = fields["dtype"]
    need(isinstance(dtype, str) and not isinstance(dtype, Number) and dtype in BITS, "dtype")
    elements = 1
    for dimension in sizes(fields["shape"]):
        elements *= dimension
        need(elements < LIMIT, "shape overflows")
    bits = elements * BITS[dtype]
    need(bits < LIMIT, "size overflows")
    need(bits % 8 == 0, "not whole bytes")
    offsets = sizes(fields["data_offsets"])
    need(len(offsets) == 2 and offsets[1] - offsets[0] == bits // 8, "offsets")
    return tuple(offsets)


def verdict(file):
    need(len(file) >= 8, "too short")
    n = struct.unpack("<Q", file[:8])[0]
    need(n <= 100_000_000, "header too long")
    need(n <= len(file) - 8, "header past the end")
    names, places, metadata = set(), [], None
    for name, entry in parse(file[8:8 + n]):
        need(name not in names, "a name twice")
        names.add(name)
        if name != "__metadata__":
            places.append(tensor(entry))
        elif entry is not None:
            need(isinstance(entry, Pairs), "metadata")
            need(all(isinstance(v, str) and not isinstance(v, Number) for _, v in entry), "metadata value")
            metadata = [key for key, _ in entry]
            need(len(set(metadata)) == len(metadata), "a metadata key twice")
    end = 0
    for begin, stop in sorted(places):
        need(begin == end, "a hole or an overlap")
        end = stop
    need(end == len(file) - 8 - n, "the end of the file")
    return len(places), len(metadata or [])

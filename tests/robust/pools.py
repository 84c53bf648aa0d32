"""Pools made by hand, from FORMAT.md alone: both readers, C and Python (numpy), read those that keep its rules and refuse
those that break one, in one line; and of lists that were changed at random they say the same.

Standard: 150 random lists; FILTERPRUNE_LONG=1: 10,000. FILTERPRUNE_SEED, FILTERPRUNE_CASES."""
import json
import os
import random
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "tools", "python")]
try:
    import numpy  # noqa: F401
    import xxhash
    import zstandard  # noqa: F401
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(77)
import common  # noqa: E402

import filterprune  # noqa: E402
from filterprune import SafetensorError  # noqa: E402

NAME = "__filterprune_pool__"
U8, F16, F32, I64 = 4, 13, 17, 20
SIZE = {U8: 1, F16: 2, F32: 4, I64: 8}
DTYPE = {U8: "U8", F16: "F16", F32: "F32", I64: "I64"}


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def low32(data):
    return struct.pack("<I", xxhash.xxh3_64(data).intdigest() & 0xFFFFFFFF)


def blob(codec, dtype, shape, restored, sections, reader=3, flags=1):
    """sections: (kind, encoding, raw bytes, stored), all with a check."""
    head = b"FPZ1" + bytes([1, reader, codec, dtype, flags, len(shape), len(sections), 0]) + bytes(4)
    head += struct.pack("<Q", xxhash.xxh3_64(restored).intdigest()) + b"".join(map(varint, shape)) + varint(len(restored))
    for kind, encoding, raw, stored in sections:
        head += bytes([kind | encoding << 4]) + varint(raw) + (varint(len(stored)) if encoding else b"")
        if not (encoding == 0 and kind in (2, 3, 8)):
            head += low32(stored)
    head = head[:12] + low32(head) + head[16:]
    whole = head + b"".join(stored for _, _, _, stored in sections)
    return whole + bytes(-len(whole) % 8)


class Member:
    def __init__(self, name, code, shape, place, data, header_place=None):
        self.name, self.code, self.shape, self.place, self.data = name, code, shape, place, data
        self.header_place = place if header_place is None else header_place


def listing(members, reordered=False):
    codes = sorted({m.code for m in members})
    raw = bytes([reordered]) + varint(len(codes))
    raw += b"".join(bytes([c]) + varint(sum(m.code == c for m in members)) for c in codes)
    raw += bytes(len(m.shape) for m in members) + b"".join(varint(d) for m in members for d in m.shape)
    before = None
    for m in members:
        raw += varint((m.place - (before.place + 1 if before and before.code == m.code else 0)) % (1 << 40))
        before = m
    if reordered:
        raw += b"".join(varint(m.header_place) for m in members)
    return raw + b"".join(m.name + b"\0" for m in members)


def pool(members, raw=None, reordered=False, sections=None, **more):
    raw = listing(members, reordered) if raw is None else raw
    content = b"".join(m.data for m in members)
    if sections is None:
        sections = []
        for code in sorted({m.code for m in members}):
            part = b"".join(m.data for m in members if m.code == code)
            sections += [(13, 0, len(part), part)] * bool(part)
    return blob(5, U8, [len(content)], content, [(11, 0, len(raw), raw), *sections], **more)


def checkpoint(pool_blob, plain, key_more=(), key=True, pool_at=0, name=NAME):
    """A packed file of the pool and plain tensors (name, dtype, shape, data), in data order."""
    tensors = [(name, "U8", [len(pool_blob)], pool_blob)] if pool_blob is not None else []
    tensors = plain[:pool_at] + tensors + plain[pool_at:]
    header, at = {}, 0
    for n, dtype, shape, data in tensors:
        header[n] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    data = b"".join(t[3] for t in tensors)

    def text(check):
        inside = {"format": 1, "reader": 3, "check": check, "tool": "test", "header": "canonical", "pool": name, "tensors": {}}
        inside.update(key_more)
        first = {"__metadata__": {"filterprune": json.dumps(inside, separators=(",", ":"))}} if key else {}
        body = json.dumps({**first, **header}, separators=(",", ":")).encode()
        return body + b" " * (-len(body) % 8)

    hashed = xxhash.xxh3_64()
    for n, _, _, d in tensors:
        if n != name:
            hashed.update(d)
    check = xxhash.xxh3_64(text("0" * 16) + struct.pack("<Q", hashed.intdigest())).hexdigest()
    body = text(check)
    return struct.pack("<Q", len(body)) + body + data


def verdicts(folder, data, force=False):
    """What the C reader and the one in Python make of a file: its dense bytes, or None."""
    path = folder.write("pool.safetensors", data)
    done = common.run("unpack", "-q", "-f", path, folder("c"))
    c = common.read(folder("c")) if done.status == 0 else None
    if done.status:
        common.failed_well(done, "a broken pool", (3,))
    try:
        filterprune.unpack(path, folder("python"), force=True, decoder="python")
        python = common.read(folder("python"))
    except SafetensorError:
        python = None
    return c, python, done


def expect(folder, what, data, dense):
    c, python, done = verdicts(folder, data)
    common.check(c == dense, f"{what}: the program", "reads it" if c is not None else repr(done), "and should not" if dense is None else "")
    common.check(python == dense, f"{what}: Python", "reads it" if python is not None else "refuses it")


PLAIN = [("a.weight", "F32", [2], struct.pack("<2f", 1, 2)), ("d.weight", "U8", [4], b"FPZ1"), ("e", "I64", [], bytes(8))]
MEMBERS = [Member(b"bias.\xc3\xa9", F16, [3], 1, b"\0\x3c\0\x3d\0\x3e"), Member(b"", F16, [1, 1], 4, b"\1\2"),
           Member(b"mean", F32, [2, 0], 2, b""), Member(b"var", F32, [2], 5, bytes(range(8)))]


def dense(reordered=None):
    """The file that PLAIN and MEMBERS restore to: the places 0 and 3 and 6 are those of PLAIN."""
    at = {m.place: (m.name.decode(), DTYPE[m.code], m.shape, m.data) for m in MEMBERS}
    rest = iter(PLAIN)
    tensors = [at[i] if i in at else next(rest) for i in range(7)]
    header, offset = {}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    names = [t[0] for t in tensors] if reordered is None else [tensors[i][0] for i in reordered]
    text = json.dumps({n: header[n] for n in names}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors)


def changed(index, **fields):
    members = [Member(m.name, m.code, m.shape, m.place, m.data, m.header_place) for m in MEMBERS]
    for name, value in fields.items():
        setattr(members[index], name, value)
    return members


def good(folder):
    expect(folder, "a pool by hand", checkpoint(pool(MEMBERS), PLAIN), dense())
    expect(folder, "a pool in the middle", checkpoint(pool(MEMBERS), PLAIN, pool_at=2), dense())
    expect(folder, "a pool of another name", checkpoint(pool(MEMBERS), PLAIN, name="pool"), dense())
    # Header order: the last tensor first.
    order = [1, 0, 6, 3, 4, 5, 2]
    turned = [Member(m.name, m.code, m.shape, m.place, m.data, order.index(m.place)) for m in MEMBERS]
    file = checkpoint(pool(turned, reordered=True), PLAIN)
    length = struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8:8 + length])
    header = {n: header[n] for n in ("__metadata__", NAME, "a.weight", "e", "d.weight")}
    expect(folder, "a pool and another order", resealed(header, file[8 + length:]), dense(order))
    part = struct.pack("<4H", 1, 1, 1, 1)
    inner = blob(2, F16, [4], part, [(4, 0, 2, b"\1\0")], reader=1)
    same = [Member(b"x", F16, [4], 0, part)]
    whole = pool(same, sections=[(12, 0, len(inner), inner)])
    header = {"x": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    expect(folder, "a part as a blob", checkpoint(whole, []), struct.pack("<Q", len(text)) + text + part)
    nested = blob(5, U8, [8], part, [(11, 0, len(listing(same)), listing(same)), (13, 0, 8, part)])
    for what, bad in (("a pool in a pool", nested), ("a part of another dtype", blob(2, 14, [4], part, [(4, 0, 2, b"\1\0")], reader=1)),
                      ("a part of rank 2", blob(2, F16, [2, 2], part, [(4, 0, 2, b"\1\0")], reader=1)),
                      ("a part of fewer values", blob(2, F16, [3], part[:6], [(4, 0, 2, b"\1\0")], reader=1)),
                      ("a part that is not lossless", blob(2, F16, [4], part, [(4, 0, 2, b"\1\0")], reader=1, flags=0))):
        expect(folder, what, checkpoint(pool(same, sections=[(12, 0, len(bad), bad)]), []), None)


def resealed(header, data):
    """The file of that header with the check made again; all but blobs of codec 5 is plain."""
    key = header["__metadata__"]["filterprune"]
    at = key.find('"check":"') + 9
    header["__metadata__"]["filterprune"] = key[:at] + "0" * 16 + key[at + 16:]

    def text():
        body = json.dumps(header, separators=(",", ":")).encode()
        return body + b" " * (-len(body) % 8)

    plain = xxhash.xxh3_64()
    for begin, end in sorted(t["data_offsets"] for n, t in header.items() if n not in ("__metadata__", NAME)):
        plain.update(data[begin:end])
    digits = xxhash.xxh3_64(text() + struct.pack("<Q", plain.intdigest())).hexdigest()
    header["__metadata__"]["filterprune"] = key[:at] + digits + key[at + 16:]
    body = text()
    return struct.pack("<Q", len(body)) + body + data


def broken(folder):
    """One rule each."""
    raw = listing(MEMBERS)
    cases = {
        "a name twice": changed(1, name=b"bias.\xc3\xa9"),
        "a name of the header's": changed(1, name=b"e"),
        "a name that is no UTF-8": changed(0, name=b"\xff"),
        "the name of the metadata": changed(0, name=b"__metadata__"),
        "a place twice": changed(3, place=4),
        "a place past the end": changed(3, place=7),
        "a shape larger than the data": changed(0, shape=[4]),
        "a shape smaller than the data": changed(0, shape=[2]),
        "a shape that overflows": changed(0, shape=[1 << 62, 1 << 62, 0]),
    }
    for what, members in cases.items():
        expect(folder, what, checkpoint(pool(members), PLAIN), None)
    lists = {
        "a list cut short": raw[:-1], "a list with more": raw + b"x\0", "an empty list": b"", "unknown flags": b"\2" + raw[1:],
        "no parts": b"\0\0", "parts out of order": raw[:2] + raw[4:6] + raw[2:4] + raw[6:], "a dtype that is none": raw[:2] + b"\x16" + raw[3:],
        "far too many members": raw[:3] + varint(1 << 63) + raw[4:], "a rank of 65": raw[:6] + b"\x41" + raw[7:],
        "a part of no members": raw[:3] + b"\0" + raw[4:], "longer numbers than needed": raw[:1] + b"\x82\0" + raw[2:],
    }
    for what, changed_list in lists.items():
        expect(folder, what, checkpoint(pool(MEMBERS, raw=changed_list), PLAIN), None)
    content = b"".join(m.data for m in MEMBERS)
    expect(folder, "a part missing", checkpoint(pool(MEMBERS, sections=[(13, 0, 8, content[:8])]), PLAIN), None)
    expect(folder, "a part too many",
           checkpoint(pool(MEMBERS, sections=[(13, 0, 8, content[:8]), (13, 0, 8, content[8:]), (13, 0, 1, b"x")]), PLAIN), None)
    expect(folder, "a part of another size", checkpoint(pool(MEMBERS, sections=[(13, 0, 16, content)]), PLAIN), None)
    file = pool(MEMBERS)
    expect(folder, "a reader of the future", checkpoint(pool(MEMBERS, reader=99), PLAIN), None)
    expect(folder, "a byte changed", checkpoint(file[:-9] + bytes([file[-9] ^ 1]) + file[-8:], PLAIN), None)
    expect(folder, "a pool that is not lossless", checkpoint(pool(MEMBERS, flags=0), PLAIN), None)
    expect(folder, "a pool of places beyond", checkpoint(pool(changed(3, place=(1 << 35))), PLAIN), None)
    for what, more in (("a pool that is not there", {"pool": "elsewhere"}), ("a pool that is plain", {"pool": "d.weight"}),
                       ("a pool that is no U8", {"pool": "a.weight"}), ("a number for a pool", {"pool": 3}), ("null for a pool", {"pool": None}),
                       ("a pool listed as a tensor", {"pool": "d.weight", "tensors": {NAME: {"codec": "pool", "dtype": "U8", "shape": [16], "bytes": 16, "lossless": True}}})):
        expect(folder, what, checkpoint(file, PLAIN, more), None)
    expect(folder, "the pool taken away", checkpoint(None, PLAIN), None)
    header_and_data_differ = json.loads(checkpoint(file, PLAIN)[8:8 + struct.unpack("<Q", checkpoint(file, PLAIN)[:8])[0]])
    length = struct.unpack("<Q", checkpoint(file, PLAIN)[:8])[0]
    header = {n: header_and_data_differ[n] for n in ("__metadata__", NAME, "e", "a.weight", "d.weight")}
    expect(folder, "orders that differ unsaid", resealed(header, checkpoint(file, PLAIN)[8 + length:]), None)


def lost_key(folder):
    """The pool says itself that it is one: tensors are read, and restored when that is wanted."""
    path = folder.write("lost.safetensors", checkpoint(pool(MEMBERS), PLAIN, key=False))
    refused = common.run("unpack", "-q", path, folder("none"))
    common.failed_well(refused, "a lost key", (3,))
    common.must("unpack", "-q", "-f", path, folder("c"))
    common.check(common.read(folder("c")) == dense(), "a lost key: C restores something else")
    filterprune.unpack(path, folder("python"), force=True, decoder="python")
    common.check(common.read(folder("python")) == dense(), "a lost key: Python restores something else")
    read = filterprune.load_file(path, decoder="python")
    common.check(read["var"].tobytes() == bytes(range(8)), "a lost key: a member reads as something else")
    # Elsewhere than first it is a tensor like any other.
    path = folder.write("lost.safetensors", checkpoint(pool(MEMBERS), PLAIN, key=False, pool_at=1))
    listed = json.loads(common.must("info", "--json", path).out)
    common.check([t["name"] for t in listed["tensors"]] == ["a.weight", NAME, "d.weight", "e"], "a pool that is none is taken for one")
    common.check(NAME in filterprune.load_file(path, decoder="python"), "Python takes a pool that is none for one")


def random_lists(folder, cases, dice):
    alike = {"read": 0, "refused": 0}
    for i in range(cases):
        members = changed(0)
        raw = bytearray(listing(members, reordered=dice.random() < 0.3))
        for _ in range(dice.choice([0, 1, 1, 1, 2])):
            at = dice.randrange(len(raw))
            kind = dice.randrange(4)
            if kind == 0:
                raw[at] ^= 1 << dice.randrange(8)
            elif kind == 1:
                raw[at] = dice.choice([0, 1, 2, 3, 127, 128, 255])
            elif kind == 2:
                del raw[at]
            else:
                raw.insert(at, dice.randrange(256))
        c, python, done = verdicts(folder, checkpoint(pool(members, raw=bytes(raw)), PLAIN))
        common.check(c == python, f"list {i} {bytes(raw)!r}:", "C", "reads it" if c is not None else repr(done), "Python",
                     "reads it" if python is not None else "refuses it")
        alike["read" if c is not None else "refused"] += 1
    common.check(cases < 100 or (alike["read"] > cases // 20 and alike["refused"] > cases // 20), f"lists tell nothing: {alike}")
    return alike


def main():
    cases = int(os.environ.get("FILTERPRUNE_CASES", 10000 if common.LONG else 150))
    with common.Folder() as folder:
        good(folder)
        broken(folder)
        lost_key(folder)
        alike = random_lists(folder, cases, random.Random(int(os.environ.get("FILTERPRUNE_SEED", 1))))
    common.finish(f"{cases} lists: {alike['read']} read alike, {alike['refused']} refused by both")


main()

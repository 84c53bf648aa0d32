"""The two readers of packed files, C and Python (numpy), over mutated files with valid checksums: one verdict, the same
bytes.

Mutants differ from a packed file in values of the key, or in a few bits and bytes of a blob. The checksums are made again,
that of the restored bytes from what the reader in Python makes of them. Standard: 150 mutants; FILTERPRUNE_LONG=1: 10,000,
best with a program built with AddressSanitizer (some minutes). FILTERPRUNE_SEED, FILTERPRUNE_CASES, and FILTERPRUNE_KEEP for
a folder that takes the mutants on which they disagree."""
import json
import math
import os
import random
import struct
import subprocess
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
from filterprune import SafetensorError, _format  # noqa: E402

WORDS = ["NaN", "Infinity", "-Infinity", "1e999", "1.0", "-1", "-0", "01", "true", "null", "[]", "{}", '""', '"A"',
         "9223372036854775807", "9223372036854775808", "[" * 130 + "]" * 130, '"\\ud800"', '"\\u0000"', '{"\\u0000":1}',
         "1.7976931348623158e308", "1.7976931348623157e308", "3", "0"]


class Mutant:
    def __init__(self, raw, dice):
        self.dice = dice
        length = struct.unpack("<Q", raw[:8])[0]
        self.header = json.loads(raw[8:8 + length])
        self.data = bytearray(raw[8 + length:])
        self.key = self.header["__metadata__"]["filterprune"]

    def members(self):
        """Where the values in the key begin and end, found with a scanner of JSON."""
        places, decoder = [], json.JSONDecoder()
        for at, c in enumerate(self.key):
            if c in ":[," and at + 1 < len(self.key):
                try:
                    places.append((at + 1, decoder.raw_decode(self.key, at + 1)[1]))
                except ValueError:
                    pass
        return places

    def change_key(self):
        dice = self.dice
        places = [p for p in self.members() if self.key.find('"check"') > p[1] or p[0] > self.key.find('"check"') + 26]
        begin, end = dice.choice(places or [(1, 1)])
        kind = dice.randrange(6)
        if kind == 0:
            new = dice.choice(WORDS)
        elif kind == 1:
            other = dice.choice(places or [(1, 1)])
            new = self.key[other[0]:other[1]]
        elif kind == 2:
            old = self.key[begin:end]
            at = dice.randrange(len(old)) if old else 0
            new = old[:at] + dice.choice("0123456789aAfFx\"\\,]} ") + old[at + 1:]
        elif kind == 3:
            new = self.key[begin:end] + dice.choice(['', ',"extra":' + dice.choice(WORDS) if self.key[begin - 1] == ":" else ""])
        elif kind == 4:
            new = self.key[begin:end].upper() if dice.random() < 0.5 else self.key[begin:end].lower()
        else:
            new = " " + self.key[begin:end] + dice.choice(["", "\t", "\n", "\x0b", "\u00a0"])
        self.key = self.key[:begin] + new + self.key[end:]

    def change_check(self):
        """After the checksums: a digit in another spelling."""
        at = self.key.find('"check":"') + 9
        i = at + self.dice.randrange(16)
        letter = self.key[i]
        self.key = self.key[:i] + self.dice.choice([letter.upper(), letter, "g", " "]) + self.key[i + 1:]

    def blob(self):
        names = [n for n, t in self.header.items() if n != "__metadata__" and t["dtype"] == "U8" and len(t["shape"]) == 1
                 and self.data[slice(*t["data_offsets"])][:4] == b"FPZ1"]
        return self.header[self.dice.choice(names)]["data_offsets"] if names else None

    def change_blob(self):
        place = self.blob()
        if not place:
            return
        begin, end = place
        dice = self.dice
        blob = bytearray(self.data[begin:end])
        head_end = min(len(blob), 60)
        for _ in range(dice.choice([1, 1, 1, 2, 3])):
            at = dice.randrange(4, head_end) if dice.random() < 0.5 else dice.randrange(len(blob))
            if dice.random() < 0.7:
                blob[at] ^= 1 << dice.randrange(8)
            else:
                blob[at] = dice.choice([0, 1, 2, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        self.data[begin:end] = resealed(bytes(blob))

    def bytes(self, spoil_check):
        self.key = self.sealed()
        if spoil_check:
            self.change_check()
        text = self.text(self.key)
        return struct.pack("<Q", len(text)) + text + bytes(self.data)

    def text(self, key):
        self.header["__metadata__"]["filterprune"] = key
        text = json.dumps(self.header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        return text + b" " * (-len(text) % 8)

    def sealed(self):
        """The key with a check that fits."""
        at = self.key.find('"check":"') + 9
        key = self.key[:at] + "0" * 16 + self.key[at + 16:]
        try:
            entries = json.loads(key)
        except ValueError:
            return self.key
        listed = entries.get("tensors") if isinstance(entries, dict) and isinstance(entries.get("tensors"), dict) else {}
        plain = xxhash.xxh3_64()
        tensors = sorted((t["data_offsets"], n) for n, t in self.header.items() if n != "__metadata__")
        for (begin, end), name in tensors:
            item = listed.get(name)
            packed = isinstance(item, dict) and item.get("codec") not in (None, "raw")
            if not packed:
                plain.update(bytes(self.data[begin:end]))
        whole = xxhash.xxh3_64(self.text(key) + struct.pack("<Q", plain.intdigest()))
        return self.key[:at] + f"{whole.intdigest():016x}" + self.key[at + 16:]


def resealed(blob):
    """The blob with the checksums of its head and of what it restores to made again, as far as it restores to anything."""
    hasher, _format.xxhash = _format.xxhash, None
    try:
        head = _format.read_head(blob[:_format.HEAD_MAX], len(blob))
        size = head.length
        blob = sealed_head(blob, size)
        restored = _format.decode_many([blob])[0]
        blob = blob[:16] + struct.pack("<Q", xxhash.xxh3_64(memoryview(restored)).intdigest()) + blob[24:]
        return sealed_head(blob, size)
    except SafetensorError:
        return blob
    finally:
        _format.xxhash = hasher


def sealed_head(blob, size):
    check = xxhash.xxh3_64(blob[:12] + bytes(4) + blob[16:size]).intdigest() & 0xFFFFFFFF
    return blob[:12] + struct.pack("<I", check) + blob[16:]


def by_python(path, output):
    try:
        filterprune.unpack(path, output, force=True, decoder="python")
    except SafetensorError as error:
        return None, str(error)
    return common.read(output), ""


def by_program(path, output):
    done = subprocess.run([common.PROGRAM, "unpack", "-q", "-f", path, output], stderr=subprocess.PIPE, check=False,
                          env=common.environment())
    if done.returncode == 0:
        return common.read(output), ""
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode != 3:
        raise SystemExit(f"unpack {path}: exit {done.returncode}: {said[-2000:]}")
    return None, said


def sources(folder):
    """Packed files with something for every codec."""
    made = []
    for seed, options in ((1, ("--lossless",)), (2, ("--level", "2")), (3, ("--cast", "bf16")), (4, ("--level", "9")),
                          (5, ("--lossless", "--pool", "always")), (6, ("--max-error", "0.05", "--level", "12"))):
        tensors = [t for t in common.rich(seed) if t[0] not in ("fc.weight", "sign.weight")]
        source = folder.write("in.safetensors", common.safetensors(tensors, common.METADATA))
        common.must("-q", "-f", "--no-report", *options, source, folder("packed"))
        made.append(common.read(folder("packed")))
    # Of more weights blends are made; and what is left of them when kernels are pruned.
    wave = folder.write("in.safetensors", common.safetensors(
        [("conv.weight", "F32", [17, 14, 3, 3], common.floats([math.sin(0.7 * i) * (1 + i % 5) * (i % 63 > 8) for i in range(2142)])),
         ("dense.weight", "F16", [21, 90], struct.pack("<1890e", *[math.sin(i * i) * (1 + i % 7) for i in range(1890)]))]))
    for level in "3", "7":
        common.must("-q", "-f", "--no-report", "--no-prune", "--max-error", "0.04", "--level", level, wave, folder("packed"))
        made.append(common.read(folder("packed")))
    common.must("-q", "-f", "--no-report", "--no-prune", "--max-error", "0.04", "--level", "12", wave, folder("packed"))
    common.must("-q", "-f", "--no-report", "--amount", "0.3", "--no-binary", "--level", "12", folder("packed"), folder("fewer"))
    made += [common.read(folder("packed")), common.read(folder("fewer"))]
    one = folder.write("in.safetensors", common.safetensors(
        [("conv.weight", "F32", [16, 8, 3, 3], common.floats([0.25, 0.5] * 576)), ("x\0y", "F32", [4000], bytes(16000))]))
    common.must("-q", "-f", "--no-report", "--lossless", one, folder("packed"))
    return made + [common.read(folder("packed"))] * 3


def main():
    cases = int(os.environ.get("FILTERPRUNE_CASES", 10000 if common.LONG else 150))
    dice = random.Random(int(os.environ.get("FILTERPRUNE_SEED", 1)))
    alike = {"read": 0, "refused": 0}
    with common.Folder() as folder:
        files = sources(folder)
        for i in range(cases):
            mutant = Mutant(dice.choice(files), dice)
            kind = dice.random()
            for _ in range(dice.choice([1, 1, 2])):
                mutant.change_blob() if kind < 0.6 else mutant.change_key()
            path = folder.write("mutant.safetensors", mutant.bytes(kind > 0.97))
            (c, c_said), (python, python_said) = by_program(path, folder("c")), by_python(path, folder("python"))
            if not common.check(c == python, f"case {i}:",
                                f"C {'reads it' if c is not None else c_said!r}, Python",
                                "reads it" if python is not None else repr(python_said)):
                if os.environ.get("FILTERPRUNE_KEEP"):
                    with open(os.path.join(os.environ["FILTERPRUNE_KEEP"], f"mutant-{i}.safetensors"), "wb") as f:
                        f.write(common.read(path))
            alike["read" if c is not None else "refused"] += 1
    common.check(alike["read"] > cases // 20 and alike["refused"] > cases // 20, f"mutants tell nothing: {alike}")
    common.finish(f"{cases} mutants: {alike['read']} read alike, {alike['refused']} refused by both")


main()

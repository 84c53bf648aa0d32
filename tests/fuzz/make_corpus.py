#!/usr/bin/python3
"""Makes a seed corpus for every fuzz target: make_corpus.py OUT [FILTERPRUNE]

OUT/header, OUT/checkpoint  small checkpoints of every dtype and layer shape; with the program also packed ones
OUT/blob                    the packed tensors of those, one blob a file
OUT/index, OUT/basis, OUT/cli
OUT/listing                 what the helper that reads HDF5 says, record by record

Standard library only; the same files every time."""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "robust"))
os.environ.setdefault("FILTERPRUNE", sys.argv[2] if len(sys.argv) > 2 else "filterprune")
import common  # noqa: E402

DTYPES = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
          "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
          "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}

CLI = """--lossless a b
--amount 0.5 --structure filter --criterion l2 in out
--amount=0.5 --global --only conv* --skip *.bias --pointwise in out
--eps 0.02 --binary-tol 0.05 --binary-share 0.5 --level 19 -j2 -f in out
--target-size 20MB --dense in out|--target-size 0.5 --report stem in out|--no-report --dry-run in
--cast bf16 --drop x --no-prune --no-binary in out|--out-dir d a b c|-fqj 2 in out|-j4 -v a b|-- -a -b
inspect --json --html r.html --bins 70 --bandwidth scott --half --layout hwio a|inspect --bandwidth 0.1 a
compare --kernel 3x3 --basis robustness --html x.html --json a b c|unpack -f a b|verify --json -v a b|info --json a
--help|--version|-h|inspect --help|--amout 0.5 a b|inspekt a|-x|--level|--level 99 a b|--eps nan a b|--amount -1 a b"""


def write(folder, name, data):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def checkpoints():
    dice = random.Random(5)
    yield "rich", common.safetensors(common.rich(), common.METADATA)
    yield "empty", struct.pack("<Q", 2) + b"{}"
    yield "null", struct.pack("<Q", 21) + b'{"__metadata__":null}'
    for i, (dtype, bits) in enumerate(DTYPES.items()):
        n = 48
        yield dtype, common.safetensors([("t", dtype, [4, n // 4], bytes(dice.randrange(256) for _ in range(n * bits // 8)))])
    for shape in ([4, 3, 3], [4, 3, 3, 3], [3, 3, 4, 4], [2, 2, 2, 3, 3], [4, 4, 1, 1], [4, 1, 1, 1], [2, 1, 12, 12]):
        n = 1
        for d in shape:
            n *= d
        yield "x".join(map(str, shape)), common.safetensors([("w", "F32", shape, common.floats(
            dice.choice((0, 0.5, -0.5, dice.gauss(0, 1))) for _ in range(n)))])
    nan = common.floats([float("nan"), float("inf"), -0.0, 1e-45] + [0.25] * 32)
    yield "nan", common.safetensors([("w", "F32", [2, 2, 3, 3], nan)])


def blobs(packed):
    n = struct.unpack("<Q", packed[:8])[0]
    header = json.loads(packed[8:8 + n])
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            data = packed[8 + n + begin:8 + n + end]
            if data[:4] == b"FPZ1":
                yield name, data


def record(kind, *parts):
    payload = b"".join(parts)
    return kind + struct.pack("<Q", len(payload)) + payload


def text(string):
    return struct.pack("<I", len(string)) + string


def told(name, shape, offset, dtype=17, layer=b""):
    """A tensor as src/hdf5/wire.h has it; 17 is FPR_F32."""
    return record(b"T", struct.pack("<BBQ", dtype, len(shape), offset), *(struct.pack("<Q", d) for d in shape), text(name),
                  text(layer))


def listings():
    end, nowhere = record(b"Z"), 2 ** 64 - 1
    kernel = b"model_weights/conv2d/conv2d/kernel:0"
    config = json.dumps({"class_name": "Sequential", "config": {"layers": [
        {"class_name": "Conv2D", "config": {"name": "conv2d"}},
        {"class_name": "DepthwiseConv2D", "config": {"name": "dw"}}]}}).encode()
    yield "kernel", record(b"C", config) + told(kernel, [3, 3, 1, 2], 64) + told(b"model_weights/dw/dw/bias:0", [2], 512) + end
    yield "layer", told(b"layers/conv2d/vars/0", [3, 3, 2, 2], 8, layer=b"conv2d_1") + end
    yield "chunked", (told(b"a", [4], nowhere) + record(b"D", bytes(10)) + record(b"D", bytes(6)) + told(b"b", [], nowhere) +
                      record(b"D", bytes(4)) + end)
    yield "skipped", record(b"S", text(b"optimizer_weights/iter"), b"is no weight") + told(b"x", [2, 0], 1024) + end
    yield "error", record(b"E", b"is no HDF5 that this library reads")
    yield "short", told(b"a", [4], nowhere) + record(b"D", bytes(10)) + end
    yield "past", told(b"a", [4], 1016) + end
    yield "twice", told(b"a", [4], 16) * 2 + end
    yield "huge", told(b"a", [2 ** 40, 2 ** 40], 16) + end
    yield "cut", told(b"a", [4], 16)[:-3]
    yield "empty", end


def main():
    out = sys.argv[1]
    for name, data in listings():
        write(out + "/listing", name, data)
    program = sys.argv[2] if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as folder:
        for name, data in checkpoints():
            write(out + "/header", name, data)
            write(out + "/checkpoint", name, data)
            if not program:
                continue
            write(folder, "in", data)
            for kind, options in (("pruned", []), ("lossless", ["--lossless"]), ("cast", ["--cast", "f16"]),
                                  ("pooled", ["--lossless", "--pool", "always"]), ("rounded", ["--max-error", "0.05"])):
                subprocess.run([program, "-q", "-f", "--no-report", *options, folder + "/in", folder + "/out"], check=True)
                packed = common.read(folder + "/out")
                if b"filterprune" in packed[:200]:
                    write(out + "/checkpoint", f"{name}.{kind}", packed)
                for tensor, blob in blobs(packed):
                    write(out + "/blob", f"{name}.{kind}.{tensor}", blob)
    a, b = "a.safetensors", "b.safetensors"
    full = {"conv": a, "bias": a, "head": b}
    for i, index in enumerate([
            {"metadata": {"total_size": 168}, "weight_map": full}, {"weight_map": {"conv": a, "bias": a}},
            {"weight_map": {"head": b}}, {"weight_map": {}}, {"weight_map": {"head": "../" + b}}, {"weight_map": [1, "a"]},
            {"weight_map": {"head": a}}, {"weight_map": {"ghost": "c.safetensors"}}, {"weight_map": {"head": ""}}]):
        write(out + "/index", str(i), json.dumps(index).encode())
    for k in (2, 9):
        unit = [[float(i == j) for j in range(k)] for i in range(k)]
        basis = {"mean": [0.5] * k, "components": unit, "explained_variance_ratio": [1 / k] * k, "singular_values": [1] * k}
        write(out + "/basis", str(k), json.dumps(basis).encode())
    for i, line in enumerate(CLI.replace("|", "\n").splitlines()):
        write(out + "/cli", str(i), "\n".join(line.split()).encode())


main()

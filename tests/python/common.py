"""What the scripts of this directory share: the package, the program, files that use every part of the format.

FILTERPRUNE names the program, FILTERPRUNE_LIBRARY the shared library (empty: none that Python could load),
FILTERPRUNE_SOURCE the source tree. A script ends with status 77 (skipped) where a Python package is missing."""
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("FILTERPRUNE_SOURCE", Path(__file__).resolve().parents[2]))
PROGRAM = os.environ.get("FILTERPRUNE", str(SOURCE / "build" / "filterprune"))
LIBRARY = os.environ.get("FILTERPRUNE_LIBRARY", "")
MODELS = sorted((SOURCE / "fixtures" / "models").glob("*.safetensors"))
SKIPPED = 77
# The adaptive code, which level 2 does without, takes Python a second for 50,000 weights.
QUICK = ("--level", "2")
os.environ["FILTERPRUNE"] = PROGRAM
sys.path.insert(0, str(SOURCE / "tools" / "python"))


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


try:
    import numpy as np
    import zstandard  # noqa: F401 (the package needs it)
except ImportError as missing:
    skip(missing)


def write(path, tensors, metadata=None, indent=None, pad=8):
    """A file of {name: (dtype, shape, bytes)} in this order; with indent, its header is not the usual one."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, ensure_ascii=False, indent=indent,
                      separators=None if indent else (",", ":")).encode()
    text += b" " * (-len(text) % pad)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def run(*arguments):
    """Runs the program, which must succeed; gives its standard output."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise AssertionError(f"{arguments}: status {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


def attempt(*arguments):
    """The program's exit status."""
    return subprocess.run([PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode


def pack(source, target, *options):
    run("-q", "--force", "--no-report", *options, source, target)
    return Path(target)


def bf16(values):
    return (np.asarray(values, "<f4").view("<u4") >> 16).astype("<u2")


DTYPE_NAMES = {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<u2": "BF16", "<i8": "I64", "<u8": "U64", "<i4": "I32",
               "|u1": "U8", "|i1": "I8", "<i2": "I16", "|b1": "BOOL", "<c8": "C64"}


def item(array, dtype=None):
    array = np.ascontiguousarray(array)
    return dtype or DTYPE_NAMES[array.dtype.str], array.shape, array.tobytes()


def convolution(rng, *shape):
    """Weights whose magnitudes depend on the filter and on the channel, as in trained networks."""
    spread = [shape[0], shape[1]] + [1] * (len(shape) - 2)
    scale = np.exp2(rng.normal(-4, 1, [spread[0], 1] + spread[2:])) * np.exp2(rng.normal(0, 1, [1] + spread[1:]))
    return (rng.standard_t(6, shape) * scale).astype("<f4")


def two_level(rng, shape, low, high):
    return np.where(rng.random(shape) < 0.5, np.broadcast_to(low, shape), np.broadcast_to(high, shape)).astype("<f4")


def zoo(seed=1):
    """Tensors that want each codec, each dtype, each way to store it: {name: (dtype, shape, bytes)}."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.1, 1, (48, 1, 1, 1))
    dead = convolution(rng, 64, 48, 3, 3)
    dead[rng.random((64, 48)) < 0.6] = 0
    mixed = dead.copy()
    binary = rng.random((64, 48)) < 0.5
    mixed[binary] = two_level(rng, (int(binary.sum()), 3, 3), -0.5, 0.5)
    odd = convolution(rng, 40, 30, 3, 3)
    odd.reshape(-1)[rng.integers(0, odd.size, 300)] = np.tile([np.nan, np.inf, -np.inf, -0.0, 1e-42, 3e38], 50)
    stray = np.array([0x7FC01234, 0xFFC00001, 0x80000000, 1], "<u4").view("<f4")
    palette = rng.normal(size=200).astype("<f4")
    by_kernel = rng.uniform(0.1, 1, (32, 24, 1, 1))
    tensors = {
        "large.weight": item(convolution(rng, 256, 128, 3, 3)),  # more than one chunk
        "dead.weight": item(dead),
        "mixed.weight": item(mixed),
        "odd.weight": item(odd),
        "by_layer.weight": item(two_level(rng, (32, 24, 3, 3), -0.25, 0.75)),
        "by_filter.weight": item(two_level(rng, (48, 24, 3, 3), -level, level)),
        "by_kernel.weight": item(two_level(rng, (32, 24, 3, 3), -by_kernel, by_kernel * 2)),
        "row.weight": item(convolution(rng, 300, 20, 1, 5)),
        "volume.weight": item(convolution(rng, 20, 16, 3, 3, 3)),
        "line.weight": item(convolution(rng, 30, 40, 7)),
        "point.weight": item(two_level(rng, (64, 96, 1, 1), -0.3, 0.3)),
        "linear.weight": item(convolution(rng, 128, 300)),
        "linear_rows.weight": item(convolution(rng, 128, 300) * (rng.random((128, 1)) < 0.3)),
        "double.weight": item(convolution(rng, 40, 40, 3, 3).astype("<f8")),
        "half.weight": item(convolution(rng, 80, 60, 3, 3).astype("<f2")),
        "brain.weight": item(bf16(convolution(rng, 80, 60, 3, 3))),
        "brain_dead.weight": item(bf16(dead)),
        "stray": item(stray),
        "one_colour": item(np.full((100, 1000), 0.125, "<f4")),
        "two_colours": item(rng.choice(palette[:2], 20000)),
        "some_colours": item(rng.choice(palette[:11], (30, 1000))),
        "many_colours": item(rng.choice(palette, (300, 1000))),
        "conv_colours.weight": item(rng.choice(palette[:13], (40, 40, 3, 3))),
        "counts": item(np.arange(3000, dtype="<i8")),
        "small_ints": item(rng.integers(-3, 4, 5000).astype("<i4")),
        "shorts": item(np.cumsum(rng.integers(-2, 3, 4000)).astype("<i2")),
        "noise": item(rng.integers(0, 256, 10000, np.uint8)),
        "like_a_blob": item(np.frombuffer(b"FPZ1" + bytes(60), np.uint8)),
        "flags": item(rng.random(9000) < 0.1),
        "complex": item((rng.normal(size=4000) * 0.01 + 1j).astype("<c8")),
        "signed": item(np.cumsum(rng.integers(-1, 2, 4000)).astype("|i1")),
        "float8": item(rng.choice(np.array([0, 1, 56, 184], np.uint8), 4096), "F8_E4M3"),
        "bias": item(rng.normal(size=64).astype("<f4")),
        "empty": item(np.empty((0, 3), "<f4")),
        "scalar": item(np.array(7, "<i8")),
        "": item(np.zeros(1000, "<f4")),
        "na\u00efve \u2603 \"quoted\" \\ \n \x7f": item(np.zeros(2000, "<f4")),
        "nul\0inside": item(np.zeros(3000, "<f4")),
    }
    for dtype in ("F4", "F6_E2M3", "F6_E3M2"):
        bits = {"F4": 4}.get(dtype, 6)
        tensors["packed_" + dtype] = (dtype, (64, 64), bytes(rng.choice([0, 17, 51], 64 * 64 * bits // 8).astype("u1")))
    return tensors


def hwio(seed=2):
    """A file as TensorFlow lays it out."""
    rng = np.random.default_rng(seed)
    dead = convolution(rng, 48, 32, 3, 3)
    dead[rng.random((48, 32)) < 0.5] = 0
    tensors = {"first": convolution(rng, 32, 3, 3, 3), "second": dead, "third": convolution(rng, 24, 64, 5, 5),
               "binary": two_level(rng, (40, 40, 3, 3), -0.5, 0.5)}
    return {name: item(a.transpose(2, 3, 1, 0)) for name, a in tensors.items()}


class Case(unittest.TestCase):
    """Each test has an empty directory of its own."""

    maxDiff = None

    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="filterprune-python-"))

    def tearDown(self):
        shutil.rmtree(self.home, ignore_errors=True)


def main():
    """Says each test that was skipped by its name: .ci/run shows them."""
    program = unittest.main(verbosity=1, exit=False)
    for test, reason in program.result.skipped:
        print(f"SKIPPED: {test.id().replace('__main__.', '')}: {reason}")
    sys.exit(not program.result.wasSuccessful())

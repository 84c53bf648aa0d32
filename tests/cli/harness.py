"""What the scripts of this directory share: running the program, making checkpoints, looking at a directory.

Standard library only. FILTERPRUNE names the program, FILTERPRUNE_SOURCE the source tree, FILTERPRUNE_BUILD the build.
"""
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from array import array
from pathlib import Path

SOURCE = Path(os.environ.get("FILTERPRUNE_SOURCE", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("FILTERPRUNE_BUILD", SOURCE / "build"))
PROGRAM = os.environ.get("FILTERPRUNE", str(BUILD / "filterprune"))
MODELS = SOURCE / "fixtures" / "models"
SPARSE_MODEL = MODELS / "mnist_cnn_overparam_l1.safetensors"
PLAIN_MODEL = MODELS / "mnist_cnn_plain.safetensors"

ONE_LINE = re.compile(r"^filterprune: [^\n]+\n$")


def environment(**changes):
    """A small environment, the same everywhere."""
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "COLUMNS": "80",
           "HOME": "/nonexistent"}
    # A sanitizer's settings belong to the machine that runs the tests.
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    env.update(changes)
    return {k: v for k, v in env.items() if v is not None}


class Result:
    def __init__(self, done):
        self.status = done.returncode
        self.out = done.stdout.decode("utf-8", "surrogateescape")
        self.err = done.stderr.decode("utf-8", "surrogateescape")

    def __repr__(self):
        return f"status {self.status}\nstdout:\n{self.out}\nstderr:\n{self.err}"


def run(*arguments, cwd=None, env=None, **more):
    return Result(subprocess.run([PROGRAM, *map(os.fspath, arguments)], cwd=cwd, env=env or environment(),
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                                 **more))


def write_checkpoint(path, tensors, metadata=None):
    """tensors: {name: (dtype, shape, bytes)}, in order."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


def weights(seed, filters, channels, kernel=(3, 3), dead=0.0):
    """A layer of normal weights, the given share of its kernels a thousand times smaller: ("F32", shape, bytes)."""
    dice, k = random.Random(seed), 1
    for n in kernel:
        k *= n
    values = array("f")
    for _ in range(filters * channels):
        scale = 1e-4 if dice.random() < dead else 0.1
        values.extend(dice.gauss(0, scale) for _ in range(k))
    return "F32", (filters, channels, *kernel), values.tobytes()


def binary_weights(seed, filters, channels, kernel=(3, 3)):
    """One level pair +-a per filter, as XNOR networks have."""
    dice, k = random.Random(seed), 1
    for n in kernel:
        k *= n
    values = array("f")
    for _ in range(filters):
        level = 0.05 + dice.random()
        values.extend(dice.choice((-level, level)) for _ in range(channels * k))
    return "F32", (filters, channels, *kernel), values.tobytes()


def big_noise(megabytes):
    """Many finite floats, made fast."""
    count = megabytes << 18
    data = bytearray(os.urandom(4 * count))
    data[3::4] = b"\x3d" * count
    return "F32", (count // 2304, 256, 3, 3), bytes(data[:count // 2304 * 2304 * 4])


class Case(unittest.TestCase):
    """Each test has an empty directory of its own and stands in it."""

    maxDiff = None

    def setUp(self):
        self.home = Path(tempfile.mkdtemp(prefix="filterprune-cli-"))
        self.before = os.getcwd()
        os.chdir(self.home)

    def tearDown(self):
        os.chdir(self.before)
        shutil.rmtree(self.home, ignore_errors=True)

    def listing(self):
        return sorted(str(p.relative_to(self.home)) for p in self.home.rglob("*"))

    def ok(self, *arguments, **more):
        result = run(*arguments, **more)
        self.assertEqual(result.status, 0, result)
        return result

    def fails(self, status, *arguments, **more):
        """The program fails so, with exactly one line and nothing on standard output."""
        result = run(*arguments, **more)
        self.assertEqual(result.status, status, result)
        self.assertRegex(result.err, ONE_LINE)
        self.assertEqual(result.out, "")
        return result.err

    def small(self, name="in.safetensors", **more):
        """A small checkpoint with dead kernels, a binary layer and a bias."""
        write_checkpoint(name, {"conv1.weight": weights(1, 8, 3), "conv2.weight": weights(2, 16, 8, dead=0.5),
                                "conv3.weight": binary_weights(3, 32, 16),
                                "fc.bias": ("F32", (4,), struct.pack("<4f", 1, 2, 3, 4))}, **more)
        return name


def main():
    """Says each test that was skipped by its name: .ci/run shows them."""
    program = unittest.main(verbosity=1, exit=False)
    for test, reason in program.result.skipped:
        print(f"SKIPPED: {test.id().replace('__main__.', '')}: {reason}")
    sys.exit(not program.result.wasSuccessful())

#!/usr/bin/python3
"""Structured pruning against torch.nn.utils.prune, and ranking over all layers against numpy.

    FILTERPRUNE=path/to/filterprune prune_torch.py

Exit status 77 (skipped) without numpy or torch."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import torch
    import torch.nn.utils.prune as prune
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

FILTERPRUNE = os.environ["FILTERPRUNE"]
SHAPES = {
    "a.weight": (24, 3, 3, 3),
    "b.weight": (17, 24, 3, 3),
    "c.weight": (32, 17, 5, 5),
    "d.weight": (20, 32, 1, 1),
    "e.weight": (9, 20, 7),
    "f.weight": (8, 9, 3, 3, 3),
}
NORMS = {"l1": 1, "l2": 2, "peak": float("inf")}


def save(path, tensors):
    header, offset = {}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [offset, offset + a.nbytes]}
        offset += a.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a, "<f4").tobytes())


def load(path):
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    return {name: np.frombuffer(data[slice(*h["data_offsets"])], "<f4").reshape(h["shape"])
            for name, h in header.items() if name != "__metadata__"}


def pruned(tensors, *options):
    """The tensors as the program leaves them."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "in.safetensors"), os.path.join(folder, "out.safetensors")
        save(source, tensors)
        subprocess.run([FILTERPRUNE, "-q", "--dense", "--no-report", "--no-binary", "--pointwise", "--layout", "oihw",
                        *options, source, target], check=True)
        return load(target)


def random_tensors(seed, shapes=None):
    rng = np.random.default_rng(seed)
    return {name: (rng.normal(size=s) * rng.uniform(0.01, 3)).astype("f4") for name, s in (shapes or SHAPES).items()}


def scores(a, structure, criterion):
    """One score a unit, in double; kernels in the order filter, channel."""
    a = np.abs(a.astype("f8")).reshape(a.shape[0], a.shape[1], -1)
    a = {"kernel": a.reshape(-1, a.shape[2]), "filter": a.reshape(a.shape[0], -1),
         "channel": a.transpose(1, 0, 2).reshape(a.shape[1], -1)}[structure]
    return {"peak": a.max(1) / max(a.max(), 1e-300), "l1": a.sum(1), "l2": np.sqrt((a * a).sum(1))}[criterion]


def without(a, structure, units):
    """A copy with these units at zero."""
    b = a.copy().reshape(a.shape[0], a.shape[1], -1)
    if structure == "kernel":
        b.reshape(-1, b.shape[2])[units] = 0
    elif structure == "filter":
        b[units] = 0
    else:
        b[:, units] = 0
    return b.reshape(a.shape)


class PruningTest(unittest.TestCase):
    def same(self, found, expected, what):
        for name, a in expected.items():
            self.assertEqual(found[name].tobytes(), np.ascontiguousarray(a, "<f4").tobytes(), f"{what}: {name}")

    def test_ln_structured_of_torch(self):
        tensors = random_tensors(1)
        for structure, dim in (("filter", 0), ("channel", 1)):
            for criterion, n in NORMS.items():
                for amount in (0.0, 0.1, 0.3, 0.5, 0.77, 1.0):
                    expected = {}
                    for name, a in tensors.items():
                        module = torch.nn.Module()
                        module.weight = torch.nn.Parameter(torch.from_numpy(a.copy()))
                        prune.ln_structured(module, "weight", amount=amount, n=n, dim=dim)
                        mask = module.weight_mask.numpy()
                        expected[name] = np.where(mask == 0, np.float32(0), a)
                    found = pruned(tensors, "--structure", structure, "--criterion", criterion, "--amount", str(amount))
                    self.same(found, expected, f"{structure} {criterion} {amount}")

    def test_amount_of_kernels_by_layer(self):
        tensors = random_tensors(2)
        for criterion in NORMS:
            for amount in (0.25, 0.5, 0.9):
                expected = {}
                for name, a in tensors.items():
                    s = scores(a, "kernel", criterion)
                    expected[name] = without(a, "kernel", np.argsort(s, kind="stable")[:round(amount * len(s))])
                found = pruned(tensors, "--criterion", criterion, "--amount", str(amount))
                self.same(found, expected, f"kernel {criterion} {amount}")

    def global_oracle(self, tensors, structure, criterion, amount):
        """The lowest of all units, each score divided by its layer's mean; ties by layer, then by index."""
        every = {name: scores(a, structure, criterion) for name, a in tensors.items()}
        flat = np.concatenate([s / s.mean() if s.mean() > 0 else s for s in every.values()])
        goes = np.zeros(len(flat), bool)
        goes[np.argsort(flat, kind="stable")[:round(amount * len(flat))]] = True
        expected, at = {}, 0
        for name, s in every.items():
            expected[name] = without(tensors[name], structure, np.flatnonzero(goes[at:at + len(s)]))
            at += len(s)
        return expected

    def test_global_ranking(self):
        tensors = random_tensors(3)
        for structure in ("kernel", "filter", "channel"):
            for criterion in NORMS:
                for amount in (0.05, 0.4, 0.8):
                    found = pruned(tensors, "--structure", structure, "--criterion", criterion, "--amount", str(amount),
                                   "--global")
                    self.same(found, self.global_oracle(tensors, structure, criterion, amount),
                              f"global {structure} {criterion} {amount}")

    def test_ties_are_broken_by_index(self):
        # Halves and ones: sums and peaks are exact and mostly equal; the second layer repeats the first.
        rng = np.random.default_rng(4)
        a = (rng.integers(1, 3, (12, 10, 3, 3)) / 2).astype("f4")
        tensors = {"a.weight": a, "b.weight": a.copy()}
        for structure in ("kernel", "filter", "channel"):
            for criterion in ("peak", "l1"):
                expected = {}
                s = scores(a, structure, criterion)
                for name in tensors:
                    expected[name] = without(a, structure, np.argsort(s, kind="stable")[:round(0.45 * len(s))])
                options = ("--structure", structure, "--criterion", criterion, "--amount", "0.45")
                self.same(pruned(tensors, *options), expected, f"ties {structure} {criterion}")
                expected = self.global_oracle(tensors, structure, criterion, 0.45)
                self.same(pruned(tensors, *options, "--global"), expected, f"global ties {structure} {criterion}")

    def test_only_and_skip(self):
        tensors = random_tensors(5)
        for options, chosen in ((("--only", "[abf].*"), "abf"), (("--skip", "c*", "--skip", "?.w*t"), ""),
                                (("--only", "a*", "--only", "d*"), "ad"),
                                (("--only", "[a-d]*", "--skip", "b*"), "acd")):
            expected = {}
            for name, a in tensors.items():
                s = scores(a, "filter", "l2")
                units = np.argsort(s, kind="stable")[:round(0.5 * len(s))] if name[0] in chosen else []
                expected[name] = without(a, "filter", units)
            found = pruned(tensors, "--structure", "filter", "--criterion", "l2", "--amount", "0.5", *options)
            self.same(found, expected, " ".join(options))

    def test_threshold(self):
        tensors = random_tensors(6)
        for name, a in tensors.items():
            a *= np.where(np.random.default_rng(7).random(a.shape[:2]) < 0.6, 0.004, 1).reshape(
                a.shape[:2] + (1,) * (a.ndim - 2)).astype("f4")
            a[1] *= np.float32(0.002)
            a[:, 2] *= np.float32(0.002)
        for structure in ("kernel", "filter", "channel"):
            for eps in (0.001, 0.01, 0.2):
                expected = {}
                for name, a in tensors.items():
                    magnitude = np.abs(a.astype("f8")).reshape(a.shape[0], a.shape[1], -1).max(2)
                    sparse = magnitude < eps * magnitude.max()
                    units = {"kernel": sparse.reshape(-1), "filter": sparse.all(1), "channel": sparse.all(0)}[structure]
                    expected[name] = without(a, structure, np.flatnonzero(units))
                found = pruned(tensors, "--structure", structure, "--eps", str(eps))
                self.same(found, expected, f"eps {structure} {eps}")


if __name__ == "__main__":
    unittest.main(verbosity=2)

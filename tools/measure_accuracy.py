#!/usr/bin/env python3
"""What pruning costs a small digit classifier: accuracy on test digits against --eps and --amount.

    tools/measure_accuracy.py DIGITS.npz [MODEL.safetensors ...]

DIGITS.npz holds `images` (n x 28 x 28, 0..255) and `labels`, such as the test set of MNIST. Without models, the two
convolutional digit networks of fixtures/models are measured. Needs numpy; the program is build/filterprune, or what
FILTERPRUNE names. Prints rows of the table in the README.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("FILTERPRUNE", str(HERE / "build" / "filterprune"))
SETTINGS = [["--lossless"]] + [["--eps", e] for e in ("0.01", "0.02", "0.05", "0.1")] + \
           [["--amount", a] for a in ("0.3", "0.5", "0.9")] + \
           [["--amount", a, "--skip", "conv1.weight"] for a in ("0.5", "0.9")]


def load(path):
    raw = Path(path).read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors, metadata


def convolve(x, w):
    """3x3, one pixel of padding, x [n, c, h, w]."""
    n, c, h, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    columns = np.stack([padded[:, :, i:i + h, j:j + width] for i in range(3) for j in range(3)], axis=2)
    columns = columns.reshape(n, c * 9, h * width)
    return (w.reshape(len(w), -1) @ columns).reshape(n, len(w), h, width)


def classify(tensors, pool_after, images):
    x, layer = images[:, None].astype(np.float32) / 255, 1
    while f"conv{layer}.weight" in tensors:
        mean, variance, scale, shift = (tensors[f"bn{layer}.{part}"][:, None, None]
                                        for part in ("running_mean", "running_var", "weight", "bias"))
        x = np.maximum((convolve(x, tensors[f"conv{layer}.weight"]) - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0)
        if layer in pool_after:
            n, c, h, w = x.shape
            x = x[:, :, :h // 2 * 2, :w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
        layer += 1
    return (x.mean((2, 3)) @ tensors["fc.weight"].T + tensors["fc.bias"]).argmax(1)


def accuracy(tensors, pool_after, images, labels):
    hits = sum(int((classify(tensors, pool_after, images[i:i + 100]) == labels[i:i + 100]).sum())
               for i in range(0, len(images), 100))
    return hits / len(images)


def main():
    digits = np.load(sys.argv[1])
    models = sys.argv[2:] or [HERE / "fixtures" / "models" / f"mnist_cnn_{kind}.safetensors"
                              for kind in ("overparam_l1", "plain")]
    print("| model | options | kernels zeroed | largest error | accuracy |\n|---|---|---|---|---|")
    for model in models:
        pool = [int(p) for p in load(model)[1].get("pool_after", "1,3").split(",")]
        with tempfile.TemporaryDirectory() as folder:
            for options in SETTINGS:
                packed, dense, stem = (str(Path(folder) / name) for name in ("p.safetensors", "d.safetensors", "r"))
                subprocess.run([PROGRAM, "-q", "-f", *options, "--report", stem, str(model), packed], check=True)
                subprocess.run([PROGRAM, "unpack", "-q", "-f", packed, dense], check=True)
                changes = json.loads(Path(stem + ".report.json").read_text())["changes"]
                error = changes["worst"]["relative_l2"] if changes["worst"] else 0
                hits = accuracy(load(dense)[0], pool, digits["images"], digits["labels"])
                print(f"| {Path(model).stem} | `{' '.join(options)}` | {changes['kernels_zeroed']:,} of "
                      f"{changes['kernels']:,} | {100 * error:.1f} % | {100 * hits:.2f} % |", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How many handwritten digits a network of fixtures/models/mnist_cnn_* still reads, in numpy alone.

    tools/digits.py DIGITS LEAST CHECKPOINT

DIGITS is a directory with MNIST's t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte (.gz or not), or an .npz file with
`images` [n, 28, 28] and `labels` [n]; the first 2,000 are read. Exits 0 when the share that is right is at least LEAST:
a test for filterprune --accept, which adds the checkpoint's path.
"""
import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np

COUNT, BATCH = 2000, 250


def read_idx(folder, name):
    path = Path(folder) / name
    data = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
    shape = struct.unpack(f">{data[3]}I", data[4:4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def read_digits(path):
    if Path(path).is_dir():
        return read_idx(path, "t10k-images-idx3-ubyte")[:COUNT], read_idx(path, "t10k-labels-idx1-ubyte")[:COUNT]
    with np.load(path) as digits:
        return digits["images"][:COUNT], digits["labels"][:COUNT]


def read_checkpoint(path):
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        kind = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8"}[entry["dtype"]]
        tensors[name] = np.frombuffer(raw[8 + n + begin:8 + n + end], kind).reshape(entry["shape"]).astype(np.float32)
    return tensors, {int(i) for i in metadata.get("pool_after", "1,3").split(",")}


def convolve(x, weight):
    """3x3, one pixel of zeros around."""
    n, channels, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))  # n c h w 3 3
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, channels * 9)
    return (rows @ weight.reshape(weight.shape[0], -1).T).reshape(n, height, width, -1).transpose(0, 3, 1, 2)


def read(images, t, pool_after):
    """The digits that the network sees."""
    x, layer = images[:, None].astype(np.float32) / 255, 1
    while f"conv{layer}.weight" in t:
        bn = f"bn{layer}."
        scale = t[bn + "weight"] / np.sqrt(t[bn + "running_var"] + 1e-5)
        shift = t[bn + "bias"] - t[bn + "running_mean"] * scale
        x = np.maximum(convolve(x, t[f"conv{layer}.weight"]) * scale[:, None, None] + shift[:, None, None], 0)
        if layer in pool_after:
            n, c, h, w = x.shape
            x = x[:, :, :h // 2 * 2, :w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
        layer += 1
    return (x.mean((2, 3)) @ t["fc.weight"].T + t["fc.bias"]).argmax(1)


def main():
    digits, least, checkpoint = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    images, labels = read_digits(digits)
    tensors, pool_after = read_checkpoint(checkpoint)
    right = sum(int((read(images[i:i + BATCH], tensors, pool_after) == labels[i:i + BATCH]).sum())
                for i in range(0, len(images), BATCH))
    print(f"{right / len(images):.4f} of {len(images)} digits are read right")
    return 0 if right / len(images) >= least else 1


if __name__ == "__main__":
    sys.exit(main())

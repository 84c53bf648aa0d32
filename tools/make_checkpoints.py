#!/usr/bin/python3
"""Checkpoints of real shapes with drawn weights, for benchmarks: make_checkpoints.py KIND OUT.safetensors

KIND   resnet50     ResNet-50, 3x3 kernels of which 99 % have decayed below the sparse threshold, half of those to zero
       vgg16        VGG-16, 553 MB, one linear layer of 411 MB
       dense:MB     3x3 layers of 512 filters by 512 channels up to MB megabytes
       many:COUNT   COUNT small tensors of mixed dtypes
       sparse4g     a 4 GB file of 400 layers whose weights are holes of the file system (all zero)

Needs python3-numpy only. The same arguments give the same bytes."""
import json
import os
import sys

import numpy as np

DTYPES = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}
CHUNK = 1 << 22


def header_bytes(entries):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape in entries:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, offset


def batch_norm(prefix, channels):
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{prefix}.{part}", "float32", (channels,)
    yield f"{prefix}.num_batches_tracked", "int64", ()


def resnet50():
    yield "conv1.weight", "float32", (64, 3, 7, 7)
    yield from batch_norm("bn1", 64)
    channels = 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            p = f"layer{stage}.{block}."
            yield p + "conv1.weight", "float32", (width, channels, 1, 1)
            yield from batch_norm(p + "bn1", width)
            yield p + "conv2.weight", "float32", (width, width, 3, 3)
            yield from batch_norm(p + "bn2", width)
            yield p + "conv3.weight", "float32", (4 * width, width, 1, 1)
            yield from batch_norm(p + "bn3", 4 * width)
            if block == 0:
                yield p + "downsample.0.weight", "float32", (4 * width, channels, 1, 1)
                yield from batch_norm(p + "downsample.1", 4 * width)
            channels = 4 * width
    yield "fc.weight", "float32", (1000, 2048)
    yield "fc.bias", "float32", (1000,)


def vgg16():
    channels, index = 3, 0
    for width, convs in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convs):
            yield f"features.{index}.weight", "float32", (width, channels, 3, 3)
            yield f"features.{index}.bias", "float32", (width,)
            channels, index = width, index + 2
        index += 1
    for name, (out, inputs) in {"0": (4096, 25088), "3": (4096, 4096), "6": (1000, 4096)}.items():
        yield f"classifier.{name}.weight", "float32", (out, inputs)
        yield f"classifier.{name}.bias", "float32", (out,)


def dense(megabytes):
    for i in range(max(1, round(megabytes * 1e6 / (512 * 512 * 9 * 4)))):
        if megabytes < 9:
            yield f"layer{i}.weight", "float32", (round(megabytes * 1e6 / (256 * 9 * 4)), 256, 3, 3)
        else:
            yield f"layer{i}.weight", "float32", (512, 512, 3, 3)


def many(count):
    for i in range(count):
        yield f"block.{i}.weight", ("float32", "float16", "float64")[i % 3], (4, 4, 3, 3) if i % 3 == 0 else (16,)


def draw(rng, dtype, shape, sparse):
    """Weights as they are after training: a normal distribution of He's scale that differs from filter to filter."""
    n = int(np.prod(shape, dtype=np.int64))
    if dtype == "int64":
        yield np.full(shape, 40000, dtype)
        return
    fan = max(1, n // shape[0]) if shape else 1
    for start in range(0, n, CHUNK):
        w = rng.standard_normal(min(CHUNK, n - start), dtype=np.float32) * np.float32(np.sqrt(2 / fan))
        if sparse and len(shape) == 4 and shape[2:] == (3, 3):
            kernels = w.reshape(-1, 9)
            live = rng.random(len(kernels)) < 0.01026
            decay = np.where(rng.random(len(kernels)) < 0.5, 0, 1e-4).astype(np.float32)
            kernels *= np.where(live, 1, decay)[:, None]
        yield w.astype(dtype)


def write(path, entries, sparse=False, holes=False):
    entries, rng = list(entries), np.random.default_rng(7)
    head, size = header_bytes(entries)
    with open(path, "wb") as f:
        f.write(head)
        if holes:
            f.truncate(len(head) + size)
            return
        for _, dtype, shape in entries:
            for part in draw(rng, dtype, shape, sparse):
                f.write(np.ascontiguousarray(part).tobytes())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    kind, _, number = sys.argv[1].partition(":")
    path = sys.argv[2]
    if kind == "resnet50":
        write(path, resnet50(), sparse=True)
    elif kind == "vgg16":
        write(path, vgg16())
    elif kind == "dense":
        write(path, dense(float(number)))
    elif kind == "many":
        write(path, many(int(number)))
    elif kind == "sparse4g":
        write(path, ((f"layer{i}.weight", "float32", (512, 543, 3, 3)) for i in range(400)), holes=True)
    else:
        sys.exit(f"make_checkpoints.py: no such kind: {kind}")
    print(path, os.path.getsize(path))


if __name__ == "__main__":
    main()

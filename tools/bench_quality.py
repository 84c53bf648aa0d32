#!/usr/bin/env python3
"""What --max-error does to restoration networks: how near their outputs stay, in dB.

    tools/bench_quality.py PROGRAM VDSR.safetensors DNCNN.safetensors      in an environment with numpy

Each network is run as the plain stack that it is, on synthetic pictures, with its own weights and with those restored from
a packed file at R = 0.01, 0.02 and 0.05, default level and 12. Peak signal-to-noise ratio of one output against the other,
peak 1.
"""
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
except ImportError as missing:
    print(f"SKIPPED: {missing}")
    sys.exit(77)


def read(path):
    raw = Path(path).read_bytes()
    n, = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + n])
    return {name: np.frombuffer(raw, "<f4", (t["data_offsets"][1] - t["data_offsets"][0]) // 4, 8 + n + t["data_offsets"][0])
            .reshape(t["shape"]) for name, t in header.items() if name != "__metadata__" and t["dtype"] == "F32"}


def convolve(x, w):
    """3x3 convolution, zeros around; x [channels, height, width]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.tensordot(w, views, ((1, 2, 3), (0, 3, 4)))


def vdsr(t, image):
    x = np.maximum(convolve(image, t["input.weight"]), 0)
    for i in range(18):
        x = np.maximum(convolve(x, t[f"residual_layer.{i}.conv.weight"]), 0)
    return image + convolve(x, t["output.weight"])


def dncnn(t, image):
    noisy = image + np.random.default_rng(1).normal(0, 25 / 255, image.shape).astype(np.float32)
    x = np.maximum(convolve(noisy, t["dncnn.0.weight"]), 0)
    for i in range(2, 47, 3):
        x = convolve(x, t[f"dncnn.{i}.weight"])
        scale = t[f"dncnn.{i + 1}.weight"] / np.sqrt(t[f"dncnn.{i + 1}.running_var"] + 1e-5)
        shift = t[f"dncnn.{i + 1}.bias"] - scale * t[f"dncnn.{i + 1}.running_mean"]
        x = np.maximum(scale[:, None, None] * x + shift[:, None, None], 0)
    return noisy - convolve(x, t["dncnn.47.weight"])


def pictures(size=80):
    """Slopes, waves, edges and discs."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    for i in range(4):
        dice = np.random.default_rng(i)
        image = 0.3 + 0.3 * x * y + 0.1 * np.sin(20 * (x * dice.random() + y * dice.random()))
        for _ in range(6):
            cx, cy, r = dice.random(3)
            image = np.where((x - cx) ** 2 + (y - cy) ** 2 < (0.3 * r) ** 2, dice.random(), image)
        image[:, int(size * dice.random()):] *= 0.7
        yield image[None].astype(np.float32)


def main():
    program, *paths = sys.argv[1:]
    for network, path in zip((vdsr, dncnn), paths):
        own, images = read(path), list(pictures())
        outputs = [network(own, image) for image in images]
        for r in (0.01, 0.02, 0.05):
            for level in (3, 12):
                with tempfile.TemporaryDirectory() as scratch:
                    packed, dense = Path(scratch, "packed"), Path(scratch, "dense")
                    subprocess.run([program, "-q", "--no-report", "--level", str(level), "--max-error", str(r), path, packed],
                                   check=True)
                    subprocess.run([program, "unpack", "-q", packed, dense], check=True)
                    other = read(dense)
                    bytes_ = packed.stat().st_size
                square = np.mean([np.mean((network(other, i) - o) ** 2) for i, o in zip(images, outputs)])
                print(f"{Path(path).stem:12} R {r} level {level:2}: {Path(path).stat().st_size / bytes_:5.2f}x  "
                      f"{-10 * np.log10(square):5.1f} dB", flush=True)


main()

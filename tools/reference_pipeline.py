#!/usr/bin/python3
"""The diagnostics in plain numpy and scipy: the oracle that the C program is tested against, and the peer that it is
timed against.

    reference_pipeline.py FILE [--json OUT] [--layout oihw|hwio] [--eps X] [--bins N] [--half] [--after] [--kde exact|fft|none]

Written from the definitions alone (Gavrikov & Keuper, "CNN Filter DB", CVPR 2022; the library torchconvquality 0.4; KDEpy's
Silverman rule), with the whole checkpoint in memory and no cleverness. OUT has the groups and layers of
filterprune-report-1; --after adds what default pruning makes of the distributions. Needs python3-numpy and python3-scipy.

--kde exact adds up every Gaussian (the oracle); fft bins linearly and convolves, as the papers' KDEpy does (the peer)."""
import argparse
import json
import struct
import sys
import time

import numpy as np
from scipy import linalg, signal, stats

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
FLOAT_EPS = 1.1920929e-07
POINTS = 512


def read(path):
    """Names, dtypes, shapes and raw bytes of a dense safetensors file, in the order of its header."""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
        data = f.read()
    header.pop("__metadata__", None)
    return [(name, t["dtype"], t["shape"], data[t["data_offsets"][0]:t["data_offsets"][1]]) for name, t in header.items()]


def weights(dtype, shape, raw):
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(raw, DTYPES[dtype]).reshape(shape)


def layers_of(tensors, layout):
    """Convolution layers as [filters, channels, k]: small kernels, and no scale vectors."""
    for name, dtype, shape, raw in tensors:
        if dtype not in (*DTYPES, "BF16") or not 3 <= len(shape) <= 5 or 0 in shape:
            continue
        kernel = shape[:-2] if layout == "hwio" else shape[2:]
        filters, channels = (shape[-1], shape[-2]) if layout == "hwio" else shape[:2]
        if max(kernel) > 64 or (np.prod(kernel) == 1 and channels == 1) or (len(shape) == 3 and max(kernel) > 16):
            continue
        w = weights(dtype, shape, raw)
        if layout == "hwio":
            w = np.moveaxis(w, (-1, -2), (0, 1))
        yield name, tuple(kernel), np.ascontiguousarray(w).reshape(filters, channels, -1)


def entropy(kernels):
    """Of the variance ratios of the centered kernels; with them."""
    x = kernels - kernels.mean(0) if len(kernels) else kernels
    if len(x) < 2 or not np.any(x):
        return 0.0, np.zeros(kernels.shape[1])
    s = linalg.svd(x / np.abs(x).max(), full_matrices=False, compute_uv=False) ** 2
    r = np.zeros(kernels.shape[1])
    r[:len(s)] = s / s.sum()
    p = r[r > 0]
    return float(-(p * np.log10(p)).sum()), r


def threshold(n):
    """T(n): the entropy of n random 3x3 kernels, as torchconvquality has fitted it."""
    return 1.2618047 / (1 + np.exp(-0.88767525 * (np.log2(n) - 2.30436435))) - 0.31050834


def orthogonality(w):
    o = len(w)
    if o < 2:
        return None
    rows = w.reshape(o, -1)
    rows = rows / np.maximum(np.abs(rows).max(1, keepdims=True), np.finfo(float).tiny)
    norm = np.sqrt((rows ** 2).sum(1, keepdims=True))
    rows = rows / np.where(norm > 0, norm, 1)
    return float(1 - np.abs(rows @ rows.T - np.eye(o)).sum() / (o * (o - 1)))


def measure(name, kernel, w, eps):
    k = w.shape[2]
    finite = bool(np.isfinite(w).all())
    out = {"name": name, "kernel_shape": list(kernel), "kernels": w.shape[0] * w.shape[1], "finite": finite}
    if not finite:
        return out, None
    flat = w.reshape(-1, k).astype(float)
    peaks = np.abs(flat).max(1)
    top = float(peaks.max())
    sparse = peaks < eps * top if top > 0 else np.ones(len(flat), bool)
    out.update(sparse=int(sparse.sum()), sparsity=float(sparse.mean()), max_abs=top)
    map_ = ~sparse.reshape(w.shape[:2])
    out["dead_filters"] = np.flatnonzero(~map_.any(1)).tolist()
    out["dead_channels"] = np.flatnonzero(~map_.any(0)).tolist()
    if 2 <= k <= 128:
        out["variance_entropy"], ratio = entropy(flat)
        out["variance_entropy_clean"], _ = entropy(flat[~sparse])
        out["explained_variance_ratio"] = ratio.tolist()
        if k == 9:
            live = int((~sparse).sum())
            out["variance_entropy_normalized"] = out["variance_entropy"] / float(threshold(len(flat)))
            out["variance_entropy_clean_normalized"] = out["variance_entropy_clean"] / float(threshold(live)) if live else None
        out["orthogonality"] = orthogonality(w.astype(float))
    return out, (flat, peaks, sparse)


def basis_of(x):
    mean = x.mean(0)
    k = x.shape[1]
    _, s, v = linalg.svd(x - mean, full_matrices=False)
    if len(v) < k:  # fewer kernels than weights: complete the basis
        v = np.vstack([v, linalg.null_space(v).T])
        s = np.concatenate([s, np.zeros(k - len(s))])
    for row in v:
        if row[np.argmax(np.abs(row))] < 0:
            row *= -1
    total = (s ** 2).sum()
    return mean, v, s, s ** 2 / total if total > 0 else np.zeros(k)


def silverman(x):
    n = len(x)
    if n < 2:
        return 1.0, True
    p1, p25, p75, p99 = np.percentile(x, (1, 25, 75, 99))
    sigma = min(x.std(ddof=1), (p75 - p25) / 1.3489795003921634)
    if sigma <= 0:
        sigma = (p99 - p1) / 4.6526957480816815
    return (float(sigma * (n * 3 / 4) ** -0.2), False) if sigma > 0 else (1.0, True)


def density(x, how):
    h, degenerate = silverman(x)
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 0.0)
    grid = np.linspace(low - 3 * h, high + 3 * h, POINTS)
    y = np.zeros(POINTS)
    if how == "exact":
        for part in np.array_split(x, max(1, len(x) // 4096)):
            y += np.exp(-0.5 * ((grid[:, None] - part) / h) ** 2).sum(1)
        y /= max(1, len(x)) * h * np.sqrt(2 * np.pi)
    elif len(x):
        fine = 32 * (POINTS - 1) + 1  # linear binning on a grid 32 times as fine
        at = (x - grid[0]) / (grid[-1] - grid[0]) * (fine - 1)
        left = np.minimum(at.astype(int), fine - 2)
        mass = np.bincount(left, 1 - (at - left), fine) + np.bincount(left + 1, at - left, fine)
        d = (grid[-1] - grid[0]) / (fine - 1)
        reach = int(8 * h / d) + 1
        kernel = stats.norm.pdf(np.arange(-reach, reach + 1) * d, scale=h)
        y = signal.fftconvolve(mass, kernel, "same" if len(mass) >= len(kernel) else "full")
        if len(y) > fine:
            y = y[reach:reach + fine]
        y = np.maximum(y[::32], 0) / len(x)
    return {"bandwidth": h, "start": float(grid[0]), "step": float(grid[1] - grid[0]), "density": y.tolist(),
            "degenerate": degenerate}


def distribution(c, span, bins, how):
    out = {"kernels": len(c), "histogram": {"bins": bins, "counts": [np.histogram(col, bins, span)[0].tolist() for col in c.T]}}
    out["kde"] = [density(col, how) for col in c.T] if how != "none" else None
    return out


def divergence(p, q, span, ratio):
    width = (span[1] - span[0]) / p["histogram"]["bins"]
    per = []
    for a, b in zip(p["histogram"]["counts"], q["histogram"]["counts"]):
        def prepared(counts):
            d = np.asarray(counts) / (max(1, sum(counts)) * width)
            d[d == 0] = FLOAT_EPS
            return d / d.sum()
        a, b = prepared(a), prepared(b)
        per.append(float((a * np.log(a / b)).sum() + (b * np.log(b / a)).sum()))
    return {"per_component": per, "weighted": float(np.dot(ratio, per))}


def group(shape, members, args):
    flat = [m[0] for m in members]
    peaks = np.concatenate([m[1] for m in members])
    sparse = np.concatenate([m[2] for m in members])
    x = np.concatenate(flat) / np.where(peaks > 0, peaks, 1)[:, None]
    mean, v, s, ratio = basis_of(x)
    c = (x - mean) @ v.T
    span = [float(c.min()), float(c.max())]
    edges = span if span[0] < span[1] else [span[0] - 0.5, span[1] + 0.5]
    n, live = len(x), int((~sparse).sum())
    out = {"kernel_shape": list(shape), "layers": len(members), "kernels": n, "sparse": n - live, "live": live,
           "live_fraction": live / n, "range": span,
           "basis": {"mean": mean.tolist(), "components": v.tolist(), "singular_values": s.tolist(),
                     "explained_variance_ratio": ratio.tolist()}}
    out["before"] = distribution(c, edges, args.bins, args.kde)
    out["live_before"] = distribution(c[~sparse], edges, args.bins, args.kde)
    if args.after:
        pruned = c.copy()
        pruned[sparse] = (0 - mean) @ v.T
        out["after"] = distribution(pruned, edges, args.bins, args.kde)
        out["live_after"] = out["live_before"]
        out["divergence"] = divergence(out["before"], out["after"], edges, ratio)
        out["live_divergence"] = divergence(out["live_before"], out["live_after"], edges, ratio)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("file")
    p.add_argument("--json", metavar="OUT", help="write groups and layers (- for standard output)")
    p.add_argument("--layout", choices=("oihw", "hwio"), default="oihw")
    p.add_argument("--eps", type=float, default=0.01)
    p.add_argument("--bins", type=int, default=70)
    p.add_argument("--half", action="store_true", help="round weights to float16 first")
    p.add_argument("--after", action="store_true", help="also what default pruning leaves")
    p.add_argument("--kde", choices=("exact", "fft", "none"), default="exact")
    args = p.parse_args()

    began = time.perf_counter()
    layers, groups = [], {}
    for name, kernel, w in layers_of(read(args.file), args.layout):
        if args.half:
            with np.errstate(over="ignore"):
                w = w.astype(np.float16)
        layer, member = measure(name, kernel, w, args.eps)
        layers.append(layer)
        if member and 2 <= w.shape[2] <= 128:
            groups.setdefault(kernel, []).append(member)
    result = {"groups": [group(shape, members, args) for shape, members in groups.items()], "layers": layers}
    result["groups"].sort(key=lambda g: -g["kernels"])
    print(f"{time.perf_counter() - began:.3f} s", file=sys.stderr)
    if args.json:
        with sys.stdout if args.json == "-" else open(args.json, "w") as f:
            json.dump(result, f)


if __name__ == "__main__":
    main()

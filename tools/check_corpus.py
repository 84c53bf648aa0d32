#!/usr/bin/env python3
"""Compares a corpus with numpy and scipy, kernel by kernel, on random kernels in many groups.

    tools/check_corpus.py PROGRAM [KERNELS [GROUPS]]       (1,000,000 and 40; needs numpy and scipy, better also KDEpy)

Makes a dataset of rows as CNN Filter DB has them, groups it by a table and by depth, and follows the notebook of the
paper: scaled by the largest magnitude, centred principal components, 70 bins over the range of all coefficients,
scipy.stats.entropy both ways, weighted by explained variance. The densities of inspect over the same kernels are held
against the library with which the papers drew theirs, KDEpy (PyPI, 1.1.12), by Silverman's rule. Prints the largest
deviations; exit status 1 when a count differs, a variance ratio by more than 1e-9, a divergence by more than 1e-6
(relative where it is above 1), a bandwidth by more than 1e-3 of it or a density by more than 1e-3 of its peak (KDEpy, too,
puts the kernels on a grid). Without KDEpy it says that densities were not compared.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
from scipy.stats import entropy

try:
    from KDEpy import FFTKDE
except ImportError:
    FFTKDE = None

LAYERS = 5 # of a model


def write_dataset(folder, kernels, groups, dice):
    turn = np.linalg.qr(dice.normal(size=(9, 9)))[0] * np.sqrt([.4, .18, .12, .1, .07, .05, .03, .03, .02])
    rows = dice.normal(size=(kernels, 9)) @ turn.T
    models = 3 * groups
    edges = np.unique(np.concatenate([[0, kernels], dice.choice(kernels - 1, models * LAYERS - 1, replace=False) + 1]))
    labels = np.empty(kernels, int)
    depths = np.empty(kernels)
    header = json.dumps({"filters": {"dtype": "F64", "shape": [kernels, 3, 3], "data_offsets": [0, kernels * 72]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(os.path.join(folder, "layers.csv"), "w") as layers, open(os.path.join(folder, "models.csv"), "w") as table:
        layers.write("file,tensor,conv_depth_norm,filter_ids\n")
        table.write("file,group\n")
        for i, (first, last) in enumerate(zip(edges[:-1], edges[1:])):
            model, layer = divmod(i, LAYERS)
            rows[first:last] += 0.1 * np.sin(model % groups + np.arange(9)) # so that groups differ
            labels[first:last], depths[first:last] = model % groups, layer / (LAYERS - 1)
            layers.write(f"m{model},l{layer},{layer / (LAYERS - 1)},{first}:{last - 1}\n")
            if layer == 0:
                table.write(f"m{model},g{model % groups:03d}\n")
    with open(os.path.join(folder, "dataset.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header + rows.astype("<f8").tobytes())
    return rows, labels, depths


def densities(program, folder, rows):
    """What inspect says of the same kernels as one layer, against KDEpy: largest deviations of bandwidths and densities."""
    header = json.dumps({"c.weight": {"dtype": "F64", "shape": [len(rows), 1, 3, 3], "data_offsets": [0, rows.nbytes]}}).encode()
    header += b" " * (-len(header) % 8)
    with open(os.path.join(folder, "layer.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(header)) + header + rows.astype("<f8").tobytes())
    words = [program, "inspect", "--json", "--no-binary", "layer.safetensors"]
    group = json.loads(subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)["groups"][0]
    x = rows / np.abs(rows).max(1, keepdims=True)
    coefficients = (x - group["basis"]["mean"]) @ np.array(group["basis"]["components"]).T
    found = {"bandwidth": 0, "density": 0}
    for kde, c in zip(group["before"]["kde"], coefficients.T):
        fine, points = 64, len(kde["density"])
        grid = kde["start"] + kde["step"] / fine * np.arange((points - 1) * fine + 1)
        theirs = FFTKDE(kernel="gaussian", bw="silverman").fit(c)
        density = theirs.evaluate(grid)[::fine]
        found["bandwidth"] = max(found["bandwidth"], abs(kde["bandwidth"] / theirs.bw - 1))
        found["density"] = max(found["density"], np.abs(density - kde["density"]).max() / density.max())
    return found


def divergence(p, q, width, weights):
    p, q = (np.where(h > 0, h / (h.sum(1, keepdims=True) * width), np.finfo(np.float32).eps) for h in (p, q))
    return sum(w * (entropy(a, b) + entropy(b, a)) for w, a, b in zip(weights, p, q))


def main(program, kernels=1000000, groups=40):
    dice = np.random.default_rng(17)
    with tempfile.TemporaryDirectory() as folder:
        rows, labels, depths = write_dataset(folder, kernels, groups, dice)
        subprocess.run([program, "corpus", "-q", "--table", "models.csv", "--layers", "layers.csv", "--by", "group", "--by",
                        "depth:10", "--out", "out", "dataset.safetensors"], cwd=folder, check=True)
        with open(os.path.join(folder, "out", "corpus.json")) as file:
            found = json.load(file)
        more = densities(program, folder, rows) if FFTKDE else {}
    rows /= np.abs(rows).max(1, keepdims=True)
    mean = rows.mean(0)
    _, singular, _ = np.linalg.svd(rows - mean, full_matrices=False)
    ratio = singular ** 2 / (singular ** 2).sum()
    # In the program's basis: the sign of a component is a convention.
    coefficients = (rows - found["basis"]["mean"]) @ np.array(found["basis"]["components"]).T
    low, high = coefficients.min(), coefficients.max()
    worst = {"variance ratio": np.abs(ratio - found["basis"]["explained_variance_ratio"]).max(),
             "mean": np.abs(mean - found["basis"]["mean"]).max(),
             "range": max(abs(low - found["range"][0]), abs(high - found["range"][1])), "counts": 0, "divergence": 0}
    for by, chosen in ((found["by"][0], [labels == g for g in range(groups)]),
                       (found["by"][1], [depths == d for d in np.unique(depths)])):
        counts = [np.stack([np.histogram(x, 70, found["range"])[0] for x in coefficients[c].T]) for c in chosen]
        worst["counts"] = max(worst["counts"], max(np.abs(n - g["counts"]).sum() for n, g in zip(counts, by["groups"])))
        for i, p in enumerate(counts):
            for j, q in enumerate(counts[:i]):
                wanted = divergence(p, q, (found["range"][1] - found["range"][0]) / 70, ratio)
                worst["divergence"] = max(worst["divergence"], abs(by["divergence"][i][j] - wanted) / max(1, wanted))
    for name, deviation in {**worst, **more}.items():
        print(f"{name:15} {deviation:.3g}")
    if not more:
        print("KDEpy is missing: densities were compared with nothing")
    return (worst["variance ratio"] > 1e-9 or worst["counts"] > 0 or worst["divergence"] > 1e-6
            or any(deviation > 1e-3 for deviation in more.values()))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(int(main(os.path.abspath(sys.argv[1]), *map(int, sys.argv[2:]))))

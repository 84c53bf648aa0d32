#!/usr/bin/python3
"""Holds the program against results of a reference pipeline, and prints the largest deviation of every quantity.

    check_golden.py FILTERPRUNE MODELS_DIR GOLDEN_DIR [NAME...]

GOLDEN_DIR/NAME.json has the 3x3 group and its layers for MODELS_DIR/NAME.safetensors: basis, range, counts, kde, layers,
after (default pruning), divergence, live_divergence. GOLDEN_DIR/compare_*.json has a comparison: models, basis, range,
divergence, per_component. Exit status 1 when a deviation is above its bound. Needs python3-numpy."""
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

# Bounds of agreement. Divergences: relative, or absolute where that is smaller; models of discrete kernels have
# coefficients on the edges of bins.
BOUNDS = {"variance ratio": 1e-6, "component 1-|cos|": 1e-6, "mean": 1e-6, "singular value (relative)": 1e-6,
          "range": 1e-6, "histogram (share of kernels)": 1e-5, "histogram after": 1e-5, "bandwidth (relative)": 1e-3,
          "density (share of the peak)": 1e-4, "density's integral": 1e-3, "divergence": 1e-3, "live divergence": 1e-3,
          "divergence, discrete kernels": 1e-2, "max_abs (relative)": 1e-6, "sparse kernels": 0, "variance_entropy": 1e-5,
          "variance_entropy_normalized": 1e-5, "variance_entropy_clean": 1e-5, "variance_entropy_clean_normalized": 1e-5,
          "orthogonality": 1e-5, "compare: variance ratio": 1e-6, "compare: range": 1e-6, "compare: divergence": 1e-3,
          "compare: per component": 1e-3}
worst = {}


def note(quantity, deviation, where):
    deviation = float(deviation)
    if not deviation <= worst.get(quantity, (-1.0, ""))[0]:
        worst[quantity] = (deviation, where)


def divergence_deviation(want, got):
    """Relative above 1e-3, where 1e-6 absolute is the looser bound in between: both scaled to one bound of 1e-3."""
    want, got = np.asarray(want, float), np.asarray(got, float)
    difference = np.abs(want - got)
    return np.max(np.minimum(difference / np.maximum(np.abs(want), 1e-300), difference * 1e3))


def run(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(arguments)}: exit {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def check_group(name, want, got):
    note("sparse kernels", abs(want["sparse"] - got["sparse"]) + abs(want["kernels"] - got["kernels"]), name)
    a, b = want["basis"], got["basis"]
    s = np.array(a["singular_values"])
    note("variance ratio", np.abs(np.subtract(a["explained_variance_ratio"], b["explained_variance_ratio"])).max(), name)
    note("mean", np.abs(np.subtract(a["mean"], b["mean"])).max(), name)
    note("singular value (relative)", np.abs(s / b["singular_values"] - 1).max(), name)
    cosines = np.abs(np.sum(np.multiply(a["components"], b["components"]), 1))
    gaps = np.minimum(np.abs(np.diff(s, prepend=2 * s[0])), np.abs(np.diff(s, append=0))) / s
    note("component 1-|cos|", (1 - cosines)[gaps > 1e-4].max(), name)
    note("range", np.abs(np.subtract(want["range"], got["range"])).max(), name)
    for quantity, x, y in (("histogram (share of kernels)", want["counts"], got["before"]["histogram"]["counts"]),):
        note(quantity, np.abs(np.subtract(x, y)).sum() / want["kernels"], name)
    for i, (x, y) in enumerate(zip(want["kde"], got["before"]["kde"])):
        peak = np.max(x["density"])
        where = f"{name}, component {i}"
        note("bandwidth (relative)", abs(x["bandwidth"] / y["bandwidth"] - 1), where)
        note("density (share of the peak)", np.abs(np.subtract(x["density"], y["density"])).max() / peak, where)
        note("density's integral", abs(np.sum(y["density"]) * y["step"] - 1), where)


def check_layers(name, want, got):
    layers = {l["name"]: l for l in got}
    for x in want:
        y, where = layers[x["name"]], f"{name}: {x['name']}"
        note("sparse kernels", abs(x["sparse"] - y["sparse"]), where)
        note("max_abs (relative)", abs(x["max_abs"] - y["max_abs"]) / (x["max_abs"] or 1), where)
        for q in ("variance_entropy", "variance_entropy_normalized", "variance_entropy_clean",
                  "variance_entropy_clean_normalized", "orthogonality"):
            if (x.get(q) is None) != (y[q] is None):
                note(q, np.inf, f"{where}: {x.get(q)} against {y[q]}")
            elif x.get(q) is not None:
                note(q, abs(x[q] - y[q]), where)


def three_by_three(report):
    return next(g for g in report["groups"] if g["kernel_shape"] == [3, 3])


def is_discrete(group):
    """Two-level kernels."""
    return group["binary"] > group["kernels"] / 2


def check_model(program, model, want, scratch):
    name = os.path.basename(model)
    report = json.loads(run(program, "inspect", "--json", model))
    check_group(name, want, three_by_three(report))
    check_layers(name, want["layers"], report["layers"])
    output = os.path.join(scratch, "out.safetensors")
    run(program, "--no-binary", "--force", "--quiet", model, output)
    with open(os.path.join(scratch, "out.report.json")) as f:
        after = three_by_three(json.load(f))
    difference = np.abs(np.subtract(want["after"]["counts"], after["after"]["histogram"]["counts"])).sum()
    note("histogram after", difference / want["kernels"], name)
    quantity = "divergence, discrete kernels" if is_discrete(three_by_three(report)) else "divergence"
    for q, as_quantity in (("divergence", quantity), ("live_divergence", "live divergence")):
        note(as_quantity, divergence_deviation(want[q]["per_component"] + [want[q]["weighted"]],
                                               after[q]["per_component"] + [after[q]["weighted"]]), name)


def check_comparison(program, models, path, want):
    name = os.path.basename(path)
    got = json.loads(run(program, "compare", "--json", *(os.path.join(models, m) for m in want["models"])))
    note("compare: variance ratio", np.abs(np.subtract(want["basis"]["explained_variance_ratio"],
                                                       got["basis"]["explained_variance_ratio"])).max(), name)
    note("compare: range", np.abs(np.subtract(want["range"], got["range"])).max(), name)
    note("compare: divergence", divergence_deviation(want["divergence"], got["divergence"]), name)
    note("compare: per component", divergence_deviation(want["per_component"], got["per_component"]), name)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    program, models, golden, names = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    checked = 0
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(glob.glob(os.path.join(golden, "*.json"))):
            name = os.path.basename(path)[:-5]
            with open(path) as f:
                want = json.load(f)
            if names and name not in names or "basis" not in want:
                continue
            model = os.path.join(models, name + ".safetensors")
            if "models" in want:
                check_comparison(program, models, path, want)
            elif os.path.exists(model):
                check_model(program, model, want, scratch)
            else:
                print(f"{model} is missing", file=sys.stderr)
                continue
            checked += 1
    bad = 0
    print(f"{checked} golden files\n{'quantity':36} {'largest':>9} {'bound':>8}  where")
    for quantity, bound in BOUNDS.items():
        if quantity in worst:
            deviation, where = worst[quantity]
            bad += not deviation <= bound
            print(f"{quantity:36} {deviation:9.1e} {bound:8.0e}  {where}{'' if deviation <= bound else '   <-- ABOVE'}")
    sys.exit(1 if bad or not checked else 0)


if __name__ == "__main__":
    main()

#!/bin/sh
# KDEpy 1.1.12, FFTKDE with bw="silverman": how the papers drew the densities of kernels' coefficients.
# Guess: most values near a point, not on it (what weight decay leaves of kernels): a narrow peak, and a density that still
#        integrates to 1; much the same as with those values rounded to the point.
# Seen:  Silverman's rule takes the least of deviation and quartile range, here 2e-8. On the automatic grid of 1,024 points
#        no kernel then reaches its neighbour, each point gets the height of a kernel, and the density integrates to 142,000,
#        without a warning. Rounded to the point, the range is 0, another rule steps in (with a warning): the bandwidth is
#        0.116, five million times wider, and the integral 1. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q KDEpy==1.1.12 numpy==2.2.6 scipy==1.15.3
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.metadata, sys, warnings
import numpy as np
from KDEpy import FFTKDE

rng = np.random.default_rng(1)
near = np.concatenate([1e-7 * rng.normal(size=8000), rng.normal(size=2000)])
seen = []
for name, values in (("near", near), ("on", np.where(np.abs(near) < 1e-5, 0, near))):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kde = FFTKDE(kernel="gaussian", bw="silverman").fit(values)
        grid, density = kde.evaluate()
    seen.append((kde.bw, np.trapezoid(density, grid), len(caught)))
    print(f"KDEpy {importlib.metadata.version('KDEpy')}, 8,000 of 10,000 values {name} 0: bandwidth {seen[-1][0]:.3g}, "
          f"integral {seen[-1][1]:.6g}, warnings {seen[-1][2]}")
(small, wrong, silent), (large, right, warned) = seen
sys.exit(not (small < 1e-6 < large and wrong > 1e4 and silent == 0 and abs(right - 1) < 0.01 and warned))
PYTHON

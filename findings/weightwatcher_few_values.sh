#!/bin/sh
# weightwatcher 0.7.7, WW_powerlaw.WWFit, which fits alpha by default.
# Guess: for fewer than 20 eigenvalues, where it has a routine of its own, x_min is the one that minimises the objective of
#        that routine, J = D - 0.868 / sqrt(tail), so that long tails are preferred.
# Seen:  the routine finds that x_min, and the constructor then takes the least D as for many values: J has no effect, and
#        alpha is another one. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 scipy==1.15.3 powerlaw==2.0.0
"$folder/venv/bin/pip" install -q --no-deps weightwatcher==0.7.7
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib, importlib, importlib.util, io, sys, types
import numpy as np
# The package's own __init__ wants torch, which this module does not.
package = types.ModuleType("weightwatcher")
package.__path__ = importlib.util.find_spec("weightwatcher").submodule_search_locations
sys.modules["weightwatcher"] = package
with contextlib.redirect_stdout(io.StringIO()):
    WWFit = importlib.import_module("weightwatcher.WW_powerlaw").WWFit
    rng, differ, by_d, by_j = np.random.default_rng(7), 0, 0, 0
    for _ in range(200):
        fit = WWFit(np.exp(rng.normal(size=16)))
        i, j = int(np.argmin(fit.Ds)), int(np.nanargmin(fit.Js))
        if i != j:
            differ += 1
            by_d += fit.alpha == fit.alphas[i]
            by_j += fit.alpha == fit.alphas[j]
print(f"of 200 samples of 16 values the two rules differ in {differ}; alpha is that of least D in {by_d}, of least J in {by_j}")
sys.exit(not (differ > 0 and by_d == differ and by_j == 0))
PYTHON

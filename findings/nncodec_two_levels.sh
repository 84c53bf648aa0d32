#!/bin/sh
# nncodec 2.1.3, nn.encode with its own settings but for the step (qp): a layer whose 4,608 weights are +a or -a.
# Guess: two values come back as two values: whatever the step is, a quantiser sends equal weights to equal points.
# Seen:  mostly as four to six, because the trellis that it uses (use_dq) switches between two sets of points from weight to
#        weight; the error is then larger than that of the plain quantiser at the same step, and binary filters are binary
#        no more, for all who look. use_dq=False gives two values each time. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==1.26.4 torch==2.15.0 nncodec==2.1.3
cd "$folder"
mkdir results
"$folder/venv/bin/python" -W ignore - 2>errors <<'PYTHON' | grep '^a = \|^in ' || { cat errors; exit 1; }
import sys
import numpy as np
from nncodec import nn
signs = np.random.default_rng(0).choice([-1, 1], size=(32, 16, 3, 3)).astype(np.float32)
more = plain = worse = cases = 0
for a in (0.05, 0.1, 0.25):
    for qp in (-20, -26, -32, -38):
        w, seen = signs * np.float32(a), {}
        for trellis in (True, False):
            stream = nn.encode({"layer.weight": w}, {"qp": qp, "use_dq": trellis, "verbose": False, "results": "results"})
            restored = np.asarray(nn.decode(stream)["layer.weight"])
            seen[trellis] = (len(stream), len(np.unique(restored)), float(np.linalg.norm(restored - w) / np.linalg.norm(w)))
        print(f"a = {a}, qp {qp}: bytes, values, error {seen[True]} with the trellis, {seen[False]} without")
        cases += 1
        more += seen[True][1] > 2
        worse += seen[True][1] > 2 and seen[True][2] > seen[False][2]
        plain += seen[False][1] == 2
print(f"in {more} of {cases} cases more than two values with the trellis, in {worse} of them a larger error; two without in {plain}")
if not (more >= cases // 2 and worse == more and plain == cases):
    sys.exit("that is no longer so")
PYTHON
! grep -q "no longer so" errors

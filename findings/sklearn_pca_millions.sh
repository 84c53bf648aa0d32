#!/bin/sh
# scikit-learn 1.9.1, PCA().fit of 20,000,000 kernels of 3x3 as float32 (what studies of filters over many networks do; 720 MB,
# so that nobody makes float64 of them), each coefficient with a deviation of 0.1 and a mean of its own.
# Guess: means right to a few 1e-6, variances to a few 1e-4: the columns are summed in float64 or in pairs, as a sum over one
#        array of numpy is, and as StandardScaler of the same library does.
# Seen:  mean_ is a plain float32 sum over the rows: means of 0.4 and 0.3 are off by 6 % and 4 %. The covariance takes their
#        products off (the solver that "auto" picks), so that nine equal variances of 0.01 come out as one of 0.03, seven
#        of 0.01 and one of 0, without a warning: a first principal component that explains 30 %, where there is none.
#        StandardScaler's mean_ and var_ are right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import numpy as np
import sklearn
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
rng = np.random.default_rng(0)
means = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0, -0.1, -0.2, 1], np.float32)
kernels = np.empty((20_000_000, 9), np.float32)
for first in range(0, len(kernels), 1_000_000):
    part = kernels[first:first + 1_000_000]
    part[:] = 0.1 * rng.standard_normal(part.shape, dtype=np.float32) + means
pca = PCA().fit(kernels)
scaler = StandardScaler(copy=False).fit(kernels)
off = [np.abs(found - means).max() for found in (pca.mean_, scaler.mean_)]
print(f"scikit-learn {sklearn.__version__}: means off by up to {off[0]:.4f} in PCA, {off[1]:.6f} in StandardScaler")
print("variances by PCA", pca.explained_variance_.round(5), "by StandardScaler", scaler.var_.round(5))
right = off[1] < 1e-4 and np.abs(scaler.var_ - 0.01).max() < 1e-4
sys.exit(not (right and off[0] > 0.01 and pca.explained_variance_[0] > 0.02 and pca.explained_variance_[-1] < 0.002))
PYTHON

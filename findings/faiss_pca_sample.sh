#!/bin/sh
# faiss-cpu 1.15.1, PCAMatrix(9, 9).train on the 3x3 kernels of many networks, 2,000,000 of them.
# Guess: a mean and principal components of all rows, as scikit-learn's PCA gives them; a subsample is what faiss takes for
#        k-means, which has a parameter for it and a warning. "eigenvalues" are those of the covariance: the variances.
# Seen:  it takes 1,000 rows for each column (max_points_per_d), here 9,000 of 2,000,000, and says nothing. The mean is off by
#        what that leaves, 100 kernels of a kind of their own, which make the largest variance of all, are not among them, and
#        the first component is another one. eigenvalues are sums of squares over the rows that were taken, divided by nothing:
#        9,000 times the variance here, 2,000,000 times where the limit is raised. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 faiss-cpu==1.15.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import faiss
import numpy as np
rng = np.random.default_rng(0)
rows = 2_000_000
deviations = np.linspace(0.2, 0.04, 9, dtype=np.float32)
kernels = rng.standard_normal((rows, 9), dtype=np.float32) * deviations
kernels[rng.choice(rows, 100, replace=False)] += 100 * np.eye(9, dtype=np.float32)[8]    # the one direction of largest variance
mean, variances = kernels.mean(0, dtype=np.float64), np.linalg.eigvalsh(np.cov(kernels.T.astype(np.float64)))[::-1]
seen = {}
for name, limit in (("as it is", None), ("max_points_per_d raised", rows)):
    pca = faiss.PCAMatrix(9, 9)
    if limit:
        pca.max_points_per_d = limit
    pca.train(kernels)
    off = np.abs(faiss.vector_to_array(pca.mean) - mean).max()
    values = faiss.vector_to_array(pca.eigenvalues)
    first = int(np.abs(faiss.vector_to_array(pca.PCAMat).reshape(9, 9)[0]).argmax())
    seen[name] = (off, values, first)
    print(f"faiss {faiss.__version__}, {name}: mean off by {off:.1e}, first component along coefficient {first}, "
          f"eigenvalues {values[:3].round(1)} ... for variances {(variances if limit else deviations ** 2)[:3].round(4)} ...")
(off, few, first), (right, of_all, true_first) = seen.values()
sys.exit(not ((first, true_first) == (0, 8) and right < 1e-5 and off > 1e-3 and np.allclose(of_all / variances, rows, rtol=1e-3)
              and np.allclose(few / deviations ** 2, 9 * faiss.PCAMatrix(9, 9).max_points_per_d, rtol=0.1)))
PYTHON

#!/bin/sh
# scikit-learn 1.9.1, IncrementalPCA(n_components=3) on 50,000 kernels of 3x3: three of nine components kept, the rest is noise,
# as its noise_variance_, get_covariance() and get_precision() have it (probabilistic PCA).
# Guess: what PCA(n_components=3) gives, to a percent, as the means, the components and the explained variances do, whatever the
#        batch_size: its page names the same attribute with the same source and says nothing else.
# Seen:  noise_variance_ is what was left over of the last batch, divided by the number of all rows: too small by the number
#        of batches, 50 times with batches of 1,000, 500 times with batches of 100, and 9,300 times with the default (batches of
#        45, the last one of 5). Get_covariance() then has two thirds of the variance of the data, and distances by
#        get_precision(), which are to find filters out of the ordinary, are larger by a factor of up to 9,300, without a word. The
#        right number is at hand: var_.sum() less explained_variance_.sum(), divided by the six. Exit status 1 when that is no
#        longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 scikit-learn==1.9.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
import numpy as np
import sklearn
from sklearn.decomposition import PCA, IncrementalPCA
warnings.simplefilter("error")
rng = np.random.default_rng(0)
kernels = 0.05 * rng.normal(size=(50000, 9)) * np.linspace(1, 0.1, 9) + rng.normal(scale=0.05, size=9)
whole = PCA(3, svd_solver="full").fit(kernels)
seen = {}
for size in (None, 100, 1000, 10000, 50000):
    parts = IncrementalPCA(3, batch_size=size).fit(kernels)
    others = max(np.abs(parts.mean_ - whole.mean_).max(), np.abs(parts.explained_variance_ / whole.explained_variance_ - 1).max())
    small = whole.noise_variance_ / parts.noise_variance_
    variance = np.trace(parts.get_covariance()) / kernels.var(axis=0, ddof=1).sum()
    precision = np.abs(parts.get_precision()).max() / np.abs(whole.get_precision()).max()
    right = (parts.var_.sum() - parts.explained_variance_.sum()) / 6 / whole.noise_variance_
    seen[size] = (others, small, variance, precision, right)
    print(f"scikit-learn {sklearn.__version__}, batches of {size or parts.batch_size_}: means and variances {others:.1e} from those of PCA, "
          f"noise_variance_ {small:.1f} times too small, covariance with {variance:.3f} of the variance, precision {precision:.1f} times "
          f"that of PCA; by the other attributes {right:.3f} of the right noise")
good = all(others < 0.01 and abs(right - 1) < 0.01 for others, _, _, _, right in seen.values())
good = good and all(0.9 < seen[size][1] / (50000 / size) < 1.1 for size in (100, 1000, 10000)) and seen[None][1] > 5000
good = good and all(0.6 < seen[size][2] < 0.75 and seen[size][3] > 40 for size in (None, 100, 1000))
sys.exit(not (good and all(abs(value - 1) < 1e-6 for value in seen[50000][1:4])))
PYTHON

#!/bin/sh
# scikit-learn 1.9.1, KMeans of 40,000,000 weights as float32 (a codebook for weights that share values): 25,000,000 of them 0, as
# pruning leaves them, the others around 0.2. Two clusters, the first centres given.
# Guess: the centre of the zeros is 0 to a few 1e-6; how many threads work changes the last digit at most.
# Seen:  sums and counts of a cluster are float32, one pair for each thread: the count stays at 2^24, the sum (of what is left when
#        the overall mean, 0.075, is off) at 2^21. With one thread the centre of 25,000,000 weights that are all 0 is -0.05, a
#        quarter of the distance to the other cluster; labels_ is right, and nothing is said. With two threads the same call has
#        another answer. As float64 it is right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cat >"$folder/look.py" <<'PYTHON'
import sys
import numpy as np
import sklearn
from sklearn.cluster import KMeans
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from threadpoolctl import threadpool_limits
zeros, rest = 25_000_000, 15_000_000
weights = np.zeros((zeros + rest, 1), np.float32)
weights[zeros:, 0] = 0.2 + 0.01 * np.random.default_rng(0).standard_normal(rest, dtype=np.float32)
off = {}
for threads, kind in ((1, np.float32), (2, np.float32), (1, np.float64)):
    with threadpool_limits(threads):
        fit = KMeans(2, init=np.array([[0], [0.2]], kind), n_init=1, max_iter=3).fit(weights.astype(kind))
        off[threads, kind] = abs(float(fit.cluster_centers_[0, 0]))
        print(f"scikit-learn {sklearn.__version__}, {kind.__name__}, {threads} threads: centre of {int((fit.labels_ == 0).sum())} zeros {fit.cluster_centers_[0, 0]:.6f}, "
              f"of the others {fit.cluster_centers_[1, 0]:.6f}")
        allowed = _openmp_effective_n_threads()
        assert (fit.labels_[:zeros] == 0).all() and (fit.labels_ == 0).sum() == zeros
    if allowed < threads:
        del off[threads, kind]                  # a machine with one core
one, two = off[1, np.float32], off.get((2, np.float32))
sys.exit(not (abs(one - 0.05) < 0.001 and (two is None or abs(two - one) > 0.001) and off[1, np.float64] < 1e-6))
PYTHON
"$folder/venv/bin/python" "$folder/look.py"

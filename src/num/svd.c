/* Principal components of a set of vectors from its scatter matrix.
 *
 * The eigenvalues of the scatter S are the squared singular values of the centered vectors. Working on S instead of on
 * the vectors squares the condition number, and is still what we do: S comes from one streaming pass, and dsyev's error
 * of about 1e-16 of the largest eigenvalue leaves four digits to a component of 1e-12 of the largest variance
 * (tests/test_num.c shows it), far below what a report prints.
 *
 * Small kernels, which most networks have alone, are done by Jacobi's method: as fast as dsyev at this size, and no less
 * accurate. Loading OpenBLAS for them takes longer than measuring all layers of such a network. */
#include "num/num.h"

#include <math.h>

/* The entry of largest magnitude becomes positive, the first on a tie. Entries that differ by rounding alone tie. */
static void fix_sign(double *v, unsigned k)
{
    unsigned at = 0;
    for (unsigned i = 1; i < k; i++)
        if (fabs(v[i]) > fabs(v[at]) * (1 + 1e-10)) at = i;
    if (v[at] < 0)
        for (unsigned i = 0; i < k; i++) v[i] = -v[i];
    for (unsigned i = 0; i < k; i++) v[i] += 0.0; /* no -0 */
}

static void no_variance(unsigned k, double *singular_values, double *ratio, double *components)
{
    for (unsigned i = 0; i < k; i++) singular_values[i] = ratio[i] = 0;
    if (!components) return;
    memset(components, 0, (size_t)k * k * sizeof *components);
    for (unsigned i = 0; i < k; i++) components[(size_t)i * k + i] = 1;
}

/* Where a rotation would change nothing that counts. */
#define NEGLIGIBLE 0x1p-56
#define SWEEPS_MAX 60 /* six do, mostly */

/* Rotates rows p and q, `step` apart within each. */
static void rotate(double *p, double *q, size_t step, unsigned k, double c, double s)
{
    for (unsigned i = 0; i < k; i++) {
        const double x = p[i * step], y = q[i * step];
        p[i * step] = c * x - s * y;
        q[i * step] = s * x + c * y;
    }
}

/* Cyclic Jacobi method (Golub & Van Loan, Matrix Computations, 4th ed., section 8.5): eigenvalues of the symmetric a,
 * rising, and its eigenvectors as the rows of v unless that is NULL. a is overwritten. */
static void jacobi(double *a, unsigned k, double *values, double *v)
{
    for (size_t i = 0; v && i < (size_t)k * k; i++) v[i] = i % (k + 1) == 0;
    bool rotated = true;
    for (unsigned sweep = 0; rotated && sweep < SWEEPS_MAX; sweep++) {
        rotated = false;
        for (unsigned p = 0; p + 1 < k; p++)
            for (unsigned q = p + 1; q < k; q++) {
                const double apq = a[p * k + q], app = a[p * k + p], aqq = a[q * k + q];
                if (fabs(apq) <= NEGLIGIBLE * sqrt(fabs(app * aqq))) continue;
                const double tau = (aqq - app) / (2 * apq);
                const double t = (tau < 0 ? -1 : 1) / (fabs(tau) + sqrt(1 + tau * tau)), c = 1 / sqrt(1 + t * t);
                rotate(a + p * k, a + q * k, 1, k, c, t * c);
                rotate(a + p, a + q, k, k, c, t * c);
                a[p * k + q] = a[q * k + p] = 0;
                if (v) rotate(v + p * k, v + q * k, 1, k, c, t * c);
                rotated = true;
            }
    }
    for (unsigned i = 0; i < k; i++) values[i] = a[i * k + i];
    for (unsigned i = 1; i < k; i++)
        for (unsigned j = i; j > 0 && values[j] < values[j - 1]; j--) {
            const double value = values[j];
            values[j] = values[j - 1];
            values[j - 1] = value;
            if (v) rotate(v + (j - 1) * k, v + j * k, 1, k, 0, -1); /* changes places, and a sign, which is chosen later */
        }
}

/* LAPACK, for k of any size. */
static fpr_status eigen_lapack(double *a, unsigned k, double *values, bool vectors, double *work, fpr_error *error)
{
    const num_blas *blas = num_blas_get(error);
    if (!blas) return FPR_IO;
    int n = (int)k, work_count = (int)(34 * k), info = 0;
    blas->dsyev(vectors ? "V" : "N", "U", &n, a, &n, values, work, &work_count, &info, 1, 1);
    return info ? base_fail(error, FPR_IO, "LAPACK's dsyev did not converge (%d)", info) : FPR_OK;
}

fpr_status num_principal(const fpr_moments *moments, double *singular_values, double *ratio, double *components,
                         double *scratch, fpr_error *error)
{
    const unsigned k = moments->k;
    double *a = scratch, *values = a + (size_t)k * k, *work = values + k, peak = 0;
    for (size_t i = 0; i < (size_t)k * k; i++) {
        if (!isfinite(moments->scatter[i])) return base_fail(error, FPR_USAGE, "moments of numbers not finite");
        peak = fmax(peak, fabs(moments->scatter[i]));
    }
    if (moments->count < 2 || !(peak > 0)) {
        no_variance(k, singular_values, ratio, components);
        return FPR_OK;
    }

    /* Scaled by a power of two, so that tiny or huge weights cannot leave the range in which this is accurate. */
    int exponent;
    frexp(peak, &exponent);
    for (size_t i = 0; i < (size_t)k * k; i++) a[i] = ldexp(moments->scatter[i], -exponent);
    const double *vectors = a;
    if (num_needs_lapack(k)) {
        fpr_status status = eigen_lapack(a, k, values, components != NULL, work, error);
        if (status) return status;
    } else {
        jacobi(a, k, values, components ? work : NULL);
        vectors = work;
    }

    /* Rank at most count - 1; what is below rounding is no variance. */
    const double floor_value = values[k - 1] * k * 0x1p-52;
    double total = 0;
    for (unsigned i = 0; i < k; i++) {
        double value = values[k - 1 - i];
        if (i >= moments->count - 1 || value <= floor_value) value = 0;
        ratio[i] = value;
        total += value;
    }
    for (unsigned i = 0; i < k; i++) {
        singular_values[i] = sqrt(ratio[i]) * (exponent % 2 ? M_SQRT2 : 1);
        singular_values[i] = ldexp(singular_values[i], (exponent - (exponent % 2 ? 1 : 0)) / 2);
        ratio[i] = total > 0 ? ratio[i] / total : 0;
    }
    if (!components) return FPR_OK;
    for (unsigned i = 0; i < k; i++) {
        memcpy(components + (size_t)i * k, vectors + (size_t)(k - 1 - i) * k, k * sizeof *a);
        fix_sign(components + (size_t)i * k, k);
    }
    return FPR_OK;
}

double num_entropy(const double *ratio, unsigned k)
{
    double entropy = 0;
    for (unsigned i = 0; i < k; i++)
        if (ratio[i] > 0) entropy -= ratio[i] * log10(ratio[i]);
    return entropy;
}

fpr_status fpr_moments_finish(const fpr_moments *moments, fpr_basis *basis, fpr_error *error)
{
    double *scratch = base_alloc(NUM_EIGEN_SCRATCH(moments->k), sizeof *scratch);
    if (!scratch) return base_no_memory(error, NUM_EIGEN_SCRATCH(moments->k) * sizeof *scratch);
    memcpy(basis->mean, moments->mean, moments->k * sizeof *basis->mean);
    fpr_status status = num_principal(moments, basis->singular_values, basis->explained_variance_ratio,
                                      basis->components, scratch, error);
    base_free(scratch);
    return status;
}

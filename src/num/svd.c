/* Principal components of a set of vectors from its scatter matrix.
 *
 * The eigenvalues of the scatter S are the squared singular values of the centered vectors. Working on S instead of on
 * the vectors squares the condition number, and is still what we do: S comes from one streaming pass, and an error of
 * about 1e-16 of the largest eigenvalue leaves four digits to a component of 1e-12 of the largest variance
 * (tests/test_num.c shows it), far below what a report prints.
 *
 * The eigenvalue problem is solved here and not by LAPACK, which tests/test_num.c holds it against. Matrices are small,
 * so that loading OpenBLAS took longer than measuring all layers of a common network; and OpenBLAS gives other last bits
 * on every kind of processor, where a report should be the same. */
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

/* ---------------------------------------------------------------- symmetric matrices
 *
 * Golub & Van Loan, Matrix Computations, 4th ed.: Householder tridiagonalisation (algorithm 8.3.1), then implicit QR
 * steps with Wilkinson's shift (8.3.2 and 8.3.3). Where vectors are wanted, every transformation is applied to the rows
 * of v as well, which begins as the identity and ends as the eigenvectors. */

/* y += f x */
static void add_scaled(double *y, double f, const double *x, unsigned n)
{
    for (unsigned i = 0; i < n; i++) y[i] += f * x[i];
}

static double dot(const double *x, const double *y, unsigned n)
{
    double sum = 0;
    for (unsigned i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* a becomes tridiagonal: d on the diagonal, e beside it. u and p are room for k numbers each. */
static void tridiagonalise(double *a, unsigned k, double *d, double *e, double *v, double *u, double *p)
{
    for (unsigned j = 0; j + 2 < k; j++) {
        const unsigned n = k - j - 1;
        double *below = a + (j + 1) * k + j + 1; /* the n x n part that is left */
        for (unsigned i = 0; i < n; i++) u[i] = a[(j + 1 + i) * k + j];
        const double length = sqrt(dot(u, u, n)), first = u[0];
        e[j] = first > 0 ? -length : length;
        u[0] -= e[j];
        const double square = 2 * length * (length + fabs(first)); /* = |u|^2 */
        if (!(square > 0)) continue;
        const double beta = 2 / square;
        for (unsigned i = 0; i < n; i++) p[i] = beta * dot(below + i * k, u, n);
        add_scaled(p, -beta / 2 * dot(p, u, n), u, n);
        for (unsigned i = 0; i < n; i++) {
            add_scaled(below + i * k, -u[i], p, n);
            add_scaled(below + i * k, -p[i], u, n);
        }
        if (!v) continue;
        memset(p, 0, k * sizeof *p);
        for (unsigned i = 0; i < n; i++) add_scaled(p, u[i], v + (j + 1 + i) * k, k);
        for (unsigned i = 0; i < n; i++) add_scaled(v + (j + 1 + i) * k, -beta * u[i], p, k);
    }
    for (unsigned i = 0; i < k; i++) d[i] = a[i * k + i];
    if (k > 1) e[k - 2] = a[(k - 1) * k + k - 2];
}

/* The matrix is scaled to about 1, so that nothing overflows; hypot would round otherwise from one C library to the next. */
static double hypotenuse(double x, double y) { return sqrt(x * x + y * y); }

/* One implicit QR step on rows low .. high of the tridiagonal matrix. */
static void qr_step(double *d, double *e, unsigned low, unsigned high, double *v, unsigned k)
{
    const double half = (d[high - 1] - d[high]) / 2, last = e[high - 1];
    const double shift = d[high] - last * last / (half + (half < 0 ? -1 : 1) * hypotenuse(half, last));
    double x = d[low] - shift, z = e[low];
    for (unsigned i = low; i < high; i++) {
        const double r = hypotenuse(x, z), c = r > 0 ? x / r : 1, s = r > 0 ? z / r : 0;
        const double a = d[i], b = d[i + 1], f = e[i];
        if (i > low) e[i - 1] = r;
        d[i] = c * c * a + 2 * c * s * f + s * s * b;
        d[i + 1] = s * s * a - 2 * c * s * f + c * c * b;
        e[i] = c * s * (b - a) + (c * c - s * s) * f;
        if (i + 1 < high) {
            x = e[i];
            z = s * e[i + 1];
            e[i + 1] *= c;
        }
        for (unsigned j = 0; v && j < k; j++) {
            const double p = v[i * k + j], q = v[(i + 1) * k + j];
            v[i * k + j] = c * p + s * q;
            v[(i + 1) * k + j] = c * q - s * p;
        }
    }
}

/* Eigenvalues d of the symmetric k x k matrix a, which is overwritten, and eigenvectors as rows of v unless that is
 * NULL; in no order. false: no convergence, which no matrix is known to cause. room: 3k numbers. */
static bool solve(double *a, unsigned k, double *d, double *v, double *room)
{
    double *e = room;
    for (size_t i = 0; v && i < (size_t)k * k; i++) v[i] = i % (k + 1) == 0;
    tridiagonalise(a, k, d, e, v, room + k, room + 2 * k);
    double size = 0;
    for (unsigned i = 0; i < k; i++) size = fmax(size, fabs(d[i]));
    unsigned steps = 0;
    for (unsigned high = k - 1; high > 0;) {
        unsigned low = high;
        while (low > 0 && fabs(e[low - 1]) > 0x1p-53 * (fabs(d[low - 1]) + fabs(d[low])) + 0x1p-60 * size) low--;
        if (low == high) {
            high--;
            continue;
        }
        if (++steps > 60 * k) return false;
        qr_step(d, e, low, high, v, k);
    }
    return true;
}

/* By rising value. */
static void sort_values(double *d, double *v, unsigned k)
{
    for (unsigned i = 1; i < k; i++)
        for (unsigned j = i; j > 0 && d[j] < d[j - 1]; j--) {
            const double value = d[j];
            d[j] = d[j - 1];
            d[j - 1] = value;
            for (unsigned c = 0; v && c < k; c++) {
                const double w = v[j * k + c];
                v[j * k + c] = v[(j - 1) * k + c];
                v[(j - 1) * k + c] = w;
            }
        }
}

/* ---------------------------------------------------------------- principal components */

fpr_status num_principal(const fpr_moments *moments, double *singular_values, double *ratio, double *components,
                         double *scratch, fpr_error *error)
{
    const unsigned k = moments->k;
    double *a = scratch, *values = a + (size_t)k * k, *room = values + k, peak = 0;
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
    double *vectors = components ? room : NULL;
    if (!solve(a, k, values, vectors, room + (components ? (size_t)k * k : 0)))
        return base_fail(error, FPR_USAGE, "an eigenvalue problem did not converge");
    sort_values(values, vectors, k);

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

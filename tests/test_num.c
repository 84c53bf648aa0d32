/* num: moments, principal components, cells, densities, divergence; every variant of the inner loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lapacke.h>

#include "num/num.h"

#include "numbers.h"

/* ---- moments */

/* Mean and scatter by their definition. */
static void plain_moments(const double *rows, size_t n, unsigned k, double *mean, double *scatter)
{
    for (unsigned d = 0; d < k; d++) {
        long double sum = 0;
        for (size_t i = 0; i < n; i++) sum += rows[i * k + d];
        mean[d] = (double)(sum / (long double)n);
    }
    for (unsigned a = 0; a < k; a++)
        for (unsigned b = 0; b < k; b++) {
            long double sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += ((long double)rows[i * k + a] - mean[a]) * ((long double)rows[i * k + b] - mean[b]);
            scatter[a * k + b] = (double)sum;
        }
}

static double *random_rows(size_t n, unsigned k, double offset)
{
    double *rows = malloc(n * k * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < n * k; i++) rows[i] = offset + random_normal();
    return rows;
}

static void moments_are_mean_and_scatter(void **state)
{
    (void)state;
    static double mean[128], scatter[128 * 128];
    const struct { unsigned k; size_t n; } cases[] = {{1, 5},   {2, 1},    {4, 33},  {9, 1000},
                                                       {25, 70}, {27, 200}, {128, 40}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const unsigned k = cases[c].k;
        const size_t n = cases[c].n;
        double *rows = random_rows(n, k, 0.3);
        fpr_moments m;
        assert_int_equal(fpr_moments_init(&m, k), FPR_OK);
        fpr_moments_add(&m, rows, n / 3); /* in two goes */
        fpr_moments_add(&m, rows + n / 3 * k, n - n / 3);
        plain_moments(rows, n, k, mean, scatter);
        assert_true(m.count == n);
        assert_close(largest_difference(m.mean, mean, k), 0, 1e-14);
        assert_close(largest_difference(m.scatter, scatter, (size_t)k * k), 0, 1e-13 * (double)n);
        for (unsigned a = 0; a < k; a++)
            for (unsigned b = 0; b < k; b++) assert_true(m.scatter[a * k + b] == m.scatter[b * k + a]);
        fpr_moments_free(&m);
        free(rows);
    }
}

/* A sum of squares minus the square of a sum would lose all digits here. */
static void moments_survive_a_large_mean(void **state)
{
    (void)state;
    const size_t n = 500;
    double *rows = random_rows(n, 4, 1e8), mean[4], scatter[16];
    fpr_moments whole, parts[5];
    plain_moments(rows, n, 4, mean, scatter);
    assert_int_equal(fpr_moments_init(&whole, 4), FPR_OK);
    for (unsigned p = 0; p < 5; p++) {
        assert_int_equal(fpr_moments_init(&parts[p], 4), FPR_OK);
        fpr_moments_add(&parts[p], rows + p * 400, 100);
        fpr_moments_merge(&whole, &parts[p]);
        fpr_moments_free(&parts[p]);
    }
    assert_true(whole.count == n);
    assert_close(largest_difference(whole.mean, mean, 4), 0, 1e-7);
    assert_close(largest_difference(whole.scatter, scatter, 16), 0, 1e-5);
    fpr_moments_free(&whole);
    free(rows);
}

static void merging_with_nothing_changes_nothing(void **state)
{
    (void)state;
    double *rows = random_rows(40, 9, 0);
    fpr_moments m, empty, copy;
    assert_int_equal(fpr_moments_init(&m, 9) | fpr_moments_init(&empty, 9) | fpr_moments_init(&copy, 9), FPR_OK);
    fpr_moments_add(&m, rows, 40);
    fpr_moments_merge(&copy, &m);
    fpr_moments_merge(&copy, &empty);
    assert_true(copy.count == m.count);
    assert_memory_equal(copy.mean, m.mean, 9 * sizeof *m.mean);
    assert_memory_equal(copy.scatter, m.scatter, 81 * sizeof *m.scatter);
    fpr_moments_free(&m);
    fpr_moments_free(&empty);
    fpr_moments_free(&copy);
    free(rows);
}

static void zero_vectors_count_like_any(void **state)
{
    (void)state;
    double *rows = random_rows(100, 9, 2);
    memset(rows + 60 * 9, 0, 40 * 9 * sizeof *rows);
    fpr_moments all, few;
    assert_int_equal(fpr_moments_init(&all, 9) | fpr_moments_init(&few, 9), FPR_OK);
    fpr_moments_add(&all, rows, 100);
    fpr_moments_add(&few, rows, 60);
    num_moments_add_zeros(&few, 40);
    assert_true(few.count == 100);
    assert_close(largest_difference(all.mean, few.mean, 9), 0, 1e-14);
    assert_close(largest_difference(all.scatter, few.scatter, 81), 0, 1e-11);
    fpr_moments_free(&all);
    fpr_moments_free(&few);
    assert_int_equal(fpr_moments_init(&few, 9), FPR_OK);
    num_moments_add_zeros(&few, 7);
    assert_true(few.count == 7 && largest(few.mean, 9) == 0 && largest(few.scatter, 81) == 0);
    fpr_moments_free(&few);
    free(rows);
}

static void moments_refuse_what_they_cannot_hold(void **state)
{
    (void)state;
    fpr_moments m;
    assert_int_equal(fpr_moments_init(&m, 0), FPR_USAGE);
    assert_int_equal(fpr_moments_init(&m, 129), FPR_USAGE);
    base_fail_allocation(0);
    assert_int_equal(fpr_moments_init(&m, 9), FPR_NO_MEMORY);
    base_fail_allocation(-1);
    fpr_moments_free(&m); /* harmless */
}

/* ---- principal components */

typedef struct basis_memory { double mean[128], components[128 * 128], values[128], ratio[128]; } basis_memory;

static fpr_basis basis_in(basis_memory *m)
{
    return (fpr_basis){m->mean, m->components, m->values, m->ratio};
}

/* Orthonormal rows from random ones (Gram-Schmidt, twice), each with its largest entry positive. */
static void random_rotation(double *q, unsigned k)
{
    for (unsigned i = 0; i < k; i++) {
        double *v = q + (size_t)i * k;
        for (unsigned d = 0; d < k; d++) v[d] = random_normal();
        for (unsigned pass = 0; pass < 2; pass++)
            for (unsigned j = 0; j < i; j++) {
                double dot = 0;
                for (unsigned d = 0; d < k; d++) dot += v[d] * q[j * k + d];
                for (unsigned d = 0; d < k; d++) v[d] -= dot * q[j * k + d];
            }
        double norm = 0, top = 0;
        for (unsigned d = 0; d < k; d++) {
            norm += v[d] * v[d];
            if (fabs(v[d]) > fabs(top)) top = v[d];
        }
        for (unsigned d = 0; d < k; d++) v[d] *= (top < 0 ? -1 : 1) / sqrt(norm);
    }
}

/* Vectors mean +- a_i q_i: their scatter is exactly the sum of 2 a_i^2 q_i q_i'. */
static void plant(fpr_moments *m, const double *mean, const double *q, const double *a, unsigned k)
{
    double rows[2 * 32];
    assert_int_equal(fpr_moments_init(m, k), FPR_OK);
    for (unsigned i = 0; i < k; i++) {
        for (unsigned d = 0; d < k; d++) {
            rows[d] = mean[d] + a[i] * q[i * k + d];
            rows[k + d] = mean[d] - a[i] * q[i * k + d];
        }
        fpr_moments_add(m, rows, 2);
    }
}

static void a_planted_basis_is_found(void **state)
{
    (void)state;
    const unsigned sizes[] = {2, 3, 9, 25, 27};
    for (size_t s = 0; s < COUNT_OF(sizes); s++) {
        const unsigned k = sizes[s];
        double q[32 * 32], mean[32], a[32], total = 0;
        random_rotation(q, k);
        for (unsigned i = 0; i < k; i++) {
            mean[i] = random_normal();
            a[i] = 1.0 / (1 + i);
            total += a[i] * a[i];
        }
        fpr_moments m;
        plant(&m, mean, q, a, k);
        basis_memory memory;
        fpr_basis basis = basis_in(&memory);
        assert_int_equal(fpr_moments_finish(&m, &basis, NULL), FPR_OK);
        assert_close(largest_difference(basis.mean, mean, k), 0, 1e-14);
        for (unsigned i = 0; i < k; i++) {
            assert_relative(basis.singular_values[i], sqrt(2) * a[i], 1e-12);
            assert_close(basis.explained_variance_ratio[i], a[i] * a[i] / total, 1e-14);
            assert_close(largest_difference(basis.components + i * k, q + i * k, k), 0, 1e-11);
        }
        fpr_moments_free(&m);
    }
}

/* The smallest variance is 1e-12 of the largest: its ratio comes out to 0.1 %, its direction to |cos| > 1 - 1e-6. */
static void an_ill_conditioned_group_keeps_its_last_component(void **state)
{
    (void)state;
    enum { K = 9 };
    for (unsigned round = 0; round < 20; round++) {
        double q[K * K], a[K], mean[K], total = 0, worst = 1;
        random_rotation(q, K);
        for (unsigned i = 0; i < K; i++) {
            a[i] = i == K - 1 ? 1e-6 : pow(0.5, i);
            mean[i] = 0.3;
            total += a[i] * a[i];
        }
        fpr_moments m;
        plant(&m, mean, q, a, K);
        basis_memory memory;
        fpr_basis basis = basis_in(&memory);
        assert_int_equal(fpr_moments_finish(&m, &basis, NULL), FPR_OK);
        for (unsigned i = 0; i < K; i++) {
            double cosine = 0;
            for (unsigned d = 0; d < K; d++) cosine += basis.components[i * K + d] * q[i * K + d];
            worst = fmin(worst, fabs(cosine));
        }
        assert_relative(basis.explained_variance_ratio[K - 1], 1e-12 / total, 1e-3);
        assert_true(worst > 1 - 1e-6);
        fpr_moments_free(&m);
    }
}

static void check_orthonormal(const double *components, unsigned k)
{
    for (unsigned i = 0; i < k; i++)
        for (unsigned j = 0; j < k; j++) {
            double dot = 0;
            for (unsigned d = 0; d < k; d++) dot += components[i * k + d] * components[j * k + d];
            assert_close(dot, i == j, 1e-12);
        }
}

static void fewer_vectors_than_weights(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 9; n++) {
        double *rows = random_rows(n, 9, 1), sum = 0;
        fpr_moments m;
        assert_int_equal(fpr_moments_init(&m, 9), FPR_OK);
        fpr_moments_add(&m, rows, n);
        basis_memory memory;
        fpr_basis basis = basis_in(&memory);
        assert_int_equal(fpr_moments_finish(&m, &basis, NULL), FPR_OK);
        for (unsigned i = 0; i < 9; i++) {
            sum += basis.explained_variance_ratio[i];
            assert_true(i < n - 1 ? basis.explained_variance_ratio[i] > 0 : basis.explained_variance_ratio[i] == 0);
            assert_true(i < n - 1 ? basis.singular_values[i] > 0 : basis.singular_values[i] == 0);
        }
        assert_close(sum, n > 1, 1e-14);
        check_orthonormal(basis.components, 9);
        fpr_moments_free(&m);
        free(rows);
    }
}

static void equal_vectors_have_no_variance(void **state)
{
    (void)state;
    double row[9];
    for (unsigned d = 0; d < 9; d++) row[d] = random_normal() / 3;
    fpr_moments m;
    assert_int_equal(fpr_moments_init(&m, 9), FPR_OK);
    for (unsigned i = 0; i < 1000; i++) fpr_moments_add(&m, row, 1);
    basis_memory memory;
    fpr_basis basis = basis_in(&memory);
    assert_int_equal(fpr_moments_finish(&m, &basis, NULL), FPR_OK);
    assert_memory_equal(basis.mean, row, sizeof row);
    assert_true(largest(basis.explained_variance_ratio, 9) == 0 && largest(basis.singular_values, 9) == 0);
    check_orthonormal(basis.components, 9);
    fpr_moments_free(&m);
}

static void moments_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    const double rows[] = {1, NAN, 2, 3};
    fpr_moments m;
    basis_memory memory;
    fpr_basis basis = basis_in(&memory);
    assert_int_equal(fpr_moments_init(&m, 2), FPR_OK);
    fpr_moments_add(&m, rows, 2);
    assert_int_equal(fpr_moments_finish(&m, &basis, NULL), FPR_USAGE);
    fpr_moments_free(&m);
}

static void scale_changes_singular_values_alone(void **state)
{
    (void)state;
    double *rows = random_rows(50, 9, 0.1);
    basis_memory small_memory, large_memory;
    fpr_basis small = basis_in(&small_memory), large = basis_in(&large_memory);
    fpr_moments m;
    assert_int_equal(fpr_moments_init(&m, 9), FPR_OK);
    fpr_moments_add(&m, rows, 50);
    assert_int_equal(fpr_moments_finish(&m, &small, NULL), FPR_OK);
    fpr_moments_free(&m);
    for (size_t i = 0; i < 450; i++) rows[i] *= 0x1p-130;
    assert_int_equal(fpr_moments_init(&m, 9), FPR_OK);
    fpr_moments_add(&m, rows, 50);
    assert_int_equal(fpr_moments_finish(&m, &large, NULL), FPR_OK);
    fpr_moments_free(&m);
    assert_memory_equal(small_memory.ratio, large_memory.ratio, 9 * sizeof(double));
    assert_memory_equal(small_memory.components, large_memory.components, 81 * sizeof(double));
    for (unsigned i = 0; i < 9; i++)
        assert_relative(large.singular_values[i], small.singular_values[i] * 0x1p-130, 1e-15);
    free(rows);
}

/* Against LAPACK's dsyev: random moments, planted bases whose variances fall by many orders, ties, and fewer vectors than
 * weights, of kernels from two weights to the most. */
static void eigenvalues_agree_with_lapack(void **state)
{
    (void)state;
    enum { VECTORS = 200 };
    const unsigned sizes[] = {1, 2, 3, 4, 5, 9, 16, 25, 27, 49, 121, 128};
    const size_t most = NUM_K_MAX * NUM_K_MAX;
    double *x = malloc(VECTORS * NUM_K_MAX * sizeof *x),
           *scratch = malloc(NUM_EIGEN_SCRATCH(NUM_K_MAX) * sizeof *scratch);
    double *v = malloc(most * sizeof *v), *a = malloc(most * sizeof *a);
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (unsigned round = 0; round < 12; round++) {
            const unsigned k = sizes[s];
            const size_t n = round % 3 == 2 ? k / 2 + 1 : VECTORS;
            double values[NUM_K_MAX], alone[NUM_K_MAX], ratio[NUM_K_MAX], w[NUM_K_MAX];
            for (size_t i = 0; i < n * k; i++) x[i] = random_normal();
            for (size_t i = 0; i < n * k && round % 4 == 1; i++) x[i] *= pow(10, -(double)(i % k) / 2);
            for (size_t i = 0; i < n * k && round % 4 == 2; i++) x[i] = i % k == i / k % k ? 1 : 0; /* equal variances */
            fpr_moments m;
            assert_int_equal(fpr_moments_init(&m, k), FPR_OK);
            fpr_moments_add(&m, x, n);
            assert_int_equal(num_principal(&m, values, ratio, v, scratch, NULL), FPR_OK);
            assert_int_equal(num_principal(&m, alone, ratio, NULL, scratch, NULL), FPR_OK);
            assert_memory_equal(values, alone, k * sizeof *values);
            memcpy(a, m.scatter, (size_t)k * k * sizeof *a);
            assert_int_equal(LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'N', 'U', (lapack_int)k, a, (lapack_int)k, w), 0);
            for (unsigned i = 0; i < k; i++) {
                const double *u = v + i * k, exact = i + 1 < n && w[k - 1 - i] > 0 ? w[k - 1 - i] : 0;
                assert_close(values[i] * values[i], exact, 1e-13 * w[k - 1]);
                for (unsigned r = 0; r < k; r++) { /* S u = value u, and unit vectors at right angles */
                    double product = 0, dot = 0;
                    for (unsigned c = 0; c < k; c++) {
                        product += m.scatter[r * k + c] * u[c];
                        dot += v[r * k + c] * u[c];
                    }
                    assert_close(product, values[i] * values[i] * u[r], 1e-13 * w[k - 1]);
                    assert_close(dot, r == i, 1e-13);
                }
            }
            fpr_moments_free(&m);
        }
    free(x);
    free(scratch);
    free(v);
    free(a);
}

/* (1, -1) / sqrt 2: both entries are as large, the first must be positive. */
static void a_tie_is_decided_by_the_first_entry(void **state)
{
    (void)state;
    const double rows[] = {0.1, 0.9, 0.9, 0.1, 0.3, 0.7, 0.7, 0.3};
    fpr_moments m;
    assert_int_equal(fpr_moments_init(&m, 2), FPR_OK);
    fpr_moments_add(&m, rows, 4);
    basis_memory memory;
    fpr_basis basis = basis_in(&memory);
    assert_int_equal(fpr_moments_finish(&m, &basis, NULL), FPR_OK);
    assert_close(basis.components[0], sqrt(0.5), 1e-15);
    assert_close(basis.components[1], -sqrt(0.5), 1e-15);
    fpr_moments_free(&m);
}

static void entropy_of_known_ratios(void **state)
{
    (void)state;
    assert_close(num_entropy((const double[]){0.5, 0.5, 0}, 3), log10(2), 1e-15);
    assert_close(num_entropy((const double[]){1, 0, 0}, 3), 0, 0);
    assert_close(num_entropy((const double[]){0, 0, 0}, 3), 0, 0);
    assert_close(num_entropy((const double[]){0.25, 0.25, 0.25, 0.25}, 4), log10(4), 1e-15);
}

/* ---- bandwidths and percentiles */

static void silverman_of_nine_integers(void **state)
{
    (void)state;
    num_mass masses[9];
    num_spread spread;
    bool degenerate;
    for (unsigned i = 0; i < 9; i++) masses[i] = (num_mass){.x = i, .count = 1};
    num_spread_of(masses, 9, &spread);
    assert_close(spread.p25, 2, 0);
    assert_close(spread.p75, 6, 0);
    assert_close(spread.p1, 0.08, 1e-15);
    assert_close(spread.p99, 7.92, 1e-15);
    assert_close(num_silverman(&spread, &degenerate), 1.8692607078355594, 1e-14);
    assert_false(degenerate);
    assert_close(num_scott(&spread, &degenerate), sqrt(7.5) * pow(9, -0.2), 1e-15);
    assert_false(degenerate);
    masses[8].x = 1e6; /* one far out: now the quartiles decide */
    num_spread_of(masses, 9, &spread);
    assert_close(num_silverman(&spread, &degenerate), 4 / 1.3489795003921634 * pow(6.75, -0.2), 1e-14);
}

static void silverman_falls_back_twice(void **state)
{
    (void)state;
    num_spread spread;
    bool degenerate;
    const num_mass spike[] = {{-1, 0, 2}, {0, 0, 96}, {3, 0, 2}}; /* IQR 0; P1 and P99 are at -1 and 3 */
    num_spread_of(spike, 3, &spread);
    assert_close(num_silverman(&spread, &degenerate), 4 / 4.6526957480816815 * pow(75, -0.2), 1e-14);
    assert_false(degenerate);
    const num_mass needle[] = {{0, 0, 9999}, {1, 0, 1}};
    num_spread_of(needle, 2, &spread);
    assert_true(spread.sd > 0);
    assert_close(num_silverman(&spread, &degenerate), 1, 0);
    assert_true(degenerate);
    const num_mass one[] = {{5, 0, 1}};
    num_spread_of(one, 1, &spread);
    assert_close(num_silverman(&spread, &degenerate), 1, 0);
    assert_true(degenerate);
    assert_close(num_scott(&spread, &degenerate), 1, 0);
    assert_true(degenerate);
    num_spread_of(NULL, 0, &spread);
    assert_close(num_silverman(&spread, &degenerate), 1, 0);
    assert_true(degenerate);
}

static void ranks_within_and_between_masses(void **state)
{
    (void)state;
    const num_mass masses[] = {{1, 0, 2}, {2, 0.5, 4}, {9, 0, 1}};
    const double ranks[] = {0, 1, 1.5, 2, 5, 5.5, 6};
    /* the four of the second mass: 2 -+ 0.375, 2 -+ 0.125 */
    const double want[] = {1, 1, 1.3125, 1.625, 2.375, 5.6875, 9};
    double values[COUNT_OF(ranks)];
    num_rank_values(masses, 3, ranks, values, COUNT_OF(ranks));
    for (size_t i = 0; i < COUNT_OF(ranks); i++) assert_close(values[i], want[i], 1e-15);
}

static void numbers_are_sorted(void **state)
{
    (void)state;
    static double x[5000], want[5000], spare[5000];
    const double odd[] = {0, -0.0, 1e-320, -1e-320, 1e300, -1e300, 1, nextafter(1, 2), nextafter(1, 0), -1};
    for (unsigned round = 0; round < 4; round++)
        for (size_t n = 0; n <= 5000; n = n * 3 + 1) {
            for (size_t i = 0; i < n; i++) {
                x[i] = round == 0   ? random_normal()
                       : round == 1 ? odd[random_bits() % COUNT_OF(odd)]
                       : round == 2 ? 1 + 1e-12 * random_normal()
                                    : -2.5;
            }
            memcpy(want, x, n * sizeof *x);
            qsort(want, n, sizeof *want, by_value);
            num_sort(x, n, spare);
            for (size_t i = 0; i < n; i++) assert_true(x[i] == want[i]);
        }
}

/* ---- densities */

static void check_density(const double *x, size_t n, double h)
{
    static double exact[FPR_KDE_POINTS], density[FPR_KDE_POINTS], scratch[NUM_KDE_SCRATCH];
    double *sorted = malloc(n * sizeof *sorted);
    num_mass *masses = malloc(n * sizeof *masses);
    memcpy(sorted, x, n * sizeof *x);
    qsort(sorted, n, sizeof *sorted, by_value);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (count && masses[count - 1].x == sorted[i])
            masses[count - 1].count++;
        else
            masses[count++] = (num_mass){.x = sorted[i], .count = 1};
    }
    const double start = sorted[0] - 3 * h, step = (sorted[n - 1] - sorted[0] + 6 * h) / (FPR_KDE_POINTS - 1);
    exact_density(sorted, n, h, start, step, exact, FPR_KDE_POINTS);
    for (unsigned v = 0; num_kernels_variant(v); v++) {
        num_kde(num_kernels_variant(v), masses, count, h, start, step, density, scratch);
        assert_true(largest_difference(exact, density, FPR_KDE_POINTS) < 1e-4 * largest(exact, FPR_KDE_POINTS));
    }
    if (h > step) { /* else the points miss the curve */
        const double end = start + (FPR_KDE_POINTS - 1) * step;
        double integral = 0, inside = 0; /* inside: what of the Gaussians lies between the first point and the last */
        for (unsigned p = 1; p < FPR_KDE_POINTS; p++) integral += (density[p - 1] + density[p]) / 2 * step;
        for (size_t i = 0; i < n; i++)
            inside += (erf((end - sorted[i]) / h / sqrt(2)) - erf((start - sorted[i]) / h / sqrt(2))) / 2 / (double)n;
        assert_true(inside > 0.9973);
        assert_close(integral, inside, 1e-3);
    }
    free(sorted);
    free(masses);
}

static void densities_agree_with_the_exact_sum(void **state)
{
    (void)state;
    enum { N = 3000 };
    static double smooth[N], spiky[N], two[N], heavy[N];
    random_state = 5;
    for (size_t i = 0; i < N; i++) {
        smooth[i] = random_normal();
        spiky[i] = i < N * 7 / 10 ? 0 : random_normal();
        two[i] = random_unit() < 0.4 ? -0.731 : 1.177;
        heavy[i] = tan(M_PI * (random_unit() - 0.5) * 0.99);
    }
    static const double bandwidths[] = {1e-6, 1e-3, 0.005, 0.02, 0.1, 0.7, 5, 1e4};
    for (size_t b = 0; b < COUNT_OF(bandwidths); b++) {
        check_density(smooth, N, bandwidths[b]);
        check_density(spiky, N, bandwidths[b]);
        check_density(two, N, bandwidths[b]);
        check_density(heavy, N, bandwidths[b]);
        check_density(smooth, 1, bandwidths[b]);
        check_density(smooth, 7, bandwidths[b]);
    }
}

/* ---- divergence */

static void a_distribution_does_not_diverge_from_itself(void **state)
{
    (void)state;
    const uint64_t p[] = {3, 0, 5, 9, 0, 1}, q[] = {1, 2, 0, 9, 4, 1}, none[6] = {0};
    assert_true(num_divergence(p, p, 6, 0.1) == 0);
    assert_true(num_divergence(none, none, 6, 0.1) == 0);
    assert_true(num_divergence(p, q, 6, 0.1) > 0);
    assert_relative(num_divergence(p, q, 6, 0.1), num_divergence(q, p, 6, 0.1), 1e-14);
    assert_true(isfinite(num_divergence(p, none, 6, 0.1)));
    const uint64_t thrice[] = {9, 0, 15, 27, 0, 3};
    assert_close(num_divergence(p, thrice, 6, 0.1), 0, 1e-15);
}

/* Two bins of width 1/2. p = (1/4, 3/4), q = (1/2, 1/2): no empty bin, and
 *   KL = (1/4 - 1/2) ln(1/2) + (3/4 - 1/2) ln(3/2) = ln(3) / 4.
 * u = (1, 0), v = (0, 1): densities (2, e) and (e, 2) sum to 2 + e, so KL = 2 (2 - e) / (2 + e) ln(2 / e). */
static void divergences_in_closed_form(void **state)
{
    (void)state;
    const double e = 1.1920929e-07;
    assert_relative(num_divergence((const uint64_t[]){10, 30}, (const uint64_t[]){7, 7}, 2, 0.5), log(3) / 4, 1e-14);
    assert_relative(num_divergence((const uint64_t[]){5, 0}, (const uint64_t[]){0, 11}, 2, 0.5),
                    2 * (2 - e) / (2 + e) * log(2 / e), 1e-14);
}

/* ---- cells */

/* numpy's rule, as numpy/lib/histograms.py applies it to one number; -1 outside of the range. */
static int numpy_bin(double x, double lo, double hi, int bins)
{
    if (x < lo || x > hi) return -1;
    const double step = (hi - lo) / bins;
    int i = (int)((x - lo) * bins / (hi - lo));
    if (i == bins) i--;
    const double edge = lo + i * step, next = i + 1 == bins ? hi : lo + (i + 1) * step;
    if (x < edge) i--;
    if (x >= next && i != bins - 1) i++;
    return i;
}

static void cells_keep_to_the_bins_of_numpy(void **state)
{
    (void)state;
    enum { N = 5000 };
    static double x[N];
    static uint32_t place[N];
    const struct { double lo, hi; unsigned bins, zoom; } cases[] = {
        {-2.7, 2.9, 70, 10},   {-2.7, 2.9, 70, 0}, {0.1, 0.7, 7, 20},
        {-1e-9, 3e-9, 4096, 4}, {-1, 1, 2, 16},     {5, 6, 70, 34},
    };
    random_state = 9;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        const double lo = cases[c].lo, hi = cases[c].hi, step = (hi - lo) / cases[c].bins;
        for (size_t i = 0; i < N; i++) {
            x[i] = lo + (hi - lo) * (random_unit() * 1.2 - 0.1);
            if (i % 7 == 0) x[i] = lo + floor(random_unit() * cases[c].bins) * step; /* exactly on an edge */
            if (i % 7 == 1) x[i] = x[i - 1] * (1 - 1e-15);  /* a hair below one (above, if negative) */
            if (i % 101 == 0) x[i] = i % 2 ? lo : hi;
        }
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            num_cells_view view = {lo, hi, cases[c].bins, cases[c].zoom, -(INT64_C(1) << cases[c].zoom), 1u << 21};
            const uint64_t full = (uint64_t)(cases[c].bins + 2) << cases[c].zoom;
            const bool narrow = full > view.count;
            if (!narrow) view.count = (uint32_t)full;
            for (size_t i = 0; i < N; i++) {
                if (narrow) /* the view follows the number */
                    view.first = (int64_t)((x[i] - lo) / step * ldexp(1, (int)cases[c].zoom)) - (INT64_C(1) << 20);
                num_kernels_variant(v)->cells(place + i, x + i, 1, &view);
                const uint32_t cell = num_cell_of(place[i]), fraction = num_fraction_of(place[i]);
                const int64_t at = view.first + cell, bin = at >> cases[c].zoom;
                int want = numpy_bin(x[i], lo, hi, (int)cases[c].bins);
                const double over = want > 0 ? x[i] - (lo + want * step) : 0;
                if (over > 0 && over <= (hi - lo) * 0x1p-48) want--; /* rounding: see kernels_body.h */
                if (want >= 0)
                    assert_int_equal(bin, want);
                else
                    assert_true(x[i] < lo ? bin < 0 : bin >= cases[c].bins);
                const double cell_width = step / ldexp(1, (int)cases[c].zoom);
                if (cases[c].zoom <= 20 && cell > 0 && cell < view.count - 1)
                    assert_close(lo + ((double)at + (fraction + 0.5) / 1024) * cell_width, x[i],
                                 cell_width * 0.51 / 1024 + 1e-13 * (hi - lo));
            }
        }
    }
}

static void the_ends_of_a_view_take_what_is_outside(void **state)
{
    (void)state;
    const num_cells_view view = {.lo = 0, .hi = 1, .bins = 10, .zoom = 0, .first = 2, .count = 3};
    const double x[] = {-1e300, 0.05, 0.25, 0.35, 0.45, 0.55, 1e300};
    const uint32_t want[] = {0, 0, 0, 1, 2, 2, 2};
    for (unsigned v = 0; num_kernels_variant(v); v++)
        for (size_t i = 0; i < COUNT_OF(x); i++) {
            uint32_t place;
            num_kernels_variant(v)->cells(&place, x + i, 1, &view);
            assert_int_equal(num_cell_of(place), want[i]);
            assert_true(num_fraction_of(place) < 1 << NUM_FRACTION_BITS);
        }
}

static void a_range_of_no_width_is_widened(void **state)
{
    (void)state;
    double flat[2] = {3, 3}, wide[2] = {1, 2};
    num_widen(flat);
    num_widen(wide);
    assert_true(flat[0] == 2.5 && flat[1] == 3.5 && wide[0] == 1 && wide[1] == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_are_mean_and_scatter),
        cmocka_unit_test(moments_survive_a_large_mean),
        cmocka_unit_test(merging_with_nothing_changes_nothing),
        cmocka_unit_test(zero_vectors_count_like_any),
        cmocka_unit_test(moments_refuse_what_they_cannot_hold),
        cmocka_unit_test(a_planted_basis_is_found),
        cmocka_unit_test(an_ill_conditioned_group_keeps_its_last_component),
        cmocka_unit_test(fewer_vectors_than_weights),
        cmocka_unit_test(equal_vectors_have_no_variance),
        cmocka_unit_test(moments_that_are_not_finite_are_refused),
        cmocka_unit_test(scale_changes_singular_values_alone),
        cmocka_unit_test(eigenvalues_agree_with_lapack),
        cmocka_unit_test(a_tie_is_decided_by_the_first_entry),
        cmocka_unit_test(entropy_of_known_ratios),
        cmocka_unit_test(silverman_of_nine_integers),
        cmocka_unit_test(silverman_falls_back_twice),
        cmocka_unit_test(ranks_within_and_between_masses),
        cmocka_unit_test(numbers_are_sorted),
        cmocka_unit_test(densities_agree_with_the_exact_sum),
        cmocka_unit_test(a_distribution_does_not_diverge_from_itself),
        cmocka_unit_test(divergences_in_closed_form),
        cmocka_unit_test(cells_keep_to_the_bins_of_numpy),
        cmocka_unit_test(the_ends_of_a_view_take_what_is_outside),
        cmocka_unit_test(a_range_of_no_width_is_widened),
    };
    return cmocka_run_group_tests_name("num", tests, NULL, NULL);
}

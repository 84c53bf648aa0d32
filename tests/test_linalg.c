/* linalg: spectra against singular values computed another way, from the whole matrix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "linalg/linalg.h"

#include "numbers.h"

#include <lapacke.h>

/* Descending, by LAPACK's dgesvd, which is none of the routines that the product calls. */
static double *values_by_svd(const linalg_view *v, const float *w, size_t *count)
{
    const size_t m = (size_t)v->rows, n = (size_t)linalg_columns(v);
    double *a = malloc(m * n * sizeof *a), *s = malloc((m < n ? m : n) * sizeof *s), *rest = malloc((m + n) * sizeof *rest);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < n; c++)
            a[r * n + c] = (double)w[v->first + r * v->row_stride + c / v->inner * v->outer_stride +
                                     c % v->inner * v->inner_stride];
    assert_int_equal(LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'N', 'N', (int)m, (int)n, a, (int)n, s, NULL, 1, NULL, 1, rest), 0);
    free(a);
    free(rest);
    *count = m < n ? m : n;
    return s;
}

static fpr_layer_shape layer(uint64_t filters, uint64_t channels, uint64_t k, fpr_layout layout)
{
    return (fpr_layer_shape){.filters = filters, .channels = channels, .kernel_rank = 1, .kernel_shape = {k}, .k = k,
                             .kernels = filters * channels, .layout = layout};
}

static float *random_weights(size_t n)
{
    float *w = malloc(n * sizeof *w);
    for (size_t i = 0; i < n; i++) w[i] = (float)random_normal();
    return w;
}

static void spectrum(const fpr_layer_shape *shape, const float *w, uint64_t bytes_free, unsigned threads, fpr_spectrum *out)
{
    const linalg_layer layer = {.shape = shape, .dtype = FPR_F32, .weights = w, .bytes_free = bytes_free};
    assert_int_equal(linalg_spectrum(&layer, threads, out, NULL), FPR_OK);
}

static void close_to(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want))) fail_msg("%.12g is not %.12g", got, want);
}

static void figures_of_matrices_of_every_form(void **state)
{
    (void)state;
    static const struct { uint64_t out, in, k; } forms[] = {{1, 1, 1}, {1, 7, 9}, {40, 3, 9}, {64, 64, 9}, {200, 2, 9},
                                                            {33, 1200, 1}, {700, 30, 1}, {600, 5, 27}, {530, 600, 1}};
    random_state = 3;
    for (size_t f = 0; f < COUNT_OF(forms); f++)
        for (unsigned hwio = 0; hwio < 2; hwio++) {
            const uint64_t out = forms[f].out, in = forms[f].in, k = forms[f].k;
            const fpr_layer_shape shape = layer(out, in, k, hwio ? FPR_LAYOUT_HWIO : FPR_LAYOUT_OIHW);
            float *w = random_weights((size_t)(out * in * k));
            const linalg_view v = hwio ? (linalg_view){.rows = in * k, .row_stride = out, .outer = 1, .inner = out,
                                                       .inner_stride = 1}
                                       : (linalg_view){.rows = out, .row_stride = in * k, .outer = 1, .inner = in * k,
                                                       .inner_stride = 1};
            size_t n;
            double *s = values_by_svd(&v, w, &n), total = 0, entropy = 0, sum = 0;
            for (size_t i = 0; i < n; i++) total += s[i] * s[i];
            for (size_t i = 0; i < n; i++) entropy -= s[i] * s[i] / total * log(s[i] * s[i] / total);
            uint64_t ranks[3] = {0};
            for (size_t i = 0; i < n; i++) {
                for (unsigned r = 0; r < 3; r++) ranks[r] += sum < (double[]){0.9, 0.99, 0.999}[r] * total;
                sum += s[i] * s[i];
            }
            fpr_spectrum one, two;
            spectrum(&shape, w, UINT64_MAX, 1, &one);
            spectrum(&shape, w, UINT64_MAX, 2, &two);
            close_to(one.norm, s[0], 1e-8);
            close_to(one.stable_rank, total / s[0] / s[0], 1e-8);
            close_to(one.effective_rank, exp(entropy), 1e-8);
            close_to(one.condition, s[0] / s[n - 1], 1e-8);
            assert_true(one.rank90 == ranks[0] && one.rank99 == ranks[1] && one.rank999 == ranks[2]);
            assert_int_equal(one.value_count, n < FPR_SPECTRUM_POINTS ? n : FPR_SPECTRUM_POINTS);
            assert_true(one.values[0] == 1);
            close_to((double)one.values[one.value_count - 1], s[n - 1] / s[0], 1e-6);
            /* Whatever the number of threads. */
            assert_memory_equal(one.values, two.values, one.value_count * sizeof *one.values);
            assert_memory_equal(&one, &two, offsetof(fpr_spectrum, values));
            base_free(one.values);
            base_free(two.values);
            free(s);
            free(w);
        }
}

/* Rows of very different size: squaring alone would lose the small ones. */
static void the_condition_of_a_nearly_singular_layer(void **state)
{
    (void)state;
    for (unsigned tall = 0; tall < 2; tall++) {
        const uint64_t out = tall ? 300 : 60, in = tall ? 60 : 300;
        const fpr_layer_shape shape = layer(out, in, 1, FPR_LAYOUT_OIHW);
        float *w = random_weights((size_t)(out * in));
        /* The 60 rows (or columns) shrink from 1 to 1e-9. */
        for (size_t i = 0; i < out; i++)
            for (size_t j = 0; j < in; j++) w[i * in + j] *= (float)pow(10, -9.0 * (double)(tall ? j : i) / 59);
        const linalg_view v = {.rows = out, .row_stride = in, .outer = 1, .inner = in, .inner_stride = 1};
        size_t n;
        double *s = values_by_svd(&v, w, &n);
        fpr_spectrum got;
        spectrum(&shape, w, UINT64_MAX, 1, &got);
        assert_true(s[0] / s[n - 1] > 1e8);
        close_to(got.condition, s[0] / s[n - 1], 1e-5);
        base_free(got.values);
        /* Without memory for the second look it is not claimed to be known. */
        spectrum(&shape, w, 0, 1, &got);
        assert_true(isnan(got.condition));
        base_free(got.values);
        /* Nor where a whole filter is zero. */
        for (size_t i = 0; i < (tall ? out : in); i++) w[tall ? i * in : i] = 0;
        spectrum(&shape, w, UINT64_MAX, 1, &got);
        assert_true(isnan(got.condition));
        base_free(got.values);
        free(s);
        free(w);
    }
}

static void layers_without_a_spectrum(void **state)
{
    (void)state;
    static const float zero[90];
    const fpr_layer_shape shape = layer(10, 1, 9, FPR_LAYOUT_OIHW);
    fpr_spectrum got;
    spectrum(&shape, zero, UINT64_MAX, 1, &got);
    assert_true(got.known && got.norm == 0 && isnan(got.stable_rank) && isnan(got.condition) && isnan(got.alpha));
    base_free(got.values);
}

/* Values of a power law, at the middle of each of n equal shares: x = (1 - p)^(-1 / (alpha - 1)). */
static void the_tail_of_a_power_law(void **state)
{
    (void)state;
    static const double exponents[] = {1.8, 2.5, 4};
    static double x[2000], scratch[4000];
    for (size_t e = 0; e < COUNT_OF(exponents); e++) {
        for (size_t i = 0; i < COUNT_OF(x); i++)
            x[i] = pow(1 - ((double)i + 0.5) / (double)COUNT_OF(x), -1 / (exponents[e] - 1));
        close_to(linalg_tail_exponent(x, COUNT_OF(x), scratch), exponents[e], 0.02);
    }
    /* Only equal values: no tail. Fewer than eight: all of them are one. */
    for (size_t i = 0; i < 10; i++) x[i] = 1;
    assert_true(isnan(linalg_tail_exponent(x, 10, scratch)));
    for (size_t i = 0; i < 3; i++) x[i] = exp((double)i);
    close_to(linalg_tail_exponent(x, 3, scratch), 1 + 2.0 / 3, 1e-12);
}

/* Every tail, every point of it: the definition. */
static double tail_by_definition(const double *x, size_t n)
{
    double best = 1, alpha_of_best = NAN;
    for (size_t i = 0; i + 1 < n; i++) {
        double sum = 0, most = 0;
        for (size_t j = i; j < n; j++) sum += log(x[j] / x[i]);
        const double m = (double)(n - i), alpha = 1 + (n < 20 ? m - 1 : m) / sum;
        if (n < 20 && n - i < 8 && i > 0) continue;
        for (size_t j = i; j < n; j++) most = fmax(most, fabs(1 - pow(x[j] / x[i], 1 - alpha) - (double)(j - i) / m));
        if (alpha > 1 && most < best) best = most, alpha_of_best = alpha;
    }
    return alpha_of_best;
}

static void the_tail_is_that_of_the_definition(void **state)
{
    (void)state;
    static double x[700], scratch[1400];
    random_state = 11;
    for (size_t n = 8; n <= COUNT_OF(x); n = n < 30 ? n + 1 : n * 3 / 2) {
        for (size_t i = 0; i < n; i++) x[i] = exp(random_normal());
        qsort(x, n, sizeof *x, by_value);
        close_to(linalg_tail_exponent(x, n, scratch), tail_by_definition(x, n), 1e-9);
    }
}

static int begin(void **state) { (void)state; return linalg_begin(NULL); }
static int end(void **state) { (void)state; linalg_end(); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_matrices_of_every_form),
        cmocka_unit_test(the_condition_of_a_nearly_singular_layer),
        cmocka_unit_test(layers_without_a_spectrum),
        cmocka_unit_test(the_tail_of_a_power_law),
        cmocka_unit_test(the_tail_is_that_of_the_definition),
    };
    return cmocka_run_group_tests_name("linalg", tests, begin, end);
}

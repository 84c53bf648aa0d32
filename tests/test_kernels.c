/* num/kernels: each inner loop against its plain definition, and every variant against the portable one, bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/simd.h"
#include "num/num.h"

#include "numbers.h"

#define ROWS 128
#define STRIDE 264

static double tile_a[ROWS * STRIDE] __attribute__((aligned(64))), tile_b[ROWS * STRIDE] __attribute__((aligned(64)));
static double tile_c[ROWS * STRIDE] __attribute__((aligned(64)));
static const size_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 256};
static const unsigned sizes[] = {1, 2, 3, 4, 5, 8, 9, 10, 25, 27, 49, 128};

static const num_kernels *base(void) { return num_kernels_variant(0); }

/* ---- halves and bfloats, from their definition */

static double half_by_definition(uint16_t h)
{
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    const double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -size : size;
}

static void halves_are_what_ieee_says(void **state)
{
    (void)state;
    for (unsigned v = 0; num_kernels_variant(v); v++)
        for (uint32_t h = 0; h < 65536; h++) {
            const uint16_t half = (uint16_t)h;
            double x, want;
            if ((h & 0x7c00) != 0x7c00) {
                num_kernels_variant(v)->load_f16(&x, &half, 1, 1);
                want = half_by_definition(half);
                assert_memory_equal(&x, &want, sizeof x);
                num_kernels_variant(v)->tile_f16(&x, 8, &half, 1, 1, 4);
                assert_true(x == 4 * want);
            }
            if ((h & 0x7f80) != 0x7f80) {
                const uint32_t bits = h << 16;
                float f;
                memcpy(&f, &bits, sizeof f);
                num_kernels_variant(v)->load_bf16(&x, &half, 1, 0.5);
                assert_true(x == 0.5 * (double)f);
                num_kernels_variant(v)->tile_bf16(&x, 8, &half, 1, 1, 2);
                assert_true(x == 2 * (double)f);
            }
        }
}

/* Every half, the middle between each two, and a hair to both sides of the middle. */
static void rounding_to_half_goes_to_the_nearest_even(void **state)
{
    (void)state;
    for (unsigned v = 0; num_kernels_variant(v); v++)
        for (uint16_t h = 0; h < 0x7c00; h++) {
            const double low = half_by_definition(h);
            const double high = h == 0x7bff ? 65536 : half_by_definition((uint16_t)(h + 1));
            const double middle = (low + high) / 2, up = h == 0x7bff ? (double)INFINITY : high;
            double x[] = {low, middle, nextafter(middle, 0), nextafter(middle, 1e9), -middle, -low};
            const double want[] = {low, h % 2 ? up : low, low, up, h % 2 ? -up : -low, -low};
            num_kernels_variant(v)->half(x, COUNT_OF(x));
            for (size_t i = 0; i < COUNT_OF(x); i++) assert_true(x[i] == want[i]);
        }
    double flushed[] = {2.9e-8, -2.9e-8, 3.1e-8, 1e-300, 70000, -1e300};
    base()->half(flushed, COUNT_OF(flushed));
    assert_true(flushed[0] == 0 && flushed[1] == 0 && flushed[2] == 0x1p-24 && flushed[3] == 0);
    assert_true(isinf(flushed[4]) && isinf(flushed[5]) && flushed[5] < 0);
}

/* ---- bit patterns */

static void peaks_and_counts_of_bit_patterns(void **state)
{
    (void)state;
    static uint64_t w64[300];
    static uint32_t w32[300];
    static uint16_t w16[300];
    static uint8_t live[300], want_live[300];
    random_state = 1;
    for (unsigned round = 0; round < 50; round++) {
        const size_t n = 1 + random_bits() % 300;
        uint64_t peak[3] = {0}, below[3] = {0};
        int64_t top[3] = {INT64_MIN, INT64_MIN, INT64_MIN};
        const uint64_t limit = random_bits() >> 1;
        for (size_t i = 0; i < n; i++) {
            w64[i] = random_bits();
            w32[i] = (uint32_t)random_bits();
            w16[i] = (uint16_t)random_bits();
            const uint64_t m[] = {w64[i] & INT64_MAX, w32[i] & INT32_MAX, w16[i] & INT16_MAX};
            const uint64_t limits[] = {limit, limit >> 32, limit >> 48};
            const int64_t values[] = {(int64_t)w64[i], (int32_t)w32[i], (int16_t)w16[i]};
            for (unsigned j = 0; j < 3; j++) {
                if (m[j] > peak[j]) peak[j] = m[j];
                if (values[j] > top[j]) top[j] = values[j];
                below[j] += m[j] < limits[j];
            }
            want_live[i] = m[2] >= limits[2];
        }
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            const num_kernels *k = num_kernels_variant(v);
            assert_true(k->peak64(w64, n) == peak[0] && k->peak32(w32, n) == peak[1] && k->peak16(w16, n) == peak[2]);
            assert_true(k->top64(w64, n) == top[0] && k->top32(w32, n) == top[1] && k->top16(w16, n) == top[2]);
            memset(live, 0, sizeof live);
            assert_true(k->below64(w64, n, limit, live) == below[0]);
            assert_true(k->below32(w32, n, limit >> 32, live) == below[1]);
            memset(live, 0, sizeof live);
            assert_true(k->below16(w16, n, limit >> 48, live) == below[2]);
            assert_memory_equal(live, want_live, n);
            assert_true(k->below16(w16, n, 0x8000, live) == n); /* a limit above all */
        }
    }
    /* more than a 16-bit counter holds */
    uint16_t *many = calloc(200001, sizeof *many);
    uint8_t *flags = calloc(200001, 1);
    for (unsigned v = 0; num_kernels_variant(v); v++)
        assert_true(num_kernels_variant(v)->below16(many, 200001, 1, flags) == 200001);
    free(many);
    free(flags);
}

/* ---- tiles */

static void rows_become_tiles(void **state)
{
    (void)state;
    static float f32[ROWS * 256];
    static double f64[ROWS * 256];
    static uint16_t f16[ROWS * 256];
    for (size_t i = 0; i < COUNT_OF(f32); i++) {
        f32[i] = (float)random_normal();
        f64[i] = random_normal();
        f16[i] = (uint16_t)(random_bits() & 0xbbff);
    }
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (size_t l = 0; l < COUNT_OF(lengths); l++)
            for (unsigned v = 0; num_kernels_variant(v); v++) {
                const num_kernels *kernels = num_kernels_variant(v);
                const unsigned k = sizes[s];
                const size_t n = lengths[l];
                kernels->tile_f32(tile_a, STRIDE, f32, n, k, 0.25);
                kernels->tile_f64(tile_b, STRIDE, f64, n, k, 0.25);
                kernels->tile_f16(tile_c, STRIDE, f16, n, k, 1);
                for (size_t i = 0; i < n; i++)
                    for (unsigned d = 0; d < k; d++) {
                        assert_true(tile_a[d * STRIDE + i] == 0.25 * (double)f32[i * k + d]);
                        assert_true(tile_b[d * STRIDE + i] == 0.25 * f64[i * k + d]);
                        assert_true(tile_c[d * STRIDE + i] == half_by_definition(f16[i * k + d]));
                    }
            }
}

static void fill_tile(double *x, size_t n, unsigned k)
{
    for (unsigned d = 0; d < k; d++)
        for (size_t i = 0; i < n; i++) x[d * STRIDE + i] = random_normal();
}

static void peaks_and_quotients(void **state)
{
    (void)state;
    static double peak[256], want[256], squares[256], divided[9 * STRIDE];
    for (size_t l = 0; l < COUNT_OF(lengths); l++) {
        const size_t n = lengths[l];
        fill_tile(tile_a, n, 9);
        for (unsigned d = 0; d < 9; d++) tile_a[d * STRIDE] = 0; /* a zero kernel */
        for (size_t i = 0; i < n; i++) {
            want[i] = 0;
            for (unsigned d = 0; d < 9; d++) want[i] = fmax(want[i], fabs(tile_a[d * STRIDE + i]));
        }
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            num_kernels_variant(v)->tile_peak(peak, tile_a, STRIDE, n, 9);
            assert_memory_equal(peak, want, n * sizeof *peak);
            num_kernels_variant(v)->tile_squares(squares, tile_a, STRIDE, n, 9);
            for (size_t i = 0; i < n; i++) {
                double sum = 0;
                for (unsigned d = 0; d < 9; d++) sum += tile_a[d * STRIDE + i] * tile_a[d * STRIDE + i];
                assert_true(squares[i] == sum);
            }
            num_kernels_variant(v)->tile_divide(divided, tile_a, peak, STRIDE, n, 9);
            for (size_t i = 0; i < n; i++)
                for (unsigned d = 0; d < 9; d++)
                    assert_true(divided[d * STRIDE + i] == (want[i] > 0 ? tile_a[d * STRIDE + i] / want[i] : 0));
        }
    }
}

/* Divisors and dividends of all sizes that floats have, powers of two between them included, for quotients that lie near
 * a double or halfway between two. */
static void quotients_of_floats_are_rounded_once(void **state)
{
    (void)state;
    static double peak[256], divided[2 * STRIDE];
    random_state = 5;
    for (unsigned round = 0; round < 4000; round++) {
        const double scale = ldexp(1, (int)(round % 3) * 140 - 140);
        for (size_t i = 0; i < 256; i++) {
            const uint32_t bits[] = {(uint32_t)random_bits() & 0x7f7fffff, (uint32_t)random_bits() & 0x7f7fffff};
            float p, w;
            memcpy(&p, &bits[0], sizeof p);
            memcpy(&w, &bits[1], sizeof w);
            peak[i] = i % 17 == 0 ? 0 : (i % 5 ? p : ldexp(1, (int)(bits[0] % 250) - 140)) * scale;
            tile_a[i] = fmin((i % 3 ? w : i % 2 ? p - 0x1p-149f : 0.5f * p) * scale, peak[i]);
            tile_a[STRIDE + i] = i % 7 ? -tile_a[i] : -0.0;
        }
        const size_t n = 1 + random_bits() % 256;
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            num_kernels_variant(v)->tile_divide_floats(divided, tile_a, peak, STRIDE, n, 2);
            for (size_t i = 0; i < n; i++)
                for (unsigned d = 0; d < 2; d++) {
                    const double want = (peak[i] > 0 ? tile_a[d * STRIDE + i] / peak[i] : 0) + 0.0;
                    assert_memory_equal(&divided[d * STRIDE + i], &want, sizeof want);
                }
        }
    }
}

static void vectors_that_reach_a_limit(void **state)
{
    (void)state;
    for (size_t l = 0; l < COUNT_OF(lengths); l++) {
        const size_t n = lengths[l];
        fill_tile(tile_a, n, 9);
        const double limit = tile_a[n / 2]; /* one is reached exactly */
        size_t want = 0;
        for (size_t i = 0; i < n; i++) {
            bool above = false;
            for (unsigned d = 0; d < 9; d++) above |= tile_a[d * STRIDE + i] >= limit;
            want += above;
        }
        for (unsigned v = 0; num_kernels_variant(v); v++)
            assert_int_equal(num_kernels_variant(v)->tile_above(tile_a, STRIDE, n, 9, limit), want);
    }
}

static void moments_and_projections_of_tiles(void **state)
{
    (void)state;
    static double mean[2][128], scatter[2][128 * 128], components[128 * 128], x[ROWS * STRIDE];
    static double c[2][ROWS * STRIDE] __attribute__((aligned(64)));
    for (size_t i = 0; i < COUNT_OF(components); i++) components[i] = random_normal();
    for (size_t s = 0; s < COUNT_OF(sizes); s++)
        for (size_t l = 0; l < COUNT_OF(lengths); l++) {
            const unsigned k = sizes[s];
            const size_t n = lengths[l];
            fill_tile(x, n, k);
            for (unsigned v = 0; num_kernels_variant(v); v++) {
                const unsigned to = v > 0;
                memcpy(tile_a, x, sizeof x);
                memcpy(tile_b, x, sizeof x);
                num_kernels_variant(v)->tile_moments(mean[to], scatter[to], tile_a, STRIDE, n, k);
                num_kernels_variant(v)->tile_project(c[to], tile_b, STRIDE, n, k, mean[to], components);
                if (v == 0) continue;
                assert_memory_equal(mean[1], mean[0], k * sizeof(double));
                for (unsigned a = 0; a < k; a++) {
                    assert_memory_equal(scatter[1] + a * k + a, scatter[0] + a * k + a, (k - a) * sizeof(double));
                    assert_memory_equal(c[1] + a * STRIDE, c[0] + a * STRIDE, n * sizeof(double));
                }
            }
            for (unsigned a = 0; a < k; a += 1 + k / 10) {
                long double sum = 0;
                for (size_t i = 0; i < n; i++) sum += x[a * STRIDE + i];
                assert_close(mean[0][a], (double)(sum / (long double)n), 1e-14);
                for (unsigned b = a; b < k; b += 1 + k / 10) {
                    sum = 0;
                    for (size_t i = 0; i < n; i++) {
                        const long double u = x[a * STRIDE + i], v = x[b * STRIDE + i];
                        sum += (u - mean[0][a]) * (v - mean[0][b]);
                    }
                    assert_close(scatter[0][a * k + b], (double)sum, 1e-13 * (double)n);
                }
                for (size_t i = 0; i < n; i += 3) {
                    sum = 0;
                    for (unsigned d = 0; d < k; d++)
                        sum += ((long double)x[d * STRIDE + i] - mean[0][d]) * components[a * k + d];
                    assert_close(c[0][a * STRIDE + i], (double)sum, 1e-13 * k);
                }
            }
        }
}

/* ---- rows of numbers */

static void sums_and_ranges(void **state)
{
    (void)state;
    static double x[257], y[257];
    static double by[257];
    static float f[257];
    static double doubles[257];
    for (size_t i = 0; i < COUNT_OF(x); i++) {
        by[i] = fabs(random_normal());
        x[i] = random_normal();
        y[i] = random_normal();
        f[i] = (float)random_normal();
        doubles[i] = f[i];
    }
    for (size_t n = 0; n <= COUNT_OF(x); n++) {
        double squares = 0, sum = 0, dot = 0, low = INFINITY, high = -INFINITY;
        for (size_t i = 0; i < n; i++) {
            squares += x[i] * x[i];
            sum += (double)fabsf(f[i]) * by[i];
            dot += x[i] * y[i];
            low = fmin(low, x[i]);
            high = fmax(high, x[i]);
        }
        assert_close(base()->sum_squares(x, n), squares, 1e-11);
        const double of_floats = base()->sum_squares(doubles, n);
        assert_close(base()->sum_abs(f, by, n), sum, 1e-11);
        assert_close(base()->dot(x, y, n), dot, 1e-11);
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            const num_kernels *kernels = num_kernels_variant(v);
            const double got[] = {kernels->sum_squares(x, n), kernels->float_sum_squares(f, n), kernels->sum_abs(f, by, n),
                                  kernels->dot(x, y, n)};
            const double want[] = {base()->sum_squares(x, n), of_floats, base()->sum_abs(f, by, n), base()->dot(x, y, n)};
            assert_memory_equal(got, want, sizeof got);
            double range[2] = {INFINITY, -INFINITY}, wide[2] = {-10, 10};
            kernels->range(range, x, n);
            assert_true(range[0] == low && range[1] == high);
            kernels->range(wide, x, n);
            assert_true(wide[0] == -10 && wide[1] == 10);
        }
    }
}

/* Rows of any number and length against sums in doubles, and every variant against the baseline in every bit. */
static void products_of_rows(void **state)
{
    (void)state;
    enum { MOST = 37, LONG = 602 };
    static float a[MOST * LONG], b[MOST * LONG], first[MOST * MOST], g[MOST * MOST];
    for (size_t i = 0; i < COUNT_OF(a); i++) {
        a[i] = (float)random_normal();
        b[i] = (float)random_normal();
    }
    /* Around the sizes of blocks and panels: 3, 6, 12 rows, 8, 16, 32 columns, 256 weights; all pairs of few rows. */
    const size_t depths[] = {1, 3, 9, 16, 69, 255, 256, 257, 601};
    for (size_t i = 0; i < COUNT_OF(depths); i++)
        for (size_t m = 1; m <= MOST; m += m < 14 || m > 30 ? 1 : 3)
            for (size_t n = 1; n <= MOST; n += n < 18 || n > 30 ? 1 : 3)
                for (unsigned same = 0; same < 2; same++) {
                    const num_rows x = {a, LONG, m}, y = {same ? a : b, LONG - 1, n};
                    if (same && m != n) continue;
                    for (unsigned v = 0; num_kernels_variant(v); v++) {
                        const num_kernels *kernels = num_kernels_variant(v);
                        memset(g, 0, sizeof g);
                        kernels->gram(g, &x, same ? &x : &y, depths[i], false);
                        kernels->gram(g, &x, same ? &x : &y, depths[i], true);
                        for (size_t r = 0; r < m; r++)
                            for (size_t c = same ? r : 0; c < n; c++) {
                                const float *p = a + r * LONG, *q = same ? a + c * LONG : b + c * (LONG - 1);
                                double dot = 0, size = 0;
                                for (size_t d = 0; d < depths[i]; d++) {
                                    dot += 2.0 * (double)p[d] * (double)q[d];
                                    size += fabs(2.0 * (double)p[d] * (double)q[d]);
                                }
                                /* Every product and sum is rounded to a float, which errs by 2^-24 at most, either way. */
                                assert_close((double)g[r * n + c], dot, 0x1p-24 * size * (1 + sqrt((double)depths[i])));
                                if (v) assert_memory_equal(&g[r * n + c], &first[r * n + c], sizeof *g);
                            }
                        if (!v) memcpy(first, g, sizeof g);
                    }
                }
}

static void picks_from_a_tile(void **state)
{
    (void)state;
    enum { K = 5, WIDTH = 40 };
    static double x[K * STRIDE], y[K * STRIDE];
    uint32_t index[WIDTH];
    for (size_t i = 0; i < COUNT_OF(x); i++) x[i] = random_normal();
    for (size_t n = 0; n <= WIDTH; n++)
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            for (size_t i = 0; i < n; i++) index[i] = (uint32_t)(i * i * 7 % 256);
            memset(y, 0, sizeof y);
            num_kernels_variant(v)->tile_pick(y, x, STRIDE, index, n, K);
            for (unsigned d = 0; d < K; d++)
                for (size_t i = 0; i < STRIDE; i++)
                    assert_true(y[d * STRIDE + i] == (i < n ? x[d * STRIDE + index[i]] : 0));
        }
}

static void loads_and_packs(void **state)
{
    (void)state;
    static float f[100], packed[100];
    static double d[100], got[100];
    for (size_t i = 0; i < COUNT_OF(f); i++) {
        f[i] = (float)random_normal();
        d[i] = random_normal() * 1e-200;
    }
    for (unsigned v = 0; num_kernels_variant(v); v++) {
        const num_kernels *kernels = num_kernels_variant(v);
        kernels->load_f32(got, f, COUNT_OF(f), 0.5);
        for (size_t i = 0; i < COUNT_OF(f); i++) assert_true(got[i] == 0.5 * (double)f[i]);
        kernels->load_f64(got, d, COUNT_OF(d), 2);
        for (size_t i = 0; i < COUNT_OF(d); i++) assert_true(got[i] == 2 * d[i]);
        kernels->pack(packed, d, COUNT_OF(d), 0x1p600, 3e19);
        for (size_t i = 0; i < COUNT_OF(d); i++) {
            const float want = (float)(d[i] * 0x1p600 * 3e19);
            assert_memory_equal(&packed[i], &want, sizeof want);
        }
    }
}

static void cells_are_the_same_everywhere(void **state)
{
    (void)state;
    static double x[512];
    static uint32_t place[2][512];
    const num_cells_view views[] = {{-2, 3, 70, 10, 0, 71680}, {-2, 3, 70, 14, 20000, 71680}, {-1, 1, 2, 0, -5, 20}};
    for (size_t w = 0; w < COUNT_OF(views); w++)
        for (unsigned round = 0; round < 20; round++) {
            for (size_t i = 0; i < COUNT_OF(x); i++) {
                x[i] = -2 + 5 * random_unit();
                if (round % 2 && i % 5 == 0) x[i] = -2 + 5.0 / 70 * (double)(random_bits() % 71);
                if (round % 3 == 0 && i == 77) x[i] = round % 2 ? -1e9 : 4;
            }
            for (unsigned v = 0; num_kernels_variant(v); v++) {
                num_kernels_variant(v)->cells(place[v > 0], x, COUNT_OF(x), &views[w]);
                if (v) assert_memory_equal(place[1], place[0], sizeof place[0]);
            }
        }
}

/* What a number's neighbours are must not matter: a block with an awkward number in it takes a slower way. */
static void a_cell_does_not_depend_on_the_neighbours(void **state)
{
    (void)state;
    static double x[64];
    uint32_t place[64], alone;
    const num_cells_view view = {-2, 3, 70, 10, 0, 71680};
    for (unsigned round = 0; round < 200; round++) {
        for (size_t i = 0; i < COUNT_OF(x); i++) x[i] = -2 + 5 * random_unit();
        x[round % 64] = round % 3 ? -2 + 5.0 / 70 * (round % 71) : 7;
        base()->cells(place, x, COUNT_OF(x), &view);
        for (size_t i = 0; i < COUNT_OF(x); i++) {
            base()->cells(&alone, x + i, 1, &view);
            assert_true(alone == place[i]);
        }
    }
}

/* Zeros of both signs compare equal: which of them a kernel picks must not depend on the width of its registers. */
static void zeros_of_either_sign_are_the_same_everywhere(void **state)
{
    (void)state;
    static const double values[] = {0.0, -0.0, 1.0, -1.0};
    static double x[64], peak[64], divided[64], rounded[2][64];
    static uint32_t place[2][64];
    const num_cells_view view = {.lo = -1, .hi = 1, .bins = 70, .zoom = 3, .count = 70 << 3};
    random_state = 77;
    for (unsigned round = 0; round < 20000; round++) {
        const size_t n = 1 + random_bits() % COUNT_OF(x);
        const unsigned kinds = round % 2 ? 4 : 2; /* zeros alone, too */
        double low = 1, high = -1;
        for (size_t i = 0; i < n; i++) {
            x[i] = values[random_bits() % kinds];
            low = x[i] < low ? x[i] : low;
            high = x[i] > high ? x[i] : high;
        }
        const double want[2] = {low == 0 ? 0.0 : low, high == 0 ? 0.0 : high}; /* a bound of zero has no sign */
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            const num_kernels *kernels = num_kernels_variant(v);
            double range[2] = {INFINITY, -INFINITY};
            kernels->range(range, x, n);
            assert_memory_equal(range, want, sizeof want);
            kernels->range(range, x, n); /* widened by what it spans */
            assert_memory_equal(range, want, sizeof want);
            kernels->tile_peak(peak, x, COUNT_OF(x), n, 1);
            kernels->tile_divide(divided, x, peak, COUNT_OF(x), n, 1);
            memcpy(rounded[v > 0], x, sizeof x);
            kernels->half(rounded[v > 0], n);
            for (size_t i = 0; i < n; i++) {
                const double size = fabs(x[i]);
                assert_memory_equal(&peak[i], &size, sizeof size);
            }
            assert_memory_equal(divided, x, n * sizeof *x);
            assert_memory_equal(rounded[v > 0], rounded[0], n * sizeof *x);
            kernels->cells(place[v > 0], x, n, &view);
            assert_memory_equal(place[v > 0], place[0], n * sizeof **place);
        }
    }
}

static void variants_have_names(void **state)
{
    (void)state;
    unsigned count = 0;
    for (; num_kernels_variant(count); count++) assert_non_null(num_kernels_variant(count)->name);
    assert_string_equal(base()->name, "baseline");
    assert_ptr_equal(num_kernels_best(), num_kernels_variant(count - 1));
    assert_null(num_kernels_variant(count + 100));
    /* A lower level may be asked for, never a higher one. */
    for (unsigned level = 0; level < BASE_SIMD_COUNT; level++) {
        base_simd_limit((base_simd)level);
        assert_ptr_equal(num_kernels_best(), num_kernels_variant(level < count ? level : count - 1));
    }
    assert_int_equal(fpr_limit_simd("base", NULL), FPR_OK);
    assert_ptr_equal(num_kernels_best(), base());
    assert_int_equal(fpr_limit_simd("sse9", NULL), FPR_USAGE);
    assert_int_equal(fpr_limit_simd("", NULL), FPR_USAGE);
    assert_ptr_equal(num_kernels_best(), base());
    assert_int_equal(fpr_limit_simd("avx512", NULL), FPR_OK);
    assert_string_equal(num_kernels_best()->name, count > 1 ? fpr_simd() : "baseline");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_have_names),
        cmocka_unit_test(zeros_of_either_sign_are_the_same_everywhere),
        cmocka_unit_test(halves_are_what_ieee_says),
        cmocka_unit_test(rounding_to_half_goes_to_the_nearest_even),
        cmocka_unit_test(peaks_and_counts_of_bit_patterns),
        cmocka_unit_test(rows_become_tiles),
        cmocka_unit_test(peaks_and_quotients),
        cmocka_unit_test(quotients_of_floats_are_rounded_once),
        cmocka_unit_test(vectors_that_reach_a_limit),
        cmocka_unit_test(moments_and_projections_of_tiles),
        cmocka_unit_test(sums_and_ranges),
        cmocka_unit_test(products_of_rows),
        cmocka_unit_test(picks_from_a_tile),
        cmocka_unit_test(loads_and_packs),
        cmocka_unit_test(cells_are_the_same_everywhere),
        cmocka_unit_test(a_cell_does_not_depend_on_the_neighbours),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}

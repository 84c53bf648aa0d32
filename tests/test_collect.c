/* The room of collections: random numbers, the noise floor, orders and names. */
#include "collect/deal.h"
#include "base/simd.h"
#include "num/num.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static collect_dice *dice;

/* ---- hands */

static double log_choose(double n, double k) { return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1); }

/* The chance of x marked ones in a hand of n. */
static double chance(double total, double marked, double n, double x)
{
    if (x < 0 || x > n || x > marked || n - x > total - marked) return 0;
    return exp(log_choose(marked, x) + log_choose(total - marked, n - x) - log_choose(total, n));
}

/* As many hands as are dealt at once. */
static void hands_of(collect_random *random, uint64_t total, uint64_t marked, uint64_t n, double *x)
{
    double uniform[COLLECT_DRAWS], normal[COLLECT_DRAWS], of[COLLECT_DRAWS];
    for (unsigned d = 0; d < COLLECT_DRAWS; d++) uniform[d] = collect_random_uniform(random), of[d] = (double)n;
    const deal_kernels *kernels = deal_kernels_best();
    kernels->normals(uniform, COLLECT_DRAWS, normal);
    kernels->hands(dice->factorials, (double)total, (double)marked, of, uniform, normal, x);
}

static void hand_is(uint64_t total, uint64_t marked, uint64_t n, double wanted)
{
    collect_random random = {1};
    double x[COLLECT_DRAWS];
    hands_of(&random, total, marked, n, x);
    for (unsigned d = 0; d < COLLECT_DRAWS; d++) assert_true(x[d] == wanted);
}

/* Chi-square of 40,000 hands against the exact chances, over cells of 20 expected or more. */
static void hands_fit(uint64_t total, uint64_t marked, uint64_t n)
{
    enum { DRAWS = 40000, CELLS = 2000 };
    static unsigned seen[CELLS + 1];
    const double middle = floor((double)n * (double)marked / (double)total), from = fmax(0, middle - CELLS / 2);
    collect_random random = {n};
    memset(seen, 0, sizeof seen);
    double hands[COLLECT_DRAWS];
    for (int i = 0; i < DRAWS; i++) {
        if (i % COLLECT_DRAWS == 0) hands_of(&random, total, marked, n, hands);
        const double x = hands[i % COLLECT_DRAWS];
        assert_true(x == floor(x) && x >= 0 && x <= (double)n && x <= (double)marked);
        assert_true((double)n - x <= (double)(total - marked));
        assert_true(x >= from && x - from <= CELLS);
        seen[(unsigned)(x - from)]++;
    }
    double square = 0, expected = 0, found = 0;
    unsigned cells = 0;
    for (int i = 0; i <= CELLS; i++) {
        expected += DRAWS * chance((double)total, (double)marked, (double)n, from + i);
        found += seen[i];
        if (expected < 20) continue;
        square += (found - expected) * (found - expected) / expected;
        expected = found = 0;
        cells++;
    }
    assert_true(cells > 2);
    /* Five standard deviations above what is expected. */
    if (square > cells + 5 * sqrt(2.0 * cells))
        fail_msg("%g of %g, hand of %g: %g over %u cells", (double)marked, (double)total, (double)n, square, cells);
}

static void hands_follow_their_law(void **state)
{
    (void)state;
    hands_fit(20, 7, 10);
    hands_fit(20, 17, 18);
    hands_fit(4000, 100, 380);    /* 9.5 expected: still exact */
    hands_fit(4000, 100, 420);    /* 10.5 expected: normal with skewness */
    hands_fit(100000, 1100, 1000);
    hands_fit(52256, 40, 5000);
    hands_fit(10000, 5000, 5000);
    hands_fit(10000, 9000, 7000);
    hands_fit(1000000000, 30000, 500000); /* 15 */
    hands_fit(2000000000, 600, 1000000000);
    hands_fit(150, 60, 20);               /* 8: by factorials */
    hands_fit(171, 60, 20);               /* by Stirling's series */
    hands_fit(300, 150, 19);
    hand_is(1000, 1000, 10, 10);
    hand_is(1000, 300, 1000, 300);
    hand_is(1000, 300, 0, 0);
    hand_is(1, 1, 1, 1);
    hand_is(1, 1, 0, 0);
    hand_is(2, 2, 1, 1);
    collect_random random = {1};
    /* Two billion: mean and variance, n p (1 - p) (N - n) / (N - 1). */
    double sum = 0, squares = 0;
    double hands[COLLECT_DRAWS];
    for (int i = 0; i < 20000; i++) {
        if (i % COLLECT_DRAWS == 0) hands_of(&random, 2000000000, 500000000, 1000000000, hands);
        const double d = hands[i % COLLECT_DRAWS] - 2.5e8;
        sum += d / 20000;
        squares += d * d / 20000;
    }
    assert_true(fabs(sum) < 5 * sqrt(0.9375e8 / 20000));
    assert_true(fabs(squares / 0.9375e8 - 1) < 5 * sqrt(2.0 / 20000));
}

/* ---- the noise floor */

enum { K = 9, BINS = 70 };
static const double weights[K] = {0.398, 0.183, 0.117, 0.099, 0.066, 0.055, 0.03, 0.028, 0.024};

/* Kernels as networks have them: nine weights that hang together by a common part, scaled to a peak of 1, one in ten
 * nearly flat. Their weights stand for coefficients. */
static void add_kernel(collect_random *random, double lean, uint64_t *counts)
{
    double w[K], peak = 0;
    const double common = collect_random_uniform(random) - 0.5 + lean;
    const double own = collect_random_uniform(random) < 0.1 ? 0.01 : 1;
    for (int i = 0; i < K; i++) {
        w[i] = common + own * (collect_random_uniform(random) + collect_random_uniform(random) - 1);
        peak = fmax(peak, fabs(w[i]));
    }
    for (int i = 0; i < K; i++) counts[i * BINS + (unsigned)fmin(BINS - 1, (w[i] / peak + 1) / 2 * BINS)]++;
}

static void sample(collect_random *random, unsigned n, double lean, uint64_t *counts)
{
    memset(counts, 0, K * BINS * sizeof *counts);
    for (unsigned i = 0; i < n; i++) add_kernel(random, lean, counts);
}

static double divergence(const uint64_t *p, const uint64_t *q)
{
    double sum = 0;
    for (int i = 0; i < K; i++) sum += weights[i] * num_divergence(p + i * BINS, q + i * BINS, BINS, 2.0 / BINS);
    return sum;
}

static void samples_of_one_distribution_stay_below(void **state)
{
    (void)state;
    static const unsigned sizes[] = {10, 50, 500, 5000};
    static uint64_t whole[K * BINS], part[K * BINS];
    collect_random random = {7};
    sample(&random, 30000, 0, whole);
    for (int s = 0; s < 4; s++) {
        int below = 0, below_median = 0;
        for (int i = 0; i < 100; i++) {
            sample(&random, sizes[s], 0, part);
            const collect_noise floor = collect_noise_floor(dice, whole, part, K, BINS, 2.0 / BINS, weights);
            below += divergence(whole, part) <= floor.q95;
            below_median += divergence(whole, part) <= floor.median;
            assert_true(floor.median > 0 && floor.median < floor.q95);
        }
        if (below < 90) fail_msg("samples of %u: %d of 100 below", sizes[s], below);
        /* And it is no trivial bound: about half lie below the median. */
        if (below_median < 25 || below_median > 80) fail_msg("samples of %u: %d below the median", sizes[s], below_median);
    }
}

/* Two small samples, which are of a size: what the pooled histogram taken for the distribution gets wrong. */
static void equals_stay_below_each_other(void **state)
{
    (void)state;
    static uint64_t one[K * BINS], two[K * BINS];
    collect_random random = {11};
    int below = 0, below_median = 0;
    for (int i = 0; i < 100; i++) {
        sample(&random, 2048, 0, one);
        sample(&random, 2048, 0, two);
        const collect_noise floor = collect_noise_floor(dice, one, two, K, BINS, 2.0 / BINS, weights);
        below += divergence(one, two) <= floor.q95;
        below_median += divergence(one, two) <= floor.median;
    }
    if (below < 90) fail_msg("%d of 100 below", below);
    if (below_median < 30 || below_median > 70) fail_msg("%d below the median", below_median);
}

static void other_distributions_rise_above(void **state)
{
    (void)state;
    static uint64_t whole[K * BINS], other[K * BINS];
    collect_random random = {8};
    sample(&random, 30000, 0, whole);
    sample(&random, 2000, 0.2, other);
    assert_true(divergence(whole, other) >
                collect_noise_floor(dice, whole, other, K, BINS, 2.0 / BINS, weights).q95);
}

static void the_floor_has_no_order_and_no_size_limit(void **state)
{
    (void)state;
    static uint64_t a[K * BINS], b[K * BINS];
    collect_random random = {9};
    sample(&random, 3000, 0, a);
    sample(&random, 400, 0, b);
    const collect_noise one = collect_noise_floor(dice, a, b, K, BINS, 2.0 / BINS, weights),
                        two = collect_noise_floor(dice, b, a, K, BINS, 2.0 / BINS, weights);
    assert_memory_equal(&one, &two, sizeof one);
    for (int i = 0; i < K * BINS; i++) a[i] *= 400000, b[i] = a[i];
    const collect_noise large = collect_noise_floor(dice, a, b, K, BINS, 2.0 / BINS, weights);
    /* 1.2e9 each, no bin of which runs empty: chi-square of two samples, 2/n of it, over some hundred cells. */
    assert_true(large.q95 > 0 && large.q95 < 1e-6);
    memset(a, 0, sizeof a);
    const collect_noise none = collect_noise_floor(dice, a, a, K, BINS, 2.0 / BINS, weights);
    assert_true(none.median == 0 && none.q95 == 0);
}

/* For two samples of n and m over b bins, all well filled, the divergence is chi-square of b - 1 degrees times
 * (1/n + 1/m): its median and 95 % point are known. */
static void well_filled_bins_give_chi_square(void **state)
{
    (void)state;
    enum { CELLS = 11 };
    uint64_t p[CELLS], q[CELLS];
    for (int i = 0; i < CELLS; i++) p[i] = 20000, q[i] = 5000;
    const double one = 1;
    const collect_noise floor = collect_noise_floor(dice, p, q, 1, CELLS, 0.1, &one);
    const double unit = 1.0 / (CELLS * 20000) + 1.0 / (CELLS * 5000);
    /* Chi-square of ten degrees: median 9.342, 95 % point 18.307; of 64 draws the sample's are off by some 7 and 12 %. */
    assert_true(fabs(floor.median / unit / 9.342 - 1) < 0.25);
    assert_true(fabs(floor.q95 / unit / 18.307 - 1) < 0.35);
}

static void every_processor_deals_the_same(void **state)
{
    (void)state;
    static uint64_t a[K * BINS], b[K * BINS];
    static const unsigned sizes[][2] = {{30, 20}, {5000, 40}, {5000, 4000}};
    collect_random random = {21};
    for (int s = 0; s < 3; s++) {
        collect_noise of[BASE_SIMD_COUNT];
        sample(&random, sizes[s][0], 0, a);
        sample(&random, sizes[s][1], 0, b);
        for (int level = 0; level < BASE_SIMD_COUNT; level++) {
            collect_dice *own;
            base_simd_limit((base_simd)level);
            assert_int_equal(collect_dice_new(K * BINS, &own, NULL), FPR_OK);
            of[level] = collect_noise_floor(own, a, b, K, BINS, 2.0 / BINS, weights);
            collect_dice_free(own);
        }
        assert_memory_equal(&of[0], &of[1], sizeof of[0]);
        assert_memory_equal(&of[0], &of[2], sizeof of[0]);
    }
    base_simd_limit(BASE_SIMD_AVX512);
}

/* Chances are taken again there, a draw further on: the sum over components keeps its law, chi-square as above. */
static void more_bins_than_rows_of_dice(void **state)
{
    (void)state;
    enum { MANY = 300, CELLS = 11 };
    static uint64_t p[MANY * CELLS], q[MANY * CELLS];
    static double all[MANY];
    collect_dice *own;
    assert_int_equal(collect_dice_new(MANY * CELLS, &own, NULL), FPR_OK);
    for (int i = 0; i < MANY * CELLS; i++) p[i] = 20000, q[i] = 5000;
    for (int i = 0; i < MANY; i++) all[i] = 1;
    const collect_noise floor = collect_noise_floor(own, p, q, MANY, CELLS, 0.1, all);
    const double unit = 1.0 / (CELLS * 20000) + 1.0 / (CELLS * 5000), degrees = 10 * MANY;
    /* Normal by then: median and 95 % point to four standard errors of theirs from 64 draws. */
    assert_true(fabs(floor.median / unit - degrees) < 4 * 1.2533 * sqrt(2 * degrees / 64));
    assert_true(fabs(floor.q95 / unit - degrees - 1.645 * sqrt(2 * degrees)) < 4 * 2.11 * sqrt(2 * degrees / 64));
    collect_dice_free(own);
}

/* ---- order */

static void points_on_a_line_come_in_their_order(void **state)
{
    (void)state;
    collect_random random = {3};
    for (size_t n = 1; n <= 60; n++) {
        double at[60], distance[60 * 60];
        size_t order[60];
        for (size_t i = 0; i < n; i++) at[i] = collect_random_uniform(&random);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < n; j++) distance[i * n + j] = fabs(at[i] - at[j]);
        assert_int_equal(collect_similarity_order(distance, n, order, NULL), FPR_OK);
        int up = 0, down = 0;
        for (size_t i = 1; i < n; i++) at[order[i]] > at[order[i - 1]] ? up++ : down++;
        assert_true(up == 0 || down == 0);
    }
}

/* Three families, far from each other: each stays together, and so do the twins within. */
static void families_stay_together(void **state)
{
    (void)state;
    enum { N = 12 };
    double distance[N * N];
    size_t order[N], place[N];
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++)
            distance[i * N + j] = i == j ? 0 : i % 6 == j % 6 ? 0.1 : i % 3 == j % 3 ? 1 : i % 3 + j % 3 == 1 ? 5 : 9;
    assert_int_equal(collect_similarity_order(distance, N, order, NULL), FPR_OK);
    for (size_t i = 0; i < N; i++) place[order[i]] = i;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            const size_t apart = place[i] > place[j] ? place[i] - place[j] : place[j] - place[i];
            if (i % 6 == j % 6) assert_true(apart <= 1);
            if (i % 3 == j % 3) assert_true(apart <= 3);
        }
    distance[1] = distance[N] = NAN;
    assert_int_equal(collect_similarity_order(distance, N, order, NULL), FPR_OK);
    base_fail_allocation(1);
    assert_int_equal(collect_similarity_order(distance, N, order, NULL), FPR_NO_MEMORY);
    base_fail_allocation(-1);
}

/* ---- names */

static void names_are(const char *const *paths, const char *const *wanted, size_t n)
{
    char *names[8];
    assert_int_equal(collect_short_names(paths, n, names, NULL), FPR_OK);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(names[i], wanted[i]);
        base_free(names[i]);
    }
}

static void names_say_what_differs(void **state)
{
    (void)state;
    names_are((const char *[]){"runs/unet.safetensors", "/x/vdsr.safetensors"}, (const char *[]){"unet", "vdsr"}, 2);
    names_are((const char *[]){"a/model.safetensors", "b/model.safetensors"}, (const char *[]){"a", "b"}, 2);
    names_are((const char *[]){"m/a/1/model.safetensors", "m/b/1/model.safetensors", "m/a/2/./model.safetensors"},
              (const char *[]){"a/1", "b/1", "a/2"}, 3);
    names_are((const char *[]){"model.safetensors.index.json", "p.fpp"}, (const char *[]){"model", "p"}, 2);
    names_are((const char *[]){"same.safetensors", "same.safetensors"}, (const char *[]){"same", "same"}, 2);
    names_are((const char *[]){"x/only.safetensors"}, (const char *[]){"only"}, 1);
    char *names[2];
    for (long n = 0; n < 3; n++) {
        base_fail_allocation(n);
        assert_int_equal(collect_short_names((const char *[]){"a", "b"}, 2, names, NULL), FPR_NO_MEMORY);
    }
    base_fail_allocation(-1);
    assert_int_equal(base_allocations_alive(), 3); /* the dice */
}

static int make_dice(void **state)
{
    (void)state;
    return (int)collect_dice_new(K * BINS, &dice, NULL);
}

static int drop_dice(void **state)
{
    (void)state;
    collect_dice_free(dice);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_follow_their_law),
        cmocka_unit_test(samples_of_one_distribution_stay_below),
        cmocka_unit_test(equals_stay_below_each_other),
        cmocka_unit_test(other_distributions_rise_above),
        cmocka_unit_test(the_floor_has_no_order_and_no_size_limit),
        cmocka_unit_test(well_filled_bins_give_chi_square),
        cmocka_unit_test(every_processor_deals_the_same),
        cmocka_unit_test(more_bins_than_rows_of_dice),
        cmocka_unit_test(points_on_a_line_come_in_their_order),
        cmocka_unit_test(families_stay_together),
        cmocka_unit_test(names_say_what_differs),
    };
    return cmocka_run_group_tests(tests, make_dice, drop_dice);
}

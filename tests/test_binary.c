/* Two levels: the optimum, and which layers count as binary. */
#include "file/file.h"
#include "shrink_layers.h"

/* ---------------------------------------------------------------- two means */

/* The least squared error over all ways to give each value one of two levels. */
static double best_of_all(const double *w, size_t n)
{
    double best = INFINITY;
    for (unsigned mask = 0; mask < 1u << n; mask++) {
        double sums[2] = {0, 0}, counts[2] = {0, 0}, error = 0;
        for (size_t i = 0; i < n; i++) {
            sums[mask >> i & 1] += w[i];
            counts[mask >> i & 1] += 1;
        }
        for (size_t i = 0; i < n; i++) {
            double d = w[i] - sums[mask >> i & 1] / counts[mask >> i & 1];
            error += d * d;
        }
        best = error < best ? error : best;
    }
    return best;
}

static void two_levels_are_optimal_among_all_assignments(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (unsigned round = 0; round < 2000; round++) {
        size_t n = 1 + round % 10, split;
        double w[10], sorted[10], low, high;
        for (size_t i = 0; i < n; i++) /* every third round with few values, so that many are equal */
            w[i] = sorted[i] = round % 3 ? random_gauss(&seed) : (double)(random_bits(&seed) % 4);
        double error = shrink_two_levels(sorted, n, &low, &high, &split), best = best_of_all(w, n), norm = 1e-300;
        for (size_t i = 0; i < n; i++) norm += w[i] * w[i];
        assert_true(fabs(error - best) <= 1e-12 * norm);
        assert_true(low <= high && split >= 1 && split <= n);
        for (size_t i = 1; i < n; i++) assert_true(sorted[i - 1] <= sorted[i]);
    }
}

static void two_levels_of_many_values_are_the_best_split(void **state)
{
    (void)state;
    enum { N = 700 };
    uint64_t seed = 2;
    double w[N], low, high, best = INFINITY;
    size_t split, best_split = 0;
    for (size_t i = 0; i < N; i++) w[i] = 1000 + random_gauss(&seed) + (random_bits(&seed) % 3 ? 0 : 2.5);
    double error = shrink_two_levels(w, N, &low, &high, &split);
    for (size_t at = 1; at < N; at++) {
        long double sums[2] = {0, 0}, total = 0;
        for (size_t i = 0; i < N; i++) sums[i >= at] += w[i];
        for (size_t i = 0; i < N; i++) {
            long double d = w[i] - (i < at ? sums[0] / (long double)at : sums[1] / (long double)(N - at));
            total += d * d;
        }
        if ((double)total < best) {
            best = (double)total;
            best_split = at;
        }
    }
    assert_int_equal(split, best_split);
    assert_true(fabs(error - best) <= 1e-9 * best);
}

static void two_values_are_their_own_levels(void **state)
{
    (void)state;
    static const double pairs[][2] = {{-0.1, 0.1}, {0.1, 0.3}, {-1e300, 1e300}, {0, 5e-324}, {0.7, 0.7}, {-3, -1e-9}};
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
        double w[1001], low, high;
        size_t split, lower = 0;
        for (size_t i = 0; i < 1001; i++) {
            w[i] = pairs[p][i % 3 == 0];
            lower += i % 3 != 0;
        }
        assert_true(shrink_two_levels(w, 1001, &low, &high, &split) == 0);
        assert_true(low == pairs[p][0] && high == pairs[p][1]);
        assert_int_equal(split, pairs[p][0] == pairs[p][1] ? 1001 : lower);
    }
}

/* ---------------------------------------------------------------- layers */

enum { FILTERS = 24, CHANNELS = 40 };

typedef struct made {
    fpr_layer_shape shape;
    double *w;
} made;

static made make_layer(uint64_t filters, uint64_t channels, uint64_t side)
{
    made m = {.shape = make_shape(filters, channels, side, side)};
    m.w = base_alloc(weights_of(&m.shape), sizeof(double));
    assert_non_null(m.w);
    return m;
}

/* Every weight one of two levels, which a function of the kernel gives. */
static void fill_two(const made *m, uint64_t seed, void (*levels)(uint64_t filter, uint64_t kernel, double pair[2]))
{
    for (uint64_t kernel = 0; kernel < m->shape.kernels; kernel++) {
        double pair[2];
        levels(kernel / m->shape.channels, kernel, pair);
        for (uint64_t i = 0; i < m->shape.k; i++) m->w[kernel * m->shape.k + i] = pair[random_bits(&seed) & 1];
    }
}

static void layer_pair(uint64_t filter, uint64_t kernel, double pair[2])
{
    (void)filter, (void)kernel;
    pair[0] = -0.25, pair[1] = 0.75;
}

static void filter_alpha(uint64_t filter, uint64_t kernel, double pair[2])
{
    (void)kernel;
    pair[1] = 0.5 + 0.0625 * (double)filter, pair[0] = -pair[1];
}

static void filter_pair(uint64_t filter, uint64_t kernel, double pair[2])
{
    (void)kernel;
    pair[0] = 0.0625 * (double)(filter + 1), pair[1] = -4 * pair[0];
}

static void kernel_pair(uint64_t filter, uint64_t kernel, double pair[2])
{
    (void)filter;
    pair[0] = 1 + 0.03125 * (double)(kernel % 32), pair[1] = -0.5 - 0.03125 * (double)(kernel % 29);
}

/* Levels are multiples of 1/32 below 8: exact in every float dtype. */
static void exact_layers_are_kept_and_named_by_scope(void **state)
{
    (void)state;
    static const fpr_dtype dtypes[] = {FPR_F64, FPR_F32, FPR_F16, FPR_BF16};
    static const struct {
        void (*levels)(uint64_t, uint64_t, double *);
        fpr_scope scope;
        bool symmetric;
        double low[2], high[2];
    } cases[] = {{layer_pair, FPR_SCOPE_LAYER, false, {-0.25, -0.25}, {0.75, 0.75}},
                 {filter_alpha, FPR_SCOPE_FILTER, true, {-1.9375, -0.5}, {0.5, 1.9375}},
                 {filter_pair, FPR_SCOPE_FILTER, false, {-6, -0.25}, {0.0625, 1.5}},
                 {kernel_pair, FPR_SCOPE_KERNEL, false, {-1.375, -0.5}, {1, 1.96875}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t t = 0; t < 4; t++) {
            made m = make_layer(FILTERS, CHANNELS, 3);
            fill_two(&m, c + 1, cases[c].levels);
            fpr_options options = make_options();
            options.prune = false;
            m.shape.layout = t == 1 ? FPR_LAYOUT_HWIO : FPR_LAYOUT_OIHW;
            planned p = plan_weights(m.shape, dtypes[t], m.w, &options);
            assert_int_equal(p.plan.binary.scope, cases[c].scope);
            assert_int_equal(p.plan.binary.symmetric, cases[c].symmetric);
            assert_int_equal(p.plan.binary.kernels, FILTERS * CHANNELS);
            assert_true(p.plan.binary.share == 1 && p.plan.binary.max_relative_error == 0);
            assert_false(p.plan.changes);
            assert_null(p.plan.levels);
            for (unsigned i = 0; i < 2; i++) {
                if (cases[c].levels == kernel_pair) break; /* a kernel may hold one of its levels only */
                assert_true(p.plan.binary.level_low[i] == cases[c].low[i]);
                assert_true(p.plan.binary.level_high[i] == cases[c].high[i]);
            }
            planned_free(&p);
            base_free(m.w);
        }
}

static void random_layers_are_not_binary(void **state)
{
    (void)state;
    static const unsigned sides[] = {1, 2, 3, 5, 7};
    uint64_t seed = 9;
    for (size_t c = 0; c < 5; c++) {
        made m = make_layer(FILTERS, CHANNELS, sides[c]);
        for (size_t i = 0; i < weights_of(&m.shape); i++) m.w[i] = random_gauss(&seed);
        fpr_options options = make_options();
        options.pointwise = true;
        planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
        assert_int_equal(p.plan.binary.scope, FPR_SCOPE_NONE);
        assert_int_equal(p.plan.binary.kernels, 0);
        planned_free(&p);
        base_free(m.w);
    }
}

/* Every changed kernel within the tolerance of what it was, at one of its unit's two levels. */
static void check_restored(const planned *p, const double *before, const double *after, double tolerance)
{
    const fpr_layer_shape *s = &p->shape;
    size_t k = (size_t)s->k;
    double worst = 0;
    for (uint64_t f = 0; f < s->filters; f++) {
        double levels[2];
        unsigned count = 0;
        for (uint64_t j = f * s->channels; j < (f + 1) * s->channels; j++) {
            double error = 0, norm = 0;
            for (size_t i = j * k; i < (j + 1) * k; i++) {
                error += (before[i] - after[i]) * (before[i] - after[i]);
                norm += before[i] * before[i];
                if (p->plan.action[j] == CONV_ACTION_KEPT) assert_true(before[i] == after[i]);
                if (p->plan.action[j] != CONV_ACTION_CHANGED) continue;
                unsigned at = 0;
                while (at < count && levels[at] != after[i]) at++;
                assert_true(at < 2);
                if (at == count) levels[count++] = after[i];
            }
            if (p->plan.action[j] != CONV_ACTION_CHANGED) continue;
            assert_true(error <= tolerance * tolerance * norm);
            worst = fmax(worst, sqrt(error / norm));
        }
    }
    assert_true(fabs(worst - p->plan.binary.max_relative_error) <= 1e-12);
}

/* XNOR weights with noise of 0.4 %, which is within 1 %; and with 3 %, which is not. */
static void noise_within_the_tolerance_is_removed(void **state)
{
    (void)state;
    static const fpr_dtype dtypes[] = {FPR_F64, FPR_F32, FPR_F16};
    for (size_t t = 0; t < 3; t++)
        for (unsigned loud = 0; loud < 2; loud++) {
            made m = make_layer(FILTERS, CHANNELS, 3);
            size_t n = weights_of(&m.shape);
            double *before = base_alloc(n, sizeof *before), *after = base_alloc(n, sizeof *after);
            uint64_t seed = 5;
            fill_two(&m, 3, filter_alpha);
            for (size_t i = 0; i < n; i++) m.w[i] *= 1 + (loud ? 0.03 : 0.004) * random_gauss(&seed);
            fpr_options options = make_options();
            planned p = plan_weights(m.shape, dtypes[t], m.w, &options);
            load_weights(&m.shape, dtypes[t], p.weights, before);
            assert_int_equal(p.plan.binary.scope, loud ? FPR_SCOPE_NONE : FPR_SCOPE_FILTER);
            assert_int_equal(p.plan.changes, !loud);
            if (!loud) {
                assert_true(p.plan.binary.symmetric && p.plan.binary.kernels == m.shape.kernels);
                shrink_outcome outcome;
                assert_int_equal(shrink_apply(&m.shape, dtypes[t], p.weights, known_max(p.max_abs), 0.01, &p.plan, 2,
                                              &outcome, NULL),
                                 FPR_OK);
                load_weights(&m.shape, dtypes[t], p.weights, after);
                check_restored(&p, before, after, 0.01);
                for (size_t i = 0; i < n; i++)
                    assert_true(after[i] == after[i / (CHANNELS * 9) * CHANNELS * 9] ||
                                after[i] == -after[i / (CHANNELS * 9) * CHANNELS * 9]);
                assert_true(outcome.error_relative_l2 > 0.003 && outcome.error_relative_l2 < 0.005);
                outcome_free(&outcome);
                /* What comes out is exactly two-level: planned again, nothing is left to do. */
                planned again = plan_weights(m.shape, dtypes[t], after, &options);
                assert_int_equal(again.plan.binary.scope, FPR_SCOPE_FILTER);
                assert_false(again.plan.changes);
                planned_free(&again);
            }
            planned_free(&p);
            base_free(m.w);
            base_free(before);
            base_free(after);
        }
}

/* Noise does not make levels symmetric that are not. */
static void noisy_levels_that_are_not_symmetric_stay_so(void **state)
{
    (void)state;
    made m = make_layer(FILTERS, CHANNELS, 3);
    size_t n = weights_of(&m.shape);
    double *before = base_alloc(n, sizeof *before), *after = base_alloc(n, sizeof *after);
    uint64_t seed = 5;
    fill_two(&m, 3, filter_pair);
    for (size_t i = 0; i < n; i++) m.w[i] *= 1 + 0.003 * random_gauss(&seed);
    fpr_options options = make_options();
    options.prune = false;
    planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
    load_weights(&m.shape, FPR_F32, p.weights, before);
    assert_int_equal(p.plan.binary.scope, FPR_SCOPE_FILTER);
    assert_false(p.plan.binary.symmetric);
    assert_int_equal(p.plan.binary.kernels, m.shape.kernels);
    shrink_outcome outcome;
    assert_int_equal(shrink_apply(&m.shape, FPR_F32, p.weights, known_max(p.max_abs), 0.01, &p.plan, 2, &outcome, NULL),
                     FPR_OK);
    load_weights(&m.shape, FPR_F32, p.weights, after);
    check_restored(&p, before, after, 0.01);
    outcome_free(&outcome);
    planned_free(&p);
    base_free(m.w);
    base_free(before);
    base_free(after);
}

/* Nine kernels in ten are enough, fewer are not; dense ones keep every bit. Pruned and zero kernels do not count. */
static void the_share_is_of_the_live_kernels(void **state)
{
    (void)state;
    for (unsigned dense = 98; dense <= 99; dense++) {
        made m = make_layer(25, 40, 3); /* 1000 kernels, of which 10 become zero and 10 sparse: 980 live */
        uint64_t seed = 8;
        fill_two(&m, 4, filter_alpha);
        for (uint64_t j = 0; j < 20; j++)
            for (size_t i = 0; i < 9; i++) m.w[j * 50 * 9 + i] = j < 10 ? 0 : 1e-4 * random_gauss(&seed);
        for (uint64_t j = 0; j < dense; j++)
            for (size_t i = 0; i < 9; i++) m.w[(j * 10 + 1) * 9 + i] = random_gauss(&seed);
        fpr_options options = make_options();
        planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
        assert_int_equal(p.plan.zeroed, 10);
        assert_int_equal(p.plan.binary.scope, dense == 98 ? FPR_SCOPE_FILTER : FPR_SCOPE_NONE);
        if (dense == 98) {
            assert_int_equal(p.plan.binary.kernels, 980 - 98);
            assert_true(p.plan.binary.share == 0.9);
            for (uint64_t j = 0; j < 98; j++) assert_int_equal(p.plan.action[j * 10 + 1], CONV_ACTION_KEPT);
        }
        planned_free(&p);
        base_free(m.w);
    }
}

static uint64_t rare_count;

/* Both levels in 1 of `rare_count` kernels, one weight of nine there; elsewhere only the upper. */
static void rare_lower_level(const made *m)
{
    for (size_t i = 0; i < weights_of(&m->shape); i++) m->w[i] = 0.5;
    for (uint64_t j = 0; j < rare_count; j++) m->w[j * 9] = -0.5;
}

static void both_levels_must_be_used_by_five_percent(void **state)
{
    (void)state;
    /* 100 kernels, 900 weights: 45 are 5 %. */
    for (rare_count = 44; rare_count <= 45; rare_count++) {
        made m = make_layer(10, 10, 3);
        rare_lower_level(&m);
        fpr_options options = make_options();
        planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
        assert_int_equal(p.plan.binary.scope, rare_count == 45 ? FPR_SCOPE_LAYER : FPR_SCOPE_NONE);
        planned_free(&p);
        base_free(m.w);
    }
    /* Constant and nearly constant kernels, of either sign, meet the tolerance at any two levels, but use one. */
    for (unsigned noisy = 0; noisy < 4; noisy++) {
        made m = make_layer(10, 10, 3);
        uint64_t seed = 3;
        for (size_t i = 0; i < weights_of(&m.shape); i++)
            m.w[i] = (0.5 + 0.5 * (double)(i / 9) + (noisy & 1 ? 1e-3 : 0) * random_unit(&seed)) *
                     (noisy & 2 && i / 9 % 2 ? -1 : 1);
        fpr_options options = make_options();
        planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
        assert_int_equal(p.plan.binary.scope, FPR_SCOPE_NONE);
        planned_free(&p);
        base_free(m.w);
    }
}

/* Kernels of one weight among zeros have exactly two values, but one of them is fitted to a single weight. */
static void kernels_of_a_single_weight_are_not_binary(void **state)
{
    (void)state;
    for (unsigned taps = 1; taps <= 2; taps++) {
        made m = make_layer(FILTERS, CHANNELS, 3);
        uint64_t seed = 3;
        memset(m.w, 0, weights_of(&m.shape) * sizeof *m.w);
        for (uint64_t j = 0; j < m.shape.kernels; j++)
            for (unsigned i = 0; i < taps; i++) m.w[j * 9 + 4 + i] = i ? m.w[j * 9 + 4] : 1 + random_unit(&seed);
        fpr_options options = make_options();
        planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
        assert_int_equal(p.plan.binary.scope, taps == 1 ? FPR_SCOPE_NONE : FPR_SCOPE_KERNEL);
        planned_free(&p);
        base_free(m.w);
    }
}

static void units_of_fewer_than_four_weights_are_never_binary(void **state)
{
    (void)state;
    fpr_options options = make_options();
    /* 1x1 kernels: each is trivially one level, but a filter of them is a unit. */
    made m = make_layer(FILTERS, CHANNELS, 1);
    fill_two(&m, 6, filter_alpha);
    planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
    assert_int_equal(p.plan.binary.scope, FPR_SCOPE_FILTER);
    assert_true(p.plan.binary.symmetric && !p.plan.changes);
    planned_free(&p);
    base_free(m.w);
    /* A filter of three weights is too small; the layer as a whole has many values. */
    m = make_layer(FILTERS, 3, 1);
    fill_two(&m, 6, filter_alpha);
    p = plan_weights(m.shape, FPR_F32, m.w, &options);
    assert_int_equal(p.plan.binary.scope, FPR_SCOPE_NONE);
    planned_free(&p);
    base_free(m.w);
}

/* Two exact levels per filter that differ by less than the tolerance from filter to filter: one pair for the layer
 * would do, but costs exactness for next to nothing. Two per kernel, likewise close: there the layer's pair saves most
 * bytes. */
static void near_alpha(uint64_t filter, uint64_t kernel, double pair[2])
{
    (void)kernel;
    pair[1] = 1 + (double)filter * 0x1p-12, pair[0] = -pair[1];
}

static void near_kernel_alpha(uint64_t filter, uint64_t kernel, double pair[2])
{
    (void)filter;
    pair[1] = 1 + (double)(kernel % 16) * 0x1p-12, pair[0] = -pair[1];
}

static void exactness_is_worth_a_quarter_more_bytes(void **state)
{
    (void)state;
    fpr_options options = make_options();
    made m = make_layer(FILTERS, CHANNELS, 3);
    fill_two(&m, 6, near_alpha);
    planned p = plan_weights(m.shape, FPR_F32, m.w, &options);
    assert_int_equal(p.plan.binary.scope, FPR_SCOPE_FILTER);
    assert_false(p.plan.changes);
    planned_free(&p);
    fill_two(&m, 6, near_kernel_alpha);
    p = plan_weights(m.shape, FPR_F32, m.w, &options);
    assert_int_equal(p.plan.binary.scope, FPR_SCOPE_LAYER);
    assert_true(p.plan.changes && p.plan.binary.symmetric);
    assert_true(p.plan.binary.max_relative_error > 0 && p.plan.binary.max_relative_error < 16 * 0x1p-12);
    planned_free(&p);
    base_free(m.w);
}

/* The squares of these leave the range of a double: only exact kernels may count. */
static void squares_out_of_range_prove_nothing(void **state)
{
    (void)state;
    static const double scales[] = {1e-200, 1e200};
    for (size_t c = 0; c < 2; c++)
        for (unsigned noisy = 0; noisy < 2; noisy++) {
            made m = make_layer(FILTERS, CHANNELS, 3);
            uint64_t seed = 3;
            fill_two(&m, 6, filter_alpha);
            for (size_t i = 0; i < weights_of(&m.shape); i++)
                m.w[i] *= scales[c] * (noisy ? 1 + 0.013 * random_gauss(&seed) : 1);
            fpr_options options = make_options();
            planned p = plan_weights(m.shape, FPR_F64, m.w, &options);
            assert_int_equal(p.plan.binary.scope, noisy ? FPR_SCOPE_NONE : FPR_SCOPE_FILTER);
            planned_free(&p);
            base_free(m.w);
        }
}

static void any_number_of_threads_gives_the_same_plan(void **state)
{
    (void)state;
    made m = make_layer(96, 130, 3);
    uint64_t seed = 12;
    fill_two(&m, 10, filter_alpha);
    for (size_t i = 0; i < weights_of(&m.shape); i++) m.w[i] *= 1 + 0.0045 * random_gauss(&seed);
    fpr_options options = make_options();
    void *weights = store_weights(&m.shape, FPR_F32, m.w);
    shrink_plan first = {0};
    for (unsigned threads = 0; threads < 5; threads++) {
        shrink_plan plan;
        assert_int_equal(shrink_plan_layer(&m.shape, FPR_F32, weights, known_max(2.1), &options, BY_AMOUNT(&options), threads, &plan, NULL),
                         FPR_OK);
        if (!threads) {
            first = plan;
            assert_int_equal(plan.binary.scope, FPR_SCOPE_FILTER);
            continue;
        }
        assert_memory_equal(plan.action, first.action, m.shape.kernels);
        assert_memory_equal(plan.levels, first.levels, 96 * 2 * sizeof(float));
        assert_true(plan.binary.kernels == first.binary.kernels);
        assert_memory_equal(&plan.binary.max_relative_error, &first.binary.max_relative_error, sizeof(double));
        assert_memory_equal(plan.binary.level_high, first.binary.level_high, 2 * sizeof(double));
        shrink_plan_free(&plan);
    }
    shrink_plan_free(&first);
    base_free(weights);
    base_free(m.w);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    made m = make_layer(FILTERS, CHANNELS, 3);
    uint64_t seed = 12;
    fill_two(&m, 10, filter_alpha);
    for (size_t i = 0; i < weights_of(&m.shape); i++) m.w[i] *= 1 + 0.004 * random_gauss(&seed);
    fpr_options options = make_options();
    void *weights = store_weights(&m.shape, FPR_F32, m.w);
    long alive = base_allocations_alive();
    fpr_status status = FPR_NO_MEMORY;
    unsigned failures = 0;
    for (; status; failures++) {
        shrink_plan plan;
        fpr_error error = {0};
        base_fail_allocation((long)failures);
        status = shrink_plan_layer(&m.shape, FPR_F32, weights, known_max(2.1), &options, BY_AMOUNT(&options), 2,
                                   &plan, &error);
        base_fail_allocation(-1);
        assert_true(status == FPR_OK || status == FPR_NO_MEMORY);
        assert_int_equal(error.status, status);
        if (!status) shrink_plan_free(&plan);
        assert_int_equal(base_allocations_alive(), alive);
    }
    assert_true(failures > 6);
    base_free(weights);
    base_free(m.w);
}

/* ---------------------------------------------------------------- really trained networks */

/* Counts the layers of a fixture that are binary-like; those whose names begin with one of `binary` must be. */
static void check_fixture(const char *path, const char *const *binary, size_t binary_count)
{
    file_source *source;
    file_header header;
    assert_int_equal(file_source_open(path, &source, NULL), FPR_OK);
    assert_int_equal(file_header_read(source, &header, NULL, NULL), FPR_OK);
    size_t found = 0;
    for (size_t i = 0; i < header.tensor_count; i++) {
        const file_tensor *t = &header.tensors[i];
        if (t->rank != 4) continue;
        fpr_layer_shape s = make_shape(t->shape[0], t->shape[1], t->shape[2], t->shape[3]);
        float *weights = base_alloc_aligned(t->end - t->begin, 1);
        assert_int_equal(file_source_read(source, header.data_begin + t->begin, weights, t->end - t->begin, NULL),
                         FPR_OK);
        double max_abs = 0;
        for (size_t j = 0; j < weights_of(&s); j++) max_abs = fmax(max_abs, fabs((double)weights[j]));
        fpr_options options = make_options();
        shrink_plan plan;
        assert_int_equal(shrink_plan_layer(&s, FPR_F32, weights, known_max(max_abs), &options, BY_AMOUNT(&options),
                                           2, &plan, NULL),
                         FPR_OK);
        bool expected = false;
        for (size_t j = 0; j < binary_count; j++) expected |= !strcmp(t->name, binary[j]);
        assert_int_equal(plan.binary.scope, expected ? FPR_SCOPE_FILTER : FPR_SCOPE_NONE);
        if (expected) {
            assert_true(plan.binary.symmetric && plan.binary.share == 1 && plan.binary.max_relative_error == 0);
            assert_int_equal(plan.binary.kernels, s.kernels);
            assert_false(plan.changes);
            found++;
        }
        shrink_plan_free(&plan);
        base_free(weights);
    }
    assert_int_equal(found, binary_count);
    file_header_free(&header);
    file_source_close(source);
}

static void trained_networks(void **state)
{
    (void)state;
    static const char *const binary[] = {"conv2.weight", "conv3.weight", "conv4.weight"};
    check_fixture(FIXTURES "/models/mnist_xnor.safetensors", binary, 3);
    check_fixture(FIXTURES "/models/mnist_cnn_plain.safetensors", NULL, 0);
    check_fixture(FIXTURES "/models/mnist_cnn_overparam_l1.safetensors", NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_levels_are_optimal_among_all_assignments),
        cmocka_unit_test(two_levels_of_many_values_are_the_best_split),
        cmocka_unit_test(two_values_are_their_own_levels),
        cmocka_unit_test(exact_layers_are_kept_and_named_by_scope),
        cmocka_unit_test(random_layers_are_not_binary),
        cmocka_unit_test(noise_within_the_tolerance_is_removed),
        cmocka_unit_test(noisy_levels_that_are_not_symmetric_stay_so),
        cmocka_unit_test(the_share_is_of_the_live_kernels),
        cmocka_unit_test(both_levels_must_be_used_by_five_percent),
        cmocka_unit_test(kernels_of_a_single_weight_are_not_binary),
        cmocka_unit_test(units_of_fewer_than_four_weights_are_never_binary),
        cmocka_unit_test(exactness_is_worth_a_quarter_more_bytes),
        cmocka_unit_test(squares_out_of_range_prove_nothing),
        cmocka_unit_test(any_number_of_threads_gives_the_same_plan),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(trained_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

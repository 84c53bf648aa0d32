/* Which kernels go, what it costs, and what is dead then. */
#include "file/file.h"
#include "shrink_layers.h"

/* ---------------------------------------------------------------- the sparse threshold */

/* One layer of three kernels: the largest weight of the layer, one whose peak is `peak`, one of zeros with a -0. */
static uint64_t zeroed_by_peak(fpr_dtype dtype, double max_abs, double peak, double eps, uint8_t *actions)
{
    fpr_layer_shape s = make_shape(1, 3, 3, 3);
    double w[27] = {0};
    w[4] = -max_abs;
    w[9 + 7] = -peak;
    w[9 + 2] = peak / 2;
    w[18 + 3] = -0.0;
    fpr_options options = make_options();
    options.eps = eps;
    planned p = plan_weights(s, dtype, w, &options);
    uint64_t zeroed = p.plan.zeroed;
    memcpy(actions, p.plan.action, 3);
    planned_free(&p);
    return zeroed;
}

static void threshold_is_strict_in_every_dtype(void **state)
{
    (void)state;
    static const fpr_dtype dtypes[] = {FPR_F64, FPR_F32, FPR_F16, FPR_BF16};
    static const double steps[] = {0x1p-54, 0x1p-25, 0x1p-12, 0x1p-9}; /* two units in the last place below 0.25 */
    uint8_t actions[3];
    for (size_t t = 0; t < 4; t++) {
        assert_int_equal(zeroed_by_peak(dtypes[t], 1, 0.25, 0.25, actions), 0); /* the -0 was zero before */
        assert_int_equal(actions[0], CONV_ACTION_KEPT);
        assert_int_equal(actions[1], CONV_ACTION_KEPT); /* exactly on the threshold */
        assert_int_equal(actions[2], CONV_ACTION_ZERO); /* -0 becomes +0 */
        zeroed_by_peak(dtypes[t], 1, 0.25 - steps[t], 0.25, actions);
        assert_int_equal(actions[1], CONV_ACTION_ZERO);
    }
    /* 0.01 is no binary fraction: the comparison is that of doubles, numpy's max|w| < 0.01 * max|w|. */
    uint64_t seed = 4;
    for (unsigned round = 0; round < 500; round++) {
        double max_abs = (double)(float)(0.1 + random_unit(&seed)), threshold = 0.01 * max_abs;
        float at = (float)threshold, around[3] = {nextafterf(at, 0), at, nextafterf(at, 1)};
        for (size_t i = 0; i < 3; i++) {
            zeroed_by_peak(FPR_F32, max_abs, (double)around[i], 0.01, actions);
            assert_int_equal(actions[1], (double)around[i] < threshold ? CONV_ACTION_ZERO : CONV_ACTION_KEPT);
        }
    }
}

static void edges_of_the_threshold(void **state)
{
    (void)state;
    uint8_t actions[3];
    /* eps 0: nothing is below 0. eps 1: all but the largest. */
    zeroed_by_peak(FPR_F32, 1, 0x1p-149, 0, actions);
    assert_int_equal(actions[1], CONV_ACTION_KEPT);
    assert_int_equal(actions[2], CONV_ACTION_KEPT);
    zeroed_by_peak(FPR_F32, 1, 1 - 0x1p-24, 1, actions);
    assert_int_equal(actions[0], CONV_ACTION_KEPT);
    assert_int_equal(actions[1], CONV_ACTION_ZERO);
    /* A layer of zeros: every kernel is sparse, but +0 already but for the -0. */
    assert_int_equal(zeroed_by_peak(FPR_F16, 0, 0, 0.01, actions), 0);
    assert_int_equal(actions[0], CONV_ACTION_ZERO);
    fpr_layer_shape s = make_shape(2, 2, 3, 3);
    double w[36] = {0};
    fpr_options options = make_options();
    planned p = plan_weights(s, FPR_F32, w, &options);
    assert_int_equal(p.plan.zeroed, 0);
    assert_false(p.plan.changes);
    planned_free(&p);
    /* Subnormal weights have a largest too. */
    zeroed_by_peak(FPR_F64, 5e-324 * 1000, 5e-324 * 9, 0.01, actions);
    assert_int_equal(actions[1], CONV_ACTION_ZERO);
    zeroed_by_peak(FPR_F64, 5e-324 * 1000, 5e-324 * 10, 0.01, actions);
    assert_int_equal(actions[1], CONV_ACTION_KEPT);
}

static void kernels_of_one_weight_only_with_pointwise(void **state)
{
    (void)state;
    fpr_layer_shape s = make_shape(2, 2, 1, 1);
    double w[4] = {1, 0.001, -1, 0.5};
    fpr_options options = make_options();
    for (unsigned pointwise = 0; pointwise < 2; pointwise++) {
        options.pointwise = pointwise;
        planned p = plan_weights(s, FPR_F32, w, &options);
        assert_int_equal(p.plan.zeroed, pointwise);
        assert_int_equal(p.plan.action[1], pointwise ? CONV_ACTION_ZERO : CONV_ACTION_KEPT);
        planned_free(&p);
    }
}

/* ---------------------------------------------------------------- structures, criteria, amounts */

static uint64_t unit_of(const fpr_layer_shape *s, fpr_structure structure, uint64_t kernel)
{
    return structure == FPR_STRUCTURE_KERNEL   ? kernel
           : structure == FPR_STRUCTURE_FILTER ? kernel / s->channels
                                               : kernel % s->channels;
}

/* Scores by their definition. */
static void plain_scores(const fpr_layer_shape *s, const double *w, fpr_structure structure, fpr_criterion criterion,
                         double *scores)
{
    memset(scores, 0, shrink_unit_count(s, structure) * sizeof *scores);
    double max_abs = largest_of(w, weights_of(s));
    for (uint64_t j = 0; j < s->kernels; j++)
        for (uint64_t i = 0; i < s->k; i++) {
            double *score = &scores[unit_of(s, structure, j)], a = fabs(w[j * s->k + i]);
            if (criterion == FPR_CRITERION_PEAK) *score = fmax(*score, a / max_abs);
            if (criterion == FPR_CRITERION_L1) *score += a;
            if (criterion == FPR_CRITERION_L2) *score = sqrt(*score * *score + a * a);
        }
}

static const fpr_layout layouts[] = {FPR_LAYOUT_OIHW, FPR_LAYOUT_HWIO};
static const fpr_dtype dtypes[] = {FPR_F64, FPR_F32, FPR_F16, FPR_BF16};

static void scores_are_those_of_the_definition(void **state)
{
    (void)state;
    static const uint64_t sizes[][4] = {{7, 5, 3, 3}, {4, 9, 1, 1}, {300, 2, 5, 5}, {2, 3, 80, 60}, {1, 1, 1, 3}};
    uint64_t seed = 3;
    for (size_t c = 0; c < 5; c++)
        for (size_t t = 0; t < 8; t++) {
            fpr_layer_shape s = make_shape(sizes[c][0], sizes[c][1], sizes[c][2], sizes[c][3]);
            s.layout = layouts[t & 1];
            double *w = base_alloc(weights_of(&s), sizeof *w), *scores = base_alloc(2 * s.kernels, sizeof *scores);
            for (size_t i = 0; i < weights_of(&s); i++) w[i] = random_gauss(&seed);
            void *weights = store_weights(&s, dtypes[t / 2], w);
            load_weights(&s, dtypes[t / 2], weights, w);
            for (unsigned u = 0; u < 9; u++) {
                double *plain = scores + s.kernels;
                shrink_scores(&s, dtypes[t / 2], weights, (fpr_structure)(u / 3), (fpr_criterion)(u % 3), NULL, scores);
                plain_scores(&s, w, (fpr_structure)(u / 3), (fpr_criterion)(u % 3), plain);
                for (uint64_t i = 0; i < shrink_unit_count(&s, (fpr_structure)(u / 3)); i++)
                    assert_true(fabs(scores[i] - plain[i]) <= 1e-12 * plain[i]);
            }
            base_free(weights);
            base_free(scores);
            base_free(w);
        }
}

/* Norms of F64 weights whose squares leave the range. */
static void scores_of_huge_and_tiny_weights(void **state)
{
    (void)state;
    static const double scales[] = {1e200, 1e-200, 1e-310};
    fpr_layer_shape s = make_shape(2, 1, 2, 2);
    for (size_t c = 0; c < 3; c++) {
        double w[8] = {3, 4, 0, 0, 1, -2, 2, 4}, scores[2];
        for (size_t i = 0; i < 8; i++) w[i] *= scales[c];
        shrink_scores(&s, FPR_F64, w, FPR_STRUCTURE_FILTER, FPR_CRITERION_L2, NULL, scores);
        assert_true(fabs(scores[0] / scales[c] - 5) < 1e-9 && fabs(scores[1] / scales[c] - 5) < 1e-9);
    }
}

/* The actions that an amount must give: the lowest units by score, then by index, found by counting those before. */
static void check_amount(const fpr_layer_shape *s, fpr_dtype dtype, const double *w, fpr_structure structure,
                         fpr_criterion criterion, double amount, uint64_t expected)
{
    fpr_options options = make_options();
    options.structure = structure;
    options.criterion = criterion;
    options.amount = amount;
    options.pointwise = true;
    options.binary = false;
    planned p = plan_weights(*s, dtype, w, &options);
    uint64_t units = shrink_unit_count(s, structure), gone = 0;
    double *scores = base_alloc(units, sizeof *scores), *stored = base_alloc(weights_of(s), sizeof *stored);
    load_weights(s, dtype, p.weights, stored);
    plain_scores(s, stored, structure, criterion, scores);
    for (uint64_t i = 0; i < units; i++) {
        uint64_t before = 0;
        for (uint64_t j = 0; j < units; j++) before += scores[j] < scores[i] || (scores[j] == scores[i] && j < i);
        bool goes = before < expected;
        gone += goes;
        for (uint64_t j = 0; j < s->kernels; j++)
            if (unit_of(s, structure, j) == i) assert_int_equal(p.plan.action[j], goes ? CONV_ACTION_ZERO : CONV_ACTION_KEPT);
    }
    assert_int_equal(gone, expected);
    base_free(scores);
    base_free(stored);
    planned_free(&p);
}

static void amount_takes_the_lowest_units(void **state)
{
    (void)state;
    uint64_t seed = 6;
    double w[10 * 14 * 9];
    for (size_t t = 0; t < 8; t++) {
        fpr_layer_shape s = make_shape(10, 14, 3, 3);
        s.layout = layouts[t & 1];
        /* Eighths: many equal peaks and sums, exactly, so that ties decide. */
        for (size_t i = 0; i < weights_of(&s); i++) w[i] = (double)(1 + random_bits(&seed) % 8) / 8;
        for (unsigned c = 0; c < 2; c++) {
            check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_KERNEL, (fpr_criterion)c, 0.3, 42);
            check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_FILTER, (fpr_criterion)c, 0.3, 3);
            check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_CHANNEL, (fpr_criterion)c, 0.3, 4);
        }
        for (size_t i = 0; i < weights_of(&s); i++) w[i] = random_gauss(&seed);
        check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_KERNEL, FPR_CRITERION_L2, 0.5, 70);
        check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_CHANNEL, FPR_CRITERION_L2, 1, 14);
        check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_KERNEL, FPR_CRITERION_L2, 1, 140);
        check_amount(&s, dtypes[t / 2], w, FPR_STRUCTURE_FILTER, FPR_CRITERION_L2, 0, 0);
    }
}

/* Python's round(): 0.5 of 5 is 2.5, which becomes 2; 0.5 of 7 is 3.5, which becomes 4. */
static void amount_rounds_halves_to_even(void **state)
{
    (void)state;
    uint64_t seed = 7;
    double w[7 * 9];
    for (size_t i = 0; i < 7 * 9; i++) w[i] = random_gauss(&seed);
    fpr_layer_shape five = make_shape(5, 1, 3, 3), seven = make_shape(7, 1, 3, 3);
    check_amount(&five, FPR_F32, w, FPR_STRUCTURE_FILTER, FPR_CRITERION_L2, 0.5, 2);
    check_amount(&seven, FPR_F32, w, FPR_STRUCTURE_FILTER, FPR_CRITERION_L2, 0.5, 4);
}

/* Depthwise, each kernel is filter and channel: of 12 by 0.6, 7 go; of all, and of an only filter, one stays. */
static void depthwise_layers_are_pruned_by_kernels(void **state)
{
    (void)state;
    uint64_t seed = 8;
    double w[12 * 9];
    for (size_t i = 0; i < 12 * 9; i++) w[i] = random_gauss(&seed);
    static const struct {
        uint64_t filters, channels;
        fpr_layout layout;
        bool depthwise;
        double amount;
        uint64_t gone;
    } cases[] = {{12, 1, FPR_LAYOUT_OIHW, true, 0.6, 7}, {12, 1, FPR_LAYOUT_OIHW, true, 1, 11},
                 {1, 12, FPR_LAYOUT_HWIO, true, 0.6, 7}, {2, 6, FPR_LAYOUT_HWIO, true, 0.6, 7}};
    for (size_t c = 0; c < 4; c++)
        for (unsigned u = FPR_STRUCTURE_FILTER; u <= FPR_STRUCTURE_CHANNEL; u++) {
            fpr_layer_shape s = make_shape(cases[c].filters, cases[c].channels, 3, 3);
            s.layout = cases[c].layout;
            s.depthwise = cases[c].depthwise;
            fpr_options options = make_options();
            options.structure = (fpr_structure)u;
            options.criterion = FPR_CRITERION_L1;
            options.amount = cases[c].amount;
            planned p = plan_weights(s, FPR_F32, w, &options);
            assert_int_equal(p.plan.zeroed, cases[c].gone);
            assert_int_equal(p.plan.kept_one, cases[c].amount == 1);
            planned_free(&p);
        }
    fpr_layer_shape only = make_shape(1, 12, 3, 3);
    fpr_options options = make_options();
    options.structure = FPR_STRUCTURE_FILTER;
    options.amount = 0.6;
    planned p = plan_weights(only, FPR_F32, w, &options);
    assert_true(p.plan.zeroed == 0 && p.plan.kept_one);
    planned_free(&p);
}

/* [in, out, k]: a filter is an output, which lies along the second axis. */
static void transposed_layers_are_pruned_the_right_way_round(void **state)
{
    (void)state;
    fpr_layer_shape s = make_shape(4, 3, 2, 2);
    s.transposed = true;
    double w[48];
    for (size_t j = 0; j < 12; j++)
        for (size_t i = 0; i < 4; i++) w[4 * j + i] = j % 3 == 1 ? 0.1 : j / 3 == 2 ? 0.5 : 1;
    for (unsigned u = FPR_STRUCTURE_FILTER; u <= FPR_STRUCTURE_CHANNEL; u++) {
        fpr_options options = make_options();
        options.structure = (fpr_structure)u;
        options.criterion = FPR_CRITERION_L1;
        options.amount = u == FPR_STRUCTURE_FILTER ? 1.0 / 3 : 0.25;
        planned p = plan_weights(s, FPR_F32, w, &options);
        for (uint64_t j = 0; j < 12; j++)
            assert_int_equal(p.plan.action[j] == CONV_ACTION_ZERO, u == FPR_STRUCTURE_FILTER ? j % 3 == 1 : j / 3 == 2);
        shrink_outcome outcome;
        assert_int_equal(shrink_apply(&s, FPR_F32, p.weights, (shrink_known){.max_abs = 1}, 0.01, &p.plan, 1, &outcome, NULL), FPR_OK);
        assert_int_equal(outcome.dead_filter_count, u == FPR_STRUCTURE_FILTER);
        assert_int_equal(outcome.dead_channel_count, u == FPR_STRUCTURE_CHANNEL);
        if (u == FPR_STRUCTURE_FILTER) assert_int_equal(outcome.dead_filters[0], 1);
        else assert_int_equal(outcome.dead_channels[0], 2);
        base_free(outcome.dead_filters);
        base_free(outcome.dead_channels);
        planned_free(&p);
    }
}

/* By criterion bn the kernels are those of the weights times their filters' scale; counted here one by one. */
static void kernels_count_as_what_a_normalization_makes_of_them(void **state)
{
    (void)state;
    uint64_t random = 5;
    for (unsigned t = 0; t < 8; t++) {
        const fpr_dtype dtype = t & 1 ? FPR_F64 : FPR_F32;
        fpr_layer_shape s = make_shape(7, 5, 3, 3);
        s.layout = t & 2 ? FPR_LAYOUT_HWIO : FPR_LAYOUT_OIHW;
        s.transposed = (t & 4) && !(t & 2);
        double w[315], size[35], scale[7], most = 0, raw_most = 0;
        for (size_t o = 0; o < 7; o++) scale[o] = o == 3 ? 0 : exp2((double)(random_bits(&random) % 13) - 9);
        for (size_t j = 0; j < 35; j++) {
            const double by = exp2(-(double)(random_bits(&random) % 10));
            size[j] = 0;
            for (size_t i = 0; i < 9; i++) {
                w[9 * j + i] = ldexp((double)(random_bits(&random) % 255), -8) * by;
                size[j] = fmax(size[j], w[9 * j + i]);
            }
            raw_most = fmax(raw_most, size[j]);
        }
        bool sparse[35];
        fpr_scaled expected = {0}, counted;
        for (int round = 0; round < 2; round++)
            for (size_t j = 0; j < 35; j++) {
                const double v = size[j] * scale[s.transposed ? j % 5 : j / 5];
                if (!round) most = fmax(most, v);
                sparse[j] = v < 0.01 * most;
                if (!round) continue;
                expected.sparse += sparse[j];
                expected.revived += size[j] < 0.01 * raw_most && !sparse[j];
                expected.silenced += sparse[j] && !(size[j] < 0.01 * raw_most);
            }
        void *weights = store_weights(&s, dtype, w);
        assert_int_equal(shrink_count_scaled(&s, dtype, weights, raw_most, scale, 0.01, &counted, NULL), FPR_OK);
        assert_memory_equal(&counted, &expected, sizeof counted);
        assert_true(expected.silenced > 0 && expected.sparse < 35);
        fpr_options options = make_options();
        options.criterion = FPR_CRITERION_BN;
        options.binary = false;
        const shrink_known known = {.max_abs = raw_most, .scale = scale};
        shrink_plan plan;
        assert_int_equal(shrink_plan_layer(&s, dtype, weights, known, &options, BY_AMOUNT(&options), 2, &plan, NULL), FPR_OK);
        for (size_t j = 0; j < 35; j++) assert_int_equal(plan.action[j] == CONV_ACTION_ZERO, sparse[j] && size[j] > 0);
        shrink_plan_free(&plan);
        double scores[35];
        shrink_scores(&s, dtype, weights, FPR_STRUCTURE_KERNEL, FPR_CRITERION_BN, scale, scores);
        for (size_t j = 0; j < 35; j++)
            assert_true(fabs(scores[j] - size[j] * scale[s.transposed ? j % 5 : j / 5] / most) < 1e-12);
        base_free(weights);
    }
}

static void a_filter_or_channel_goes_by_eps_when_all_its_kernels_are_sparse(void **state)
{
    (void)state;
    for (unsigned channel = 0; channel < 2; channel++) {
        fpr_layer_shape s = make_shape(3, 3, 2, 2);
        double w[36];
        for (size_t i = 0; i < 36; i++) w[i] = 1;
        for (uint64_t j = 0; j < 9; j++) {
            bool unit = channel ? j % 3 == 1 : j / 3 == 1;
            for (size_t i = 0; i < 4; i++) w[j * 4 + i] = unit ? 0.009 : w[j * 4 + i];
        }
        for (size_t i = 0; i < 4; i++) w[i] = 0.001; /* sparse alone: stays */
        fpr_options options = make_options();
        options.structure = channel ? FPR_STRUCTURE_CHANNEL : FPR_STRUCTURE_FILTER;
        options.binary = false;
        planned p = plan_weights(s, FPR_F32, w, &options);
        for (uint64_t j = 0; j < 9; j++)
            assert_int_equal(p.plan.action[j], (channel ? j % 3 == 1 : j / 3 == 1) ? CONV_ACTION_ZERO : CONV_ACTION_KEPT);
        planned_free(&p);
        w[channel ? 4 * 4 : 5 * 4] = 0.0101; /* one live kernel keeps the unit */
        p = plan_weights(s, FPR_F32, w, &options);
        assert_int_equal(p.plan.zeroed, 0);
        planned_free(&p);
    }
}

/* ---------------------------------------------------------------- ranking over layers */

static void ranking_by_hand(void **state)
{
    (void)state;
    /* Means 2 and 20: normalised 0.5 1 1.5 | 0.5 0.5 1.5 1.5. */
    static const double first[] = {1, 2, 3}, second[] = {10, 10, 30, 30};
    static const uint64_t expected[][2] = {{0, 0}, {1, 0}, {1, 1}, {1, 2}, {2, 2}, {3, 2}, {3, 3}, {3, 4}};
    shrink_ranking *ranking;
    uint64_t counts[3];
    assert_int_equal(shrink_ranking_new(&ranking, NULL), FPR_OK);
    assert_int_equal(shrink_ranking_add(ranking, 2, second, 4, NULL), FPR_OK);
    assert_int_equal(shrink_ranking_add(ranking, 0, first, 3, NULL),
                     FPR_OK); /* ties go by layer, not by order of adding */
    for (unsigned n = 0; n <= 7; n++) {
        assert_int_equal(shrink_ranking_end(ranking, n / 7.0, counts, 3, NULL), FPR_OK);
        assert_int_equal(counts[0], expected[n][0]);
        assert_int_equal(counts[1], 0);
        assert_int_equal(counts[2], expected[n][1]);
    }
    shrink_ranking_free(ranking);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Against sorting. The last round has more units than are kept as doubles. */
static void ranking_against_sorting(void **state)
{
    (void)state;
    static const uint64_t sizes[][3] = {{100, 1, 57}, {1, 2, 3}, {5000, 3000, 200}, {2500000, 1500000, 400000}};
    static const double amounts[] = {0, 0.1, 0.31, 0.5, 0.999, 1};
    uint64_t seed = 11;
    for (size_t c = 0; c < 4; c++) {
        shrink_ranking *ranking;
        uint64_t total = sizes[c][0] + sizes[c][1] + sizes[c][2], counts[3], at = 0;
        double *all = base_alloc(total, sizeof *all), *sorted = base_alloc(total, sizeof *sorted);
        assert_int_equal(shrink_ranking_new(&ranking, NULL), FPR_OK);
        for (size_t l = 0; l < 3; at += sizes[c][l++]) {
            double sum = 0;
            for (uint64_t i = 0; i < sizes[c][l]; i++) sum += all[at + i] = (double)(l + 1) * random_unit(&seed);
            assert_int_equal(shrink_ranking_add(ranking, l, all + at, sizes[c][l], NULL), FPR_OK);
            for (uint64_t i = 0; i < sizes[c][l]; i++) all[at + i] /= sum / (double)sizes[c][l];
            if (c == 3)
                for (uint64_t i = 0; i < sizes[c][l]; i++) all[at + i] = (double)(float)all[at + i];
        }
        memcpy(sorted, all, total * sizeof *all);
        qsort(sorted, total, sizeof *sorted, by_value);
        for (size_t a = 0; a < 6; a++) {
            uint64_t n = (uint64_t)rint(amounts[a] * (double)total), expected[3] = {0, 0, 0}, ties = 0;
            for (uint64_t i = 0; i < n; i++) ties += sorted[i] == sorted[n - 1];
            at = 0;
            for (size_t l = 0; l < 3; at += sizes[c][l++])
                for (uint64_t i = 0; n && i < sizes[c][l]; i++) {
                    bool tie = all[at + i] == sorted[n - 1] && ties > 0;
                    ties -= tie;
                    expected[l] += tie || all[at + i] < sorted[n - 1];
                }
            assert_int_equal(shrink_ranking_end(ranking, amounts[a], counts, 3, NULL), FPR_OK);
            assert_memory_equal(counts, expected, sizeof counts);
        }
        shrink_ranking_free(ranking);
        base_free(all);
        base_free(sorted);
    }
}

/* What a ranking says overrides amount and eps. */
static void a_given_count_of_units_goes(void **state)
{
    (void)state;
    fpr_layer_shape s = make_shape(4, 2, 2, 2);
    uint64_t seed = 1;
    double w[32];
    for (size_t i = 0; i < 32; i++) w[i] = random_gauss(&seed);
    fpr_options options = make_options();
    options.amount = 0.9;
    options.binary = false;
    for (uint64_t units = 0; units <= 8; units++) {
        shrink_plan plan;
        assert_int_equal(
            shrink_plan_layer(&s, FPR_F64, w, known_max(largest_of(w, 32)), &options, &(shrink_budget){options.amount, units}, 1, &plan, NULL),
            FPR_OK);
        assert_int_equal(plan.zeroed, units);
        shrink_plan_free(&plan);
    }
    shrink_plan plan;
    assert_int_equal(
        shrink_plan_layer(&s, FPR_F64, w, known_max(largest_of(w, 32)), &options, NULL, 1, &plan, NULL), FPR_OK);
    assert_int_equal(plan.zeroed, 0); /* not chosen by --only or --skip */
    shrink_plan_free(&plan);
}

/* ---------------------------------------------------------------- applying */

/* A layer with dead kernels, a dead filter, a dead channel, -0 and live kernels. */
static void make_partly_dead(const fpr_layer_shape *s, double *w, uint64_t seed)
{
    for (uint64_t j = 0; j < s->kernels; j++) {
        bool dead = j / s->channels == 2 || j % s->channels == 4 || random_bits(&seed) % 3 == 0;
        for (uint64_t i = 0; i < s->k; i++) w[j * s->k + i] = random_gauss(&seed) * (dead ? 0.0005 : 1);
        if (j % 7 == 0) w[j * s->k] = -0.0;
    }
    for (uint64_t j = 3; j < 3 + s->channels; j++) w[j * s->k + 1] = 3; /* filters 0 and 1 have no dead kernel here */
}

static void apply_zeroes_measures_and_names_the_dead(void **state)
{
    (void)state;
    for (size_t t = 0; t < 8; t++) {
        fpr_layer_shape s = make_shape(6, 11, t % 3 ? 3 : 70, t % 3 ? 3 : 70); /* 4,900 weights: more than a tile */
        s.layout = layouts[t & 1];
        size_t n = weights_of(&s);
        double *w = base_alloc(n, sizeof *w), *after = base_alloc(n, sizeof *after), error = 0, norm = 0, worst = 0;
        make_partly_dead(&s, w, t);
        fpr_options options = make_options();
        planned p = plan_weights(s, dtypes[t / 2], w, &options);
        load_weights(&s, dtypes[t / 2], p.weights, w);
        shrink_outcome outcome, looked;
        assert_int_equal(shrink_dead(&s, p.dtype, p.weights, known_max(p.max_abs), 0.01, 1, &looked, NULL), FPR_OK);
        assert_int_equal(shrink_apply(&s, p.dtype, p.weights, known_max(p.max_abs), 0.01, &p.plan, 2, &outcome, NULL),
                         FPR_OK);
        load_weights(&s, dtypes[t / 2], p.weights, after);
        uint64_t live_filters[6] = {0}, live_channels[11] = {0}, zeroed = 0;
        for (uint64_t j = 0; j < s.kernels; j++) {
            bool sparse = largest_of(w + j * s.k, (size_t)s.k) < 0.01 * p.max_abs;
            assert_int_equal(p.plan.action[j], sparse ? CONV_ACTION_ZERO : CONV_ACTION_KEPT);
            zeroed += sparse;
            live_filters[j / 11] += !sparse;
            live_channels[j % 11] += !sparse;
            for (uint64_t i = j * s.k; i < (j + 1) * s.k; i++) {
                uint64_t bits[2];
                memcpy(&bits[0], &after[i], 8);
                memcpy(&bits[1], &w[i], 8);
                assert_true(bits[0] == (sparse ? 0 : bits[1]));
                error += (w[i] - after[i]) * (w[i] - after[i]);
                norm += w[i] * w[i];
                worst = fmax(worst, fabs(w[i] - after[i]));
            }
        }
        assert_int_equal(p.plan.zeroed, zeroed);
        assert_true(outcome.error_max_abs == worst);
        assert_true(fabs(outcome.error_relative_l2 - sqrt(error / norm)) <= 1e-12);
        assert_true(looked.error_max_abs == 0 && looked.error_relative_l2 == 0);
        size_t filters = 0, channels = 0;
        for (uint64_t f = 0; f < 6; f++)
            if (!live_filters[f]) assert_int_equal(outcome.dead_filters[filters++], f);
        for (uint64_t c = 0; c < 11; c++)
            if (!live_channels[c]) assert_int_equal(outcome.dead_channels[channels++], c);
        assert_int_equal(outcome.dead_filter_count, filters);
        assert_int_equal(outcome.dead_channel_count, channels);
        assert_true(filters >= 1 && looked.dead_filter_count == filters && looked.dead_channel_count == channels);
        outcome_free(&outcome);
        outcome_free(&looked);
        planned_free(&p);
        base_free(w);
        base_free(after);
    }
}

/* What was measured before takes the place of looking again, and changes nothing but rounding of the error: layers with
 * dead kernels, without any, of zeros, binary ones, by every unit and by amount, in every dtype and layout. */
static void what_is_known_changes_nothing(void **state)
{
    (void)state;
    uint64_t seed = 99;
    for (size_t round = 0; round < 8 * 7 * 5; round++) {
        fpr_layer_shape s = make_shape(6, 11, 3, 3);
        s.layout = layouts[round & 1];
        const fpr_dtype dtype = dtypes[round / 2 % 4];
        const unsigned kind = round / 8 % 7, how = round / 56;
        size_t n = weights_of(&s), bytes = bytes_of(&s, dtype);
        double *w = base_calloc(n, sizeof *w);
        if (kind < 2) make_partly_dead(&s, w, round);
        for (size_t i = 0; i < n; i++) {
            if (kind == 1 && i / s.k % 2) w[i] = 0;
            if (kind == 2 || kind == 3) w[i] = 1 + random_unit(&seed);
            if (kind == 3 && i / s.k == 20) w[i] = i % 2 ? 1e-4 : -0.0;
            if (kind >= 5 && i / s.k % (kind - 4))
                w[i] = (random_bits(&seed) & 1 ? 0.25 : -0.25) + 1e-5 * random_gauss(&seed);
        }
        fpr_options options = make_options();
        options.structure = how < 3 ? (fpr_structure)how : FPR_STRUCTURE_KERNEL;
        if (how == 3) options.amount = 0.3;
        if (how == 4) options.eps = 0;
        planned p = plan_weights(s, dtype, w, &options);
        const conv_block block = {.shape = &s, .dtype = dtype, .weights = p.weights};
        const conv_settings settings = {.eps = options.eps, .bins = 70, .threads = 2};
        conv_measure measure = {0};
        assert_int_equal(conv_measure_blocks(&block, 1, &settings, &measure, NULL), FPR_OK);
        assert_true(measure.max_abs == p.max_abs);
        const shrink_known known = {.max_abs = p.max_abs, .measure = &measure};
        shrink_plan plan;
        shrink_outcome want, got;
        void *copy = base_alloc_aligned(bytes, 1);
        memcpy(copy, p.weights, bytes);
        assert_int_equal(shrink_plan_layer(&s, dtype, copy, known, &options, BY_AMOUNT(&options), 2, &plan, NULL),
                         FPR_OK);
        assert_int_equal(plan.zeroed, p.plan.zeroed);
        assert_int_equal(plan.changes, p.plan.changes);
        assert_memory_equal(&plan.binary, &p.plan.binary, sizeof plan.binary);
        if (plan.action && p.plan.action) assert_memory_equal(plan.action, p.plan.action, s.kernels);
        else assert_true(!plan.changes);
        fpr_status status =
            shrink_apply(&s, dtype, p.weights, known_max(p.max_abs), options.eps, &p.plan, 2, &want, NULL);
        if (!status) status = shrink_apply(&s, dtype, copy, known, options.eps, &plan, 2, &got, NULL);
        assert_int_equal(status, FPR_OK);
        assert_memory_equal(copy, p.weights, bytes);
        assert_true(got.error_max_abs == want.error_max_abs);
        assert_true(fabs(got.error_relative_l2 - want.error_relative_l2) <= 1e-13 * want.error_relative_l2);
        assert_int_equal(got.dead_filter_count, want.dead_filter_count);
        assert_int_equal(got.dead_channel_count, want.dead_channel_count);
        for (uint64_t i = 0; i < got.dead_filter_count; i++)
            assert_int_equal(got.dead_filters[i], want.dead_filters[i]);
        for (uint64_t i = 0; i < got.dead_channel_count; i++)
            assert_int_equal(got.dead_channels[i], want.dead_channels[i]);
        outcome_free(&want);
        outcome_free(&got);
        fpr_moments_free(&measure.all);
        fpr_moments_free(&measure.live);
        shrink_plan_free(&plan);
        planned_free(&p);
        base_free(copy);
        base_free(w);
    }
}

static void nothing_to_change_costs_nothing(void **state)
{
    (void)state;
    fpr_layer_shape s = make_shape(3, 4, 3, 3);
    uint64_t seed = 2;
    double w[108], before[108];
    for (size_t i = 0; i < 108; i++) w[i] = before[i] = 1 + random_unit(&seed);
    fpr_options options = make_options();
    shrink_plan plan;
    shrink_outcome outcome;
    assert_int_equal(shrink_plan_layer(&s, FPR_F64, w, known_max(2), &options, BY_AMOUNT(&options), 1, &plan, NULL),
                     FPR_OK);
    assert_false(plan.changes);
    assert_int_equal(shrink_apply(&s, FPR_F64, w, known_max(2), 0.01, &plan, 1, &outcome, NULL), FPR_OK);
    assert_memory_equal(w, before, sizeof w);
    assert_true(outcome.error_max_abs == 0 && outcome.error_relative_l2 == 0);
    assert_int_equal(outcome.dead_filter_count, 0);
    outcome_free(&outcome);
    shrink_plan_free(&plan);
}

/* The same layer in the other layout, and on other numbers of threads. */
static void layout_and_threads_change_nothing(void **state)
{
    (void)state;
    enum { F = 70, C = 150, N = F * C * 9 };
    fpr_layer_shape s = make_shape(F, C, 3, 3);
    double *w = base_alloc(N, sizeof *w), *after = base_alloc(N, sizeof *after), *first = base_alloc(N, sizeof *first);
    make_partly_dead(&s, w, 77);
    shrink_outcome expected = {0};
    uint8_t *action = base_alloc(F * C, 1);
    for (unsigned threads = 1; threads <= 8; threads++) {
        s.layout = layouts[threads > 4];
        fpr_options options = make_options();
        options.structure = FPR_STRUCTURE_FILTER;
        options.criterion = FPR_CRITERION_L1;
        options.amount = 0.4;
        void *weights = store_weights(&s, FPR_F32, w);
        load_weights(&s, FPR_F32, weights, after);
        double max_abs = largest_of(after, N);
        shrink_plan plan;
        shrink_outcome outcome;
        assert_int_equal(shrink_plan_layer(&s, FPR_F32, weights, known_max(max_abs), &options, BY_AMOUNT(&options),
                                           threads % 5, &plan, NULL),
                         FPR_OK);
        assert_int_equal(
            shrink_apply(&s, FPR_F32, weights, known_max(max_abs), 0.01, &plan, threads % 5, &outcome, NULL), FPR_OK);
        load_weights(&s, FPR_F32, weights, after);
        if (threads == 1) {
            memcpy(action, plan.action, F * C);
            memcpy(first, after, N * sizeof *after);
            expected = outcome;
            assert_int_equal(plan.zeroed, 28 * C);
            assert_int_equal(outcome.dead_filter_count, 28);
        } else {
            assert_memory_equal(plan.action, action, F * C);
            assert_memory_equal(after, first, N * sizeof *after);
            assert_memory_equal(&outcome.error_relative_l2, &expected.error_relative_l2, sizeof(double));
            assert_memory_equal(&outcome.error_max_abs, &expected.error_max_abs, sizeof(double));
            assert_memory_equal(outcome.dead_filters, expected.dead_filters, 28 * sizeof(uint64_t));
            outcome_free(&outcome);
        }
        shrink_plan_free(&plan);
        base_free(weights);
    }
    outcome_free(&expected);
    base_free(action);
    base_free(w);
    base_free(after);
    base_free(first);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    fpr_layer_shape s = make_shape(6, 11, 3, 3);
    double w[6 * 11 * 9], copy[6 * 11 * 9];
    make_partly_dead(&s, w, 5);
    fpr_options options = make_options();
    options.structure = FPR_STRUCTURE_CHANNEL;
    options.amount = 0.25;
    long alive = base_allocations_alive();
    fpr_status status = FPR_NO_MEMORY;
    long n = 0;
    for (; status; n++) {
        shrink_plan plan = {0};
        shrink_outcome outcome = {0};
        shrink_ranking *ranking = NULL;
        uint64_t counts[2];
        fpr_error error = {0};
        memcpy(copy, w, sizeof w);
        base_fail_allocation(n);
        status =
            shrink_plan_layer(&s, FPR_F64, copy, known_max(3), &options, BY_AMOUNT(&options), 2, &plan, &error);
        if (!status) status = shrink_apply(&s, FPR_F64, copy, known_max(3), 0.01, &plan, 2, &outcome, &error);
        if (!status) status = shrink_ranking_new(&ranking, &error);
        if (!status) status = shrink_ranking_add(ranking, 0, w, 50, &error);
        if (!status) status = shrink_ranking_add(ranking, 1, w, 20, &error);
        if (!status) status = shrink_ranking_end(ranking, 0.5, counts, 2, &error);
        base_fail_allocation(-1);
        assert_true(status == FPR_OK || status == FPR_NO_MEMORY);
        assert_int_equal(error.status, status);
        shrink_ranking_free(ranking);
        outcome_free(&outcome);
        shrink_plan_free(&plan);
        assert_int_equal(base_allocations_alive(), alive);
    }
    assert_true(n > 10);
}

/* ---------------------------------------------------------------- a really trained network */

/* The trainer of this network counted its sparse kernels himself: {zeroed, kernels} from its metadata. */
static void an_overparametrised_network(void **state)
{
    (void)state;
    static const uint64_t counted[5][2] = {{0, 32}, {1637, 2048}, {3709, 4096}, {5490, 6144}, {8584, 9216}};
    file_source *source;
    file_header header;
    assert_int_equal(file_source_open(FIXTURES "/models/mnist_cnn_overparam_l1.safetensors", &source, NULL), FPR_OK);
    assert_int_equal(file_header_read(source, &header, NULL, NULL), FPR_OK);
    size_t layers = 0;
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
        size_t index = (size_t)(t->name[4] - '1'); /* convN.weight */
        assert_true(index < 5);
        assert_int_equal(plan.zeroed, counted[index][0]);
        assert_int_equal(s.kernels, counted[index][1]);
        layers++;
        shrink_plan_free(&plan);
        base_free(weights);
    }
    assert_int_equal(layers, 5);
    file_header_free(&header);
    file_source_close(source);
}

/* ---------------------------------------------------------------- names */

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "layer1.0.conv.weight", true},
        {"*.num_batches_tracked", "bn1.num_batches_tracked", true},
        {"*.num_batches_tracked", "num_batches_tracked", false},
        {"layer?.*", "layer1.0.conv1.weight", true},
        {"layer?.*", "layer10.conv1.weight", false},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"**a", "ba", true},
        {"a?", "a", false},
        {"conv[1-3]", "conv2", true},
        {"conv[1-3]", "conv4", false},
        {"conv[!1-3]", "conv4", true},
        {"conv[^1-3]", "conv2", false},
        {"[]a]", "]", true},
        {"[!]a]", "]", false},
        {"[a-]", "-", true},
        {"[a", "[a", true},
        {"[a", "a", false},
        {"[\\]]", "]", true},
        {"\\*", "*", true},
        {"\\*", "x", false},
        {"a\\", "a\\", true},
        {"[é-ï]", "ê", true},
        {"?", "é", true},
        {"??", "é", false},
        {"[", "[", true},
        {"*\xa9", "é", false},
        {"*[0-9].weight", "layer.10.weight", true},
        {"\xff?",
         "\xff"
         "a",
         true},
        {"*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaa", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (shrink_glob(cases[i].pattern, cases[i].name) != cases[i].matches)
            fail_msg("%s against %s", cases[i].pattern, cases[i].name);
    static const char *const only[] = {"conv*", "fc"}, *const skip[] = {"*2"};
    fpr_globs some = {only, 2}, others = {skip, 1}, none = {NULL, 0};
    assert_true(shrink_selected(&none, &none, "x"));
    assert_true(shrink_selected(&some, &others, "fc"));
    assert_true(shrink_selected(&some, &others, "conv1"));
    assert_false(shrink_selected(&some, &others, "conv2"));
    assert_false(shrink_selected(&some, &none, "bn"));
    assert_false(shrink_selected(&none, &others, "bn2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threshold_is_strict_in_every_dtype),
        cmocka_unit_test(edges_of_the_threshold),
        cmocka_unit_test(kernels_of_one_weight_only_with_pointwise),
        cmocka_unit_test(scores_are_those_of_the_definition),
        cmocka_unit_test(scores_of_huge_and_tiny_weights),
        cmocka_unit_test(amount_takes_the_lowest_units),
        cmocka_unit_test(amount_rounds_halves_to_even),
        cmocka_unit_test(depthwise_layers_are_pruned_by_kernels),
        cmocka_unit_test(transposed_layers_are_pruned_the_right_way_round),
        cmocka_unit_test(a_filter_or_channel_goes_by_eps_when_all_its_kernels_are_sparse),
        cmocka_unit_test(ranking_by_hand),
        cmocka_unit_test(ranking_against_sorting),
        cmocka_unit_test(a_given_count_of_units_goes),
        cmocka_unit_test(apply_zeroes_measures_and_names_the_dead),
        cmocka_unit_test(what_is_known_changes_nothing),
        cmocka_unit_test(nothing_to_change_costs_nothing),
        cmocka_unit_test(layout_and_threads_change_nothing),
        cmocka_unit_test(every_failing_allocation_is_reported),
        cmocka_unit_test(an_overparametrised_network),
        cmocka_unit_test(kernels_count_as_what_a_normalization_makes_of_them),
        cmocka_unit_test(globs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

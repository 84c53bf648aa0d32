/* conv, second and third sweep: ranges, histograms, densities and divergences of kernel groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conv/counter.h"
#include "num/num.h"

#include "numbers.h"

/* A group of layers of one kernel shape, in doubles, with its basis and everything that the sweeps say of it. */
enum { LAYERS = 4 };

typedef struct group {
    unsigned k, layers;
    fpr_layer_shape shapes[LAYERS];
    double *w[LAYERS];
    uint8_t *action[LAYERS];
    conv_block blocks[LAYERS];
    double mean[CONV_K_MAX], components[CONV_K_MAX * CONV_K_MAX], values[CONV_K_MAX], ratio[CONV_K_MAX];
    fpr_basis basis;
    double range[2];
    conv_settings settings;
    conv_counter *counter;
    fpr_distribution distributions[4];
} group;

static void make_group(group *g, unsigned layers, uint64_t filters, uint64_t channels, uint64_t a, uint64_t b)
{
    memset(g, 0, sizeof *g);
    g->layers = layers;
    g->settings = (conv_settings){.eps = 0.01, .bins = 70, .threads = 2};
    g->basis = (fpr_basis){g->mean, g->components, g->values, g->ratio};
    for (unsigned l = 0; l < layers; l++) {
        const uint64_t shape[] = {filters + l, channels, a, b};
        assert_true(conv_layer_shape(FPR_F64, 4, shape, FPR_LAYOUT_OIHW, &g->shapes[l]));
        g->k = (unsigned)g->shapes[l].k;
        g->w[l] = calloc(g->shapes[l].kernels * g->k, sizeof **g->w);
        g->action[l] = calloc(g->shapes[l].kernels, 1);
        g->blocks[l] = (conv_block){.shape = &g->shapes[l], .dtype = FPR_F64, .weights = g->w[l]};
    }
}

static void drop_distributions(group *g)
{
    conv_counter_free(g->counter);
    g->counter = NULL;
    for (unsigned w = 0; w < 4; w++) {
        base_free(g->distributions[w].counts);
        base_free(g->distributions[w].kde);
    }
    memset(g->distributions, 0, sizeof g->distributions);
}

static void free_group(group *g)
{
    drop_distributions(g);
    for (unsigned l = 0; l < g->layers; l++) {
        free(g->w[l]);
        free(g->action[l]);
    }
}

static void find_basis(group *g)
{
    conv_measure results[LAYERS] = {{0}};
    fpr_moments all;
    assert_int_equal(conv_measure_blocks(g->blocks, g->layers, &g->settings, results, NULL), FPR_OK);
    assert_int_equal(fpr_moments_init(&all, g->k), FPR_OK);
    for (unsigned l = 0; l < g->layers; l++) {
        g->blocks[l].max_abs = results[l].max_abs;
        fpr_moments_merge(&all, &results[l].all);
        fpr_moments_free(&results[l].all);
        fpr_moments_free(&results[l].live);
    }
    assert_int_equal(fpr_moments_finish(&all, &g->basis, NULL), FPR_OK);
    fpr_moments_free(&all);
}

static void find_range(group *g)
{
    g->range[0] = INFINITY;
    g->range[1] = -INFINITY;
    assert_int_equal(conv_range_blocks(g->blocks, g->layers, &g->settings, &g->basis, g->range, NULL), FPR_OK);
}

/* Whether the farthest kernels alone, as many as fit into `bytes`, tell the range; if so it must be the true one. */
static bool farthest_tell_the_range(group *g, size_t bytes, unsigned lists)
{
    conv_measure results[LAYERS] = {{0}};
    conv_farthest *farthest[2] = {conv_farthest_new(g->k, bytes), conv_farthest_new(g->k, bytes / 4)};
    assert_non_null(farthest[0]);
    assert_non_null(farthest[1]);
    for (unsigned l = 0; l < g->layers; l++) results[l].farthest = farthest[l % lists];
    assert_int_equal(conv_measure_blocks(g->blocks, g->layers, &g->settings, results, NULL), FPR_OK);
    for (unsigned l = 0; l < g->layers; l++) {
        fpr_moments_free(&results[l].all);
        fpr_moments_free(&results[l].live);
    }
    if (lists > 1) conv_farthest_merge(farthest[0], farthest[1]);
    double range[2];
    const bool told = conv_farthest_range(farthest[0], &g->settings, &g->basis, range);
    if (told) {
        find_range(g);
        assert_memory_equal(range, g->range, sizeof range);
    }
    conv_farthest_free(farthest[0]);
    conv_farthest_free(farthest[1]);
    return told;
}

/* How tables hold what they count: by themselves; in cells from the start; in fewer cells that are emptied all the
 * time. */
enum { BY_THEMSELVES, IN_CELLS, IN_WIDE_CELLS, WAYS };
static unsigned way;

static uint64_t kernels_of(const group *g)
{
    uint64_t n = 0;
    for (unsigned l = 0; l < g->layers; l++) n += g->shapes[l].kernels;
    return n;
}

static void start_counting(group *g)
{
    drop_distributions(g);
    const uint64_t kernels = kernels_of(g), live = way == IN_WIDE_CELLS ? 1u << 18 : kernels; /* a quarter of the cells */
    assert_int_equal(conv_counter_new(&g->basis, g->k, g->range, kernels, live, &g->settings, &g->counter, NULL),
                     FPR_OK);
    for (unsigned kind = 0; kind < KINDS; kind++) g->counter->many[kind] = way != BY_THEMSELVES;
    if (way == IN_WIDE_CELLS) g->counter->cells_max = 1;
    assert_int_equal(conv_counter_add(g->counter, g->blocks, g->layers, NULL), FPR_OK);
}

static void finish_counting(group *g)
{
    for (unsigned w = 0; w < 4; w++)
        assert_int_equal(conv_counter_finish(g->counter, (conv_which)w, true, &g->distributions[w], NULL), FPR_OK);
}

static void study(group *g)
{
    find_basis(g);
    find_range(g);
    start_counting(g);
    finish_counting(g);
}

/* Sparse kernels become zero, as pruning does by default. */
static void fate_by_threshold(group *g)
{
    for (unsigned l = 0; l < g->layers; l++) {
        g->blocks[l].action = g->action[l];
        for (uint64_t i = 0; i < g->shapes[l].kernels; i++) {
            const double peak = largest(g->w[l] + i * g->k, g->k);
            g->action[l][i] = peak < 0.01 * g->blocks[l].max_abs ? CONV_ACTION_ZERO : CONV_ACTION_KEPT;
        }
    }
}

/* Coefficients of one component by the definition, of the kernels that `which` speaks of; returns how many. */
static size_t plain_coefficients(const group *g, conv_which which, unsigned component, double *c)
{
    size_t n = 0;
    for (unsigned l = 0; l < g->layers; l++)
        for (uint64_t i = 0; i < g->shapes[l].kernels; i++) {
            const double *w = g->w[l] + i * g->k, peak = largest(w, g->k);
            const bool zeroed = (which == CONV_AFTER || which == CONV_LIVE_AFTER) && g->action[l][i] == CONV_ACTION_ZERO;
            const bool sparse = peak < 0.01 * g->blocks[l].max_abs || zeroed;
            if (sparse && (which == CONV_LIVE_BEFORE || which == CONV_LIVE_AFTER)) continue;
            double sum = 0;
            for (unsigned d = 0; d < g->k; d++)
                sum += ((peak > 0 && !zeroed ? w[d] / peak : 0) - g->mean[d]) * g->components[component * g->k + d];
            c[n++] = sum;
        }
    return n;
}

static void fill_normal(group *g, const double *sd)
{
    for (unsigned l = 0; l < g->layers; l++)
        for (uint64_t i = 0; i < g->shapes[l].kernels * g->k; i++)
            g->w[l][i] = random_normal() * (sd ? sd[i % g->k] : 1) * (l + 1);
}

/* The histogram of one component against numbers counted one by one. Random numbers are never near an edge. */
static void check_counts(const group *g, const fpr_distribution *d, unsigned component, const double *c, size_t n)
{
    const unsigned bins = g->settings.bins;
    uint64_t *counts = calloc(bins, sizeof *counts);
    for (size_t i = 0; i < n; i++) {
        const double at = (c[i] - g->range[0]) * bins / (g->range[1] - g->range[0]);
        if (at > -1e-9 && at < bins + 1e-9) counts[at < 0 ? 0 : at >= bins ? bins - 1 : (unsigned)at]++;
    }
    assert_memory_equal(counts, d->counts + (size_t)component * bins, bins * sizeof *counts);
    free(counts);
}

/* A density against the sum of its Gaussians, to 1e-4 of the peak. */
static void check_density(const fpr_kde *kde, const double *c, size_t n)
{
    double exact[FPR_KDE_POINTS];
    exact_density(c, n, kde->bandwidth, kde->start, kde->step, exact, FPR_KDE_POINTS);
    assert_true(largest_difference(exact, kde->density, FPR_KDE_POINTS) < 1e-4 * largest(exact, FPR_KDE_POINTS));
}

/* Histograms to the last count (numbers on an edge but for rounding aside, of which random ones have none), densities
 * to 1e-4 of the peak, with the bandwidth from the numbers themselves. */
static void check_against_plain(group *g)
{
    double *c = malloc(kernels_of(g) * sizeof *c);
    for (unsigned w = 0; w < 4; w++)
        for (unsigned j = 0; j < g->k; j++) {
            const size_t n = plain_coefficients(g, (conv_which)w, j, c);
            const fpr_distribution *d = &g->distributions[w];
            assert_true(d->kernels == n);
            check_counts(g, d, j, c, n);
            const fpr_kde *kde = &d->kde[j];
            if (n < 2) continue;
            const double h = exact_silverman(c, n);
            if (h == 0) {
                assert_true(kde->degenerate && kde->bandwidth == 1);
                continue;
            }
            assert_false(kde->degenerate);
            assert_relative(kde->bandwidth, h, g->k > 32 ? 1e-3 : 2e-4);
            assert_close(kde->start, c[0] - 3 * kde->bandwidth, 1e-12);
            assert_close(kde->start + 511 * kde->step, c[n - 1] + 3 * kde->bandwidth, 1e-12);
            check_density(kde, c, n);
        }
    free(c);
}

static void distributions_of_a_smooth_group(void **state)
{
    (void)state;
    group g;
    random_state = 11;
    make_group(&g, 3, 20, 30, 3, 3);
    fill_normal(&g, NULL);
    study(&g);
    check_against_plain(&g);
    uint64_t total = 0;
    for (unsigned w = 0; w < g.counter->workers; w++) {
        const table *t = &g.counter->counting[w].tables[KEPT_LIVE];
        total += t->total;
        if (!t->total) continue; /* another worker was there first */
        assert_true((t->numbers != NULL) == (way == BY_THEMSELVES) && (t->cells != NULL) == (way != BY_THEMSELVES));
        assert_true((t->wide != NULL) == (way == IN_WIDE_CELLS));
    }
    assert_true(total == kernels_of(&g));
    for (unsigned j = 0; j < 9; j++) {
        double integral = 0;
        const fpr_kde *kde = &g.distributions[CONV_BEFORE].kde[j];
        for (unsigned p = 0; p < FPR_KDE_POINTS; p++) integral += kde->density[p] * kde->step;
        assert_close(integral, 1, 1e-3);
    }
    free_group(&g);
}

static void distributions_of_other_kernel_shapes(void **state)
{
    (void)state;
    const struct { uint64_t o, i, a, b; } cases[] = {
        {40, 9, 1, 2}, {30, 8, 1, 3}, {30, 8, 5, 5}, {20, 5, 7, 7}, {4, 30, 11, 11}};
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        group g;
        make_group(&g, 2, cases[c].o, cases[c].i, cases[c].a, cases[c].b);
        fill_normal(&g, NULL);
        study(&g);
        check_against_plain(&g);
        free_group(&g);
    }
}

/* Where there are very many kernels an eighth of the cells do: all over the range, or, of a narrow component with long
 * tails, around its mean. */
static void distributions_of_a_large_group(void **state)
{
    (void)state;
    group g;
    random_state = 31;
    make_group(&g, 1, 750, 720, 1, 2);
    const uint64_t kernels = kernels_of(&g);
    for (uint64_t i = 0; i < kernels; i++) {
        g.w[0][2 * i] = random_bits() & 1 ? 1 : -1;
        g.w[0][2 * i + 1] = random_normal() * (i % 1000 ? 0.03 : 0.3);
    }
    find_basis(&g);
    find_range(&g);
    assert_int_equal(conv_counter_new(&g.basis, 2, g.range, kernels, kernels, &g.settings, &g.counter, NULL), FPR_OK);
    assert_int_equal(conv_counter_add(g.counter, g.blocks, 1, NULL), FPR_OK);
    finish_counting(&g);
    assert_int_equal(g.counter->windows[0].fine.count, (70 << 7) + 2);
    assert_int_equal(g.counter->windows[1].fine.count, 8192 + 2);
    double *c = malloc(kernels * sizeof *c);
    for (unsigned j = 0; j < 2; j++) {
        const fpr_distribution *d = &g.distributions[CONV_BEFORE];
        const size_t n = plain_coefficients(&g, CONV_BEFORE, j, c);
        check_counts(&g, d, j, c, n);
        assert_relative(d->kde[j].bandwidth, exact_silverman(c, n), 2e-4);
        enum { SOME = 32, APART = FPR_KDE_POINTS / SOME };
        double exact[SOME], found[SOME];
        exact_density(c, n, d->kde[j].bandwidth, d->kde[j].start, APART * d->kde[j].step, exact, SOME);
        for (unsigned p = 0; p < SOME; p++) found[p] = d->kde[j].density[p * APART];
        assert_true(largest_difference(exact, found, SOME) < 1e-4 * largest(exact, SOME));
    }
    free(c);
    free_group(&g);
}

/* 70 % of the kernels are zero, more are sparse: a spike at the zero kernel, and the rest. */
static void distributions_of_a_sparse_group(void **state)
{
    (void)state;
    group g;
    random_state = 12;
    make_group(&g, 2, 25, 40, 3, 3);
    fill_normal(&g, NULL);
    for (unsigned l = 0; l < 2; l++)
        for (uint64_t i = 0; i < g.shapes[l].kernels; i++)
            for (unsigned d = 0; d < 9; d++) g.w[l][i * 9 + d] *= i % 10 < 7 ? 0 : i % 10 < 8 ? 1e-5 : 1;
    find_basis(&g);
    fate_by_threshold(&g);
    find_range(&g);
    start_counting(&g);
    finish_counting(&g);
    check_against_plain(&g);

    fpr_divergence all, live;
    const fpr_distribution *d = g.distributions;
    fpr_status status = conv_divergence(&d[CONV_BEFORE], &d[CONV_AFTER], 9, 70, g.range, g.ratio, &all, NULL);
    assert_int_equal(status, FPR_OK);
    status = conv_divergence(&d[CONV_LIVE_BEFORE], &d[CONV_LIVE_AFTER], 9, 70, g.range, g.ratio, &live, NULL);
    assert_int_equal(status, FPR_OK);
    assert_true(live.weighted == 0 && largest(live.per_component, 9) == 0);
    assert_true(all.weighted > 1e-3);
    double weighted = 0;
    for (unsigned j = 0; j < 9; j++) weighted += g.ratio[j] * all.per_component[j];
    assert_close(all.weighted, weighted, 1e-15);
    base_free(all.per_component);
    base_free(live.per_component);
    free_group(&g);
}

/* +-alpha per filter: 512 distinct kernels, whose coefficients lie on few points and on edges of bins. */
static void distributions_of_a_binary_group(void **state)
{
    (void)state;
    group g;
    random_state = 13;
    make_group(&g, 2, 25, 40, 3, 3);
    for (unsigned l = 0; l < 2; l++)
        for (uint64_t i = 0; i < g.shapes[l].kernels * 9; i++)
            g.w[l][i] = (random_bits() & 1 ? 1 : -1) * (0.01 + (double)(i / 9 / 40));
    study(&g);
    double *c = malloc(kernels_of(&g) * sizeof *c);
    for (unsigned j = 0; j < 9; j++) {
        const fpr_kde *kde = &g.distributions[CONV_BEFORE].kde[j];
        const size_t n = plain_coefficients(&g, CONV_BEFORE, j, c);
        uint64_t sum = 0;
        for (unsigned b = 0; b < 70; b++) sum += g.distributions[CONV_BEFORE].counts[j * 70 + b];
        assert_true(sum == n);
        assert_relative(kde->bandwidth, exact_silverman(c, n), 2e-4);
        check_density(kde, c, n);
    }
    free(c);
    free_group(&g);
}

/* The last component varies a million times less than the first: its cells are finer. */
static void a_narrow_component_gets_finer_cells(void **state)
{
    (void)state;
    group g;
    random_state = 14;
    make_group(&g, 2, 25, 40, 1, 3);
    for (unsigned l = 0; l < 2; l++)
        for (uint64_t i = 0; i < g.shapes[l].kernels; i++) { /* third weight: 0.3 first + 0.2 second, almost */
            double *w = g.w[l] + i * 3;
            w[0] = random_normal() > 0 ? 1 : -1;
            w[1] = 2 * random_unit() - 1;
            w[2] = 0.3 * w[0] + 0.2 * w[1] + 1e-6 * random_normal();
        }
    study(&g);
    assert_true(g.ratio[2] < 1e-11 && g.ratio[2] > 1e-13);
    check_against_plain(&g);
    free_group(&g);
}

/* Layers that widen the range one after the other, so that windows have to move and cells to merge. */
static void windows_follow_the_coefficients(void **state)
{
    (void)state;
    group g;
    random_state = 15;
    make_group(&g, LAYERS, 140, 140, 1, 3);
    for (unsigned l = 0; l < LAYERS; l++)
        for (uint64_t i = 0; i < g.shapes[l].kernels; i++) {
            double *w = g.w[l] + i * 3;
            const double spread = pow(10, (double)l - 4);
            w[0] = 1;
            w[1] = 0.5 + spread * (random_unit() - (l % 2 ? 1 : 0));
            w[2] = random_normal() * 1e-3 * spread;
        }
    find_basis(&g);
    find_range(&g);
    start_counting(&g);
    finish_counting(&g);
    double *c = malloc(kernels_of(&g) * sizeof *c);
    for (unsigned j = 0; j < 3; j++) {
        const size_t n = plain_coefficients(&g, CONV_BEFORE, j, c);
        check_counts(&g, &g.distributions[CONV_BEFORE], j, c, n);
        const fpr_kde *kde = &g.distributions[CONV_BEFORE].kde[j];
        if (j == 2) /* the first weight is always the peak: no variance */
            assert_true(kde->degenerate);
        else
            assert_relative(kde->bandwidth, exact_silverman(c, n), 3e-3);
    }
    free(c);
    free_group(&g);
}

/* ---- after the job */

static void changed_kernels_count_as_they_are_now(void **state)
{
    (void)state;
    group g;
    random_state = 16;
    make_group(&g, 2, 20, 30, 3, 3);
    fill_normal(&g, NULL);
    find_basis(&g);
    find_range(&g);
    fate_by_threshold(&g);
    for (unsigned l = 0; l < 2; l++)
        for (uint64_t i = 0; i < g.shapes[l].kernels; i += 3) g.action[l][i] = CONV_ACTION_CHANGED;
    start_counting(&g);
    uint64_t outside = 0;
    for (unsigned l = 0; l < 2; l++)
        for (uint64_t i = 0; i < g.shapes[l].kernels; i += 3)
            for (unsigned d = 0; d < 9; d++) g.w[l][i * 9 + d] = d == 4 ? 1 : (i % 2 ? 1 : -1); /* far out */
    /* and some are zero now, some sparse */
    for (unsigned d = 0; d < 9; d++) g.w[0][d] = 0, g.w[0][27 + d] *= 1e-9;
    assert_int_equal(conv_counter_add_changed(g.counter, g.blocks, 2, NULL), FPR_OK);
    finish_counting(&g);

    double *c = malloc(kernels_of(&g) * sizeof *c);
    const conv_which which[] = {CONV_AFTER, CONV_LIVE_AFTER};
    for (unsigned w = 0; w < 2; w++)
        for (unsigned j = 0; j < 9; j++) {
            const size_t n = plain_coefficients(&g, which[w], j, c);
            const fpr_distribution *d = &g.distributions[which[w]];
            assert_true(d->kernels == n);
            check_counts(&g, d, j, c, n);
            for (size_t i = 0; i < n; i++) outside += c[i] < g.range[0] || c[i] > g.range[1];
            const fpr_kde *kde = &d->kde[j];
            assert_relative(kde->bandwidth, exact_silverman(c, n), 2e-4);
            check_density(kde, c, n);
        }
    assert_true(outside > 100); /* not in the histogram, but in the density */
    assert_true(g.distributions[CONV_BEFORE].kernels == kernels_of(&g));
    free(c);
    free_group(&g);
}

/* Fates are told by kernel, filter by filter, whichever way the weights lie. */
static void fates_of_the_other_layout(void **state)
{
    (void)state;
    enum { O = 20, I = 30, K = 9 };
    group g;
    random_state = 23;
    make_group(&g, 1, O, I, 3, 3);
    fill_normal(&g, NULL);
    find_basis(&g);
    find_range(&g);
    fate_by_threshold(&g);
    for (unsigned i = 0; i < O * I; i++) /* not symmetric in filter and channel */
        g.action[0][i] = i % 7 == 0 ? CONV_ACTION_ZERO : i % 11 == 0 ? CONV_ACTION_CHANGED : CONV_ACTION_KEPT;
    start_counting(&g);
    assert_int_equal(conv_counter_add_changed(g.counter, g.blocks, 1, NULL), FPR_OK);
    finish_counting(&g);
    fpr_distribution rows[4];
    memcpy(rows, g.distributions, sizeof rows);
    memset(g.distributions, 0, sizeof g.distributions);

    double *planes = calloc(O * I * K, sizeof *planes);
    for (unsigned i = 0; i < O * I * K; i++) planes[(i % K * I + i / K % I) * O + i / K / I] = g.w[0][i];
    assert_true(conv_layer_shape(FPR_F64, 4, (const uint64_t[]){3, 3, I, O}, FPR_LAYOUT_HWIO, &g.shapes[0]));
    g.blocks[0].weights = planes;
    start_counting(&g);
    assert_int_equal(conv_counter_add_changed(g.counter, g.blocks, 1, NULL), FPR_OK);
    finish_counting(&g);
    for (unsigned w = 0; w < 4; w++) {
        assert_true(rows[w].kernels == g.distributions[w].kernels);
        assert_memory_equal(rows[w].counts, g.distributions[w].counts, K * 70 * sizeof(uint64_t));
        base_free(rows[w].counts);
        base_free(rows[w].kde);
    }
    free(planes);
    free_group(&g);
}

/* ---- degenerate groups */

static void check_finite(const group *g)
{
    for (unsigned w = 0; w < 4; w++)
        for (unsigned j = 0; j < g->k; j++) {
            const fpr_kde *kde = &g->distributions[w].kde[j];
            assert_true(isfinite(kde->bandwidth) && isfinite(kde->start) && isfinite(kde->step) && kde->step > 0);
            for (unsigned p = 0; p < FPR_KDE_POINTS; p++) assert_true(isfinite(kde->density[p]));
        }
    for (unsigned a = 0; a < 4; a++) {
        fpr_divergence d;
        const fpr_distribution *from = &g->distributions[a], *to = &g->distributions[0];
        assert_int_equal(conv_divergence(from, to, g->k, 70, g->range, g->ratio, &d, NULL), FPR_OK);
        assert_true(isfinite(d.weighted));
        base_free(d.per_component);
    }
}

static void degenerate_groups_stay_finite(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 7; which++)
        for (unsigned rule = 0; rule < 3; rule++) {
            group g;
            make_group(&g, 1, which == 1 || which == 2 ? 1 : 6, which == 1 ? 1 : which == 2 ? 3 : 5, 3, 3);
            g.settings.bandwidth = (fpr_bandwidth)rule;
            g.settings.bandwidth_value = 0.25;
            for (uint64_t i = 0; i < g.shapes[0].kernels * 9; i++) {
                const double constant = 0.3 - (double)(i % 9);
                switch (which) {
                case 0: g.w[0][i] = constant; break;                     /* constant kernels */
                case 1: case 2: g.w[0][i] = random_normal(); break;      /* one kernel; n < k */
                case 3: g.w[0][i] = 0; break;                            /* an all-zero layer */
                case 4: g.w[0][i] = i < 9 ? constant : 0; break;         /* one live kernel */
                case 5: g.w[0][i] = i < 9 ? 1e-320 : 0; break;           /* denormal */
                default: g.w[0][i] = i < 9 ? 1 : 1e-9 * constant; break; /* one live kernel, others alike */
                }
            }
            find_basis(&g);
            fate_by_threshold(&g);
            find_range(&g);
            start_counting(&g);
            finish_counting(&g);
            check_finite(&g);
            const fpr_kde *kde = g.distributions[CONV_BEFORE].kde;
            if (which < 2 || which == 3)
                for (unsigned j = 0; j < 9; j++) {
                    assert_true(kde[j].degenerate);
                    assert_close(kde[j].bandwidth, rule == FPR_BANDWIDTH_FIXED ? 0.25 : 1, 0);
                }
            if (which == 2)
                for (unsigned j = 2; j < 9; j++) assert_true(kde[j].degenerate); /* three kernels: rank two */
            free_group(&g);
        }
}

static void no_kernels_at_all(void **state)
{
    (void)state;
    group g;
    make_group(&g, 1, 4, 4, 3, 3);
    find_basis(&g);
    g.range[0] = INFINITY;
    g.range[1] = -INFINITY;
    assert_int_equal(conv_range_blocks(g.blocks, 0, &g.settings, &g.basis, g.range, NULL), FPR_OK);
    assert_int_equal(conv_counter_new(&g.basis, 9, g.range, 0, 0, &g.settings, &g.counter, NULL), FPR_OK);
    assert_int_equal(conv_counter_add(g.counter, g.blocks, 0, NULL), FPR_OK);
    finish_counting(&g);
    g.range[0] = g.range[1] = 0;
    check_finite(&g);
    assert_true(g.distributions[0].kernels == 0);
    free_group(&g);
}

/* ---- settings */

static void bandwidths_as_asked_for(void **state)
{
    (void)state;
    group g;
    random_state = 17;
    make_group(&g, 1, 20, 30, 3, 3);
    fill_normal(&g, NULL);
    g.settings.bandwidth = FPR_BANDWIDTH_SCOTT;
    study(&g);
    double *c = malloc(kernels_of(&g) * sizeof *c), mean = 0, squares = 0;
    const size_t n = plain_coefficients(&g, CONV_BEFORE, 4, c);
    for (size_t i = 0; i < n; i++) mean += c[i] / (double)n;
    for (size_t i = 0; i < n; i++) squares += (c[i] - mean) * (c[i] - mean);
    const double scott = sqrt(squares / (double)(n - 1)) * pow((double)n, -0.2);
    assert_relative(g.distributions[CONV_BEFORE].kde[4].bandwidth, scott, 1e-6);
    free(c);
    g.settings.bandwidth = FPR_BANDWIDTH_FIXED;
    g.settings.bandwidth_value = 0.125;
    start_counting(&g);
    finish_counting(&g);
    assert_true(g.distributions[CONV_BEFORE].kde[4].bandwidth == 0.125);
    free_group(&g);
}

static void any_number_of_bins(void **state)
{
    (void)state;
    group g;
    random_state = 18;
    make_group(&g, 2, 20, 30, 3, 3);
    fill_normal(&g, NULL);
    find_basis(&g);
    find_range(&g);
    double *c = malloc(kernels_of(&g) * sizeof *c);
    const unsigned bins[] = {2, 3, 100, 1000, 4096};
    for (size_t b = 0; b < COUNT_OF(bins); b++) {
        g.settings.bins = bins[b];
        start_counting(&g);
        finish_counting(&g);
        for (unsigned j = 0; j < 9; j += 4) {
            const size_t n = plain_coefficients(&g, CONV_BEFORE, j, c);
            check_counts(&g, &g.distributions[CONV_BEFORE], j, c, n);
            assert_relative(g.distributions[CONV_BEFORE].kde[j].bandwidth, exact_silverman(c, n), 5e-4);
        }
    }
    free(c);
    free_group(&g);
}

/* ---- what must change nothing */

static void check_same_distributions(const group *a, const group *b)
{
    assert_memory_equal(a->range, b->range, sizeof a->range);
    for (unsigned w = 0; w < 4; w++) {
        const fpr_distribution *x = &a->distributions[w], *y = &b->distributions[w];
        assert_true(x->kernels == y->kernels);
        assert_memory_equal(x->counts, y->counts, a->k * 70 * sizeof *x->counts);
        for (unsigned j = 0; j < a->k; j++) {
            assert_true(x->kde[j].bandwidth == y->kde[j].bandwidth && x->kde[j].start == y->kde[j].start);
            assert_memory_equal(x->kde[j].density, y->kde[j].density, sizeof x->kde[j].density);
        }
    }
}

static void distributions_do_not_depend_on_threads_or_instructions(void **state)
{
    (void)state;
    group a, b;
    for (unsigned threads = 1; threads <= 4; threads++)
        for (unsigned v = 0; num_kernels_variant(v); v++) {
            group *g = threads == 1 && v == 0 ? &a : &b;
            random_state = 19;
            make_group(g, LAYERS, 61, 77, 3, 3);
            fill_normal(g, NULL);
            for (unsigned l = 0; l < LAYERS; l++)
                for (uint64_t i = 0; i < g->shapes[l].kernels * 9; i++)
                    g->w[l][i] *= i / 9 % 5 == 0 ? 1e-4 : i / 9 % 7 != 0;
            g->settings.threads = threads;
            g->settings.kernels = num_kernels_variant(v);
            find_basis(g);
            fate_by_threshold(g);
            find_range(g);
            start_counting(g);
            finish_counting(g);
            if (g == &a) continue;
            assert_memory_equal(a.components, b.components, sizeof a.components);
            check_same_distributions(&a, &b);
            free_group(&b);
        }
    free_group(&a);
}

/* A power of two is exact: every number of the report stays as it is. */
static void scaling_by_a_power_of_two_changes_nothing(void **state)
{
    (void)state;
    group a, b;
    group *const groups[] = {&a, &b};
    for (unsigned s = 0; s < 2; s++) {
        random_state = 20;
        make_group(groups[s], 2, 20, 30, 3, 3);
        fill_normal(groups[s], NULL);
        for (uint64_t i = 0; i < groups[s]->shapes[1].kernels * 9 && s; i++) groups[s]->w[1][i] *= 0x1p-60;
        study(groups[s]);
    }
    assert_memory_equal(a.components, b.components, sizeof a.components);
    assert_memory_equal(a.ratio, b.ratio, sizeof a.ratio);
    check_same_distributions(&a, &b);
    free_group(&a);
    free_group(&b);
}

/* The same kernels in another order, in other layers: sums change in the last bits, nothing else. */
static void order_and_division_into_layers_do_not_matter(void **state)
{
    (void)state;
    group a, b;
    random_state = 21;
    make_group(&a, 1, 40, 30, 3, 3);
    fill_normal(&a, NULL);
    make_group(&b, 2, 20, 30, 3, 3); /* 20 and 21 filters: the last is taken away again */
    b.shapes[1].filters = 20;
    b.shapes[1].kernels = 600;
    for (unsigned i = 0; i < 1200; i++) { /* 7 and 1200 have no common factor */
        const unsigned from = i * 7 % 1200;
        memcpy(b.w[i / 600] + i % 600 * 9, a.w[0] + from * 9, 9 * sizeof(double));
    }
    study(&a);
    study(&b);
    assert_close(largest_difference(a.ratio, b.ratio, 9), 0, 1e-14);
    assert_close(largest_difference(a.components, b.components, 81), 0, 1e-10);
    assert_close(largest_difference(a.range, b.range, 2), 0, 1e-12);
    for (unsigned j = 0; j < 9; j++) {
        const fpr_kde *x = &a.distributions[CONV_BEFORE].kde[j], *y = &b.distributions[CONV_BEFORE].kde[j];
        assert_relative(x->bandwidth, y->bandwidth, 1e-4);
    }
    const uint64_t *x = a.distributions[CONV_BEFORE].counts, *y = b.distributions[CONV_BEFORE].counts;
    assert_memory_equal(x, y, 9 * 70 * sizeof *x);
    free_group(&a);
    free_group(&b);
}

static void counting_in_batches_is_counting_at_once(void **state)
{
    (void)state;
    group a, b;
    group *const groups[] = {&a, &b};
    for (unsigned s = 0; s < 2; s++) {
        random_state = 22;
        make_group(groups[s], LAYERS, 20, 30, 3, 3);
        fill_normal(groups[s], NULL);
        study(groups[s]);
    }
    drop_distributions(&b);
    assert_int_equal(
        conv_counter_new(&b.basis, 9, b.range, kernels_of(&b), kernels_of(&b), &b.settings, &b.counter, NULL), FPR_OK);
    for (unsigned l = 0; l < LAYERS; l++) {
        assert_int_equal(conv_counter_add(b.counter, b.blocks + l, 1, NULL), FPR_OK);
        fpr_distribution between; /* looking does not disturb */
        assert_int_equal(conv_counter_finish(b.counter, CONV_BEFORE, true, &between, NULL), FPR_OK);
        base_free(between.counts);
        base_free(between.kde);
    }
    finish_counting(&b);
    for (unsigned w = 0; w < 4; w++) {
        assert_memory_equal(a.distributions[w].counts, b.distributions[w].counts, 9 * 70 * sizeof(uint64_t));
        for (unsigned j = 0; j < 9; j++)
            assert_relative(a.distributions[w].kde[j].bandwidth, b.distributions[w].kde[j].bandwidth, 1e-4);
    }
    free_group(&a);
    free_group(&b);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    group g;
    make_group(&g, 2, 8, 8, 3, 3);
    fill_normal(&g, NULL);
    study(&g);
    drop_distributions(&g);
    g.settings.threads = 1;
    const long alive = base_allocations_alive();
    bool done = false;
    for (long n = 0; !done; n++) {
        double range[2] = {INFINITY, -INFINITY};
        fpr_distribution d = {0};
        fpr_divergence v = {0};
        base_fail_allocation(n);
        fpr_status status = conv_range_blocks(g.blocks, 2, &g.settings, &g.basis, range, NULL);
        if (!status)
            status =
                conv_counter_new(&g.basis, 9, g.range, kernels_of(&g), kernels_of(&g), &g.settings, &g.counter, NULL);
        if (!status) status = conv_counter_add(g.counter, g.blocks, 2, NULL);
        if (!status) status = conv_counter_finish(g.counter, CONV_BEFORE, true, &d, NULL);
        if (!status) status = conv_divergence(&d, &d, 9, 70, g.range, g.ratio, &v, NULL);
        base_fail_allocation(-1);
        done = status == FPR_OK;
        if (!done) assert_int_equal(status, FPR_NO_MEMORY);
        base_free(d.counts);
        base_free(d.kde);
        base_free(v.per_component);
        conv_counter_free(g.counter);
        g.counter = NULL;
        assert_int_equal(base_allocations_alive(), alive);
        assert_true(n < 200);
    }
    free_group(&g);
}

/* Mostly one component, as in trained networks. */
static void fill_like_trained(group *g)
{
    for (unsigned l = 0; l < g->layers; l++)
        for (uint64_t i = 0; i < g->shapes[l].kernels; i++) {
            const double level = random_normal();
            for (unsigned d = 0; d < 9; d++) g->w[l][i * 9 + d] = level + 0.5 * random_normal();
        }
}

/* A mean off the origin, in the direction of a third of the kernels; patterns that reach far in other components; and
 * kernels nearer to the origin than both, which have the lowest coefficient because they are opposite to the mean. */
static void fill_lopsided(group *g)
{
    for (unsigned l = 0; l < g->layers; l++)
        for (uint64_t i = 0; i < g->shapes[l].kernels; i++) {
            double *w = g->w[l] + i * 9;
            for (unsigned d = 0; d < 9; d++) {
                const double noise = 0.02 * random_normal(), step = (double)(d % 3) - 1;
                w[d] = i % 20 < 7 ? 1 : i % 20 < 11 ? step : i % 20 < 15 ? -step : d ? -0.6 - 0.05 * l : -1;
                w[d] += noise;
            }
        }
}

static void the_farthest_kernels_tell_the_range(void **state)
{
    (void)state;
    const size_t one = (9 + 3) * sizeof(double);
    for (unsigned lists = 1; lists <= 2; lists++) {
        group g;
        make_group(&g, 2, 64, 96, 3, 3); /* 12,384 kernels */
        fill_like_trained(&g);
        find_basis(&g);
        assert_true(farthest_tell_the_range(&g, 20000 * one, lists)); /* all of them */
        assert_true(farthest_tell_the_range(&g, 2000 * one, lists));
        assert_false(farthest_tell_the_range(&g, 2 * one, lists));

        fill_lopsided(&g);
        find_basis(&g);
        for (size_t kept = 2; kept < 20000; kept += kept / 2) farthest_tell_the_range(&g, kept * one, lists);

        /* All equally far: none is kept, and nothing is claimed. */
        for (unsigned l = 0; l < 2; l++)
            for (uint64_t i = 0; i < g.shapes[l].kernels * 9; i++) g.w[l][i] = random_normal() < 0 ? -1 : 1;
        find_basis(&g);
        assert_false(farthest_tell_the_range(&g, 2000 * one, lists));
        free_group(&g);
    }
}

static int set_way(void **state)
{
    way = (unsigned)(uintptr_t)*state;
    return 0;
}

#define EACH_WAY(test)                                                                                       \
    cmocka_unit_test_prestate_setup_teardown(test, set_way, NULL, (void *)BY_THEMSELVES),                    \
    cmocka_unit_test_prestate_setup_teardown(test, set_way, NULL, (void *)IN_CELLS),                         \
    cmocka_unit_test_prestate_setup_teardown(test, set_way, NULL, (void *)IN_WIDE_CELLS)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH_WAY(distributions_of_a_smooth_group),
        EACH_WAY(distributions_of_other_kernel_shapes),
        cmocka_unit_test(distributions_of_a_large_group),
        EACH_WAY(distributions_of_a_sparse_group),
        EACH_WAY(distributions_of_a_binary_group),
        EACH_WAY(a_narrow_component_gets_finer_cells),
        EACH_WAY(windows_follow_the_coefficients),
        EACH_WAY(changed_kernels_count_as_they_are_now),
        EACH_WAY(fates_of_the_other_layout),
        EACH_WAY(degenerate_groups_stay_finite),
        EACH_WAY(no_kernels_at_all),
        EACH_WAY(bandwidths_as_asked_for),
        EACH_WAY(any_number_of_bins),
        EACH_WAY(distributions_do_not_depend_on_threads_or_instructions),
        EACH_WAY(scaling_by_a_power_of_two_changes_nothing),
        EACH_WAY(order_and_division_into_layers_do_not_matter),
        EACH_WAY(counting_in_batches_is_counting_at_once),
        cmocka_unit_test(the_farthest_kernels_tell_the_range),
        EACH_WAY(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("distributions", tests, NULL, NULL);
}

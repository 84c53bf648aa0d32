/* Which layers are binary-like, and at which levels.
 *
 * A kernel meets the tolerance e at levels {a, b} when  sum (w - q)^2 <= e^2 sum w^2.  Three scopes compete: one pair
 * of levels per layer, per filter, per kernel. A scope is eligible when at least binary_share of the live kernels meet
 * the tolerance in it and both levels are used by 5 % of their weights; among the eligible the one of the fewest stored
 * bytes wins. A live kernel is one that is neither pruned nor zero. A level that a unit uses once is fitted to that one
 * weight, and two levels within the tolerance of each other are one: neither says anything, so 5 % of the units must
 * have two levels apart, each used more than once. Kernels of a single weight (a 1x1 convolution stored as 3x3) and
 * constant kernels are no binary layer.
 *
 * Nearly every layer of nearly every model is dense, so it must be left quickly. Where a kernel meets the tolerance,
 * every weight lies within r = e sqrt(sum w^2) <= e sqrt(k) max|w| of one of the levels, hence within 2 r of the
 * smallest or of the largest weight: the quick test is a few comparisons, it never misses, and it stops for good once
 * more kernels have failed than 1 - binary_share allows. (Kernels of one to three weights pass it by nature; for them
 * the weights of a filter are tested together first.) Only what is left is sorted.
 *
 * Exactness. Levels are rounded to the tensor's dtype before the error is measured, so the bound holds for what is
 * restored; weights that have exactly two values give exactly these as levels. Levels -a, a (XNOR-Net) are taken for a
 * noisy layer as well when every kernel still meets the tolerance at them and no kernel loses exactness: they cost
 * half. For the same reason a scope that changes nothing wins over a cheaper one that changes weights, if it costs at
 * most a quarter more. Squared sums outside 1e-290 .. 1e290 say nothing: there only exact kernels count. */
#include "shrink/tally.h"

#include <math.h>
#include <stdatomic.h>

#define USED_SHARE_MIN 0.05
#define UNIT_WEIGHTS_MIN 4
#define SETTLING 128 /* weights that say roughly where two levels are */
/* A filter of more kernels is not treated as a unit: its points would not fit the bound on memory. */
#define FILTER_KERNELS_MAX (UINT64_C(1) << 18)
/* Filters whose levels are kept to find those of the layer. Of more, which are filters of very few weights, so many at
 * most are taken, evenly spaced: where a layer has two levels, these have them. What the levels found are worth is
 * measured over all filters. */
#define FILTERS_SUMMED_MAX (UINT64_C(1) << 18)
#define SCOPES 3 /* layer, filter, kernel: FPR_SCOPE_LAYER + index, the cheapest first */
enum { BY_LAYER, BY_FILTER, BY_KERNEL };

typedef struct filter_sum {
    shrink_pair pair; /* not rounded; no counts when the filter has no two-level kernel */
    double mean_abs;
} filter_sum;

typedef struct binary_run {
    const shrink_view *view;
    shrink_plan *plan;
    double tolerance, share; /* e^2, and the share asked for */
    double reach;            /* 2 e sqrt(k) */
    uint64_t live, failed_max;
    atomic_uint_fast64_t failed;
    uint64_t batch; /* filters of one task */
    uint64_t every; /* distance of the filters that are summed */
    filter_sum *filters; /* of every such one */
    double *points;         /* [threads][2 * channels] */
    uint64_t *point_counts; /* likewise */
    tally (*tallies)[SCOPES];
    levels layer;
    unsigned scope; /* chosen */
    bool symmetric;
} binary_run;

/* ---------------------------------------------------------------- levels of units */

static levels rounded(fpr_dtype dtype, const shrink_pair *pair, double mean_abs)
{
    levels l = {shrink_round(dtype, pair->low), shrink_round(dtype, pair->high), shrink_round(dtype, mean_abs)};
    if (!pair->high_count) l.high = l.low;
    return l;
}

/* The pair of one kernel, from its smallest and largest weight where it has only these. */
static shrink_pair pair_of(const double *w, size_t k, kernel_kind kind, double low, double high)
{
    shrink_pair pair = {.low = low, .high = high};
    if (kind == KIND_NEARLY) {
        double sorted[TILE_WEIGHTS];
        for (size_t i = 0; i < k; i++) sorted[i] = w[i];
        return shrink_two_means(sorted, NULL, k);
    }
    for (size_t i = 0; i < k; i++) pair.low_count += w[i] == low;
    pair.high_count = k - pair.low_count;
    return pair;
}

/* Mean of |w|, in the least-squares sense the best a for levels -a, a; exactly |w| when it is one number. */
static double mean_abs_of(const double *w, size_t k)
{
    double first = fabs(w[0]), sum = 0;
    for (size_t i = 1; i < k; i++) sum += fabs(w[i]) - first;
    return first + sum / (double)k;
}

static levels kernel_levels(fpr_dtype dtype, const double *w, size_t k, const shrink_pair *pair)
{
    return rounded(dtype, pair, mean_abs_of(w, k));
}

/* Sums up n points of a unit. A unit whose points have only two values needs no sorting. */
static filter_sum sum_of(double *values, uint64_t *counts, size_t n)
{
    filter_sum sum = {0};
    if (!n) return sum;
    double lo = values[0], hi = values[0], first = fabs(values[0]), apart = 0;
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) {
        lo = values[i] < lo ? values[i] : lo;
        hi = values[i] > hi ? values[i] : hi;
        apart += (fabs(values[i]) - first) * (double)counts[i];
        total += counts[i];
    }
    sum.mean_abs = first + apart / (double)total;
    sum.pair = (shrink_pair){.low = lo, .high = hi};
    for (size_t i = 0; i < n; i++) {
        if (values[i] == lo)
            sum.pair.low_count += counts[i];
        else if (values[i] == hi)
            sum.pair.high_count += counts[i];
        else {
            sum.pair = shrink_two_means(values, counts, n);
            break;
        }
    }
    return sum;
}

/* ---------------------------------------------------------------- walking over the live kernels of a task */

typedef void (*kernel_visitor)(binary_run *run, void *context, uint64_t kernel, const double *w);

/* Before any action is known, every kernel is. */
static bool is_live(const binary_run *run, uint64_t kernel)
{
    return !run->plan->action || run->plan->action[kernel] == CONV_ACTION_KEPT;
}

/* The live kernels of a filter, loaded in runs: in a pruned layer they are few. */
static void each_kernel(binary_run *run, uint64_t filter, kernel_visitor visit, void *context)
{
    double tile[TILE_WEIGHTS];
    const fpr_layer_shape *s = run->view->shape;
    uint64_t step = shrink_tile_kernels(s), end = (filter + 1) * s->channels;
    for (uint64_t j = filter * s->channels, n; j < end; j += n) {
        for (n = 0; n < step && j + n < end && is_live(run, j + n);) n++;
        if (n) conv_kernels(s, run->view->dtype, run->view->weights, j, (size_t)n, tile);
        for (uint64_t i = 0; i < n; i++) visit(run, context, j + i, tile + i * s->k);
        if (!n) n = 1;
    }
}

/* ---------------------------------------------------------------- giving up early */

static void fail_kernels(binary_run *run, uint64_t n)
{
    if (n) atomic_fetch_add_explicit(&run->failed, n, memory_order_relaxed);
}

/* Once true it stays true, whatever the order of the tasks: the outcome does not depend on the threads. */
static bool has_failed(binary_run *run)
{
    return atomic_load_explicit(&run->failed, memory_order_relaxed) > run->failed_max || base_cancelled();
}

/* Sums and counts of the weights up to the border, and beyond it. Eight chains hide the latency of the additions, and
 * factors of 0 and 1 take the place of branches that nobody could predict. */
static void split(const double *w, size_t n, double border, double sums[2], size_t counts[2])
{
    double low[8] = {0}, high[8] = {0}, beyond[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t l = 0; l < 8; l++) {
            const double is_high = w[i + l] > border;
            low[l] += w[i + l] * (1 - is_high);
            high[l] += w[i + l] * is_high;
            beyond[l] += is_high;
        }
    for (; i < n; i++) {
        const double is_high = w[i] > border;
        low[0] += w[i] * (1 - is_high);
        high[0] += w[i] * is_high;
        beyond[0] += is_high;
    }
    sums[0] = ((low[0] + low[4]) + (low[2] + low[6])) + ((low[1] + low[5]) + (low[3] + low[7]));
    sums[1] = ((high[0] + high[4]) + (high[2] + high[6])) + ((high[1] + high[5]) + (high[3] + high[7]));
    counts[1] = 0;
    for (size_t l = 0; l < 8; l++) counts[1] += (size_t)beyond[l];
    counts[0] = n - counts[1];
}

/* Moves the border of n weights to the middle between the means of both sides, until it rests: within so much of the
 * distance of the means. */
static void settle_border(const double *w, size_t n, double rest, double *border, double *low, double *high)
{
    for (unsigned round = 0; round < 8; round++) {
        double sums[2];
        size_t counts[2];
        split(w, n, *border, sums, counts);
        *low = counts[0] ? sums[0] / (double)counts[0] : *border;
        *high = counts[1] ? sums[1] / (double)counts[1] : *low;
        const double from = *border;
        *border = *low / 2 + *high / 2;
        if (fabs(*border - from) <= rest * (*high - *low)) break;
    }
}

/* Kernels of one to three weights: the first weights of a filter, split at their mean and moved to the means of both
 * sides until they rest, most of the way with the first of them alone. A kernel fails when a weight of it is further
 * from both levels than four times what the tolerance allows it. */
static void test_filter(void *context, size_t index, unsigned worker)
{
    (void)worker;
    binary_run *run = context;
    const fpr_layer_shape *s = run->view->shape;
    if (has_failed(run)) return;
    double tile[TILE_WEIGHTS];
    size_t k = (size_t)s->k, step = (size_t)shrink_tile_kernels(s);
    size_t kernels = s->channels < step ? (size_t)s->channels : step, n = kernels * k;
    conv_kernels(s, run->view->dtype, run->view->weights, index * s->channels, kernels, tile);
    double low = 0, high = 0, border = 0;
    for (size_t i = 0; i < n; i++) border += tile[i] / (double)n;
    settle_border(tile, n < SETTLING ? n : SETTLING, 0, &border, &low, &high);
    settle_border(tile, n, 0.05, &border, &low, &high);
    uint64_t failed = 0;
    for (size_t j = 0; j < kernels; j++) {
        if (!is_live(run, index * s->channels + j)) continue;
        double peak = 0, apart = 0;
        for (size_t i = j * k; i < (j + 1) * k; i++) {
            double to_low = fabs(tile[i] - low), to_high = fabs(tile[i] - high), size = fabs(tile[i]);
            double d = to_low < to_high ? to_low : to_high;
            apart = d > apart ? d : apart;
            peak = size > peak ? size : peak;
        }
        failed += apart > (2 * run->reach + 1e-9) * peak && peak > 0;
    }
    fail_kernels(run, failed);
}

/* ---------------------------------------------------------------- the scopes of filters and kernels */

typedef struct filter_context {
    tally *tallies;
    uint64_t dense; /* live kernels that are two-level in no scope */
    bool all_exact; /* every other live kernel has exactly two values, or one */
    bool by_filter;
    double *values; /* the points of the filter: levels of its kernels and how many weights have them */
    uint64_t *counts;
    size_t points;
    levels levels;
    bool used;
} filter_context;

/* The levels of many kernels of a filter are the same two numbers: the first two points collect them. */
static void add_point(filter_context *c, double value, uint64_t count)
{
    for (size_t i = 0; i < 2 && i < c->points; i++)
        if (c->values[i] == value) {
            c->counts[i] += count;
            return;
        }
    c->values[c->points] = value;
    c->counts[c->points++] = count;
}

static void measure_kernel(binary_run *run, void *context, uint64_t kernel, const double *w)
{
    (void)kernel;
    filter_context *c = context;
    size_t k = (size_t)run->view->shape->k;
    double low, high;
    kernel_kind kind = tally_kind(w, k, run->reach, &low, &high);
    c->dense += kind == KIND_DENSE;
    if (kind == KIND_DENSE) return;
    shrink_pair pair = pair_of(w, k, kind, low, high);
    if (k >= UNIT_WEIGHTS_MIN && kind == KIND_EXACT) {
        tally_exact(&c->tallies[BY_KERNEL], 1, &pair, run->tolerance);
    } else if (k >= UNIT_WEIGHTS_MIN) {
        levels l = kernel_levels(run->view->dtype, w, k, &pair);
        if (tally_kernel(&c->tallies[BY_KERNEL], w, k, &l, run->tolerance))
            tally_unit(&c->tallies[BY_KERNEL], &l, pair.low_count, pair.high_count, run->tolerance);
    }
    c->all_exact &= kind == KIND_EXACT;
    if (!c->by_filter) return;
    add_point(c, pair.low, pair.low_count);
    if (pair.high_count) add_point(c, pair.high, pair.high_count);
}

static void measure_in_filter(binary_run *run, void *context, uint64_t kernel, const double *w)
{
    (void)kernel;
    filter_context *c = context;
    size_t k = (size_t)run->view->shape->k;
    double low, high;
    if (tally_kind(w, k, run->reach, &low, &high) == KIND_DENSE) return;
    c->used |= tally_kernel(&c->tallies[BY_FILTER], w, k, &c->levels, run->tolerance);
}

static void measure_filter(binary_run *run, uint64_t filter, filter_context *c)
{
    const fpr_layer_shape *s = run->view->shape;
    c->points = 0;
    c->dense = 0;
    c->all_exact = true;
    each_kernel(run, filter, measure_kernel, c);
    fail_kernels(run, c->dense);
    if (!c->by_filter) return;
    const filter_sum own = sum_of(c->values, c->counts, c->points), *sum = &own;
    if (filter % run->every == 0) run->filters[filter / run->every] = own;
    if (!c->points || s->channels * s->k < UNIT_WEIGHTS_MIN) return;
    if (c->all_exact && c->points <= 2) {
        tally_exact(&c->tallies[BY_FILTER], (sum->pair.low_count + sum->pair.high_count) / s->k, &sum->pair,
                    run->tolerance);
        return;
    }
    c->levels = rounded(run->view->dtype, &sum->pair, sum->mean_abs);
    c->used = false;
    each_kernel(run, filter, measure_in_filter, c);
    if (c->used)
        tally_unit(&c->tallies[BY_FILTER], &c->levels, sum->pair.low_count, sum->pair.high_count, run->tolerance);
}

static void measure_filters(void *context, size_t index, unsigned worker)
{
    binary_run *run = context;
    const fpr_layer_shape *s = run->view->shape;
    uint64_t end = (index + 1) * run->batch < s->filters ? (index + 1) * run->batch : s->filters;
    filter_context c = {.tallies = run->tallies[index], .by_filter = run->points != NULL};
    for (unsigned i = 0; i < SCOPES; i++) c.tallies[i] = tally_none;
    if (c.by_filter) {
        c.values = run->points + worker * 2 * s->channels;
        c.counts = run->point_counts + worker * 2 * s->channels;
    }
    for (uint64_t f = index * run->batch; f < end && !has_failed(run); f++) measure_filter(run, f, &c);
}

/* ---------------------------------------------------------------- the scope of the layer */

static uint64_t summed_filters(const binary_run *run)
{
    return (run->view->shape->filters + run->every - 1) / run->every;
}

/* The layer's two levels from those of its filters, weighted: optimal among the splits that cut through no filter's
 * level, and where the layer is two-level none is cut. */
static fpr_status layer_levels(binary_run *run, fpr_error *error)
{
    const uint64_t filters = summed_filters(run);
    double *values = base_alloc(filters, 2 * sizeof *values);
    uint64_t *counts = base_alloc(filters, 2 * sizeof *counts);
    if (!values || !counts) {
        base_free(values);
        base_free(counts);
        return base_no_memory(error, filters * 4 * sizeof *values);
    }
    size_t n = 0;
    double total = 0, sum = 0;
    bool first = true;
    double origin = 0; /* so that equal filters give exactly their value */
    for (uint64_t f = 0; f < filters; f++) {
        const filter_sum *s = &run->filters[f];
        double weights = (double)(s->pair.low_count + s->pair.high_count);
        if (weights == 0) continue;
        if (first) origin = s->mean_abs;
        first = false;
        sum += (s->mean_abs - origin) * weights;
        total += weights;
        values[n] = s->pair.low;
        counts[n++] = s->pair.low_count;
        if (!s->pair.high_count) continue;
        values[n] = s->pair.high;
        counts[n++] = s->pair.high_count;
    }
    if (n) {
        shrink_pair pair = sum_of(values, counts, n).pair;
        run->layer = rounded(run->view->dtype, &pair, origin + sum / total);
    }
    base_free(values);
    base_free(counts);
    return FPR_OK;
}

typedef struct layer_context {
    tally *tally;
    uint64_t failed;
} layer_context;

static void measure_in_layer(binary_run *run, void *context, uint64_t kernel, const double *w)
{
    (void)kernel;
    layer_context *c = context;
    size_t k = (size_t)run->view->shape->k;
    double low, high;
    kernel_kind kind = tally_kind(w, k, run->reach, &low, &high);
    c->failed += kind == KIND_DENSE || !tally_kernel(c->tally, w, k, &run->layer, run->tolerance);
}

static void measure_layer_part(void *context, size_t index, unsigned worker)
{
    (void)worker;
    binary_run *run = context;
    const fpr_layer_shape *s = run->view->shape;
    uint64_t end = (index + 1) * run->batch < s->filters ? (index + 1) * run->batch : s->filters;
    layer_context c = {.tally = &run->tallies[index][BY_LAYER]};
    c.tally[0] = tally_none;
    for (uint64_t f = index * run->batch; f < end && !has_failed(run); f++) {
        c.failed = 0;
        each_kernel(run, f, measure_in_layer, &c);
        fail_kernels(run, c.failed);
    }
}

/* ---------------------------------------------------------------- choosing */

static bool is_symmetric(const tally *t) { return t->met && !t->broken; }

static bool is_exact(const tally *t) { return (is_symmetric(t) ? t->exact_symmetric : t->exact) == t->met; }

static bool is_eligible(const tally *t, uint64_t live, double share)
{
    if (!t->met || (double)t->met / (double)live < share) return false;
    double low = (double)(is_symmetric(t) ? t->low_symmetric : t->low);
    double high = (double)(is_symmetric(t) ? t->high_symmetric : t->high);
    return low >= USED_SHARE_MIN * (low + high) && high >= USED_SHARE_MIN * (low + high) &&
           (double)t->proven >= USED_SHARE_MIN * (double)t->units;
}

/* As the codec `kernels` stores it: 2 bits a kernel, 1 bit a weight of two-level kernels, the levels, dense kernels. */
static double stored_bytes(const shrink_view *v, const tally *t, uint64_t live)
{
    double element = (double)shrink_element_bytes(v->dtype), k = (double)v->shape->k;
    return (double)v->shape->kernels / 4 + (double)t->met * k / 8 +
           (double)t->units * element * (is_symmetric(t) ? 1 : 2) + (double)(live - t->met) * k * element;
}

/* The scope to take, or SCOPES. */
static unsigned choose(const binary_run *run, const tally *tallies)
{
    unsigned cheapest = SCOPES, exact = SCOPES;
    double bytes[SCOPES];
    for (unsigned i = 0; i < SCOPES; i++) {
        const tally *t = &tallies[i];
        if (!is_eligible(t, run->live, run->share)) continue;
        bytes[i] = stored_bytes(run->view, t, run->live);
        if (cheapest == SCOPES || bytes[i] < bytes[cheapest]) cheapest = i;
        if (is_exact(t) && (exact == SCOPES || bytes[i] < bytes[exact])) exact = i;
    }
    return exact < SCOPES && bytes[exact] <= 1.25 * bytes[cheapest] ? exact : cheapest;
}

/* ---------------------------------------------------------------- carrying it into the plan */

static void put_levels(const binary_run *run, uint64_t unit, const levels *l)
{
    double pair[2] = {run->symmetric ? -l->alpha : l->low, run->symmetric ? l->alpha : l->high};
    size_t bytes = shrink_element_bytes(run->view->dtype);
    shrink_cast(FPR_F64, pair, run->view->dtype, run->plan->levels + unit * 2 * bytes, 2);
}

static void mark_kernel(binary_run *run, void *context, uint64_t kernel, const double *w)
{
    const levels *unit = context;
    size_t k = (size_t)run->view->shape->k;
    double low, high;
    kernel_kind kind = tally_kind(w, k, run->reach, &low, &high);
    if (kind < KIND_NEARLY) return;
    levels l;
    if (run->scope == BY_KERNEL) {
        shrink_pair pair = pair_of(w, k, kind, low, high);
        l = kernel_levels(run->view->dtype, w, k, &pair);
    } else {
        l = *unit;
    }
    /* The kernels that were counted are those that meet the tolerance at free levels, symmetric or not. */
    if (!tally_try(w, k, l.low, l.high, run->tolerance).met) return;
    if (run->symmetric ? tally_try(w, k, -l.alpha, l.alpha, run->tolerance).exact
                       : tally_try(w, k, l.low, l.high, run->tolerance).exact)
        return;
    run->plan->action[kernel] = CONV_ACTION_CHANGED;
    if (run->scope == BY_KERNEL) put_levels(run, kernel, &l);
}

static void mark_filters(void *context, size_t index, unsigned worker)
{
    (void)worker;
    if (base_cancelled()) return;
    binary_run *run = context;
    const fpr_layer_shape *s = run->view->shape;
    uint64_t end = (index + 1) * run->batch < s->filters ? (index + 1) * run->batch : s->filters;
    for (uint64_t f = index * run->batch; f < end; f++) {
        levels l = run->layer;
        if (run->scope == BY_FILTER) {
            l = rounded(run->view->dtype, &run->filters[f].pair, run->filters[f].mean_abs);
            put_levels(run, f, &l);
        }
        each_kernel(run, f, mark_kernel, &l);
    }
}

static fpr_status accept(binary_run *run, const tally *t, size_t tasks, unsigned threads, fpr_error *error)
{
    const fpr_layer_shape *s = run->view->shape;
    fpr_binary *b = &run->plan->binary;
    levels symmetric[2] = {{-t->alpha_range[1], t->alpha_range[0], 0}, {-t->alpha_range[0], t->alpha_range[1], 0}};
    run->symmetric = is_symmetric(t);
    b->kernels = t->met;
    b->share = (double)t->met / (double)run->live;
    b->scope = (fpr_scope)(FPR_SCOPE_LAYER + run->scope);
    b->symmetric = run->symmetric;
    b->max_relative_error = sqrt(run->symmetric ? t->worst_symmetric : t->worst);
    for (unsigned i = 0; i < 2; i++) {
        b->level_low[i] = run->symmetric ? symmetric[i].low : t->low_range[i];
        b->level_high[i] = run->symmetric ? symmetric[i].high : t->high_range[i];
    }
    if (is_exact(t)) return FPR_OK;
    uint64_t units = run->scope == BY_LAYER ? 1 : run->scope == BY_FILTER ? s->filters : s->kernels;
    run->plan->levels = base_calloc(units, 2 * shrink_element_bytes(run->view->dtype));
    if (!run->plan->levels) return base_no_memory(error, units * 2 * shrink_element_bytes(run->view->dtype));
    if (run->scope == BY_LAYER) put_levels(run, 0, &run->layer);
    base_parallel(threads, tasks, mark_filters, run);
    run->plan->changes = true;
    return FPR_OK;
}

/* ---------------------------------------------------------------- the whole */

static void sum_tallies(const binary_run *run, size_t tasks, tally *sums)
{
    for (unsigned i = 0; i < SCOPES; i++) {
        sums[i] = tally_none;
        for (size_t j = 0; j < tasks; j++) tally_add(&sums[i], &run->tallies[j][i]);
    }
}

static fpr_status allocate(binary_run *run, size_t tasks, unsigned threads, fpr_error *error)
{
    const fpr_layer_shape *s = run->view->shape;
    run->tallies = base_alloc(tasks, sizeof *run->tallies);
    bool enough = run->tallies != NULL;
    if (s->channels <= FILTER_KERNELS_MAX) {
        run->filters = base_alloc(summed_filters(run), sizeof *run->filters);
        run->points = base_alloc(threads * s->channels, 2 * sizeof *run->points);
        run->point_counts = base_alloc(threads * s->channels, 2 * sizeof *run->point_counts);
        enough = enough && run->filters && run->points && run->point_counts;
    }
    return enough ? FPR_OK : base_no_memory(error, summed_filters(run) * sizeof *run->filters);
}

static fpr_status compare_scopes(binary_run *run, unsigned threads, fpr_error *error)
{
    const fpr_layer_shape *s = run->view->shape;
    run->batch = shrink_at_least_one(2048 / s->channels);
    run->every = (s->filters + FILTERS_SUMMED_MAX - 1) / FILTERS_SUMMED_MAX;
    size_t tasks = (size_t)((s->filters + run->batch - 1) / run->batch);
    fpr_status status = allocate(run, tasks, threads, error);
    if (status) return status;
    base_parallel(threads, tasks, measure_filters, run);
    if (has_failed(run)) return FPR_OK;
    tally sums[SCOPES];
    if (run->points) {
        status = layer_levels(run, error);
        if (status) return status;
        atomic_store(&run->failed, 0);
        base_parallel(threads, tasks, measure_layer_part, run);
    }
    sum_tallies(run, tasks, sums);
    if (run->points && has_failed(run)) sums[BY_LAYER] = tally_none;
    if (sums[BY_LAYER].met)
        tally_unit(&sums[BY_LAYER], &run->layer, sums[BY_LAYER].low, sums[BY_LAYER].high, run->tolerance);
    run->scope = choose(run, sums);
    return run->scope < SCOPES ? accept(run, &sums[run->scope], tasks, threads, error) : FPR_OK;
}

static binary_run new_run(const shrink_view *v, const fpr_options *options, uint64_t live, shrink_plan *plan)
{
    return (binary_run){.view = v,
                        .plan = plan,
                        .tolerance = options->binary_tol * options->binary_tol,
                        .share = options->binary_share,
                        .reach = 2 * options->binary_tol * sqrt((double)v->shape->k),
                        .live = live,
                        .failed_max = (uint64_t)((1 - options->binary_share) * (double)live) + 1};
}

bool shrink_may_be_binary(const shrink_view *v, const fpr_options *options, shrink_plan *plan, unsigned threads)
{
    binary_run run = new_run(v, options, v->shape->kernels, plan);
    if (v->shape->k < UNIT_WEIGHTS_MIN) base_parallel(threads, (size_t)v->shape->filters, test_filter, &run);
    return !has_failed(&run);
}

fpr_status shrink_plan_binary(const shrink_view *v, const fpr_options *options, uint64_t live, unsigned threads,
                              shrink_plan *plan, fpr_error *error)
{
    const fpr_layer_shape *s = v->shape;
    if (!live || s->k > TILE_WEIGHTS || s->kernels * s->k < UNIT_WEIGHTS_MIN) return FPR_OK;
    binary_run run = new_run(v, options, live, plan);
    fpr_status status = compare_scopes(&run, threads ? threads : 1, error);
    base_free(run.filters);
    base_free(run.points);
    base_free(run.point_counts);
    base_free(run.tallies);
    return status;
}

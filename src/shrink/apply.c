/* Carries a plan out in place, measures what it cost, and names the filters and channels that are dead then. */
#include "num/num.h"
#include "shrink/inner.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* What one part contributes; the parts are added in index order. */
typedef struct part_error {
    double max_abs, error, norm; /* the sums of squares are of weights times scale */
} part_error;

typedef struct apply_run {
    const fpr_layer_shape *shape;
    fpr_dtype dtype;
    uint8_t *weights;
    const shrink_plan *plan; /* NULL: only look */
    double scale;            /* a power of two near 1 / max|w|, so that squares stay in range */
    uint64_t limit;
    const conv_measure *measure; /* where nothing is done but what it knows the cost of; else NULL */
    part_error *errors;          /* [parts], NULL when nothing changes, or at a known cost */
    shrink_cost *costs;          /* [parts], NULL when nothing changes */
    live_flag *live_filters, *live_channels;
    atomic_bool all_channels; /* every channel has been found live: only filters are looked for */
} apply_run;

static uint64_t part_end(const fpr_layer_shape *s, size_t index)
{
    uint64_t part = shrink_part_kernels(s), first = index * part;
    return s->kernels - first < part ? s->kernels : first + part;
}

/* ---------------------------------------------------------------- changing */

static void add_error(const apply_run *run, part_error *part, double difference)
{
    double scaled = difference * run->scale;
    part->error += scaled * scaled;
    if (difference > part->max_abs) part->max_abs = difference;
}

/* Sum of squares of weights times scale, a power of two that is needed where squares of doubles may leave their range;
 * those of the other dtypes cannot. */
static double norm_of(const apply_run *run, const double *w, size_t n)
{
    if (run->dtype != FPR_F64) return num_kernels_best()->sum_squares(w, n) * (run->scale * run->scale);
    double lanes[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++) lanes[j] += w[i + j] * run->scale * (w[i + j] * run->scale);
    for (; i < n; i++) lanes[0] += w[i] * run->scale * (w[i] * run->scale);
    return lanes[0] + lanes[1] + (lanes[2] + lanes[3]);
}

/* Sets n weights from weight `from` of a kernel on to +0. They may be those of several kernels. */
static void zero_weights(const apply_run *run, uint64_t kernel, uint64_t from, uint64_t n)
{
    size_t bytes = shrink_element_bytes(run->dtype);
    if (run->shape->layout == FPR_LAYOUT_HWIO)
        for (uint64_t i = 0; i < n; i++)
            memset(run->weights + shrink_place(run->shape, kernel + (from + i) / run->shape->k,
                                               (from + i) % run->shape->k) * bytes, 0, bytes);
    else
        memset(run->weights + shrink_place(run->shape, kernel, from) * bytes, 0, (size_t)n * bytes);
}

/* The same with weights given as doubles. */
static void zero_piece(const apply_run *run, uint64_t kernel, uint64_t from, const double *w, size_t n,
                       part_error *part)
{
    zero_weights(run, kernel, from, n);
    double range[2] = {-part->max_abs, part->max_abs};
    num_kernels_best()->range(range, w, n);
    part->max_abs = fmax(-range[0], range[1]);
    part->error += norm_of(run, w, n);
}

/* The same, to the nearer of the levels. */
static void quantize_piece(const apply_run *run, uint64_t kernel, uint64_t from, const double *w, size_t n,
                           part_error *part)
{
    size_t bytes = shrink_element_bytes(run->dtype);
    const shrink_view view = {.shape = run->shape, .dtype = run->dtype, .weights = run->weights};
    const uint8_t *pair = shrink_levels(&view, run->plan, kernel);
    double levels[2];
    shrink_cast(run->dtype, pair, FPR_F64, levels, 2);
    for (size_t i = 0; i < n; i++) {
        double to_low = fabs(w[i] - levels[0]), to_high = fabs(w[i] - levels[1]);
        bool high = to_low > to_high;
        uint8_t *p = run->weights + shrink_place(run->shape, kernel, from + i) * bytes;
        memcpy(p, pair + high * bytes, bytes);
        add_error(run, part, high ? to_high : to_low);
    }
}

static void change_piece(const apply_run *run, uint64_t kernel, uint64_t from, const double *w, size_t n,
                         part_error *part)
{
    if (run->plan->action[kernel] == CONV_ACTION_ZERO) zero_piece(run, kernel, from, w, n, part);
    if (run->plan->action[kernel] == CONV_ACTION_CHANGED) quantize_piece(run, kernel, from, w, n, part);
}

/* Kernels from j on that go together, at most n: they are one piece. */
static uint64_t zero_run(const apply_run *run, uint64_t j, uint64_t n)
{
    uint64_t i = 0;
    while (i < n && run->plan->action[j + i] == CONV_ACTION_ZERO) i++;
    return i;
}

/* Changes n kernels given as doubles. */
static void change_tile(const apply_run *run, uint64_t j, uint64_t n, const double *tile, part_error *part)
{
    const size_t k = (size_t)run->shape->k;
    for (uint64_t i = 0, zeros; i < n; i += zeros ? zeros : 1) {
        zeros = zero_run(run, j + i, n - i);
        if (zeros) zero_piece(run, j + i, 0, tile + i * k, (size_t)zeros * k, part);
        else if (run->plan->action[j + i] == CONV_ACTION_CHANGED) quantize_piece(run, j + i, 0, tile + i * k, k, part);
    }
}

/* The kernels that go, where nobody asks what they were. */
static void zero_part(const apply_run *run, uint64_t first, uint64_t end)
{
    for (uint64_t j = first, n; j < end; j += n ? n : 1) {
        n = zero_run(run, j, end - j);
        if (n) zero_weights(run, j, 0, n * run->shape->k);
    }
}

static void change_part(const apply_run *run, size_t index, uint64_t first, uint64_t end)
{
    double tile[TILE_WEIGHTS];
    const fpr_layer_shape *s = run->shape;
    shrink_view view = {.shape = s, .dtype = run->dtype, .weights = run->weights};
    uint64_t step = shrink_tile_kernels(s);
    part_error part = {0};
    for (uint64_t j = first; j < end; j += step ? step : 1) {
        for (uint64_t i = 0; !step && i < s->k; i += TILE_WEIGHTS) {
            size_t n = s->k - i < TILE_WEIGHTS ? (size_t)(s->k - i) : TILE_WEIGHTS;
            shrink_piece(&view, j, i, n, tile);
            part.norm += norm_of(run, tile, n);
            change_piece(run, j, i, tile, n, &part);
        }
        if (!step) continue;
        uint64_t n = end - j < step ? end - j : step;
        conv_kernels(s, run->dtype, run->weights, j, (size_t)n, tile);
        part.norm += norm_of(run, tile, (size_t)(n * s->k));
        change_tile(run, j, n, tile, &part);
    }
    run->errors[index] = part;
}

/* ---------------------------------------------------------------- looking */

/* Looks at kernels of one filter from `kernel` on; stops at the first live one when no channel needs to be found. */
static void find_live_in(apply_run *run, uint64_t kernel, uint64_t end)
{
    uint64_t magnitudes[256], channels = run->shape->channels, filter = kernel / channels;
    shrink_view view = {.shape = run->shape, .dtype = run->dtype, .weights = run->weights};
    bool all_channels = atomic_load_explicit(&run->all_channels, memory_order_relaxed);
    size_t step = all_channels ? 8 : 256;
    for (uint64_t j = kernel; j < end; j += step) {
        size_t n = end - j < step ? (size_t)(end - j) : step;
        shrink_magnitudes(&view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            if (shrink_size(magnitudes[i]) < run->limit) continue;
            shrink_set_live(&run->live_filters[filter]);
            if (all_channels) return;
            shrink_set_live(&run->live_channels[j + i - filter * channels]);
        }
    }
}

/* HWIO has no filter side by side: all kernels are looked at. */
static void find_live_scattered(apply_run *run, uint64_t first, uint64_t end)
{
    uint64_t magnitudes[MAGNITUDES], channels = run->shape->channels;
    shrink_view view = {.shape = run->shape, .dtype = run->dtype, .weights = run->weights};
    for (uint64_t j = first; j < end; j += MAGNITUDES) {
        size_t n = end - j < MAGNITUDES ? (size_t)(end - j) : MAGNITUDES;
        shrink_magnitudes(&view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            if (shrink_size(magnitudes[i]) < run->limit) continue;
            shrink_set_live(&run->live_filters[(j + i) / channels]);
            shrink_set_live(&run->live_channels[(j + i) % channels]);
        }
    }
}

static void find_live(apply_run *run, uint64_t first, uint64_t end)
{
    uint64_t channels = run->shape->channels, live = 0;
    if (run->shape->layout == FPR_LAYOUT_HWIO) {
        find_live_scattered(run, first, end);
        return;
    }
    for (uint64_t j = first, next; j < end; j = next) {
        next = (j / channels + 1) * channels < end ? (j / channels + 1) * channels : end;
        find_live_in(run, j, next);
    }
    if (atomic_load_explicit(&run->all_channels, memory_order_relaxed)) return;
    while (live < channels && atomic_load_explicit(&run->live_channels[live].set, memory_order_relaxed)) live++;
    if (live == channels) atomic_store_explicit(&run->all_channels, true, memory_order_relaxed);
}

static void apply_part(void *context, size_t index, unsigned worker)
{
    (void)worker;
    if (base_cancelled()) return;
    apply_run *run = context;
    uint64_t first = index * shrink_part_kernels(run->shape), end = part_end(run->shape, index);
    const shrink_view view = {.shape = run->shape, .dtype = run->dtype, .weights = run->weights};
    if (run->costs) shrink_cost_of_part(&view, run->plan, run->limit, run->scale, first, end, &run->costs[index]);
    if (run->errors) change_part(run, index, first, end);
    else if (run->plan && run->plan->changes) zero_part(run, first, end);
    if (run->live_filters) find_live(run, first, end);
}

fpr_status shrink_list_dead(const live_flag *live, uint64_t count, uint64_t **list, uint64_t *length, fpr_error *error)
{
    uint64_t dead = 0;
    for (uint64_t i = 0; i < count; i++) dead += !live[i].set;
    base_free(*list);
    *length = 0;
    *list = base_alloc(dead, sizeof **list);
    if (!*list) return base_no_memory(error, dead * sizeof **list);
    for (uint64_t i = 0; i < count; i++)
        if (!live[i].set) (*list)[(*length)++] = i;
    return FPR_OK;
}

/* Where each kernel is an output, what was found of rows and columns does not tell. */
static fpr_status list_dead_kernels(const apply_run *run, shrink_outcome *outcome, fpr_error *error)
{
    const fpr_layer_shape *s = run->shape;
    const shrink_view view = {.shape = s, .dtype = run->dtype, .weights = run->weights};
    uint64_t magnitude;
    live_flag *live = base_calloc(s->kernels, sizeof *live);
    if (!live) return base_no_memory(error, s->kernels * sizeof *live);
    for (uint64_t j = 0; j < s->kernels; j++) {
        shrink_magnitudes(&view, j, 1, &magnitude);
        if (shrink_size(magnitude) >= run->limit) shrink_set_live(&live[shrink_output(s, j)]);
    }
    const fpr_status status = shrink_list_dead(live, s->kernels, &outcome->dead_filters, &outcome->dead_filter_count, error);
    base_free(live);
    return status;
}

static fpr_status list_dead(const apply_run *run, shrink_outcome *outcome, fpr_error *error)
{
    const fpr_layer_shape *s = run->shape;
    const bool each = shrink_each_is_output(s), turned = s->transposed && !each;
    fpr_status status = each ? list_dead_kernels(run, outcome, error)
                             : shrink_list_dead(turned ? run->live_channels : run->live_filters, shrink_output_count(s),
                                                &outcome->dead_filters, &outcome->dead_filter_count, error);
    if (!status)
        status = shrink_list_dead(turned ? run->live_filters : run->live_channels, shrink_input_count(s),
                                  &outcome->dead_channels, &outcome->dead_channel_count, error);
    return status;
}

/* ---------------------------------------------------------------- the whole */

/* The parts' errors, added in index order. */
static void add_errors(const apply_run *run, size_t parts, shrink_outcome *outcome)
{
    part_error sum = {0};
    for (size_t i = 0; i < parts; i++) {
        sum.error += run->errors[i].error;
        sum.norm += run->errors[i].norm;
        if (run->errors[i].max_abs > sum.max_abs) sum.max_abs = run->errors[i].max_abs;
    }
    outcome->error_max_abs = sum.max_abs;
    outcome->error_relative_l2 = sum.error > 0 ? sqrt(sum.error / sum.norm) : 0;
}

/* The parts' costs, added in index order; the norm of the layer follows from the relative error. */
static void add_costs(const apply_run *run, size_t parts, shrink_outcome *outcome)
{
    double square = 0;
    for (size_t i = 0; i < parts; i++) {
        outcome->change.weights += run->costs[i].weights;
        outcome->live_zeroed += run->costs[i].live;
        square += run->costs[i].square;
    }
    outcome->change.l2 = sqrt(square) / run->scale;
    if (outcome->error_relative_l2 > 0) outcome->change.norm = outcome->change.l2 / outcome->error_relative_l2;
}

/* Whether a layer that has lost kernels has nothing left. */
static bool is_wholly_zero(const apply_run *run)
{
    uint64_t magnitudes[256];
    const shrink_view view = {.shape = run->shape, .dtype = run->dtype, .weights = run->weights};
    for (uint64_t j = 0; j < run->shape->kernels; j += 256) {
        size_t n = run->shape->kernels - j < 256 ? (size_t)(run->shape->kernels - j) : 256;
        shrink_magnitudes(&view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++)
            if (shrink_size(magnitudes[i])) return false;
    }
    return true;
}

static fpr_status run_parts(apply_run *run, bool lists, unsigned threads, shrink_outcome *outcome, fpr_error *error)
{
    const fpr_layer_shape *s = run->shape;
    const bool changes = run->plan && run->plan->changes;
    size_t parts = (size_t)((s->kernels + shrink_part_kernels(s) - 1) / shrink_part_kernels(s));
    if (!changes && !lists) return FPR_OK;
    if (lists) run->live_filters = base_calloc(s->filters, sizeof *run->live_filters);
    if (lists) run->live_channels = base_calloc(s->channels, sizeof *run->live_channels);
    if (changes && !run->measure) run->errors = base_calloc(parts, sizeof *run->errors);
    if (changes) run->costs = base_calloc(parts, sizeof *run->costs);
    if ((lists && !(run->live_filters && run->live_channels)) || (changes && !run->measure && !run->errors) ||
        (changes && !run->costs))
        return base_no_memory(error, s->filters + s->channels + parts * sizeof *run->errors);
    base_parallel(threads, parts, apply_part, run);
    if (base_cancelled()) return base_check_cancelled(error);
    if (run->errors) {
        add_errors(run, parts, outcome);
    } else if (changes) {
        outcome->error_max_abs = run->measure->sparse_max_abs;
        outcome->error_relative_l2 = run->measure->sparse_relative_l2;
    }
    if (changes) {
        add_costs(run, parts, outcome);
        outcome->wholly_zero = run->plan->zeroed && is_wholly_zero(run);
    }
    return lists ? list_dead(run, outcome, error) : FPR_OK;
}

static fpr_status look(const fpr_layer_shape *s, fpr_dtype dtype, uint8_t *weights, shrink_known known, double eps,
                       const shrink_plan *plan, unsigned threads, shrink_outcome *outcome, fpr_error *error)
{
    /* Sparse kernels that become zero stay sparse: what was measured of them holds. */
    const conv_measure *measure = !plan || plan->only_sparse ? known.measure : NULL;
    const bool none_dead =
        measure && !measure->dead_filters && !measure->dead_channels && !(s->depthwise && measure->sparse);
    apply_run run = {.shape = s,
                     .dtype = dtype,
                     .weights = weights,
                     .plan = plan,
                     .scale = shrink_scale(known.max_abs),
                     .measure = measure && !isnan(measure->sparse_relative_l2) ? measure : NULL,
                     .limit = shrink_sparse_limit(dtype, known.max_abs, eps)};
    atomic_init(&run.all_channels, false);
    *outcome = (shrink_outcome){0};
    fpr_status status = run_parts(&run, !none_dead, threads, outcome, error);
    base_free(run.live_filters);
    base_free(run.live_channels);
    base_free(run.errors);
    base_free(run.costs);
    if (status) {
        base_free(outcome->dead_filters);
        base_free(outcome->dead_channels);
        *outcome = (shrink_outcome){0};
    }
    return status;
}

fpr_status shrink_apply(const fpr_layer_shape *s, fpr_dtype dtype, void *weights, shrink_known known, double eps,
                        const shrink_plan *plan, unsigned threads, shrink_outcome *outcome, fpr_error *error)
{
    return look(s, dtype, weights, known, eps, plan, threads, outcome, error);
}

fpr_status shrink_dead(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, shrink_known known, double eps,
                       unsigned threads, shrink_outcome *outcome, fpr_error *error)
{
    /* Without a plan nothing is written. */
    union {
        const void *read;
        void *write;
    } view = {weights};
    return look(s, dtype, view.write, known, eps, NULL, threads, outcome, error);
}

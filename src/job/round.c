/* --max-error: tensors are rounded to lattices, each within its own share of error, what pruning cost included. */
#include "job/prune.h"
#include "lattice/lattice.h"

#include <math.h>

#define TRELLIS_LEVEL 6         /* from here on time is for sale */
#define KEPT_BYTES (64u << 10)  /* a tensor so small gets its own bits back when a lattice does not make it smaller */
#define PER_COLOUR 8u           /* weights for each colour of a palette that deserves the name */
#define PRUNED_SHARE 0.5        /* of the squared error: pruning that would take more leaves too little for all the rest */

static bool hwio(const item *it) { return it->layer && it->layer->shape.layout == FPR_LAYOUT_HWIO; }

/* Below this, the dtype itself is no finer. */
static double least_error(fpr_dtype dtype)
{
    return dtype == FPR_F64 ? 0x1p-50 : dtype == FPR_F32 ? 0x1p-20 : dtype == FPR_F16 ? 0x1p-12 : 0x1p-9;
}

/* One axis of several entries is a vector, whatever its rank says. Two axes always make a matrix. */
static bool is_vector(const fpr_tensor *t)
{
    unsigned long_axes = 0;
    for (unsigned i = 0; i < t->rank; i++) long_axes += t->shape[i] > 1;
    return t->rank < 2 || (t->rank > 2 && long_axes < 2);
}

bool round_leaves(const prune_job *job, const study_layer *layer)
{
    return job->options->max_error > 0 && conv_part_is_factor(layer->part);
}

bool round_allowed(const prune_job *job, size_t tensor)
{
    const fpr_options *o = job->options;
    const fpr_tensor *t = model_tensor(job->model, tensor);
    const fpr_dtype dtype = job->tensors[tensor].dtype;
    const study_layer *layer = prune_layer(job, tensor);
    if (conv_part_is_factor(model_role(job->model, tensor)->part)) return false;
    return o->max_error > 0 && base_is_float(dtype) && (layer || !is_vector(t)) &&
           o->max_error >= least_error(dtype) && shrink_selected(&o->only, &o->skip, t->name);
}

/* ---- what stays as it is: few values, or two in every filter */

/* live: weights that are not zero. Zeros alone make no palette of what was pruned to a few weights. */
static fpr_status find_palette(const prune_job *job, const item *it, uint64_t live, bool *found, fpr_error *error)
{
    unsigned colours;
    const fpr_status status =
        pack_colours(it->bytes, it->tensor->dtype, it->tensor->elements, job_threads(job->options), &colours, error);
    *found = !status && colours && (uint64_t)colours * PER_COLOUR <= live + PER_COLOUR;
    return status;
}

static bool is_two_level(const lattice_shape *s, const void *bytes)
{
    double w[LATTICE_BATCH], a = 0, b = 0;
    const uint64_t step = lattice_batch_kernels(s);
    if (s->channels * s->k < PER_COLOUR) return false;
    for (uint64_t filter = 0; filter < s->filters; filter++) {
        unsigned levels = 0;
        for (uint64_t c = 0; c < s->channels; c += step) {
            const uint64_t n = s->channels - c < step ? s->channels - c : step;
            lattice_load(s, bytes, filter * s->channels + c, n, w);
            for (uint64_t i = 0; i < n * s->k; i++) {
                if ((levels > 0 && w[i] == a) || (levels > 1 && w[i] == b)) continue;
                if (levels == 2) return false;
                *(levels++ ? &b : &a) = w[i];
            }
        }
    }
    return true;
}

/* ---- pruning within the error */

/* Whether the squared error can be told: beyond these, of doubles alone, squares overflow or vanish. live: weights that are not
 * zero. */
static bool has_measure(const lattice_shape *s, const void *bytes, double *square, uint64_t *live)
{
    double w[LATTICE_BATCH];
    const uint64_t kernels = lattice_kernels(s), step = lattice_batch_kernels(s);
    *square = 0;
    *live = 0;
    for (uint64_t first = 0; first < kernels; first += step) {
        const uint64_t n = kernels - first < step ? kernels - first : step;
        lattice_load(s, bytes, first, n, w);
        for (uint64_t i = 0; i < n * s->k; i++) {
            *square += w[i] * w[i];
            *live += w[i] != 0;
        }
    }
    return *square > 1e-280 && isfinite(*square);
}

/* What the kernels take with them that are to become zero. */
static fpr_status square_of_zeroed(const item *it, double *square, fpr_error *error)
{
    const fpr_layer_shape *s = &it->layer->shape;
    double *w = base_alloc(s->k, sizeof *w);
    if (!w) return base_no_memory(error, s->k * sizeof *w);
    *square = 0;
    for (uint64_t i = 0; i < s->kernels; i++) {
        if (it->plan.action[i] != CONV_ACTION_ZERO) continue;
        conv_kernels(s, it->tensor->dtype, it->seen ? it->seen : it->bytes, i, 1, w);
        for (uint64_t j = 0; j < s->k; j++) *square += w[j] * w[j];
    }
    base_free(w);
    return FPR_OK;
}

/* What goes stays after all, where that alone takes more than its share; two levels are as good without it. */
static fpr_status take_pruning_back(const prune_job *job, item *it, double all, bool measured, fpr_error *error)
{
    const double r = job->options->max_error, quantized = it->plan.levels ? it->plan.binary.max_relative_error : 0;
    const double most = fmin(PRUNED_SHARE * r * r, r * r - quantized * quantized);
    double zeroed = 0;
    const fpr_status status = square_of_zeroed(it, &zeroed, error);
    if (status || (measured && zeroed <= most * all)) return status;
    it->plan.changes = it->plan.levels != NULL;
    for (uint64_t i = 0; i < it->layer->shape.kernels; i++)
        if (it->plan.action[i] == CONV_ACTION_ZERO) it->plan.action[i] = CONV_ACTION_KEPT;
    it->plan.zeroed = 0;
    it->unpruned = true;
    return FPR_OK;
}

fpr_status round_plan(const prune_job *job, item *it, fpr_error *error)
{
    lattice_shape s;
    const bool pruned = prune_is_planned(it->layer) && it->plan.zeroed && job->options->max_error > 0;
    it->rounds = round_allowed(job, it->id) && (!it->layer || it->layer->measure.finite);
    it->rounds = (it->rounds || pruned) &&
                 lattice_shape_of(it->tensor->dtype, it->tensor->rank, it->tensor->shape, hwio(it), &s);
    /* A lattice that is there already is kept as it is, but for kernels of it that go, as far as the error allows. */
    it->thinned = it->plan.changes && !strcmp(it->tensor->codec, "lattice") && it->plan.binary.scope == FPR_SCOPE_NONE;
    it->rounds = it->rounds && (it->plan.changes || strcmp(it->tensor->codec, "lattice"));
    if (!it->rounds) return FPR_OK;
    double all;
    uint64_t live;
    it->rounds = has_measure(&s, it->bytes, &all, &live);
    it->norm = sqrt(all);
    fpr_status status = pruned ? take_pruning_back(job, it, all, it->rounds, error) : FPR_OK;
    it->rounds = !status && it->rounds && !it->thinned && !job->unrounded && round_allowed(job, it->id) &&
                 it->plan.binary.scope == FPR_SCOPE_NONE && !is_two_level(&s, it->bytes);
    bool palette = false;
    if (it->rounds) status = find_palette(job, it, live, &palette, error);
    it->rounds = it->rounds && !status && !palette;
    return status;
}

/* ---- rounding */

static void *bytes_of(const item *it) { return it->converted ? it->converted : it->bytes; }

/* What rounding costs joins what pruning did, which was to other weights; a cast was to the same. */
static void add_cost(item *it, const lattice_cost *cost)
{
    shrink_outcome *o = &it->outcome;
    const uint64_t weights = o->change.weights + cost->weights;
    const double square = cost->error_square;
    const bool same = it->converted != NULL;
    o->change.l2 = same ? o->change.l2 + sqrt(square) : sqrt(o->change.l2 * o->change.l2 + square);
    o->change.norm = it->norm;
    o->change.weights = weights < it->tensor->elements ? weights : it->tensor->elements;
    o->error_max_abs = same ? o->error_max_abs + cost->max_abs : fmax(o->error_max_abs, cost->max_abs);
    o->error_relative_l2 = o->change.l2 / it->norm;
}

fpr_status round_item(const prune_job *job, item *it, fpr_error *error)
{
    const writer_tensor *out = it->out;
    lattice_shape s;
    if (!it->rounds || !lattice_shape_of(out->dtype, it->tensor->rank, it->tensor->shape, hwio(it), &s)) return FPR_OK;
    const double most = job->options->max_error * it->norm * (1 - 1e-9), before = it->outcome.change.l2;
    if (!(before < most)) return FPR_OK;
    const lattice_wish wish = {.error_square = it->converted ? (most - before) * (most - before) : most * most - before * before,
                               .least = 0.994,
                               /* its path leaves out kernels that went, where these lie together */
                               .trellis = job->options->level >= TRELLIS_LEVEL && !it->seen,
                               .threads = job_threads(job->options)};
    lattice_cost cost;
    if (out->bytes <= KEPT_BYTES && !job->dense) {
        it->own = base_alloc(out->bytes, 1);
        if (!it->own) return base_no_memory(error, out->bytes);
        memcpy(it->own, bytes_of(it), out->bytes);
        it->own_outcome = it->outcome;
        it->own_exact = it->exact;
    }
    fpr_status status = lattice_fit(&s, bytes_of(it), &wish, &it->lattice, &cost, &it->rounded, error);
    if (status || !it->rounded) return status;
    add_cost(it, &cost);
    it->exact = it->exact && !cost.weights;
    return FPR_OK;
}

void round_undo(item *it)
{
    if (!it->own || !it->rounded) return;
    memcpy(bytes_of(it), it->own, it->out->bytes);
    it->outcome = it->own_outcome;
    it->exact = it->own_exact;
    it->rounded = false;
}

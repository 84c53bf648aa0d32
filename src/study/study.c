/* The study of a checkpoint: its layers, their kernel groups, and the sweeps over the weights.
 *
 * Sweep one measures every layer and collects moments; the bases follow. Sweep two finds the range of the coefficients of
 * the groups whose farthest kernels do not tell it (conv/farthest.c); sweep three, made by the job itself, counts them,
 * because a histogram needs its edges first. Only a few MiB of weights are in memory at any time, so each sweep reads the
 * file again: from the page cache that costs little. */
#include "study/study.h"
#include "num/num.h"

#include <math.h>
#include <stdlib.h>

conv_settings study_settings(const fpr_options *o)
{
    return (conv_settings){.eps = o->eps,
                           .bins = o->bins,
                           .bandwidth = o->bandwidth,
                           .bandwidth_value = o->bandwidth_value,
                           .half = o->half,
                           .threads = job_threads(o)};
}

bool study_same_group(const fpr_layer_shape *a, const fpr_layer_shape *b)
{
    return a->kernel_rank == b->kernel_rank &&
           !memcmp(a->kernel_shape, b->kernel_shape, a->kernel_rank * sizeof *a->kernel_shape);
}

fpr_status study_basis_new(fpr_basis *basis, unsigned k, fpr_error *error)
{
    *basis = (fpr_basis){base_calloc(k, sizeof(double)), base_calloc((uint64_t)k * k, sizeof(double)),
                         base_calloc(k, sizeof(double)), base_calloc(k, sizeof(double))};
    if (basis->mean && basis->components && basis->singular_values && basis->explained_variance_ratio) return FPR_OK;
    study_basis_free(basis);
    return base_no_memory(error, ((uint64_t)k + 3) * k * sizeof(double));
}

void study_basis_free(fpr_basis *basis)
{
    base_free(basis->mean);
    base_free(basis->components);
    base_free(basis->singular_values);
    base_free(basis->explained_variance_ratio);
    *basis = (fpr_basis){0};
}

void study_basis_copy(fpr_basis *to, const fpr_basis *from, unsigned k)
{
    memcpy(to->mean, from->mean, k * sizeof(double));
    memcpy(to->components, from->components, (size_t)k * k * sizeof(double));
    memcpy(to->singular_values, from->singular_values, k * sizeof(double));
    memcpy(to->explained_variance_ratio, from->explained_variance_ratio, k * sizeof(double));
}

shrink_known study_known(const study_layer *layer, const fpr_options *options)
{
    return (shrink_known){layer->measure.max_abs, options->half ? NULL : &layer->measure, layer->scale};
}

conv_block study_block(const study *s, const study_layer *layer, const void *weights)
{
    return (conv_block){.shape = &layer->shape,
                        .dtype = model_tensor(s->model, layer->tensor)->dtype,
                        .weights = weights,
                        .max_abs = layer->measure.max_abs};
}

/* ---------------------------------------------------------------- finding layers and groups */

/* By kernel shape, layers of one shape in their order. */
static int by_shape(const void *a, const void *b, void *context)
{
    const study *s = context;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const fpr_layer_shape *x = &s->layers[i].shape, *y = &s->layers[j].shape;
    if (x->kernel_rank != y->kernel_rank) return x->kernel_rank < y->kernel_rank ? -1 : 1;
    for (unsigned d = 0; d < x->kernel_rank; d++)
        if (x->kernel_shape[d] != y->kernel_shape[d]) return x->kernel_shape[d] < y->kernel_shape[d] ? -1 : 1;
    return (i > j) - (i < j);
}

/* Groups in order of first appearance. By sorting, because a hostile file may have as many shapes as layers. */
static fpr_status find_groups(study *s, fpr_error *error)
{
    size_t n = s->layer_count;
    size_t *order = base_alloc(n, sizeof *order), *first = base_alloc(n, sizeof *first);
    fpr_status status = order && first ? FPR_OK : base_no_memory(error, n * sizeof *order);
    for (size_t i = 0; !status && i < n; i++) order[i] = i;
    if (!status && n) qsort_r(order, n, sizeof *order, by_shape, s);
    for (size_t i = 0; !status && i < n; i++) {
        bool same = i && study_same_group(&s->layers[order[i]].shape, &s->layers[order[i - 1]].shape);
        first[order[i]] = same ? first[order[i - 1]] : order[i];
    }
    for (size_t i = 0; !status && i < n; i++) {
        if (first[i] == i) s->groups[s->group_count].shape = s->layers[i].shape;
        s->layers[i].group = first[i] == i ? s->group_count++ : s->layers[first[i]].group;
    }
    base_free(order);
    base_free(first);
    return status;
}

static fpr_status far_lists(study *s, fpr_error *error)
{
    for (size_t g = 0; g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        if (!conv_has_basis(&group->shape)) continue;
        group->farthest = conv_farthest_new((unsigned)group->shape.k, STUDY_FARTHEST_BYTES / s->group_count);
        if (!group->farthest) return base_no_memory(error, STUDY_FARTHEST_BYTES / s->group_count);
    }
    return FPR_OK;
}

static bool read_layer(const study *s, size_t tensor, study_layer *layer)
{
    const conv_role *role = model_role(s->model, tensor);
    const bool transposed = shrink_any_matches(&s->options->transposed, model_tensor(s->model, tensor)->name);
    const conv_reading reading = {s->options->layout, transposed, study_takes(s, tensor)};
    if (!model_layer(s->model, tensor, reading, &layer->shape, &layer->known)) return false;
    layer->tensor = tensor;
    layer->stored = layer->shape.layout;
    layer->part = role->part == CONV_PART_BUFFER ? CONV_PART_WEIGHT : role->part;
    layer->partner = role->partner;
    if (layer->stored == FPR_LAYOUT_OHWI) layer->shape.layout = FPR_LAYOUT_OIHW;
    return true;
}

static fpr_status find_layers(study *s, const fpr_layer_shape *only, fpr_error *error)
{
    size_t n = fpr_model_tensor_count(s->model);
    s->layers = base_calloc(n, sizeof *s->layers);
    s->groups = base_calloc(n, sizeof *s->groups);
    s->layer_of = base_alloc(n, sizeof *s->layer_of);
    s->taking = base_calloc(s->options->only.count, sizeof *s->taking);
    if (!s->layers || !s->groups || !s->layer_of || !s->taking) return base_no_memory(error, n * sizeof *s->layers);
    study_find_taking(s);
    for (size_t i = 0; i < n; i++) {
        study_layer *layer = &s->layers[s->layer_count];
        s->layer_of[i] = SIZE_MAX;
        if (!read_layer(s, i, layer)) continue;
        if (only && !study_same_group(only, &layer->shape)) continue;
        if (conv_has_basis(&layer->shape)) {
            layer->ratio = base_calloc(layer->shape.k, sizeof *layer->ratio);
            if (!layer->ratio) return base_no_memory(error, layer->shape.k * sizeof *layer->ratio);
        }
        s->layer_of[i] = s->layer_count++;
    }
    return find_groups(s, error);
}

/* ---------------------------------------------------------------- sweep one */

typedef struct sweep {
    study *study;
    const size_t *layers; /* layer number of each id */
    job_checksum *sum;
} sweep;

/* A batch that is added to a checksum. */
typedef struct summed {
    const sweep *sweep;
    size_t first, count;
    void *const *bytes;
} summed;

static void add_batch(void *context, size_t index, unsigned worker)
{
    (void)index, (void)worker;
    const summed *b = context;
    for (size_t i = 0; i < b->count; i++) {
        const study_layer *layer = &b->sweep->study->layers[b->sweep->layers[b->first + i]];
        if (study_is_plain(layer)) checksum_take(b->sweep->sum, layer->tensor, b->bytes[i]);
    }
}

static fpr_status merge_moments(study_group *group, const conv_measure *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    if (m->all.k) {
        if (!group->all.k) {
            status = fpr_moments_init(&group->all, m->all.k);
            if (!status) status = fpr_moments_init(&group->live_moments, m->all.k);
            if (status) { /* both or none: the next layer of the group finds it as this one did */
                fpr_moments_free(&group->all);
                return base_no_memory(error, (uint64_t)m->all.k * m->all.k * sizeof(double));
            }
        }
        fpr_moments_merge(&group->all, &m->all);
        fpr_moments_merge(&group->live_moments, &m->live);
    }
    return status;
}

/* A layer's moments may take more room than its weights: 260 KiB for one kernel of 128. */
#define MOMENTS_BYTES (16u << 20)

static uint64_t moments_bytes(const study_layer *layer)
{
    return conv_has_basis(&layer->shape) ? 2 * sizeof(double) * layer->shape.k * (layer->shape.k + 1) : 0;
}

/* Takes what was measured of one layer. */
static fpr_status take_measure(study *s, study_layer *layer, conv_measure *result, fpr_error *error)
{
    study_group *group = &s->groups[layer->group];
    fpr_status status = FPR_OK;
    if (result->finite) {
        group->layers++;
        group->kernels += layer->shape.kernels;
        group->sparse += result->sparse;
        group->live_signed += result->live_signed;
        status = merge_moments(group, result, error);
    }
    fpr_moments_free(&result->all);
    fpr_moments_free(&result->live);
    layer->measure = *result;
    return status;
}

static fpr_status measure_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    sweep *w = context;
    study *s = w->study;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    conv_measure *results = base_calloc(count, sizeof *results);
    fpr_status status = blocks && results ? FPR_OK : base_no_memory(error, count * sizeof *results);
    summed batch = {w, first, count, bytes};
    base_aside *aside = NULL;
    if (!status && w->sum && !(aside = base_start_aside(s->settings.threads, add_batch, &batch)))
        status = base_no_memory(error, sizeof batch);
    for (size_t i = 0; !status && i < count; i++) {
        study_layer *layer = &s->layers[w->layers[first + i]];
        blocks[i] = study_block(s, layer, bytes[i]);
        results[i].explained_variance_ratio = layer->ratio;
        results[i].farthest = s->groups[layer->group].farthest;
    }
    for (size_t begin = 0, end; !status && begin < count; begin = end) {
        uint64_t room = 0;
        for (end = begin; end < count && (end == begin || room <= MOMENTS_BYTES); end++)
            room += moments_bytes(&s->layers[w->layers[first + end]]);
        status = conv_measure_blocks(blocks + begin, end - begin, &s->settings, results + begin, error);
        for (size_t i = begin; i < end; i++) {
            fpr_error *later = status ? NULL : error; /* the first error stays */
            fpr_status taken = take_measure(s, &s->layers[w->layers[first + i]], &results[i], later);
            if (!status) status = taken;
        }
    }
    base_end_aside(aside);
    base_free(blocks);
    base_free(results);
    return status;
}

typedef enum choice { ALL_LAYERS, FINITE_LAYERS, UNRANGED_LAYERS } choice;

static bool is_chosen(const study *s, const study_layer *layer, choice which)
{
    if (which == ALL_LAYERS) return true;
    const study_group *group = &s->groups[layer->group];
    return layer->measure.finite && (which == FINITE_LAYERS || (group->has_basis && !group->ranged));
}

/* A visit to what is seen of the tensors that are read. */
typedef struct seeing {
    const study *study;
    const size_t *layers;
    void *const *bytes;
    fpr_error *errors;
    size_t first, count;
    model_visit visit;
    void *context;
} seeing;

static void see_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const seeing *w = context;
    const study_layer *layer = &w->study->layers[w->layers[w->first + i]];
    study_see(w->study, layer, w->count == 1 ? w->study->settings.threads : 1, w->bytes[i], &w->errors[i]);
}

static fpr_status see_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    seeing w = *(const seeing *)context;
    bool plain = true;
    for (size_t i = 0; i < count; i++) plain &= study_is_plain(&w.study->layers[w.layers[first + i]]);
    fpr_status status = FPR_OK;
    if (!plain) {
        w.first = first;
        w.count = count;
        w.bytes = bytes;
        w.errors = base_calloc(count, sizeof *w.errors);
        if (!w.errors) return base_no_memory(error, count * sizeof *w.errors);
        base_parallel(w.study->settings.threads, count, see_one, &w);
        status = base_first_error(w.errors, count, error);
        base_free(w.errors);
    }
    return status ? status : w.visit(w.context, first, count, bytes, error);
}

fpr_status study_visit(const study *s, const size_t *layers, size_t count, const char *phase, model_visit visit,
                       void *context, fpr_error *error)
{
    size_t *ids = base_alloc(count, sizeof *ids);
    if (!ids) return base_no_memory(error, count * sizeof *ids);
    for (size_t i = 0; i < count; i++) ids[i] = s->layers[layers[i]].tensor;
    seeing see = {.study = s, .layers = layers, .visit = visit, .context = context};
    const model_pipe pipe = {.phase = phase, .work = see_batch, .context = &see};
    const fpr_status status = model_run(s->model, ids, count, s->options, &pipe, error);
    base_free(ids);
    return status;
}

/* While it runs, *numbers holds the layer number of each tensor visited. */
static fpr_status visit_layers(const study *s, choice which, const char *phase, model_visit visit, void *context,
                               const size_t **numbers, fpr_error *error)
{
    size_t *layers = base_alloc(s->layer_count, sizeof *layers), n = 0;
    if (!layers) return base_no_memory(error, s->layer_count * sizeof *layers);
    for (size_t i = 0; i < s->layer_count; i++)
        if (is_chosen(s, &s->layers[i], which)) layers[n++] = i;
    *numbers = layers;
    const fpr_status status = study_visit(s, layers, n, phase, visit, context, error);
    *numbers = NULL;
    base_free(layers);
    return status;
}

fpr_status study_visit_finite(const study *s, const char *phase, model_visit visit, void *context, const size_t **layers,
                              fpr_error *error)
{
    return visit_layers(s, FINITE_LAYERS, phase, visit, context, layers, error);
}

/* Distributions take about 2 MB of memory a weight of a kernel (conv/count.c), for every kernel shape. Checkpoints have
 * a handful of shapes; in one that has hundreds, the rarest get sparsity only. */
#define BASIS_WEIGHTS_MAX 512u

static int by_kernels(const void *a, const void *b, void *context)
{
    const study_group *groups = context;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    if (groups[i].kernels != groups[j].kernels) return groups[i].kernels < groups[j].kernels ? 1 : -1;
    return (i > j) - (i < j);
}

static fpr_status crowd_out(study *s, fpr_error *error)
{
    size_t *order = base_alloc(s->group_count, sizeof *order);
    if (!order) return base_no_memory(error, s->group_count * sizeof *order);
    for (size_t g = 0; g < s->group_count; g++) order[g] = g;
    if (s->group_count) qsort_r(order, s->group_count, sizeof *order, by_kernels, s->groups);
    uint64_t weights = 0;
    for (size_t i = 0; i < s->group_count; i++) {
        study_group *group = &s->groups[order[i]];
        if (!group->has_basis) continue;
        weights += group->all.k;
        group->crowded_out = weights > BASIS_WEIGHTS_MAX;
        group->has_basis = !group->crowded_out;
    }
    base_free(order);
    return FPR_OK;
}

fpr_status study_find(const fpr_model *model, const fpr_options *options, const fpr_layer_shape *only, study **out,
                      fpr_error *error)
{
    *out = NULL;
    study *s = base_calloc(1, sizeof *s);
    if (!s) return base_no_memory(error, sizeof *s);
    s->model = model;
    s->tensor_count = fpr_model_tensor_count(model);
    s->stamp = model_stamp(model);
    s->options = options;
    s->settings = study_settings(options);
    s->settings.moments_only = only != NULL;
    fpr_status status = find_layers(s, only, error);
    if (status) study_free(s);
    else *out = s;
    return status;
}

fpr_status study_new(const fpr_model *model, const fpr_options *options, const fpr_layer_shape *only, bool briefly,
                     job_checksum *sum, study **out, fpr_error *error)
{
    study *s = NULL;
    fpr_status status = study_find(model, options, only, &s, error);
    *out = NULL;
    if (status) return status;
    s->settings.moments_only = briefly;
    if (only || !briefly) status = far_lists(s, error); /* else nobody asks for ranges */
    sweep w = {.study = s, .sum = sum};
    /* Damaged weights of a packed file must not become the sound ones of another. */
    for (size_t i = 0; !status && i < fpr_model_shard_count(model); i++) status = model_check_shard(model, i, error);
    if (!status) status = visit_layers(s, ALL_LAYERS, "measuring", measure_batch, &w, &w.layers, error);
    for (size_t g = 0; !status && g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        group->live = group->kernels - group->sparse;
        group->has_basis = group->all.k && group->all.count;
    }
    if (!status) status = crowd_out(s, error);
    if (status) study_free(s);
    else *out = s;
    return status;
}

/* ---------------------------------------------------------------- sweep two */

typedef struct grouped { size_t group, block; } grouped;

static int by_group(const void *a, const void *b)
{
    const grouped *x = a, *y = b;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return (x->block > y->block) - (x->block < y->block);
}

/* Visits the blocks of one batch group by group: the sweeps of conv/ take one kernel group at a time. */
fpr_status study_by_group(study *s, const conv_block *blocks, const size_t *layers, size_t count, study_visit_group visit,
                          void *context, fpr_error *error)
{
    conv_block *some = base_alloc(count, sizeof *some);
    grouped *order = base_alloc(count, sizeof *order);
    fpr_status status = some && order ? FPR_OK : base_no_memory(error, count * sizeof *some);
    for (size_t i = 0; !status && i < count; i++) order[i] = (grouped){s->layers[layers[i]].group, i};
    if (!status && count) qsort(order, count, sizeof *order, by_group);
    for (size_t i = 0; !status && i < count;) {
        size_t g = order[i].group, n = 0;
        while (i < count && order[i].group == g) some[n++] = blocks[order[i++].block];
        if (s->groups[g].has_basis) status = visit(context, &s->groups[g], some, n, error);
    }
    base_free(order);
    base_free(some);
    return status;
}

static fpr_status widen_range(void *context, study_group *group, const conv_block *blocks, size_t count,
                              fpr_error *error)
{
    const study *s = context;
    return conv_range_blocks(blocks, count, &s->settings, &group->basis, group->range, error);
}

static fpr_status range_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    sweep *w = context;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    if (!blocks) return base_no_memory(error, count * sizeof *blocks);
    for (size_t i = 0; i < count; i++)
        blocks[i] = study_block(w->study, &w->study->layers[w->layers[first + i]], bytes[i]);
    fpr_status status =
        study_by_group(w->study, blocks, w->layers + first, count, widen_range, w->study, error);
    base_free(blocks);
    return status;
}

fpr_status study_ranges(study *s, fpr_error *error)
{
    for (size_t g = 0; g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        group->ranged = group->has_basis && group->farthest &&
                        conv_farthest_range(group->farthest, &s->settings, &group->basis, group->range);
        conv_farthest_free(group->farthest);
        group->farthest = NULL;
        if (group->ranged) continue;
        group->range[0] = INFINITY;
        group->range[1] = -INFINITY;
    }
    sweep w = {.study = s};
    return visit_layers(s, UNRANGED_LAYERS, "ranging", range_batch, &w, &w.layers, error);
}

fpr_status study_prepare(study *s, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t g = 0; !status && g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        if (!group->has_basis) continue;
        status = study_basis_new(&group->basis, group->all.k, error);
        if (!status) status = fpr_moments_finish(&group->all, &group->basis, error);
    }
    if (!status) status = study_ranges(s, error);
    return status ? status : study_recount(s, error);
}

fpr_status study_recount(study *s, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t g = 0; !status && g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        conv_counter_free(group->counter);
        group->counter = NULL;
        if (group->has_basis)
            status = conv_counter_new(&group->basis, group->all.k, group->range, group->kernels, group->live,
                                      &s->settings, &group->counter, error);
    }
    return status;
}

void study_free(study *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->layer_count; i++) {
        base_free(s->layers[i].ratio);
        base_free(s->layers[i].scale);
    }
    for (size_t g = 0; g < s->group_count; g++) {
        fpr_moments_free(&s->groups[g].all);
        fpr_moments_free(&s->groups[g].live_moments);
        study_basis_free(&s->groups[g].basis);
        conv_counter_free(s->groups[g].counter);
        conv_farthest_free(s->groups[g].farthest);
    }
    base_free(s->layers);
    base_free(s->groups);
    base_free(s->layer_of);
    base_free(s->taking);
    base_free(s);
}

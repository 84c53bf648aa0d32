/* The study of a checkpoint: its layers, their kernel groups, and the sweeps over the weights.
 *
 * Sweep one measures every layer and collects moments; the bases follow. Sweep two finds the range of the coefficients;
 * sweep three, made by the job itself, counts them, because a histogram needs its edges first. Only a few MiB of
 * weights are in memory at any time, so each sweep reads the file again: from the page cache that costs little. */
#include "job/job.h"

#include <math.h>

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

conv_block study_block(const study *s, const study_layer *layer, const void *weights)
{
    return (conv_block){.shape = &layer->shape,
                        .dtype = s->model->tensors[layer->tensor].view.dtype,
                        .weights = weights,
                        .max_abs = layer->measure.max_abs};
}

/* ---------------------------------------------------------------- finding layers and groups */

static size_t group_of(study *s, const fpr_layer_shape *shape)
{
    for (size_t g = 0; g < s->group_count; g++)
        if (study_same_group(&s->groups[g].shape, shape)) return g;
    s->groups[s->group_count].shape = *shape;
    return s->group_count++;
}

static fpr_status find_layers(study *s, const fpr_layer_shape *only, fpr_error *error)
{
    size_t n = s->model->tensor_count;
    s->layers = base_calloc(n, sizeof *s->layers);
    s->groups = base_calloc(n, sizeof *s->groups);
    s->layer_of = base_alloc(n, sizeof *s->layer_of);
    if (!s->layers || !s->groups || !s->layer_of) return base_no_memory(error, n * sizeof *s->layers);
    for (size_t i = 0; i < n; i++) {
        study_layer *layer = &s->layers[s->layer_count];
        s->layer_of[i] = SIZE_MAX;
        if (!fpr_model_layer(s->model, i, s->options->layout, &layer->shape)) continue;
        if (only && !study_same_group(only, &layer->shape)) continue;
        layer->tensor = i;
        layer->group = group_of(s, &layer->shape);
        if (conv_has_basis(&layer->shape)) {
            layer->ratio = base_calloc(layer->shape.k, sizeof *layer->ratio);
            if (!layer->ratio) return base_no_memory(error, layer->shape.k * sizeof *layer->ratio);
        }
        s->layer_of[i] = s->layer_count++;
    }
    return FPR_OK;
}

/* ---------------------------------------------------------------- sweep one */

typedef struct sweep {
    study *study;
    size_t *layers; /* layer number of each id */
} sweep;

static fpr_status merge_moments(study_group *group, conv_measure *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    if (m->all.k) {
        if (!group->all.k) {
            status = fpr_moments_init(&group->all, m->all.k);
            if (!status) status = fpr_moments_init(&group->live_moments, m->all.k);
            if (status) return base_no_memory(error, (uint64_t)m->all.k * m->all.k * sizeof(double));
        }
        fpr_moments_merge(&group->all, &m->all);
        fpr_moments_merge(&group->live_moments, &m->live);
    }
    fpr_moments_free(&m->all);
    fpr_moments_free(&m->live);
    return status;
}

static fpr_status measure_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    sweep *w = context;
    study *s = w->study;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    conv_measure *results = base_calloc(count, sizeof *results);
    fpr_status status = blocks && results ? FPR_OK : base_no_memory(error, count * sizeof *results);
    for (size_t i = 0; !status && i < count; i++) {
        study_layer *layer = &s->layers[w->layers[first + i]];
        blocks[i] = study_block(s, layer, bytes[i]);
        results[i].explained_variance_ratio = layer->ratio;
    }
    if (!status) status = conv_measure_blocks(blocks, count, &s->settings, results, error);
    for (size_t i = 0; !status && i < count; i++) {
        study_layer *layer = &s->layers[w->layers[first + i]];
        study_group *group = &s->groups[layer->group];
        if (results[i].finite) {
            group->layers++;
            group->kernels += layer->shape.kernels;
            group->sparse += results[i].sparse;
            status = merge_moments(group, &results[i], error);
        }
        layer->measure = results[i];
    }
    base_free(blocks);
    base_free(results);
    return status;
}

/* The tensor numbers of the layers that `want` chooses, and their layer numbers. */
static fpr_status choose(const study *s, bool basis_only, size_t **ids, sweep *w, size_t *count, fpr_error *error)
{
    *ids = base_alloc(s->layer_count, sizeof **ids);
    w->layers = base_alloc(s->layer_count, sizeof *w->layers);
    if (!*ids || !w->layers) return base_no_memory(error, s->layer_count * sizeof **ids);
    *count = 0;
    for (size_t i = 0; i < s->layer_count; i++) {
        const study_layer *layer = &s->layers[i];
        if (basis_only && !(layer->measure.finite && conv_has_basis(&layer->shape))) continue;
        w->layers[*count] = i;
        (*ids)[(*count)++] = layer->tensor;
    }
    return FPR_OK;
}

static fpr_status run_sweep(study *s, bool basis_only, const char *phase, job_visit visit, fpr_error *error)
{
    sweep w = {.study = s};
    size_t *ids = NULL, count = 0;
    fpr_status status = choose(s, basis_only, &ids, &w, &count, error);
    if (!status) status = job_batches(s->model, ids, count, s->options, phase, visit, &w, error);
    base_free(ids);
    base_free(w.layers);
    return status;
}

fpr_status study_new(const fpr_model *model, const fpr_options *options, const fpr_layer_shape *only, study **out,
                     fpr_error *error)
{
    *out = NULL;
    study *s = base_calloc(1, sizeof *s);
    if (!s) return base_no_memory(error, sizeof *s);
    s->model = model;
    s->tensor_count = model->tensor_count;
    s->options = options;
    s->settings = job_settings(options);
    s->settings.moments_only = only != NULL;
    fpr_status status = find_layers(s, only, error);
    if (!status) status = run_sweep(s, false, "measuring", measure_batch, error);
    for (size_t g = 0; !status && g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        group->live = group->kernels - group->sparse;
        group->has_basis = group->all.k && group->all.count;
    }
    if (status) study_free(s);
    else *out = s;
    return status;
}

/* ---------------------------------------------------------------- sweep two */

/* Visits the blocks of one batch group by group: the sweeps of conv/ take one kernel group at a time. */
fpr_status study_by_group(study *s, const conv_block *blocks, const size_t *layers, size_t count, study_visit_group visit,
                          void *context, fpr_error *error)
{
    conv_block *some = base_alloc(count, sizeof *some);
    if (!some) return base_no_memory(error, count * sizeof *some);
    fpr_status status = FPR_OK;
    for (size_t g = 0; !status && g < s->group_count; g++) {
        size_t n = 0;
        for (size_t i = 0; i < count; i++)
            if (s->layers[layers[i]].group == g) some[n++] = blocks[i];
        if (n && s->groups[g].has_basis) status = visit(context, &s->groups[g], some, n, error);
    }
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
        s->groups[g].range[0] = INFINITY;
        s->groups[g].range[1] = -INFINITY;
    }
    return run_sweep(s, true, "ranging", range_batch, error);
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
    for (size_t g = 0; !status && g < s->group_count; g++) {
        study_group *group = &s->groups[g];
        if (group->has_basis)
            status = conv_counter_new(&group->basis, group->all.k, group->range, &s->settings, &group->counter, error);
    }
    return status;
}

void study_free(study *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->layer_count; i++) base_free(s->layers[i].ratio);
    for (size_t g = 0; g < s->group_count; g++) {
        fpr_moments_free(&s->groups[g].all);
        fpr_moments_free(&s->groups[g].live_moments);
        study_basis_free(&s->groups[g].basis);
        conv_counter_free(s->groups[g].counter);
    }
    base_free(s->layers);
    base_free(s->groups);
    base_free(s->layer_of);
    base_free(s);
}

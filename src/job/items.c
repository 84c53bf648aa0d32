/* What happens to one tensor of the main job, step by step. */
#include "job/prune.h"

/* What a packed tensor costs in the header alone is more than a smaller tensor can gain. */
#define NEVER_PACKED_BYTES 512u
#define NEVER_ROUNDED_BYTES 256u /* of so few, nothing is gained by a lattice either */

#define ALONE 0.7 /* of its bytes: a tensor that takes less than this by itself is not pooled */

bool prune_allowed(const prune_job *job, const study_layer *layer)
{
    const fpr_options *o = job->options;
    return o->prune && (layer->shape.k > 1 || o->pointwise) && !round_leaves(job, layer) &&
           shrink_selected(&o->only, &o->skip, model_tensor(job->model, layer->tensor)->name);
}

item item_of(const prune_job *job, size_t id, void *bytes)
{
    return (item){.id = id,
                  .tensor = model_tensor(job->model, id),
                  .layer = prune_layer(job, id),
                  .out = &job->tensors[id],
                  .bytes = bytes,
                  .exact = true};
}

void item_free(item *it)
{
    shrink_plan_free(&it->plan);
    base_free(it->outcome.dead_filters);
    base_free(it->outcome.dead_channels);
    base_free(it->converted);
    base_free(it->seen);
    pack_blob_free(it->blob);
    base_free(it->lattice.dead);
    base_free(it->actions);
    base_free(it->kinds);
    base_free(it->own);
}

/* ---------------------------------------------------------------- the steps */

static fpr_status plan_weights(const prune_job *job, const study_layer *layer, const void *weights, shrink_plan *plan,
                               fpr_error *error)
{
    const shrink_budget budget = {job->amount, job->units ? job->units[layer - job->study->layers] : SHRINK_BY_AMOUNT};
    fpr_options options = *job->options;
    /* Two levels of what is computed are no two levels of what it is computed from. */
    options.binary = options.binary && layer->part == CONV_PART_WEIGHT;
    return shrink_plan_layer(&layer->shape, model_tensor(job->model, layer->tensor)->dtype, weights,
                             study_known(layer, &options), &options, prune_allowed(job, layer) ? &budget : NULL,
                             job_threads(job->options), plan, error);
}

static fpr_status plan_layer(const prune_job *job, item *it, fpr_error *error)
{
    const study_layer *layer = it->layer;
    if (!prune_is_planned(layer)) return FPR_OK;
    if (!study_is_plain(layer)) {
        it->seen = base_alloc_aligned(it->tensor->bytes, 1);
        if (!it->seen) return base_no_memory(error, it->tensor->bytes);
        memcpy(it->seen, it->bytes, it->tensor->bytes);
        const fpr_status status = study_see(job->study, layer, job_threads(job->options), it->seen, error);
        if (status) return status;
    }
    return plan_weights(job, layer, it->seen ? it->seen : it->bytes, &it->plan, error);
}

/* What bytes lost against before. */
static void take_loss(item *it, const void *before)
{
    const fpr_tensor *t = it->tensor;
    it->exact = !memcmp(it->bytes, before, t->bytes);
    if (!it->exact) shrink_difference(t->dtype, it->bytes, t->dtype, before, t->elements, &it->own_max_abs, &it->own_relative_l2);
}

fpr_status item_follow(const prune_job *job, item *it, fpr_error *error)
{
    const study_layer *owner = study_owner(job->study, it->id);
    if (!prune_is_planned(owner)) return FPR_OK;
    const fpr_tensor *t = it->tensor, *of = model_tensor(job->model, owner->tensor);
    const unsigned threads = job_threads(job->options);
    shrink_plan plan = {0};
    void *weights = base_alloc_aligned(of->bytes, 1), *before = base_alloc_aligned(t->bytes, 1);
    fpr_status status = weights && before ? FPR_OK : base_no_memory(error, of->bytes + t->bytes);
    if (!status) status = model_read(job->model, owner->tensor, threads, weights, error);
    if (!status) status = study_see(job->study, owner, threads, weights, error);
    if (!status) status = plan_weights(job, owner, weights, &plan, error);
    if (!status && plan.changes) {
        memcpy(before, it->bytes, t->bytes);
        study_put_back(job->study, owner, it->id, &plan, weights, it->bytes);
        take_loss(it, before);
        shrink_cast_change(t->dtype, it->bytes, t->dtype, before, t->elements, &it->outcome.change);
        it->outcome.change.to_inf = it->outcome.change.to_zero = 0; /* not by a cast */
        it->outcome.error_max_abs = it->own_max_abs;
        it->outcome.error_relative_l2 = it->own_relative_l2;
    }
    shrink_plan_free(&plan);
    base_free(weights);
    base_free(before);
    return status;
}

/* Rounding and casts change all kernels that do not become zero. */
static fpr_status mark_changed(item *it, fpr_error *error)
{
    const uint64_t kernels = it->layer->shape.kernels;
    it->actions = base_alloc(kernels, 1);
    if (!it->actions) return base_no_memory(error, kernels);
    for (uint64_t i = 0; i < kernels; i++)
        it->actions[i] = it->plan.changes && it->plan.action[i] == CONV_ACTION_ZERO ? CONV_ACTION_ZERO : CONV_ACTION_CHANGED;
    return FPR_OK;
}

fpr_status item_plan(const prune_job *job, item *it, fpr_error *error)
{
    fpr_status status = plan_layer(job, it, error);
    if (!status) status = round_plan(job, it, error);
    if (status || !prune_is_planned(it->layer)) return status;
    return it->rounds || it->out->dtype != it->tensor->dtype ? mark_changed(it, error) : FPR_OK;
}

fpr_status item_before(const prune_job *job, item *it, fpr_error *error)
{
    const study_layer *layer = it->layer;
    const bool cast = it->out->dtype != it->tensor->dtype;
    if (!prune_is_planned(layer) || !(cast || it->rounds)) return FPR_OK;
    return shrink_kinds(&layer->shape, it->tensor->dtype, it->seen ? it->seen : it->bytes, layer->measure.max_abs,
                        job->options->eps, &it->kinds, error);
}

fpr_status item_change(const prune_job *job, item *it, fpr_error *error)
{
    const study_layer *layer = it->layer;
    if (!prune_is_planned(layer)) return FPR_OK;
    const unsigned threads = job_threads(job->options);
    it->exact = !it->plan.changes;
    fpr_status status = shrink_apply(&layer->shape, it->tensor->dtype, it->seen ? it->seen : it->bytes,
                                     study_known(layer, job->options), job->options->eps, &it->plan, threads, &it->outcome,
                                     error);
    if (status || !it->seen || !it->plan.changes) return status;
    study_put_back(job->study, layer, it->id, &it->plan, it->seen, it->bytes);
    /* As it was, once more: three tensors of one size are not kept. */
    status = model_read(job->model, it->id, threads, it->seen, error);
    if (!status) take_loss(it, it->seen);
    return status;
}

fpr_status item_cast(const prune_job *job, item *it, fpr_error *error)
{
    (void)job;
    const writer_tensor *out = it->out;
    const fpr_tensor *t = it->tensor;
    if (out->dtype == t->dtype) return FPR_OK;
    it->converted = base_alloc_aligned(out->bytes, 1);
    if (!it->converted) return base_no_memory(error, out->bytes);
    if (shrink_cast(t->dtype, it->bytes, out->dtype, it->converted, t->elements)) return FPR_OK;
    /* On top of what pruning cost: the sum bounds the distance to the input. */
    double max_abs, relative_l2;
    fpr_change change, *sum = &it->outcome.change;
    shrink_cast_change(out->dtype, it->converted, t->dtype, it->bytes, t->elements, &change);
    sum->weights = sum->weights + change.weights < t->elements ? sum->weights + change.weights : t->elements;
    sum->to_inf = change.to_inf;
    sum->to_zero = change.to_zero;
    sum->l2 += change.l2;
    sum->norm = sum->norm > change.norm ? sum->norm : change.norm;
    shrink_difference(out->dtype, it->converted, t->dtype, it->bytes, t->elements, &max_abs, &relative_l2);
    it->outcome.error_max_abs += max_abs;
    it->outcome.error_relative_l2 += relative_l2;
    it->own_max_abs += max_abs;
    it->own_relative_l2 += relative_l2;
    it->exact = false;
    return FPR_OK;
}

/* A linear layer, seen as filters of one kernel each: rows may be two-level as well. */
static bool linear_shape(const fpr_tensor *t, fpr_layer_shape *shape)
{
    if (!base_is_float(t->dtype) || t->rank != 2 || !t->elements) return false;
    *shape = (fpr_layer_shape){.filters = t->shape[0],
                               .channels = 1,
                               .kernel_rank = 1,
                               .kernel_shape = {t->shape[1]},
                               .k = t->shape[1],
                               .kernels = t->shape[0],
                               .layout = FPR_LAYOUT_OIHW};
    return true;
}

/* A lattice of the input's, unchanged, stays the lattice that it is: how it was rounded is not found again. */
static fpr_status keep_lattice(const prune_job *job, item *it, fpr_error *error)
{
    uint8_t *stored = base_alloc_aligned(it->tensor->stored_bytes, 1);
    if (!stored) return base_no_memory(error, it->tensor->stored_bytes);
    fpr_status status = model_read_stored(job->model, it->id, job_threads(job->options), stored, error);
    if (!status) status = pack_keep(stored, it->tensor->stored_bytes, true, &it->blob, error);
    base_free(stored);
    return status;
}

/* The lattice that the kernels are on which were not pruned. */
static fpr_status find_lattice(const prune_job *job, item *it, fpr_error *error)
{
    uint8_t *stored = base_alloc_aligned(it->tensor->stored_bytes, 1);
    if (!stored) return base_no_memory(error, it->tensor->stored_bytes);
    fpr_status status = model_read_stored(job->model, it->id, job_threads(job->options), stored, error);
    if (!status) status = pack_lattice_of(stored, it->tensor->stored_bytes, &it->lattice, error);
    it->lattice.pruned = true;
    base_free(stored);
    return status;
}

fpr_status item_encode(const prune_job *job, item *it, fpr_error *error)
{
    writer_tensor *out = it->out;
    const fpr_tensor *t = it->tensor;
    fpr_layer_shape linear;
    const uint64_t overhead = writer_overhead(t);
    fpr_status status = FPR_OK;
    if (!job->dense && !out->pooled && it->exact && !it->converted && !strcmp(t->codec, "lattice"))
        status = keep_lattice(job, it, error);
    else if (!job->dense && (!out->pooled || t->rank > 1) && out->bytes >= (it->rounded ? NEVER_ROUNDED_BYTES : NEVER_PACKED_BYTES) && out->bytes > overhead) {
        const bool thinned = it->thinned && !it->converted && !it->exact;
        if (thinned && (status = find_lattice(job, it, error)) != FPR_OK) return status;
        pack_input input = {.dtype = out->dtype,
                            .rank = t->rank,
                            .shape = t->shape,
                            .layer = it->layer ? it->layer->stored == FPR_LAYOUT_OHWI ? NULL : &it->layer->shape : linear_shape(t, &linear) ? &linear : NULL,
                            .bytes = it->converted ? it->converted : it->bytes,
                            .size = out->bytes,
                            .level = job->options->level,
                            .lossless = it->exact,
                            .lattice = it->rounded || thinned ? &it->lattice : NULL,
                            .adaptive_values = job->adaptive_values,
                            .must_beat = out->bytes - overhead};
        status = pack_encode(&input, job_threads(job->options), &it->blob, error);
    }
    /* In a pool, what a kernel or a palette is does not show: who gains much by that is no member after all. */
    if (out->pooled && it->blob && pack_blob_size(it->blob) <= ALONE * (double)out->bytes) out->pooled = false;
    if (out->pooled) {
        pack_blob_free(it->blob);
        it->blob = NULL;
    }
    if (!it->blob) round_undo(it);
    out->packed = out->pooled || it->blob != NULL;
    out->reader = it->blob ? pack_blob_reader(it->blob) : 1;
    out->stored = it->blob ? pack_blob_size(it->blob) : out->bytes; /* of a pooled one: its share, see pool.c */
    out->codec = out->pooled ? "pool" : it->blob ? pack_blob_codec(it->blob) : "raw";
    out->lossless = it->exact;
    const bool computed = it->seen && it->layer->part != CONV_PART_WEIGHT; /* from this tensor, whose loss is another */
    out->max_abs = computed ? it->own_max_abs : it->outcome.error_max_abs;
    out->relative_l2 = computed ? it->own_relative_l2 : it->outcome.error_relative_l2;
    out->change = it->outcome.change;
    out->zeroed = it->plan.zeroed;
    out->decided = true;
    return status;
}

/* Whether what a cast made of weights can be counted in the tensor's dtype: infinities cannot, and BF16 rounds what is near
 * the largest F16 to more than that. */
static bool counts_as_cast(const item *it)
{
    const bool narrow = it->tensor->dtype == FPR_F16 && it->out->dtype == FPR_BF16;
    return it->converted && !it->outcome.change.to_inf && !(narrow && it->layer->measure.max_abs > 65280);
}

/* The weights as they are written, and as the network sees them, for all that is counted; in the tensor's dtype, which has
 * all values of a cast. */
static fpr_status see_output(const prune_job *job, item *it, fpr_error *error)
{
    const fpr_tensor *t = it->tensor;
    if (counts_as_cast(it)) shrink_cast(it->out->dtype, it->converted, t->dtype, it->bytes, t->elements);
    if (!it->seen) return FPR_OK;
    memcpy(it->seen, it->bytes, t->bytes);
    return study_see(job->study, it->layer, job_threads(job->options), it->seen, error);
}

fpr_status item_became(const prune_job *job, item *it, fpr_error *error)
{
    if (!prune_is_planned(it->layer) || !(it->rounded || it->plan.changes || it->converted)) return FPR_OK;
    fpr_status status = see_output(job, it, error);
    if (status || !it->kinds) return status;
    const bool cast = it->converted && !it->seen;
    status = shrink_became(&it->layer->shape, cast ? it->out->dtype : it->tensor->dtype,
                           cast ? it->converted : it->seen ? it->seen : it->bytes, it->kinds, &it->plan, &it->outcome, error);
    it->out->zeroed = it->plan.zeroed;
    return status;
}

void item_report(const prune_job *job, item *it)
{
    if (!job->report || !it->layer) return;
    fpr_layer *row = &job->report->layers[it->layer - job->study->layers];
    row->stored = (fpr_stored){it->out->codec, it->tensor->bytes, it->out->stored};
    row->change = it->out->change;
    row->cast = it->out->dtype != it->tensor->dtype;
    row->error_max_abs = it->outcome.error_max_abs;
    row->error_relative_l2 = it->outcome.error_relative_l2;
    if (!it->layer->measure.finite) return;
    row->pruned_kernels = it->plan.zeroed;
    row->live_after = row->live_before - it->outcome.live_zeroed;
    row->wholly_zero = it->outcome.wholly_zero;
    row->binary = it->plan.binary;
    base_free(row->dead_filters);
    base_free(row->dead_channels);
    row->dead_filters = it->outcome.dead_filters;
    row->dead_channels = it->outcome.dead_channels;
    row->dead_filter_count = it->outcome.dead_filter_count;
    row->dead_channel_count = it->outcome.dead_channel_count;
    it->outcome.dead_filters = it->outcome.dead_channels = NULL;
}

/* ---------------------------------------------------------------- counting */

static fpr_status count_before(void *context, study_group *group, const conv_block *blocks, size_t n, fpr_error *error)
{
    (void)context;
    return conv_counter_add(group->counter, blocks, n, error);
}

static fpr_status count_changed(void *context, study_group *group, const conv_block *blocks, size_t n, fpr_error *error)
{
    (void)context;
    return conv_counter_add_changed(group->counter, blocks, n, error);
}

static bool has_changed_kernels(const item *it)
{
    if (it->actions) return true;
    for (uint64_t j = 0; it->plan.changes && j < it->layer->shape.kernels; j++)
        if (it->plan.action[j] == CONV_ACTION_CHANGED) return true;
    return false;
}

fpr_status items_count(const prune_job *job, const item *items, size_t count, bool changed, fpr_error *error)
{
    study *s = job->study;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    size_t *layers = base_alloc(count, sizeof *layers), n = 0;
    fpr_status status = blocks && layers ? FPR_OK : base_no_memory(error, count * sizeof *blocks);
    for (size_t i = 0; !status && i < count; i++) {
        const item *it = &items[i];
        if (!prune_is_planned(it->layer) || (changed && !has_changed_kernels(it))) continue;
        blocks[n] = study_block(s, it->layer, it->seen ? it->seen : it->bytes);
        blocks[n].action = it->actions ? it->actions : it->plan.changes ? it->plan.action : NULL;
        layers[n++] = (size_t)(it->layer - s->layers);
    }
    if (!status) status = study_by_group(s, blocks, layers, n, changed ? count_changed : count_before, NULL, error);
    base_free(blocks);
    base_free(layers);
    return status;
}

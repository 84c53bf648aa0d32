/* The one way of a batch of tensors: planned, counted as they are, changed in place, encoded, counted as they have become,
 * and put into the output. */
#include "job/prune.h"

/* What a packed tensor costs in the header alone is more than a smaller tensor can gain. */
#define NEVER_PACKED_BYTES 512u
/* Of what is encoded, so much may wait to be written. */
#define WAITING_BYTES (16u << 20)

/* What one batch needs between its steps. */
typedef struct work {
    prune_run *run;
    const size_t *ids;
    void *const *bytes;
    shrink_plan *plans;
    shrink_outcome *outcomes;
    pack_blob **blobs;
    void **converted;        /* --cast */
    bool *exact;             /* restored as in the input */
    fpr_error *errors;
    fpr_error write_error;
    size_t count;
    unsigned threads_inside;
} work;

study_layer *prune_layer(const prune_run *run, size_t tensor)
{
    size_t l = run->study->layer_of[tensor];
    return l == SIZE_MAX ? NULL : &run->study->layers[l];
}

bool prune_allowed(const prune_run *run, const study_layer *layer)
{
    const fpr_options *o = run->options;
    return o->prune && (layer->shape.k > 1 || o->pointwise) &&
           shrink_selected(&o->only, &o->skip, model_tensor(run->model, layer->tensor)->name);
}

/* ---------------------------------------------------------------- the steps of one tensor */

static void plan_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    work *w = context;
    const prune_run *run = w->run;
    const study_layer *layer = prune_layer(run, w->ids[i]);
    if (!prune_is_planned(layer)) return;
    const fpr_tensor *t = model_tensor(run->model, w->ids[i]);
    uint64_t units = run->units ? run->units[layer - run->study->layers] : SHRINK_BY_OPTIONS;
    shrink_plan_layer(&layer->shape, t->dtype, w->bytes[i], study_known(layer, run->options), run->options,
                      prune_allowed(run, layer), units, w->threads_inside, &w->plans[i], &w->errors[i]);
}

/* A linear layer, seen as filters of one kernel each: rows may be two-level as well. */
static bool linear_shape(const fpr_tensor *t, fpr_layer_shape *shape)
{
    bool is_float = t->dtype == FPR_F64 || t->dtype == FPR_F32 || t->dtype == FPR_F16 || t->dtype == FPR_BF16;
    if (!is_float || t->rank != 2 || !t->elements) return false;
    *shape = (fpr_layer_shape){.filters = t->shape[0],
                               .channels = 1,
                               .kernel_rank = 1,
                               .kernel_shape = {t->shape[1]},
                               .k = t->shape[1],
                               .kernels = t->shape[0],
                               .layout = FPR_LAYOUT_OIHW};
    return true;
}

static fpr_status encode_one(work *w, size_t i, fpr_error *error)
{
    const prune_run *run = w->run;
    size_t id = w->ids[i];
    writer_tensor *out = &run->tensors[id];
    const fpr_tensor *t = model_tensor(run->model, id);
    const study_layer *layer = prune_layer(run, id);
    fpr_layer_shape linear;
    uint64_t overhead = writer_overhead(t);
    fpr_status status = FPR_OK;
    if (!run->dense && out->bytes >= NEVER_PACKED_BYTES && out->bytes > overhead) {
        pack_input input = {.dtype = out->dtype,
                            .rank = t->rank,
                            .shape = t->shape,
                            .layer = layer ? &layer->shape : linear_shape(t, &linear) ? &linear : NULL,
                            .bytes = w->converted[i] ? w->converted[i] : w->bytes[i],
                            .size = out->bytes,
                            .level = run->options->level,
                            .lossless = w->exact[i],
                            .adaptive_values = run->adaptive_values,
                            .must_beat = out->bytes - overhead};
        status = pack_encode(&input, w->threads_inside, &w->blobs[i], error);
    }
    out->stored = w->blobs[i] ? pack_blob_size(w->blobs[i]) : out->bytes;
    out->codec = w->blobs[i] ? pack_blob_codec(w->blobs[i]) : "raw";
    out->lossless = w->exact[i];
    out->max_abs = w->outcomes[i].error_max_abs;
    out->relative_l2 = w->outcomes[i].error_relative_l2;
    out->change = w->outcomes[i].change;
    out->zeroed = w->plans[i].zeroed;
    out->decided = true;
    return status;
}

static fpr_status cast_one(work *w, size_t i, fpr_error *error)
{
    const writer_tensor *out = &w->run->tensors[w->ids[i]];
    const fpr_tensor *t = out->source;
    if (out->dtype == t->dtype) return FPR_OK;
    w->converted[i] = base_alloc_aligned(out->bytes, 1);
    if (!w->converted[i]) return base_no_memory(error, out->bytes);
    if (shrink_cast(t->dtype, w->bytes[i], out->dtype, w->converted[i], t->elements)) return FPR_OK;
    /* On top of what pruning cost: the sum bounds the distance to the input. */
    double max_abs, relative_l2;
    fpr_change change, *sum = &w->outcomes[i].change;
    shrink_cast_change(out->dtype, w->converted[i], t->dtype, w->bytes[i], t->elements, &change);
    sum->weights = sum->weights + change.weights < t->elements ? sum->weights + change.weights : t->elements;
    sum->to_inf = change.to_inf;
    sum->to_zero = change.to_zero;
    sum->l2 += change.l2;
    sum->norm = sum->norm > change.norm ? sum->norm : change.norm;
    shrink_difference(out->dtype, w->converted[i], t->dtype, w->bytes[i], t->elements, &max_abs, &relative_l2);
    w->outcomes[i].error_max_abs += max_abs;
    w->outcomes[i].error_relative_l2 += relative_l2;
    w->exact[i] = false;
    return FPR_OK;
}

static void change_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    work *w = context;
    const study_layer *layer = prune_layer(w->run, w->ids[i]);
    const fpr_tensor *t = model_tensor(w->run->model, w->ids[i]);
    fpr_status status = FPR_OK;
    w->exact[i] = true;
    if (prune_is_planned(layer)) {
        w->exact[i] = !w->plans[i].changes;
        status = shrink_apply(&layer->shape, t->dtype, w->bytes[i], study_known(layer, w->run->options), w->run->options->eps,
                              &w->plans[i], w->threads_inside, &w->outcomes[i], &w->errors[i]);
    }
    if (!status) status = cast_one(w, i, &w->errors[i]);
    if (!status) status = encode_one(w, i, &w->errors[i]);
    if (status) base_error_in_tensor(&w->errors[i], t->name);
}

/* The batch before is written beside the changes to this one. */
static void change_or_write(void *context, size_t i, unsigned worker)
{
    work *w = context;
    if (!w->run->waiting) change_one(context, i, worker);
    else if (i) change_one(context, i - 1, worker);
    else writer_write_listed(w->run->writer, &w->write_error);
}

static fpr_status first_error(const work *w, fpr_error *error)
{
    const fpr_status status = base_first_error(&w->write_error, 1, error);
    return status ? status : base_first_error(w->errors, w->count, error);
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

static bool has_changed_kernels(const shrink_plan *plan, uint64_t kernels)
{
    for (uint64_t j = 0; plan->changes && j < kernels; j++)
        if (plan->fate[j] == CONV_FATE_CHANGED) return true;
    return false;
}

static fpr_status count_batch(const work *w, bool changed, fpr_error *error)
{
    study *s = w->run->study;
    conv_block *blocks = base_alloc(w->count, sizeof *blocks);
    size_t *layers = base_alloc(w->count, sizeof *layers), n = 0;
    fpr_status status = blocks && layers ? FPR_OK : base_no_memory(error, w->count * sizeof *blocks);
    for (size_t i = 0; !status && i < w->count; i++) {
        const study_layer *layer = prune_layer(w->run, w->ids[i]);
        if (!prune_is_planned(layer) || (changed && !has_changed_kernels(&w->plans[i], layer->shape.kernels))) continue;
        blocks[n] = study_block(s, layer, w->bytes[i]);
        blocks[n].fate = w->plans[i].changes ? w->plans[i].fate : NULL;
        layers[n++] = (size_t)(layer - s->layers);
    }
    if (!status) status = study_by_group(s, blocks, layers, n, changed ? count_changed : count_before, NULL, error);
    base_free(blocks);
    base_free(layers);
    return status;
}

/* ---------------------------------------------------------------- report rows */

#define PICTURE_SIDE 8 /* filters and channels of Figure 2; 8 x 8 = FPR_PICTURE_KERNELS */
#define PICTURE_WEIGHTS_MAX 128

/* The first channels of the first filters, as floats. */
static fpr_status picture(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, fpr_layer *row, float **out,
                          fpr_error *error)
{
    if (s->k > PICTURE_WEIGHTS_MAX) return FPR_OK;
    row->picture_filters = s->filters < PICTURE_SIDE ? (unsigned)s->filters : PICTURE_SIDE;
    row->picture_channels = s->channels < PICTURE_SIDE ? (unsigned)s->channels : PICTURE_SIDE;
    size_t k = (size_t)s->k, n = (size_t)row->picture_filters * row->picture_channels * k;
    double kernel[PICTURE_WEIGHTS_MAX];
    base_free(*out);
    *out = base_alloc(n, sizeof **out);
    if (!*out) return base_no_memory(error, n * sizeof **out);
    float *p = *out;
    for (unsigned f = 0; f < row->picture_filters; f++)
        for (unsigned c = 0; c < row->picture_channels; c++) {
            conv_kernels(s, dtype, weights, f * s->channels + c, 1, kernel);
            for (size_t j = 0; j < k; j++) *p++ = (float)kernel[j];
        }
    return FPR_OK;
}

static fpr_status pictures(const work *w, bool before, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && w->run->report && i < w->count; i++) {
        const study_layer *layer = prune_layer(w->run, w->ids[i]);
        if (!prune_is_planned(layer) || w->plans[i].binary.scope == FPR_SCOPE_NONE) continue;
        fpr_layer *row = &w->run->report->layers[layer - w->run->study->layers];
        status = picture(&layer->shape, row->dtype, w->bytes[i], row, before ? &row->picture_before : &row->picture_after,
                         error);
    }
    return status;
}

/* Moves what is known now into the rows. */
static void fill_rows(work *w)
{
    prune_run *run = w->run;
    for (size_t i = 0; run->report && i < w->count; i++) {
        const writer_tensor *out = &run->tensors[w->ids[i]];
        fpr_stored stored = {out->codec, out->source->bytes, out->stored};
        const study_layer *layer = prune_layer(run, w->ids[i]);
        if (!layer) continue;
        fpr_layer *row = &run->report->layers[layer - run->study->layers];
        row->stored = stored;
        row->change = out->change;
        row->cast = out->dtype != out->source->dtype;
        row->error_max_abs = w->outcomes[i].error_max_abs;
        row->error_relative_l2 = w->outcomes[i].error_relative_l2;
        if (!layer->measure.finite) continue;
        row->pruned_kernels = w->plans[i].zeroed;
        row->live_after = row->live_before - w->outcomes[i].live_zeroed;
        row->wholly_zero = w->outcomes[i].wholly_zero;
        row->binary = w->plans[i].binary;
        base_free(row->dead_filters);
        base_free(row->dead_channels);
        row->dead_filters = w->outcomes[i].dead_filters;
        row->dead_channels = w->outcomes[i].dead_channels;
        row->dead_filter_count = w->outcomes[i].dead_filter_count;
        row->dead_channel_count = w->outcomes[i].dead_channel_count;
        w->outcomes[i].dead_filters = w->outcomes[i].dead_channels = NULL;
    }
}

/* ---------------------------------------------------------------- putting tensors into the output */

void prune_free_slot(slot *s)
{
    pack_blob_free(s->blob);
    base_free(s->bytes);
    *s = (slot){0};
}

/* Puts, or lists, all tensors of the shard before `end` that were encoded ahead; their slots are kept. */
static fpr_status put_ahead(prune_run *run, size_t end, bool listing, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (; !status && run->put < end; run->put++) {
        const slot *s = &run->slots[run->put];
        if (run->tensors[run->put].dropped) continue;
        status = (listing ? writer_list : writer_put)(run->writer, s->blob, s->bytes, error);
    }
    return status;
}

fpr_status prune_put_ahead(prune_run *run, size_t end, fpr_error *error) { return put_ahead(run, end, false, error); }

static const void *output_bytes(const work *w, size_t i) { return w->converted[i] ? w->converted[i] : w->bytes[i]; }

/* Keeps what was encoded ahead. */
static fpr_status keep_batch(work *w, fpr_error *error)
{
    for (size_t i = 0; i < w->count; i++) {
        size_t id = w->ids[i];
        slot *s = &w->run->slots[id];
        if (!w->blobs[i]) {
            s->bytes = base_alloc_aligned(w->run->tensors[id].bytes, 1);
            if (!s->bytes) return base_no_memory(error, w->run->tensors[id].bytes);
            if (w->run->tensors[id].bytes) memcpy(s->bytes, output_bytes(w, i), w->run->tensors[id].bytes);
        }
        s->blob = w->blobs[i];
        w->blobs[i] = NULL;
    }
    return FPR_OK;
}

void prune_forget_waiting(prune_run *run)
{
    for (size_t i = 0; run->waiting && i < run->waiting_count; i++) pack_blob_free(run->waiting[i]);
    base_free(run->waiting);
    run->waiting = NULL;
    run->waiting_count = 0;
    while (run->waiting_slots < run->put) prune_free_slot(&run->slots[run->waiting_slots++]);
}

static fpr_status put_batch(work *w, fpr_error *error)
{
    prune_run *run = w->run;
    fpr_status status = FPR_OK;
    uint64_t stored = 0;
    bool may_wait = true; /* plain bytes do not stay; and a large tensor would take memory from the next */
    for (size_t i = 0; i < w->count; i++) {
        stored += run->tensors[w->ids[i]].stored;
        may_wait = may_wait && w->blobs[i];
    }
    may_wait = may_wait && stored <= WAITING_BYTES;
    bool listing = !writer_holds(run->writer, stored);
    for (size_t i = 0; !status && i < w->count; i++) {
        status = put_ahead(run, w->ids[i], listing, error);
        if (!status) status = (listing ? writer_list : writer_put)(run->writer, w->blobs[i], output_bytes(w, i), error);
        run->put = w->ids[i] + 1;
    }
    if (!status && listing) status = writer_reserve_listed(run->writer, error);
    if (!status && listing && may_wait) {
        run->waiting = w->blobs;
        run->waiting_count = w->count;
        w->blobs = NULL;
        return FPR_OK;
    }
    if (!status && listing) status = writer_write_listed(run->writer, error);
    prune_forget_waiting(run);
    return status;
}

/* ---------------------------------------------------------------- one batch */

static void work_free(work *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->plans) shrink_plan_free(&w->plans[i]);
        if (w->blobs) pack_blob_free(w->blobs[i]);
        if (w->converted) base_free(w->converted[i]);
        if (!w->outcomes) continue;
        base_free(w->outcomes[i].dead_filters);
        base_free(w->outcomes[i].dead_channels);
    }
    base_free(w->plans);
    base_free(w->outcomes);
    base_free(w->blobs);
    base_free(w->converted);
    base_free(w->exact);
    base_free(w->errors);
}

fpr_status prune_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    prune_run *run = context;
    unsigned threads = job_threads(run->options);
    work w = {.run = run,
              .ids = run->ids + first,
              .bytes = bytes,
              .plans = base_calloc(count, sizeof *w.plans),
              .outcomes = base_calloc(count, sizeof *w.outcomes),
              .blobs = base_calloc(count, sizeof *w.blobs),
              .converted = base_calloc(count, sizeof *w.converted),
              .exact = base_calloc(count, sizeof *w.exact),
              .errors = base_calloc(count, sizeof *w.errors),
              .count = count,
              .threads_inside = threads};
    fpr_status status = FPR_OK;
    if (!w.plans || !w.outcomes || !w.blobs || !w.converted || !w.exact || !w.errors)
        status = base_no_memory(error, count * sizeof *w.plans);
    if (!status) {
        base_parallel(threads, count, plan_one, &w);
        status = first_error(&w, error);
    }
    if (!status) status = pictures(&w, true, error);
    if (!status && run->counting) status = count_batch(&w, false, error);
    if (!status) {
        base_parallel(threads, count + (run->waiting != NULL), change_or_write, &w);
        prune_forget_waiting(run);
        status = first_error(&w, error);
    }
    if (!status && run->counting) status = count_batch(&w, true, error);
    if (!status) status = pictures(&w, false, error);
    if (!status) fill_rows(&w);
    if (!status) status = run->ahead ? keep_batch(&w, error) : put_batch(&w, error);
    work_free(&w);
    return status;
}

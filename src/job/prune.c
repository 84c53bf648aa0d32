/* The main job: study, plan, shrink, pack, write, report.
 *
 * Every tensor goes one way: loaded in a batch, planned, counted as it is, changed in place, encoded, counted as it has
 * become, and put into the output. Small tensors go first and stay in memory, so that their place in the header is
 * known before the large ones are written (see writer.c). */
#include "job/job.h"

#include <stdlib.h>
#include <unistd.h>

/* Tensors up to this size are encoded ahead, as long as all of them together stay below AHEAD_BYTES. */
#define SMALL_BYTES (32u << 10)
#define AHEAD_BYTES (6u << 20)
/* What a packed tensor costs in the header alone is more than a smaller tensor can gain. */
#define NEVER_PACKED_BYTES 512u

typedef struct slot {
    pack_blob *blob;
    void *bytes; /* dense, when there is no blob */
} slot;

typedef struct prune_run {
    const fpr_model *model;
    const fpr_options *options;
    study *study;
    fpr_report *report;       /* rows are filled when not NULL */
    bool counting;            /* fill the distributions */
    bool dense;
    uint64_t *units;          /* [layers] from a ranking, or NULL */
    writer_tensor *tensors;   /* [tensor_count] */
    slot *slots;              /* [tensor_count] encoded ahead */
    size_t shard, put;        /* the shard being written, its next tensor to put */
    job_writer *writer;
    const size_t *ids;
    bool ahead;               /* this pass keeps its outcome in slots */
} prune_run;

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
    size_t count;
    unsigned threads_inside;
} work;

static study_layer *layer_of(const prune_run *run, size_t tensor)
{
    size_t l = run->study->layer_of[tensor];
    return l == SIZE_MAX ? NULL : &run->study->layers[l];
}

static bool is_planned(const study_layer *layer) { return layer && layer->measure.finite; }

static bool may_prune(const prune_run *run, const study_layer *layer)
{
    const fpr_options *o = run->options;
    return o->prune && (layer->shape.k > 1 || o->pointwise) &&
           shrink_selected(&o->only, &o->skip, run->model->tensors[layer->tensor].view.name);
}

/* ---------------------------------------------------------------- the steps of one tensor */

static void plan_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    work *w = context;
    const prune_run *run = w->run;
    const study_layer *layer = layer_of(run, w->ids[i]);
    if (!is_planned(layer)) return;
    const fpr_tensor *t = &run->model->tensors[w->ids[i]].view;
    uint64_t units = run->units ? run->units[layer - run->study->layers] : SHRINK_BY_OPTIONS;
    shrink_plan_layer(&layer->shape, t->dtype, w->bytes[i], layer->measure.max_abs, run->options,
                      may_prune(run, layer), units, w->threads_inside, &w->plans[i], &w->errors[i]);
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
    const fpr_tensor *t = &run->model->tensors[id].view;
    const study_layer *layer = layer_of(run, id);
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
                            .must_beat = out->bytes - overhead};
        status = pack_encode(&input, w->threads_inside, &w->blobs[i], error);
    }
    out->stored = w->blobs[i] ? pack_blob_size(w->blobs[i]) : out->bytes;
    out->codec = w->blobs[i] ? pack_blob_codec(w->blobs[i]) : "raw";
    out->lossless = w->exact[i];
    out->max_abs = w->outcomes[i].error_max_abs;
    out->relative_l2 = w->outcomes[i].error_relative_l2;
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
    const study_layer *layer = layer_of(w->run, w->ids[i]);
    const fpr_tensor *t = &w->run->model->tensors[w->ids[i]].view;
    fpr_status status = FPR_OK;
    w->exact[i] = true;
    if (is_planned(layer)) {
        w->exact[i] = !w->plans[i].changes;
        status = shrink_apply(&layer->shape, t->dtype, w->bytes[i], layer->measure.max_abs, w->run->options->eps,
                              &w->plans[i], w->threads_inside, &w->outcomes[i], &w->errors[i]);
    }
    if (!status) status = cast_one(w, i, &w->errors[i]);
    if (!status) status = encode_one(w, i, &w->errors[i]);
    if (status) base_error_in_tensor(&w->errors[i], t->name);
}

static fpr_status first_error(const work *w, fpr_error *error)
{
    for (size_t i = 0; i < w->count; i++) {
        if (!w->errors[i].status) continue;
        if (error) *error = w->errors[i];
        return w->errors[i].status;
    }
    return FPR_OK;
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
        const study_layer *layer = layer_of(w->run, w->ids[i]);
        if (!is_planned(layer) || (changed && !has_changed_kernels(&w->plans[i], layer->shape.kernels))) continue;
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
        const study_layer *layer = layer_of(w->run, w->ids[i]);
        if (!is_planned(layer) || w->plans[i].binary.scope == FPR_SCOPE_NONE) continue;
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
        const study_layer *layer = layer_of(run, w->ids[i]);
        if (!layer) continue;
        fpr_layer *row = &run->report->layers[layer - run->study->layers];
        row->stored = stored;
        if (!layer->measure.finite) continue;
        row->pruned_kernels = w->plans[i].zeroed;
        row->binary = w->plans[i].binary;
        row->error_max_abs = w->outcomes[i].error_max_abs;
        row->error_relative_l2 = w->outcomes[i].error_relative_l2;
        base_free(row->dead_filters);
        base_free(row->dead_channels);
        row->dead_filters = w->outcomes[i].dead_filters;
        row->dead_channels = w->outcomes[i].dead_channels;
        row->dead_filter_count = w->outcomes[i].dead_filter_count;
        row->dead_channel_count = w->outcomes[i].dead_channel_count;
        w->outcomes[i].dead_filters = w->outcomes[i].dead_channels = NULL;
    }
}

static void fill_other_rows(prune_run *run)
{
    size_t n = 0;
    for (size_t i = 0; i < run->model->tensor_count; i++) {
        if (layer_of(run, i)) continue;
        const writer_tensor *out = &run->tensors[i];
        run->report->others[n++].stored =
            (fpr_stored){out->dropped ? "dropped" : out->codec, out->source->bytes, out->dropped ? 0 : out->stored};
    }
}

/* ---------------------------------------------------------------- putting tensors into the output */

static void free_slot(slot *s)
{
    pack_blob_free(s->blob);
    base_free(s->bytes);
    *s = (slot){0};
}

/* Puts all tensors of the shard before `end` that were encoded ahead. */
static fpr_status put_ahead(prune_run *run, size_t end, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (; !status && run->put < end; run->put++) {
        slot *s = &run->slots[run->put];
        if (run->tensors[run->put].dropped) continue;
        status = writer_put(run->writer, s->blob, s->bytes, error);
        free_slot(s);
    }
    return status;
}

static fpr_status put_batch(work *w, fpr_error *error)
{
    prune_run *run = w->run;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < w->count; i++) {
        size_t id = w->ids[i];
        const void *bytes = w->converted[i] ? w->converted[i] : w->bytes[i];
        if (!run->ahead) {
            status = put_ahead(run, id, error);
            if (!status) status = writer_put(run->writer, w->blobs[i], bytes, error);
            run->put = id + 1;
            continue;
        }
        slot *s = &run->slots[id];
        if (!w->blobs[i]) {
            s->bytes = base_alloc_aligned(run->tensors[id].bytes, 1);
            if (!s->bytes) return base_no_memory(error, run->tensors[id].bytes);
            memcpy(s->bytes, bytes, run->tensors[id].bytes);
        }
        s->blob = w->blobs[i];
        w->blobs[i] = NULL;
    }
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

static fpr_status prune_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
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
        base_parallel(threads, count, change_one, &w);
        status = first_error(&w, error);
    }
    if (!status && run->counting) status = count_batch(&w, true, error);
    if (!status) status = pictures(&w, false, error);
    if (!status) fill_rows(&w);
    if (!status) status = put_batch(&w, error);
    work_free(&w);
    return status;
}

/* ---------------------------------------------------------------- one shard */

/* Numbers of the shard's tensors that are, or are not, encoded ahead. */
static size_t choose_tensors(const prune_run *run, bool ahead, size_t *ids)
{
    const model_shard *shard = &run->model->shards[run->shard];
    uint64_t ahead_bytes = 0;
    size_t n = 0;
    for (size_t i = shard->first; i < shard->first + shard->header.tensor_count; i++) {
        const writer_tensor *t = &run->tensors[i];
        if (t->dropped) continue;
        uint64_t bytes = t->source->bytes > t->bytes ? t->source->bytes : t->bytes;
        bool small = !run->dense && bytes <= SMALL_BYTES && ahead_bytes + bytes <= AHEAD_BYTES;
        if (small) ahead_bytes += bytes;
        if (small == ahead) ids[n++] = i;
    }
    return n;
}

static fpr_status write_shard(prune_run *run, const char *path, uint64_t *bytes, fpr_error *error)
{
    const model_shard *shard = &run->model->shards[run->shard];
    size_t *ids = base_alloc(shard->header.tensor_count, sizeof *ids);
    if (!ids) return base_no_memory(error, shard->header.tensor_count * sizeof *ids);
    run->put = shard->first;
    run->ids = ids;
    fpr_status status = writer_new(run->model, run->shard, path, run->dense, run->options, run->tensors + shard->first,
                                   &run->writer, error);
    for (int pass = 0; !status && pass < 2; pass++) {
        run->ahead = pass == 0;
        size_t n = choose_tensors(run, run->ahead, ids);
        status = job_batches(run->model, ids, n, run->options, run->ahead ? "packing small tensors" : "packing",
                             prune_batch, run, error);
    }
    if (!status) status = put_ahead(run, shard->first + shard->header.tensor_count, error);
    if (!status) status = writer_finish(run->writer, bytes, error);
    base_free(ids);
    return status;
}

/* ---------------------------------------------------------------- all shards */

static void undecide(prune_run *run)
{
    for (size_t i = 0; i < run->model->tensor_count; i++) {
        run->tensors[i].decided = false;
        free_slot(&run->slots[i]);
    }
}

/* Writes all shards; on success *writers are finished but not committed. */
static fpr_status write_all(prune_run *run, const char *output, job_writer **writers, uint64_t *total, fpr_error *error)
{
    fpr_status status = FPR_OK;
    *total = 0;
    undecide(run);
    for (size_t s = 0; !status && s < run->model->shard_count; s++) {
        char *path = output_shard_path(run->model, s, output);
        if (output && !path) return base_no_memory(error, strlen(output));
        uint64_t bytes = 0;
        run->shard = s;
        run->writer = NULL;
        status = write_shard(run, path, &bytes, error);
        writers[s] = run->writer;
        *total += bytes;
        if (status && path && !(error && error->file[0])) base_error_in_file(error, path);
        base_free(path);
    }
    return status;
}

static void abandon_all(job_writer **writers, size_t count)
{
    for (size_t s = 0; s < count; s++) {
        writer_abandon(writers[s]);
        writers[s] = NULL;
    }
}

/* Dense size of what the output holds: the input less dropped tensors, after casts. */
static uint64_t dense_size(const prune_run *run)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->model->tensor_count; i++)
        if (!run->tensors[i].dropped) bytes += run->tensors[i].bytes;
    if (!run->options->drop.count && !run->options->cast) return model_dense_bytes(run->model);
    for (size_t s = 0; s < run->model->shard_count; s++) bytes += 8 + run->model->shards[s].header.header_bytes;
    return bytes;
}

static fpr_dtype cast_to(const fpr_options *o, fpr_dtype dtype)
{
    static const fpr_dtype to[] = {FPR_F32, FPR_F32, FPR_F16, FPR_BF16};
    bool is_float = dtype == FPR_F64 || dtype == FPR_F32 || dtype == FPR_F16 || dtype == FPR_BF16;
    return o->cast && is_float ? to[o->cast] : dtype;
}

static fpr_status run_init(prune_run *run, fpr_error *error)
{
    size_t n = run->model->tensor_count;
    run->tensors = base_calloc(n, sizeof *run->tensors);
    run->slots = base_calloc(n, sizeof *run->slots);
    if (!run->tensors || !run->slots) return base_no_memory(error, n * sizeof *run->tensors);
    static const fpr_globs none = {0};
    for (size_t i = 0; i < n; i++) {
        const fpr_tensor *t = &run->model->tensors[i].view;
        writer_tensor *out = &run->tensors[i];
        out->source = t;
        out->dropped = run->options->drop.count && shrink_selected(&run->options->drop, &none, t->name);
        out->dtype = cast_to(run->options, t->dtype);
        out->bytes = out->dtype == t->dtype ? t->bytes : t->elements * (fpr_dtype_bits(out->dtype) / 8);
    }
    return FPR_OK;
}

static void run_free(prune_run *run)
{
    for (size_t i = 0; run->slots && i < run->model->tensor_count; i++) free_slot(&run->slots[i]);
    base_free(run->tensors);
    base_free(run->slots);
    base_free(run->units);
}

/* ---------------------------------------------------------------- ranking over all layers, and sizes to reach */

typedef struct rank_context {
    prune_run *run;
    const size_t *ids;
    shrink_ranking *ranking;
} rank_context;

static fpr_status rank_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    const rank_context *c = context;
    const fpr_options *o = c->run->options;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < count; i++) {
        size_t id = c->ids[first + i];
        const study_layer *layer = layer_of(c->run, id);
        uint64_t n = shrink_unit_count(&layer->shape, o->structure);
        double *scores = base_alloc(n, sizeof *scores);
        if (!scores) return base_no_memory(error, n * sizeof *scores);
        shrink_scores(&layer->shape, c->run->model->tensors[id].view.dtype, bytes[i], o->structure, o->criterion, scores);
        status = shrink_ranking_add(c->ranking, (size_t)(layer - c->run->study->layers), scores, n, error);
        base_free(scores);
    }
    return status;
}

/* Ranks the units of all layers that may be pruned; the ranking then serves any amount. */
static fpr_status rank_all(prune_run *run, shrink_ranking **ranking, fpr_error *error)
{
    size_t *ids = base_alloc(run->study->layer_count, sizeof *ids), n = 0;
    if (!ids) return base_no_memory(error, run->study->layer_count * sizeof *ids);
    fpr_status status = shrink_ranking_new(ranking, error);
    for (size_t i = 0; i < run->study->layer_count; i++)
        if (is_planned(&run->study->layers[i]) && may_prune(run, &run->study->layers[i]))
            ids[n++] = run->study->layers[i].tensor;
    rank_context c = {run, ids, *ranking};
    if (!status) status = job_batches(run->model, ids, n, run->options, "ranking", rank_batch, &c, error);
    base_free(ids);
    return status;
}

static fpr_status set_amount(prune_run *run, fpr_options *options, shrink_ranking *ranking, double amount,
                             fpr_error *error)
{
    options->amount = amount;
    if (!ranking) return FPR_OK;
    if (!run->units) run->units = base_calloc(run->study->layer_count, sizeof *run->units);
    if (!run->units) return base_no_memory(error, run->study->layer_count * sizeof *run->units);
    return shrink_ranking_end(ranking, amount, run->units, run->study->layer_count, error);
}

/* Size of the output at an amount, found by packing without writing. */
static fpr_status size_at(prune_run *run, fpr_options *options, shrink_ranking *ranking, double amount, uint64_t *bytes,
                          job_writer **writers, fpr_error *error)
{
    fpr_status status = set_amount(run, options, ranking, amount, error);
    if (!status) status = write_all(run, NULL, writers, bytes, error);
    abandon_all(writers, run->model->shard_count);
    return status;
}

/* Bisection: size falls with the amount, up to the noise of the codecs. */
#define TARGET_STEPS 14

static fpr_status reach_target(prune_run *run, fpr_options *options, shrink_ranking *ranking, job_writer **writers,
                               fpr_error *error)
{
    prune_run trial = *run; /* no report, no counting: sizes alone */
    trial.report = NULL;
    trial.counting = false;
    uint64_t bytes;
    double low = 0, high = 1;
    fpr_status status = size_at(&trial, options, ranking, 1, &bytes, writers, error);
    if (!status && (double)bytes > options->target_bytes)
        status = base_fail(error, FPR_USAGE, "a target of %.0f bytes is out of reach: %llu remain with every unit pruned",
                           options->target_bytes, (unsigned long long)bytes);
    if (!status) status = size_at(&trial, options, ranking, 0, &bytes, writers, error);
    if (!status && (double)bytes <= options->target_bytes) high = 0;
    for (int i = 0; !status && high > 0 && i < TARGET_STEPS; i++) {
        double middle = low + (high - low) / 2;
        status = size_at(&trial, options, ranking, middle, &bytes, writers, error);
        if ((double)bytes <= options->target_bytes) high = middle;
        else low = middle;
    }
    run->units = trial.units;
    return status ? status : set_amount(run, options, ranking, high, error);
}

/* ---------------------------------------------------------------- the whole job */

static fpr_status commit_all(prune_run *run, const char *output, job_writer **writers, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t s = 0; s < run->model->shard_count; s++) {
        if (status) {
            writer_abandon(writers[s]);
        } else {
            char *path = output_shard_path(run->model, s, output);
            status = writer_commit(writers[s], error);
            if (status && path) base_error_in_file(error, path);
            base_free(path);
        }
        writers[s] = NULL;
    }
    if (!status && run->model->is_index && output)
        status = output_index(run->model, run->tensors, output, run->options, error);
    return status;
}

/* Runs the packing, and once more densely when packing gained nothing. */
static fpr_status produce(prune_run *run, const char *output, fpr_report *report, job_writer **writers, fpr_error *error)
{
    uint64_t total = 0;
    fpr_status status = write_all(run, output, writers, &total, error);
    uint64_t dense = run->dense ? UINT64_MAX : dense_size(run);
    if (!status && !run->dense && total >= dense) {
        abandon_all(writers, run->model->shard_count);
        run->dense = true;
        run->counting = false;
        status = write_all(run, output, writers, &total, error);
        if (!status)
            status = rows_warn(&report->warnings, &report->warning_count, error,
                               "packing gains nothing: the output is an ordinary dense checkpoint");
    }
    report->has_output = true;
    report->output_bytes = total;
    report->output_dense = run->dense;
    fill_other_rows(run);
    return status;
}

static fpr_status run_job(fpr_model *model, const char *output, fpr_options *options, fpr_report **report,
                          fpr_error *error)
{
    double since = job_now();
    prune_run run = {.model = model, .options = options, .counting = true, .dense = options->dense};
    shrink_ranking *ranking = NULL;
    bool made_folder = false;
    const char *target = options->dry_run ? NULL : output;
    fpr_report *r = NULL;
    job_writer **writers = base_calloc(model->shard_count, sizeof *writers);
    fpr_status status = writers ? FPR_OK : base_no_memory(error, model->shard_count * sizeof *writers);
    if (!status) status = study_new(model, options, NULL, &run.study, error);
    if (!status) status = rows_new(run.study, &r, error);
    if (r) rows_phase(r, "measure", &since);
    if (!status) status = study_prepare(run.study, error);
    if (r) rows_phase(r, "range", &since);
    run.report = r;
    if (!status) status = run_init(&run, error);
    if (!status && options->global) status = rank_all(&run, &ranking, error);
    if (!status && options->target_bytes > 0) status = reach_target(&run, options, ranking, writers, error);
    else if (!status && ranking) status = set_amount(&run, options, ranking, options->amount, error);
    if (!status) r->options.amount = options->amount;
    if (!status) status = output_folder(model, target, &made_folder, error);
    if (!status) status = produce(&run, target, r, writers, error);
    if (r) rows_phase(r, "shrink and pack", &since);
    if (!status) status = rows_groups(run.study, true, r, error);
    if (r) rows_phase(r, "distributions", &since);
    if (!status) status = output_hash(model, NULL, &r->input_hash, error);
    if (!status) status = commit_all(&run, target, writers, error);
    if (writers) abandon_all(writers, model->shard_count);
    if (status && made_folder) rmdir(output);
    if (!status && output && !(r->output_path = base_copy_text(output, strlen(output))))
        status = base_no_memory(error, strlen(output));
    if (!status && target) status = output_hash(model, target, &r->output_hash, error);
    if (r) rows_phase(r, "write", &since);
    if (r) rows_memory(r);
    base_free(writers);
    shrink_ranking_free(ranking);
    run_free(&run);
    study_free(run.study);
    if (!status && report) *report = r;
    else fpr_report_free(r);
    return status;
}

FPR_API fpr_status fpr_prune(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                             fpr_error *error)
{
    if (report) *report = NULL;
    fpr_model *model = NULL;
    fpr_status status = fpr_options_check(options, error);
    fpr_options own = *options;
    if (!status) status = fpr_model_open(input, &model, error);
    if (!status) status = output_check(model, output, options, error);
    if (!status) status = run_job(model, output, &own, report, error);
    if (status) base_error_in_file(error, input);
    fpr_model_close(model);
    return status;
}

/* The tensors of a shard on their way: through the pipe in batches, into the writer in order.
 *
 * Small tensors go first and stay in memory, so that their place in the header is known before the large ones are
 * written (see out/writer.c). */
#include "job/prune.h"

/* Tensors up to this size are encoded ahead, as long as all of them together stay below AHEAD_BYTES. */
#define SMALL_BYTES (32u << 10)
#define AHEAD_BYTES (6u << 20)

/* A tensor that was encoded ahead, until it is written. */
typedef struct kept {
    pack_blob *blob;
    void *bytes; /* dense, when there is no blob */
} kept;

typedef struct batch {
    item *items;
    size_t count;
} batch;

typedef struct shard_run {
    prune_job *job;
    job_writer *writer;
    size_t begin, end;         /* its tensors in the model */
    const size_t *ids;         /* that pass now */
    bool ahead;                /* what passes now is kept */
    kept *kept;                /* [end - begin] */
    writer_pool pool;          /* of those that were kept */
    size_t next;               /* the next tensor to put */
    size_t written;            /* what was kept before this one is written, and freed */
    batch at_work, listed;     /* listed with the writer, but not yet written */
} shard_run;

static void batch_free(batch *b)
{
    for (size_t i = 0; i < b->count; i++) item_free(&b->items[i]);
    base_free(b->items);
    *b = (batch){0};
}

static void free_kept(shard_run *run, size_t end)
{
    for (; run->written < end; run->written++) {
        kept *k = &run->kept[run->written - run->begin];
        pack_blob_free(k->blob);
        base_free(k->bytes);
    }
}

/* ---------------------------------------------------------------- work */

typedef struct steps {
    const shard_run *run;
    fpr_error *errors; /* [items] */
    fpr_status (*step)(const prune_job *job, item *it, fpr_error *error);
} steps;

static fpr_status plan_and_sample(const prune_job *job, item *it, fpr_error *error)
{
    const fpr_status status = item_plan(job, it, error);
    return status ? status : pictures_sample(job, it, error);
}

static fpr_status change_and_encode(const prune_job *job, item *it, fpr_error *error)
{
    fpr_status status = item_before(job, it, error);
    if (!status) status = item_change(job, it, error);
    if (!status) status = item_cast(job, it, error);
    if (!status) status = round_item(job, it, error);
    if (!status) status = item_encode(job, it, error);
    if (!status) status = item_became(job, it, error);
    return status;
}

static void do_step(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const steps *s = context;
    item *it = &s->run->at_work.items[i];
    if (s->step(s->run->job, it, &s->errors[i])) base_error_in_tensor(&s->errors[i], it->tensor->name);
}

/* Takes all items of the batch through a step, side by side. */
static fpr_status step(const shard_run *run, fpr_status (*what)(const prune_job *, item *, fpr_error *), fpr_error *error)
{
    const size_t n = run->at_work.count;
    steps s = {run, base_calloc(n, sizeof *s.errors), what};
    if (!s.errors) return base_no_memory(error, n * sizeof *s.errors);
    base_parallel(job_threads(run->job->options), n, do_step, &s);
    const fpr_status status = base_first_error(s.errors, n, error);
    base_free(s.errors);
    return status;
}

static fpr_status work(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    shard_run *run = context;
    const prune_job *job = run->job;
    item *items = run->at_work.items = base_alloc(count, sizeof *items);
    if (!items) return base_no_memory(error, count * sizeof *items);
    run->at_work.count = count;
    for (size_t i = 0; i < count; i++) items[i] = item_of(job, run->ids[first + i], bytes[i]);
    fpr_status status = step(run, plan_and_sample, error);
    for (size_t i = 0; !status && i < count; i++) { /* one by one: each reads a tensor of its own */
        status = item_follow(job, &items[i], error);
        if (status) base_error_in_tensor(error, items[i].tensor->name);
    }
    if (!status) status = pictures_take(job, items, count, true, error);
    if (!status && job->counting) status = items_count(job, items, count, false, error);
    if (!status) status = step(run, change_and_encode, error);
    if (!status && job->counting) status = items_count(job, items, count, true, error);
    if (!status) status = pictures_take(job, items, count, false, error);
    for (size_t i = 0; !status && i < count; i++) {
        item_report(job, &items[i]);
        const bool unsaid = job->report && job->counting && !job->unrounded; /* else it has been said */
        if (unsaid && items[i].plan.kept_one)
            status = rows_warn_layer(job->report, (size_t)(items[i].layer - job->study->layers), error,
                                     "the strongest unit stays: with all of them gone nothing would pass through");
        if (!status && unsaid && items[i].unpruned)
            status = rows_warn_layer(job->report, (size_t)(items[i].layer - job->study->layers), error,
                                     "is not pruned: that alone would take more than half of the squared error that "
                                     "--max-error allows");
        if (!status && unsaid && items[i].layer && round_leaves(job, items[i].layer))
            status = rows_warn_layer(job->report, (size_t)(items[i].layer - job->study->layers), error,
                                     "stays as it is: its weights are computed from several tensors, which --max-error does "
                                     "not change");
    }
    return status;
}

/* ---------------------------------------------------------------- into the writer */

static const void *output_bytes(const item *it) { return it->converted ? it->converted : it->bytes; }

/* Keeps what was encoded ahead. */
static fpr_status keep(shard_run *run, fpr_error *error)
{
    for (size_t i = 0; i < run->at_work.count; i++) {
        item *it = &run->at_work.items[i];
        kept *k = &run->kept[it->id - run->begin];
        if (!it->blob) {
            k->bytes = base_alloc_aligned(it->out->bytes, 1);
            if (!k->bytes) return base_no_memory(error, it->out->bytes);
            if (it->out->bytes) memcpy(k->bytes, output_bytes(it), it->out->bytes);
        }
        k->blob = it->blob;
        it->blob = NULL;
    }
    batch_free(&run->at_work);
    return FPR_OK;
}

/* Puts, or lists, all tensors before `end` that were kept. */
static fpr_status put_kept(shard_run *run, size_t end, bool listing, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (; !status && run->next < end; run->next++) {
        const kept *k = &run->kept[run->next - run->begin];
        if (run->job->tensors[run->next].dropped || run->job->tensors[run->next].pooled) continue;
        status = (listing ? writer_list : writer_put)(run->writer, k->blob, k->bytes, error);
    }
    return status;
}

static fpr_status put(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    (void)first, (void)bytes;
    shard_run *run = context;
    if (run->ahead) return keep(run, error);
    fpr_status status = FPR_OK;
    uint64_t stored = 0;
    for (size_t i = 0; i < count; i++) stored += run->at_work.items[i].out->stored;
    const bool listing = !writer_holds(run->writer, stored);
    for (size_t i = 0; !status && i < count; i++) {
        const item *it = &run->at_work.items[i];
        status = put_kept(run, it->id, listing, error);
        if (!status) status = (listing ? writer_list : writer_put)(run->writer, it->blob, output_bytes(it), error);
        run->next = it->id + 1;
    }
    if (!status && listing) status = writer_reserve_listed(run->writer, error);
    run->listed = run->at_work;
    run->at_work = (batch){0};
    return status;
}

/* Beside the work on the next batch. */
static fpr_status write_listed(void *context, fpr_error *error)
{
    shard_run *run = context;
    fpr_status status = writer_write_listed(run->writer, error);
    batch_free(&run->listed);
    free_kept(run, run->next);
    return status;
}

/* ---------------------------------------------------------------- one shard */

/* The tensors of the shard that are, or are not, encoded ahead. */
static size_t choose_tensors(const shard_run *run, bool ahead, size_t *ids)
{
    uint64_t ahead_bytes = 0;
    size_t n = 0;
    for (size_t i = run->begin; i < run->end; i++) {
        const writer_tensor *t = &run->job->tensors[i];
        if (t->dropped) continue;
        uint64_t bytes = t->source->bytes > t->bytes ? t->source->bytes : t->bytes;
        bool small = !run->job->dense && (t->pooled || (bytes <= SMALL_BYTES && ahead_bytes + bytes <= AHEAD_BYTES));
        if (small) ahead_bytes += bytes;
        if (small == ahead) ids[n++] = i;
    }
    return n;
}

static fpr_status pass_tensors(shard_run *run, bool ahead, size_t *ids, fpr_error *error)
{
    const size_t n = choose_tensors(run, ahead, ids);
    run->ids = ids;
    run->ahead = ahead;
    const model_pipe pipe = {.phase = ahead ? "packing small tensors" : "packing",
                             .work = work,
                             .put = put,
                             .write = ahead ? NULL : write_listed,
                             .context = run};
    return model_run(run->job->model, ids, n, run->job->options, &pipe, error);
}

static const void *kept_bytes(void *context, size_t tensor)
{
    const shard_run *run = context;
    return run->kept[tensor - run->begin].bytes;
}

static fpr_status write_shard(prune_job *job, size_t shard, const char *path, job_writer **writer, uint64_t *bytes,
                              fpr_error *error)
{
    const size_t begin = model_shard_first(job->model, shard), count = model_shard_tensors(job->model, shard);
    size_t *ids = base_alloc(count, sizeof *ids);
    shard_run run = {.job = job,
                     .begin = begin,
                     .end = begin + count,
                     .kept = base_calloc(count, sizeof *run.kept),
                     .next = begin,
                     .written = begin};
    fpr_status status = ids && run.kept ? FPR_OK : base_no_memory(error, count * sizeof *run.kept);
    input_said(job->sum)->amount = job->amount;
    if (!status)
        status = writer_new(job->model, shard, path, !job->dense ? OUT_PACKED : job->plain ? OUT_PLAIN : OUT_STATED,
                            job->options, input_said(job->sum), job->tensors + begin, &run.writer, error);
    if (!status) status = pass_tensors(&run, true, ids, error);
    if (!status) status = pool_make(job, shard, kept_bytes, &run, &run.pool, error);
    if (!status) status = writer_put_pool(run.writer, &run.pool, error);
    if (!status) status = pass_tensors(&run, false, ids, error);
    if (!status) status = put_kept(&run, run.end, false, error);
    if (!status) status = input_settle(job->sum, error);
    if (!status) status = writer_finish(run.writer, bytes, error);
    batch_free(&run.at_work);
    batch_free(&run.listed);
    if (run.kept) free_kept(&run, run.end);
    pack_blob_free(run.pool.blob);
    base_free(run.kept);
    base_free(ids);
    *writer = run.writer;
    return status;
}

/* ---------------------------------------------------------------- all shards */

static void undecide(prune_job *job)
{
    bool layers_stay = !job->options->prune && !job->options->binary;
    for (size_t i = 0; i < fpr_model_tensor_count(job->model); i++) {
        writer_tensor *t = &job->tensors[i];
        t->decided = false;
        t->lossless = t->dtype == t->source->dtype && !round_allowed(job, i) &&
                      (layers_stay || !(prune_layer(job, i) || study_owner(job->study, i)));
    }
    for (size_t s = 0; s < fpr_model_shard_count(job->model); s++)
        pool_choose(job, model_shard_first(job->model, s), model_shard_tensors(job->model, s));
}

/* A shard of which every tensor is dropped is not written. */
static bool is_empty(const prune_job *job, size_t shard)
{
    const size_t begin = model_shard_first(job->model, shard), end = begin + model_shard_tensors(job->model, shard);
    for (size_t i = begin; i < end; i++)
        if (!job->tensors[i].dropped) return false;
    return model_is_index(job->model);
}

/* Closes the file of a shard, so that not more than one is open. */
static fpr_status close_shard(const prune_job *job, size_t shard, job_writer *writer, out_place *place, file_hash *hash,
                              fpr_error *error)
{
    fpr_status status = job->reported ? writer_hash(writer, hash, job_threads(job->options), error) : FPR_OK;
    if (!status) return place_add(place, shard, writer_release(writer), error);
    writer_abandon(writer);
    return status;
}

fpr_status shards_write(prune_job *job, out_place *place, uint64_t *total, uint64_t *hash, fpr_error *error)
{
    file_hash *all = file_hash_new();
    fpr_status status = all ? FPR_OK : base_no_memory(error, 1024);
    *total = 0;
    undecide(job);
    for (size_t s = 0; !status && s < fpr_model_shard_count(job->model); s++) {
        if (is_empty(job, s)) continue;
        char *path = place ? place_path(place, s) : NULL;
        if (place && !path) status = base_no_memory(error, strlen(fpr_model_shard_path(job->model, s)));
        uint64_t bytes = 0;
        job_writer *writer = NULL;
        if (!status) status = write_shard(job, s, path, &writer, &bytes, error);
        *total += bytes;
        if (!status && place) status = close_shard(job, s, writer, place, all, error);
        else writer_abandon(writer);
        if (status && path && !(error && error->file[0])) base_error_in_file(error, path);
        if (status && path && error && !strcmp(error->file, path)) place_failed(place, s, status, error);
        base_free(path);
    }
    if (all) *hash = file_hash_end(all);
    return status;
}

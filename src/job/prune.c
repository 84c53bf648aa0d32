/* The main job: study, plan, shrink, pack, write, report.
 *
 * Every tensor goes one way (prune_batch.c). Small tensors go first and stay in memory, so that their place in the
 * header is known before the large ones are written (see writer.c). */
#include "job/prune.h"

#include <stdlib.h>

/* Tensors up to this size are encoded ahead, as long as all of them together stay below AHEAD_BYTES. */
#define SMALL_BYTES (32u << 10)
#define AHEAD_BYTES (6u << 20)
/* ---------------------------------------------------------------- one shard */

/* Numbers of the shard's tensors that are, or are not, encoded ahead. */
static size_t choose_tensors(const prune_run *run, bool ahead, size_t *ids)
{
    const size_t begin = model_shard_first(run->model, run->shard);
    const size_t end = begin + model_shard_tensors(run->model, run->shard);
    uint64_t ahead_bytes = 0;
    size_t n = 0;
    for (size_t i = begin; i < end; i++) {
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
    const size_t begin = model_shard_first(run->model, run->shard), count = model_shard_tensors(run->model, run->shard);
    size_t *ids = base_alloc(count, sizeof *ids);
    if (!ids) return base_no_memory(error, count * sizeof *ids);
    run->put = run->waiting_slots = begin;
    run->ids = ids;
    fpr_status status = writer_new(run->model, run->shard, path, run->dense, run->options, run->tensors + begin,
                                   &run->writer, error);
    for (int pass = 0; !status && pass < 2; pass++) {
        run->ahead = pass == 0;
        size_t n = choose_tensors(run, run->ahead, ids);
        status = job_batches(run->model, ids, n, run->options, run->ahead ? "packing small tensors" : "packing",
                             prune_batch, NULL, run, error);
    }
    if (!status) status = writer_write_listed(run->writer, error);
    prune_forget_waiting(run);
    if (!status) status = prune_put_ahead(run, begin + count, error);
    if (!status) status = writer_finish(run->writer, bytes, error);
    base_free(ids);
    return status;
}

/* ---------------------------------------------------------------- all shards */

static void undecide(prune_run *run)
{
    bool layers_stay = !run->options->prune && !run->options->binary;
    for (size_t i = 0; i < fpr_model_tensor_count(run->model); i++) {
        writer_tensor *t = &run->tensors[i];
        t->decided = false;
        t->lossless = t->dtype == t->source->dtype && (layers_stay || !prune_layer(run, i));
        prune_free_slot(&run->slots[i]);
    }
}

/* Writes all shards; on success *writers are finished but not committed. */
fpr_status prune_write_all(prune_run *run, const char *output, job_writer **writers, uint64_t *total, fpr_error *error)
{
    fpr_status status = FPR_OK;
    *total = 0;
    undecide(run);
    for (size_t s = 0; !status && s < fpr_model_shard_count(run->model); s++) {
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

void prune_abandon_all(job_writer **writers, size_t count)
{
    for (size_t s = 0; s < count; s++) {
        writer_abandon(writers[s]);
        writers[s] = NULL;
    }
}

/* Dense size of what the output holds: the input less dropped tensors, after casts. */
static fpr_status dense_size(const prune_run *run, uint64_t *bytes, fpr_error *error)
{
    if (!run->options->drop.count && !run->options->cast) return model_dense_bytes(run->model, bytes, error);
    *bytes = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(run->model); i++)
        if (!run->tensors[i].dropped) *bytes += run->tensors[i].bytes;
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < fpr_model_shard_count(run->model); s++) {
        uint64_t header = 0;
        status = model_header_bytes(run->model, s, &header, error);
        *bytes += 8 + header;
    }
    return status;
}

static fpr_dtype cast_to(const fpr_options *o, fpr_dtype dtype)
{
    static const fpr_dtype to[] = {FPR_F32, FPR_F32, FPR_F16, FPR_BF16};
    bool is_float = dtype == FPR_F64 || dtype == FPR_F32 || dtype == FPR_F16 || dtype == FPR_BF16;
    return o->cast && is_float ? to[o->cast] : dtype;
}

/* The adaptive code is slow, and saves the more the smaller a tensor is. In a small file time does not count as much as
 * bytes do: there it is for the smallest tensors, as many as have a bounded number of values together; unless speed is
 * asked for. */
#define ADAPTIVE_LEVEL 3
#define ADAPTIVE_FILE_BYTES (8u << 20)
#define ADAPTIVE_VALUES 262144u

static int by_elements(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static fpr_status choose_adaptive(prune_run *run, fpr_error *error)
{
    const size_t n = fpr_model_tensor_count(run->model);
    uint64_t bytes = 0, values = 0;
    for (size_t i = 0; i < n; i++) bytes += run->tensors[i].bytes;
    if (run->options->level < ADAPTIVE_LEVEL || bytes > ADAPTIVE_FILE_BYTES) return FPR_OK;
    uint64_t *elements = base_alloc(n, sizeof *elements);
    if (!elements) return base_no_memory(error, n * sizeof *elements);
    for (size_t i = 0; i < n; i++) elements[i] = model_tensor(run->model, i)->elements;
    qsort(elements, n, sizeof *elements, by_elements);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i; next < n && elements[next] == elements[i]; next++) values += elements[i];
        if (values > ADAPTIVE_VALUES) break;
        run->adaptive_values = elements[i];
    }
    base_free(elements);
    return FPR_OK;
}

static fpr_status run_init(prune_run *run, fpr_error *error)
{
    size_t n = fpr_model_tensor_count(run->model);
    run->tensors = base_calloc(n, sizeof *run->tensors);
    run->slots = base_calloc(n, sizeof *run->slots);
    if (!run->tensors || !run->slots) return base_no_memory(error, n * sizeof *run->tensors);
    static const fpr_globs none = {0};
    for (size_t i = 0; i < n; i++) {
        const fpr_tensor *t = model_tensor(run->model, i);
        writer_tensor *out = &run->tensors[i];
        out->source = t;
        out->dropped = run->options->drop.count && shrink_selected(&run->options->drop, &none, t->name);
        out->dtype = cast_to(run->options, t->dtype);
        out->bytes = out->dtype == t->dtype ? t->bytes : t->elements * (fpr_dtype_bits(out->dtype) / 8);
    }
    return choose_adaptive(run, error);
}

static void run_free(prune_run *run)
{
    for (size_t i = 0; run->slots && i < fpr_model_tensor_count(run->model); i++) prune_free_slot(&run->slots[i]);
    base_free(run->tensors);
    base_free(run->slots);
    base_free(run->units);
}

/* ---------------------------------------------------------------- the whole job */

static fpr_status hash_output(const fpr_model *model, job_writer **writers, unsigned threads, uint64_t *value,
                              fpr_error *error)
{
    file_hash *hash = file_hash_new();
    fpr_status status = hash ? FPR_OK : base_no_memory(error, 1024);
    for (size_t s = 0; !status && s < fpr_model_shard_count(model); s++) status = writer_hash(writers[s], hash, threads, error);
    if (hash) *value = file_hash_end(hash);
    return status;
}

static fpr_status commit_all(prune_run *run, const char *output, job_writer **writers, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t s = 0; s < fpr_model_shard_count(run->model); s++) {
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
    if (!status && model_is_index(run->model) && output)
        status = output_index(run->model, run->tensors, output, run->options, error);
    return status;
}

static void fill_other_rows(prune_run *run)
{
    size_t n = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(run->model); i++) {
        if (prune_layer(run, i)) continue;
        const writer_tensor *out = &run->tensors[i];
        fpr_other *row = &run->report->others[n++];
        row->stored =
            (fpr_stored){out->dropped ? "dropped" : out->codec, out->source->bytes, out->dropped ? 0 : out->stored};
        if (out->dropped) continue;
        row->change = out->change;
        row->cast = out->dtype != out->source->dtype;
        row->error_max_abs = out->max_abs;
        row->error_relative_l2 = out->relative_l2;
    }
}

/* Runs the packing, and once more densely when packing gained nothing. */
static fpr_status produce(prune_run *run, const char *output, fpr_report *report, job_writer **writers, fpr_error *error)
{
    uint64_t total = 0, dense = UINT64_MAX;
    fpr_status status = prune_write_all(run, output, writers, &total, error);
    if (!status && !run->dense) status = dense_size(run, &dense, error);
    if (!status && !run->dense && total >= dense) {
        prune_abandon_all(writers, fpr_model_shard_count(run->model));
        run->dense = true;
        run->counting = false;
        status = prune_write_all(run, output, writers, &total, error);
        if (!status)
            status = rows_warn(&report->warnings, &report->warning_count, error,
                               "packing gains nothing: the output is an ordinary dense checkpoint");
    }
    report->has_output = true;
    report->output_bytes = total;
    report->output_dense = run->dense;
    fill_other_rows(run);
    if (!status) status = rows_changes(report, error);
    return status;
}

/* The checksum of the input, for the rest of which other work need not wait. */
typedef struct input_sum {
    job_checksum *sum;
    base_aside *aside;
    uint64_t value;
    fpr_error error;
    atomic_bool stop;
} input_sum;

static void sum_rest(void *context, size_t index, unsigned worker)
{
    (void)index, (void)worker;
    input_sum *s = context;
    checksum_rest(s->sum, &s->stop, &s->value, &s->error);
}

/* Ends what was begun; after an error nothing of it is wanted. */
static fpr_status end_sum(input_sum *s, fpr_status status, uint64_t *value, fpr_error *error)
{
    atomic_store(&s->stop, status != FPR_OK);
    base_end_aside(s->aside);
    checksum_free(s->sum);
    if (status) return status;
    *value = s->value;
    if (s->error.status && error) *error = s->error;
    return s->error.status;
}

static fpr_status run_job(fpr_model *model, const char *output, fpr_options *options, fpr_report **report,
                          fpr_error *error)
{
    double since = job_now();
    prune_run run = {.model = model, .options = options, .counting = true, .dense = options->dense};
    bool made_folder = false;
    const char *target = options->dry_run ? NULL : output;
    fpr_report *r = NULL;
    job_writer **writers = base_calloc(fpr_model_shard_count(model), sizeof *writers);
    input_sum sum = {0};
    fpr_status status = writers ? FPR_OK : base_no_memory(error, fpr_model_shard_count(model) * sizeof *writers);
    if (!status) status = checksum_new(model, &sum.sum, error);
    if (!status) status = study_new(model, options, NULL, sum.sum, &run.study, error);
    if (!status && !(sum.aside = base_start_aside(job_threads(options), sum_rest, &sum)))
        status = base_no_memory(error, sizeof sum);
    if (!status) status = rows_new(run.study, &r, error);
    if (!status && options->spectra) status = job_spectra(run.study, options, r, error);
    if (r) rows_phase(r, "measure", &since);
    if (!status) status = study_prepare(run.study, error);
    if (r) rows_phase(r, "range", &since);
    run.report = r;
    if (!status) status = run_init(&run, error);
    if (!status) status = prune_settle_amount(&run, options, writers, error);
    if (!status) r->options.amount = options->amount;
    if (!status) status = output_folder(model, target, &made_folder, error);
    if (!status) status = produce(&run, target, r, writers, error);
    if (r) rows_phase(r, "shrink and pack", &since);
    if (!status) status = rows_groups(run.study, true, r, error);
    if (r) rows_phase(r, "distributions", &since);
    if (!status && target) status = hash_output(model, writers, job_threads(options), &r->output_hash, error);
    if (!status && output && !(r->output_path = base_copy_text(output, strlen(output))))
        status = base_no_memory(error, strlen(output));
    uint64_t input_hash = 0;
    status = end_sum(&sum, status, &input_hash, error);
    if (!status) r->input_hash = input_hash;
    /* What was read at different times was one file. */
    if (!status) status = model_check_unchanged(model, error);
    /* Nothing may fail once the output has its name. */
    if (!status) status = job_cancelled(options, error);
    if (!status) status = commit_all(&run, target, writers, error);
    if (writers) prune_abandon_all(writers, fpr_model_shard_count(model));
    if (status && made_folder) output_remove(model, output);
    if (r) rows_phase(r, "write", &since);
    if (r) rows_memory(r);
    base_free(writers);
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
    const volatile int *watched = base_watch(options->cancel);
    fpr_model *model = NULL;
    fpr_status status = fpr_options_check(options, error);
    fpr_options own = *options;
    if (!status) status = fpr_model_open_with(input, options, &model, error);
    if (!status) status = output_check(model, output, options, error);
    if (!status) status = run_job(model, output, &own, report, error);
    if (status) base_error_in_file(error, input);
    fpr_model_close(model);
    base_watch(watched);
    return status;
}

/* The main job: study, plan, shrink, pack, write, report. */
#include "job/graphs.h"
#include "job/prune.h"

#include <stdlib.h>

/* Dense size of what the output holds: the input less dropped tensors, after casts. */
static fpr_status dense_size(const prune_job *job, uint64_t *bytes, fpr_error *error)
{
    if (!job->options->drop.count && !job->options->cast) return model_dense_bytes(job->model, bytes, error);
    *bytes = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(job->model); i++)
        if (!job->tensors[i].dropped) *bytes += job->tensors[i].bytes;
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < fpr_model_shard_count(job->model); s++) {
        uint64_t header = 0;
        status = model_header_bytes(job->model, s, &header, error);
        *bytes += 8 + header;
    }
    return status;
}

static fpr_dtype cast_to(const fpr_options *o, fpr_dtype dtype)
{
    static const fpr_dtype to[] = {FPR_F32, FPR_F32, FPR_F16, FPR_BF16};
    return o->cast && base_is_float(dtype) ? to[o->cast] : dtype;
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

static fpr_status choose_adaptive(prune_job *job, fpr_error *error)
{
    const size_t n = fpr_model_tensor_count(job->model);
    uint64_t bytes = 0, values = 0;
    for (size_t i = 0; i < n; i++) bytes += job->tensors[i].bytes;
    if (job->options->level < ADAPTIVE_LEVEL || bytes > ADAPTIVE_FILE_BYTES) return FPR_OK;
    uint64_t *elements = base_alloc(n, sizeof *elements);
    if (!elements) return base_no_memory(error, n * sizeof *elements);
    for (size_t i = 0; i < n; i++) elements[i] = model_tensor(job->model, i)->elements;
    qsort(elements, n, sizeof *elements, by_elements);
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i; next < n && elements[next] == elements[i]; next++) values += elements[i];
        if (values > ADAPTIVE_VALUES) break;
        job->adaptive_values = elements[i];
    }
    base_free(elements);
    return FPR_OK;
}

static fpr_status job_init(prune_job *job, fpr_error *error)
{
    size_t n = fpr_model_tensor_count(job->model);
    job->tensors = base_calloc(n, sizeof *job->tensors);
    if (!job->tensors) return base_no_memory(error, n * sizeof *job->tensors);
    static const fpr_globs none = {0};
    for (size_t i = 0; i < n; i++) {
        const fpr_tensor *t = model_tensor(job->model, i);
        writer_tensor *out = &job->tensors[i];
        out->source = t;
        out->dropped = job->options->drop.count && shrink_selected(&job->options->drop, &none, t->name);
        out->dtype = cast_to(job->options, t->dtype);
        out->bytes = out->dtype == t->dtype ? t->bytes : t->elements * (fpr_dtype_bits(out->dtype) / 8);
    }
    bool any = n == 0 || !model_is_index(job->model);
    for (size_t i = 0; i < n && !any; i++) any = !job->tensors[i].dropped;
    if (!any) return base_fail(error, FPR_USAGE, "--drop leaves no tensor: there would be no shard to write");
    return choose_adaptive(job, error);
}

static void job_free(prune_job *job)
{
    base_free(job->tensors);
    base_free(job->units);
}

/* ---------------------------------------------------------------- the whole job */

static void fill_other_rows(prune_job *job)
{
    size_t n = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(job->model); i++) {
        if (prune_layer(job, i)) continue;
        const writer_tensor *out = &job->tensors[i];
        fpr_other *row = &job->report->others[n++];
        row->stored =
            (fpr_stored){out->dropped ? "dropped" : out->codec, out->source->bytes, out->dropped ? 0 : out->stored};
        if (out->dropped) continue;
        row->change = out->change;
        row->cast = out->dtype != out->source->dtype;
        row->error_max_abs = out->max_abs;
        row->error_relative_l2 = out->relative_l2;
    }
}

/* Of --dense it is known that what is said of the changes comes on top. */
static fpr_status warn_of_size(const prune_job *job, uint64_t total, fpr_report *report, fpr_error *error)
{
    const uint64_t before = fpr_model_bytes(job->model);
    const char *why = job->options->cast       ? "that is what --cast costs here"
                      : job->options->dense      ? NULL
                      : report->input_key        ? "the input holds its tensors compressed, or says less of them"
                      : job->options->drop.count ? "that is what it takes to say what --drop left out"
                                                 : NULL;
    return total > before && why ? rows_warn_larger(report, total, before, why, error) : FPR_OK;
}

/* Runs the packing, and once more densely when packing gained nothing. */
static fpr_status produce(prune_job *job, out_place *place, fpr_report *report, fpr_error *error)
{
    uint64_t total = 0, dense = UINT64_MAX;
    fpr_status status = shards_write(job, place, &total, &report->output_hash, error);
    if (!status && !job->dense) status = dense_size(job, &dense, error);
    if (!status && !job->dense && total >= dense) {
        if (place) place_again(place);
        job->dense = true;
        job->unrounded = job->options->max_error > 0;
        if (job->unrounded && job->counting) status = study_recount(job->study, error);
        else job->counting = false;
        /* What was done is stated where that makes the file no larger than the input; what was left out in any case,
         * because without it nobody could tell an output from one that lost a tensor. */
        job->plain = !job->options->cast && !job->options->drop.count;
        if (!status) status = shards_write(job, place, &total, &report->output_hash, error);
        if (!status && !job->plain && !job->options->drop.count && total > report->input_bytes) {
            if (place) place_again(place);
            job->plain = true;
            job->counting = false;
            status = shards_write(job, place, &total, &report->output_hash, error);
        }
        if (!status)
            status = rows_warn(&report->warnings, &report->warning_count, error,
                               "packing gains nothing: the output is an ordinary dense checkpoint");
    }
    if (!status) status = warn_of_size(job, total, report, error);
    report->has_output = true;
    report->output_bytes = total;
    report->output_dense = job->dense;
    fill_other_rows(job);
    if (!status) status = rows_changes(report, error);
    return status;
}

/* Layers are measured for the report, and for what is decided by it. */
static fpr_status study_layers(prune_job *job, fpr_error *error)
{
    const fpr_options *o = job->options;
    if (job->reported || o->prune || o->binary || o->max_error > 0)
        return study_new(job->model, o, NULL, !job->reported, input_checksum(job->sum), &job->study, error);
    fpr_status status = study_find(job->model, o, NULL, &job->study, error);
    for (size_t i = 0; !status && i < fpr_model_shard_count(job->model); i++) status = model_check_shard(job->model, i, error);
    return status;
}

/* report: NULL where nobody reads it. Its rows are made all the same, but no distributions and no checksum of the output. */
static fpr_status run_job(fpr_model *model, const char *input, const char *output, const fpr_options *options, fpr_report **report,
                          fpr_error *error)
{
    double since = job_now();
    prune_job job = {.model = model, .options = options, .reported = report != NULL, .counting = report != NULL,
                     .dense = options->dense, .amount = options->amount};
    /* What cannot change says nothing, and is the input byte for byte. */
    job.plain = !options->prune && !options->binary && !options->cast && !options->drop.count && !(options->max_error > 0);
    const char *target = options->dry_run ? NULL : output;
    fpr_report *r = NULL;
    out_place *place = NULL;
    fpr_status status = input_new(model, &job.sum, error);
    if (!status) status = study_layers(&job, error);
    if (!status) status = input_start(job.sum, job_threads(options), error);
    if (!status) status = rows_new(job.study, &r, error);
    if (!status && job.reported && options->spectra) status = job_spectra(job.study, options, r, error);
    if (!status) status = job_norms(job.study, model, input, r, error);
    if (r) rows_phase(r, "measure", &since);
    if (!status && job.counting) status = study_prepare(job.study, error);
    if (r) rows_phase(r, "range", &since);
    job.report = r;
    if (!status) status = job_init(&job, error);
    if (!status) status = amount_settle(&job, error);
    if (!status) r->options.amount = job.amount;
    if (!status && target) status = place_new(model, target, options, &place, error);
    if (!status) status = produce(&job, place, r, error);
    if (r) rows_phase(r, "shrink and pack", &since);
    if (!status && job.reported) status = rows_groups(job.study, true, r, error);
    if (r) rows_phase(r, "distributions", &since);
    if (!status && output && !(r->output_path = base_copy_text(output, strlen(output))))
        status = base_no_memory(error, strlen(output));
    char set[OUT_SET_BYTES];
    const bool shards_say = model_is_index(model) && !(job.dense && job.plain);
    if (!status && shards_say) status = statement_set(model, input_said(job.sum), options, set, error);
    status = input_end(job.sum, status, r, error);
    /* What was read at different times was one file. */
    if (!status) status = model_check_unchanged(model, error);
    /* Nothing may fail once the output has its name. */
    if (!status) status = job_cancelled(options, error);
    if (!status && place) status = place_switch(place, job.tensors, shards_say ? set : NULL, error);
    place_free(place);
    if (r) rows_phase(r, "write", &since);
    if (r) rows_memory(r);
    job_free(&job);
    study_free(job.study);
    if (!status && report) *report = r;
    else fpr_report_free(r);
    return status;
}

fpr_status prune_weights(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                         fpr_error *error)
{
    const volatile int *watched = base_watch(options->cancel);
    fpr_model *model = NULL;
    fpr_status status = fpr_options_check(options, error);
    if (!status) status = fpr_model_open_with(input, options, &model, error);
    if (!status) status = job_check_patterns(model, options, error);
    if (!status) status = output_check(model, output, options, error);
    /* Two levels are held to the error allowed, like everything else. */
    fpr_options own = *options;
    if (!status && own.max_error > 0 && own.max_error < own.binary_tol) own.binary_tol = own.max_error;
    if (!status) status = run_job(model, input, output, &own, report, error);
    if (status) base_error_in_file(error, input);
    fpr_model_close(model);
    base_watch(watched);
    return status;
}

/* Diagnostics only: the three sweeps, nothing changed, nothing written. */
#include "job/graphs.h"

typedef struct inspect_run {
    study *study;
    const fpr_options *options;
    fpr_report *report;
    const size_t *layers; /* layer number of each id */
} inspect_run;

static fpr_status count_blocks(void *context, study_group *group, const conv_block *blocks, size_t n, fpr_error *error)
{
    (void)context;
    return conv_counter_add(group->counter, blocks, n, error);
}

/* Whether a layer is binary-like already, and which filters and channels are dead, is part of what a checkpoint is. */
static fpr_status look_at_layer(inspect_run *run, const study_layer *layer, const void *weights, fpr_error *error)
{
    fpr_layer *row = &run->report->layers[layer - run->study->layers];
    shrink_plan plan = {0};
    shrink_outcome outcome = {0};
    fpr_options options = *run->options;
    options.prune = false;
    unsigned threads = run->study->settings.threads;
    fpr_status status = shrink_plan_layer(&layer->shape, row->dtype, weights, study_known(layer, &options), &options, NULL, threads, &plan, error);
    if (!status) row->binary = plan.binary;
    if (!status)
        status = shrink_dead(&layer->shape, row->dtype, weights, study_known(layer, &options), options.eps, threads,
                             &outcome, error);
    row->dead_filters = outcome.dead_filters;
    row->dead_channels = outcome.dead_channels;
    row->dead_filter_count = outcome.dead_filter_count;
    row->dead_channel_count = outcome.dead_channel_count;
    shrink_plan_free(&plan);
    return status;
}

typedef struct sampling {
    const inspect_run *run;
    const conv_block *blocks;
    size_t first;
    fpr_error *errors;
} sampling;

static void sample_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const sampling *c = context;
    const study *s = c->run->study;
    const study_layer *layer = &s->layers[c->run->layers[c->first + i]];
    job_samples(&c->blocks[i], c->run->options->eps * layer->measure.max_abs, &c->run->report->layers[layer - s->layers],
                &c->errors[i]);
}

static fpr_status sample_layers(const inspect_run *run, const conv_block *blocks, size_t first, size_t count, fpr_error *error)
{
    sampling c = {run, blocks, first, base_calloc(count, sizeof *c.errors)};
    if (!c.errors) return base_no_memory(error, count * sizeof *c.errors);
    base_parallel(job_threads(run->options), count, sample_one, &c);
    const fpr_status status = base_first_error(c.errors, count, error);
    base_free(c.errors);
    return status;
}

static fpr_status inspect_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    inspect_run *run = context;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    if (!blocks) return base_no_memory(error, count * sizeof *blocks);
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < count; i++) {
        const study_layer *layer = &run->study->layers[run->layers[first + i]];
        blocks[i] = study_block(run->study, layer, bytes[i]);
        status = look_at_layer(run, layer, bytes[i], error);
    }
    if (!status) status = sample_layers(run, blocks, first, count, error);
    if (!status)
        status = study_by_group(run->study, blocks, run->layers + first, count, count_blocks, NULL, error);
    base_free(blocks);
    return status;
}

/* What the input's file stores of each tensor: a packed input is inspected as it is. */
static void fill_stored(const study *s, fpr_report *r)
{
    size_t other = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(s->model); i++) {
        const fpr_tensor *t = model_tensor(s->model, i);
        fpr_stored stored = {t->codec, t->bytes, t->stored_bytes};
        if (s->layer_of[i] == SIZE_MAX) r->others[other++].stored = stored;
        else r->layers[s->layer_of[i]].stored = stored;
    }
}

FPR_API fpr_status fpr_inspect(const char *input, const fpr_options *options, fpr_report **report, fpr_error *error)
{
    *report = NULL;
    const volatile int *watched = base_watch(options->cancel);
    fpr_model *model = NULL;
    inspect_run run = {.options = options};
    double since = job_now();
    fpr_status status = fpr_options_check(options, error);
    if (!status) status = fpr_model_open_with(input, options, &model, error);
    if (!status) status = job_check_patterns(model, options, error);
    if (!status) status = study_new(model, options, NULL, false, NULL, &run.study, error);
    if (!status) status = rows_new(run.study, &run.report, error);
    if (!status) status = job_norms(run.study, model, input, run.report, error);
    if (run.report) rows_phase(run.report, "measure", &since);
    if (!status) status = study_prepare(run.study, error);
    if (run.report) rows_phase(run.report, "range", &since);
    if (!status) status = study_visit_finite(run.study, "counting", inspect_batch, &run, &run.layers, error);
    if (run.report) rows_phase(run.report, "count", &since);
    if (!status) fill_stored(run.study, run.report);
    if (!status && options->spectra) status = job_spectra(run.study, options, run.report, error);
    if (run.report && options->spectra) rows_phase(run.report, "spectra", &since);
    if (!status) status = rows_groups(run.study, false, run.report, error);
    if (!status) status = rows_changes(run.report, error);
    if (run.report) rows_phase(run.report, "distributions", &since);
    if (!status) status = model_check_unchanged(model, error);
    if (!status) rows_memory(run.report);
    if (status) {
        base_error_in_file(error, input);
        fpr_report_free(run.report);
    } else {
        *report = run.report;
    }
    study_free(run.study);
    fpr_model_close(model);
    base_watch(watched);
    return status;
}

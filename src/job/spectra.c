/* Spectra of whole layers, 1x1 and linear ones included, as they are in the input: a sweep of its own. */
#include "job/job.h"

#include "linalg/linalg.h"

/* Of the memory that a job may take beside twice its largest tensor, what a spectrum leaves alone: buffers, the report. */
#define LEFT_ALONE (28u << 20)
#define ALLOWED (64u << 20)

typedef struct spectra_run {
    const study *study;
    fpr_report *report;
    size_t *ids;           /* of the tensors that have one */
    size_t *rows;          /* and of what is no layer its row in the report's others */
    void *const *bytes;    /* of the batch */
    fpr_error *errors;
    unsigned threads;
    bool one_depthwise; /* a single layer of one input channel is the first of a network for grey images */
} spectra_run;

static bool is_linear(const fpr_tensor *t) { return t->rank == 2 && t->elements && base_is_float(t->dtype); }

static fpr_layer_shape linear_shape(const fpr_tensor *t)
{
    return (fpr_layer_shape){.filters = t->shape[0], .channels = t->shape[1], .kernel_rank = 1, .kernel_shape = {1},
                             .k = 1, .kernels = t->elements, .layout = FPR_LAYOUT_OIHW};
}

static void spectrum_task(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const spectra_run *run = context;
    const study *s = run->study;
    const fpr_tensor *t = model_tensor(s->model, run->ids[i]);
    const size_t layer = s->layer_of[run->ids[i]];
    fpr_layer_shape shape = layer == SIZE_MAX ? linear_shape(t) : s->layers[layer].shape;
    fpr_spectrum *out = layer == SIZE_MAX ? &run->report->others[run->rows[i]].spectrum : &run->report->layers[layer].spectrum;
    if (layer == SIZE_MAX && !linalg_is_finite(t->dtype, run->bytes[i], t->elements)) return;
    if (layer != SIZE_MAX && study_see(s, &s->layers[layer], 1, run->bytes[i], &run->errors[i])) return;
    if (run->one_depthwise && t->kind != FPR_KIND_DEPTHWISE) shape.depthwise = false;
    const linalg_layer matrix = {.shape = &shape,
                                 .linear = layer == SIZE_MAX,
                                 .dtype = t->dtype,
                                 .weights = run->bytes[i],
                                 .bytes_free = ALLOWED - LEFT_ALONE + t->bytes};
    if (linalg_spectrum(&matrix, run->threads, out, &run->errors[i]))
        base_error_in_tensor(&run->errors[i], t->name);
}

static fpr_status spectra_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    spectra_run batch = *(const spectra_run *)context;
    batch.ids += first, batch.rows += first, batch.bytes = bytes;
    batch.errors = base_calloc(count, sizeof *batch.errors);
    if (!batch.errors) return base_no_memory(error, count * sizeof *batch.errors);
    base_parallel(batch.threads, count, spectrum_task, &batch);
    const fpr_status status = base_first_error(batch.errors, count, error);
    base_free(batch.errors);
    return status;
}

fpr_status job_spectra(const study *s, const fpr_options *options, fpr_report *report, fpr_error *error)
{
    const size_t n = fpr_model_tensor_count(s->model);
    spectra_run run = {.study = s, .report = report, .threads = job_threads(options)};
    fpr_status status = linalg_begin(error);
    if (status) return status;
    run.ids = base_alloc(n, sizeof *run.ids);
    run.rows = base_alloc(n, sizeof *run.rows);
    if (!run.ids || !run.rows) status = base_no_memory(error, n * sizeof *run.ids);
    size_t count = 0, others = 0, depthwise = 0;
    for (size_t l = 0; l < s->layer_count; l++) depthwise += s->layers[l].shape.depthwise;
    run.one_depthwise = depthwise == 1;
    for (size_t i = 0; !status && i < n; i++) {
        const size_t layer = s->layer_of[i];
        const bool wanted = layer == SIZE_MAX ? is_linear(model_tensor(s->model, i)) : s->layers[layer].measure.finite;
        run.ids[count] = i, run.rows[count] = others;
        count += wanted;
        others += layer == SIZE_MAX;
    }
    if (!status)
        status = model_run(s->model, run.ids, count, options,
                           &(model_pipe){.phase = JOB_SPECTRA_PHASE, .work = spectra_batch, .context = &run}, error);
    base_free(run.ids);
    base_free(run.rows);
    linalg_end();
    return status;
}

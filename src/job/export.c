/* Binary layers for an inference engine that computes with bits.
 *
 * "lce" is the weight order of Larq Compute Engine's LceBconv2d: filters OHWI, the input channels of one position packed
 * into 32-bit words, channel c in bit c % 32 of word c / 32, bit 1 = negative, the rest of the last word 0. The output
 * is a safetensors file: for each layer NAME (of shape [O, I, H, W]) a tensor NAME, I32 [O, H, W, ceil(I / 32)], and a
 * tensor NAME.scale, F32 [O], so that weight = scale[o] * (bit ? -1 : 1). 1-D and 3-D layers have one and three spatial
 * dimensions. A layer can be written so when every filter of it is +-alpha; the others are left out, and named. */
#include "job/job.h"

#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>

typedef struct export_run {
    const study *study;
    const fpr_options *options;
    const size_t *layers; /* layer number of each id */
    file_text header, data;
    size_t count;
    uint64_t begin;
    char **left_out;
    size_t left_out_count;
} export_run;

/* Signs and scale of one filter; false when it is not +-alpha throughout. kernels: [channels][k]. */
static bool pack_filter(const fpr_layer_shape *s, const double *kernels, uint32_t *words, float *scale)
{
    uint64_t per_position = (s->channels + 31) / 32;
    double alpha = fabs(kernels[0]);
    memset(words, 0, (size_t)(s->k * per_position) * sizeof *words);
    for (uint64_t c = 0; c < s->channels; c++) {
        for (uint64_t p = 0; p < s->k; p++) {
            double w = kernels[c * s->k + p];
            if (fabs(w) != alpha) return false;
            if (w < 0) words[p * per_position + c / 32] |= (uint32_t)1 << c % 32;
        }
    }
    *scale = (float)alpha;
    return true;
}

static void add_entry(export_run *run, const fpr_tensor *t, const char *suffix, fpr_dtype dtype, unsigned rank,
                      const uint64_t *shape, uint64_t bytes)
{
    file_text name = {0};
    file_text_add(&name, t->name, t->name_bytes);
    file_text_add(&name, suffix, strlen(suffix));
    file_text_add(&run->header, ",", 1);
    file_text_tensor(&run->header, name.bytes ? name.bytes : "", name.count, dtype, rank, shape, run->begin,
                     run->begin + bytes);
    run->header.failed |= name.failed;
    run->begin += bytes;
    file_text_free(&name);
}

/* Appends words and scales of a layer to the data; false when some filter is not +-alpha. */
static bool pack_layer(export_run *run, const study_layer *layer, fpr_dtype dtype, const void *weights, bool *no_memory)
{
    const fpr_layer_shape *s = &layer->shape;
    uint64_t words = s->k * ((s->channels + 31) / 32);
    double *kernels = base_alloc(s->channels, s->k * sizeof *kernels);
    uint32_t *bits = base_alloc(words, sizeof *bits);
    float *scales = base_alloc(s->filters, sizeof *scales);
    bool fine = kernels && bits && scales;
    *no_memory = !fine;
    size_t start = run->data.count;
    for (uint64_t f = 0; fine && f < s->filters; f++) {
        conv_kernels(s, dtype, weights, f * s->channels, (size_t)s->channels, kernels);
        fine = pack_filter(s, kernels, bits, &scales[f]);
        for (uint64_t i = 0; fine && i < words; i++) {
            uint8_t le[4];
            base_store_le32(le, bits[i]);
            file_text_add(&run->data, le, 4);
        }
    }
    for (uint64_t f = 0; fine && f < s->filters; f++) {
        uint8_t le[4];
        uint32_t pattern;
        memcpy(&pattern, &scales[f], 4);
        base_store_le32(le, pattern);
        file_text_add(&run->data, le, 4);
    }
    if (!fine) run->data.count = start;
    base_free(kernels);
    base_free(bits);
    base_free(scales);
    return fine;
}

static fpr_status export_layer(export_run *run, const study_layer *layer, void *weights, fpr_error *error)
{
    const fpr_tensor *t = model_tensor(run->study->model, layer->tensor);
    const fpr_layer_shape *s = &layer->shape;
    fpr_options options = *run->options;
    options.prune = false;
    options.binary = true;
    shrink_plan plan = {0};
    shrink_outcome outcome = {0};
    fpr_status status = shrink_plan_layer(s, t->dtype, weights, study_known(layer, &options), &options, NULL, job_threads(&options), &plan, error);
    bool binary = !status && plan.binary.scope != FPR_SCOPE_NONE, no_memory = false;
    if (binary)
        status =
            shrink_apply(s, t->dtype, weights, study_known(layer, &options), options.eps, &plan, 1, &outcome, error);
    if (!status && binary) {
        uint64_t shape[5] = {s->filters};
        unsigned rank = 1;
        for (unsigned d = 0; d < s->kernel_rank; d++) shape[rank++] = s->kernel_shape[d];
        shape[rank++] = (s->channels + 31) / 32;
        if (pack_layer(run, layer, t->dtype, weights, &no_memory)) {
            add_entry(run, t, "", FPR_I32, rank, shape, s->filters * s->k * shape[rank - 1] * 4);
            add_entry(run, t, ".scale", FPR_F32, 1, shape, s->filters * 4);
            run->count++;
        } else if (!no_memory) {
            status = rows_warn(&run->left_out, &run->left_out_count, error, "%s", t->name);
        }
    }
    if (no_memory || run->data.failed || run->header.failed) status = base_no_memory(error, t->bytes);
    shrink_plan_free(&plan);
    base_free(outcome.dead_filters);
    base_free(outcome.dead_channels);
    return status;
}

static fpr_status export_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    export_run *run = context;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < count; i++)
        status = export_layer(run, &run->study->layers[run->layers[first + i]], bytes[i], error);
    return status;
}

static fpr_status write_file(export_run *run, const char *output, fpr_error *error)
{
    file_out *out = NULL;
    uint8_t length[8];
    file_text_add(&run->header, "}", 1);
    while (run->header.count % 8 && !run->header.failed) file_text_add(&run->header, " ", 1);
    fpr_status status = run->header.failed ? base_no_memory(error, run->header.count) : FPR_OK;
    base_store_le64(length, run->header.count);
    if (!status) status = file_out_create(output, run->options->force, &out, error);
    if (!status) status = file_out_write(out, length, 8, error);
    if (!status) status = file_out_write(out, run->header.bytes, run->header.count, error);
    if (!status) status = file_out_write(out, run->data.bytes ? run->data.bytes : "", run->data.count, error);
    if (!status) status = file_out_commit(out, error);
    else file_out_abandon(out);
    if (status) base_error_in_file(error, output);
    return status;
}

static fpr_status export_layers(export_run *run, fpr_error *error)
{
    file_text_format(&run->header, "{\"__metadata__\":{\"filterprune_export\":\"lce\"}");
    return study_visit_finite(run->study, "exporting", export_batch, run, &run->layers, error);
}

FPR_API fpr_status fpr_export_lce(const char *input, const char *output, const fpr_options *options, fpr_exported *result,
                                  fpr_error *error)
{
    *result = (fpr_exported){0};
    fpr_model *model = NULL;
    study *s = NULL;
    fpr_status status = fpr_options_check(options, error);
    if (!status) status = fpr_model_open_with(input, options, &model, error);
    if (!status && (model_is_file(model, output) || !strcmp(input, output))) {
        status = base_fail(error, FPR_SAME_FILE, "the output is the input");
        base_error_in_file(error, output);
    }
    struct stat info; /* before the work; a link to nothing is in the way as well */
    if (!status && !options->force && lstat(output, &info) == 0) {
        status = base_fail(error, FPR_EXISTS, "exists (--force overwrites)");
        base_error_in_file(error, output);
    }
    if (!status) status = study_new(model, options, NULL, false, NULL, &s, error);
    export_run run = {.study = s, .options = options};
    if (!status) status = export_layers(&run, error);
    if (!status && !run.count)
        status = base_fail(error, FPR_USAGE, "no layer of it has filters of +-alpha: nothing to export");
    if (!status) status = write_file(&run, output, error);
    if (status) base_error_in_file(error, input);
    result->layers = run.count;
    result->left_out = run.left_out;
    result->left_out_count = run.left_out_count;
    if (status) fpr_exported_free(result);
    file_text_free(&run.header);
    file_text_free(&run.data);
    study_free(s);
    fpr_model_close(model);
    return status;
}

FPR_API void fpr_exported_free(fpr_exported *result)
{
    for (size_t i = 0; i < result->left_out_count; i++) base_free(result->left_out[i]);
    base_free(result->left_out);
    *result = (fpr_exported){0};
}

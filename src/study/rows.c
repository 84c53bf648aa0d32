/* A study and its outcome as a report: copies what was found, computes nothing but sums over layers. */
#include "study/study.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

fpr_status rows_warn(char ***list, size_t *count, fpr_error *error, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char **longer = base_grow(*list, *count + 1, sizeof *longer);
    if (!longer) return base_no_memory(error, (*count + 1) * sizeof *longer);
    *list = longer;
    longer[*count] = base_copy_text(text, strlen(text));
    if (!longer[*count]) return base_no_memory(error, strlen(text));
    ++*count;
    return FPR_OK;
}

fpr_status rows_warn_larger(fpr_report *report, uint64_t bytes, uint64_t before, const char *why, fpr_error *error)
{
    return rows_warn(&report->warnings, &report->warning_count, error, "the output is larger than the input: %llu bytes, before %llu; %s",
                     (unsigned long long)bytes, (unsigned long long)before, why);
}

fpr_status rows_warn_layer(fpr_report *r, size_t layer, fpr_error *error, const char *text)
{
    fpr_layer *row = &r->layers[layer];
    fpr_status status = rows_warn(&row->warnings, &row->warning_count, error, "%s", text);
    return status ? status : rows_warn(&r->warnings, &r->warning_count, error, "%s: %s", row->name, text);
}

void rows_phase(fpr_report *report, const char *name, double *since)
{
    double now = job_now();
    if (report->phase_count < sizeof report->phases / sizeof *report->phases)
        report->phases[report->phase_count++] = (fpr_phase){name, now - *since};
    *since = now;
}

void rows_memory(fpr_report *report)
{
    /* Not getrusage: its maximum is inherited from whoever started the program. */
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    unsigned long long kilobytes;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %llu kB", &kilobytes) == 1) report->peak_rss_bytes = kilobytes * 1024;
    if (f) fclose(f);
}

static uint64_t *copy_shape(const fpr_tensor *t)
{
    uint64_t *shape = base_alloc(t->rank, sizeof *shape);
    if (shape && t->rank) memcpy(shape, t->shape, t->rank * sizeof *shape);
    return shape;
}

/* T(n) was fitted to 3x3 kernels: the normalised form is reported for k = 9 only. */
static double normalized(const fpr_layer_shape *shape, double entropy, uint64_t n)
{
    if (shape->k != 9 || n == 0) return NAN;
    double random = conv_random_entropy((double)n);
    return random > 0 ? entropy / random : NAN;
}

static fpr_status layer_row(const study *s, size_t i, fpr_layer *row, fpr_error *error)
{
    const study_layer *layer = &s->layers[i];
    const fpr_tensor *t = model_tensor(s->model, layer->tensor);
    const conv_measure *m = &layer->measure;
    *row = (fpr_layer){.name = base_copy_text(t->name, t->name_bytes),
                       .name_bytes = t->name_bytes,
                       .dtype = t->dtype,
                       .rank = t->rank,
                       .shape = copy_shape(t),
                       .conv = layer->shape,
                       .known = layer->known,
                       .computed = layer->part == CONV_PART_DIRECTION  ? FPR_COMPUTED_WEIGHT_NORM
                                   : layer->part == CONV_PART_ORIGINAL ? FPR_COMPUTED_MASKED
                                                                       : FPR_COMPUTED_NOT,
                       .depth = i,
                       .finite = m->finite,
                       .sparse = m->finite ? m->sparse : 0,
                       .live_signed = m->finite ? m->live_signed : 0,
                       .sparsity = m->finite ? (double)m->sparse / (double)layer->shape.kernels : NAN,
                       .max_abs = m->max_abs,
                       .live_before = m->finite ? layer->shape.kernels - m->sparse : 0,
                       .live_after = m->finite ? layer->shape.kernels - m->sparse : 0,
                       .variance_entropy = NAN,
                       .variance_entropy_normalized = NAN,
                       .variance_entropy_clean = NAN,
                       .variance_entropy_clean_normalized = NAN,
                       .orthogonality = NAN,
                       .stored = {"raw", t->bytes, t->bytes}};
    if (!row->name || !row->shape) return base_no_memory(error, t->name_bytes);
    row->conv.layout = layer->stored;
    if (!m->finite) return FPR_OK;
    row->variance_entropy = m->variance_entropy;
    row->variance_entropy_clean = m->variance_entropy_clean;
    row->orthogonality = m->orthogonality;
    row->orthogonality_sampled = m->orthogonality_sampled;
    row->variance_entropy_normalized = normalized(&layer->shape, m->variance_entropy, layer->shape.kernels);
    row->variance_entropy_clean_normalized =
        normalized(&layer->shape, m->variance_entropy_clean, layer->shape.kernels - m->sparse);
    if (!layer->ratio) return FPR_OK;
    conv_untrained untrained;
    conv_looks_untrained(&layer->shape, m, layer->ratio, &untrained);
    row->untrained_like = untrained.distribution;
    row->untrained_rule = untrained.rule;
    row->explained_variance_ratio = base_alloc(layer->shape.k, sizeof(double));
    if (!row->explained_variance_ratio) return base_no_memory(error, layer->shape.k * sizeof(double));
    memcpy(row->explained_variance_ratio, layer->ratio, layer->shape.k * sizeof(double));
    return FPR_OK;
}

static fpr_status other_row(const fpr_tensor *t, fpr_other *row, fpr_error *error)
{
    *row = (fpr_other){.name = base_copy_text(t->name, t->name_bytes),
                       .name_bytes = t->name_bytes,
                       .dtype = t->dtype,
                       .rank = t->rank,
                       .shape = copy_shape(t),
                       .stored = {"raw", t->bytes, t->bytes}};
    return row->name && row->shape ? FPR_OK : base_no_memory(error, t->name_bytes);
}

/* What looks like a convolution and is not treated as one. */
static fpr_status lookalike_rows(const study *s, fpr_report *r, fpr_error *error)
{
    const fpr_model *m = s->model;
    size_t n = 0;
    for (size_t i = 0; i < s->tensor_count; i++)
        n += s->layer_of[i] == SIZE_MAX && fpr_model_lookalike(m, i, s->options->layout);
    r->lookalikes = base_calloc(n, sizeof *r->lookalikes);
    if (!r->lookalikes) return base_no_memory(error, n * sizeof *r->lookalikes);
    for (size_t i = 0; i < s->tensor_count; i++) {
        const char *why = s->layer_of[i] == SIZE_MAX ? fpr_model_lookalike(m, i, s->options->layout) : NULL;
        if (!why) continue;
        const fpr_tensor *t = model_tensor(m, i);
        fpr_lookalike *row = &r->lookalikes[r->lookalike_count++];
        *row = (fpr_lookalike){.name = base_copy_text(t->name, t->name_bytes),
                               .name_bytes = t->name_bytes,
                               .dtype = t->dtype,
                               .rank = t->rank,
                               .shape = copy_shape(t),
                               .why = why};
        if (!row->name || !row->shape) return base_no_memory(error, t->name_bytes);
    }
    return FPR_OK;
}

static fpr_status copy_globs(const fpr_globs *globs, char ***copies, size_t *count, fpr_error *error)
{
    *copies = base_calloc(globs->count, sizeof **copies);
    if (!*copies) return base_no_memory(error, globs->count * sizeof **copies);
    for (; *count < globs->count; ++*count) {
        (*copies)[*count] = base_copy_text(globs->patterns[*count], strlen(globs->patterns[*count]));
        if (!(*copies)[*count]) return base_no_memory(error, strlen(globs->patterns[*count]));
    }
    return FPR_OK;
}

static fpr_status warn_of_layout(const fpr_model *m, fpr_report *r, fpr_error *error)
{
    static const char *const orders[] = {"", "OIHW (PyTorch order)", "HWIO (TensorFlow order)", "OHWI (MLX and TFLite order)"};
    const fpr_layout layout = fpr_model_layout(m);
    if (model_layout_by(m) == CONV_CLOSE)
        return rows_warn(&r->warnings, &r->warning_count, error,
                         "convolution weights read as %s, but their shapes would fit another order nearly as well: "
                         "see --layout", orders[layout]);
    if (layout == FPR_LAYOUT_OIHW || model_layout_by(m) == CONV_TOLD) return FPR_OK;
    return rows_warn(&r->warnings, &r->warning_count, error, "convolution weights read as %s, by their shapes",
                     orders[layout]);
}

#define NOT_READ_SHARE 0.001 /* of tensor_bytes */

/* The format, what was taken of the file, and what was not. */
static fpr_status tell_format(const fpr_model *m, fpr_report *r, fpr_error *error)
{
    const char *format = fpr_model_format(m), *key = fpr_model_key(m);
    const size_t n = fpr_model_skipped_count(m);
    r->input_format = base_copy_text(format, strlen(format));
    if (key) r->input_key = base_copy_text(key, strlen(key));
    r->left_out = base_calloc(n, sizeof *r->left_out);
    if (!r->input_format || (key && !r->input_key) || !r->left_out) return base_no_memory(error, n * sizeof *r->left_out);
    for (size_t i = 0; i < n; i++) {
        const char *name, *why;
        fpr_model_skipped(m, i, &name, &why);
        fpr_left_out *l = &r->left_out[r->left_out_count++];
        l->name = base_copy_text(name, strlen(name));
        l->why = base_copy_text(why, strlen(why));
        if (!l->name || !l->why) return base_no_memory(error, strlen(name));
    }
    const char *why;
    fpr_status status = FPR_OK;
    fpr_model_others(m, &r->not_read, &r->not_read_bytes, &why);
    r->not_read_matters = why && (double)r->not_read_bytes >= NOT_READ_SHARE * (double)r->tensor_bytes;
    if (r->not_read_matters)
        status = rows_warn(&r->warnings, &r->warning_count, error, "%llu more %s of the file (%llu bytes) %s not read: %s",
                           (unsigned long long)r->not_read, r->not_read == 1 ? "tensor" : "tensors",
                           (unsigned long long)r->not_read_bytes, r->not_read == 1 ? "is" : "are", why);
    if (status || !n) return status;
    return rows_warn(&r->warnings, &r->warning_count, error, "%zu %s of the file %s not read, such as %.200s: %s", n,
                     n == 1 ? "value" : "values", n == 1 ? "is" : "are", r->left_out[0].name, r->left_out[0].why);
}

static fpr_status fill_head(const study *s, fpr_report *r, fpr_error *error)
{
    const fpr_model *m = s->model;
    r->input_path = base_copy_text(model_path(m), strlen(model_path(m)));
    if (!r->input_path) return base_no_memory(error, strlen(model_path(m)));
    r->input_bytes = fpr_model_bytes(m);
    r->tensors = fpr_model_tensor_count(m);
    for (size_t i = 0; i < fpr_model_tensor_count(m); i++) {
        r->parameters += model_tensor(m, i)->elements;
        r->tensor_bytes += model_tensor(m, i)->bytes;
    }
    fpr_status status = tell_format(m, r, error);
    if (status) return status;
    const char *graph = s->options->graph;
    if (graph && !(r->graph_path = base_copy_text(graph, strlen(graph)))) return base_no_memory(error, strlen(graph));
    r->options = *s->options;
    r->options.graph = r->graph_path;
    r->options.key = s->options->key ? r->input_key : NULL; /* theirs may be gone before the report */
    r->options.threads = r->threads = job_threads(s->options);
    if (r->options.layout == FPR_LAYOUT_AUTO) r->options.layout = fpr_model_layout(m);
    r->options.only = r->options.skip = r->options.drop = r->options.transposed = (fpr_globs){0};
    status = copy_globs(&s->options->only, &r->only, &r->only_count, error);
    if (!status) status = copy_globs(&s->options->skip, &r->skip, &r->skip_count, error);
    if (!status) status = copy_globs(&s->options->drop, &r->drop, &r->drop_count, error);
    if (!status) status = copy_globs(&s->options->transposed, &r->transposed, &r->transposed_count, error);
    if (!status && s->options->layout == FPR_LAYOUT_AUTO) status = warn_of_layout(m, r, error);
    return status;
}

/* Of some layers alone, depths could not be compared with places in the file. */
static void tell_depth(const study *s, fpr_report *r)
{
    for (size_t i = 0; i < s->layer_count; i++)
        if (model_tensor(s->model, s->layers[i].tensor)->depth == FPR_NO_DEPTH) return;
    for (size_t i = 0; i < s->layer_count; i++) {
        r->layers[i].depth = model_tensor(s->model, s->layers[i].tensor)->depth;
        r->layers[i].depth_known = true;
    }
}

fpr_status rows_new(const study *s, fpr_report **report, fpr_error *error)
{
    *report = NULL;
    const fpr_model *m = s->model;
    fpr_report *r = base_calloc(1, sizeof *r);
    if (!r) return base_no_memory(error, sizeof *r);
    fpr_status status = fill_head(s, r, error);
    r->layers = base_calloc(s->layer_count, sizeof *r->layers);
    r->others = base_calloc(fpr_model_tensor_count(m) - s->layer_count, sizeof *r->others);
    if (!status && (!r->layers || !r->others)) status = base_no_memory(error, s->layer_count * sizeof *r->layers);
    if (r->layers) r->layer_count = s->layer_count;
    for (size_t i = 0; !status && i < s->layer_count; i++) {
        status = layer_row(s, i, &r->layers[i], error);
        if (!status && !s->layers[i].measure.finite)
            status = rows_warn_layer(r, i, error,
                                     "holds NaN or Inf: left out of the distributions, nothing in it is pruned");
    }
    if (!status) tell_depth(s, r);
    for (size_t i = 0; !status && i < fpr_model_tensor_count(m); i++)
        if (s->layer_of[i] == SIZE_MAX)
            status = other_row(model_tensor(m, i), &r->others[r->other_count++], error);
    if (!status) status = lookalike_rows(s, r, error);
    if (status) {
        /* fpr_report_free reads layer_count rows: those not reached are zero. */
        fpr_report_free(r);
        return status;
    }
    *report = r;
    return FPR_OK;
}

/* ---------------------------------------------------------------- groups */

static fpr_status group_distributions(study_group *g, const conv_settings *settings, bool has_after, fpr_group *row,
                                      fpr_error *error)
{
    unsigned k = g->all.k;
    fpr_status status = study_basis_new(&row->basis, k, error);
    if (status) return status;
    row->has_basis = true;
    memcpy(row->basis.mean, g->basis.mean, k * sizeof(double));
    memcpy(row->basis.components, g->basis.components, (size_t)k * k * sizeof(double));
    memcpy(row->basis.singular_values, g->basis.singular_values, k * sizeof(double));
    memcpy(row->basis.explained_variance_ratio, g->basis.explained_variance_ratio, k * sizeof(double));
    memcpy(row->range, g->range, sizeof row->range);
    status = conv_counter_finish(g->counter, CONV_BEFORE, true, &row->before, error);
    if (!status) status = conv_counter_finish(g->counter, CONV_LIVE_BEFORE, true, &row->live_before, error);
    if (status || !has_after) return status;
    status = conv_counter_finish(g->counter, CONV_AFTER, true, &row->after, error);
    if (!status) status = conv_counter_finish(g->counter, CONV_LIVE_AFTER, true, &row->live_after, error);
    const double *ratio = row->basis.explained_variance_ratio;
    if (!status)
        status = conv_divergence(&row->before, &row->after, k, settings->bins, g->range, ratio, &row->divergence, error);
    if (!status)
        status = conv_divergence(&row->live_before, &row->live_after, k, settings->bins, g->range, ratio,
                                 &row->live_divergence, error);
    return status;
}

static int by_kernels(const void *a, const void *b)
{
    const fpr_group *x = a, *y = b;
    if (x->kernels != y->kernels) return x->kernels < y->kernels ? 1 : -1;
    if (x->kernel_rank != y->kernel_rank) return x->kernel_rank < y->kernel_rank ? -1 : 1;
    for (unsigned d = 0; d < x->kernel_rank; d++)
        if (x->kernel_shape[d] != y->kernel_shape[d]) return x->kernel_shape[d] < y->kernel_shape[d] ? -1 : 1;
    return 0;
}

fpr_status rows_groups(study *s, bool has_after, fpr_report *r, fpr_error *error)
{
    r->groups = base_calloc(s->group_count, sizeof *r->groups);
    if (!r->groups) return base_no_memory(error, s->group_count * sizeof *r->groups);
    fpr_status status = FPR_OK;
    size_t crowded_out = 0;
    for (size_t i = 0; !status && i < s->group_count; i++) {
        study_group *g = &s->groups[i];
        fpr_group *row = &r->groups[r->group_count++];
        *row = (fpr_group){.kernel_rank = g->shape.kernel_rank,
                           .k = g->shape.k > UINT32_MAX ? UINT32_MAX : (unsigned)g->shape.k,
                           .layers = g->layers,
                           .kernels = g->kernels,
                           .sparse = g->sparse,
                           .live_signed = g->live_signed,
                           .live = g->live,
                           .bins = s->settings.bins,
                           .has_after = has_after};
        memcpy(row->kernel_shape, g->shape.kernel_shape, sizeof row->kernel_shape);
        if (g->has_basis) status = group_distributions(g, &s->settings, has_after, row, error);
        crowded_out += g->crowded_out;
    }
    for (size_t l = 0; !status && l < s->layer_count; l++) {
        fpr_group *row = &r->groups[s->layers[l].group];
        row->binary += r->layers[l].binary.kernels;
        row->zeroed += r->layers[l].pruned_kernels;
        row->live_left += r->layers[l].live_after;
    }
    if (!status && crowded_out)
        status = rows_warn(&r->warnings, &r->warning_count, error,
                           "%zu of %zu kernel shapes have no distributions: there are too many in one file", crowded_out,
                           s->group_count);
    qsort(r->groups, r->group_count, sizeof *r->groups, by_kernels);
    return status;
}

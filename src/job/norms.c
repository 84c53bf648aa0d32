/* What the graph says of each layer's filters: how large the BatchNormalization behind them makes them, and how many
 * kernels are sparse by that. */
#include "job/graphs.h"

/* ---- weights of a checkpoint in the place of the graph's, by name and size */

static const fpr_tensor *find_tensor(void *context, const char *name, size_t name_bytes, uint64_t bytes)
{
    const fpr_tensor *t = strlen(name) == name_bytes ? fpr_model_find(context, name) : NULL;
    return t && t->bytes == bytes ? t : NULL;
}

static bool has_tensor(void *context, const char *name, size_t name_bytes, uint64_t bytes)
{
    return find_tensor(context, name, name_bytes, bytes) != NULL;
}

static fpr_status read_tensor(void *context, const char *name, size_t name_bytes, void *dst, uint64_t bytes, fpr_error *error)
{
    const fpr_tensor *t = find_tensor(context, name, name_bytes, bytes);
    return fpr_model_read(context, model_number(context, t), dst, error);
}

graph_weights job_weights_of(fpr_model *model) { return (graph_weights){.has = has_tensor, .read = read_tensor, .context = model}; }

/* ---- the scales of layers */

static size_t layer_named(const study *s, const char *name)
{
    const fpr_tensor *t = fpr_model_find(s->model, name);
    return t ? s->layer_of[model_number(s->model, t)] : SIZE_MAX;
}

static fpr_status take_scales(study *s, const graph *g, fpr_error *error)
{
    graph_norm *norms;
    size_t count;
    fpr_status status = graph_norms(g, &norms, &count, error);
    for (size_t i = 0; i < count && !status; i++) {
        size_t at = layer_named(s, norms[i].weight);
        study_layer *layer = at == SIZE_MAX ? NULL : &s->layers[at];
        if (!layer || layer->part != CONV_PART_WEIGHT || layer->scale || norms[i].count != study_filters(layer)) continue;
        layer->scale = norms[i].scale;
        norms[i].scale = NULL;
    }
    graph_norms_free(norms, count);
    return status;
}

typedef struct norm_run {
    const study *s;
    fpr_report *report;
    const size_t *layers;
} norm_run;

static fpr_status count_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    const norm_run *run = context;
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const study_layer *layer = &run->s->layers[run->layers[first + i]];
        fpr_layer *row = &run->report->layers[run->layers[first + i]];
        row->normed = true;
        run->report->normed_layers++;
        status = shrink_count_scaled(&layer->shape, row->dtype, bytes[i], layer->measure.max_abs, layer->scale,
                                     run->s->options->eps, &row->scaled, error);
        run->report->scaled.sparse += row->scaled.sparse;
        run->report->scaled.revived += row->scaled.revived;
        run->report->scaled.silenced += row->scaled.silenced;
    }
    return status;
}

static fpr_status count_scaled(const study *s, fpr_report *report, fpr_error *error)
{
    size_t *layers = base_alloc(s->layer_count, sizeof *layers), n = 0;
    if (!layers) return base_no_memory(error, s->layer_count * sizeof *layers);
    for (size_t i = 0; i < s->layer_count; i++)
        if (s->layers[i].scale && s->layers[i].measure.finite) layers[n++] = i;
    norm_run run = {s, report, layers};
    fpr_status status = n ? study_visit(s, layers, n, "scales", count_batch, &run, error) : FPR_OK;
    base_free(layers);
    return status;
}

fpr_status job_norms(study *s, fpr_model *model, const char *input, fpr_report *report, fpr_error *error)
{
    const fpr_options *o = s->options;
    const bool own = !o->graph && !strcmp(fpr_model_format(model), "onnx");
    const graph_weights weights = job_weights_of(model);
    if (!o->graph && !own) {
        if (o->criterion != FPR_CRITERION_BN || !o->prune) return FPR_OK;
        return base_fail(error, FPR_USAGE, "criterion bn needs to know what follows each layer: an ONNX INPUT, or --graph; this one is %s",
                         fpr_model_format(model));
    }
    graph *g = NULL;
    fpr_error why = {0};
    fpr_status status = job_open_graph(o->graph ? o->graph : input, &weights, o->cancel, &g, &why);
    if (status && own && status != FPR_CANCELLED && status != FPR_NO_MEMORY && o->criterion != FPR_CRITERION_BN)
        return FPR_OK; /* what is wrong with it hinders nothing else */
    if (status) {
        if (error) *error = why;
        base_error_in_file(error, o->graph ? o->graph : input);
    }
    if (!status) status = take_scales(s, g, error);
    graph_close(g);
    return status ? status : count_scaled(s, report, error);
}

/* What a BatchNormalization behind a convolution multiplies its filters with. */
#include "graph/inner.h"

#include <math.h>

/* The node that alone reads a value, or ONNX_NONE: it is an output, a subgraph reads it, or more than one do. */
static void find_only_readers(const graph *g, uint32_t *reader)
{
    const onnx_model *m = g->model;
    for (size_t i = 0; i < m->name_count; i++) reader[i] = ONNX_NONE;
    for (size_t i = 0; i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].input_count; k++) {
            const onnx_name name = m->nodes[i].inputs[k];
            const graph_value *v = &g->values[name];
            if (name && v->readers == 1 && !v->is_output && !v->captured) reader[name] = (uint32_t)i;
        }
}

/* |gamma| / sqrt(variance + eps) of a node of `filters` channels; NULL: it is not such a node, or not constant. */
static double *scale_of(const graph *g, uint32_t node, uint64_t filters)
{
    const onnx_node *n = node == ONNX_NONE ? NULL : graph_node(g, node);
    if (!n || !g->ops[node] || g->ops[node]->way != WAY_NORM || n->input_count < 5 || graph_int(g, n, "training_mode", 0)) return NULL;
    const uint32_t gamma = g->values[n->inputs[1]].tensor, variance = g->values[n->inputs[4]].tensor;
    const onnx_tensor *tensors = g->model->tensors;
    if (gamma == ONNX_NONE || variance == ONNX_NONE || tensors[gamma].elements != filters || tensors[variance].elements != filters)
        return NULL;
    double *scale = graph_tensor_values(g, gamma, NULL), *v = graph_tensor_values(g, variance, NULL);
    bool good = scale && v;
    for (uint64_t o = 0; good && o < filters; o++) {
        scale[o] = fabs(scale[o]) / sqrt(v[o] + graph_float(g, n, "epsilon", 1e-5));
        good = isfinite(scale[o]);
    }
    base_free(v);
    if (good) return scale;
    base_free(scale);
    return NULL;
}

/* Weights of several convolutions: a filter counts as much as it does for the one that makes the most of it, and one
 * that nothing follows makes it count as it is. */
static void merge(graph_norm *n, double *scale)
{
    for (uint64_t o = 0; n->scale && scale && o < n->count; o++)
        if (scale[o] > n->scale[o]) n->scale[o] = scale[o];
    if (!scale) {
        base_free(n->scale);
        n->scale = NULL;
    }
    base_free(scale);
}

fpr_status graph_norms(const graph *g, graph_norm **norms, size_t *count, fpr_error *error)
{
    const onnx_model *m = g->model;
    uint32_t *reader = base_alloc(m->name_count, sizeof *reader), *place = base_calloc(m->tensor_count, sizeof *place);
    *norms = base_calloc(m->node_count, sizeof **norms);
    *count = 0;
    if (!reader || !place || !*norms) {
        base_free(reader);
        base_free(place);
        return base_no_memory(error, m->node_count * sizeof **norms);
    }
    find_only_readers(g, reader);
    for (uint32_t i = 0; i < m->node_count; i++) {
        const onnx_node *n = graph_node(g, i);
        const bool conv = g->ops[i] && (g->ops[i]->way == WAY_CONV || g->ops[i]->way == WAY_CONVT);
        const uint32_t t = conv && n->input_count > 1 && n->inputs[1] ? g->values[n->inputs[1]].tensor : ONNX_NONE;
        if (t == ONNX_NONE || m->tensors[t].rank < 3 || !n->output_count || !n->outputs[0]) continue;
        const bool transposed = g->ops[i]->way == WAY_CONVT;
        const uint64_t filters = m->tensors[t].shape[transposed];
        /* The filters of a grouped transposed convolution are not those of its weights' axis. */
        double *scale = transposed && graph_int(g, n, "group", 1) != 1 ? NULL : scale_of(g, reader[n->outputs[0]], filters);
        if (place[t]) {
            merge(&(*norms)[place[t] - 1], scale);
        } else {
            (*norms)[(*count)++] = (graph_norm){onnx_text_of(m, g->names[t]), filters, scale};
            place[t] = (uint32_t)*count;
        }
    }
    base_free(reader);
    base_free(place);
    return FPR_OK;
}

void graph_norms_free(graph_norm *norms, size_t count)
{
    for (size_t i = 0; norms && i < count; i++) base_free(norms[i].scale);
    base_free(norms);
}

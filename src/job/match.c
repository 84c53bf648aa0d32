/* Which tensor of a checkpoint each initializer of a graph is: by name, or, where the graph has other names, by bytes. */
#include "job/match.h"

#include <stdlib.h>

static bool same_shape(const onnx_tensor *t, const fpr_tensor *of)
{
    if (t->skipped || t->dtype != of->dtype || t->rank != of->rank || t->bytes != of->bytes) return false;
    for (unsigned i = 0; i < t->rank; i++)
        if (t->shape[i] != of->shape[i]) return false;
    return true;
}

static void take(job_match *m, onnx_name name, size_t tensor)
{
    m->of[name] = (uint32_t)tensor + 1;
    m->names[tensor] = name;
}

/* The name that the graph has for each of its tensors: of the initializer, or of what a Constant makes. */
static onnx_name *names_of(const onnx_model *model, fpr_error *error)
{
    onnx_name *names = base_calloc(model->tensor_count, sizeof *names);
    if (!names) {
        base_no_memory(error, model->tensor_count * sizeof *names);
        return NULL;
    }
    for (size_t i = 0; i < model->initializer_count; i++) names[i] = model->tensors[i].name;
    for (size_t i = 0; i < model->node_count; i++) {
        const onnx_node *n = &model->nodes[i];
        const onnx_attribute *a = onnx_is_op(model, n, "Constant") && n->output_count == 1 ? onnx_find_attribute(model, n, "value") : NULL;
        if (a && a->tensor != ONNX_NONE) names[a->tensor] = n->outputs[0];
    }
    return names;
}

/* ---- by bytes */

#define MATCH_LEAST 32u /* bytes: less may be alike by chance */

typedef struct print { uint64_t hash; uint32_t index; bool of_graph; } print;

static int compare_prints(const void *a, const void *b)
{
    const print *x = a, *y = b;
    return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash) : x->of_graph - y->of_graph;
}

static fpr_status read_either(const job_match *m, const print *p, uint8_t **bytes, uint64_t *count, fpr_error *error)
{
    const onnx_tensor *t = &m->graph->tensors[p->index];
    const fpr_tensor *of = p->of_graph ? NULL : model_tensor(m->tensors, p->index);
    *count = of ? of->bytes : t->bytes;
    *bytes = base_alloc(*count, 1);
    if (!*bytes) return base_no_memory(error, *count);
    return of ? fpr_model_read(m->tensors, p->index, *bytes, error) : onnx_read(m->graph, t, 0, t->bytes, *bytes, error);
}

static fpr_status hash_print(const job_match *m, print *p, fpr_error *error)
{
    uint8_t *bytes;
    uint64_t count;
    fpr_status status = read_either(m, p, &bytes, &count, error);
    file_hash *hash = status ? NULL : file_hash_new();
    if (!status && !hash) status = base_no_memory(error, count);
    if (hash) file_hash_add(hash, bytes, count);
    p->hash = hash ? file_hash_end(hash) : 0;
    base_free(bytes);
    return status;
}

static fpr_status same_bytes(const job_match *m, const print *a, const print *b, bool *same, fpr_error *error)
{
    uint8_t *x = NULL, *y = NULL;
    uint64_t n = 0, k = 0;
    fpr_status status = read_either(m, a, &x, &n, error);
    if (!status) status = read_either(m, b, &y, &k, error);
    *same = !status && n == k && !memcmp(x, y, n);
    base_free(x);
    base_free(y);
    return status;
}

/* The graph may be that of the same module with other numbers, if it has all the tensors of the checkpoint. One that lacks
 * some was simplified: a batch normalization is folded into weights, which exporters may leave their name, and cutting a
 * channel of those would leave the normalization as it is. */
static fpr_status check_folded(const job_match *m, const onnx_name *names, fpr_error *error)
{
    size_t lacking = 0;
    while (lacking < m->count && (m->names[lacking] || !base_is_float(model_tensor(m->tensors, lacking)->dtype))) lacking++;
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < m->graph->tensor_count && lacking < m->count && !status; i++) {
        if (!names[i] || !m->of[names[i]] || !base_is_float(m->graph->tensors[i].dtype)) continue;
        const print a = {.index = m->of[names[i]] - 1}, b = {.index = (uint32_t)i, .of_graph = true};
        bool same;
        status = same_bytes(m, &a, &b, &same, error);
        if (!status && !same)
            status = base_fail(error, FPR_USAGE, "the graph has other numbers for %.60s and does not hold %.60s: export it with nothing folded",
                               onnx_text_of(m->graph, names[i]), model_tensor(m->tensors, lacking)->name);
    }
    return status;
}

/* What has no name in common: one tensor on either side with these bytes and this shape, and no other. */
static fpr_status match_bytes(job_match *m, const onnx_name *names, fpr_error *error)
{
    size_t most = m->graph->tensor_count + m->count, n = 0;
    print *prints = base_calloc(most, sizeof *prints);
    fpr_status status = prints ? FPR_OK : base_no_memory(error, most * sizeof *prints);
    for (size_t i = 0; i < m->graph->tensor_count && !status; i++) {
        const onnx_tensor *t = &m->graph->tensors[i];
        if (!names[i] || m->of[names[i]] || t->skipped || !base_is_float(t->dtype) || t->bytes < MATCH_LEAST) continue;
        prints[n++] = (print){.index = (uint32_t)i, .of_graph = true};
    }
    const size_t wanted = n;
    for (size_t i = 0; i < m->count && wanted && !status; i++)
        if (!m->names[i] && base_is_float(model_tensor(m->tensors, i)->dtype) && model_tensor(m->tensors, i)->bytes >= MATCH_LEAST)
            prints[n++] = (print){.index = (uint32_t)i};
    for (size_t i = 0; i < n && wanted && !status; i++) status = hash_print(m, &prints[i], error);
    if (!status && wanted) qsort(prints, n, sizeof *prints, compare_prints);
    for (size_t i = 0, end; i < n && wanted && !status; i = end) {
        for (end = i + 1; end < n && prints[end].hash == prints[i].hash;) end++;
        if (end - i != 2 || prints[i].of_graph || !prints[i + 1].of_graph) continue;
        bool same;
        status = same_bytes(m, &prints[i], &prints[i + 1], &same, error);
        const onnx_tensor *t = &m->graph->tensors[prints[i + 1].index];
        if (!status && same && same_shape(t, model_tensor(m->tensors, prints[i].index))) take(m, names[prints[i + 1].index], prints[i].index);
    }
    base_free(prints);
    return status;
}

/* Exporters write tensors that are alike once, and name the other ones by Identity: alike they must be in the checkpoint. */
static fpr_status check_aliases(const job_match *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < m->graph->node_count && !status; i++) {
        const onnx_node *n = &m->graph->nodes[i];
        if (n->input_count != 1 || n->output_count != 1 || !onnx_is_op(m->graph, n, "Identity") || !m->of[n->inputs[0]]) continue;
        const char *other = onnx_text_of(m->graph, n->outputs[0]);
        const fpr_tensor *t = fpr_model_find(m->tensors, other);
        if (!t) continue;
        bool same;
        const print a = {.index = m->of[n->inputs[0]] - 1}, b = {.index = (uint32_t)model_number(m->tensors, t)};
        status = same_bytes(m, &a, &b, &same, error);
        if (!status && !same)
            status = base_fail(error, FPR_USAGE, "the graph takes %.80s for %.80s, which the checkpoint holds apart: export it with these weights",
                               onnx_text_of(m->graph, n->inputs[0]), other);
    }
    return status;
}

fpr_status job_match_new(const onnx_model *of, fpr_model *tensors, job_match *m, fpr_error *error)
{
    *m = (job_match){.graph = of, .tensors = tensors, .count = fpr_model_tensor_count(tensors)};
    m->of = base_calloc(of->name_count, sizeof *m->of);
    m->names = base_calloc(m->count, sizeof *m->names);
    onnx_name *names = names_of(of, error);
    fpr_status status = m->of && m->names && names ? FPR_OK : base_no_memory(error, of->name_count * sizeof *m->of);
    size_t found = 0;
    for (size_t i = 0; i < of->tensor_count && !status; i++) {
        const fpr_tensor *t = names[i] ? fpr_model_find(tensors, onnx_text_of(of, names[i])) : NULL;
        if (t && same_shape(&of->tensors[i], t)) take(m, names[i], model_number(tensors, t));
    }
    if (!status) status = match_bytes(m, names, error);
    for (size_t i = 0; i < m->count && !status; i++) found += m->names[i] != 0;
    if (!status && !found) status = base_fail(error, FPR_USAGE, "no tensor of the checkpoint is one of the graph, by name and shape or by bytes");
    if (!status) status = check_aliases(m, error);
    if (!status) status = check_folded(m, names, error);
    base_free(names);
    if (status) job_match_free(m);
    return status;
}

void job_match_free(job_match *m)
{
    base_free(m->of);
    base_free(m->names);
    *m = (job_match){0};
}

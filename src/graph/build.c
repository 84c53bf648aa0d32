/* From the messages of a file to a graph: who computes a value, who reads it, in which order. */
#include "graph/inner.h"

const onnx_model *graph_model(const graph *g) { return g->model; }

void graph_close(graph *g)
{
    if (!g) return;
    base_free(g->values);
    base_free(g->names);
    base_free(g->ops);
    base_free(g->order);
    base_free(g->inputs);
    base_free(g->outputs);
    onnx_close(g->model);
    base_free(g);
}

/* ---- values */

static fpr_status bad(const graph *g, onnx_name name, fpr_error *error, const char *what)
{
    return base_fail(error, FPR_BAD_HEADER, "value %.80s %s", onnx_text_of(g->model, name), what);
}

static fpr_status add_producers(graph *g, fpr_error *error)
{
    const onnx_model *m = g->model;
    for (size_t i = 0; i < m->tensor_count; i++) g->names[i] = i < m->initializer_count ? m->tensors[i].name : 0;
    for (size_t i = 0; i < m->initializer_count; i++) g->values[m->tensors[i].name].tensor = (uint32_t)i;
    for (size_t i = 0; i < m->node_count; i++) {
        const onnx_node *n = &m->nodes[i];
        for (uint32_t k = 0; k < n->output_count; k++) {
            graph_value *v = &g->values[n->outputs[k]];
            if (!n->outputs[k]) continue;
            if (v->producer != ONNX_NONE || v->tensor != ONNX_NONE || v->is_input)
                return bad(g, n->outputs[k], error, "is computed twice");
            v->producer = (uint32_t)i;
        }
        const onnx_attribute *value = onnx_is_op(m, n, "Constant") ? onnx_find_attribute(m, n, "value") : NULL;
        if (!value || value->tensor == ONNX_NONE || n->output_count != 1 || !n->outputs[0]) continue;
        g->values[n->outputs[0]].tensor = value->tensor;
        g->names[value->tensor] = n->outputs[0];
    }
    return FPR_OK;
}

static fpr_status add_ends(graph *g, fpr_error *error)
{
    const onnx_model *m = g->model;
    g->inputs = base_calloc(m->value_count, sizeof *g->inputs);
    g->outputs = base_calloc(m->value_count, sizeof *g->outputs);
    if (!g->inputs || !g->outputs) return base_no_memory(error, m->value_count);
    for (size_t i = 0; i < m->initializer_count; i++) g->values[m->tensors[i].name].tensor = (uint32_t)i;
    for (size_t i = 0; i < m->value_count; i++) {
        graph_value *v = &g->values[m->values[i].name];
        if (m->values[i].field == 12) {
            v->is_output = true;
            g->outputs[g->output_count++] = (uint32_t)i;
        } else if (m->values[i].field == 11) {
            if (v->is_input) return bad(g, m->values[i].name, error, "is an input twice");
            v->is_input = true;
            if (v->tensor == ONNX_NONE) g->inputs[g->input_count++] = (uint32_t)i;
        }
    }
    for (size_t i = 0; i < m->sparse_count; i++) g->values[m->sparse[i]].is_input = true; /* given, never constant */
    return FPR_OK;
}

static fpr_status check_readers(graph *g, fpr_error *error)
{
    const onnx_model *m = g->model;
    for (size_t i = 0; i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].input_count; k++) {
            onnx_name name = m->nodes[i].inputs[k];
            graph_value *v = &g->values[name];
            if (name && v->producer == ONNX_NONE && v->tensor == ONNX_NONE && !v->is_input)
                return bad(g, name, error, "is read and nowhere computed");
            v->readers++;
        }
    for (size_t i = 0; i < g->output_count; i++) {
        const graph_value *v = &g->values[m->values[g->outputs[i]].name];
        if (v->producer == ONNX_NONE && v->tensor == ONNX_NONE && !v->is_input)
            return bad(g, m->values[g->outputs[i]].name, error, "is an output and nowhere computed");
    }
    return FPR_OK;
}

/* ---- the order: Kahn's, taking ready nodes by their place in the file's order as far as they go */

static fpr_status sort_nodes(graph *g, fpr_error *error)
{
    const onnx_model *m = g->model;
    uint64_t edges = 0;
    for (size_t i = 0; i < m->node_count; i++) edges += m->nodes[i].input_count;
    uint32_t *first = base_calloc(m->name_count + 2, sizeof *first), *waiting = base_calloc(m->node_count, sizeof *waiting);
    uint32_t *readers = base_calloc(edges, sizeof *readers);
    g->order = base_calloc(m->node_count, sizeof *g->order);
    size_t done = 0, end = 0;
    bool room = first && waiting && readers && g->order;
    for (size_t i = 0; room && i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].input_count; k++)
            if (g->values[m->nodes[i].inputs[k]].producer != ONNX_NONE) {
                first[m->nodes[i].inputs[k] + 2]++;
                waiting[i]++;
            }
    for (size_t i = 2; room && i < m->name_count + 2; i++) first[i] += first[i - 1];
    for (size_t i = 0; room && i < m->node_count; i++) {
        if (!waiting[i]) g->order[end++] = (uint32_t)i;
        for (uint32_t k = 0; k < m->nodes[i].input_count; k++)
            if (g->values[m->nodes[i].inputs[k]].producer != ONNX_NONE)
                readers[first[m->nodes[i].inputs[k] + 1]++] = (uint32_t)i;
    }
    for (; room && done < end; done++) {
        const onnx_node *n = &m->nodes[g->order[done]];
        for (uint32_t k = 0; k < n->output_count; k++)
            for (uint32_t r = n->outputs[k] ? first[n->outputs[k]] : 0; n->outputs[k] && r < first[n->outputs[k] + 1]; r++)
                if (!--waiting[readers[r]]) g->order[end++] = readers[r];
    }
    base_free(first);
    base_free(waiting);
    base_free(readers);
    if (!room) return base_no_memory(error, edges * sizeof *readers);
    if (end == m->node_count) return FPR_OK;
    return base_fail(error, FPR_BAD_HEADER, "the graph has a circle: %zu of %zu nodes depend on themselves",
                     m->node_count - end, m->node_count);
}

static fpr_status find_ops(graph *g, fpr_error *error)
{
    const onnx_model *m = g->model;
    const op_row **known = base_calloc(m->name_count, sizeof *known);
    g->ops = base_calloc(m->node_count, sizeof *g->ops);
    if (!known || !g->ops) {
        base_free(known);
        return base_no_memory(error, m->node_count * sizeof *known);
    }
    for (size_t i = 0; i < graph_op_count; i++) {
        onnx_name name = onnx_find_name(m, graph_ops[i].name);
        if (name) known[name] = &graph_ops[i];
    }
    for (size_t i = 0; i < m->node_count; i++) {
        const char *domain = onnx_text_of(m, m->nodes[i].domain);
        if (!*domain || !strcmp(domain, "ai.onnx")) g->ops[i] = known[m->nodes[i].op];
    }
    base_free(known);
    return FPR_OK;
}

/* A constant that comes through Identity is one too: exporters share equal tensors so. */
static void find_aliases(graph *g)
{
    for (size_t i = 0; i < g->model->node_count; i++) {
        const onnx_node *n = graph_node(g, g->order[i]);
        if (n->input_count != 1 || n->output_count != 1 || !onnx_is_op(g->model, n, "Identity")) continue;
        if (n->outputs[0]) g->values[n->outputs[0]].tensor = g->values[n->inputs[0]].tensor;
    }
}

/* ---- what subgraphs read of the values outside */

enum { IN_NODE, IN_ATTRIBUTE, IN_GRAPH };
typedef struct level { uint64_t end; int kind; } level;

typedef struct walk {
    graph *g;
    wire w;
    level *levels;
    size_t depth, capacity;
    fpr_error *error;
} walk;

static void enter(walk *k, const wire_field *f, int kind)
{
    if (k->depth == k->capacity) {
        size_t capacity = k->capacity ? 2 * k->capacity : 64;
        level *grown = base_grow(k->levels, capacity, sizeof *grown);
        if (!grown) {
            k->w.status = base_no_memory(k->error, capacity * sizeof *grown);
            return;
        }
        k->levels = grown;
        k->capacity = capacity;
    }
    k->levels[k->depth++] = (level){f->offset + f->bytes, kind};
    k->w.at = f->offset;
}

static void note_capture(walk *k, const wire_field *f)
{
    uint64_t after = k->w.at;
    char *text = base_calloc(f->bytes + 1, 1);
    if (!text) k->w.status = base_no_memory(k->error, f->bytes);
    if (text && wire_copy(&k->w, f->offset, text, f->bytes)) {
        onnx_name name = onnx_find_name(k->g->model, text);
        if (name) k->g->values[name].captured = true;
    }
    base_free(text);
    k->w.at = after;
}

static fpr_status find_captures(graph *g, fpr_error *error)
{
    const onnx_model *m = g->model;
    walk k = {.g = g, .error = error};
    fpr_status status = m->has_subgraphs ? wire_open(&k.w, m->files[0], error) : FPR_OK;
    for (size_t i = 0; i < m->node_count && m->has_subgraphs && !status; i++)
        for (uint32_t a = 0; a < m->nodes[i].attribute_count && !k.w.status; a++) {
            const onnx_attribute *at = &m->nodes[i].attributes[a];
            wire_field f = {.offset = at->span.offset, .bytes = at->span.bytes};
            if (!at->has_graph) continue;
            enter(&k, &f, IN_ATTRIBUTE);
            while (k.depth && !k.w.status) {
                level *top = &k.levels[k.depth - 1];
                if (!wire_next(&k.w, top->end, &f)) {
                    k.depth--;
                    continue;
                }
                if (f.type != WIRE_BYTES) continue;
                if (top->kind == IN_ATTRIBUTE && (f.number == 6 || f.number == 11)) enter(&k, &f, IN_GRAPH);
                else if (top->kind == IN_GRAPH && (f.number == 1 || f.number == 12)) /* 12: an output by name alone */
                    enter(&k, &f, IN_NODE);
                else if (top->kind == IN_NODE && f.number == 5) enter(&k, &f, IN_ATTRIBUTE);
                else if (top->kind == IN_NODE && f.number == 1) note_capture(&k, &f);
            }
        }
    status = status ? status : k.w.status;
    wire_close(&k.w);
    base_free(k.levels);
    return status;
}

fpr_status graph_open(onnx_model *model, const graph_weights *weights, graph **out, fpr_error *error)
{
    *out = NULL;
    graph *g = base_calloc(1, sizeof *g);
    if (!g) {
        onnx_close(model);
        return base_no_memory(error, sizeof *g);
    }
    g->model = model;
    if (weights) g->weights = *weights;
    g->values = base_calloc(model->name_count, sizeof *g->values);
    g->names = base_calloc(model->tensor_count, sizeof *g->names);
    fpr_status status = g->values && g->names ? FPR_OK : base_no_memory(error, model->name_count * sizeof *g->values);
    for (size_t i = 0; i < model->name_count && !status; i++) g->values[i].producer = g->values[i].tensor = ONNX_NONE;
    if (!status) status = add_ends(g, error);
    if (!status) status = add_producers(g, error);
    if (!status) status = check_readers(g, error);
    if (!status) status = sort_nodes(g, error);
    if (!status) status = find_ops(g, error);
    if (!status) find_aliases(g);
    if (!status) status = find_captures(g, error);
    if (!status) {
        *out = g;
        return FPR_OK;
    }
    base_error_in_file(error, file_source_path(model->files[0]));
    graph_close(g);
    return status;
}

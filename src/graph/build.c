/* From the messages of a file to a graph: who computes a value, who reads it, in which order. */
#include "graph/inner.h"

#include <math.h>

const onnx_model *graph_model(const graph *g) { return g->model; }
const onnx_node *graph_node(const graph *g, uint32_t node) { return &g->model->nodes[node]; }

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

/* ---- attributes */

int64_t graph_int(const graph *g, const onnx_node *n, const char *name, int64_t otherwise)
{
    const onnx_attribute *a = onnx_find_attribute(g->model, n, name);
    return a ? a->i : otherwise;
}

double graph_float(const graph *g, const onnx_node *n, const char *name, double otherwise)
{
    const onnx_attribute *a = onnx_find_attribute(g->model, n, name);
    return a ? (double)a->f : otherwise;
}

const int64_t *graph_ints(const graph *g, const onnx_node *n, const char *name, uint32_t *count)
{
    const onnx_attribute *a = onnx_find_attribute(g->model, n, name);
    *count = a ? a->int_count : 0;
    return a ? a->ints : NULL;
}

bool graph_text_is(const graph *g, const onnx_node *n, const char *name, const char *text, bool otherwise)
{
    const onnx_attribute *a = onnx_find_attribute(g->model, n, name);
    return a ? !strcmp(onnx_text_of(g->model, a->text), text) : otherwise;
}

/* ---- numbers */

static double half_value(uint16_t bits)
{
    unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    double v = exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY)
               : exponent     ? ldexp(1024 + fraction, (int)exponent - 25)
                              : ldexp(fraction, -24);
    return bits >> 15 ? -v : v;
}

static uint16_t half_bits(double v)
{
    uint16_t sign = signbit(v) ? 0x8000 : 0;
    double a = fabs(v);
    if (isnan(v)) return 0x7e00;
    if (a >= 65520) return sign | 0x7c00;
    if (a < ldexp(1, -14)) return sign | (uint16_t)nearbyint(ldexp(a, 24));
    int exponent;
    double fraction = frexp(a, &exponent); /* in [0.5, 1) */
    return sign | (uint16_t)((unsigned)(exponent + 13) * 1024 + (unsigned)nearbyint(ldexp(fraction, 11)));
}

static uint16_t brain_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (isnan(v)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

double graph_load(fpr_dtype dtype, const uint8_t *p)
{
    uint32_t w;
    uint64_t d;
    float f;
    double v;
    switch (dtype) {
    case FPR_F32: w = base_load_le32(p), memcpy(&f, &w, sizeof f); return (double)f;
    case FPR_F64: d = base_load_le64(p), memcpy(&v, &d, sizeof v); return v;
    case FPR_F16: return half_value(base_load_le16(p));
    case FPR_BF16: w = (uint32_t)base_load_le16(p) << 16, memcpy(&f, &w, sizeof f); return (double)f;
    case FPR_I64: return (double)(int64_t)base_load_le64(p);
    case FPR_U64: return (double)base_load_le64(p);
    case FPR_I32: return (int32_t)base_load_le32(p);
    case FPR_U32: return base_load_le32(p);
    case FPR_I16: return (int16_t)base_load_le16(p);
    case FPR_U16: return base_load_le16(p);
    case FPR_I8: return (int8_t)*p;
    default: return *p;
    }
}

void graph_store(fpr_dtype dtype, uint8_t *p, double value)
{
    float f = (float)value;
    uint32_t w;
    uint64_t d;
    switch (dtype) {
    case FPR_F32: memcpy(&w, &f, sizeof w), base_store_le32(p, w); break;
    case FPR_F64: memcpy(&d, &value, sizeof d), base_store_le64(p, d); break;
    case FPR_F16: base_store_le16(p, half_bits(value)); break;
    case FPR_BF16: base_store_le16(p, brain_bits(f)); break;
    default: base_store_le64(p, (uint64_t)(int64_t)value); break; /* I64 */
    }
}

bool graph_is_number(fpr_dtype d)
{
    return d == FPR_F32 || d == FPR_F64 || d == FPR_F16 || d == FPR_BF16 || d == FPR_BOOL || d == FPR_U8 ||
           d == FPR_I8 || d == FPR_I16 || d == FPR_U16 || d == FPR_I32 || d == FPR_U32 || d == FPR_I64 || d == FPR_U64;
}

bool graph_is_replaced(const graph *g, uint32_t tensor)
{
    const onnx_tensor *t = &g->model->tensors[tensor];
    const onnx_text *name = &g->model->names[g->names[tensor]];
    return g->weights.has && !t->skipped && name->bytes &&
           g->weights.has(g->weights.context, name->text, name->bytes, t->bytes);
}

uint32_t graph_tensor(const graph *g, onnx_name name) { return g->values[name].tensor; }

bool graph_is_frozen(const graph *g, onnx_name operand)
{
    const graph_value *v = &g->values[operand];
    if (!operand || v->tensor == ONNX_NONE || !g->weights.frozen) return false;
    const onnx_text *name = &g->model->names[g->names[v->tensor]];
    /* One tensor of a checkpoint cannot become two. */
    if (v->readers != 1 || v->is_output || v->captured || g->names[v->tensor] != operand) return true;
    return g->weights.frozen(g->weights.context, name->text, name->bytes);
}

fpr_status graph_tensor_bytes(const graph *g, uint32_t tensor, void *dst, fpr_error *error)
{
    const onnx_tensor *t = &g->model->tensors[tensor];
    const onnx_text *name = &g->model->names[g->names[tensor]];
    if (graph_is_replaced(g, tensor))
        return g->weights.read(g->weights.context, name->text, name->bytes, dst, t->bytes, error);
    return onnx_read(g->model, t, 0, t->bytes, dst, error);
}

double *graph_tensor_values(const graph *g, uint32_t tensor, fpr_error *error)
{
    const onnx_tensor *t = &g->model->tensors[tensor];
    if (t->skipped || !graph_is_number(t->dtype)) {
        base_fail(error, FPR_USAGE, "tensor %s is of a type that is not evaluated", onnx_text_of(g->model, t->name));
        return NULL;
    }
    double *values = base_alloc(t->elements, sizeof *values);
    uint8_t *bytes = values ? base_alloc(t->bytes, 1) : NULL;
    fpr_status status = bytes ? graph_tensor_bytes(g, tensor, bytes, error) : base_no_memory(error, t->bytes);
    size_t size = fpr_dtype_bits(t->dtype) / 8;
    for (uint64_t i = 0; i < t->elements && !status; i++) values[i] = graph_load(t->dtype, bytes + i * size);
    base_free(bytes);
    if (!status) return values;
    base_free(values);
    return NULL;
}

/* value_int, value_float and their lists. */
static const onnx_attribute *number_attribute(const graph *g, onnx_name name)
{
    uint32_t producer = g->values[name].producer;
    const onnx_node *n = producer == ONNX_NONE ? NULL : graph_node(g, producer);
    if (!n || g->values[name].tensor != ONNX_NONE || !onnx_is_op(g->model, n, "Constant") || n->attribute_count != 1) return NULL;
    return !strncmp(onnx_text_of(g->model, n->attributes[0].name), "value_", 6) ? &n->attributes[0] : NULL;
}

const onnx_attribute *graph_number(const graph *g, onnx_name name)
{
    const onnx_attribute *a = number_attribute(g, name);
    const char *kind = a ? onnx_text_of(g->model, a->name) : "";
    return !strcmp(kind, "value_int") || !strcmp(kind, "value_float") ? a : NULL;
}

double *graph_list(const graph *g, onnx_name name, int64_t *count)
{
    uint32_t t = g->values[name].tensor;
    *count = 0;
    if (t != ONNX_NONE) {
        if (g->model->tensors[t].elements > GRAPH_LIST_MAX) return NULL;
        *count = (int64_t)g->model->tensors[t].elements;
        return graph_tensor_values(g, t, NULL);
    }
    const onnx_attribute *a = number_attribute(g, name);
    const char *kind = a ? onnx_text_of(g->model, a->name) : "";
    bool ints = !strcmp(kind, "value_ints"), floats = !strcmp(kind, "value_floats"), whole = !strcmp(kind, "value_int");
    if (!ints && !floats && !whole && strcmp(kind, "value_float") != 0) return NULL;
    *count = ints ? a->int_count : floats ? a->float_count : 1;
    double *values = *count > GRAPH_LIST_MAX ? NULL : base_alloc((uint64_t)*count, sizeof *values);
    for (int64_t i = 0; values && i < *count; i++)
        values[i] = ints ? (double)a->ints[i] : floats ? (double)a->floats[i] : whole ? (double)a->i : (double)a->f;
    return values;
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

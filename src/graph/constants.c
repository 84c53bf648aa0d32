/* What a node is given: its attributes, and constant tensors as numbers. */
#include "graph/inner.h"

#include <math.h>

const onnx_node *graph_node(const graph *g, uint32_t node) { return &g->model->nodes[node]; }

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

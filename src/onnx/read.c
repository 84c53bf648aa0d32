/* ModelProto, GraphProto and what a graph is made of. */
#include "onnx/inner.h"

/* Fields by number. */
enum { MODEL_IR = 1, MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_FUNCTIONS = 25 };
enum {
    GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12, GRAPH_VALUE = 13, GRAPH_SPARSE = 15
};
enum { NODE_INPUT = 1, NODE_OUTPUT = 2, NODE_NAME = 3, NODE_OP = 4, NODE_ATTRIBUTE = 5, NODE_DOMAIN = 7 };
enum {
    ATTR_NAME = 1, ATTR_F = 2, ATTR_I = 3, ATTR_S = 4, ATTR_T = 5, ATTR_G = 6, ATTR_FLOATS = 7, ATTR_INTS = 8,
    ATTR_GRAPHS = 11, ATTR_TYPE = 20, ATTR_SPARSE = 22
};

#define TEXT_MAX 256u /* of an attribute that is kept: mode names and the like */

static bool add_name(onnx_building *b, const wire_field *f, onnx_list *list, const char *what)
{
    onnx_name *place;
    if (!onnx_expect(b, f, WIRE_BYTES, what)) return false;
    if (!(place = onnx_append(list, sizeof *place))) return onnx_building_failed(b);
    return onnx_read_name(b, f, place);
}

static onnx_span span_of(const wire_field *f) { return (onnx_span){f->begin, f->offset, f->bytes}; }

/* A copy that lives as long as the model. */
static const void *keep(onnx_building *b, const onnx_list *list, size_t from, size_t size)
{
    size_t bytes = (list->count - from) * size;
    void *kept = onnx_take(&b->memory, bytes, 1);
    if (!kept) onnx_building_failed(b);
    else if (bytes) memcpy(kept, (const uint8_t *)list->items + from * size, bytes);
    return kept;
}

/* ---- attributes */

static bool add_ints(onnx_building *b, const wire_field *f)
{
    wire *w = &b->w;
    uint64_t end = f->offset + f->bytes, after = w->at;
    if (f->type != WIRE_BYTES && !onnx_expect(b, f, WIRE_VARINT, "ints")) return false;
    w->at = f->offset;
    while (w->at < end) {
        uint64_t *place = onnx_append(&b->ints, sizeof *place);
        if (!place) return onnx_building_failed(b);
        if (!wire_varint(w, end, place)) return false;
    }
    w->at = after;
    return true;
}

static bool add_floats(onnx_building *b, const wire_field *f)
{
    if (f->type != WIRE_BYTES && !onnx_expect(b, f, WIRE_FIXED32, "floats")) return false;
    if (f->bytes % 4) return wire_fail(&b->w, f->begin, "packed floats do not fill their field");
    for (uint64_t i = 0; i < f->bytes; i += 4) {
        float *place = onnx_append(&b->floats, sizeof *place);
        uint8_t raw[4];
        if (!place) return onnx_building_failed(b);
        if (!wire_copy(&b->w, f->offset + i, raw, 4)) return false;
        uint32_t bits = base_load_le32(raw);
        memcpy(place, &bits, sizeof bits);
    }
    return true;
}

/* The tensor of an attribute. Its own numbers go where those of the attribute would, so it is read after them. */
static bool read_constant(onnx_building *b, onnx_span span, onnx_attribute *a)
{
    onnx_tensor *t = onnx_append(&b->constants, sizeof *t);
    if (!t) return onnx_building_failed(b);
    a->tensor = (uint32_t)b->constants.count - 1;
    return onnx_read_tensor(b, span, t);
}

static bool read_attribute_field(onnx_building *b, const wire_field *f, onnx_attribute *a, onnx_span *tensor)
{
    wire_type type = WIRE_BYTES;
    if (f->number == ATTR_I || f->number == ATTR_TYPE) type = WIRE_VARINT;
    if (f->number == ATTR_F) type = WIRE_FIXED32;
    if (f->number == ATTR_INTS) return add_ints(b, f);
    if (f->number == ATTR_FLOATS) return add_floats(b, f);
    if (f->number > ATTR_GRAPHS && f->number != ATTR_TYPE && f->number != ATTR_SPARSE) return true;
    if (!onnx_expect(b, f, type, "a field of an attribute")) return false;
    uint32_t bits = (uint32_t)f->value;
    switch (f->number) {
    case ATTR_NAME: return onnx_read_name(b, f, &a->name);
    case ATTR_F: memcpy(&a->f, &bits, sizeof bits); break;
    case ATTR_I: a->i = (int64_t)f->value; break;
    case ATTR_S: return f->bytes > TEXT_MAX || onnx_read_name(b, f, &a->text);
    case ATTR_T: *tensor = span_of(f); break;
    case ATTR_G:
    case ATTR_GRAPHS: a->has_graph = b->model->has_subgraphs = true; break;
    case ATTR_TYPE: a->type = (int32_t)f->value; break;
    case ATTR_SPARSE: a->has_sparse = true; break;
    default: break;
    }
    return true;
}

static bool read_attribute(onnx_building *b, const wire_field *field, onnx_attribute *a)
{
    wire_field f;
    onnx_span tensor = {0};
    uint64_t end = field->offset + field->bytes;
    a->span = span_of(field);
    a->tensor = ONNX_NONE;
    b->ints.count = b->floats.count = 0;
    b->w.at = field->offset;
    while (wire_next(&b->w, end, &f))
        if (!read_attribute_field(b, &f, a, &tensor)) return false;
    if (b->w.status) return false;
    a->int_count = (uint32_t)b->ints.count;
    a->float_count = (uint32_t)b->floats.count;
    a->ints = keep(b, &b->ints, 0, sizeof(int64_t));
    a->floats = keep(b, &b->floats, 0, sizeof(float));
    bool good = a->ints && a->floats && (!tensor.begin || read_constant(b, tensor, a));
    b->w.at = end;
    return good;
}

/* ---- nodes */

static bool read_node(onnx_building *b, const wire_field *field)
{
    wire_field f;
    onnx_list attributes = {0}, outputs = {0};
    onnx_node node = {.span = span_of(field)};
    uint64_t end = field->offset + field->bytes;
    bool good = true;
    b->words.count = 0;
    b->w.at = field->offset;
    while (good && wire_next(&b->w, end, &f)) {
        onnx_attribute *a;
        switch (f.number) {
        case NODE_INPUT: good = add_name(b, &f, &b->words, "input"); break;
        case NODE_OUTPUT: good = add_name(b, &f, &outputs, "output"); break;
        case NODE_NAME: good = onnx_expect(b, &f, WIRE_BYTES, "name") && onnx_read_name(b, &f, &node.name); break;
        case NODE_OP: good = onnx_expect(b, &f, WIRE_BYTES, "op_type") && onnx_read_name(b, &f, &node.op); break;
        case NODE_DOMAIN: good = onnx_expect(b, &f, WIRE_BYTES, "domain") && onnx_read_name(b, &f, &node.domain); break;
        case NODE_ATTRIBUTE:
            a = onnx_append(&attributes, sizeof *a);
            good = a ? onnx_expect(b, &f, WIRE_BYTES, "attribute") && read_attribute(b, &f, a)
                     : onnx_building_failed(b);
            break;
        default: break;
        }
    }
    node.input_count = (uint32_t)b->words.count;
    node.output_count = (uint32_t)outputs.count;
    node.attribute_count = (uint32_t)attributes.count;
    node.inputs = keep(b, &b->words, 0, sizeof(onnx_name));
    node.outputs = keep(b, &outputs, 0, sizeof(onnx_name));
    node.attributes = onnx_take(&b->memory, attributes.count, sizeof(onnx_attribute));
    onnx_node *place = onnx_append(&b->nodes, sizeof *place);
    if (!node.attributes || !place) onnx_building_failed(b);
    else if (attributes.count) memcpy(node.attributes, attributes.items, attributes.count * sizeof(onnx_attribute));
    if (place) *place = node;
    base_free(attributes.items);
    base_free(outputs.items);
    b->w.at = end;
    return !b->w.status;
}

/* ---- inputs, outputs and stated shapes */

/* One dimension: a number (1), or a name (2). */
static bool read_axis(onnx_building *b, const wire_field *field)
{
    wire_field f;
    uint64_t end = field->offset + field->bytes;
    int64_t *size = onnx_append(&b->ints, sizeof *size);
    onnx_name *name = onnx_append(&b->words, sizeof *name);
    if (!size || !name) return onnx_building_failed(b);
    *size = -1;
    b->w.at = field->offset;
    while (wire_next(&b->w, end, &f)) {
        if (f.number == 1 && f.type == WIRE_VARINT) *size = f.value <= INT64_MAX ? (int64_t)f.value : -1;
        if (f.number == 2 && f.type == WIRE_BYTES && !onnx_read_name(b, &f, name)) return false;
    }
    return !b->w.status;
}

/* TypeProto.Tensor: elem_type (1), shape (2) with its dim (1). */
static bool read_tensor_type(onnx_building *b, const wire_field *field, onnx_value *v)
{
    wire_field f, dim;
    uint64_t end = field->offset + field->bytes;
    b->w.at = field->offset;
    while (wire_next(&b->w, end, &f)) {
        if (f.number == 1 && f.type == WIRE_VARINT) v->type = (int32_t)f.value;
        if (f.number != 2 || f.type != WIRE_BYTES) continue;
        v->has_shape = true;
        b->w.at = f.offset;
        while (wire_next(&b->w, f.offset + f.bytes, &dim)) {
            uint64_t after = b->w.at;
            if (dim.number == 1 && dim.type == WIRE_BYTES && !read_axis(b, &dim)) return false;
            b->w.at = after;
        }
        if (b->w.status) return false;
    }
    return !b->w.status;
}

static bool read_value(onnx_building *b, const wire_field *field)
{
    wire_field f, type;
    onnx_value v = {.field = field->number, .span = span_of(field)};
    uint64_t end = field->offset + field->bytes;
    b->ints.count = b->words.count = 0;
    b->w.at = field->offset;
    while (wire_next(&b->w, end, &f)) {
        if (f.number == 1 && f.type == WIRE_BYTES && !onnx_read_name(b, &f, &v.name)) return false;
        if (f.number != 2 || f.type != WIRE_BYTES) continue;
        b->w.at = f.offset;
        while (wire_next(&b->w, f.offset + f.bytes, &type)) {
            uint64_t after = b->w.at;
            if (type.number == 1 && type.type == WIRE_BYTES && !read_tensor_type(b, &type, &v)) return false;
            b->w.at = after;
        }
        if (b->w.status) return false;
    }
    if (b->w.status) return false;
    v.rank = (unsigned)b->ints.count;
    v.shape = keep(b, &b->ints, 0, sizeof(int64_t));
    v.axes = keep(b, &b->words, 0, sizeof(onnx_name));
    onnx_value *place = onnx_append(&b->values, sizeof *place);
    if (!place) onnx_building_failed(b);
    else *place = v;
    return !b->w.status;
}

/* ---- the graph and the model */

/* SparseTensorProto: its name is that of its values (1). */
static bool read_sparse(onnx_building *b, const wire_field *field)
{
    wire_field f, g;
    onnx_name *name = onnx_append(&b->sparse, sizeof *name);
    if (!name) return onnx_building_failed(b);
    b->w.at = field->offset;
    while (wire_next(&b->w, field->offset + field->bytes, &f)) {
        if (f.number != 1 || f.type != WIRE_BYTES) continue;
        b->w.at = f.offset;
        while (wire_next(&b->w, f.offset + f.bytes, &g))
            if (g.number == 8 && g.type == WIRE_BYTES && !onnx_read_name(b, &g, name)) return false;
        if (b->w.status) return false;
    }
    return !b->w.status;
}

static bool read_graph_field(onnx_building *b, const wire_field *f)
{
    onnx_tensor *t;
    if (f->number != GRAPH_NODE && f->number != GRAPH_INITIALIZER && f->number != GRAPH_SPARSE &&
        (f->number < GRAPH_INPUT || f->number > GRAPH_VALUE))
        return true;
    if (!onnx_expect(b, f, WIRE_BYTES, "a field of the graph")) return false;
    switch (f->number) {
    case GRAPH_NODE: return read_node(b, f);
    case GRAPH_SPARSE: return read_sparse(b, f);
    case GRAPH_INITIALIZER:
        t = onnx_append(&b->initializers, sizeof *t);
        return t ? onnx_read_tensor(b, span_of(f), t) : onnx_building_failed(b);
    default: return read_value(b, f);
    }
}

static bool read_graph(onnx_building *b)
{
    wire_field f;
    const onnx_span *g = &b->model->graph;
    b->w.at = g->offset;
    while (wire_next(&b->w, g->offset + g->bytes, &f)) {
        if (b->cancel && *b->cancel) {
            b->w.status = base_fail(b->error, FPR_CANCELLED, "cancelled");
            return false;
        }
        if (!read_graph_field(b, &f)) return false;
        b->w.at = f.offset + f.bytes;
    }
    return !b->w.status;
}

static bool read_opset(onnx_building *b, const wire_field *field)
{
    wire_field f;
    onnx_name domain = 0;
    uint64_t version = 0;
    b->w.at = field->offset;
    while (wire_next(&b->w, field->offset + field->bytes, &f)) {
        if (f.number == 1 && f.type == WIRE_BYTES && !onnx_read_name(b, &f, &domain)) return false;
        if (f.number == 2 && f.type == WIRE_VARINT) version = f.value;
    }
    if (!domain || !strcmp(b->names.list[domain].text, "ai.onnx")) b->model->opset = version;
    return !b->w.status;
}

static bool read_model(onnx_building *b)
{
    wire_field f;
    uint64_t end = file_source_size(((file_source **)b->files.items)[0]);
    onnx_model *m = b->model;
    while (wire_next(&b->w, end, &f)) {
        uint64_t after = b->w.at;
        if (f.number == MODEL_IR && f.type == WIRE_VARINT) m->ir_version = f.value;
        if (f.number == MODEL_FUNCTIONS) m->has_functions = true;
        if (f.number == MODEL_OPSET && (!onnx_expect(b, &f, WIRE_BYTES, "opset_import") || !read_opset(b, &f)))
            return false;
        if (f.number == MODEL_GRAPH) {
            if (!onnx_expect(b, &f, WIRE_BYTES, "graph")) return false;
            if (m->graph.begin || m->graph.bytes) return wire_fail(&b->w, f.begin, "a second graph");
            m->graph = span_of(&f);
        }
        b->w.at = after;
    }
    if (b->w.status) return false;
    if (!m->graph.offset) return wire_fail(&b->w, 0, "is no ONNX model: it has no graph");
    return read_graph(b);
}

/* No name twice among the initializers. */
static bool check_names(onnx_building *b)
{
    uint8_t *seen = base_calloc(b->names.count, 1);
    if (!seen) return onnx_building_failed(b);
    const onnx_tensor *t = b->initializers.items;
    for (size_t i = 0; i < b->initializers.count && !b->w.status; i++) {
        if (seen[t[i].name]++) {
            wire_fail(&b->w, t[i].span.begin, "a second initializer of that name");
            base_error_in_tensor(b->error, b->names.list[t[i].name].text);
            break;
        }
    }
    base_free(seen);
    return !b->w.status;
}

static bool gather(onnx_building *b)
{
    onnx_model *m = b->model;
    size_t a = b->initializers.count, c = b->constants.count, n = b->inner.count;
    m->tensors = onnx_take(&b->memory, a + c + n, sizeof *m->tensors);
    if (!m->tensors) return onnx_building_failed(b);
    if (a) memcpy(m->tensors, b->initializers.items, a * sizeof *m->tensors);
    if (c) memcpy(m->tensors + a, b->constants.items, c * sizeof *m->tensors);
    if (n) memcpy(m->tensors + a + c, b->inner.items, n * sizeof *m->tensors);
    m->initializer_count = a;
    m->inner_count = n;
    m->tensor_count = a + c + n;
    m->nodes = b->nodes.items;
    m->node_count = b->nodes.count;
    m->values = b->values.items;
    m->value_count = b->values.count;
    m->sparse = b->sparse.items;
    m->sparse_count = b->sparse.count;
    for (size_t i = 0; i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].attribute_count; k++)
            if (m->nodes[i].attributes[k].tensor != ONNX_NONE) m->nodes[i].attributes[k].tensor += (uint32_t)a;
    return true;
}

fpr_status onnx_open(file_source *file, const volatile int *cancel, onnx_model **out, fpr_error *error)
{
    *out = NULL;
    onnx_building *b = base_calloc(1, sizeof *b);
    file_source **first = b ? onnx_append(&b->files, sizeof *first) : NULL;
    onnx_model *m = first ? base_calloc(1, sizeof *m) : NULL;
    if (!m) {
        if (b) base_free(b->files.items);
        base_free(b);
        file_source_close(file);
        return base_no_memory(error, sizeof *b);
    }
    *first = file;
    b->model = m;
    b->cancel = cancel;
    b->error = error;
    m->memory = b;
    if (!wire_open(&b->w, file, error) && onnx_intern(&b->names, &b->memory, "", 0) != 0) onnx_building_failed(b);
    if (!b->w.status && read_model(b) && check_names(b) && onnx_read_subgraphs(b)) gather(b);
    fpr_status status = b->w.status;
    if (status) base_error_in_file(error, file_source_path(file));
    wire_close(&b->w);
    m->files = b->files.items;
    m->file_count = b->files.count;
    m->names = b->names.list;
    m->name_count = b->names.count;
    if (status) onnx_close(m);
    else *out = m;
    return status;
}

void onnx_close(onnx_model *m)
{
    if (!m) return;
    onnx_building *b = m->memory;
    for (size_t i = 0; i < m->file_count; i++) file_source_close(m->files[i]);
    onnx_list *lists[] = {&b->initializers, &b->constants, &b->inner, &b->nodes, &b->values, &b->sparse,
                          &b->files, &b->words, &b->ints, &b->floats, &b->locations};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) base_free(lists[i]->items);
    base_free(b->names.list);
    base_free(b->names.table);
    onnx_release(&b->memory);
    base_free(b);
    base_free(m);
}

onnx_name onnx_find_name(const onnx_model *model, const char *text)
{
    const onnx_building *b = model->memory;
    onnx_name name = onnx_look_up(&b->names, text, strlen(text));
    return name == ONNX_NONE ? 0 : name;
}

const onnx_attribute *onnx_find_attribute(const onnx_model *model, const onnx_node *node, const char *name)
{
    for (uint32_t i = 0; i < node->attribute_count; i++)
        if (!strcmp(onnx_text_of(model, node->attributes[i].name), name)) return &node->attributes[i];
    return NULL;
}

bool onnx_is_op(const onnx_model *model, const onnx_node *node, const char *op)
{
    const char *domain = onnx_text_of(model, node->domain);
    return (!*domain || !strcmp(domain, "ai.onnx")) && !strcmp(onnx_text_of(model, node->op), op);
}

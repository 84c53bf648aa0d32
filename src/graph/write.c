/* The file again: every field in its place, byte for byte, but those that changed. */
#include "graph/change.h"

#define COPY_BYTES (1u << 20)
#define FILE_MAX INT32_MAX /* what protobuf readers take */

enum { FIELD_GRAPH = 7, GRAPH_NODE = 1, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12, GRAPH_VALUE = 13 };
enum { TENSOR_DIMS = 1, TENSOR_TYPE = 2, TENSOR_NAME = 8, TENSOR_RAW = 9, TENSOR_EXTERNAL = 13, TENSOR_LOCATION = 14 };

typedef struct writer {
    const graph *g;
    const changes *c;
    graph_sink sink;      /* NULL while sizes are summed */
    void *context;
    uint64_t bytes;       /* written, or that would be */
    uint8_t *block;
    fpr_error *error;
    fpr_status status;
    size_t edit;          /* the next one */
    uint8_t *different;   /* [tensor_count] given weights differ from the file's: 1 yes, 2 no, 0 not looked at */
} writer;

static void put(writer *w, const void *bytes, uint64_t count)
{
    if (w->status || !count) return;
    w->bytes += count;
    if (w->sink) w->status = w->sink(w->context, bytes, count, w->error);
}

static void put_text(writer *w, const file_text *text)
{
    if (text->failed && !w->status) w->status = base_no_memory(w->error, text->count);
    put(w, text->bytes, text->count);
}

static void copy_span(writer *w, uint64_t from, uint64_t count)
{
    if (!w->sink) {
        w->bytes += count;
        return;
    }
    while (count && !w->status) {
        uint64_t n = count < COPY_BYTES ? count : COPY_BYTES;
        w->status = file_source_read(w->g->model->files[0], from, w->block, n, w->error);
        put(w, w->block, n);
        from += n;
        count -= n;
    }
}

/* A small message whole, in memory; caller frees. */
static uint8_t *load(writer *w, onnx_span span)
{
    uint8_t *bytes = base_alloc(span.bytes, 1);
    if (!bytes) w->status = base_no_memory(w->error, span.bytes);
    else w->status = file_source_read(w->g->model->files[0], span.offset, bytes, span.bytes, w->error);
    if (!w->status) return bytes;
    base_free(bytes);
    return NULL;
}

/* ---- tensors */

static bool is_data(uint32_t field)
{
    return field == 3 || (field >= 4 && field <= 7) || field == TENSOR_RAW || field == 10 || field == 11 ||
           field == TENSOR_EXTERNAL || field == TENSOR_LOCATION || field == TENSOR_DIMS || field == TENSOR_TYPE;
}

/* What stands before and behind the raw bytes of a tensor: its other fields in their order. Those with data are looked
 * at by their tags alone. */
static void frame_tensor(writer *w, const onnx_tensor *t, const char *name, const recipe *r, file_text *head, file_text *tail)
{
    wire wi;
    wire_field f;
    unsigned rank = r ? r->rank : t ? t->rank : 0;
    const uint64_t *dims = r ? r->dims : t ? t->shape : NULL;
    int32_t type = r ? r->type : t ? t->type : 0;
    for (unsigned i = 0; i < rank; i++) {
        wire_put_tag(head, TENSOR_DIMS, WIRE_VARINT);
        wire_put_varint(head, dims[i]);
    }
    wire_put_tag(head, TENSOR_TYPE, WIRE_VARINT);
    wire_put_varint(head, (uint64_t)type);
    if (name) wire_put_bytes(head, TENSOR_NAME, name, strlen(name));
    if (!t) return;
    w->status = wire_open(&wi, w->g->model->files[0], w->error);
    wi.at = t->span.offset;
    while (!w->status && wire_next(&wi, t->span.offset + t->span.bytes, &f)) {
        uint64_t count = f.offset + f.bytes - f.begin;
        uint8_t *raw;
        if (is_data(f.number) || (name && f.number == TENSOR_NAME)) continue;
        raw = base_alloc(count, 1);
        if (!raw) w->status = base_no_memory(w->error, count);
        else if (wire_copy(&wi, f.begin, raw, count)) file_text_add(f.number < TENSOR_RAW ? head : tail, raw, count);
        base_free(raw);
        wi.at = f.offset + f.bytes;
    }
    if (!w->status) w->status = wi.status;
    wire_close(&wi);
}

/* Field `number` that is a tensor with these raw bytes, or those that the graph has for it. */
static void put_tensor(writer *w, uint32_t number, uint32_t tensor, const char *name, const recipe *r)
{
    const onnx_tensor *t = tensor == ONNX_NONE ? NULL : &w->g->model->tensors[tensor];
    file_text head = {0}, tail = {0}, tag = {0};
    uint64_t bytes = r ? r->bytes : t ? t->bytes : 0;
    frame_tensor(w, t, name, r, &head, &tail);
    wire_put_tag(&head, TENSOR_RAW, WIRE_BYTES);
    wire_put_varint(&head, bytes);
    wire_put_tag(&tag, number, WIRE_BYTES);
    wire_put_varint(&tag, head.count + bytes + tail.count);
    put_text(w, &tag);
    put_text(w, &head);
    if (!w->sink) {
        w->bytes += bytes;
    } else if (!w->status) {
        uint8_t *values = r ? recipe_make(w->c, r, w->error) : base_alloc(bytes, 1);
        if (!values) w->status = r && w->error ? w->error->status : base_no_memory(w->error, bytes);
        if (!w->status && !r) w->status = graph_tensor_bytes(w->g, tensor, values, w->error);
        put(w, values, bytes);
        base_free(values);
    }
    put_text(w, &tail);
    file_text_free(&head);
    file_text_free(&tail);
    file_text_free(&tag);
}

/* Whether the weights given for a tensor are others than the file's, or the file's stand outside of it. */
static bool is_different(writer *w, uint32_t tensor)
{
    const onnx_tensor *t = &w->g->model->tensors[tensor];
    if (t->file && !t->skipped) return true;
    if (w->different[tensor] || !graph_is_replaced(w->g, tensor)) return w->different[tensor] == 1;
    uint8_t *a = base_alloc(t->bytes, 1), *b = base_alloc(t->bytes, 1);
    if (!a || !b) w->status = base_no_memory(w->error, t->bytes);
    if (!w->status) w->status = graph_tensor_bytes(w->g, tensor, a, w->error);
    if (!w->status) w->status = onnx_read(w->g->model, t, 0, t->bytes, b, w->error);
    w->different[tensor] = !w->status && memcmp(a, b, t->bytes) ? 1 : 2;
    base_free(a);
    base_free(b);
    return w->different[tensor] == 1;
}

/* ---- nodes */

static void put_attribute(file_text *out, const edit *e)
{
    file_text a = {0};
    wire_put_bytes(&a, 1, e->attribute, strlen(e->attribute));
    for (uint32_t i = 0; i < e->count; i++) {
        wire_put_tag(&a, e->is_list ? 8 : 3, WIRE_VARINT);
        wire_put_varint(&a, (uint64_t)e->values[i]);
    }
    wire_put_tag(&a, 20, WIRE_VARINT);
    wire_put_varint(&a, e->is_list ? 7 : 2);
    wire_put_bytes(out, 5, a.bytes, a.count);
    file_text_free(&a);
}

/* The edits of the node of that attribute or input; NULL: none. */
static const edit *find_edit(const writer *w, size_t first, uint32_t node, uint32_t input, const char *attribute)
{
    for (size_t i = first; i < w->c->edits.count && edit_at(w->c, i)->node == node; i++) {
        const edit *e = edit_at(w->c, i);
        if (attribute ? e->attribute && !strcmp(e->attribute, attribute) : !e->attribute && e->input == input) return e;
    }
    return NULL;
}

/* Inputs that the node did not have are added, with empty ones before them. */
static void add_inputs(writer *w, size_t first, uint32_t node, uint32_t from, file_text *out)
{
    uint32_t last = from;
    for (uint32_t k = from; k < 5; k++)
        if (find_edit(w, first, node, k, NULL)) last = k + 1;
    for (uint32_t k = from; k < last; k++) {
        const edit *e = find_edit(w, first, node, k, NULL);
        const char *name = e && e->recipe != ONNX_NONE ? recipe_at(w->c, e->recipe)->name : "";
        wire_put_bytes(out, 1, name, strlen(name));
    }
}

static void edit_node(writer *w, const onnx_node *n, uint32_t node, size_t first, file_text *out)
{
    wire wi;
    wire_field f;
    uint32_t input = 0;
    uint8_t *bytes = load(w, n->span);
    const onnx_model *m = w->g->model;
    bool added = false;
    size_t attribute = 0;
    if (!bytes) return;
    wire_open_memory(&wi, bytes, n->span.bytes, n->span.offset, w->error);
    while (wire_next(&wi, n->span.offset + n->span.bytes, &f)) {
        const edit *e = NULL;
        if (f.number == 1 && (e = find_edit(w, first, node, input++, NULL))) {
            const char *name = e->recipe == ONNX_NONE ? "" : recipe_at(w->c, e->recipe)->name;
            wire_put_bytes(out, 1, name, strlen(name));
        } else if (f.number == 5 && (e = find_edit(w, first, node, 0, onnx_text_of(m, n->attributes[attribute++].name)))) {
            put_attribute(out, e);
        } else if (f.number == 5 && !strcmp(onnx_text_of(m, n->attributes[attribute - 1].name), "num_outputs") &&
                   find_edit(w, first, node, 1, NULL)) {
            continue; /* of a Split that gets sizes: it has one or the other */
        } else {
            if (f.number != 1 && !added && (added = true)) add_inputs(w, first, node, n->input_count, out);
            file_text_add(out, bytes + (f.begin - n->span.offset), f.offset + f.bytes - f.begin);
        }
    }
    if (!added) add_inputs(w, first, node, n->input_count, out);
    for (size_t i = first; i < w->c->edits.count && edit_at(w->c, i)->node == node; i++)
        if (edit_at(w->c, i)->attribute && !onnx_find_attribute(m, n, edit_at(w->c, i)->attribute))
            put_attribute(out, edit_at(w->c, i));
    if (!w->status) w->status = wi.status;
    base_free(bytes);
}

/* A Constant whose tensor changes: its attribute is written anew. */
static void put_constant(writer *w, const onnx_node *n, const onnx_attribute *a, const recipe *r)
{
    /* Two rounds over the same parts: the first one counts what is inside. */
    writer sum = *w;
    file_text name = {0}, type = {0}, tag = {0};
    wire_put_bytes(&name, 1, "value", 5);
    wire_put_tag(&type, 20, WIRE_VARINT);
    wire_put_varint(&type, 4);
    sum.sink = NULL;
    sum.bytes = 0;
    put_tensor(&sum, 5, a->tensor, NULL, r);
    uint64_t inner = name.count + sum.bytes + type.count, others = n->span.bytes - (a->span.offset + a->span.bytes - a->span.begin);
    wire_put_tag(&tag, GRAPH_NODE, WIRE_BYTES);
    wire_put_varint(&tag, others + 1 + wire_varint_bytes(inner) + inner);
    put_text(w, &tag);
    copy_span(w, n->span.offset, a->span.begin - n->span.offset);
    tag.count = 0;
    wire_put_tag(&tag, 5, WIRE_BYTES);
    wire_put_varint(&tag, inner);
    put_text(w, &tag);
    put_text(w, &name);
    put_tensor(w, 5, a->tensor, NULL, r);
    put_text(w, &type);
    copy_span(w, a->span.offset + a->span.bytes, n->span.offset + n->span.bytes - a->span.offset - a->span.bytes);
    if (sum.status && !w->status) w->status = sum.status;
    file_text_free(&name);
    file_text_free(&type);
    file_text_free(&tag);
}

static void put_node(writer *w, uint32_t node)
{
    const onnx_node *n = graph_node(w->g, node);
    const onnx_attribute *value = onnx_is_op(w->g->model, n, "Constant") ? onnx_find_attribute(w->g->model, n, "value") : NULL;
    size_t first = w->edit;
    while (w->edit < w->c->edits.count && edit_at(w->c, w->edit)->node == node) w->edit++;
    if (w->c->dropped[node]) return;
    if (value && value->tensor != ONNX_NONE) {
        uint32_t r = w->c->in_place[value->tensor];
        if (r || is_different(w, value->tensor)) {
            put_constant(w, n, value, r ? recipe_at(w->c, r - 1) : NULL);
            return;
        }
    }
    if (w->edit == first) {
        copy_span(w, n->span.begin, n->span.offset + n->span.bytes - n->span.begin);
        return;
    }
    file_text body = {0}, tag = {0};
    edit_node(w, n, node, first, &body);
    wire_put_tag(&tag, GRAPH_NODE, WIRE_BYTES);
    wire_put_varint(&tag, body.count);
    put_text(w, &tag);
    put_text(w, &body);
    file_text_free(&body);
    file_text_free(&tag);
}

/* ---- shapes that are stated */

/* ValueInfoProto: type (2), tensor_type (1), shape (2), dim (1), dim_value (1). */
static const uint32_t value_path[] = {2, 1, 2, 1, 1};

/* Copies a message; along the path, dimension i becomes dims[i] where that is not 0. */
static void rewrite_shape(const uint8_t *bytes, size_t count, unsigned level, const uint64_t *dims, unsigned rank,
                          unsigned *axis, file_text *out)
{
    wire wi;
    wire_field f;
    wire_open_memory(&wi, bytes, count, 0, NULL);
    while (wire_next(&wi, count, &f)) {
        bool on_path = f.number == value_path[level];
        if (on_path && level == 4 && f.type == WIRE_VARINT) {
            bool set = *axis < rank && dims[*axis];
            wire_put_tag(out, 1, WIRE_VARINT);
            wire_put_varint(out, set ? dims[*axis] : f.value);
        } else if (on_path && level < 4 && f.type == WIRE_BYTES) {
            file_text inner = {0};
            rewrite_shape(bytes + f.offset, f.bytes, level + 1, dims, rank, axis, &inner);
            wire_put_bytes(out, f.number, inner.bytes, inner.count);
            out->failed = out->failed || inner.failed;
            file_text_free(&inner);
            if (level == 3) ++*axis;
        } else {
            file_text_add(out, bytes + f.begin, f.offset + f.bytes - f.begin);
        }
    }
}

static void put_value(writer *w, const onnx_value *v)
{
    const lattice *l = &w->c->l;
    const lane *x = &l->lanes[v->name];
    uint32_t tensor = w->g->values[v->name].tensor;
    uint64_t dims[GRAPH_RANK_MAX] = {0};
    unsigned rank = 0, axis = 0;
    if (tensor < w->g->model->initializer_count && w->g->names[tensor] == v->name) {
        if (w->c->orphaned[tensor]) return;
        const recipe *r = w->c->in_place[tensor] ? recipe_at(w->c, w->c->in_place[tensor] - 1) : NULL;
        rank = r ? r->rank : 0;
        for (unsigned i = 0; i < rank; i++) dims[i] = r->dims[i];
    } else if (tensor != ONNX_NONE && w->c->in_place[tensor]) {
        const recipe *r = recipe_at(w->c, w->c->in_place[tensor] - 1);
        for (rank = 0; rank < r->rank; rank++) dims[rank] = r->dims[rank];
    } else if (x->tracked && v->rank == x->rank && lane_kept(l, x, 0, x->channels) != x->channels) {
        rank = x->rank;
        dims[x->axis] = lane_kept(l, x, 0, x->channels);
    }
    if (!rank) {
        copy_span(w, v->span.begin, v->span.offset + v->span.bytes - v->span.begin);
        return;
    }
    uint8_t *bytes = load(w, v->span);
    file_text body = {0}, tag = {0};
    if (bytes) rewrite_shape(bytes, v->span.bytes, 0, dims, rank, &axis, &body);
    wire_put_tag(&tag, v->field, WIRE_BYTES);
    wire_put_varint(&tag, body.count);
    put_text(w, &tag);
    put_text(w, &body);
    base_free(bytes);
    file_text_free(&body);
    file_text_free(&tag);
}

/* ---- the graph and the model */

static void put_initializer(writer *w, uint32_t tensor)
{
    const onnx_tensor *t = &w->g->model->tensors[tensor];
    uint32_t r = w->c->in_place[tensor];
    if (w->c->orphaned[tensor]) return;
    if (r || is_different(w, tensor)) put_tensor(w, GRAPH_INITIALIZER, tensor, NULL, r ? recipe_at(w->c, r - 1) : NULL);
    else copy_span(w, t->span.begin, t->span.offset + t->span.bytes - t->span.begin);
}

/* Before IR version 4 an initializer is an input of the graph too. */
static void put_input(writer *w, const recipe *r)
{
    file_text shape = {0}, type = {0}, outer = {0}, value = {0}, tag = {0};
    for (unsigned i = 0; i < r->rank; i++) {
        file_text dim = {0};
        wire_put_tag(&dim, 1, WIRE_VARINT);
        wire_put_varint(&dim, r->dims[i]);
        wire_put_bytes(&shape, 1, dim.bytes, dim.count);
        file_text_free(&dim);
    }
    wire_put_tag(&type, 1, WIRE_VARINT);
    wire_put_varint(&type, (uint64_t)r->type);
    wire_put_bytes(&type, 2, shape.bytes, shape.count);
    wire_put_bytes(&outer, 1, type.bytes, type.count);
    wire_put_bytes(&value, 1, r->name, strlen(r->name));
    wire_put_bytes(&value, 2, outer.bytes, outer.count);
    wire_put_bytes(&tag, GRAPH_INPUT, value.bytes, value.count);
    put_text(w, &tag);
    file_text *all[] = {&shape, &type, &outer, &value, &tag};
    for (int i = 0; i < 5; i++) file_text_free(all[i]);
}

static void put_new(writer *w)
{
    for (size_t i = 0; i < w->c->recipes.count && !w->status; i++) {
        const recipe *r = recipe_at(w->c, i);
        if (!r->name) continue;
        put_tensor(w, GRAPH_INITIALIZER, ONNX_NONE, r->name, r);
        if (w->g->model->ir_version < 4) put_input(w, r);
    }
}

static void put_graph(writer *w)
{
    const onnx_model *m = w->g->model;
    wire wi;
    wire_field f;
    uint32_t node = 0, initializer = 0, value = 0;
    bool added = false;
    w->edit = 0;
    w->status = w->status ? w->status : wire_open(&wi, m->files[0], w->error);
    if (w->status) return;
    wi.at = m->graph.offset;
    while (!w->status && wire_next(&wi, m->graph.offset + m->graph.bytes, &f)) {
        uint64_t after = wi.at;
        if (f.number == GRAPH_NODE) put_node(w, node++);
        else if (f.number == GRAPH_INITIALIZER) put_initializer(w, initializer++);
        else if (f.number >= GRAPH_INPUT && f.number <= GRAPH_VALUE) put_value(w, &m->values[value++]);
        else copy_span(w, f.begin, after - f.begin);
        wi.at = after;
        if (f.number == GRAPH_INITIALIZER && initializer == m->initializer_count && !added) {
            put_new(w);
            added = true;
        }
    }
    if (!added) put_new(w);
    if (!w->status) w->status = wi.status;
    wire_close(&wi);
}

fpr_status graph_write(const graph *g, const graph_removal *removal, graph_sink sink, void *context, fpr_error *error)
{
    const onnx_model *m = g->model;
    fpr_error own;
    uint64_t size = file_source_size(m->files[0]), end = m->graph.offset + m->graph.bytes;
    writer w = {.g = g, .c = removal->changes, .context = context, .error = error ? error : &own,
                .block = base_alloc(COPY_BYTES, 1), .different = base_calloc(m->tensor_count, 1)};
    if (!w.block || !w.different) w.status = base_no_memory(error, COPY_BYTES);
    put_graph(&w);
    uint64_t inner = w.bytes;
    if (!w.status && inner + size - m->graph.bytes > FILE_MAX)
        w.status = base_fail(error, FPR_USAGE, "would have %llu bytes, and ONNX files end at 2 GiB",
                             (unsigned long long)(inner + size - m->graph.bytes));
    w.sink = sink;
    w.bytes = 0;
    file_text tag = {0};
    wire_put_tag(&tag, FIELD_GRAPH, WIRE_BYTES);
    wire_put_varint(&tag, inner);
    copy_span(&w, 0, m->graph.begin);
    put_text(&w, &tag);
    w.bytes = 0;
    put_graph(&w);
    if (!w.status && w.bytes != inner) w.status = base_fail(error, FPR_CHANGED, "changed while it was read");
    copy_span(&w, end, size - end);
    file_text_free(&tag);
    base_free(w.block);
    base_free(w.different);
    return w.status;
}

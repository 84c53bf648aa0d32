/* Tensors of the graphs inside attributes, the branches of If and the bodies of Loop and Scan: initializers, and what
 * Constant nodes hold. Each is called by the way to it: the first output of the node, the attribute, and so on, at last its
 * own name, with slashes between. */
#include "onnx/inner.h"

#define PATH_MAX_BYTES 1024u /* a longer way is not gone: its tensors are named as left out */

enum { IN_GRAPH, IN_NODE, IN_ATTRIBUTE };

typedef struct inner_level {
    uint64_t end;
    int kind;
    size_t path;       /* bytes of the path that lead here */
    onnx_name label;   /* of a node: its first output, or its name; of an attribute: the node's */
    bool constant;     /* of a node and its attributes: it is a Constant */
} inner_level;

typedef struct inner_walk {
    onnx_building *b;
    onnx_list levels;
    char path[PATH_MAX_BYTES + 1];
} inner_walk;

static inner_level *top(inner_walk *k) { return (inner_level *)k->levels.items + k->levels.count - 1; }

static void enter(inner_walk *k, uint64_t from, uint64_t bytes, inner_level level)
{
    inner_level *place = onnx_append(&k->levels, sizeof *place);
    if (!place) {
        onnx_building_failed(k->b);
        return;
    }
    level.end = from + bytes;
    *place = level;
    k->b->w.at = from;
}

/* Adds a part to the path of `bytes` bytes; false: there is no room for it. */
static bool add_part(inner_walk *k, size_t *bytes, onnx_name part)
{
    const onnx_text *text = &k->b->names.list[part];
    if (text->bytes + 1 > PATH_MAX_BYTES - *bytes) return false;
    memcpy(k->path + *bytes, text->text, text->bytes);
    *bytes += text->bytes;
    k->path[(*bytes)++] = '/';
    return true;
}

/* The way and the tensor's own name; with its place in the file where something is called so already. */
static onnx_name name_of(inner_walk *k, size_t path, onnx_name own, uint64_t place)
{
    onnx_building *b = k->b;
    const onnx_text *text = &b->names.list[own];
    const size_t before = b->names.count;
    char *name = base_alloc(path + text->bytes + 24, 1);
    if (!name) {
        onnx_building_failed(b);
        return 0;
    }
    memcpy(name, k->path, path);
    memcpy(name + path, text->text, text->bytes);
    size_t bytes = path + text->bytes;
    onnx_name made = onnx_intern(&b->names, &b->memory, name, bytes);
    if (b->names.count == before && made != ONNX_NONE) {
        name[bytes++] = '@';
        for (unsigned shift = 60, any = 0; shift <= 60; shift -= 4) {
            any |= (unsigned)(place >> shift & 15);
            if (any || !shift) name[bytes++] = "0123456789abcdef"[place >> shift & 15];
            if (!shift) break;
        }
        made = onnx_intern(&b->names, &b->memory, name, bytes);
    }
    base_free(name);
    if (made == ONNX_NONE) onnx_building_failed(b);
    return made == ONNX_NONE ? 0 : made;
}

/* own: what it is called; ONNX_NONE: by its own field. */
static void take_tensor(inner_walk *k, const wire_field *f, size_t path, onnx_name own)
{
    onnx_building *b = k->b;
    onnx_tensor *t = onnx_append(&b->inner, sizeof *t);
    const onnx_span span = {f->begin, f->offset, f->bytes};
    if (!t) {
        onnx_building_failed(b);
        return;
    }
    if (!onnx_read_tensor(b, span, t)) return;
    t->name = name_of(k, path, own == ONNX_NONE ? t->name : own, f->begin);
    b->w.at = f->offset + f->bytes;
}

static void leave_out(inner_walk *k, const wire_field *f, size_t path, onnx_name own)
{
    onnx_tensor *t = onnx_append(&k->b->inner, sizeof *t);
    if (!t) onnx_building_failed(k->b);
    else *t = (onnx_tensor){.name = name_of(k, path, own, f->begin), .skipped = "nested too deeply", .span = {f->begin, f->offset, f->bytes}};
    k->b->w.at = f->offset + f->bytes;
}

/* ---- what a node and an attribute are called, which may stand behind what they hold */

static bool look_at_node(onnx_building *b, const wire_field *node, inner_level *level)
{
    wire_field f;
    onnx_name name = 0, output = 0, op = 0, *which;
    const uint64_t end = node->offset + node->bytes;
    b->w.at = node->offset;
    while (wire_next(&b->w, end, &f)) {
        which = f.number == 2 && !output ? &output : f.number == 3 ? &name : f.number == 4 ? &op : NULL;
        if (which && f.type == WIRE_BYTES && !onnx_read_name(b, &f, which)) return false;
    }
    level->label = output ? output : name;
    level->constant = !strcmp(b->names.list[op].text, "Constant");
    return !b->w.status;
}

static bool look_at_attribute(onnx_building *b, const wire_field *attribute, onnx_name *name)
{
    wire_field f;
    const uint64_t end = attribute->offset + attribute->bytes;
    *name = 0;
    b->w.at = attribute->offset;
    while (wire_next(&b->w, end, &f))
        if (f.number == 1 && f.type == WIRE_BYTES && !onnx_read_name(b, &f, name)) return false;
    return !b->w.status;
}

/* ---- the walk */

static void enter_attribute(inner_walk *k, const wire_field *f, size_t path, onnx_name label, bool constant)
{
    onnx_name name;
    if (!look_at_attribute(k->b, f, &name)) return;
    inner_level level = {.kind = IN_ATTRIBUTE, .path = path, .label = label, .constant = constant && !strcmp(k->b->names.list[name].text, "value")};
    if (!constant && (!add_part(k, &level.path, label) || !add_part(k, &level.path, name))) leave_out(k, f, path, label);
    else enter(k, f->offset, f->bytes, level);
}

static void step(inner_walk *k, const wire_field *f)
{
    const inner_level at = *top(k);
    inner_level level = {.path = at.path};
    if (f->type != WIRE_BYTES) return;
    if (at.kind == IN_GRAPH && f->number == 5) {
        take_tensor(k, f, at.path, ONNX_NONE);
    } else if (at.kind == IN_GRAPH && f->number == 1) {
        level.kind = IN_NODE;
        if (look_at_node(k->b, f, &level)) enter(k, f->offset, f->bytes, level);
    } else if (at.kind == IN_NODE && f->number == 5) {
        enter_attribute(k, f, at.path, at.label, at.constant);
    } else if (at.kind == IN_ATTRIBUTE && at.constant && f->number == 5) {
        take_tensor(k, f, at.path, at.label);
    } else if (at.kind == IN_ATTRIBUTE && !at.constant && (f->number == 6 || f->number == 11)) {
        level.kind = IN_GRAPH;
        enter(k, f->offset, f->bytes, level);
    }
}

bool onnx_read_subgraphs(onnx_building *b)
{
    inner_walk *k = b->model->has_subgraphs ? base_calloc(1, sizeof *k) : NULL;
    if (!b->model->has_subgraphs) return true;
    if (!k) return onnx_building_failed(b);
    k->b = b;
    const onnx_node *nodes = b->nodes.items;
    for (size_t i = 0; i < b->nodes.count && !b->w.status; i++)
        for (uint32_t a = 0; a < nodes[i].attribute_count && !b->w.status; a++) {
            const onnx_span *s = &nodes[i].attributes[a].span;
            wire_field f = {.begin = s->begin, .offset = s->offset, .bytes = s->bytes, .type = WIRE_BYTES, .number = 5};
            if (!nodes[i].attributes[a].has_graph) continue;
            enter_attribute(k, &f, 0, nodes[i].output_count && nodes[i].outputs[0] ? nodes[i].outputs[0] : nodes[i].name, false);
            while (k->levels.count && !b->w.status) {
                if (b->cancel && *b->cancel) b->w.status = base_fail(b->error, FPR_CANCELLED, "cancelled");
                else if (wire_next(&b->w, top(k)->end, &f)) step(k, &f);
                else k->levels.count--;
            }
        }
    base_free(k->levels.items);
    base_free(k);
    return !b->w.status;
}

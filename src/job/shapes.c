/* A checkpoint without the channels that left its graph, and what to build its module with. */
#include "job/match.h"

/* One tensor of the output. */
typedef struct entry {
    char *name;              /* owned */
    size_t name_bytes;
    const fpr_tensor *old;   /* of the weights; NULL: a bias that is new */
    const onnx_tensor *new;  /* of the smaller graph; NULL: as it is */
} entry;

typedef struct shapes {
    const job_match *match;
    const graph *before, *after;
    fpr_model *weights;
    entry *entries;
    size_t count;
    fpr_error *error;
} shapes;

static unsigned rank_of(const entry *e) { return e->new ? e->new->rank : e->old->rank; }
static const uint64_t *shape_of(const entry *e) { return e->new ? e->new->shape : e->old->shape; }
static fpr_dtype dtype_of(const entry *e) { return e->new ? e->new->dtype : e->old->dtype; }
static uint64_t bytes_of(const entry *e) { return e->new ? e->new->bytes : e->old->bytes; }

static const onnx_tensor *tensor_named(const graph *g, const char *name)
{
    const onnx_model *m = graph_model(g);
    onnx_name n = onnx_find_name(m, name);
    uint32_t t = n ? graph_tensor(g, n) : ONNX_NONE;
    return t == ONNX_NONE ? NULL : &m->tensors[t];
}

/* ---- what is written */

static fpr_status add_entry(shapes *s, char *name, size_t name_bytes, const fpr_tensor *old, const onnx_tensor *new)
{
    if (!name) return base_no_memory(s->error, name_bytes);
    s->entries[s->count++] = (entry){name, name_bytes, old, new};
    return FPR_OK;
}

/* "conv.weight" and a bias that it never had: "conv.bias", or a name that no tensor has. */
static char *bias_name(const shapes *s, const char *weight)
{
    size_t n = strlen(weight), stem = n > 7 && !strcmp(weight + n - 7, ".weight") ? n - 7 : n;
    char *name = base_alloc(n + 16, 1);
    if (!name) return NULL;
    memcpy(name, weight, stem);
    memcpy(name + stem, ".bias", 6);
    while (fpr_model_find(s->weights, name) && strlen(name) < n + 14) strcat(name, "_");
    return name;
}

static fpr_status add_biases(shapes *s)
{
    const onnx_model *m = graph_model(s->after), *old = s->match->graph;
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < m->node_count && !status; i++) {
        const onnx_node *n = &m->nodes[i];
        if (n->input_count < 3 || !n->inputs[2] || onnx_find_name(old, onnx_text_of(m, n->inputs[2]))) continue;
        const onnx_tensor *t = tensor_named(s->after, onnx_text_of(m, n->inputs[2]));
        onnx_name weight = onnx_find_name(old, onnx_text_of(m, n->inputs[1]));
        if (!t || !weight || !s->match->of[weight]) continue;
        char *name = bias_name(s, model_tensor(s->match->tensors, s->match->of[weight] - 1)->name);
        status = add_entry(s, name, name ? strlen(name) : 0, NULL, t);
    }
    return status;
}

static fpr_status list_entries(shapes *s)
{
    s->entries = base_calloc(s->match->count + graph_model(s->after)->node_count, sizeof *s->entries);
    if (!s->entries) return base_no_memory(s->error, s->match->count * sizeof *s->entries);
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < s->match->count && !status; i++) {
        const fpr_tensor *t = model_tensor(s->match->tensors, i), *w = fpr_model_find(s->weights, t->name);
        const onnx_tensor *new = s->match->names[i] ? tensor_named(s->after, onnx_text_of(s->match->graph, s->match->names[i])) : NULL;
        if (w) status = add_entry(s, base_copy_text(w->name, w->name_bytes), w->name_bytes, w, new);
    }
    return status ? status : add_biases(s);
}

static fpr_status write_tensors(const shapes *s, file_out *out)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < s->count && !status; i++) {
        const entry *e = &s->entries[i];
        uint8_t *bytes = base_alloc(bytes_of(e), 1);
        if (!bytes) status = base_no_memory(s->error, bytes_of(e));
        else if (e->new) status = onnx_read(graph_model(s->after), e->new, 0, e->new->bytes, bytes, s->error);
        else status = fpr_model_read(s->weights, model_number(s->weights, e->old), bytes, s->error);
        if (!status) status = file_out_write(out, bytes, bytes_of(e), s->error);
        base_free(bytes);
    }
    return status;
}

static void put_header(const shapes *s, file_text *text)
{
    uint64_t at = 0;
    file_text_format(text, "{");
    size_t extra = fpr_model_metadata_count(s->weights);
    for (size_t i = 0; i < extra; i++) {
        const char *key, *value;
        fpr_model_metadata(s->weights, i, &key, &value);
        file_text_format(text, i ? "," : "\"__metadata__\":{");
        file_text_string(text, key, strlen(key));
        file_text_format(text, ":");
        file_text_string(text, value, strlen(value));
    }
    if (extra) file_text_format(text, "}");
    for (size_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        if (i || extra) file_text_format(text, ",");
        file_text_tensor(text, e->name, e->name_bytes, dtype_of(e), rank_of(e), shape_of(e), at, at + bytes_of(e));
        at += bytes_of(e);
    }
    file_text_format(text, "}");
    while (text->count % 8) file_text_format(text, " ");
}

static fpr_status write_checkpoint(const shapes *s, const char *path, bool force)
{
    file_text text = {0};
    file_out *out = NULL;
    uint8_t length[8];
    put_header(s, &text);
    fpr_status status = text.failed ? base_no_memory(s->error, text.count) : file_out_create(path, force, &out, s->error);
    base_store_le64(length, text.count);
    if (!status) status = file_out_write(out, length, 8, s->error);
    if (!status) status = file_out_write(out, text.bytes, text.count, s->error);
    if (!status) status = write_tensors(s, out);
    if (!status) status = file_out_commit(out, s->error);
    else file_out_abandon(out);
    file_text_free(&text);
    return status;
}

/* ---- what is said */

static void put_name(file_text *t, const char *key, const char *value)
{
    file_text_format(t, "\"%s\": ", key);
    file_text_string(t, value, strlen(value));
}

static void put_shape(file_text *t, const char *key, unsigned rank, const uint64_t *shape)
{
    file_text_format(t, ", \"%s\": [", key);
    for (unsigned i = 0; i < rank; i++) file_text_format(t, "%s%llu", i ? ", " : "", (unsigned long long)shape[i]);
    file_text_format(t, "]");
}

static void put_tensors(const shapes *s, file_text *t)
{
    const char *comma = "";
    file_text_format(t, "  \"tensors\": [");
    for (size_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        bool same = e->old && e->old->rank == rank_of(e) && !memcmp(e->old->shape, shape_of(e), e->old->rank * sizeof *e->old->shape);
        if (same) continue;
        file_text_format(t, "%s\n    {", comma);
        file_text_format(t, "\"name\": ");
        file_text_string(t, e->name, e->name_bytes);
        if (e->old) put_shape(t, "before", e->old->rank, e->old->shape);
        else file_text_format(t, ", \"before\": null");
        put_shape(t, "after", rank_of(e), shape_of(e));
        file_text_format(t, "}");
        comma = ",";
    }
    file_text_format(t, "],\n");
}

static void put_numbers(file_text *t, const char *key, const double *list, const int64_t *ints, int64_t count)
{
    file_text_format(t, ", \"%s\": [", key);
    for (int64_t i = 0; i < count; i++)
        file_text_format(t, "%s%lld", i ? ", " : "", (long long)(list ? (list[i] >= 0x1p63 ? INT64_MAX : (int64_t)list[i]) : ints[i]));
    file_text_format(t, "]");
}

static void begin_node(file_text *t, const onnx_model *m, const onnx_node *n, const char *what, const char **comma)
{
    file_text_format(t, "%s\n    {", *comma);
    put_name(t, "node", onnx_text_of(m, n->name));
    file_text_format(t, ", ");
    put_name(t, "op", onnx_text_of(m, n->op));
    file_text_format(t, ", ");
    put_name(t, "what", what);
    *comma = ",";
}

/* Attributes and lists of one node that are others now. */
static void put_node(const shapes *s, const onnx_node *a, const onnx_node *b, file_text *t, const char **comma)
{
    const onnx_model *m = graph_model(s->before), *k = graph_model(s->after);
    static const char *const attributes[] = {"group", "split", "starts", "ends"}, *const lists[] = {"Reshape", "Split", "Slice", "Resize"};
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++) {
        const onnx_attribute *x = onnx_find_attribute(m, a, attributes[i]), *y = onnx_find_attribute(k, b, attributes[i]);
        if (!y || (x && x->i == y->i && x->int_count == y->int_count && (!x->int_count || !memcmp(x->ints, y->ints, x->int_count * sizeof *x->ints)))) continue;
        begin_node(t, m, a, attributes[i], comma);
        if (x) put_numbers(t, "before", NULL, x->int_count ? x->ints : &x->i, x->int_count ? x->int_count : 1);
        put_numbers(t, "after", NULL, y->int_count ? y->ints : &y->i, y->int_count ? y->int_count : 1);
        file_text_format(t, "}");
    }
    bool listed = false;
    for (size_t i = 0; i < 4; i++) listed = listed || onnx_is_op(m, a, lists[i]);
    for (uint32_t i = 1; listed && i < b->input_count; i++) {
        int64_t n = 0, count = 0;
        double *x = i < a->input_count && a->inputs[i] ? graph_list(s->before, a->inputs[i], &n) : NULL;
        double *y = b->inputs[i] ? graph_list(s->after, b->inputs[i], &count) : NULL;
        if (y && (!x || n != count || memcmp(x, y, (size_t)n * sizeof *x) != 0)) {
            begin_node(t, m, a, i == 1 ? (onnx_is_op(m, a, "Slice") ? "starts" : "sizes") : i == 2 ? "ends" : "sizes", comma);
            if (x) put_numbers(t, "before", x, NULL, n);
            put_numbers(t, "after", y, NULL, count);
            file_text_format(t, "}");
        }
        base_free(x);
        base_free(y);
    }
}

/* Nodes stand in the same order; constants that nobody reads any more are gone. */
static void put_nodes(const shapes *s, file_text *t)
{
    const onnx_model *m = graph_model(s->before), *k = graph_model(s->after);
    const char *comma = "";
    size_t j = 0;
    file_text_format(t, "  \"nodes\": [");
    for (size_t i = 0; i < m->node_count && j < k->node_count; i++) {
        const onnx_node *a = &m->nodes[i], *b = &k->nodes[j];
        bool same = a->output_count == b->output_count && a->output_count &&
                    !strcmp(onnx_text_of(m, a->outputs[0]), onnx_text_of(k, b->outputs[0]));
        if (!same) continue;
        put_node(s, a, b, t, &comma);
        j++;
    }
    file_text_format(t, "],\n");
}

static void put_layers(const fpr_removal *r, file_text *t)
{
    file_text_format(t, "  \"layers\": [");
    for (size_t i = 0; i < r->layer_count; i++) {
        const fpr_removed_layer *l = &r->layers[i];
        file_text_format(t, "%s\n    {", i ? "," : "");
        put_name(t, "weight", l->weight);
        file_text_format(t, ", ");
        put_name(t, "op", l->op);
        file_text_format(t, ", \"inputs\": [%llu, %llu], \"outputs\": [%llu, %llu]", (unsigned long long)l->in_before, (unsigned long long)l->in_after,
                         (unsigned long long)l->out_before, (unsigned long long)l->out_after);
        file_text_format(t, ", \"dead\": %llu, \"constant\": %llu, \"unread\": %llu, \"merged\": %llu}", (unsigned long long)l->dead,
                         (unsigned long long)l->constant, (unsigned long long)l->unread, (unsigned long long)l->merged);
    }
    file_text_format(t, "],\n  \"stopped_by\": [");
    for (size_t i = 0; i < r->stop_count; i++) {
        file_text_format(t, "%s\n    {", i ? "," : "");
        put_name(t, "op", r->stops[i].op);
        file_text_format(t, ", ");
        put_name(t, "node", r->stops[i].node);
        file_text_format(t, ", \"channels\": %llu}", (unsigned long long)r->stops[i].channels);
    }
    file_text_format(t, "],\n");
}

/* What has no partner: tensors of the checkpoint, weights and constants of the graph. */
static void put_unmatched(const shapes *s, file_text *t)
{
    const job_match *m = s->match;
    const char *comma = "";
    file_text_format(t, "  \"not_in_graph\": [");
    for (size_t i = 0; i < m->count; i++) {
        if (m->names[i]) continue;
        file_text_format(t, "%s", comma);
        file_text_string(t, model_tensor(m->tensors, i)->name, model_tensor(m->tensors, i)->name_bytes);
        comma = ", ";
    }
    file_text_format(t, "],\n  \"not_in_checkpoint\": [");
    comma = "";
    for (size_t i = 0; i < m->graph->initializer_count; i++) {
        const onnx_tensor *k = &m->graph->tensors[i];
        if (m->of[k->name] || k->skipped || !base_is_float(k->dtype)) continue;
        file_text_format(t, "%s", comma);
        file_text_string(t, onnx_text_of(m->graph, k->name), strlen(onnx_text_of(m->graph, k->name)));
        comma = ", ";
    }
    file_text_format(t, "]\n}\n");
}

static void say(const shapes *s, const fpr_removal *r, file_text *t)
{
    file_text_format(t, "{\n  \"schema\": \"filterprune-shapes-1\",\n");
    file_text_format(t, "  \"channels\": %llu, \"parameters\": [%llu, %llu], \"multiply_adds\": [%llu, %llu],\n", (unsigned long long)r->channels,
                     (unsigned long long)r->parameters_before, (unsigned long long)r->parameters_after,
                     (unsigned long long)r->macs_before, (unsigned long long)r->macs_after);
    put_tensors(s, t);
    put_nodes(s, t);
    put_layers(r, t);
    put_unmatched(s, t);
}

fpr_status job_write_shapes(const job_match *match, const graph *before, const graph *after, fpr_model *weights,
                            const char *path, bool force, const fpr_removal *removal, char **text, fpr_error *error)
{
    shapes s = {.match = match, .before = before, .after = after, .weights = weights, .error = error};
    file_text said = {0};
    fpr_status status = list_entries(&s);
    if (!status) say(&s, removal, &said);
    if (!status && said.failed) status = base_no_memory(error, said.count);
    if (!status && path) status = write_checkpoint(&s, path, force);
    if (!status && !(*text = base_copy_text(said.bytes, said.count))) status = base_no_memory(error, said.count);
    file_text_free(&said);
    for (size_t i = 0; i < s.count; i++) base_free(s.entries[i].name);
    base_free(s.entries);
    return status;
}

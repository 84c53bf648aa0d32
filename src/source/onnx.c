/* ONNX: initializers, the Constant nodes that weigh a layer, tensors of subgraphs, and what the graph says of them. */
#include "onnx/onnx.h"
#include "source/source.h"

typedef struct onnx_checkpoint {
    source base;
    onnx_model *model;
    uint32_t *tensor_of;  /* [tensor_count] which tensor of the model */
    /* While it is opened, by name: */
    uint32_t *initializer; /* index of the tensor, or ONNX_NONE */
    uint32_t *producer;    /* index of the node, or ONNX_NONE */
    uint32_t *listed;      /* place in base.tensors, or ONNX_NONE */
} onnx_checkpoint;

/* ModelProto has no magic: its fields must be those of ONNX, as far as the head goes. Strings at its top are short,
 * which tells it from a SavedModel of TensorFlow. */
static bool probe(const uint8_t *head, size_t n)
{
    static const uint32_t texts = 1u << 2 | 1u << 3 | 1u << 4 | 1u << 6, messages = 1u << 7 | 1u << 8 | 1u << 14 |
                                  1u << 20 | 1u << 25 | 1u << 26;
    wire w;
    wire_field f;
    bool known = false;
    wire_open_memory(&w, head, n, 0, NULL);
    while (w.at < n) {
        uint64_t tag, bytes;
        if (!wire_varint(&w, n, &tag)) return known && w.at == n;
        f.number = tag >> 3 < 32 ? (uint32_t)(tag >> 3) : 0;
        f.type = (wire_type)(tag & 7);
        bool number = f.type == WIRE_VARINT && (f.number == 1 || f.number == 5);
        bool text = f.type == WIRE_BYTES && (texts >> f.number & 1);
        bool message = f.type == WIRE_BYTES && (messages >> f.number & 1);
        if (!number && !text && !message) return false;
        if (!wire_varint(&w, n, &bytes)) return known && w.at == n;
        if ((text && bytes > 4096) || (f.number == 8 && bytes > 64) || (f.number == 1 && bytes > 1000)) return false;
        known = known || f.number == 1 || f.number == 7 || f.number == 8;
        if (number) continue;
        if (bytes > n - w.at) return known;
        w.at += bytes;
    }
    return known;
}

/* FusedConv is what onnxruntime saves for a Conv and the activation behind it: the weights are those of the Conv. */
static bool is_convolution(const onnx_model *m, const onnx_node *node)
{
    return onnx_is_op(m, node, "Conv") || onnx_is_op(m, node, "ConvTranspose") ||
           (!strcmp(onnx_text_of(m, node->domain), "com.microsoft") && !strcmp(onnx_text_of(m, node->op), "FusedConv"));
}

/* The input that a convolution of integers has for its weights; 0: it is none. */
static uint32_t weights_of_integers(const onnx_model *m, const onnx_node *node)
{
    return onnx_is_op(m, node, "ConvInteger") ? 1 : onnx_is_op(m, node, "QLinearConv") ? 3 : 0;
}

/* Convolutions of other domains may order their weights as they like. onnxruntime, told to save what it made of a model for
 * this processor, stores kernels in blocks of the vectors that the processor has, in tensors of the old rank. */
static const char *unread_convolution(const onnx_model *m, const onnx_node *node)
{
    const char *domain = onnx_text_of(m, node->domain);
    if (!*domain || !strcmp(domain, "ai.onnx") || is_convolution(m, node) || !strstr(onnx_text_of(m, node->op), "Conv"))
        return NULL;
    return strcmp(domain, "com.microsoft.nchwc")
               ? "read by an operator that is not ONNX' own, its order of weights is not known"
               : "reordered by onnxruntime for one processor: take the model from before its optimization";
}

/* ---- what is listed */

static fpr_status list_tensor(onnx_checkpoint *c, uint32_t index, onnx_name name, fpr_error *error)
{
    const onnx_tensor *t = &c->model->tensors[index];
    const onnx_text *text = &c->model->names[name];
    if (t->skipped) {
        c->base.skipped[c->base.skipped_count++] = (source_skipped){text->text, t->skipped};
        return FPR_OK;
    }
    if (!onnx_is_utf8(text)) {
        base_error_at(error, t->span.begin);
        return base_fail(error, FPR_BAD_HEADER, "the name of a tensor is not UTF-8");
    }
    c->listed[name] = (uint32_t)c->base.tensor_count;
    c->tensor_of[c->base.tensor_count] = index;
    c->base.tensors[c->base.tensor_count++] = (source_tensor){
        .name = text->text, .name_bytes = text->bytes, .dtype = t->dtype, .rank = t->rank, .shape = t->shape,
        .elements = t->elements, .bytes = t->bytes, .stored_bytes = t->typed_field ? t->span.bytes : t->bytes,
        .depth = SOURCE_NO_DEPTH, .plain = !t->typed_field, .file = t->file, .offset = t->raw_offset,
        .kind = c->model->has_subgraphs || c->model->has_functions ? SOURCE_KIND_UNKNOWN : SOURCE_KIND_OTHER,
    };
    return FPR_OK;
}

/* The value of a Constant node that is an input of a layer, by the name of the node's output. */
static fpr_status list_constant(onnx_checkpoint *c, onnx_name name, uint8_t *seen, fpr_error *error)
{
    const onnx_model *m = c->model;
    uint32_t node = c->producer[name];
    if (!name || node == ONNX_NONE || c->initializer[name] != ONNX_NONE || seen[name]) return FPR_OK;
    if (!onnx_is_op(m, &m->nodes[node], "Constant")) return FPR_OK;
    seen[name] = 1;
    const onnx_attribute *value = onnx_find_attribute(m, &m->nodes[node], "value");
    if (value && value->tensor != ONNX_NONE) return list_tensor(c, value->tensor, name, error);
    value = onnx_find_attribute(m, &m->nodes[node], "sparse_value");
    if (value) c->base.skipped[c->base.skipped_count++] = (source_skipped){m->names[name].text, "sparse"};
    return FPR_OK;
}

static fpr_status list_all(onnx_checkpoint *c, uint8_t *seen, fpr_error *error)
{
    const onnx_model *m = c->model;
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < m->initializer_count && !status; i++)
        status = list_tensor(c, (uint32_t)i, m->tensors[i].name, error);
    for (size_t i = 0; i < m->sparse_count; i++)
        c->base.skipped[c->base.skipped_count++] = (source_skipped){m->names[m->sparse[i]].text, "sparse"};
    for (size_t i = 0; i < m->node_count && !status; i++) {
        const onnx_node *n = &m->nodes[i];
        if (!is_convolution(m, n) && !onnx_is_op(m, n, "Gemm") && !onnx_is_op(m, n, "MatMul")) continue;
        for (uint32_t k = 0; k < n->input_count && !status; k++)
            status = list_constant(c, n->inputs[k], seen, error);
    }
    /* Inside subgraphs, whose layers are not followed: shapes tell them, as in a file without a graph. */
    for (size_t i = m->tensor_count - m->inner_count; i < m->tensor_count && !status; i++)
        status = list_tensor(c, (uint32_t)i, m->tensors[i].name, error);
    return status;
}

/* Constants of the graph that are no weights of a layer, unless they are asked for by none: shapes, and whatever an exporter
 * that knows no initializers made of batch normalization. */
static void count_others(onnx_checkpoint *c)
{
    const onnx_model *m = c->model;
    for (size_t i = 0; i < m->node_count; i++) {
        const onnx_node *n = &m->nodes[i];
        if (!onnx_is_op(m, n, "Constant") || !n->output_count || c->listed[n->outputs[0]] != ONNX_NONE) continue;
        const onnx_attribute *value = onnx_find_attribute(m, n, "value");
        if (!value || value->tensor == ONNX_NONE || m->tensors[value->tensor].skipped) continue;
        c->base.others.tensors++;
        c->base.others.bytes += m->tensors[value->tensor].bytes;
    }
    c->base.others.why = "constants of the graph that no Conv, ConvTranspose, Gemm or MatMul reads";
}

/* ---- what the graph says of them */

/* Convolutions on the longest path to each value; nodes of a circle, and behind one, are never ready. */
typedef struct depths {
    uint64_t *of;         /* by name; SOURCE_NO_DEPTH: not known */
    uint32_t *waiting;    /* by node: inputs that are not ready */
    uint32_t *first;      /* by name: its readers are readers[first[name] .. first[name + 1]) */
    uint32_t *readers, *ready;
} depths;

static void free_depths(depths *d)
{
    base_free(d->of);
    base_free(d->waiting);
    base_free(d->first);
    base_free(d->readers);
    base_free(d->ready);
}

static bool from_a_node(const onnx_checkpoint *c, onnx_name name) { return name && c->producer[name] != ONNX_NONE; }

static bool list_readers(const onnx_checkpoint *c, depths *d)
{
    const onnx_model *m = c->model;
    uint64_t edges = 0;
    for (size_t i = 0; i < m->node_count; i++) edges += m->nodes[i].input_count;
    d->of = base_calloc(m->name_count, sizeof *d->of);
    d->waiting = base_calloc(m->node_count, sizeof *d->waiting);
    d->first = base_calloc(m->name_count + 2, sizeof *d->first);
    d->readers = base_calloc(edges, sizeof *d->readers);
    d->ready = base_calloc(m->node_count, sizeof *d->ready);
    if (!d->of || !d->waiting || !d->first || !d->readers || !d->ready) return false;
    /* Counted one place further on, so that filling moves each beginning to its place. */
    for (size_t i = 0; i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].input_count; k++)
            if (from_a_node(c, m->nodes[i].inputs[k])) {
                d->first[m->nodes[i].inputs[k] + 2]++;
                d->waiting[i]++;
            }
    for (size_t i = 2; i < m->name_count + 2; i++) d->first[i] += d->first[i - 1];
    for (size_t i = 0; i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].input_count; k++)
            if (from_a_node(c, m->nodes[i].inputs[k])) d->readers[d->first[m->nodes[i].inputs[k] + 1]++] = (uint32_t)i;
    return true;
}

static uint64_t depth_before(const depths *d, const onnx_node *n)
{
    uint64_t most = 0;
    for (uint32_t k = 0; k < n->input_count; k++)
        if (d->of[n->inputs[k]] > most) most = d->of[n->inputs[k]];
    return most;
}

/* By Kahn's order of the nodes, so that the order in the file does not matter. */
static void measure_depths(const onnx_checkpoint *c, depths *d)
{
    const onnx_model *m = c->model;
    size_t begin = 0, end = 0;
    for (size_t i = 0; i < m->node_count; i++) {
        if (!d->waiting[i]) d->ready[end++] = (uint32_t)i;
        for (uint32_t k = 0; k < m->nodes[i].output_count; k++)
            if (c->producer[m->nodes[i].outputs[k]] == i) d->of[m->nodes[i].outputs[k]] = SOURCE_NO_DEPTH;
    }
    d->of[0] = 0;
    while (begin < end) {
        const onnx_node *n = &m->nodes[d->ready[begin]];
        uint64_t depth = depth_before(d, n) + is_convolution(m, n);
        for (uint32_t k = 0; k < n->output_count; k++) {
            onnx_name out = n->outputs[k];
            if (!out || c->producer[out] != d->ready[begin]) continue;
            d->of[out] = depth;
            for (uint32_t r = d->first[out]; r < d->first[out + 1]; r++)
                if (!--d->waiting[d->readers[r]]) d->ready[end++] = d->readers[r];
        }
        begin++;
    }
}

/* A value that has the name of an initializer: PyTorch's exporter writes such files (a buffer "mean", and a node's result
 * "mean"). Each reader then means what was made last before it. */
static bool hides_an_initializer(const onnx_checkpoint *c)
{
    for (size_t i = 1; i < c->model->name_count; i++)
        if (c->initializer[i] != ONNX_NONE && c->producer[i] != ONNX_NONE) return true;
    return false;
}

static void measure_in_order(const onnx_checkpoint *c, depths *d)
{
    const onnx_model *m = c->model;
    memset(d->of, 0, m->name_count * sizeof *d->of);
    for (size_t i = 0; i < m->node_count; i++) {
        const uint64_t depth = depth_before(d, &m->nodes[i]) + is_convolution(m, &m->nodes[i]);
        for (uint32_t k = 0; k < m->nodes[i].output_count; k++) d->of[m->nodes[i].outputs[k]] = depth;
        d->of[0] = 0;
    }
}

/* From a weight as a layer names it to the tensor that holds it: through Identity, Cast and DequantizeLinear. */
static uint32_t follow_weight(const onnx_checkpoint *c, onnx_name name, size_t *steps)
{
    const onnx_model *m = c->model;
    /* Bounded over all layers together: a long chain before each of many would be quadratic. */
    for (; *steps < 4 * m->node_count + 16; ++*steps) {
        if (c->initializer[name] != ONNX_NONE || !from_a_node(c, name)) break;
        const onnx_node *n = &m->nodes[c->producer[name]];
        if (!n->input_count || !(onnx_is_op(m, n, "Identity") || onnx_is_op(m, n, "Cast") ||
                                 onnx_is_op(m, n, "DequantizeLinear")))
            break;
        name = n->inputs[0];
    }
    return c->listed[name];
}

/* Weights that the graph computes from a tensor (an exporter or optimizer that left a fold undone, weight normalization) are
 * no kernels of the file: the tensor behind them is named. */
static void note_computed(onnx_checkpoint *c, onnx_name name, size_t *steps)
{
    while (from_a_node(c, name)) {
        const onnx_node *n = &c->model->nodes[c->producer[name]];
        name = 0;
        for (uint32_t k = 0; k < n->input_count; k++) {
            if (++*steps > 4 * c->model->node_count + 16) return; /* as in follow_weight */
            const uint32_t at = c->listed[n->inputs[k]];
            if (at == ONNX_NONE) name = !name && from_a_node(c, n->inputs[k]) ? n->inputs[k] : name;
            else if (c->base.tensors[at].rank > 2 && !c->base.tensors[at].groups) {
                c->base.tensors[at].unread = "the graph computes the weights of a convolution from it: let constants be folded first";
                return;
            }
        }
    }
}

static void describe_layer(onnx_checkpoint *c, const depths *d, const onnx_node *n, source_tensor *t)
{
    const onnx_attribute *group = onnx_find_attribute(c->model, n, "group");
    bool transposed = onnx_is_op(c->model, n, "ConvTranspose");
    uint64_t depth = depth_before(d, n);
    t->groups = group && group->i > 0 ? (uint64_t)group->i : 1;
    t->kind = transposed ? SOURCE_KIND_TRANSPOSED : SOURCE_KIND_CONV;
    if (!transposed && t->groups > 1 && t->rank > 2 && t->shape[1] == 1) t->kind = SOURCE_KIND_DEPTHWISE;
    t->depth = depth;
    t->layout = FPR_LAYOUT_OIHW;
    if (n->name && onnx_is_utf8(&c->model->names[n->name]))
        t->layer = onnx_text_of(c->model, n->name);
}

static fpr_status describe_layers(onnx_checkpoint *c, fpr_error *error)
{
    const onnx_model *m = c->model;
    depths d = {0};
    size_t steps = 0;
    if (!list_readers(c, &d)) {
        free_depths(&d);
        return base_no_memory(error, m->name_count * sizeof(uint64_t));
    }
    if (hides_an_initializer(c)) measure_in_order(c, &d);
    else measure_depths(c, &d);
    for (size_t i = 0; i < m->node_count; i++) {
        const onnx_node *n = &m->nodes[i];
        const uint32_t integers = weights_of_integers(m, n), input = integers ? integers : 1;
        const char *unread = unread_convolution(m, n);
        if (n->input_count <= input || !(unread || integers || is_convolution(m, n))) continue;
        uint32_t at = follow_weight(c, n->inputs[input], &steps);
        if (at == ONNX_NONE) note_computed(c, n->inputs[input], &steps);
        if (at == ONNX_NONE || c->base.tensors[at].groups) continue; /* the first layer of a shared weight counts */
        if (!base_is_float(c->base.tensors[at].dtype)) unread = "quantized to integers: take the model from before its quantization";
        source_tensor *t = &c->base.tensors[at];
        const source_kind kind = t->kind;
        if (!unread || is_convolution(m, n)) describe_layer(c, &d, n, t);
        if (unread) t->unread = unread, t->layer_kind = t->kind, t->kind = kind, t->layout = FPR_LAYOUT_AUTO;
    }
    free_depths(&d);
    return FPR_OK;
}

/* ---- the format */

static void close_checkpoint(source *s)
{
    onnx_checkpoint *c = (onnx_checkpoint *)s;
    if (!c) return;
    base_free(c->base.tensors);
    base_free(c->base.skipped);
    base_free(c->tensor_of);
    base_free(c->initializer);
    base_free(c->producer);
    base_free(c->listed);
    onnx_close(c->model);
    base_free(c);
}

static bool make_room(onnx_checkpoint *c)
{
    const onnx_model *m = c->model;
    size_t most = m->tensor_count;
    c->base.tensors = base_calloc(most, sizeof *c->base.tensors);
    c->base.skipped = base_calloc(most + m->sparse_count + m->node_count, sizeof *c->base.skipped);
    c->tensor_of = base_calloc(most, sizeof *c->tensor_of);
    c->initializer = base_alloc(m->name_count, sizeof *c->initializer);
    c->producer = base_alloc(m->name_count, sizeof *c->producer);
    c->listed = base_alloc(m->name_count, sizeof *c->listed);
    if (!c->base.tensors || !c->base.skipped || !c->tensor_of || !c->initializer || !c->producer || !c->listed)
        return false;
    memset(c->initializer, 0xff, m->name_count * sizeof *c->initializer);
    memset(c->producer, 0xff, m->name_count * sizeof *c->producer);
    memset(c->listed, 0xff, m->name_count * sizeof *c->listed);
    for (size_t i = 0; i < m->initializer_count; i++) c->initializer[m->tensors[i].name] = (uint32_t)i;
    for (size_t i = 0; i < m->node_count; i++)
        for (uint32_t k = 0; k < m->nodes[i].output_count; k++) c->producer[m->nodes[i].outputs[k]] = (uint32_t)i;
    return true;
}

static fpr_status open_checkpoint(file_source *file, const source_options *options, source **out, fpr_error *error)
{
    *out = NULL;
    onnx_checkpoint *c = base_calloc(1, sizeof *c);
    if (!c) {
        file_source_close(file);
        return base_no_memory(error, sizeof *c);
    }
    fpr_status status = onnx_open(file, options ? options->cancel : NULL, &c->model, error);
    uint8_t *seen = status ? NULL : base_calloc(c->model->name_count, 1);
    if (!status && (!seen || !make_room(c))) status = base_no_memory(error, c->model->name_count);
    if (!status) status = list_all(c, seen, error);
    if (!status) count_others(c);
    if (!status) status = describe_layers(c, error);
    base_free(seen);
    if (status) {
        if (c->model) base_error_in_file(error, file_source_path(c->model->files[0]));
        close_checkpoint(&c->base);
        return status;
    }
    c->base.format = &source_onnx;
    c->base.variant = "onnx";
    c->base.key = "";
    c->base.files = c->model->files;
    c->base.file_count = c->model->file_count;
    *out = &c->base;
    return FPR_OK;
}

static fpr_status read_checkpoint(const source *s, size_t tensor, uint64_t from, uint64_t count, void *dst,
                                  fpr_error *error)
{
    const onnx_checkpoint *c = (const onnx_checkpoint *)s;
    return onnx_read(c->model, &c->model->tensors[c->tensor_of[tensor]], from, count, dst, error);
}

const source_format source_onnx = {
    .name = "onnx", .probe = probe, .open = open_checkpoint, .read = read_checkpoint, .close = close_checkpoint,
};

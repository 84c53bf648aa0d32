/* The evaluator: one operator after the other in double precision, written to be read and not to be fast. */
#include "graph/inner.h"

#include <math.h>

#define LIST_MAX 4096u /* entries of a constant that may be a shape: has data even when shapes alone are wanted */

void array_free(array *a)
{
    base_free(a->data);
    a->data = NULL;
}

void run_let_go(run *r, array *a)
{
    if (a->data) r->held -= a->count * sizeof *a->data;
    array_free(a);
}

/* Before data is made for a: a file of a few hundred bytes may ask for any amount of it. */
static bool take(run *r, const array *a)
{
    const uint64_t bytes = a->count * sizeof *a->data;
    if (bytes > GRAPH_RUN_BYTES - r->held) {
        r->status = base_fail(r->error, FPR_USAGE, "evaluating the network takes more memory than the 2 GiB that are allowed");
        return false;
    }
    r->held += bytes;
    return true;
}

size_t graph_input_count(const graph *g) { return g->input_count; }
int32_t graph_input_type(const graph *g, size_t input) { return g->model->values[g->inputs[input]].type; }
size_t graph_output_count(const graph *g) { return g->output_count; }
const char *graph_output_name(const graph *g, size_t output)
{
    return onnx_text_of(g->model, g->model->values[g->outputs[output]].name);
}

/* How many channels the first convolution that reads the value wants; 0 when none does. */
static int64_t channels_wanted(const graph *g, onnx_name name)
{
    for (size_t i = 0; i < g->model->node_count; i++) {
        const onnx_node *n = graph_node(g, (uint32_t)i);
        if (n->input_count < 2 || n->inputs[0] != name || !onnx_is_op(g->model, n, "Conv")) continue;
        uint32_t w = g->values[n->inputs[1]].tensor;
        if (w != ONNX_NONE && g->model->tensors[w].rank > 1)
            return (int64_t)g->model->tensors[w].shape[1] * graph_int(g, n, "group", 1);
    }
    return 0;
}

/* Bounds every product of some of the dimensions, even where another one is 0. */
static bool set_count(array *a)
{
    uint64_t bound = 1;
    a->count = 1;
    for (unsigned i = 0; i < a->rank; i++) {
        if (a->dims[i] < 0 || !base_multiply(bound, a->dims[i] ? (uint64_t)a->dims[i] : 1, &bound) ||
            bound > RUN_BYTES_MAX / sizeof(double))
            return false;
        a->count *= (uint64_t)a->dims[i];
    }
    return true;
}

/* What the file states of it or what its reader wants; 0: it is open. */
static int64_t dim_of(const graph *g, const onnx_value *v, unsigned axis)
{
    return v->shape[axis] > 0 ? (int64_t)v->shape[axis] : axis == 1 ? channels_wanted(g, v->name) : 0;
}

fpr_status graph_same_inputs(const graph *a, const graph *b, fpr_error *error)
{
    if (a->input_count != b->input_count) return base_fail(error, FPR_DIFFERS, "the networks take other inputs: one takes more");
    for (size_t i = 0; i < a->input_count; i++) {
        const onnx_value *x = &a->model->values[a->inputs[i]], *y = &b->model->values[b->inputs[i]];
        const char *name = onnx_text_of(b->model, y->name);
        if (!x->has_shape || !y->has_shape) continue;
        if (x->rank != y->rank || run_kind_of(x->type) != run_kind_of(y->type))
            return base_fail(error, FPR_DIFFERS, "the networks take other inputs: %.80s has other axes or another type", name);
        for (unsigned k = 0; k < x->rank; k++) {
            const int64_t m = dim_of(a, x, k), n = dim_of(b, y, k);
            if (m && n && m != n)
                return base_fail(error, FPR_DIFFERS, "the networks take other inputs: axis %u of %.80s is %lld long, in the other "
                                 "one %lld", k, name, (long long)n, (long long)m);
        }
    }
    return FPR_OK;
}

bool graph_input_shape(const graph *g, size_t input, int64_t batch, int64_t side, array *shape)
{
    const onnx_value *v = &g->model->values[g->inputs[input]];
    *shape = (array){.known = true, .rank = v->rank};
    if (!v->has_shape || v->rank > GRAPH_RANK_MAX) return false;
    for (unsigned i = 0; i < v->rank; i++)
        shape->dims[i] = dim_of(g, v, i) ? dim_of(g, v, i) : i == 0 ? batch : i == 1 ? 3 : side;
    return set_count(shape);
}

bool graph_is_open(const graph *g)
{
    bool open = false;
    for (size_t i = 0; i < g->input_count; i++) {
        const onnx_value *v = &g->model->values[g->inputs[i]];
        for (unsigned d = 2; v->has_shape && d < v->rank; d++) open = open || v->shape[d] <= 0;
    }
    return open;
}

/* ---- for the operators */

void run_fail(run *r, const char *why)
{
    if (r->status) return;
    r->status = base_fail(r->error, FPR_USAGE, "node %.60s (%.40s): %s", onnx_text_of(r->g->model, r->node->name),
                          onnx_text_of(r->g->model, r->node->op), why);
}

bool run_goes_on(run *r)
{
    if (!r->status && r->cancel && *r->cancel) r->status = base_fail(r->error, FPR_CANCELLED, "cancelled");
    return !r->status;
}

const array *run_in(const run *r, uint32_t input)
{
    if (input >= r->node->input_count || !r->node->inputs[input]) return NULL;
    return &r->values[r->node->inputs[input]];
}

const double *run_list(run *r, uint32_t input, int64_t *count)
{
    const array *a = run_in(r, input);
    *count = a ? (int64_t)a->count : 0;
    if (a && !a->data) r->unknown = true;
    return a ? a->data : NULL;
}

double *run_out(run *r, uint32_t output, unsigned rank, const int64_t *dims)
{
    array shape = {.known = true, .rank = rank};
    if (r->status || output >= r->node->output_count || !r->node->outputs[output]) return NULL;
    if (rank > GRAPH_RANK_MAX) {
        run_fail(r, "a value of more than eight axes");
        return NULL;
    }
    for (unsigned i = 0; i < rank; i++) shape.dims[i] = dims[i];
    shape.kind = r->kind;
    if (!set_count(&shape)) {
        run_fail(r, "its shapes do not fit together");
        return NULL;
    }
    array *a = &r->values[r->node->outputs[output]];
    run_let_go(r, a);
    *a = shape;
    /* A short file may ask for gigabytes that nobody looks at. */
    if (r->lacking || (r->shapes && a->count > LIST_MAX)) return NULL;
    if (!take(r, a)) return NULL;
    a->data = base_calloc(a->count, sizeof *a->data);
    if (!a->data) r->status = base_no_memory(r->error, a->count * sizeof *a->data), r->held -= a->count * sizeof *a->data;
    return a->data;
}

array_kind run_kind_of(int32_t type)
{
    const bool real = type == ONNX_FLOAT || type == ONNX_DOUBLE || type == ONNX_FLOAT16 || type == ONNX_BFLOAT16;
    return type == ONNX_BOOL ? ARRAY_TRUTH : real ? ARRAY_REAL : ARRAY_WHOLE;
}

/* ---- the run */

static void load_constant(run *r, onnx_name name)
{
    uint32_t tensor = r->g->values[name].tensor;
    array *a = &r->values[name];
    if (tensor == ONNX_NONE || a->known) return;
    const onnx_tensor *t = &r->g->model->tensors[tensor];
    array shape = {.known = true, .rank = t->rank, .kind = run_kind_of(t->type)};
    if (t->rank > GRAPH_RANK_MAX) return;
    for (unsigned i = 0; i < t->rank; i++) shape.dims[i] = (int64_t)t->shape[i];
    if (!set_count(&shape)) return;
    *a = shape;
    if ((r->shapes && t->elements > LIST_MAX) || t->skipped || !graph_is_number(t->dtype)) return;
    if (!take(r, a)) return;
    a->data = graph_tensor_values(r->g, tensor, r->error);
    if (!a->data) r->held -= a->count * sizeof *a->data;
    if (!a->data) r->status = r->error ? r->error->status : FPR_NO_MEMORY;
}

/* Everything but data of values that nobody reads any more. */
static void release(run *r, onnx_name name)
{
    if (name && r->left[name] && !--r->left[name] && !r->g->values[name].is_output && r->values[name].count > GRAPH_KEPT_MAX)
        run_let_go(r, &r->values[name]);
}

static void run_node(run *r, uint32_t node)
{
    const graph *g = r->g;
    const onnx_node *n = graph_node(g, node);
    bool unknown = !g->ops[node] || !g->ops[node]->run;
    r->node = n;
    r->op = g->ops[node];
    r->lacking = r->unknown = false;
    for (uint32_t i = 0; i < n->input_count && !r->status; i++) {
        if (!n->inputs[i]) continue;
        load_constant(r, n->inputs[i]);
        unknown = unknown || !r->values[n->inputs[i]].known;
        r->lacking = r->lacking || !r->values[n->inputs[i]].data;
    }
    if (!r->status && !unknown) {
        const array *like = run_in(r, r->op->makes == LIKE_SECOND);
        r->kind = r->op->makes == MAKES_WHOLE ? ARRAY_WHOLE : r->op->makes == MAKES_TRUTH ? ARRAY_TRUTH : like ? like->kind : ARRAY_REAL;
        r->op->run(r);
    }
    /* Shapes that do not fit are no error where shapes are only asked for: nothing is known of them. */
    const bool fails = r->shapes && r->status == FPR_USAGE;
    if (fails) r->status = FPR_OK;
    if (unknown || r->unknown || fails) {
        if (!r->shapes) run_fail(r, "is not evaluated");
        for (uint32_t k = 0; k < n->output_count; k++) {
            run_let_go(r, &r->values[n->outputs[k]]);
            r->values[n->outputs[k]] = (array){0};
        }
    }
    for (uint32_t i = 0; i < n->input_count; i++) release(r, n->inputs[i]);
}

static void set_inputs(run *r, const array *inputs)
{
    const graph *g = r->g;
    for (size_t i = 0; i < g->input_count && !r->status; i++) {
        array *a = &r->values[g->model->values[g->inputs[i]].name];
        *a = inputs[i];
        a->data = NULL;
        a->kind = run_kind_of(graph_input_type(g, i));
        if (!inputs[i].data) r->shapes = true;
        if (!inputs[i].data || !take(r, a)) continue;
        a->data = base_alloc(a->count, sizeof *a->data);
        if (!a->data) r->status = base_no_memory(r->error, a->count * sizeof *a->data);
        else memcpy(a->data, inputs[i].data, a->count * sizeof *a->data);
    }
}

fpr_status graph_run(const graph *g, const array *inputs, array *outputs, size_t output_count, array *values,
                     const volatile int *cancel, fpr_error *error)
{
    fpr_error own;
    const onnx_model *m = g->model;
    run r = {.g = g, .shapes = values != NULL, .cancel = cancel, .error = error ? error : &own};
    r.values = base_calloc(m->name_count, sizeof *r.values);
    r.left = base_calloc(m->name_count, sizeof *r.left);
    if (!r.values || !r.left) r.status = base_no_memory(error, m->name_count * sizeof *r.values);
    for (size_t i = 0; i < m->name_count && !r.status; i++) r.left[i] = g->values[i].readers;
    if (!r.status) set_inputs(&r, inputs);
    for (size_t i = 0; i < m->node_count && run_goes_on(&r); i++) run_node(&r, g->order[i]);
    for (size_t i = 0; i < output_count && i < g->output_count && !r.status; i++) {
        onnx_name name = m->values[g->outputs[i]].name;
        load_constant(&r, name);
        outputs[i] = r.values[name];
        r.values[name].data = NULL;
    }
    for (size_t i = 0; i < m->name_count && r.values; i++) {
        /* Short lists stay with the shapes: they may be the target of a Reshape. */
        if (!values || r.status || r.values[i].count > GRAPH_KEPT_MAX) array_free(&r.values[i]);
        if (values) values[i] = r.values[i];
    }
    base_free(r.values);
    base_free(r.left);
    return r.status;
}

/* What moves entries and does not compute with them: shapes, parts, copies. */
#include "graph/inner.h"

#include <math.h>

const double *run_either(run *r, const char *attribute, uint32_t input, double *own, int64_t *count)
{
    uint32_t n;
    const int64_t *ints = graph_ints(r->g, r->node, attribute, &n);
    if (!ints) return run_list(r, input, count);
    *count = n;
    for (uint32_t i = 0; i < n && i < 2 * GRAPH_RANK_MAX; i++) own[i] = (double)ints[i];
    if (n > 2 * GRAPH_RANK_MAX) run_fail(r, "a value of more than eight axes");
    return own;
}

int run_axis(run *r, double axis, unsigned rank)
{
    if (axis < 0) axis += rank;
    if (axis >= 0 && axis < rank) return (int)axis;
    run_fail(r, "its axis is out of range");
    return -1;
}

/* A size as a list names it; what no array has becomes negative, which none is made with. */
static int64_t size_of(double n) { return n >= -INT32_MAX && n <= INT32_MAX ? (int64_t)n : INT32_MIN; }

static void set_copy(run *r, const array *x, unsigned rank, const int64_t *dims)
{
    double *y = run_out(r, 0, rank, dims);
    if (r->status || r->unknown || !r->node->output_count || !r->node->outputs[0]) return;
    if (r->values[r->node->outputs[0]].count != x->count) return run_fail(r, "its shapes do not fit together");
    if (y) memcpy(y, x->data, x->count * sizeof *y);
}

void run_flatten(run *r)
{
    const array *x = run_in(r, 0);
    int64_t axis = graph_int(r->g, r->node, "axis", 1), dims[2] = {1, 1};
    if (!x) return;
    if (axis < 0) axis += x->rank;
    for (unsigned i = 0; i < x->rank; i++) dims[i >= (uint64_t)axis] *= x->dims[i];
    set_copy(r, x, 2, dims);
}

void run_reshape(run *r)
{
    const array *x = run_in(r, 0);
    double own[2 * GRAPH_RANK_MAX];
    int64_t count, dims[GRAPH_RANK_MAX], rest = 1, open = -1;
    const double *shape = run_either(r, "shape", 1, own, &count);
    bool zero = graph_int(r->g, r->node, "allowzero", 0);
    if (!x || !shape || r->status) return;
    if (count > GRAPH_RANK_MAX) return run_fail(r, "a value of more than eight axes");
    for (int64_t i = 0; i < count; i++) {
        dims[i] = size_of(shape[i]);
        if (!dims[i] && !zero) dims[i] = i < x->rank ? x->dims[i] : -2;
        if (dims[i] == -1) open = i;
        else rest *= dims[i];
        if (rest < 0 || rest > INT32_MAX || dims[i] > INT32_MAX)
            return run_fail(r, "its shapes do not fit together");
    }
    if (open >= 0) dims[open] = rest ? (int64_t)x->count / rest : 0;
    set_copy(r, x, (unsigned)count, dims);
}

void run_squeeze(run *r)
{
    const array *x = run_in(r, 0);
    double own[2 * GRAPH_RANK_MAX];
    int64_t count, dims[GRAPH_RANK_MAX];
    const double *axes = run_either(r, "axes", 1, own, &count);
    unsigned gone = 0, rank = 0;
    if (!x || r->unknown || r->status) return;
    for (int64_t i = 0; axes && i < count; i++) {
        int a = run_axis(r, axes[i], x->rank);
        if (a < 0) return;
        gone |= 1u << a;
    }
    for (unsigned i = 0; i < x->rank; i++)
        if (axes ? !(gone >> i & 1) : x->dims[i] != 1) dims[rank++] = x->dims[i];
    set_copy(r, x, rank, dims);
}

void run_unsqueeze(run *r)
{
    const array *x = run_in(r, 0);
    double own[2 * GRAPH_RANK_MAX];
    int64_t count, dims[GRAPH_RANK_MAX];
    const double *axes = run_either(r, "axes", 1, own, &count);
    if (!x || !axes || r->status) return;
    if (x->rank + (uint64_t)count > GRAPH_RANK_MAX) return run_fail(r, "a value of more than eight axes");
    unsigned rank = x->rank + (unsigned)count, added = 0, from = 0;
    for (int64_t i = 0; i < count; i++) {
        int a = run_axis(r, axes[i], rank);
        if (a < 0) return;
        added |= 1u << a;
    }
    for (unsigned i = 0; i < rank; i++) dims[i] = added >> i & 1 ? 1 : from < x->rank ? x->dims[from++] : 1;
    set_copy(r, x, rank, dims);
}

void run_shape(run *r)
{
    const array *x = run_in(r, 0);
    int64_t n = x ? x->rank : 0, from = graph_int(r->g, r->node, "start", 0), to = graph_int(r->g, r->node, "end", n);
    if (!x) return;
    from = from < -n ? 0 : from < 0 ? from + n : from > n ? n : from;
    to = to < -n ? 0 : to < 0 ? to + n : to > n ? n : to;
    int64_t dims[1] = {to > from ? to - from : 0};
    r->lacking = false; /* a shape is known without the data */
    double *y = run_out(r, 0, 1, dims);
    for (int64_t i = 0; y && i < dims[0]; i++) y[i] = (double)x->dims[from + i];
}

void run_expand(run *r)
{
    const array *x = run_in(r, 0);
    int64_t count, dims[GRAPH_RANK_MAX];
    const double *shape = run_list(r, 1, &count);
    if (!x || !shape) return;
    unsigned rank = x->rank > count ? x->rank : (unsigned)count;
    if (rank > GRAPH_RANK_MAX) return run_fail(r, "a value of more than eight axes");
    for (unsigned i = 0; i < rank; i++) {
        int64_t a = i + x->rank >= rank ? x->dims[i + x->rank - rank] : 1;
        int64_t b = i + (uint64_t)count >= rank ? size_of(shape[i + (uint64_t)count - rank]) : 1;
        if (a != b && a != 1 && b != 1) return run_fail(r, "its shapes do not fit together");
        dims[i] = a == 1 ? b : a;
    }
    double *y = run_out(r, 0, rank, dims);
    uint64_t all = y ? r->values[r->node->outputs[0]].count : 0;
    for (uint64_t i = 0; i < all; i++) {
        uint64_t rest = i, from = 0, step = 1;
        for (unsigned d = rank; d-- > 0; rest /= (uint64_t)dims[d]) {
            int at = (int)d - (int)(rank - x->rank);
            if (at < 0) continue;
            if (x->dims[at] != 1) from += rest % (uint64_t)dims[d] * step;
            step *= (uint64_t)x->dims[at];
        }
        y[i] = x->data[from];
    }
}

/* Constant and ConstantOfShape. */
void run_fill(run *r)
{
    const graph *g = r->g;
    const onnx_attribute *a = onnx_find_attribute(g->model, r->node, "value");
    if (!r->node->output_count) return;
    if (!strcmp(r->op->name, "ConstantOfShape")) {
        int64_t count, dims[GRAPH_RANK_MAX];
        const double *shape = run_list(r, 0, &count);
        if (!shape) return;
        if (count > GRAPH_RANK_MAX) return run_fail(r, "a value of more than eight axes");
        for (int64_t i = 0; i < count; i++) dims[i] = size_of(shape[i]);
        if (a && a->tensor != ONNX_NONE && !g->model->tensors[a->tensor].elements)
            return run_fail(r, "its value is none");
        if (a && a->tensor != ONNX_NONE) r->kind = run_kind_of(g->model->tensors[a->tensor].type);
        double *v = a && a->tensor != ONNX_NONE ? graph_tensor_values(g, a->tensor, r->error) : NULL;
        double *y = run_out(r, 0, (unsigned)count, dims), fill = v ? *v : 0;
        for (uint64_t i = 0; y && i < r->values[r->node->outputs[0]].count; i++) y[i] = fill;
        base_free(v);
        return;
    }
    if (a && a->tensor != ONNX_NONE) return; /* loaded where it is read */
    a = r->node->attribute_count == 1 ? &r->node->attributes[0] : NULL;
    const char *name = a ? onnx_text_of(g->model, a->name) : "";
    bool ints = !strcmp(name, "value_ints"), floats = !strcmp(name, "value_floats");
    if (!ints && !floats && strcmp(name, "value_int") != 0 && strcmp(name, "value_float") != 0) {
        r->unknown = true;
        return;
    }
    int64_t dims[1] = {ints ? a->int_count : a->float_count};
    if (ints || !strcmp(name, "value_int")) r->kind = ARRAY_WHOLE;
    double *y = run_out(r, 0, ints || floats, dims);
    for (int64_t i = 0; y && (ints || floats) && i < dims[0]; i++) y[i] = ints ? (double)a->ints[i] : (double)a->floats[i];
    if (y && !ints && !floats) *y = !strcmp(name, "value_int") ? (double)a->i : (double)a->f;
}

/* ---- parts */

/* Copies a block of lines along one axis: `n` of them, from x[at] to y[to]. */
static void copy_lines(const array *x, double *y, unsigned axis, int64_t at, int64_t y_lines, int64_t to, int64_t n)
{
    const run_lines l = run_lines_of(x, axis);
    for (uint64_t o = 0; o < l.outer; o++)
        memcpy(y + (o * (uint64_t)y_lines + (uint64_t)to) * l.inner, x->data + (o * l.n + (uint64_t)at) * l.inner,
               (uint64_t)n * l.inner * sizeof *y);
}

void run_concat(run *r)
{
    const array *first = run_in(r, 0);
    int64_t dims[GRAPH_RANK_MAX], at = 0;
    int axis = first ? run_axis(r, (double)graph_int(r->g, r->node, "axis", 1), first->rank) : -1;
    if (axis < 0) return;
    memcpy(dims, first->dims, sizeof dims);
    dims[axis] = 0;
    for (uint32_t i = 0; i < r->node->input_count; i++) {
        const array *x = run_in(r, i);
        bool fits = x && x->rank == first->rank;
        for (unsigned d = 0; fits && d < x->rank; d++) fits = d == (unsigned)axis || x->dims[d] == dims[d];
        if (!fits) return run_fail(r, "its shapes do not fit together");
        dims[axis] += x->dims[axis];
    }
    double *y = run_out(r, 0, first->rank, dims);
    for (uint32_t i = 0; y && i < r->node->input_count; i++) {
        const array *x = run_in(r, i);
        copy_lines(x, y, (unsigned)axis, 0, dims[axis], at, x->dims[axis]);
        at += x->dims[axis];
    }
}

void run_split(run *r)
{
    const array *x = run_in(r, 0);
    double own[2 * GRAPH_RANK_MAX];
    int64_t count = 0, at = 0, dims[GRAPH_RANK_MAX];
    int axis = x ? run_axis(r, (double)graph_int(r->g, r->node, "axis", 0), x->rank) : -1;
    const double *sizes = run_either(r, "split", 1, own, &count);
    int64_t outs = r->node->output_count, even;
    if (axis < 0 || r->unknown || r->status || !outs) return;
    if (sizes && count != outs) return run_fail(r, "its shapes do not fit together");
    even = (x->dims[axis] + outs - 1) / outs;
    memcpy(dims, x->dims, sizeof dims);
    for (uint32_t k = 0; k < outs && !r->status; k++) {
        int64_t rest = x->dims[axis] - at;
        dims[axis] = sizes ? size_of(sizes[k]) : rest < even ? rest : even;
        if (dims[axis] > rest) return run_fail(r, "its shapes do not fit together");
        double *y = run_out(r, k, x->rank, dims);
        if (y) copy_lines(x, y, (unsigned)axis, at, dims[axis], 0, dims[axis]);
        at += dims[axis];
    }
}

static double entry(const double *list, int64_t i, double otherwise) { return list ? list[i] : otherwise; }

/* Where a slice begins, how long it is, and its step, along every axis. */
static bool slice_ranges(run *r, const array *x, int64_t *from, int64_t *n, int64_t *step)
{
    double s[2 * GRAPH_RANK_MAX], e[2 * GRAPH_RANK_MAX], a[2 * GRAPH_RANK_MAX];
    int64_t count, ends_count, axes_count, steps_count = 0;
    const double *starts = run_either(r, "starts", 1, s, &count), *ends = run_either(r, "ends", 2, e, &ends_count);
    const double *axes = run_either(r, "axes", 3, a, &axes_count), *steps = run_list(r, 4, &steps_count);
    if (r->unknown || r->status || !starts || !ends || ends_count != count || (axes && axes_count != count) ||
        (steps && steps_count != count)) {
        if (!r->unknown) run_fail(r, "its ranges are not given");
        return false;
    }
    for (unsigned i = 0; i < x->rank; i++) from[i] = 0, n[i] = x->dims[i], step[i] = 1;
    for (int64_t i = 0; i < count; i++) {
        int d = run_axis(r, entry(axes, i, (double)i), x->rank);
        double size = d < 0 ? 0 : (double)x->dims[d], by = entry(steps, i, 1), b = starts[i], t = ends[i];
        if (d < 0 || by == 0) return run_fail(r, "its ranges are not given"), false;
        b = b < 0 ? b + size : b;
        t = t < 0 ? t + size : t;
        b = by > 0 ? fmin(fmax(b, 0), size) : fmin(fmax(b, 0), size - 1);
        t = by > 0 ? fmin(fmax(t, 0), size) : fmin(fmax(t, -1), size - 1);
        double lines = ceil((t - b) / by);
        from[d] = (int64_t)b;
        step[d] = (int64_t)by;
        n[d] = lines > 0 ? (int64_t)lines : 0;
    }
    return true;
}

void run_slice(run *r)
{
    const array *x = run_in(r, 0);
    int64_t from[GRAPH_RANK_MAX], n[GRAPH_RANK_MAX], step[GRAPH_RANK_MAX];
    if (!x || !slice_ranges(r, x, from, n, step)) return;
    double *y = run_out(r, 0, x->rank, n);
    uint64_t all = y ? r->values[r->node->outputs[0]].count : 0;
    for (uint64_t i = 0; i < all; i++) {
        uint64_t rest = i;
        int64_t at = 0, stride = 1;
        for (unsigned d = x->rank; d-- > 0; rest /= (uint64_t)n[d]) {
            at += (from[d] + (int64_t)(rest % (uint64_t)n[d]) * step[d]) * stride;
            stride *= x->dims[d];
        }
        y[i] = x->data[at];
    }
}

/* y: x, an array of those dims, with axis i of y being axis perm[i] of x. */
static void permute(double *y, const double *x, uint64_t count, unsigned rank, const int64_t *dims, const int64_t *perm)
{
    int64_t stride = 1, strides[GRAPH_RANK_MAX] = {0};
    for (unsigned i = rank; i-- > 0; stride *= dims[i]) strides[i] = stride;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t rest = i;
        int64_t at = 0;
        for (unsigned d = rank; d-- > 0; rest /= (uint64_t)dims[perm[d]])
            at += (int64_t)(rest % (uint64_t)dims[perm[d]]) * strides[perm[d]];
        y[i] = x[at];
    }
}

void run_transpose(run *r)
{
    const array *x = run_in(r, 0);
    uint32_t n;
    const int64_t *given = graph_ints(r->g, r->node, "perm", &n);
    int64_t dims[GRAPH_RANK_MAX], perm[GRAPH_RANK_MAX];
    if (!x || (given && n != x->rank)) return run_fail(r, "its axis is out of range");
    for (unsigned i = 0; i < x->rank; i++) {
        perm[i] = given ? given[i] : (int64_t)(x->rank - 1 - i);
        if (perm[i] < 0 || perm[i] >= x->rank) return run_fail(r, "its axis is out of range");
        dims[i] = x->dims[perm[i]];
    }
    double *y = run_out(r, 0, x->rank, dims);
    if (y) permute(y, x->data, x->count, x->rank, x->dims, perm);
}

/* DepthToSpace: channels become b x b blocks of the picture, those of one block apart (DCR) or side by side (CRD). */
void run_depth_to_space(run *r)
{
    static const int64_t apart[] = {0, 3, 4, 1, 5, 2}, beside[] = {0, 1, 4, 2, 5, 3};
    const array *x = run_in(r, 0);
    const int64_t b = graph_int(r->g, r->node, "blocksize", 0);
    if (!x) return;
    if (x->rank != 4 || b < 1 || b > INT16_MAX || x->dims[1] % (b * b)) return run_fail(r, "its shapes do not fit together");
    const bool dcr = graph_text_is(r->g, r->node, "mode", "DCR", true);
    const int64_t c = x->dims[1] / (b * b), h = x->dims[2], w = x->dims[3];
    const int64_t seen[] = {x->dims[0], dcr ? b : c, b, dcr ? c : b, h, w}, dims[] = {x->dims[0], c, h * b, w * b};
    double *y = run_out(r, 0, 4, dims);
    if (y) permute(y, x->data, x->count, 6, seen, dcr ? apart : beside);
}

/* SpaceToDepth: its way back, with the channels of a block apart. */
void run_space_to_depth(run *r)
{
    static const int64_t perm[] = {0, 3, 5, 1, 2, 4};
    const array *x = run_in(r, 0);
    const int64_t b = graph_int(r->g, r->node, "blocksize", 0);
    if (!x) return;
    if (x->rank != 4 || b < 1 || b > INT16_MAX || x->dims[2] % b || x->dims[3] % b)
        return run_fail(r, "its shapes do not fit together");
    const int64_t c = x->dims[1], h = x->dims[2] / b, w = x->dims[3] / b;
    const int64_t seen[] = {x->dims[0], c, h, b, w, b}, dims[] = {x->dims[0], c * b * b, h, w};
    double *y = run_out(r, 0, 4, dims);
    if (y) permute(y, x->data, x->count, 6, seen, perm);
}

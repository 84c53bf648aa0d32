/* Along axes: sums, means, extremes and norms, running sums, the places of the largest. */
#include "graph/inner.h"

#include <math.h>

/* ---- reductions: what each entry adds, how two are joined, what becomes of the whole of n of them */

typedef struct reduction {
    const char *op;
    double start;
    double (*add)(double sofar, double x);
    double (*end)(double sum, double n);
} reduction;

static double add_sum(double s, double x) { return s + x; }
static double add_abs(double s, double x) { return s + fabs(x); }
static double add_square(double s, double x) { return s + x * x; }
/* Of logarithms: the larger one is taken out, so that nothing overflows. */
static double add_exp(double s, double x)
{
    const double most = s > x ? s : x;
    if (isinf(most)) return isnan(s) ? s : most;
    return most + log1p(exp(-fabs(s - x)));
}
static double add_product(double s, double x) { return s * x; }
static double end_same(double s, double n) { (void)n; return s; }
static double end_mean(double s, double n) { return s / n; }
static double end_root(double s, double n) { (void)n; return sqrt(s); }
static double end_log(double s, double n) { (void)n; return log(s); }

static const reduction reductions[] = {
    {"ReduceSum", 0, add_sum, end_same}, {"ReduceMean", 0, add_sum, end_mean}, {"ReduceMax", -INFINITY, fmax, end_same},
    {"ReduceMin", INFINITY, fmin, end_same}, {"ReduceProd", 1, add_product, end_same}, {"ReduceL1", 0, add_abs, end_same},
    {"ReduceL2", 0, add_square, end_root}, {"ReduceSumSquare", 0, add_square, end_same},
    {"ReduceLogSum", 0, add_sum, end_log}, {"ReduceLogSumExp", -INFINITY, add_exp, end_same},
};

static const reduction *reduction_of(const char *op)
{
    size_t i = 0;
    while (i + 1 < sizeof reductions / sizeof *reductions && strcmp(reductions[i].op, op) != 0) i++;
    return &reductions[i];
}

void run_reduce(run *r)
{
    const array *x = run_in(r, 0);
    const reduction *how = reduction_of(r->op->name);
    double own[2 * GRAPH_RANK_MAX];
    int64_t count, dims[GRAPH_RANK_MAX], full[GRAPH_RANK_MAX];
    const double *axes = run_either(r, "axes", 1, own, &count);
    bool keep = graph_int(r->g, r->node, "keepdims", 1);
    unsigned gone = axes && count ? 0 : ~0u, rank = 0;
    if (!x || r->unknown || r->status) return;
    if (gone && graph_int(r->g, r->node, "noop_with_empty_axes", 0)) gone = 0;
    for (int64_t i = 0; axes && i < count; i++) {
        int a = run_axis(r, axes[i], x->rank);
        if (a < 0) return;
        gone |= 1u << a;
    }
    double folded = 1;
    for (unsigned i = 0; i < x->rank; i++) {
        full[i] = gone >> i & 1 ? 1 : x->dims[i];
        if (gone >> i & 1) folded *= (double)x->dims[i];
        if (keep || !(gone >> i & 1)) dims[rank++] = full[i];
    }
    double *y = run_out(r, 0, rank, dims);
    uint64_t all = y ? r->values[r->node->outputs[0]].count : 0;
    for (uint64_t i = 0; i < all; i++) y[i] = how->start;
    for (uint64_t i = 0; y && i < x->count; i++) {
        uint64_t rest = i, to = 0, step = 1;
        for (unsigned d = x->rank; d-- > 0; rest /= (uint64_t)x->dims[d]) {
            if (!(gone >> d & 1)) to += rest % (uint64_t)x->dims[d] * step;
            step *= (uint64_t)full[d];
        }
        y[to] = how->add(y[to], x->data[i]);
    }
    const bool whole = r->kind == ARRAY_WHOLE && how->end == end_mean;
    for (uint64_t i = 0; i < all; i++) y[i] = whole ? trunc(how->end(y[i], folded)) : how->end(y[i], folded);
}

/* ---- lines */

void run_arg(run *r)
{
    const array *x = run_in(r, 0);
    const int axis = x ? run_axis(r, (double)graph_int(r->g, r->node, "axis", 0), x->rank) : -1;
    const bool keep = graph_int(r->g, r->node, "keepdims", 1), last = graph_int(r->g, r->node, "select_last_index", 0);
    const double sign = strcmp(r->op->name, "ArgMin") != 0 ? 1 : -1;
    int64_t dims[GRAPH_RANK_MAX];
    unsigned rank = 0;
    if (axis < 0) return;
    if (!x->dims[axis]) return run_fail(r, "it looks for what has no entries");
    for (unsigned i = 0; i < x->rank; i++)
        if (keep || i != (unsigned)axis) dims[rank++] = i == (unsigned)axis ? 1 : x->dims[i];
    const run_lines l = run_lines_of(x, (unsigned)axis);
    double *y = run_out(r, 0, rank, dims);
    for (uint64_t i = 0; y && i < l.outer * l.inner; i++) {
        const double *line = x->data + i / l.inner * l.n * l.inner + i % l.inner;
        uint64_t best = 0;
        for (uint64_t k = 1; k < l.n; k++) {
            double more = sign * (line[k * l.inner] - line[best * l.inner]);
            if (more > 0 || (last && more == 0)) best = k;
        }
        y[i] = (double)best;
    }
}

void run_cumulative(run *r)
{
    const array *x = run_in(r, 0);
    int64_t count;
    const double *axes = run_list(r, 1, &count);
    const bool exclusive = graph_int(r->g, r->node, "exclusive", 0), reverse = graph_int(r->g, r->node, "reverse", 0);
    if (!x || r->unknown) return;
    if (!axes || count != 1) return run_fail(r, "its axis is out of range");
    const int axis = run_axis(r, *axes, x->rank);
    if (axis < 0) return;
    const run_lines l = run_lines_of(x, (unsigned)axis);
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < l.outer * l.inner; i++) {
        const uint64_t line = i / l.inner * l.n * l.inner + i % l.inner;
        double sum = 0;
        for (uint64_t k = 0; k < l.n; k++) {
            const uint64_t at = line + (reverse ? l.n - 1 - k : k) * l.inner;
            y[at] = exclusive ? sum : sum + x->data[at];
            sum += x->data[at];
        }
    }
}

/* ---- TopK: each line sorted by merging, the first of equals first */

static bool comes_first(double a, double b, bool largest) { return largest ? a >= b : a <= b; }

static void sort_line(const double *line, uint64_t inner, uint64_t n, bool largest, uint64_t *order, uint64_t *other)
{
    for (uint64_t i = 0; i < n; i++) order[i] = i;
    for (uint64_t width = 1; width < n; width *= 2) {
        for (uint64_t from = 0; from < n; from += 2 * width) {
            uint64_t middle = from + width < n ? from + width : n, end = from + 2 * width < n ? from + 2 * width : n;
            for (uint64_t a = from, b = middle, to = from; to < end; to++) {
                bool left = a < middle && (b >= end || comes_first(line[order[a] * inner], line[order[b] * inner], largest));
                other[to] = order[left ? a++ : b++];
            }
        }
        memcpy(order, other, n * sizeof *order);
    }
}

void run_top(run *r)
{
    const array *x = run_in(r, 0);
    int64_t count, dims[GRAPH_RANK_MAX];
    const double *wanted = run_list(r, 1, &count);
    const bool largest = graph_int(r->g, r->node, "largest", 1);
    const onnx_attribute *old = onnx_find_attribute(r->g->model, r->node, "k");
    if (!x || r->unknown) return;
    const double k = wanted && count ? *wanted : old ? (double)old->i : -1;
    const int axis = run_axis(r, (double)graph_int(r->g, r->node, "axis", -1), x->rank);
    if (axis < 0) return;
    if (!(k >= 0 && k <= (double)x->dims[axis])) return run_fail(r, "its shapes do not fit together");
    const run_lines l = run_lines_of(x, (unsigned)axis);
    memcpy(dims, x->dims, sizeof dims);
    dims[axis] = (int64_t)k;
    double *values = run_out(r, 0, x->rank, dims);
    r->kind = ARRAY_WHOLE;
    double *places = run_out(r, 1, x->rank, dims);
    if (!values && !places) return;
    uint64_t *order = base_alloc(l.n, sizeof *order), *other = base_alloc(l.n, sizeof *other);
    if (!order || !other) r->status = base_no_memory(r->error, l.n * sizeof *order);
    for (uint64_t i = 0; i < l.outer * l.inner && run_goes_on(r); i++) {
        const double *line = x->data + i / l.inner * l.n * l.inner + i % l.inner;
        const uint64_t to = i / l.inner * (uint64_t)dims[axis] * l.inner + i % l.inner;
        sort_line(line, l.inner, l.n, largest, order, other);
        for (uint64_t j = 0; j < (uint64_t)dims[axis]; j++) {
            if (values) values[to + j * l.inner] = line[order[j] * l.inner];
            if (places) places[to + j * l.inner] = (double)order[j];
        }
    }
    base_free(order);
    base_free(other);
}

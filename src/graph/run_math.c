/* Entry by entry, and matrix products. */
#include "graph/inner.h"

#include <math.h>

/* ---- one input */

bool graph_unary_parameters(const graph *g, const onnx_node *n, double p[2])
{
    const char *op = onnx_text_of(g->model, n->op);
    static const struct { const char *op; double alpha, beta; } defaults[] = {
        {"LeakyRelu", 0.01, 0}, {"HardSigmoid", 0.2, 0.5}, {"Elu", 1, 0}, {"Celu", 1, 0}, {"ThresholdedRelu", 1, 0},
        {"Selu", 1.67326319217681884765625, 1.05070102214813232421875},
    };
    p[0] = p[1] = 0;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (!strcmp(op, defaults[i].op)) {
            p[0] = graph_float(g, n, "alpha", defaults[i].alpha);
            p[1] = graph_float(g, n, !strcmp(op, "Selu") ? "gamma" : "beta", defaults[i].beta);
        }
    if (!strcmp(op, "Shrink")) p[0] = graph_float(g, n, "lambd", 0.5), p[1] = graph_float(g, n, "bias", 0);
    if (!strcmp(op, "Gelu")) p[0] = graph_text_is(g, n, "approximate", "tanh", false);
    if (strcmp(op, "Clip") != 0) return true;
    p[0] = graph_float(g, n, "min", -INFINITY);
    p[1] = graph_float(g, n, "max", INFINITY);
    for (uint32_t i = 1; i < n->input_count && i < 3; i++) {
        int64_t count;
        if (!n->inputs[i]) continue;
        double *v = graph_list(g, n->inputs[i], &count);
        if (v && count == 1) p[i - 1] = *v;
        base_free(v);
        if (!v || count != 1) return false;
    }
    return true;
}

void run_unary(run *r)
{
    const array *x = run_in(r, 0);
    double p[2];
    if (!x) return;
    if (!graph_unary_parameters(r->g, r->node, p)) /* limits of a Clip that are computed */
        for (uint32_t k = 0; k < 2; k++) {
            const array *limit = run_in(r, k + 1);
            if (limit && limit->count != 1) return run_fail(r, "its limits are not numbers");
            p[k] = limit && limit->data ? *limit->data : k ? INFINITY : -INFINITY;
        }
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < x->count; i++) y[i] = r->op->unary(x->data[i], p);
}

/* Whole numbers of fewer bits: the last bits of what is cast. */
static double wrap(double x, double least, double most)
{
    const double span = most - least + 1;
    return isfinite(x) ? x - span * floor((x - least) / span) : x;
}

/* Cast, and CastLike to the type of its second input. */
void run_cast(run *r)
{
    const array *x = run_in(r, 0), *like = run_in(r, 1);
    if (!x) return;
    r->lacking = !x->data; /* of the second one the type counts alone */
    const uint32_t t = like ? r->g->values[r->node->inputs[1]].tensor : ONNX_NONE;
    const int32_t type = t != ONNX_NONE ? r->g->model->tensors[t].type : (int32_t)graph_int(r->g, r->node, "to", ONNX_FLOAT);
    r->kind = like ? like->kind : run_kind_of(type);
    const array_kind kind = r->kind;
    double least, most;
    const bool narrow = run_limits(type, &least, &most);
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < x->count; i++)
        y[i] = kind == ARRAY_TRUTH ? x->data[i] != 0 : kind == ARRAY_WHOLE ? trunc(x->data[i]) : x->data[i];
    for (uint64_t i = 0; y && narrow && i < x->count; i++) y[i] = wrap(y[i], least, most);
}

/* ---- broadcasting */

static bool broadcast(const array *a, const array *b, array *out)
{
    out->rank = a->rank > b->rank ? a->rank : b->rank;
    for (unsigned i = 0; i < out->rank; i++) {
        unsigned back = out->rank - i;
        int64_t x = back <= a->rank ? a->dims[a->rank - back] : 1, y = back <= b->rank ? b->dims[b->rank - back] : 1;
        if (x != y && x != 1 && y != 1) return false;
        out->dims[i] = x == 1 ? y : x;
    }
    return true;
}

/* Steps of an input along the axes of the output. */
static void steps_of(const array *a, const array *out, int64_t *step)
{
    int64_t stride = 1;
    for (unsigned i = 0; i < out->rank; i++) step[i] = 0;
    for (unsigned i = a->rank; i-- > 0;) {
        step[out->rank - a->rank + i] = a->dims[i] == 1 ? 0 : stride;
        stride *= a->dims[i];
    }
}

static double slope(double x, double s) { return x < 0 ? s * x : x; }

static void combine(run *r, const array *a, const array *b, double (*f)(double, double))
{
    array shape = {0};
    int64_t sa[GRAPH_RANK_MAX], sb[GRAPH_RANK_MAX], at[GRAPH_RANK_MAX] = {0}, ia = 0, ib = 0;
    if (!broadcast(a, b, &shape)) {
        run_fail(r, "its shapes do not fit together");
        return;
    }
    steps_of(a, &shape, sa);
    steps_of(b, &shape, sb);
    double *y = run_out(r, 0, shape.rank, shape.dims);
    uint64_t count = r->values[r->node->outputs[0]].count;
    for (uint64_t i = 0; y && i < count; i++) {
        y[i] = f(a->data[ia], b->data[ib]);
        for (unsigned d = shape.rank; d-- > 0;) {
            ia += sa[d];
            ib += sb[d];
            if (++at[d] < shape.dims[d]) break;
            ia -= sa[d] * shape.dims[d];
            ib -= sb[d] * shape.dims[d];
            at[d] = 0;
        }
    }
}

void run_prelu(run *r)
{
    const array *x = run_in(r, 0), *s = run_in(r, 1);
    if (r->g->model->opset < 7 && s && s->count != 1) run_fail(r, "broadcasts as opset 6 did");
    if (x && s && !r->status) combine(r, x, s, slope);
}

void run_nary(run *r)
{
    const array *a = run_in(r, 0), *b = run_in(r, 1);
    /* Before opset 7 shapes were lined up by an attribute. */
    if (onnx_find_attribute(r->g->model, r->node, "axis")) run_fail(r, "broadcasts as opset 6 did");
    if (a && !b) {
        double *y = run_out(r, 0, a->rank, a->dims);
        if (y) memcpy(y, a->data, a->count * sizeof *y);
    }
    if (!a || !b || r->status) return;
    combine(r, a, b, r->op->binary);
    for (uint32_t i = 2; i < r->node->input_count && !r->status; i++) {
        array before = r->values[r->node->outputs[0]];
        r->values[r->node->outputs[0]].data = NULL;
        if (run_in(r, i)) combine(r, &before, run_in(r, i), r->op->binary);
        run_let_go(r, &before);
    }
    /* Whole numbers are divided as whole numbers: what a shape is computed from. */
    const bool whole = a->kind == ARRAY_WHOLE && (!strcmp(r->op->name, "Div") || !strcmp(r->op->name, "Pow"));
    const array *y = &r->values[r->node->outputs[0]];
    for (uint64_t i = 0; whole && y->data && i < y->count; i++) y->data[i] = trunc(y->data[i]);
}

/* The remainder has the sign of the divisor, or with fmod that of what is divided. */
static double mod_floor(double a, double b) { return a - b * floor(a / b); }

void run_mod(run *r)
{
    const array *a = run_in(r, 0), *b = run_in(r, 1);
    if (a && b) combine(r, a, b, graph_int(r->g, r->node, "fmod", 0) ? fmod : mod_floor);
}

/* All three are broadcast together. */
void run_where(run *r)
{
    const array *c = run_in(r, 0), *a = run_in(r, 1), *b = run_in(r, 2);
    array pair = {0}, shape = {0};
    int64_t steps[3][GRAPH_RANK_MAX];
    if (!c || !a || !b) return;
    if (!broadcast(a, b, &pair) || !broadcast(c, &pair, &shape)) return run_fail(r, "its shapes do not fit together");
    steps_of(c, &shape, steps[0]);
    steps_of(a, &shape, steps[1]);
    steps_of(b, &shape, steps[2]);
    double *y = run_out(r, 0, shape.rank, shape.dims);
    const uint64_t count = y ? r->values[r->node->outputs[0]].count : 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t rest = i;
        int64_t at[3] = {0};
        for (unsigned d = shape.rank; d-- > 0; rest /= (uint64_t)shape.dims[d])
            for (int k = 0; k < 3; k++) at[k] += (int64_t)(rest % (uint64_t)shape.dims[d]) * steps[k][d];
        y[i] = c->data[at[0]] != 0 ? a->data[at[1]] : b->data[at[2]];
    }
}

void run_softmax(run *r)
{
    const array *x = run_in(r, 0);
    if (!x || !x->rank) return;
    bool old = r->g->model->opset < 13, logs = !strcmp(r->op->name, "LogSoftmax");
    int64_t axis = graph_int(r->g, r->node, "axis", old ? 1 : -1);
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= x->rank) return run_fail(r, "its axis is out of range");
    uint64_t n = (uint64_t)x->dims[axis], inner = 1;
    for (unsigned i = (unsigned)axis + 1; i < x->rank; i++) old ? (n *= (uint64_t)x->dims[i]) : (inner *= (uint64_t)x->dims[i]);
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && n && i < x->count; i++) {
        if (i / inner % n) continue; /* each line once, from its first entry */
        double most = x->data[i], sum = 0;
        for (uint64_t k = 0; k < n; k++) most = fmax(most, x->data[i + k * inner]);
        for (uint64_t k = 0; k < n; k++) sum += y[i + k * inner] = exp(x->data[i + k * inner] - most);
        for (uint64_t k = 0; k < n; k++)
            y[i + k * inner] = logs ? x->data[i + k * inner] - most - log(sum) : y[i + k * inner] / sum;
    }
}

/* ---- matrix products */

void run_gemm(run *r)
{
    const array *a = run_in(r, 0), *b = run_in(r, 1), *c = run_in(r, 2);
    if (!a || !b || a->rank != 2 || b->rank != 2) return run_fail(r, "its operands are no matrices");
    bool ta = graph_int(r->g, r->node, "transA", 0), tb = graph_int(r->g, r->node, "transB", 0);
    double alpha = graph_float(r->g, r->node, "alpha", 1), beta = graph_float(r->g, r->node, "beta", 1);
    int64_t m = a->dims[ta], k = a->dims[!ta], n = b->dims[!tb], dims[2] = {m, n};
    array shape = {.rank = 2, .dims = {m, n}}, fit;
    if (b->dims[tb] != k || (c && (!broadcast(c, &shape, &fit) || fit.rank != 2 || fit.dims[0] != m || fit.dims[1] != n)))
        return run_fail(r, "its shapes do not fit together");
    int64_t step[GRAPH_RANK_MAX] = {0};
    if (c) steps_of(c, &shape, step);
    double *y = run_out(r, 0, 2, dims);
    for (int64_t i = 0; y && i < m && run_goes_on(r); i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) sum += a->data[ta ? l * m + i : i * k + l] * b->data[tb ? j * k + l : l * n + j];
            y[i * n + j] = alpha * sum + (c ? beta * c->data[i * step[0] + j * step[1]] : 0);
        }
}

void run_matmul(run *r)
{
    const array *a = run_in(r, 0), *b = run_in(r, 1);
    if (!a || !b || a->rank < 2 || b->rank < 2) return run_fail(r, "a vector as an operand");
    int64_t m = a->dims[a->rank - 2], k = a->dims[a->rank - 1], n = b->dims[b->rank - 1];
    array pa = *a, pb = *b, shape = {0};
    int64_t sa[GRAPH_RANK_MAX], sb[GRAPH_RANK_MAX];
    pa.rank -= 2, pb.rank -= 2;
    if (b->dims[b->rank - 2] != k || !broadcast(&pa, &pb, &shape)) return run_fail(r, "its shapes do not fit together");
    steps_of(&pa, &shape, sa);
    steps_of(&pb, &shape, sb);
    shape.dims[shape.rank] = m;
    shape.dims[shape.rank + 1] = n;
    double *y = run_out(r, 0, shape.rank + 2, shape.dims);
    uint64_t batches = m && n ? r->values[r->node->outputs[0]].count / (uint64_t)(m * n) : 0;
    for (uint64_t i = 0; y && i < batches && run_goes_on(r); i++) {
        uint64_t rest = i, ia = 0, ib = 0;
        for (unsigned d = shape.rank; d-- > 0; rest /= (uint64_t)shape.dims[d]) {
            ia += rest % (uint64_t)shape.dims[d] * (uint64_t)sa[d];
            ib += rest % (uint64_t)shape.dims[d] * (uint64_t)sb[d];
        }
        const double *pa_data = a->data + ia * (uint64_t)(m * k), *pb_data = b->data + ib * (uint64_t)(k * n);
        for (int64_t x = 0; x < m; x++)
            for (int64_t l = 0; l < k; l++)
                for (int64_t z = 0; z < n; z++) y[(int64_t)i * m * n + x * n + z] += pa_data[x * k + l] * pb_data[l * n + z];
    }
}

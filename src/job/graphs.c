/* Two ONNX graphs on the same random inputs, in double precision. */
#include "job/graphs.h"

#include <math.h>

/* splitmix64, Steele, Lea and Flood 2014: the same inputs every time. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Nearly normal, of variance 1; whole numbers are 0 or 1, which index anything. */
static fpr_status fill(const graph *g, size_t input, array *a, uint64_t *state, const volatile int *cancel, fpr_error *error)
{
    int32_t type = graph_input_type(g, input);
    bool real = type == ONNX_FLOAT || type == ONNX_DOUBLE || type == ONNX_FLOAT16 || type == ONNX_BFLOAT16;
    if (a->count > GRAPH_RUN_BYTES / sizeof *a->data)
        return base_fail(error, FPR_USAGE, "an input takes more memory than the 2 GiB that are allowed to evaluate a network");
    a->data = base_alloc(a->count, sizeof *a->data);
    if (!a->data) return base_no_memory(error, a->count * sizeof *a->data);
    for (uint64_t i = 0; i < a->count; i++) {
        double sum = 0;
        if (i % 65536 == 0 && cancel && *cancel) return base_fail(error, FPR_CANCELLED, "cancelled");
        for (int k = 0; real && k < 3; k++) sum += ldexp((double)(next_random(state) >> 11), -52) - 1;
        a->data[i] = real ? sum : (double)(next_random(state) & 1);
    }
    return FPR_OK;
}

static fpr_status add_difference(const array *x, const array *y, double *worst, double *square, double *norm, fpr_error *error)
{
    double largest = 0, most = 0, s = 0, n = 0;
    if (x->count != y->count) return base_fail(error, FPR_DIFFERS, "an output has another shape");
    for (uint64_t i = 0; i < x->count; i++) {
        if (x->data[i] == y->data[i] && isinf(x->data[i])) continue; /* as of the logarithm of what Relu cuts off */
        if (isnan(x->data[i]) && isnan(y->data[i])) continue;
        const double d = fabs(x->data[i] - y->data[i]);
        most = d > most || isnan(d) ? d : most;
        s += d * d;
        n += x->data[i] * x->data[i];
        if (fabs(x->data[i]) > largest) largest = fabs(x->data[i]);
    }
    if (most > 0) *worst = fmax(*worst, largest > 0 ? most / largest : most);
    if (isnan(most)) *worst = (double)INFINITY;
    *square += s;
    *norm += n;
    return FPR_OK;
}

static fpr_status compare_once(const graph *a, const graph *b, int64_t batch, int64_t side, const volatile int *cancel,
                               graph_difference *d, double *square, double *norm, fpr_error *error)
{
    size_t ins = graph_input_count(a), outs = graph_output_count(a);
    array *in = base_calloc(ins, sizeof *in), *x = base_calloc(outs, sizeof *x), *y = base_calloc(outs, sizeof *y);
    fpr_status status = in && x && y ? FPR_OK : base_no_memory(error, (ins + 2 * outs) * sizeof *in);
    uint64_t state = (uint64_t)side;
    for (size_t i = 0; i < ins && !status; i++) {
        if (!graph_input_shape(a, i, batch, side, &in[i])) status = base_fail(error, FPR_USAGE, "an input has no stated shape");
        else status = fill(a, i, &in[i], &state, cancel, error);
    }
    if (!status) status = graph_run(a, in, x, outs, NULL, cancel, error);
    if (!status) status = graph_run(b, in, y, outs, NULL, cancel, error);
    for (size_t k = 0; k < outs && !status; k++) {
        double worst = 0;
        status = add_difference(&x[k], &y[k], &worst, &square[k], &norm[k], error);
        if (worst > d->worst) d->worst = worst;
        if (d->outputs && worst > d->outputs[k]) d->outputs[k] = worst;
    }
    for (size_t i = 0; in && i < ins; i++) array_free(&in[i]);
    for (size_t k = 0; x && y && k < outs; k++) array_free(&x[k]), array_free(&y[k]);
    base_free(in);
    base_free(x);
    base_free(y);
    return status;
}

fpr_status job_compare_graphs(const graph *a, const graph *b, const volatile int *cancel, graph_difference *d, fpr_error *error)
{
    size_t outs = graph_output_count(a);
    if (outs != graph_output_count(b)) return base_fail(error, FPR_DIFFERS, "the networks make other outputs: one makes more");
    fpr_status status = graph_same_inputs(a, b, error);
    if (status) return status;
    double *sums = base_calloc(2 * outs, sizeof *sums);
    if (!sums) return base_no_memory(error, outs * sizeof *sums);
    /* Not every network takes every size: the first two that it takes count, one where it takes no other. */
    static const int64_t sides[] = {JOB_COMPARE_SIDE, 96, 48, 32, 128, 16};
    unsigned done = 0;
    for (size_t i = 0; i < sizeof sides / sizeof *sides && done < 2 && (!status || status == FPR_USAGE); i++) {
        fpr_error why = {0};
        fpr_status one = compare_once(a, b, done ? 1 : 2, sides[i], cancel, d, sums, sums + outs, &why);
        if (!one) done++, status = FPR_OK;
        else if (!done || one != FPR_USAGE) status = one;
        if (one && status && error && (!done || one != FPR_USAGE) && (i == 0 || one != FPR_USAGE)) *error = why;
    }
    for (size_t k = 0; k < outs && !status && d->relative; k++)
        d->relative[k] = sums[outs + k] > 0 ? sqrt(sums[k] / sums[outs + k]) : sqrt(sums[k]);
    base_free(sums);
    return status;
}

fpr_status job_open_graph(const char *path, const graph_weights *weights, const volatile int *cancel, graph **g,
                          fpr_error *error)
{
    file_source *file;
    onnx_model *model;
    *g = NULL;
    fpr_status status = file_source_open(path, &file, error);
    if (!status) status = onnx_open(file, cancel, &model, error);
    return status ? status : graph_open(model, weights, g, error);
}

/* Whether two models are the same bytes, external data included: then nothing needs to be evaluated. */
static fpr_status are_same_files(const onnx_model *a, const onnx_model *b, const volatile int *cancel, bool *same,
                                 fpr_error *error)
{
    enum { PIECE = 1 << 16 };
    uint8_t *pieces = base_alloc(2, PIECE);
    fpr_status status = pieces ? FPR_OK : base_no_memory(error, 2 * PIECE);
    *same = a->file_count == b->file_count;
    for (size_t f = 0; f < a->file_count && *same && !status; f++) {
        const uint64_t size = file_source_size(a->files[f]);
        *same = size == file_source_size(b->files[f]);
        for (uint64_t at = 0; at < size && *same && !status; at += PIECE) {
            const uint64_t n = size - at < PIECE ? size - at : PIECE;
            if (cancel && *cancel) status = base_fail(error, FPR_CANCELLED, "cancelled");
            if (!status) status = file_source_read(a->files[f], at, pieces, n, error);
            if (!status) status = file_source_read(b->files[f], at, pieces + PIECE, n, error);
            *same = !status && !memcmp(pieces, pieces + PIECE, (size_t)n);
        }
    }
    base_free(pieces);
    return status;
}

double job_same(const graph *g)
{
    const onnx_model *m = graph_model(g);
    uint64_t all = 0, f16 = 0, bf16 = 0;
    for (size_t i = 0; i < m->tensor_count; i++) {
        const onnx_tensor *t = &m->tensors[i];
        if (t->skipped || !base_is_float(t->dtype)) continue;
        all += t->elements;
        f16 += t->dtype == FPR_F16 ? t->elements : 0;
        bf16 += t->dtype == FPR_BF16 ? t->elements : 0;
    }
    return 2 * bf16 > all ? 4e-2 : 2 * f16 > all ? 5e-3 : 1e-5;
}

static fpr_status list_outputs(const graph *g, const graph_difference *d, fpr_verification *v, fpr_error *error)
{
    const double most = job_same(g);
    v->ok = true;
    for (size_t k = 0; k < v->tensor_count; k++) {
        fpr_verified *t = &v->tensors[k];
        const char *name = graph_output_name(g, k);
        t->name = base_copy_text(name, strlen(name));
        t->name_bytes = strlen(name);
        t->max_abs = d->outputs[k];
        t->relative_l2 = d->relative[k];
        t->ok = d->outputs[k] <= most;
        t->exact = d->outputs[k] <= JOB_EXACT;
        static const char differs[] = "the output differs";
        t->problem = t->ok ? NULL : base_copy_text(differs, sizeof differs - 1);
        v->ok = v->ok && t->ok;
        if (!t->name || (!t->ok && !t->problem)) return base_no_memory(error, strlen(name));
    }
    return FPR_OK;
}

fpr_status job_verify_graphs(const char *small, const char *original, const fpr_options *options,
                             fpr_verification **verification, fpr_error *error)
{
    graph *a, *b = NULL;
    graph_difference d = {0};
    fpr_verification *v = base_calloc(1, sizeof *v);
    fpr_status status = job_open_graph(original, NULL, options->cancel, &a, error);
    if (!status) status = job_open_graph(small, NULL, options->cancel, &b, error);
    size_t outs = a ? graph_output_count(a) : 0;
    d.outputs = base_calloc(outs, sizeof *d.outputs);
    d.relative = base_calloc(outs, sizeof *d.relative);
    if (v) v->tensors = base_calloc(outs, sizeof *v->tensors);
    if (!status && (!v || !v->tensors || !d.outputs || !d.relative)) status = base_no_memory(error, outs * sizeof *v->tensors);
    if (!status) v->tensor_count = outs;
    bool same = false;
    if (!status) status = are_same_files(graph_model(a), graph_model(b), options->cancel, &same, error);
    if (!status && !same) status = job_compare_graphs(a, b, options->cancel, &d, error);
    static const char equal[] = "the same file, byte for byte: nothing had to be evaluated";
    if (!status && same && !(v->verdict = base_copy_text(equal, sizeof equal - 1))) status = base_no_memory(error, sizeof equal);
    if (!status) status = list_outputs(a, &d, v, error);
    if (status) {
        base_error_in_file(error, small);
        fpr_verification_free(v);
    } else {
        *verification = v;
        if (!v->ok) {
            status = base_fail(error, FPR_DIFFERS, "differs from %s", original);
            base_error_in_file(error, small);
        }
    }
    base_free(d.outputs);
    base_free(d.relative);
    graph_close(a);
    graph_close(b);
    return status;
}

/* Normalizations: by statistics that are given, or by those of the entries themselves. */
#include "graph/inner.h"

#include <math.h>

void run_norm(run *r)
{
    const array *x = run_in(r, 0), *scale = run_in(r, 1), *bias = run_in(r, 2), *mean = run_in(r, 3), *var = run_in(r, 4);
    double eps = graph_float(r->g, r->node, "epsilon", 1e-5);
    if (!x || !scale || !bias || !mean || !var || x->rank < 2 || graph_int(r->g, r->node, "training_mode", 0)) {
        run_fail(r, "is not in inference mode");
        return;
    }
    uint64_t channels = (uint64_t)x->dims[1];
    if (scale->count != channels || bias->count != channels || mean->count != channels || var->count != channels) {
        run_fail(r, "its shapes do not fit together");
        return;
    }
    double *y = run_out(r, 0, x->rank, x->dims);
    uint64_t inner = x->count / (x->dims[0] && channels ? (uint64_t)x->dims[0] * channels : 1);
    for (uint64_t i = 0; y && i < x->count; i++) {
        uint64_t c = i / inner % channels;
        y[i] = (x->data[i] - mean->data[c]) * (scale->data[c] / sqrt(var->data[c] + eps)) + bias->data[c];
    }
}

/* Over the last `inner` entries each: (x - mean) / sqrt(variance + eps). */
static void normalize(double *y, const double *x, uint64_t inner, double eps)
{
    double mean = 0, square = 0;
    for (uint64_t i = 0; i < inner; i++) mean += x[i] / (double)inner;
    for (uint64_t i = 0; i < inner; i++) square += (x[i] - mean) * (x[i] - mean) / (double)inner;
    for (uint64_t i = 0; i < inner; i++) y[i] = (x[i] - mean) / sqrt(square + eps);
}

void run_instance_norm(run *r)
{
    const array *x = run_in(r, 0), *scale = run_in(r, 1), *bias = run_in(r, 2);
    double eps = graph_float(r->g, r->node, "epsilon", 1e-5);
    if (!x || !scale || !bias || x->rank < 3 || scale->count != (uint64_t)x->dims[1] ||
        bias->count != scale->count) {
        run_fail(r, "its shapes do not fit together");
        return;
    }
    double *y = run_out(r, 0, x->rank, x->dims);
    uint64_t maps = (uint64_t)(x->dims[0] * x->dims[1]), inner = maps ? x->count / maps : 0;
    for (uint64_t i = 0; y && i < maps; i++) {
        uint64_t c = i % (uint64_t)x->dims[1];
        normalize(y + i * inner, x->data + i * inner, inner, eps);
        for (uint64_t k = 0; k < inner; k++) y[i * inner + k] = y[i * inner + k] * scale->data[c] + bias->data[c];
    }
}

void run_layer_norm(run *r)
{
    const array *x = run_in(r, 0), *scale = run_in(r, 1), *bias = run_in(r, 2);
    double eps = graph_float(r->g, r->node, "epsilon", 1e-5);
    int64_t axis = graph_int(r->g, r->node, "axis", -1);
    uint64_t inner = 1;
    if (axis < 0) axis += x ? x->rank : 0;
    if (!x || axis < 0 || axis >= x->rank) return run_fail(r, "its axis is out of range");
    for (unsigned i = (unsigned)axis; i < x->rank; i++) inner *= (uint64_t)x->dims[i];
    if (!scale || scale->count != inner || (bias && bias->count != inner))
        return run_fail(r, "its shapes do not fit together");
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && inner && i < x->count; i += inner) {
        normalize(y + i, x->data + i, inner, eps);
        for (uint64_t k = 0; k < inner; k++) y[i + k] = y[i + k] * scale->data[k] + (bias ? bias->data[k] : 0);
    }
}

/* GroupNormalization: over the channels of a group and all places; scales of channels, before opset 21 of groups. */
void run_group_norm(run *r)
{
    const array *x = run_in(r, 0), *scale = run_in(r, 1), *bias = run_in(r, 2);
    const double eps = graph_float(r->g, r->node, "epsilon", 1e-5);
    const int64_t groups = graph_int(r->g, r->node, "num_groups", 0);
    if (!x || !scale || !bias || x->rank < 2 || groups < 1 || x->dims[1] % groups || bias->count != scale->count ||
        (scale->count != (uint64_t)groups && scale->count != (uint64_t)x->dims[1]))
        return run_fail(r, "its shapes do not fit together");
    double *y = run_out(r, 0, x->rank, x->dims);
    const uint64_t channels = (uint64_t)x->dims[1], lines = (uint64_t)(x->dims[0] * groups), inner = lines ? x->count / lines : 0;
    for (uint64_t i = 0; y && i < lines; i++) normalize(y + i * inner, x->data + i * inner, inner, eps);
    const uint64_t place = x->dims[0] && channels ? x->count / ((uint64_t)x->dims[0] * channels) : 1;
    for (uint64_t i = 0; y && i < x->count; i++) {
        const uint64_t c = i / place % channels * scale->count / channels;
        y[i] = y[i] * scale->data[c] + bias->data[c];
    }
}

/* LRN: x / (bias + alpha / size * the squares of neighbouring channels) ^ beta. */
void run_lrn(run *r)
{
    const array *x = run_in(r, 0);
    const int64_t size = graph_int(r->g, r->node, "size", 1);
    const double alpha = graph_float(r->g, r->node, "alpha", 1e-4), beta = graph_float(r->g, r->node, "beta", 0.75);
    const double bias = graph_float(r->g, r->node, "bias", 1);
    if (!x || x->rank < 3 || size < 1 || size > INT16_MAX) return run_fail(r, "its shapes do not fit together");
    double *y = run_out(r, 0, x->rank, x->dims);
    const int64_t channels = x->dims[1];
    const uint64_t maps = (uint64_t)(x->dims[0] * channels), inner = maps ? x->count / maps : 1;
    for (uint64_t i = 0; y && i < x->count; i++) {
        const int64_t c = (int64_t)(i / inner) % channels, from = c - (size - 1) / 2, to = c + size / 2;
        double sum = 0;
        for (int64_t k = from < 0 ? 0 : from; k <= to && k < channels; k++) {
            const double v = x->data[(int64_t)i + (k - c) * (int64_t)inner];
            sum += v * v;
        }
        y[i] = x->data[i] / pow(bias + alpha / (double)size * sum, beta);
    }
}

/* LpNormalization: each line divided by its norm, which is 0 only of a line of zeros, and that stays. */
void run_lp_norm(run *r)
{
    const array *x = run_in(r, 0);
    const int axis = x ? run_axis(r, (double)graph_int(r->g, r->node, "axis", -1), x->rank) : -1;
    const int64_t p = graph_int(r->g, r->node, "p", 2);
    if (axis < 0) return;
    if (p != 1 && p != 2) return run_fail(r, "its mode is not evaluated");
    const run_lines l = run_lines_of(x, (unsigned)axis);
    const uint64_t n = l.n, inner = l.inner;
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < x->count; i++) {
        if (i / inner % n) continue;
        double sum = 0;
        for (uint64_t k = 0; k < n; k++) sum += p == 1 ? fabs(x->data[i + k * inner]) : x->data[i + k * inner] * x->data[i + k * inner];
        const double norm = p == 1 ? sum : sqrt(sum);
        for (uint64_t k = 0; k < n; k++) y[i + k * inner] = norm != 0 ? x->data[i + k * inner] / norm : 0;
    }
}

/* QuantizeLinear and DequantizeLinear: whole numbers for real ones, by a scale and a zero point of the tensor or of each
 * channel along an axis. */
#include "graph/inner.h"

#include <math.h>

bool run_limits(int32_t type, double *least, double *most)
{
    switch (type) {
    case ONNX_UINT8: *least = 0, *most = UINT8_MAX; return true;
    case ONNX_INT8: *least = INT8_MIN, *most = INT8_MAX; return true;
    case ONNX_UINT16: *least = 0, *most = UINT16_MAX; return true;
    case ONNX_INT16: *least = INT16_MIN, *most = INT16_MAX; return true;
    case ONNX_UINT32: *least = 0, *most = UINT32_MAX; return true;
    case ONNX_INT32: *least = INT32_MIN, *most = INT32_MAX; return true;
    default: return false;
    }
}

/* How many entries share a scale side by side, and how many scales there are; false with an error: they do not fit. */
static bool scales_of(run *r, const array *x, const array *scale, const array *zero, uint64_t *inner)
{
    *inner = 1;
    if (!x || !scale || graph_int(r->g, r->node, "block_size", 0)) return run_fail(r, "its mode is not evaluated"), false;
    if (zero && zero->count != scale->count) return run_fail(r, "its shapes do not fit together"), false;
    if (scale->count == 1 && scale->rank < 2) return true;
    const int axis = run_axis(r, (double)graph_int(r->g, r->node, "axis", 1), x->rank);
    if (axis < 0) return false;
    if (scale->rank != 1 || scale->dims[0] != x->dims[axis]) return run_fail(r, "its shapes do not fit together"), false;
    *inner = run_lines_of(x, (unsigned)axis).inner;
    return true;
}

void run_quantize(run *r)
{
    const array *x = run_in(r, 0), *scale = run_in(r, 1), *zero = run_in(r, 2);
    const uint32_t t = zero ? r->g->values[r->node->inputs[2]].tensor : ONNX_NONE;
    const int32_t type = t != ONNX_NONE ? r->g->model->tensors[t].type
                                        : (int32_t)graph_int(r->g, r->node, "output_dtype", ONNX_UINT8);
    double least, most;
    uint64_t inner;
    if (!scales_of(r, x, scale, zero, &inner)) return;
    if ((zero && t == ONNX_NONE) || !run_limits(type, &least, &most)) return run_fail(r, "its type is not evaluated");
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < x->count; i++) {
        const uint64_t c = i / inner % scale->count;
        const double q = nearbyint(x->data[i] / scale->data[c]) + (zero ? zero->data[c] : 0);
        y[i] = fmin(fmax(q, least), most);
    }
}

void run_dequantize(run *r)
{
    const array *x = run_in(r, 0), *scale = run_in(r, 1), *zero = run_in(r, 2);
    uint64_t inner;
    if (!scales_of(r, x, scale, zero, &inner)) return;
    r->kind = ARRAY_REAL;
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < x->count; i++) {
        const uint64_t c = i / inner % scale->count;
        y[i] = (x->data[i] - (zero ? zero->data[c] : 0)) * scale->data[c];
    }
}

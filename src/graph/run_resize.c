/* Pad and Resize, Upsample before it. */
#include "graph/inner.h"

#include <math.h>

static int64_t reflected(int64_t at, int64_t n, const char *mode)
{
    if (at >= 0 && at < n) return at;
    if (!strcmp(mode, "edge")) return at < 0 ? 0 : n - 1;
    if (!strcmp(mode, "wrap")) return (at % n + n) % n;
    if (!strcmp(mode, "reflect") && n > 1) {
        int64_t turn = 2 * n - 2, p = (at % turn + turn) % turn;
        return p < n ? p : turn - p;
    }
    return !strcmp(mode, "reflect") ? 0 : -1;
}

void run_pad(run *r)
{
    const array *x = run_in(r, 0);
    double own[2 * GRAPH_RANK_MAX];
    int64_t count, axes_count, value_count, dims[GRAPH_RANK_MAX], before[GRAPH_RANK_MAX] = {0};
    const double *pads = run_either(r, "pads", 1, own, &count), *value = run_list(r, 2, &value_count);
    const double *axes = run_list(r, 3, &axes_count);
    const onnx_attribute *m = onnx_find_attribute(r->g->model, r->node, "mode");
    const char *mode = m ? onnx_text_of(r->g->model, m->text) : "constant";
    if (!x || !pads || r->status || r->unknown) return;
    int64_t n = axes ? axes_count : x->rank;
    double fill = value && value_count ? *value : graph_float(r->g, r->node, "value", 0);
    if (count != 2 * n) return run_fail(r, "its shapes do not fit together");
    if (!x->count && strcmp(mode, "constant") != 0) return run_fail(r, "it repeats what has no entries");
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(pads[i]) < INT32_MAX)) return run_fail(r, "its shapes do not fit together");
    memcpy(dims, x->dims, sizeof dims);
    for (int64_t i = 0; i < n; i++) {
        int d = run_axis(r, axes ? axes[i] : (double)i, x->rank);
        if (d < 0) return;
        before[d] = (int64_t)pads[i];
        dims[d] += (int64_t)pads[i] + (int64_t)pads[n + i];
    }
    double *y = run_out(r, 0, x->rank, dims);
    uint64_t all = y ? r->values[r->node->outputs[0]].count : 0;
    for (uint64_t i = 0; i < all; i++) {
        uint64_t rest = i;
        int64_t at = 0, stride = 1;
        bool inside = true;
        for (unsigned d = x->rank; d-- > 0; rest /= (uint64_t)dims[d], stride *= x->dims[d]) {
            int64_t p = reflected((int64_t)(rest % (uint64_t)dims[d]) - before[d], x->dims[d], mode);
            inside = inside && p >= 0;
            at += p * stride;
        }
        y[i] = inside ? x->data[at] : fill;
    }
}

/* Where an output entry lies in the input along one axis. */
static double source_place(const run *r, int64_t i, int64_t in, int64_t out, double scale)
{
    const onnx_attribute *a = onnx_find_attribute(r->g->model, r->node, "coordinate_transformation_mode");
    const char *mode = a ? onnx_text_of(r->g->model, a->text)
                         : strcmp(r->op->name, "Resize") != 0 || r->g->model->opset < 11 ? "asymmetric" : "half_pixel";
    if (!strcmp(mode, "asymmetric")) return (double)i / scale;
    if (!strcmp(mode, "align_corners")) return out > 1 ? (double)i * (double)(in - 1) / (double)(out - 1) : 0;
    if (!strcmp(mode, "pytorch_half_pixel") && out <= 1) return 0;
    const double place = ((double)i + 0.5) / scale;
    if (!strcmp(mode, "tf_half_pixel_for_nn")) return place;
    /* The middle stays the middle, where scale times in is no whole number. */
    const double shift = strcmp(mode, "half_pixel_symmetric") ? 0 : (double)in / 2 * (1 - (double)out / (scale * (double)in));
    return shift + place - 0.5;
}

static double nearest_place(const run *r, double p)
{
    const onnx_attribute *a = onnx_find_attribute(r->g->model, r->node, "nearest_mode");
    const char *mode = a ? onnx_text_of(r->g->model, a->text)
                         : strcmp(r->op->name, "Resize") != 0 || r->g->model->opset < 11 ? "floor" : "round_prefer_floor";
    if (!strcmp(mode, "floor")) return floor(p);
    if (!strcmp(mode, "ceil")) return ceil(p);
    return !strcmp(mode, "round_prefer_ceil") ? floor(p + 0.5) : ceil(p - 0.5);
}

/* Which entries of a line of n an output at place p is made of, and by how much; how many. */
static int resize_taps(const run *r, double p, int64_t n, char mode, int64_t *at, double *weight)
{
    const double low = mode == 'n' ? nearest_place(r, p) : floor(p), t = p - low;
    const double a = graph_float(r->g, r->node, "cubic_coeff_a", -0.75);
    const bool excludes = mode == 'c' && graph_int(r->g, r->node, "exclude_outside", 0);
    const int count = mode == 'n' ? 1 : mode == 'c' ? 4 : 2;
    double sum = 0;
    for (int k = 0; k < count; k++) {
        const double place = mode == 'c' ? low - 1 + k : low + k, d = fabs(t + (mode == 'c') - k);
        weight[k] = mode == 'n' ? 1 : mode == 'l' ? 1 - d
                    : d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
        if (excludes && !(place >= 0 && place < (double)n)) weight[k] = 0;
        at[k] = (int64_t)fmin(fmax(place, 0), (double)(n - 1));
        sum += weight[k];
    }
    for (int k = 0; k < count && excludes; k++) weight[k] /= sum;
    return count;
}

/* Along one axis after the other; the result takes the place of *x. */
static void resize_axis(run *r, array *x, unsigned axis, int64_t out, double scale, char mode)
{
    const int64_t in = x->dims[axis];
    const run_lines l = run_lines_of(x, axis);
    const uint64_t inner = l.inner, outer = l.outer;
    double *y = base_calloc(outer * (uint64_t)out * inner, sizeof *y);
    if (!y) {
        r->status = base_no_memory(r->error, outer * (uint64_t)out * inner * sizeof *y);
        return;
    }
    for (int64_t i = 0; i < out; i++) {
        int64_t at[4];
        double weight[4];
        const int taps = resize_taps(r, source_place(r, i, in, out, scale), in, mode, at, weight);
        for (uint64_t o = 0; o < outer; o++)
            for (int t = 0; t < taps; t++)
                for (uint64_t k = 0; k < inner; k++)
                    y[(o * (uint64_t)out + (uint64_t)i) * inner + k] +=
                        weight[t] * x->data[(o * (uint64_t)in + (uint64_t)at[t]) * inner + k];
    }
    base_free(x->data);
    x->data = y;
    x->dims[axis] = out;
    x->count = outer * (uint64_t)out * inner;
}

/* The size and the scale of every axis: given for all of them, or for those that are named. false: they do not fit. */
static bool resize_by(run *r, const array *x, bool old, int64_t *dims, double *by)
{
    int64_t scale_count, size_count = 0;
    uint32_t named = x->rank;
    const onnx_attribute *attribute = onnx_find_attribute(r->g->model, r->node, "scales");
    const double *scales = run_list(r, old ? 1 : 2, &scale_count), *sizes = old ? NULL : run_list(r, 3, &size_count);
    const int64_t *axes = graph_ints(r->g, r->node, "axes", &named);
    if (!axes) named = x->rank;
    for (unsigned i = 0; i < x->rank; i++) dims[i] = x->dims[i], by[i] = 1;
    if (attribute && old) scale_count = attribute->float_count;
    bool sized = size_count == (int64_t)named && sizes;
    if (!sized && (scale_count != (int64_t)named || (!scales && !attribute))) return false;
    for (uint32_t i = 0; i < named; i++) {
        int d = run_axis(r, axes ? (double)axes[i] : i, x->rank);
        if (d < 0) return false;
        by[d] = sized ? sizes[i] / (double)x->dims[d] : scales ? scales[i] : (double)attribute->floats[i];
        double size = sized ? sizes[i] : floor((double)x->dims[d] * by[d]);
        if (!(size >= 0 && size < INT32_MAX)) return false;
        dims[d] = (int64_t)size;
    }
    return true;
}

void run_resize(run *r)
{
    const array *x = run_in(r, 0);
    bool old = strcmp(r->op->name, "Resize") != 0 || r->g->model->opset < 11;
    int64_t dims[GRAPH_RANK_MAX];
    double by[GRAPH_RANK_MAX];
    const char mode = graph_text_is(r->g, r->node, "mode", "linear", false)  ? 'l'
                      : graph_text_is(r->g, r->node, "mode", "cubic", false) ? 'c'
                                                                              : 'n';
    if (!x || r->unknown) return;
    if (!graph_text_is(r->g, r->node, "keep_aspect_ratio_policy", "stretch", true)) return run_fail(r, "its mode is not evaluated");
    bool fits = resize_by(r, x, old, dims, by);
    if (r->unknown) return;
    if (!fits) return run_fail(r, "its shapes do not fit together");
    double *y = run_out(r, 0, x->rank, dims);
    const uint64_t count = y ? r->values[r->node->outputs[0]].count : 0;
    if (!count) return;
    if (!x->count) return run_fail(r, "it repeats what has no entries");
    if ((mode == 'n' && !graph_text_is(r->g, r->node, "mode", "nearest", true)) || graph_int(r->g, r->node, "antialias", 0) ||
        graph_text_is(r->g, r->node, "coordinate_transformation_mode", "tf_crop_and_resize", false))
        return run_fail(r, "its mode is not evaluated");
    array work = *x;
    work.data = base_alloc(x->count, sizeof *work.data);
    if (!work.data) r->status = base_no_memory(r->error, x->count * sizeof *work.data);
    else memcpy(work.data, x->data, x->count * sizeof *work.data);
    /* Shrinking comes first: nothing on the way is then larger than both ends. */
    for (unsigned grows = 0; grows < 2; grows++)
        for (unsigned i = 0; i < x->rank && !r->status; i++)
            if ((dims[i] > x->dims[i]) == grows && (dims[i] != x->dims[i] || by[i] != 1))
                resize_axis(r, &work, i, dims[i], by[i], mode);
    if (!r->status) memcpy(y, work.data, work.count * sizeof *y);
    base_free(work.data);
}

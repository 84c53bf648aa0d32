/* Convolutions and pools: whatever slides a window over space. */
#include "graph/inner.h"

#include <math.h>
#include <stdlib.h>

#define SPACE_MAX 3u

/* Sums and products of a few such do not overflow. */
static bool is_small(int64_t n) { return n >= -INT32_MAX && n <= INT32_MAX; }

bool run_windows(run *r, unsigned spatial, const int64_t *in, const int64_t *kernel, window *w)
{
    uint32_t n;
    const int64_t *strides = graph_ints(r->g, r->node, "strides", &n), *dilations, *pads;
    if (spatial < 1 || spatial > SPACE_MAX || (strides && n != spatial)) return run_fail(r, "its window is odd"), false;
    dilations = graph_ints(r->g, r->node, "dilations", &n);
    if (dilations && n != spatial) return run_fail(r, "its window is odd"), false;
    pads = graph_ints(r->g, r->node, "pads", &n);
    if (pads && n != 2 * spatial) return run_fail(r, "its window is odd"), false;
    bool lower = graph_text_is(r->g, r->node, "auto_pad", "SAME_LOWER", false);
    bool same = lower || graph_text_is(r->g, r->node, "auto_pad", "SAME_UPPER", false);
    for (unsigned i = 0; i < spatial; i++) {
        w[i] = (window){kernel[i], strides ? strides[i] : 1, dilations ? dilations[i] : 1, pads ? pads[i] : 0,
                        pads ? pads[spatial + i] : 0};
        if (w[i].kernel < 1 || w[i].stride < 1 || w[i].dilation < 1 || w[i].kernel > INT32_MAX ||
            w[i].stride > INT32_MAX || w[i].dilation > INT32_MAX || (w[i].kernel - 1) * w[i].dilation > INT32_MAX ||
            in[i] > INT32_MAX || !is_small(w[i].before) || !is_small(w[i].after))
            return run_fail(r, "its window is odd"), false;
        if (!same) continue;
        int64_t out = (in[i] + w[i].stride - 1) / w[i].stride;
        int64_t total = (out - 1) * w[i].stride + (w[i].kernel - 1) * w[i].dilation + 1 - in[i];
        if (total < 0) total = 0;
        w[i].before = lower ? total - total / 2 : total / 2;
        w[i].after = total - w[i].before;
    }
    return true;
}

bool graph_has_no_padding(const graph *g, const onnx_node *n, unsigned spatial, const uint64_t *kernel)
{
    uint32_t count;
    bool one = true;
    const int64_t *pads = graph_ints(g, n, "pads", &count);
    for (unsigned i = 0; i < spatial; i++) one = one && kernel[i] == 1;
    if (graph_text_is(g, n, "auto_pad", "SAME_UPPER", false) || graph_text_is(g, n, "auto_pad", "SAME_LOWER", false))
        return one; /* a window of one entry never needs any */
    for (uint32_t i = 0; i < count; i++)
        if (pads[i]) return false;
    return true;
}

/* Space filled up to three axes, so that one loop serves all. */
typedef struct space { int64_t in[SPACE_MAX], out[SPACE_MAX], kernel[SPACE_MAX]; window w[SPACE_MAX]; } space;

static space full_space(unsigned spatial, const int64_t *in, const int64_t *out, const window *w)
{
    space s;
    for (unsigned i = 0; i < SPACE_MAX; i++) {
        int at = (int)i - (int)(SPACE_MAX - spatial);
        s.in[i] = at < 0 ? 1 : in[at];
        s.out[i] = at < 0 ? 1 : out[at];
        s.w[i] = at < 0 ? (window){1, 1, 1, 0, 0} : w[at];
        s.kernel[i] = s.w[i].kernel;
    }
    return s;
}

static int64_t volume(const int64_t *n) { return n[0] * n[1] * n[2]; }

/* One output map += one input map under one kernel; transposed: the other way round. */
static void slide(const space *s, const double *x, const double *k, double *y, bool transposed)
{
    for (int64_t a = 0; a < s->kernel[0]; a++)
        for (int64_t b = 0; b < s->kernel[1]; b++)
            for (int64_t c = 0; c < s->kernel[2]; c++, k++) {
                if (*k == 0) continue;
                const int64_t tap[3] = {a, b, c};
                int64_t from[3], to[3], shift[3];
                const int64_t *small = transposed ? s->in : s->out, *large = transposed ? s->out : s->in;
                for (int d = 0; d < 3; d++) {
                    shift[d] = tap[d] * s->w[d].dilation - s->w[d].before;
                    int64_t least = shift[d] < 0 ? (-shift[d] + s->w[d].stride - 1) / s->w[d].stride : 0;
                    int64_t room = large[d] - 1 - shift[d];
                    from[d] = least;
                    to[d] = room < 0 ? 0 : room / s->w[d].stride + 1;
                    if (to[d] > small[d]) to[d] = small[d];
                }
                for (int64_t i = from[0]; i < to[0]; i++)
                    for (int64_t j = from[1]; j < to[1]; j++) {
                        int64_t p = i * s->w[0].stride + shift[0], q = j * s->w[1].stride + shift[1];
                        int64_t line = (p * large[1] + q) * large[2] + shift[2], row = (i * small[1] + j) * small[2];
                        for (int64_t l = from[2]; l < to[2]; l++) {
                            if (transposed) y[line + l * s->w[2].stride] += *k * x[row + l];
                            else y[row + l] += *k * x[line + l * s->w[2].stride];
                        }
                    }
            }
}

static void add_bias(double *y, const array *bias, int64_t maps, int64_t channels, int64_t inner)
{
    for (int64_t i = 0; bias && i < maps; i++)
        for (int64_t k = 0; k < inner; k++) y[i * inner + k] += bias->data[i % channels];
}

void run_conv(run *r)
{
    const array *x = run_in(r, 0), *w = run_in(r, 1), *b = run_in(r, 2);
    if (!x || !w || x->rank < 3 || x->rank > 2 + SPACE_MAX || w->rank != x->rank)
        return run_fail(r, "its shapes do not fit together");
    unsigned spatial = x->rank - 2;
    int64_t groups = graph_int(r->g, r->node, "group", 1), dims[GRAPH_RANK_MAX] = {x->dims[0], w->dims[0]};
    window win[SPACE_MAX];
    if (groups < 1 || w->dims[1] > INT32_MAX || groups > INT32_MAX || w->dims[1] * groups != x->dims[1] ||
        w->dims[0] % groups || (b && b->count != (uint64_t)w->dims[0]))
        return run_fail(r, "its shapes do not fit together");
    if (!run_windows(r, spatial, x->dims + 2, w->dims + 2, win)) return;
    for (unsigned i = 0; i < spatial; i++) {
        int64_t span = x->dims[2 + i] + win[i].before + win[i].after - (win[i].kernel - 1) * win[i].dilation - 1;
        dims[2 + i] = span < 0 ? -1 : span / win[i].stride + 1;
    }
    double *y = run_out(r, 0, x->rank, dims);
    space s = full_space(spatial, x->dims + 2, dims + 2, win);
    int64_t in = volume(s.in), out = volume(s.out), taps = volume(s.kernel), per = w->dims[0] / groups;
    for (int64_t n = 0; y && n < dims[0]; n++)
        for (int64_t o = 0; o < dims[1] && run_goes_on(r); o++)
            for (int64_t i = 0; i < w->dims[1]; i++)
                slide(&s, x->data + (n * x->dims[1] + o / per * w->dims[1] + i) * in,
                      w->data + (o * w->dims[1] + i) * taps, y + (n * dims[1] + o) * out, false);
    if (y) add_bias(y, b, dims[0] * dims[1], dims[1], out);
}

void run_conv_transpose(run *r)
{
    const array *x = run_in(r, 0), *w = run_in(r, 1), *b = run_in(r, 2);
    if (!x || !w || x->rank < 3 || x->rank > 2 + SPACE_MAX || w->rank != x->rank || w->dims[0] != x->dims[1])
        return run_fail(r, "its shapes do not fit together");
    unsigned spatial = x->rank - 2;
    uint32_t n_extra, n_shape;
    int64_t groups = graph_int(r->g, r->node, "group", 1), dims[GRAPH_RANK_MAX] = {x->dims[0]};
    const int64_t *extra = graph_ints(r->g, r->node, "output_padding", &n_extra);
    const int64_t *wanted = graph_ints(r->g, r->node, "output_shape", &n_shape);
    window win[SPACE_MAX];
    if (groups < 1 || groups > INT32_MAX || x->dims[1] % groups || w->dims[1] > INT32_MAX ||
        (extra && n_extra != spatial) || (wanted && n_shape != spatial))
        return run_fail(r, "its shapes do not fit together");
    dims[1] = w->dims[1] * groups;
    if (b && b->count != (uint64_t)dims[1]) return run_fail(r, "its shapes do not fit together");
    if (!graph_text_is(r->g, r->node, "auto_pad", "NOTSET", true) && !graph_text_is(r->g, r->node, "auto_pad", "VALID", true))
        return run_fail(r, "its padding follows from its output");
    if (!run_windows(r, spatial, x->dims + 2, w->dims + 2, win)) return;
    for (unsigned i = 0; i < spatial; i++) {
        if ((extra && !is_small(extra[i])) || (wanted && !is_small(wanted[i]))) return run_fail(r, "its window is odd");
        int64_t all = (x->dims[2 + i] - 1) * win[i].stride + (win[i].kernel - 1) * win[i].dilation + 1 +
                      (extra ? extra[i] : 0);
        if (wanted) {
            win[i].before = (all - wanted[i]) / 2;
            win[i].after = all - wanted[i] - win[i].before;
        }
        dims[2 + i] = all - win[i].before - win[i].after;
    }
    double *y = run_out(r, 0, x->rank, dims);
    space s = full_space(spatial, x->dims + 2, dims + 2, win);
    int64_t in = volume(s.in), out = volume(s.out), taps = volume(s.kernel), per = x->dims[1] / groups;
    for (int64_t n = 0; y && n < dims[0]; n++)
        for (int64_t i = 0; i < x->dims[1] && run_goes_on(r); i++)
            for (int64_t o = 0; o < w->dims[1]; o++)
                slide(&s, x->data + (n * x->dims[1] + i) * in, w->data + (i * w->dims[1] + o) * taps,
                      y + (n * dims[1] + i / per * w->dims[1] + o) * out, true);
    if (y) add_bias(y, b, dims[0] * dims[1], dims[1], out);
}

/* ---- pools */

/* The window at one place of the output: largest value, or mean over what lies inside (or over all padding too). */
static double pool_at(const space *s, const double *x, const int64_t *at, bool average, bool count_padding)
{
    double most = -INFINITY, sum = 0, count = 0;
    for (int64_t a = 0; a < s->kernel[0]; a++)
        for (int64_t b = 0; b < s->kernel[1]; b++)
            for (int64_t c = 0; c < s->kernel[2]; c++) {
                const int64_t tap[3] = {a, b, c};
                int64_t p[3];
                bool inside = true, padded = true;
                for (int d = 0; d < 3; d++) {
                    p[d] = at[d] * s->w[d].stride - s->w[d].before + tap[d] * s->w[d].dilation;
                    inside = inside && p[d] >= 0 && p[d] < s->in[d];
                    padded = padded && p[d] < s->in[d] + s->w[d].after;
                }
                if (inside) {
                    double v = x[(p[0] * s->in[1] + p[1]) * s->in[2] + p[2]];
                    most = v > most ? v : most;
                    sum += v;
                }
                count += inside || (count_padding && padded);
            }
    return average ? sum / count : most;
}

void run_pool(run *r)
{
    const array *x = run_in(r, 0);
    uint32_t n;
    const int64_t *kernel = graph_ints(r->g, r->node, "kernel_shape", &n);
    window win[SPACE_MAX];
    int64_t dims[GRAPH_RANK_MAX];
    if (!x || x->rank < 3 || n != x->rank - 2 || n > SPACE_MAX || (r->node->output_count > 1 && r->node->outputs[1]))
        return run_fail(r, "its window is odd");
    if (!run_windows(r, n, x->dims + 2, kernel, win)) return;
    bool up = graph_int(r->g, r->node, "ceil_mode", 0);
    dims[0] = x->dims[0], dims[1] = x->dims[1];
    for (unsigned i = 0; i < n; i++) {
        int64_t span = x->dims[2 + i] + win[i].before + win[i].after - (win[i].kernel - 1) * win[i].dilation - 1;
        dims[2 + i] = span < 0 ? -1 : (span + (up ? win[i].stride - 1 : 0)) / win[i].stride + 1;
        /* A window that would begin behind the input is left out. */
        if (up && (dims[2 + i] - 1) * win[i].stride >= x->dims[2 + i] + win[i].before) dims[2 + i]--;
    }
    double *y = run_out(r, 0, x->rank, dims);
    space s = full_space(n, x->dims + 2, dims + 2, win);
    bool average = r->op->name[0] == 'A', padding = graph_int(r->g, r->node, "count_include_pad", 0);
    int64_t in = volume(s.in), out = volume(s.out);
    for (int64_t m = 0; y && m < dims[0] * dims[1] && run_goes_on(r); m++)
        for (int64_t i = 0; i < out; i++) {
            const int64_t at[3] = {i / s.out[2] / s.out[1], i / s.out[2] % s.out[1], i % s.out[2]};
            y[m * out + i] = pool_at(&s, x->data + m * in, at, average, padding);
        }
}

void run_global_pool(run *r)
{
    const array *x = run_in(r, 0);
    int64_t dims[GRAPH_RANK_MAX];
    if (!x || x->rank < 2) return run_fail(r, "its shapes do not fit together");
    for (unsigned i = 0; i < x->rank; i++) dims[i] = i < 2 ? x->dims[i] : 1;
    double *y = run_out(r, 0, x->rank, dims);
    uint64_t maps = (uint64_t)(dims[0] * dims[1]), inner = maps ? x->count / maps : 0;
    bool average = !strcmp(r->op->name, "GlobalAveragePool");
    for (uint64_t m = 0; y && m < maps; m++) {
        double most = -INFINITY, sum = 0;
        for (uint64_t i = 0; i < inner; i++) {
            sum += x->data[m * inner + i];
            most = fmax(most, x->data[m * inner + i]);
        }
        y[m] = average ? sum / (double)inner : most;
    }
}

/* GridSample and AffineGrid, of pictures. */
#include "graph/inner.h"

#include <math.h>

typedef enum { OUTSIDE_ZERO, OUTSIDE_BORDER, OUTSIDE_REFLECTED } outside;

/* The entry that stands at place i of a line of n; -1: none, a zero. */
static int64_t entry_at(double i, int64_t n, outside how, bool corners)
{
    const double last = (double)(n - 1);
    if (!(fabs(i) < INT32_MAX)) return how == OUTSIDE_BORDER && !isnan(i) ? (i < 0 ? 0 : n - 1) : -1;
    if (i >= 0 && i <= last) return (int64_t)i;
    if (how == OUTSIDE_ZERO) return -1;
    if (how == OUTSIDE_BORDER || n == 1) return i < 0 ? 0 : n - 1;
    /* About the centres of the outermost entries, or about their outer edges. */
    const int64_t turn = corners ? 2 * n - 2 : 2 * n, p = ((int64_t)i % turn + turn) % turn;
    return p < n ? p : corners ? turn - p : turn - 1 - p;
}

/* Entries and weights of an interpolation at place p; how many. */
static int taps_at(double p, int64_t n, char mode, outside how, bool corners, int64_t *at, double *weight)
{
    const double low = floor(p), t = p - low, a = -0.75;
    int count = mode == 'n' ? 1 : mode == 'c' ? 4 : 2;
    for (int k = 0; k < count; k++) {
        const double d = mode == 'c' ? fabs(t + 1 - k) : fabs(t - k);
        at[k] = entry_at(mode == 'n' ? nearbyint(p) : mode == 'c' ? low - 1 + k : low + k, n, how, corners);
        weight[k] = mode == 'n' ? 1 : mode != 'c' ? 1 - d
                    : d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    }
    return count;
}

static double place(double g, int64_t n, bool corners)
{
    return corners ? (g + 1) / 2 * (double)(n - 1) : ((g + 1) * (double)n - 1) / 2;
}

void run_grid_sample(run *r)
{
    const array *x = run_in(r, 0), *grid = run_in(r, 1);
    const onnx_attribute *m = onnx_find_attribute(r->g->model, r->node, "mode");
    const char *mode = m ? onnx_text_of(r->g->model, m->text) : "linear";
    const bool corners = graph_int(r->g, r->node, "align_corners", 0);
    const outside how = graph_text_is(r->g, r->node, "padding_mode", "border", false)       ? OUTSIDE_BORDER
                        : graph_text_is(r->g, r->node, "padding_mode", "reflection", false) ? OUTSIDE_REFLECTED
                                                                                           : OUTSIDE_ZERO;
    const char kind = strstr(mode, "cubic") ? 'c' : strstr(mode, "linear") ? 'l' : 'n';
    if (!x || !grid || x->rank != 4 || grid->rank != 4) return run_fail(r, "its mode is not evaluated");
    if (grid->dims[3] != 2 || grid->dims[0] != x->dims[0] || !x->dims[2] || !x->dims[3])
        return run_fail(r, "its shapes do not fit together");
    const int64_t dims[4] = {x->dims[0], x->dims[1], grid->dims[1], grid->dims[2]}, h = x->dims[2], w = x->dims[3];
    const uint64_t places = (uint64_t)(dims[2] * dims[3]), channels = (uint64_t)dims[1];
    double *y = run_out(r, 0, 4, dims);
    for (uint64_t i = 0; y && i < grid->count / 2 && run_goes_on(r); i++) {
        int64_t row[4], column[4];
        double down[4], across[4];
        const int columns = taps_at(place(grid->data[2 * i], w, corners), w, kind, how, corners, column, across);
        const int rows = taps_at(place(grid->data[2 * i + 1], h, corners), h, kind, how, corners, row, down);
        for (uint64_t c = 0; c < channels; c++) {
            const double *map = x->data + (i / places * channels + c) * (uint64_t)(h * w);
            double sum = 0;
            for (int a = 0; a < rows; a++)
                for (int b = 0; b < columns; b++)
                    if (row[a] >= 0 && column[b] >= 0) sum += down[a] * across[b] * map[row[a] * w + column[b]];
            y[(i / places * channels + c) * places + i % places] = sum;
        }
    }
}

void run_affine_grid(run *r)
{
    const array *theta = run_in(r, 0);
    int64_t count;
    const double *size = run_list(r, 1, &count);
    const bool corners = graph_int(r->g, r->node, "align_corners", 0);
    if (!theta || r->unknown) return;
    if (count != 4 || theta->rank != 3 || theta->dims[1] != 2 || theta->dims[2] != 3) return run_fail(r, "its mode is not evaluated");
    for (int i = 0; i < 4; i++)
        if (!(size[i] >= 0 && size[i] < INT32_MAX)) return run_fail(r, "its shapes do not fit together");
    const int64_t h = (int64_t)size[2], w = (int64_t)size[3], dims[4] = {theta->dims[0], h, w, 2};
    double *y = run_out(r, 0, 4, dims);
    for (int64_t i = 0; y && i < dims[0] * h * w; i++) {
        const double *t = theta->data + i / (h * w) * 6;
        const double px = (double)(i % w), py = (double)(i / w % h);
        const double gx = corners ? (w > 1 ? 2 * px / (double)(w - 1) : 0) - 1 : (2 * px + 1) / (double)w - 1;
        const double gy = corners ? (h > 1 ? 2 * py / (double)(h - 1) : 0) - 1 : (2 * py + 1) / (double)h - 1;
        for (int k = 0; k < 2; k++) y[2 * i + k] = t[3 * k] * gx + t[3 * k + 1] * gy + t[3 * k + 2];
    }
}

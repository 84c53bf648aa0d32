/* What takes entries by computed places: gathers, scatters, repeats, sequences of numbers. */
#include "graph/inner.h"

#include <math.h>

/* An index that may count from the end; false with an error when it is out of range. */
static bool place_of(run *r, double index, int64_t size, uint64_t *place)
{
    if (index < 0) index += (double)size;
    if (!(index >= 0 && index < (double)size)) return run_fail(r, "an index is out of range"), false;
    *place = (uint64_t)index;
    return true;
}

void run_gather(run *r)
{
    const array *x = run_in(r, 0), *index = run_in(r, 1);
    int axis = x ? run_axis(r, (double)graph_int(r->g, r->node, "axis", 0), x->rank) : -1;
    int64_t dims[2 * GRAPH_RANK_MAX], inner = 1;
    unsigned rank = 0;
    if (axis < 0 || !index) return;
    if (x->rank + index->rank - 1 > GRAPH_RANK_MAX) return run_fail(r, "a value of more than eight axes");
    for (int i = 0; i < axis; i++) dims[rank++] = x->dims[i];
    for (unsigned i = 0; i < index->rank; i++) dims[rank++] = index->dims[i];
    for (unsigned i = (unsigned)axis + 1; i < x->rank; i++) inner *= dims[rank++] = x->dims[i];
    double *y = run_out(r, 0, rank, dims);
    uint64_t all = y ? r->values[r->node->outputs[0]].count : 0, at;
    for (uint64_t i = 0; i < all; i++) {
        uint64_t in = i % (uint64_t)inner, which = i / (uint64_t)inner % index->count, out = i / (uint64_t)inner / index->count;
        if (!place_of(r, index->data[which], x->dims[axis], &at)) return;
        y[i] = x->data[(out * (uint64_t)x->dims[axis] + at) * (uint64_t)inner + in];
    }
}

/* GatherElements: an index for every entry, along one axis. */
void run_gather_elements(run *r)
{
    const array *x = run_in(r, 0), *index = run_in(r, 1);
    int axis = x ? run_axis(r, (double)graph_int(r->g, r->node, "axis", 0), x->rank) : -1;
    if (axis < 0 || !index) return;
    bool fits = index->rank == x->rank;
    for (unsigned d = 0; fits && d < x->rank; d++) fits = d == (unsigned)axis || index->dims[d] <= x->dims[d];
    if (!fits) return run_fail(r, "its shapes do not fit together");
    double *y = run_out(r, 0, index->rank, index->dims);
    for (uint64_t i = 0; y && i < index->count; i++) {
        uint64_t rest = i, at = 0, step = 1, place;
        if (!place_of(r, index->data[i], x->dims[axis], &place)) return;
        for (unsigned d = x->rank; d-- > 0; rest /= (uint64_t)index->dims[d], step *= (uint64_t)x->dims[d])
            at += (d == (unsigned)axis ? place : rest % (uint64_t)index->dims[d]) * step;
        y[i] = x->data[at];
    }
}

/* Rows of indices into the first axes of x behind `batch` common ones: how many entries each names; false: no fit. */
static bool rows_of(run *r, const array *x, const array *index, unsigned batch, unsigned *depth, uint64_t *inner)
{
    const int64_t n = index->rank ? index->dims[index->rank - 1] : 0;
    bool fits = batch < index->rank && batch < x->rank && n >= 1 && n <= (int64_t)(x->rank - batch);
    for (unsigned i = 0; fits && i < batch; i++) fits = x->dims[i] == index->dims[i];
    if (!fits) return run_fail(r, "its shapes do not fit together"), false;
    *depth = (unsigned)n;
    *inner = 1;
    for (unsigned i = batch + *depth; i < x->rank; i++) *inner *= (uint64_t)x->dims[i];
    return true;
}

/* Where the entries that one row names begin. */
static bool row_place(run *r, const array *x, const double *row, unsigned batch, unsigned depth, uint64_t *at)
{
    uint64_t place;
    for (unsigned d = 0; d < depth; d++) {
        if (!place_of(r, row[d], x->dims[batch + d], &place)) return false;
        *at = *at * (uint64_t)x->dims[batch + d] + place;
    }
    return true;
}

void run_gather_nd(run *r)
{
    const array *x = run_in(r, 0), *index = run_in(r, 1);
    const int64_t batch = graph_int(r->g, r->node, "batch_dims", 0);
    int64_t dims[2 * GRAPH_RANK_MAX];
    unsigned depth, rank = 0;
    uint64_t inner, rows = 1, batches = 1;
    if (!x || !index) return;
    if (batch < 0 || batch >= (int64_t)GRAPH_RANK_MAX) return run_fail(r, "its shapes do not fit together");
    if (!rows_of(r, x, index, (unsigned)batch, &depth, &inner)) return;
    for (unsigned i = 0; i + 1 < index->rank; i++) rows *= (uint64_t)(dims[rank++] = index->dims[i]);
    for (unsigned i = 0; i < (unsigned)batch; i++) batches *= (uint64_t)index->dims[i];
    for (unsigned i = (unsigned)batch + depth; i < x->rank; i++) dims[rank++] = x->dims[i];
    double *y = run_out(r, 0, rank, dims);
    for (uint64_t i = 0; y && i < rows; i++) {
        uint64_t at = i / (rows / batches);
        if (!row_place(r, x, index->data + i * depth, (unsigned)batch, depth, &at)) return;
        memcpy(y + i * inner, x->data + at * inner, inner * sizeof *y);
    }
}

void run_scatter_nd(run *r)
{
    const array *x = run_in(r, 0), *index = run_in(r, 1), *from = run_in(r, 2);
    unsigned depth;
    uint64_t inner, rows = 1;
    if (!x || !index || !from) return;
    if (!graph_text_is(r->g, r->node, "reduction", "none", true)) return run_fail(r, "its mode is not evaluated");
    if (!rows_of(r, x, index, 0, &depth, &inner)) return;
    for (unsigned i = 0; i + 1 < index->rank; i++) rows *= (uint64_t)index->dims[i];
    if (from->count != rows * inner) return run_fail(r, "its shapes do not fit together");
    double *y = run_out(r, 0, x->rank, x->dims);
    if (y) memcpy(y, x->data, x->count * sizeof *y);
    for (uint64_t i = 0; y && i < rows; i++) {
        uint64_t at = 0;
        if (!row_place(r, x, index->data + i * depth, 0, depth, &at)) return;
        memcpy(y + at * inner, from->data + i * inner, inner * sizeof *y);
    }
}

void run_tile(run *r)
{
    const array *x = run_in(r, 0);
    int64_t count, dims[GRAPH_RANK_MAX];
    const double *times = run_list(r, 1, &count);
    if (!x || !times) return;
    if (count != (int64_t)x->rank) return run_fail(r, "its shapes do not fit together");
    for (unsigned i = 0; i < x->rank; i++) {
        if (!(times[i] >= 0 && times[i] <= INT16_MAX)) return run_fail(r, "its shapes do not fit together");
        dims[i] = x->dims[i] * (int64_t)times[i];
    }
    double *y = run_out(r, 0, x->rank, dims);
    uint64_t all = y ? r->values[r->node->outputs[0]].count : 0;
    for (uint64_t i = 0; i < all; i++) {
        uint64_t rest = i, at = 0, step = 1;
        for (unsigned d = x->rank; d-- > 0; rest /= (uint64_t)dims[d], step *= (uint64_t)x->dims[d])
            at += rest % (uint64_t)dims[d] % (uint64_t)x->dims[d] * step;
        y[i] = x->data[at];
    }
}

void run_range(run *r)
{
    const array *first = run_in(r, 0);
    int64_t counts[3], dims[1] = {0};
    const double *from = run_list(r, 0, &counts[0]), *to = run_list(r, 1, &counts[1]), *by = run_list(r, 2, &counts[2]);
    if (r->unknown || !first) return;
    if (counts[0] != 1 || counts[1] != 1 || counts[2] != 1) return run_fail(r, "its ranges are not given");
    const double n = ceil((*to - *from) / *by);
    if (!(fabs(n) < INT32_MAX)) return run_fail(r, "its ranges are not given");
    dims[0] = n > 0 ? (int64_t)n : 0;
    double start = *from, step = *by, *y = run_out(r, 0, 1, dims);
    for (int64_t i = 0; y && i < dims[0]; i++) y[i] = start + (double)i * step;
}

void run_size(run *r)
{
    const array *x = run_in(r, 0);
    if (!x) return;
    r->lacking = false; /* known without the data */
    double *y = run_out(r, 0, 0, NULL);
    if (y) *y = (double)x->count;
}

/* The triangle above or below a diagonal of the last two axes; zeros else. */
void run_triangle(run *r)
{
    const array *x = run_in(r, 0);
    int64_t count;
    const double *shift = run_list(r, 1, &count);
    const bool upper = graph_int(r->g, r->node, "upper", 1);
    if (!x || r->unknown) return;
    if (x->rank < 2) return run_fail(r, "its shapes do not fit together");
    const double k = shift && count ? *shift : 0;
    const uint64_t columns = (uint64_t)x->dims[x->rank - 1], rows = (uint64_t)x->dims[x->rank - 2];
    double *y = run_out(r, 0, x->rank, x->dims);
    for (uint64_t i = 0; y && i < x->count; i++) {
        const double over = (double)(i % columns) - (double)(i / columns % rows);
        y[i] = (upper ? over >= k : over <= k) ? x->data[i] : 0;
    }
}

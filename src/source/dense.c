/* Strided tensors made dense: the store is read in the order in which it lies, through a window, and each element goes
 * to its place. */
#include "source/dense.h"

#define WINDOW_BYTES (256u << 10)
#define FAR_BYTES 4096 /* elements further apart are read one by one */

typedef struct axis {
    uint64_t n, from, to; /* how many; strides in the store and in the dense tensor, in elements */
} axis;

typedef struct walk {
    const dense_view *view;
    const dense_store *store;
    axis axes[DENSE_RANK_MOST]; /* the largest stride in the store first */
    unsigned rank;
    uint8_t *window;
    uint64_t window_at, window_bytes, end; /* end: of the tensor, in the store */
} walk;

static uint64_t elements_of(const dense_view *v)
{
    uint64_t n = 1;
    for (unsigned d = 0; d < v->rank; d++) n *= v->shape[d];
    return n;
}

bool dense_span(const dense_view *v, uint64_t *elements)
{
    uint64_t last = 0, step;
    for (unsigned d = 0; d < v->rank; d++)
        if (!base_multiply(v->shape[d] - 1, v->stride[d], &step) || !base_add(last, step, &last)) return false;
    return base_add(last, 1, elements);
}

static bool is_contiguous(const dense_view *v)
{
    uint64_t expected = 1;
    for (unsigned d = v->rank; d-- > 0;) {
        if (v->shape[d] != 1 && v->stride[d] != expected) return false;
        expected *= v->shape[d];
    }
    return true;
}

bool dense_is_plain(const dense_view *v)
{
    return (!v->swap || v->unit == 1) && !v->negative && !v->conjugate && (!elements_of(v) || is_contiguous(v));
}

/* ---------------------------------------------------------------- order and signs */

static void turn(uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n / 2; i++) {
        const uint8_t b = p[i];
        p[i] = p[n - 1 - i];
        p[n - 1 - i] = b;
    }
}

static void negate(uint8_t *p, unsigned n, bool whole)
{
    if (!whole) {
        p[n - 1] ^= 0x80;
        return;
    }
    unsigned carry = 1;
    for (unsigned i = 0; i < n; i++) {
        carry += (uint8_t)~p[i];
        p[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

static void swap_units(uint8_t *p, uint64_t count, unsigned unit)
{
    if (unit == 2)
        for (uint64_t i = 0; i < count; i++) turn(p + 2 * i, 2);
    else if (unit == 4)
        for (uint64_t i = 0; i < count; i++) turn(p + 4 * i, 4);
    else
        for (uint64_t i = 0; i < count; i++) turn(p + unit * i, unit);
}

static void settle(const dense_view *v, uint8_t *p, uint64_t bytes)
{
    const uint64_t units = bytes / v->unit;
    if (v->swap && v->unit > 1) swap_units(p, units, v->unit);
    for (uint64_t i = 0; v->negative && i < units; i++) negate(p + i * v->unit, v->unit, v->whole);
    for (uint64_t i = 1; v->conjugate && i < units; i += 2) negate(p + i * v->unit, v->unit, v->whole);
}

/* ---------------------------------------------------------------- strides */

/* Axes of one entry away, the others by their stride in the store, neighbours that are one axis joined. */
static void order_axes(walk *w)
{
    const dense_view *v = w->view;
    uint64_t to = 1;
    unsigned rank = 0;
    for (unsigned d = v->rank; d-- > 0; to *= v->shape[d]) {
        if (v->shape[d] == 1) continue;
        const axis a = {v->shape[d], v->stride[d], to};
        unsigned i = rank++;
        for (; i > 0 && w->axes[i - 1].from <= a.from; i--) w->axes[i] = w->axes[i - 1];
        w->axes[i] = a;
    }
    for (unsigned i = 0; i < rank; i++) {
        axis *outer = w->rank ? &w->axes[w->rank - 1] : NULL;
        const axis a = w->axes[i];
        if (outer && outer->from == a.from * a.n && outer->to == a.to * a.n)
            *outer = (axis){outer->n * a.n, a.from, a.to};
        else
            w->axes[w->rank++] = a;
    }
    if (!w->rank) w->axes[w->rank++] = (axis){1, 1, 1};
}

/* *bytes of the store from `at` on, at least `needed`; far: not more. */
static fpr_status look(walk *w, uint64_t at, uint64_t needed, bool far, const uint8_t **bytes, fpr_error *error)
{
    if (at < w->window_at || at + needed > w->window_at + w->window_bytes) {
        const uint64_t left = w->end - at;
        uint64_t n = far ? needed : WINDOW_BYTES;
        if (n > left) n = left;
        const fpr_status status = w->store->read(w->store, at, n, w->window, error);
        if (status) return status;
        w->window_at = at;
        w->window_bytes = n;
    }
    *bytes = w->window + (at - w->window_at);
    return FPR_OK;
}

#define COPY_ELEMENTS(size) \
    for (uint64_t i = 0; i < n; i++) memcpy(to + i * to_step * (size), from + i * from_step * (size), (size))

static void copy_elements(const uint8_t *from, uint64_t from_step, uint8_t *to, uint64_t to_step, uint64_t n,
                          unsigned element)
{
    if (from_step == 1 && to_step == 1) memcpy(to, from, n * element);
    else if (element == 1) COPY_ELEMENTS(1);
    else if (element == 2) COPY_ELEMENTS(2);
    else if (element == 4) COPY_ELEMENTS(4);
    else COPY_ELEMENTS(8);
}

/* The last axis, in pieces that fit into the window. */
static fpr_status copy_row(walk *w, uint64_t from, uint8_t *to, fpr_error *error)
{
    const unsigned e = w->view->element;
    const axis *a = &w->axes[w->rank - 1];
    const uint64_t step = a->from * e;
    const bool far = step >= FAR_BYTES;
    const uint64_t most = far ? 1 : step ? (WINDOW_BYTES - e) / step + 1 : a->n;
    for (uint64_t i = 0; i < a->n; i += most) {
        const uint64_t n = a->n - i < most ? a->n - i : most;
        const uint8_t *bytes;
        if (w->store->cancel && *w->store->cancel) return base_fail(error, FPR_CANCELLED, "cancelled");
        const fpr_status status = look(w, from + i * step, (n - 1) * step + e, far, &bytes, error);
        if (status) return status;
        copy_elements(bytes, a->from, to + i * a->to * e, a->to, n, e);
    }
    return FPR_OK;
}

static fpr_status gather(const dense_view *v, const dense_store *store, uint8_t *dst, fpr_error *error)
{
    walk w = {.view = v, .store = store};
    uint64_t span = 0, at[DENSE_RANK_MOST] = {0};
    fpr_status status = FPR_OK;
    if (!dense_span(v, &span)) return base_fail(error, FPR_BAD_HEADER, "a tensor's strides overflow");
    w.end = v->offset + span * v->element;
    w.window = base_alloc(WINDOW_BYTES, 1);
    if (!w.window) return base_no_memory(error, WINDOW_BYTES);
    order_axes(&w);
    uint64_t from = v->offset, to = 0;
    for (unsigned d = 0; !status;) {
        status = copy_row(&w, from, dst + to, error);
        /* The next row: like an odometer. */
        for (d = w.rank - 1; d-- > 0;) {
            const axis *a = &w.axes[d];
            from += a->from * v->element;
            to += a->to * v->element;
            if (++at[d] < a->n) break;
            from -= a->n * a->from * v->element;
            to -= a->n * a->to * v->element;
            at[d] = 0;
        }
        if (d == UINT32_MAX) break;
    }
    base_free(w.window);
    return status;
}

fpr_status dense_read(const dense_view *v, const dense_store *store, uint64_t from, uint64_t count, void *dst,
                      fpr_error *error)
{
    const uint64_t bytes = elements_of(v) * v->element;
    if (from > bytes || count > bytes - from) return base_fail(error, FPR_BAD_HEADER, "a tensor is shorter than asked");
    if (!count) return FPR_OK;
    if (dense_is_plain(v)) return store->read(store, v->offset + from, count, dst, error);
    if (count == bytes) {
        const fpr_status status = gather(v, store, dst, error);
        if (!status) settle(v, dst, bytes);
        return status;
    }
    uint8_t *all = base_alloc(bytes, 1);
    if (!all) return base_no_memory(error, bytes);
    const fpr_status status = dense_read(v, store, 0, bytes, all, error);
    if (!status) memcpy(dst, all + from, count);
    base_free(all);
    return status;
}

/* What the spectrum of a layer says: of W as out x (in k), and of its slices for the tail. */
#include "linalg/linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TAIL_LEAST 1e-5     /* WeightWatcher's EVALS_THRESH */
#define TAIL_VALUES_MIN 8u  /* and its limits of how many values a layer may have: a convolution's, of its longer side */
#define TAIL_VALUES_MAX 15000u
#define RESOLVED 1e-3       /* of the largest: singular values above it lose nothing that shows by squaring */
#define NO_CONDITION 1e-12

/* Strides of a layer's axes, in elements. */
typedef struct axes { uint64_t out, in, k, out_stride, in_stride, k_stride; } axes;

static axes axes_of(const fpr_layer_shape *s)
{
    axes a = {.out = s->filters, .in = s->channels, .k = s->k};
    switch (s->layout) {
    case FPR_LAYOUT_HWIO: a.out_stride = 1, a.in_stride = a.out, a.k_stride = a.in * a.out; break;
    case FPR_LAYOUT_OHWI: a.out_stride = a.k * a.in, a.in_stride = 1, a.k_stride = a.in; break;
    default: a.out_stride = a.in * a.k, a.in_stride = a.k, a.k_stride = 1; break;
    }
    /* [in, out/groups, k...]: what lies first are the inputs. */
    if (s->transposed) a = (axes){a.in, a.out, a.k, a.in_stride, a.out_stride, a.k_stride};
    return a;
}

static double nine_digits(double x)
{
    if (!isfinite(x) || x == 0) return x;
    char text[32];
    snprintf(text, sizeof text, "%.8e", x);
    return strtod(text, NULL);
}

static uint64_t rank_of(const double *squares, size_t n, double total, double share)
{
    double sum = 0;
    for (size_t i = n; i-- > 0;)
        if ((sum += squares[i]) >= share * total) return n - i;
    return n;
}

static void figures(const double *squares, size_t n, fpr_spectrum *out)
{
    double total = 0, entropy = 0;
    for (size_t i = 0; i < n; i++) total += squares[i];
    if (!(total > 0)) return;
    for (size_t i = 0; i < n; i++) {
        const double p = squares[i] / total;
        if (p > 0) entropy -= p * log(p);
    }
    out->norm = nine_digits(sqrt(squares[n - 1]));
    out->stable_rank = nine_digits(total / squares[n - 1]);
    out->effective_rank = nine_digits(exp(entropy));
    out->rank90 = rank_of(squares, n, total, 0.9);
    out->rank99 = rank_of(squares, n, total, 0.99);
    out->rank999 = rank_of(squares, n, total, 0.999);
}

static fpr_status condition(const linalg_view *w, double largest, double smallest, size_t n, uint64_t bytes_free,
                            fpr_spectrum *out, fpr_error *error)
{
    if (smallest < RESOLVED * largest) {
        if ((uint64_t)n * n * 12 > bytes_free) return FPR_OK;
        const fpr_status status = linalg_smallest(w, &smallest, error);
        if (status) return status;
    }
    if (smallest >= NO_CONDITION * largest) out->condition = nine_digits(largest / smallest);
    return FPR_OK;
}

typedef struct slices {
    const axes *a;
    linalg_view view; /* of the first */
    size_t each;
    double *squares;  /* [k][each] */
    fpr_error *errors;
} slices;

static void slice_task(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const slices *s = context;
    linalg_view v = s->view;
    v.first = i * s->a->k_stride;
    bool singular;
    linalg_squares(&v, 1, s->squares + i * s->each, &singular, &s->errors[i]);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The tail of the pool of squares, scaled as WeightWatcher scales a convolution: by the square root of half its k. */
static fpr_status tail(double *pool, size_t n, double scale, fpr_spectrum *out, fpr_error *error)
{
    double *scratch = base_alloc(2 * n, sizeof *scratch);
    if (!scratch) return base_no_memory(error, 2 * n * sizeof *scratch);
    qsort(pool, n, sizeof *pool, ascending);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) pool[i] *= scale;
    while (from < n && !(pool[from] > TAIL_LEAST)) from++;
    if (n - from > 1) out->alpha = nine_digits(linalg_tail_exponent(pool + from, n - from, scratch));
    base_free(scratch);
    return FPR_OK;
}

static fpr_status tail_of_slices(const axes *a, linalg_view w, double scale, unsigned threads, fpr_spectrum *out,
                                 fpr_error *error)
{
    w.outer = 1, w.outer_stride = 0, w.inner = a->in, w.inner_stride = a->in_stride;
    slices s = {.a = a, .view = w, .each = (size_t)(a->out < a->in ? a->out : a->in)};
    const size_t n = s.each * (size_t)a->k;
    s.squares = base_alloc(n, sizeof *s.squares);
    s.errors = base_calloc(a->k, sizeof *s.errors);
    fpr_status status = s.squares && s.errors ? FPR_OK : base_no_memory(error, n * sizeof *s.squares);
    if (!status) {
        base_parallel(threads, (size_t)a->k, slice_task, &s);
        status = base_first_error(s.errors, (size_t)a->k, error);
    }
    if (!status) status = tail(s.squares, n, scale, out, error);
    base_free(s.squares);
    base_free(s.errors);
    return status;
}

/* Singular values for the plot, by falling size, as shares of the largest. */
static fpr_status keep_values(const double *squares, size_t n, fpr_spectrum *out, fpr_error *error)
{
    const size_t count = n < FPR_SPECTRUM_POINTS ? n : FPR_SPECTRUM_POINTS;
    out->values = base_calloc(count, sizeof *out->values);
    if (!out->values) return base_no_memory(error, count * sizeof *out->values);
    out->value_count = (unsigned)count;
    for (size_t i = 0; i < count && squares[n - 1] > 0; i++) {
        const size_t at = count > 1 ? i * (n - 1) / (count - 1) : 0;
        out->values[i] = (float)sqrt(squares[n - 1 - at] / squares[n - 1]);
    }
    return FPR_OK;
}

fpr_status linalg_spectrum(const linalg_layer *layer, unsigned threads, fpr_spectrum *out, fpr_error *error)
{
    const axes a = axes_of(layer->shape);
    linalg_view w = {.dtype = layer->dtype, .weights = layer->weights, .rows = a.out, .row_stride = a.out_stride,
                     .outer = a.in, .outer_stride = a.in_stride, .inner = a.k, .inner_stride = a.k_stride};
    if (a.in_stride == 1) /* runs that lie together */
        w.outer = a.k, w.outer_stride = a.k_stride, w.inner = a.in, w.inner_stride = 1;
    if (w.inner_stride == 1 && w.outer_stride == w.inner) /* a row in one piece */
        w.inner *= w.outer, w.outer = 1;
    const size_t n = (size_t)(a.out < a.in * a.k ? a.out : a.in * a.k);
    *out = (fpr_spectrum){.known = true, .norm = 0, .stable_rank = NAN, .effective_rank = NAN, .condition = NAN, .alpha = NAN, .full_rank = n};
    double *squares = base_alloc(n, sizeof *squares);
    fpr_status status = squares ? FPR_OK : base_no_memory(error, n * sizeof *squares);
    bool singular = true;
    if (!status) status = linalg_squares(&w, threads, squares, &singular, error);
    if (!status) {
        figures(squares, n, out);
        status = keep_values(squares, n, out, error);
    }
    if (!status && !singular)
        status = condition(&w, sqrt(squares[n - 1]), sqrt(squares[0]), n, layer->bytes_free, out, error);
    const uint64_t shorter = a.out < a.in ? a.out : a.in, pooled = shorter * a.k;
    const uint64_t counted = a.k > 1 ? (a.out < a.in ? a.in : a.out) * a.k : shorter;
    const double scale = layer->linear ? 1 : (double)a.k / 2;
    if (!status && !layer->shape->depthwise && counted >= TAIL_VALUES_MIN && pooled <= TAIL_VALUES_MAX)
        status = a.k == 1 ? tail(squares, n, scale, out, error) : tail_of_slices(&a, w, scale, threads, out, error);
    base_free(squares);
    return status;
}

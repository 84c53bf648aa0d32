/* Kernels of a layer as the report shows them: of largest norm, of middling norm, and of those that go. */
#include "job/job.h"

#include <math.h>
#include <stdlib.h>

enum { LOOKED_AT = 2048, WEIGHTS_MOST = 49 }; /* 7x7 */

typedef struct looked { double norm; uint64_t kernel; } looked;

static int by_norm(const void *a, const void *b)
{
    const looked *x = a, *y = b;
    if (x->norm != y->norm) return x->norm < y->norm ? 1 : -1;
    return (x->kernel > y->kernel) - (x->kernel < y->kernel);
}

static void swap(looked *a, looked *b)
{
    const looked was = *a;
    *a = *b;
    *b = was;
}

/* The first `rank` of n become those that come first, in no order: the part that is looked at shrinks by half or so. */
static void select_first(looked *list, size_t n, size_t rank)
{
    while (rank > 0 && rank < n) {
        size_t at = 0;
        looked *pivot = &list[n - 1];
        swap(pivot, &list[n / 2]);
        for (size_t i = 0; i + 1 < n; i++)
            if (by_norm(&list[i], pivot) < 0) swap(&list[at++], &list[i]);
        swap(&list[at], pivot);
        if (rank <= at) {
            n = at;
        } else {
            list += at + 1;
            n -= at + 1;
            rank -= at + 1;
        }
    }
}

/* The kernels of ranks first .. first + count - 1, in order, stand there. */
static void select_ranks(looked *list, size_t n, size_t first, size_t count)
{
    select_first(list, n, first);
    select_first(list + first, n - first, count);
    qsort(list + first, count, sizeof *list, by_norm);
}

/* Peak and length; squares of doubles alone can leave their range. */
static double length_of(const double *kernel, size_t k, bool floats, double *peak)
{
    double square = 0;
    *peak = 0;
    for (size_t j = 0; j < k; j++) {
        const double size = fabs(kernel[j]);
        *peak = size > *peak ? size : *peak;
        square += size * size;
    }
    if (floats || *peak == 0) return sqrt(square);
    square = 0;
    for (size_t j = 0; j < k; j++) square += kernel[j] / *peak * (kernel[j] / *peak);
    return *peak * sqrt(square);
}

/* Whether a kernel goes: by its action, or, where none is given, because it is sparse and not zero. */
static bool goes(const conv_block *b, double limit, uint64_t kernel, double peak)
{
    return b->action ? b->action[kernel] == CONV_ACTION_ZERO : limit > 0 && peak < limit && peak > 0;
}

static fpr_status take(const conv_block *b, const looked *from, size_t count, fpr_sample kind, fpr_layer *row, fpr_error *error)
{
    const size_t k = (size_t)b->shape->k;
    double kernel[WEIGHTS_MOST];
    if (!count) return FPR_OK;
    float *p = row->sample[kind] = base_alloc(count * k, sizeof *p);
    if (!p) return base_no_memory(error, count * k * sizeof *p);
    row->sample_count[kind] = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        conv_kernels(b->shape, b->dtype, b->weights, from[i].kernel, 1, kernel);
        for (size_t j = 0; j < k; j++) *p++ = (float)kernel[j];
    }
    return FPR_OK;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

fpr_status job_samples(const conv_block *b, double sparse_limit, fpr_layer *row, fpr_error *error)
{
    const fpr_layer_shape *s = b->shape;
    const uint64_t n = s->kernels < LOOKED_AT ? s->kernels : LOOKED_AT;
    if (s->k < 2 || s->k > WEIGHTS_MOST || row->sample[FPR_SAMPLE_LARGEST] || row->sample[FPR_SAMPLE_GONE]) return FPR_OK;
    looked *stay = base_alloc(2 * n, sizeof *stay);
    if (!stay) return base_no_memory(error, 2 * n * sizeof *stay);
    looked *go = stay + n;
    size_t stays = 0, gone = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)((double)i * ((double)s->kernels / (double)n));
        double kernel[WEIGHTS_MOST], peak;
        conv_kernels(s, b->dtype, b->weights, at, 1, kernel);
        const looked found = {length_of(kernel, (size_t)s->k, b->dtype != FPR_F64, &peak), at};
        if (goes(b, sparse_limit, at, peak)) go[gone++] = found;
        else if (peak > 0) stay[stays++] = found;
    }
    const size_t shown = least(stays, FPR_SAMPLE_KERNELS), middle = (stays - shown) / 2;
    const size_t shown_gone = least(gone, FPR_SAMPLE_KERNELS);
    select_ranks(stay, stays, 0, shown);
    fpr_status status = take(b, stay, shown, FPR_SAMPLE_LARGEST, row, error);
    select_ranks(stay, stays, middle, shown);
    if (!status) status = take(b, stay + middle, shown, FPR_SAMPLE_TYPICAL, row, error);
    select_ranks(go, gone, 0, shown_gone);
    if (!status) status = take(b, go, shown_gone, FPR_SAMPLE_GONE, row, error);
    base_free(stay);
    return status;
}

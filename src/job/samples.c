/* Kernels of a layer as the report shows them: of largest norm, of middling norm, and of those that go. */
#include "job/job.h"

#include <math.h>
#include <stdlib.h>

enum { LOOKED_AT = 2048, BUCKETS = 256 };

typedef struct looked { double norm; uint64_t kernel; } looked;

static int by_norm(const void *a, const void *b)
{
    const looked *x = a, *y = b;
    if (x->norm != y->norm) return x->norm < y->norm ? 1 : -1;
    return (x->kernel > y->kernel) - (x->kernel < y->kernel);
}

/* Kernels by norm, in buckets of equal width, the largest first: so that only those near the wanted ranks are sorted. */
typedef struct sorting {
    const looked *list;
    size_t n;
    double high, scale;
    size_t count[BUCKETS];
} sorting;

static unsigned bucket_of(const sorting *s, double norm) { return (unsigned)((s->high - norm) * s->scale); }

static void sort_roughly(sorting *s, const looked *list, size_t n)
{
    double low = INFINITY;
    *s = (sorting){.list = list, .n = n};
    for (size_t i = 0; i < n; i++) {
        s->high = list[i].norm > s->high ? list[i].norm : s->high;
        low = list[i].norm < low ? list[i].norm : low;
    }
    s->scale = (BUCKETS - 1) / (s->high - low);
    if (!isfinite(s->scale)) s->scale = 0; /* all alike, or nearly */
    for (size_t i = 0; i < n; i++) s->count[bucket_of(s, list[i].norm)]++;
}

/* The kernels of ranks first .. first + count - 1 <= n into *ranked, which points into room [n]. */
static const looked *ranks(const sorting *s, size_t first, size_t count, looked *room)
{
    unsigned from = 0, to;
    size_t before = 0, held, n = 0;
    while (from + 1 < BUCKETS && before + s->count[from] <= first) before += s->count[from++];
    for (to = from, held = before + s->count[from]; to + 1 < BUCKETS && held < first + count;) held += s->count[++to];
    for (size_t i = 0; i < s->n; i++) {
        const unsigned bucket = bucket_of(s, s->list[i].norm);
        if (bucket >= from && bucket <= to) room[n++] = s->list[i];
    }
    qsort(room, n, sizeof *room, by_norm);
    return room + (first - before);
}

/* Whether a kernel goes: by its action, or, where none is given, because it is sparse and not zero. */
static bool goes(const conv_block *b, double limit, uint64_t kernel, double peak)
{
    return b->action ? b->action[kernel] == CONV_ACTION_ZERO : limit > 0 && peak < limit && peak > 0;
}

static fpr_status take(const conv_block *b, const looked *from, size_t count, fpr_sample kind, fpr_layer *row, fpr_error *error)
{
    const size_t k = (size_t)b->shape->k;
    double kernel[CONV_SIZES_K_MAX];
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

/* n kernels evenly spaced over a layer, by whether they stay; zero kernels are no kernels to show. */
static void look(const conv_block *b, double limit, uint64_t n, looked *stay, size_t *stays, looked *go, size_t *gone)
{
    const double step = (double)b->shape->kernels / (double)n;
    for (uint64_t i = 0; i < n; i += CONV_SIZES_KERNELS) {
        const size_t m = least(CONV_SIZES_KERNELS, (size_t)(n - i));
        uint64_t kernel[CONV_SIZES_KERNELS];
        double peak[CONV_SIZES_KERNELS], norm[CONV_SIZES_KERNELS];
        for (size_t j = 0; j < m; j++) kernel[j] = (uint64_t)((double)(i + j) * step);
        conv_sizes(b->shape, b->dtype, b->weights, kernel, m, peak, norm);
        for (size_t j = 0; j < m; j++) {
            if (goes(b, limit, kernel[j], peak[j])) go[(*gone)++] = (looked){norm[j], kernel[j]};
            else if (peak[j] > 0) stay[(*stays)++] = (looked){norm[j], kernel[j]};
        }
    }
}

fpr_status job_samples(const conv_block *b, double sparse_limit, fpr_layer *row, fpr_error *error)
{
    const fpr_layer_shape *s = b->shape;
    const uint64_t n = s->kernels < LOOKED_AT ? s->kernels : LOOKED_AT;
    if (s->k < 2 || s->k > CONV_SIZES_K_MAX || row->sample[FPR_SAMPLE_LARGEST] || row->sample[FPR_SAMPLE_GONE]) return FPR_OK;
    looked *stay = base_alloc(3 * n, sizeof *stay);
    if (!stay) return base_no_memory(error, 3 * n * sizeof *stay);
    looked *go = stay + n, *room = go + n;
    size_t stays = 0, gone = 0;
    look(b, sparse_limit, n, stay, &stays, go, &gone);
    const size_t shown = least(stays, FPR_SAMPLE_KERNELS), shown_gone = least(gone, FPR_SAMPLE_KERNELS);
    sorting sorted;
    sort_roughly(&sorted, stay, stays);
    fpr_status status = take(b, ranks(&sorted, 0, shown, room), shown, FPR_SAMPLE_LARGEST, row, error);
    if (!status) status = take(b, ranks(&sorted, (stays - shown) / 2, shown, room), shown, FPR_SAMPLE_TYPICAL, row, error);
    sort_roughly(&sorted, go, gone);
    if (!status) status = take(b, ranks(&sorted, 0, shown_gone, room), shown_gone, FPR_SAMPLE_GONE, row, error);
    base_free(stay);
    return status;
}

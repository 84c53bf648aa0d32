/* The kernels of a group that lie farthest from the origin: enough to know the range of all coefficients without reading
 * the weights again.
 *
 * A coefficient is v . (x - m) with |v| = 1, so by Cauchy and Schwarz it is at most |x| + |m| in size. The first sweep
 * keeps the kernels x of largest |x|, before m and v are known. When, afterwards, the coefficients of these reach beyond
 * +-(t + |m|), where no kernel left out has |x| > t, then no kernel left out can widen the range. In trained networks
 * about one kernel in a hundred has to be kept for that. */
#include "conv/tile.h"

#include <math.h>
#include <pthread.h>

struct conv_farthest {
    unsigned k;
    size_t capacity, count;
    double *rows;    /* [capacity][k] scaled kernels */
    double *squares; /* [capacity] |x|^2 of each */
    double *sorted;  /* [2 * capacity] for thinning */
    double limit;    /* kernels left out have a |x|^2 of at most this; negative: none is left out */
    pthread_mutex_t lock;
};

conv_farthest *conv_farthest_new(unsigned k, size_t bytes)
{
    conv_farthest *farthest = base_calloc(1, sizeof *farthest);
    if (!farthest) return NULL;
    farthest->k = k;
    farthest->capacity = bytes / ((k + 3) * sizeof(double));
    if (farthest->capacity < 2) farthest->capacity = 2;
    farthest->limit = -1;
    farthest->rows = base_alloc(farthest->capacity, k * sizeof *farthest->rows);
    farthest->squares = base_alloc(farthest->capacity, sizeof *farthest->squares);
    farthest->sorted = base_alloc(farthest->capacity, 2 * sizeof *farthest->sorted);
    pthread_mutex_init(&farthest->lock, NULL);
    if (farthest->rows && farthest->squares && farthest->sorted) return farthest;
    conv_farthest_free(farthest);
    return NULL;
}

void conv_farthest_free(conv_farthest *farthest)
{
    if (!farthest) return;
    pthread_mutex_destroy(&farthest->lock);
    base_free(farthest->rows);
    base_free(farthest->squares);
    base_free(farthest->sorted);
    base_free(farthest);
}

static double limit_now(const conv_farthest *farthest)
{
    double limit;
    __atomic_load(&farthest->limit, &limit, __ATOMIC_RELAXED);
    return limit;
}

/* Leaves out what is not beyond a higher limit. */
static void raise_limit(conv_farthest *farthest, double limit)
{
    if (limit <= farthest->limit) return;
    __atomic_store(&farthest->limit, &limit, __ATOMIC_RELAXED);
    size_t kept = 0;
    for (size_t i = 0; i < farthest->count; i++) {
        if (farthest->squares[i] <= limit) continue;
        farthest->squares[kept] = farthest->squares[i];
        memmove(farthest->rows + kept++ * farthest->k, farthest->rows + i * farthest->k, farthest->k * sizeof *farthest->rows);
    }
    farthest->count = kept;
}

/* Leaves out the nearer half. */
static void thin(conv_farthest *farthest)
{
    memcpy(farthest->sorted, farthest->squares, farthest->count * sizeof *farthest->sorted);
    num_sort(farthest->sorted, farthest->count, farthest->sorted + farthest->capacity);
    raise_limit(farthest, farthest->sorted[farthest->count / 2]);
}

/* Adds the kernel whose weights are x[0], x[stride], ...; the lock is held. */
static void add(conv_farthest *farthest, const double *x, size_t stride, double square)
{
    if (farthest->count == farthest->capacity) thin(farthest);
    if (square <= farthest->limit) return;
    farthest->squares[farthest->count] = square;
    double *row = farthest->rows + farthest->count++ * farthest->k;
    for (unsigned d = 0; d < farthest->k; d++) row[d] = x[d * stride];
}

void conv_farthest_add_tile(conv_farthest *farthest, const double *x, size_t stride, const double *square, size_t n)
{
    const double limit = limit_now(farthest); /* an old limit, being lower, only lets more through */
    uint16_t beyond[256];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        beyond[count] = (uint16_t)i;
        count += square[i] > limit;
    }
    if (!count) return;
    pthread_mutex_lock(&farthest->lock);
    for (size_t i = 0; i < count; i++) add(farthest, x + beyond[i], stride, square[beyond[i]]);
    pthread_mutex_unlock(&farthest->lock);
}

void conv_farthest_merge(conv_farthest *into, const conv_farthest *from)
{
    raise_limit(into, from->limit);
    for (size_t i = 0; i < from->count; i++) add(into, from->rows + i * from->k, 1, from->squares[i]);
}

/* How far a coefficient of a kernel that was left out may be from 0. Sums of k products are off by less than k units of
 * the last place, which 1e-12 covers. */
static double reach(const conv_farthest *farthest, const fpr_basis *basis)
{
    const unsigned k = farthest->k;
    double mean = 0, longest = 0;
    for (unsigned j = 0; j < k; j++) {
        double square = 0;
        for (unsigned d = 0; d < k; d++) square += basis->components[j * k + d] * basis->components[j * k + d];
        longest = fmax(longest, square);
        mean += basis->mean[j] * basis->mean[j];
    }
    return sqrt(longest) * (sqrt(farthest->limit) + sqrt(mean)) * (1 + 1e-12);
}

bool conv_farthest_range(const conv_farthest *farthest, const conv_settings *settings, const fpr_basis *basis, double range[2])
{
    const unsigned k = farthest->k;
    const size_t stride = conv_tile_stride(k), width = conv_tile_width(k);
    const num_kernels *kernels = conv_kernels_of(settings);
    double *x = base_alloc_aligned(conv_projection_scratch(k), sizeof *x);
    if (!x) return false;
    double *c = x + k * stride;
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (size_t at = 0; at < farthest->count; at += width) {
        const size_t n = farthest->count - at < width ? farthest->count - at : width;
        kernels->tile_f64(x, stride, farthest->rows + at * k, n, k, 1);
        kernels->tile_project(c, x, stride, n, k, basis->mean, basis->components);
        for (unsigned j = 0; j < k; j++) kernels->range(range, c + j * stride, n);
    }
    base_free(x);
    if (farthest->limit < 0) return true;
    const double bound = reach(farthest, basis);
    return range[0] <= -bound && range[1] >= bound;
}

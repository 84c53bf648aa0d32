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

struct conv_far {
    unsigned k;
    size_t capacity, count;
    double *rows;    /* [capacity][k] scaled kernels */
    double *squares; /* [capacity] |x|^2 of each */
    double *sorted;  /* [2 * capacity] for thinning */
    double limit;    /* kernels left out have a |x|^2 of at most this; negative: none is left out */
    pthread_mutex_t lock;
};

conv_far *conv_far_new(unsigned k, size_t bytes)
{
    conv_far *far = base_calloc(1, sizeof *far);
    if (!far) return NULL;
    far->k = k;
    far->capacity = bytes / ((k + 3) * sizeof(double));
    if (far->capacity < 2) far->capacity = 2;
    far->limit = -1;
    far->rows = base_alloc(far->capacity, k * sizeof *far->rows);
    far->squares = base_alloc(far->capacity, sizeof *far->squares);
    far->sorted = base_alloc(far->capacity, 2 * sizeof *far->sorted);
    pthread_mutex_init(&far->lock, NULL);
    if (far->rows && far->squares && far->sorted) return far;
    conv_far_free(far);
    return NULL;
}

void conv_far_free(conv_far *far)
{
    if (!far) return;
    pthread_mutex_destroy(&far->lock);
    base_free(far->rows);
    base_free(far->squares);
    base_free(far->sorted);
    base_free(far);
}

static double limit_now(const conv_far *far)
{
    double limit;
    __atomic_load(&far->limit, &limit, __ATOMIC_RELAXED);
    return limit;
}

/* Leaves out what is not beyond a higher limit. */
static void raise_limit(conv_far *far, double limit)
{
    if (limit <= far->limit) return;
    __atomic_store(&far->limit, &limit, __ATOMIC_RELAXED);
    size_t kept = 0;
    for (size_t i = 0; i < far->count; i++) {
        if (far->squares[i] <= limit) continue;
        far->squares[kept] = far->squares[i];
        memmove(far->rows + kept++ * far->k, far->rows + i * far->k, far->k * sizeof *far->rows);
    }
    far->count = kept;
}

/* Leaves out the nearer half. */
static void thin(conv_far *far)
{
    memcpy(far->sorted, far->squares, far->count * sizeof *far->sorted);
    num_sort(far->sorted, far->count, far->sorted + far->capacity);
    raise_limit(far, far->sorted[far->count / 2]);
}

/* Adds the kernel whose weights are x[0], x[stride], ...; the lock is held. */
static void add(conv_far *far, const double *x, size_t stride, double square)
{
    if (far->count == far->capacity) thin(far);
    if (square <= far->limit) return;
    far->squares[far->count] = square;
    double *row = far->rows + far->count++ * far->k;
    for (unsigned d = 0; d < far->k; d++) row[d] = x[d * stride];
}

void conv_far_add_tile(conv_far *far, const double *x, size_t stride, const double *square, size_t n)
{
    const double limit = limit_now(far); /* an old limit, being lower, only lets more through */
    uint16_t beyond[256];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        beyond[count] = (uint16_t)i;
        count += square[i] > limit;
    }
    if (!count) return;
    pthread_mutex_lock(&far->lock);
    for (size_t i = 0; i < count; i++) add(far, x + beyond[i], stride, square[beyond[i]]);
    pthread_mutex_unlock(&far->lock);
}

void conv_far_merge(conv_far *into, const conv_far *from)
{
    raise_limit(into, from->limit);
    for (size_t i = 0; i < from->count; i++) add(into, from->rows + i * from->k, 1, from->squares[i]);
}

/* How far a coefficient of a kernel that was left out may be from 0. Sums of k products are off by less than k units of
 * the last place, which 1e-12 covers. */
static double reach(const conv_far *far, const fpr_basis *basis)
{
    const unsigned k = far->k;
    double mean = 0, longest = 0;
    for (unsigned j = 0; j < k; j++) {
        double square = 0;
        for (unsigned d = 0; d < k; d++) square += basis->components[j * k + d] * basis->components[j * k + d];
        longest = fmax(longest, square);
        mean += basis->mean[j] * basis->mean[j];
    }
    return sqrt(longest) * (sqrt(far->limit) + sqrt(mean)) * (1 + 1e-12);
}

bool conv_far_range(const conv_far *far, const conv_settings *settings, const fpr_basis *basis, double range[2])
{
    const unsigned k = far->k;
    const size_t stride = conv_tile_stride(k), width = conv_tile_width(k);
    const num_kernels *kernels = conv_kernels_of(settings);
    double *x = base_alloc_aligned(conv_projection_scratch(k), sizeof *x);
    if (!x) return false;
    double *c = x + k * stride;
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (size_t at = 0; at < far->count; at += width) {
        const size_t n = far->count - at < width ? far->count - at : width;
        kernels->tile_f64(x, stride, far->rows + at * k, n, k, 1);
        kernels->tile_project(c, x, stride, n, k, basis->mean, basis->components);
        for (unsigned j = 0; j < k; j++) kernels->range(range, c + j * stride, n);
    }
    base_free(x);
    if (far->limit < 0) return true;
    const double bound = reach(far, basis);
    return range[0] <= -bound && range[1] >= bound;
}

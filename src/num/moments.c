/* Mean and scatter of vectors, and how two of them become one: Chan, Golub & LeVeque, "Algorithms for computing the
 * sample variance", The American Statistician 37 (1983). Tiles are centered on their own mean (two passes), so nothing
 * is ever the difference of two large sums. */
#include "num/num.h"

#define ROWS 32 /* rows of doubles that fpr_moments_add turns at a time: 32 x 128 doubles are 32 KiB of stack */

void num_moments_over(fpr_moments *moments, unsigned k, double *memory)
{
    moments->k = k;
    moments->count = 0;
    moments->mean = memory;
    moments->scatter = memory + k;
    memset(memory, 0, NUM_MOMENTS_DOUBLES(k) * sizeof *memory);
}

fpr_status fpr_moments_init(fpr_moments *moments, unsigned k)
{
    memset(moments, 0, sizeof *moments);
    if (k == 0 || k > NUM_K_MAX) return FPR_USAGE;
    double *memory = base_alloc(NUM_MOMENTS_DOUBLES(k), sizeof *memory);
    if (!memory) return FPR_NO_MEMORY;
    num_moments_over(moments, k, memory);
    return FPR_OK;
}

void fpr_moments_free(fpr_moments *moments)
{
    base_free(moments->mean);
    memset(moments, 0, sizeof *moments);
}

void fpr_moments_merge(fpr_moments *into, const fpr_moments *from)
{
    const unsigned k = into->k;
    if (from->count == 0) return;
    if (into->count == 0) {
        into->count = from->count;
        memcpy(into->mean, from->mean, k * sizeof *into->mean);
        memcpy(into->scatter, from->scatter, (size_t)k * k * sizeof *into->scatter);
        return;
    }
    const double n1 = (double)into->count, n2 = (double)from->count, n = n1 + n2;
    const double share = n2 / n, weight = n1 * share;
    double d[NUM_K_MAX];
    for (unsigned i = 0; i < k; i++) d[i] = from->mean[i] - into->mean[i];
    for (unsigned i = 0; i < k; i++) {
        const double wd = weight * d[i], *add = from->scatter + (size_t)i * k;
        double *sum = into->scatter + (size_t)i * k;
        for (unsigned j = i; j < k; j++) sum[j] += add[j] + wd * d[j];
        into->mean[i] += d[i] * share;
    }
    for (unsigned i = 1; i < k; i++)
        for (unsigned j = 0; j < i; j++) into->scatter[(size_t)i * k + j] = into->scatter[(size_t)j * k + i];
    into->count += from->count;
}

void num_moments_add_tile(fpr_moments *moments, const num_kernels *kernels, double *x, size_t stride, size_t n,
                          double *scratch)
{
    if (n == 0) return;
    fpr_moments tile = {.k = moments->k, .count = n, .mean = scratch, .scatter = scratch + moments->k};
    kernels->tile_moments(tile.mean, tile.scatter, x, stride, n, moments->k);
    for (unsigned i = 1; i < tile.k; i++)
        for (unsigned j = 0; j < i; j++) tile.scatter[(size_t)i * tile.k + j] = tile.scatter[(size_t)j * tile.k + i];
    fpr_moments_merge(moments, &tile);
}

void num_moments_add_zeros(fpr_moments *moments, uint64_t count)
{
    if (count == 0) return;
    const unsigned k = moments->k;
    const double n1 = (double)moments->count, n = n1 + (double)count;
    const double weight = n1 / n * (double)count;
    for (unsigned i = 0; i < k; i++)
        for (unsigned j = 0; j < k; j++)
            moments->scatter[(size_t)i * k + j] += moments->mean[i] * moments->mean[j] * weight;
    for (unsigned i = 0; i < k; i++) moments->mean[i] *= n1 / n;
    moments->count += count;
}

void fpr_moments_add(fpr_moments *moments, const double *rows, size_t count)
{
    const num_kernels *kernels = num_kernels_best();
    const unsigned k = moments->k;
    double tile[ROWS * NUM_K_MAX] __attribute__((aligned(64)));
    double scratch[NUM_MOMENTS_DOUBLES(NUM_K_MAX)];
    for (size_t first = 0; first < count; first += ROWS) {
        size_t n = count - first < ROWS ? count - first : ROWS;
        kernels->tile_f64(tile, ROWS, rows + first * k, n, k, 1);
        num_moments_add_tile(moments, kernels, tile, ROWS, n, scratch);
    }
}

/* What carrying out a plan changes, counted part by part just before it is done. */
#include "num/num.h"
#include "shrink/inner.h"

#include <math.h>
#include <string.h>

/* Kernels from `kernel` on of one action, at most n. */
static uint64_t run_of(const shrink_plan *plan, uint64_t kernel, uint64_t n)
{
    uint64_t i = 1;
    while (i < n && plan->action[kernel + i] == plan->action[kernel]) i++;
    return i;
}

static void add_zeroed(const double *w, size_t n, double scale, shrink_cost *sum)
{
    uint64_t weights = 0;
    double square = 0;
    for (size_t i = 0; i < n; i++) {
        double scaled = w[i] * scale;
        weights += w[i] != 0 || signbit(w[i]); /* -0 becomes +0: no difference, and yet another weight */
        square += scaled * scaled;
    }
    sum->weights += weights;
    sum->square += square;
}

/* Weights of one kernel that take the nearer of two levels. */
static void add_quantized(const shrink_view *v, const uint8_t *pair, const double *w, size_t n, double scale,
                          shrink_cost *sum)
{
    double levels[2];
    shrink_cast(v->dtype, pair, FPR_F64, levels, 2);
    for (size_t i = 0; i < n; i++) {
        double scaled = fmin(fabs(w[i] - levels[0]), fabs(w[i] - levels[1])) * scale;
        sum->weights += scaled != 0;
        sum->square += scaled * scaled;
    }
}

static void add_live(const shrink_view *v, uint64_t kernel, uint64_t n, uint64_t limit, shrink_cost *sum)
{
    uint64_t magnitudes[256];
    for (uint64_t j = 0; j < n; j += 256) {
        size_t count = n - j < 256 ? (size_t)(n - j) : 256;
        shrink_magnitudes(v, kernel + j, count, magnitudes);
        for (size_t i = 0; i < count; i++) sum->live += shrink_size(magnitudes[i]) >= limit;
    }
}

/* n kernels of one action, at most a tile of them, or one that is larger than a tile. */
static void add_kernels(const shrink_view *v, const shrink_plan *plan, uint64_t kernel, uint64_t n, double scale,
                        shrink_cost *sum)
{
    double tile[TILE_WEIGHTS];
    const uint64_t k = v->shape->k;
    for (uint64_t i = 0; i < (k > TILE_WEIGHTS ? k : 1); i += TILE_WEIGHTS) {
        size_t count = k <= TILE_WEIGHTS ? (size_t)(n * k) : k - i < TILE_WEIGHTS ? (size_t)(k - i) : TILE_WEIGHTS;
        if (k > TILE_WEIGHTS) shrink_piece(v, kernel, i, count, tile);
        else conv_kernels(v->shape, v->dtype, v->weights, kernel, (size_t)n, tile);
        if (plan->action[kernel] == CONV_ACTION_ZERO) add_zeroed(tile, count, scale, sum);
        else add_quantized(v, shrink_levels(v, plan, kernel), tile, count, scale, sum);
    }
}

void shrink_cost_of_part(const shrink_view *v, const shrink_plan *plan, uint64_t limit, double scale, uint64_t first,
                         uint64_t end, shrink_cost *sum)
{
    const uint64_t tile = shrink_at_least_one(shrink_tile_kernels(v->shape));
    *sum = (shrink_cost){0};
    for (uint64_t j = first, n; j < end; j += n) {
        n = run_of(plan, j, end - j < tile ? end - j : tile);
        if (plan->action[j] == CONV_ACTION_KEPT) continue;
        if (plan->action[j] == CONV_ACTION_CHANGED && plan->binary.scope == FPR_SCOPE_KERNEL) n = 1;
        if (plan->action[j] == CONV_ACTION_CHANGED && n > v->shape->channels - j % v->shape->channels)
            n = v->shape->channels - j % v->shape->channels;
        add_kernels(v, plan, j, n, scale, sum);
        if (plan->action[j] == CONV_ACTION_ZERO && !plan->only_sparse) add_live(v, j, n, limit, sum);
    }
}

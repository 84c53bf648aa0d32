/* Integers to weights and back. One multiplication by the step and one rounding: the same bits on every machine. */
#include "lattice/level.h"

/* ---- shape */

bool lattice_shape_of(fpr_dtype dtype, unsigned rank, const uint64_t *shape, bool hwio, lattice_shape *s)
{
    if (dtype != FPR_F64 && dtype != FPR_F32 && dtype != FPR_F16 && dtype != FPR_BF16) return false;
    if (rank < 2) return false;
    *s = (lattice_shape){.dtype = dtype, .k = 1, .hwio = hwio && rank > 2};
    s->filters = s->hwio ? shape[rank - 1] : shape[0];
    s->channels = s->hwio ? shape[rank - 2] : shape[1];
    const uint64_t *kernel = s->hwio ? shape : shape + 2;
    uint64_t total;
    bool threes = rank <= 5;
    for (unsigned i = 0; i + 2 < rank; i++) {
        if (!base_multiply(s->k, kernel[i], &s->k)) return false;
        threes = threes && kernel[i] == 3;
    }
    if (!base_multiply(s->filters, s->channels, &total) || !base_multiply(total, s->k, &total) || !total) return false;
    if (s->k > LATTICE_KERNEL_MOST) { /* as rows, in the order in which the weights lie */
        *s = (lattice_shape){.dtype = dtype, .filters = shape[0], .channels = total / shape[0], .k = 1};
        return true;
    }
    if (threes && rank > 2) s->axes = rank - 2;
    if (rank > 3 && s->k > 1) s->row = (unsigned)kernel[rank - 3];
    return true;
}

/* ---- weights as numbers */

static inline unsigned width_of(fpr_dtype dtype) { return dtype == FPR_F64 ? 8 : dtype == FPR_F32 ? 4 : 2; }

/* Kernels of an HWIO tensor, one after another. Weights of a kernel are far apart there. */
static void gather(const lattice_shape *s, const uint8_t *bytes, uint64_t first, uint64_t n, uint8_t *to)
{
    const unsigned width = width_of(s->dtype);
    const uint64_t stride = s->channels * s->filters;
    for (uint64_t kernel = first; kernel < first + n; kernel++) {
        const uint64_t place = kernel % s->channels * s->filters + kernel / s->channels;
        for (uint64_t i = 0; i < s->k; i++, to += width) memcpy(to, bytes + (place + i * stride) * width, width);
    }
}

void lattice_load(const lattice_shape *s, const void *bytes, uint64_t first, uint64_t n, double *w)
{
    const uint8_t *from = (const uint8_t *)bytes + first * s->k * width_of(s->dtype);
    uint8_t together[LATTICE_BATCH * 8];
    if (s->hwio) {
        gather(s, bytes, first, n, together);
        from = together;
    }
    lattice_level_best()->load(s->dtype, from, (size_t)(n * s->k), w);
}

void lattice_scale(const lattice_shape *s, const lattice *l, uint64_t n, double *w)
{
    lattice_level_best()->scale(l, (size_t)s->k, (size_t)n, false, w);
}

bool lattice_points(const lattice_shape *s, uint64_t n, const double *x, int32_t *points)
{
    return lattice_level_best()->nearest(x, (size_t)(n * s->k), points);
}

static void restore_run(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, uint8_t *to)
{
    const lattice_level *level = lattice_level_best();
    double x[LATTICE_BLOCK];
    /* Without a transform it is all the same where a kernel ends. */
    const uint64_t k = l->transformed ? s->k : 1, count = n * s->k, step = LATTICE_BLOCK / k * k;
    for (uint64_t at = 0; at < count; at += step) {
        const uint64_t m = count - at < step ? count - at : step;
        level->steps(l, (size_t)k, (size_t)(m / k), false, points + at, x);
        level->store(s->dtype, l->step, x, (size_t)m, to + at * width_of(s->dtype));
    }
}

void lattice_values(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, double *w)
{
    uint8_t bytes[LATTICE_BATCH * 8];
    restore_run(s, l, n, points, bytes);
    lattice_level_best()->load(s->dtype, bytes, (size_t)(n * s->k), w);
}

/* ---- weights as bytes */

#define TILE 16u

/* Weights of filters [f, f + filters), m of them in each from the s-th one of channel c on, in the order of kernels, to where
 * they lie in an HWIO tensor: filters are beside one another there. */
static inline __attribute__((always_inline)) void turn(const lattice_shape *s, const uint8_t *from, uint64_t f, uint64_t filters,
                                                       uint64_t at, uint64_t m, uint8_t *bytes, unsigned width)
{
    const uint64_t row = s->channels * s->k;
    for (uint64_t j = 0; j < m; j++) {
        const uint64_t place = (at + j) % s->k * s->channels + (at + j) / s->k;
        uint8_t *to = bytes + (place * s->filters + f) * width;
        for (uint64_t i = 0; i < filters; i++) memcpy(to + i * width, from + (i * row + j) * width, width);
    }
}

/* A chunk begins and ends in the midst of filters: what is whole is turned in tiles, which use what was read of memory. */
static void turn_all(const lattice_shape *s, const uint8_t *from, uint64_t first, uint64_t n, uint8_t *bytes)
{
    const uint64_t row = s->channels * s->k, end = (first + n) * s->k;
    const unsigned width = width_of(s->dtype);
    for (uint64_t begin = first * s->k, filters; begin < end; begin += filters * row - begin % row) {
        const uint64_t f = begin / row, whole = begin % row ? 1 : (end - begin) / row;
        filters = whole < 1 ? 1 : whole > TILE ? TILE : whole;
        const uint64_t stop = end - f * row < row ? end - f * row : row;
        for (uint64_t at = begin % row, m; at < stop; at += m) {
            m = stop - at < TILE ? stop - at : TILE;
            const uint8_t *tile = from + (f * row + at - first * s->k) * width;
            if (width == 4) turn(s, tile, f, filters, at, m, bytes, 4);
            else if (width == 2) turn(s, tile, f, filters, at, m, bytes, 2);
            else turn(s, tile, f, filters, at, m, bytes, 8);
        }
    }
}

void lattice_restore(const lattice_shape *s, const lattice *l, uint64_t first, uint64_t n, const int32_t *points, void *scratch,
                     void *bytes)
{
    if (!s->hwio) {
        restore_run(s, l, n, points, (uint8_t *)bytes + first * s->k * width_of(s->dtype));
        return;
    }
    restore_run(s, l, n, points, scratch);
    turn_all(s, scratch, first, n, bytes);
}

/* Which tensors are convolution layers, by dtype, rank and shape alone; roles.c knows names and neighbours, too.
 *
 * A layer is F64, F32, F16 or BF16 of rank 3, 4 or 5 without an empty dimension. Read as OIHW its shape is
 * [out, in/groups, k...], as HWIO [k..., in/groups, out], as OHWI [out, k..., in/groups]. Transposed convolutions
 * ([in, out/groups, k...]) are read the same way. What a convolution has to look like:
 *
 *  - in/groups = 1 with a kernel of one weight is a scale vector, [out, 1, 1, 1]: no layer.
 *  - Kernels are small. Up to 11 along a side is plausible for any layer (AlexNet's 11x11). Beyond, up to 64, only
 *    where few channels meet many filters, at most 4 and at least 8: patch embeddings ([768, 3, 16, 16], [768, 3, 2,
 *    16, 16]) and large depthwise kernels ([96, 1, 31, 31]); and up to 31, odd, for kernels of one row (1 x 15); and
 *    for columns (64 x 1, a signal read as an image of one column), of at least 8 filters.
 *    Attention matrices [b, h, n, n], images and masks fall outside; read as HWIO, [1, h, n, n] with an even h does
 *    too.
 *  - With a single filter at most 7 along a side: the last layer of a denoiser, [1, 64, 3, 3], but not a table of
 *    positions, [1, 768, 14, 14].
 *  - Rank 3 is where matrices live: position tables [1, 197, 768], [tokens, 1, dim], stacks [3, d, d], [heads, n, n],
 *    experts. Up to 16 along the kernel (32 where in/groups = 1), no kernel of one weight for a single filter or a
 *    single channel, no square above 7 in the last two dimensions, and not [heads, dim, dim/heads] or [heads,
 *    dim/heads, dim]. As HWIO the kernel is 2 to 11 long, since [1, n, dim] is a table rather than a layer there.
 *
 * What is wrongly left out is stored like any tensor; what is wrongly taken in would be pruned. So doubt means no. */
#include "conv/conv.h"

#define SIDE_ANY 11    /* along a side, any layer */
#define SIDE_STRIP 31  /* kernels of one row */
#define SIDE_PATCH 64  /* few channels, many filters; columns */
#define SIDE_SINGLE 7  /* single filter */

static bool plausible_line(fpr_layout layout, const fpr_layer_shape *s)
{
    const uint64_t k = s->k, in = s->channels, out = s->filters;
    if (layout == FPR_LAYOUT_HWIO)
        return k >= 2 && k <= SIDE_ANY && k * in != out && k * out != in && (in > 1 || out > 1);
    if (k == 1) return in > 1 && out > 1;
    if (in == 1) return out > 1 && k <= 32;
    if (k > 16 || (out == 1 && k > 15)) return false;
    if (in == k && k > SIDE_SINGLE) return false;
    return out * k != in && !(out * in == k);
}

/* A kernel along the first of its axes: k x 1, k x 1 x 1. */
static bool is_column(const fpr_layer_shape *s, uint64_t side)
{
    return s->layout == FPR_LAYOUT_OIHW && s->kernel_shape[0] == side && s->k == side && side <= SIDE_PATCH;
}

static bool plausible_area(const fpr_layer_shape *s)
{
    uint64_t side = 1;
    unsigned long_sides = 0;
    for (unsigned i = 0; i < s->kernel_rank; i++) {
        if (s->kernel_shape[i] > side) side = s->kernel_shape[i];
        if (s->kernel_shape[i] > 1) long_sides++;
    }
    if (s->filters == 1 && side > SIDE_SINGLE) return false;
    const bool heads = s->layout == FPR_LAYOUT_HWIO && long_sides == 1 && s->kernel_shape[0] == 1 && side % 2 == 0;
    if (heads && s->channels == s->filters) return false;
    if (side <= SIDE_ANY) return true;
    if (long_sides == 1 && side <= SIDE_STRIP && side % 2) return true;
    if (is_column(s, side) && s->filters >= 8) return true;
    return side <= SIDE_PATCH && s->channels <= 4 && s->filters >= 8;
}

bool conv_read_shape(fpr_dtype dtype, unsigned rank, const uint64_t *shape, fpr_layout layout, fpr_layer_shape *out)
{
    if (!base_is_float(dtype)) return false;
    if (rank < 3 || rank > 5 || layout == FPR_LAYOUT_AUTO || layout > FPR_LAYOUT_OHWI) return false;
    const unsigned sides = rank - 2, first_side = layout == FPR_LAYOUT_OIHW ? 2 : layout == FPR_LAYOUT_OHWI ? 1 : 0;
    fpr_layer_shape s = {.kernel_rank = sides, .k = 1, .layout = layout};
    s.filters = layout == FPR_LAYOUT_HWIO ? shape[rank - 1] : shape[0];
    s.channels = layout == FPR_LAYOUT_OIHW ? shape[1] : layout == FPR_LAYOUT_HWIO ? shape[rank - 2] : shape[rank - 1];
    for (unsigned i = 0; i < sides; i++) {
        s.kernel_shape[i] = shape[first_side + i];
        if (!base_multiply(s.k, s.kernel_shape[i], &s.k) || s.k == 0) return false;
    }
    if (!base_multiply(s.filters, s.channels, &s.kernels) || s.kernels == 0) return false;
    if (s.channels == 1 && s.k == 1) return false;
    *out = s;
    return true;
}

bool conv_layer_shape(fpr_dtype dtype, unsigned rank, const uint64_t *shape, fpr_layout layout, fpr_layer_shape *out)
{
    fpr_layer_shape s = {0};
    if (!conv_read_shape(dtype, rank, shape, layout, &s)) return false;
    for (unsigned i = 0; i < s.kernel_rank; i++)
        if (s.kernel_shape[i] > SIDE_PATCH) return false;
    if (!(s.kernel_rank == 1 ? plausible_line(layout, &s) : plausible_area(&s))) return false;
    if (out) *out = s;
    return true;
}

static void sides_of(const fpr_layer_shape *s, uint64_t *shortest, uint64_t *longest)
{
    *shortest = UINT64_MAX;
    *longest = 0;
    for (unsigned i = 0; i < s->kernel_rank; i++) {
        if (s->kernel_shape[i] < *shortest) *shortest = s->kernel_shape[i];
        if (s->kernel_shape[i] > *longest) *longest = s->kernel_shape[i];
    }
}

/* How unusual a kernel shape is: 3x3 and 3x3x3 are most usual, then kernels near their size, and square ones; 3x4 is
 * hardly ever one. */
static int oddity(const fpr_layer_shape *s)
{
    uint64_t shortest, longest;
    sides_of(s, &shortest, &longest);
    if (shortest == 3 && longest == 3) return 0;
    const bool lopsided = shortest > 1 && shortest != longest && (shortest % 2 == 0 || longest % 2 == 0);
    return 20 * lopsided + 4 + (int)(s->k > 9 ? s->k / 3 : 9 / s->k) + 4 * (int)(longest / shortest);
}

enum { CERTAIN = 1000, LIKELY = 10, HINT = 1 };

/* What an HWIO reading is worth where OIHW is impossible. Square kernels of an odd side are convolutions; other shapes
 * are also those of attention ([b, h, n, n]), of masks ([1, 1, n, n]) and of tables ([1, 1, n, dim]). */
static int hwio_worth(const fpr_layer_shape *s)
{
    uint64_t shortest, longest;
    sides_of(s, &shortest, &longest);
    if (shortest == longest && shortest > 1 && shortest % 2) return CERTAIN;
    if (s->filters == s->channels) return 0;
    return s->k == 1 ? HINT : LIKELY;
}

int conv_layout_vote(fpr_dtype dtype, unsigned rank, const uint64_t *shape)
{
    fpr_layer_shape oihw = {0}, hwio = {0};
    const bool is_oihw = conv_layer_shape(dtype, rank, shape, FPR_LAYOUT_OIHW, &oihw);
    const bool is_hwio = conv_layer_shape(dtype, rank, shape, FPR_LAYOUT_HWIO, &hwio);
    if (rank == 3) return is_oihw && !is_hwio ? -HINT : 0; /* stacks of matrices look like HWIO */
    if (is_oihw != is_hwio) return is_hwio ? hwio_worth(&hwio) : -CERTAIN;
    if (!is_oihw || oihw.k == 1 || hwio.k == 1) return 0;
    const int difference = oddity(&oihw) - oddity(&hwio);
    return difference > 0 ? LIKELY : difference < 0 ? -LIKELY : 0;
}

/* Square with an odd side: what kernels mostly are, and what axes in the wrong order seldom give. */
static bool is_odd_square(const fpr_layer_shape *s)
{
    uint64_t shortest, longest;
    sides_of(s, &shortest, &longest);
    return shortest == longest && shortest > 1 && shortest % 2;
}

bool conv_fits_ohwi(fpr_dtype dtype, unsigned rank, const uint64_t *shape)
{
    fpr_layer_shape s;
    return rank > 3 && conv_layer_shape(dtype, rank, shape, FPR_LAYOUT_OHWI, &s) && (is_odd_square(&s) || s.k == 1);
}

int conv_layout_vote_ohwi(fpr_dtype dtype, unsigned rank, const uint64_t *shape)
{
    fpr_layer_shape oihw, hwio, ohwi;
    if (rank < 4 || !conv_layer_shape(dtype, rank, shape, FPR_LAYOUT_OHWI, &ohwi)) return 0;
    if (!conv_read_shape(dtype, rank, shape, FPR_LAYOUT_OIHW, &oihw) ||
        !conv_read_shape(dtype, rank, shape, FPR_LAYOUT_HWIO, &hwio))
        return 0;
    uint64_t shortest, longest;
    sides_of(&oihw, &shortest, &longest);
    if (shortest == longest || is_odd_square(&hwio)) return 0;
    const bool may_be_oihw = conv_layer_shape(dtype, rank, shape, FPR_LAYOUT_OIHW, NULL);
    if (is_odd_square(&ohwi)) {
        if (ohwi.filters == 1) return HINT; /* a table of positions looks so, too */
        return may_be_oihw && longest < 16 ? shortest == 1 ? LIKELY : 10 * LIKELY : CERTAIN;
    }
    sides_of(&ohwi, &shortest, &longest);
    if (shortest != longest || may_be_oihw || ohwi.filters <= SIDE_ANY || ohwi.filters == ohwi.channels) return 0;
    return longest == 1 ? HINT : LIKELY;
}

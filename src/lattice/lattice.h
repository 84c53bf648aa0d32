/* A lattice: the weights that a step times an integer can be, in the tensor's own dtype. Rounds weights to one within a
 * stated error, and says which weights the integers mean; src/pack/FORMAT.md, section 9, is the specification of that.
 *
 * points.c     integers to weights and back
 * level.h      the loops over weights, for each level of instructions; the transform
 * trellis.c    trellis-coded quantization: the path of least error
 * fit.c        the step that uses up the error allowed, and what suits a tensor
 * Called by job/ (to change weights) and pack/ (to store them); sees base/ only. */
#ifndef FPR_LATTICE_H
#define FPR_LATTICE_H

#include "base/base.h"

#define LATTICE_CHUNK 131072u       /* weights that are coded, and quantized along one trellis, by themselves */
#define LATTICE_KERNEL_MOST 4096u   /* larger kernels are taken as rows of weights */
#define LATTICE_POINT_MOST (1 << 24) /* largest integer */
#define LATTICE_BATCH 4096u         /* most weights that the functions below take at a time: at least one kernel */
#define LATTICE_BLOCK 864u          /* weights that stay near the processor: some kernels of 27 or 9, eight by eight */

/* A tensor of rank 2 and more as kernels of k weights, of `filters` times `channels` kernels. The weight s of a kernel
 * (f, c) is element (f * channels + c) * k + s or, with hwio, (s * channels + c) * filters + f. */
typedef struct lattice_shape {
    fpr_dtype dtype;
    uint64_t filters, channels, k;
    bool hwio;
    unsigned axes; /* k is 3 to this power, and the kernel can be transformed; 0: it cannot */
    unsigned row;  /* weights of a kernel's row; 0: it has none, or is one */
} lattice_shape;

/* false for ranks below 2, dtypes other than F64 F32 F16 BF16, and tensors without elements. */
bool lattice_shape_of(fpr_dtype dtype, unsigned rank, const uint64_t *shape, bool hwio, lattice_shape *s);
static inline uint64_t lattice_kernels(const lattice_shape *s) { return s->filters * s->channels; }
/* Kernels of a chunk, and of a batch; the last one has what is left. */
static inline uint64_t lattice_chunk_kernels(const lattice_shape *s)
{
    return LATTICE_CHUNK / s->k;
}
static inline uint64_t lattice_batch_kernels(const lattice_shape *s) { return s->k < LATTICE_BLOCK ? LATTICE_BLOCK / s->k : 1; }
static inline uint64_t lattice_chunks(const lattice_shape *s)
{
    const uint64_t of = lattice_chunk_kernels(s);
    return (lattice_kernels(s) + of - 1) / of;
}

typedef struct lattice {
    double step; /* finite, above 0 */
    bool transformed, trellis;
    bool pruned;   /* with trellis: kernels became zero after the path was made, which goes on as if they had not */
    uint8_t *dead; /* with trellis: a bit for every kernel that the path leaves out, being zero; base_free. Else NULL */
} lattice;

/* n kernels from `first` on, one after another, as doubles. */
void lattice_load(const lattice_shape *s, const void *bytes, uint64_t first, uint64_t n, double *w);
/* In place: weights to what is quantized (unchanged without transform), in units of the step. */
void lattice_scale(const lattice_shape *s, const lattice *l, uint64_t n, double *w);
/* The nearest integers to what was scaled. false: of some the magnitude is LATTICE_POINT_MOST or more, and they are 0. */
bool lattice_points(const lattice_shape *s, uint64_t n, const double *x, int32_t *points);
/* The weights that points mean, rounded to the dtype. */
void lattice_values(const lattice_shape *s, const lattice *l, uint64_t n, const int32_t *points, double *w);
/* Of a chunk or less, the same into the tensor's bytes. scratch: as many bytes as the weights are; only with hwio. */
void lattice_restore(const lattice_shape *s, const lattice *l, uint64_t first, uint64_t n, const int32_t *points, void *scratch,
                     void *bytes);
/* Nearest integer, ties to even; |x| < 2^51. */
static inline double lattice_nearest(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

/* ---- the trellis: points alternate between two quantizers, as the indices before them say. With index i, state s:
 *   the point is 2 i where bit 0 of s is clear, else 2 |i| - 1 with the sign of i (0 for i = 0)
 *   the next state: bit 0 is bit 0 xor bit 1, bit 1 is bit 2 xor the lowest bit of i, bit 2 is bit 0 */
static inline unsigned lattice_next(unsigned state, int32_t index)
{
    return ((state ^ state >> 1) & 1) | ((state >> 2 ^ (unsigned)index) & 1) << 1 | (state & 1) << 2;
}
static inline int32_t lattice_point_of(unsigned state, int32_t index)
{
    return 2 * index - (((index > 0) - (index < 0)) & -(int32_t)(state & 1)); /* a branch would be wrong half of the time */
}
/* The index of a point; false when the state has no such point. */
static inline bool lattice_index_of(unsigned state, int32_t point, int32_t *index)
{
    const int32_t sign = (point > 0) - (point < 0);
    *index = (point + (state & 1 ? sign : 0)) / 2;
    return lattice_point_of(state, *index) == point;
}

typedef struct lattice_path lattice_path; /* scratch memory of one thread: a byte a weight of a chunk */
lattice_path *lattice_path_new(void);     /* NULL: out of memory. base_free */
/* The points of least squared error for n values (in steps, at most LATTICE_CHUNK of them), from state 0 on. Returns
 * that error, in squared steps. */
double lattice_path_find(lattice_path *path, const double *x, size_t n, int32_t *points);

/* ---- fit */

typedef struct lattice_wish {
    double error_square; /* sum of squared differences that is allowed */
    double least;        /* of the relative squared error: at which share of it the search may stop, such as 0.99 */
    bool trellis;        /* may be used, where it makes the tensor smaller */
    unsigned threads;
} lattice_wish;

typedef struct lattice_cost {
    double error_square, max_abs;
    uint64_t weights; /* that changed */
} lattice_cost;

/* Rounds finite weights in place. *fitted is false, and nothing is changed, when there is no step to be found: all
 * weights are zero, or the error allowed is below what the dtype can tell apart. */
fpr_status lattice_fit(const lattice_shape *s, void *bytes, const lattice_wish *wish, lattice *l, lattice_cost *cost,
                       bool *fitted, fpr_error *error);

#endif

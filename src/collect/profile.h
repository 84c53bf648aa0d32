/* Profiles: what of a checkpoint's kernels adds up, in a file of some hundred kilobytes.
 *
 * profile.c  in memory
 * fpp.c      as a file; PROFILE.md has every byte of it
 *
 * Sums are kept layer by layer, so that any grouping of layers can be made of them later, and so that a sum over many is
 * made in one order, whoever made the parts. */
#ifndef FPR_COLLECT_PROFILE_H
#define FPR_COLLECT_PROFILE_H

#include "base/base.h"

#define COLLECT_ZOOM 3u  /* a bin is kept as 2^3 cells: fine enough for a density */
#define COLLECT_SIDE 35u /* the plane of the first two components has 35 x 35 cells */

typedef struct collect_layer {
    char *name;
    unsigned kernel_rank;
    uint64_t kernel_shape[3];
    unsigned k;              /* product of kernel_shape */
    uint64_t kernels, sparse;
    double depth;            /* conv_depth_norm, 0 .. 1; NaN: not known */
    bool finite;             /* false: NaN or Inf inside, and nothing below is known */
    double max_abs, variance_entropy, variance_entropy_clean, orthogonality; /* NaN: not defined */
    fpr_moments moments;     /* of the scaled kernels */
    /* Of layers of the grid's kernel shape in a profile that is counted; else NULL. */
    uint64_t *cells;         /* [k][bins << COLLECT_ZOOM] */
    uint64_t *plane;         /* [COLLECT_SIDE][COLLECT_SIDE] */
} collect_layer;

/* In which basis and over which range a profile was counted. */
typedef struct collect_grid {
    unsigned kernel_rank;
    uint64_t kernel_shape[3];
    unsigned k;
    uint64_t basis;          /* XXH3-64 of mean and components, as little-endian doubles */
    double range[2];
    unsigned bins;
} collect_grid;

typedef struct collect_profile {
    char *name;              /* of the model: the file's stem */
    uint64_t source_bytes;   /* of the checkpoint */
    double eps;
    bool half;
    bool deep;               /* depths are known: the checkpoint says how its layers hang together */
    bool counted;            /* layers of the grid's kernel shape have cells and planes */
    bool ranged;             /* extent is known, in the basis of the grid */
    double extent[2];        /* least and largest coefficient */
    collect_grid grid;       /* where ranged or counted */
    collect_layer *layers;
    size_t layer_count;
} collect_profile;

void collect_profile_free(collect_profile *profile); /* what it holds; the struct is the caller's */
/* Room for the counts of every finite layer of the grid's shape, all zero; those that were there go. */
fpr_status collect_profile_count_anew(collect_profile *profile, const collect_grid *grid, fpr_error *error);
bool collect_same_shape(const collect_layer *layer, const collect_grid *grid);
bool collect_same_grid(const collect_grid *a, const collect_grid *b); /* range and bins too */
/* The number of a basis in a grid. */
uint64_t collect_basis_number(const fpr_basis *basis, unsigned k);

/* ---- fpp.c */

/* *bytes: base_free. */
fpr_status collect_profile_write(const collect_profile *profile, uint8_t **bytes, size_t *count, fpr_error *error);
/* FPR_BAD_PROFILE, FPR_TOO_NEW. with_counts false: cells and planes are passed over. */
fpr_status collect_profile_read(const uint8_t *bytes, size_t count, bool with_counts, collect_profile *profile,
                                fpr_error *error);
#define COLLECT_PROFILE_HEAD 24u
/* Whether a file that begins so is meant for a profile. */
bool collect_is_profile(const uint8_t *bytes, size_t count);

#endif

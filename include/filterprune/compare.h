/* Many checkpoints: comparisons, profiles, collections. Part of filterprune.h. */
#ifndef FILTERPRUNE_COMPARE_H
#define FILTERPRUNE_COMPARE_H

#include "report.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fpr_compared {
    char *path;
    char *name;               /* short: what of the path differs between the models */
    uint64_t layers, kernels, live, binary_layers;
    double mean_shift;        /* mean weighted divergence to the other models */
    size_t nearest;           /* the model of least divergence to it; itself when there is no other */
    fpr_distribution distribution; /* over all kernels of the group, in the common basis and range */
} fpr_compared;

typedef struct fpr_comparison {
    unsigned kernel_rank;
    uint64_t kernel_shape[3];
    unsigned k, bins;
    char *basis_source;       /* "joint", "robustness" or the path of the basis file */
    fpr_basis basis;
    double range[2];
    fpr_compared *models;
    size_t model_count;
    double *divergence;       /* [models][models] weighted symmetric KL */
    double *per_component;    /* [models][models][k] */
    /* What the two are apart by chance when the kernels of both are dealt out anew to samples of their sizes: median and
     * 95 % point of 64 times, [models][models]. A divergence at or below noise_q95 is not resolved. A lower bound: kernels of a layer are
     * not independent. NULL: not known. */
    double *noise_median, *noise_q95;
    size_t *order;            /* [models] of the rows, by ordered_by; NULL: by mean shift */
    fpr_order ordered_by;
    fpr_paper paper;
    double *weights;          /* [k] what each component counts for; NULL: the variance it explains */
    char **left_out;          /* paths of models without the group */
    size_t left_out_count;
    char **warnings;
    size_t warning_count;
} fpr_comparison;

/* kernel is "3x3", or NULL for the group with most kernels among those common to all (else to most) models.
 * basis is NULL (joint), "robustness", or the path of a JSON file {"mean": [k], "components": [k][k],
 * "explained_variance_ratio": [k]}. */
FPR_API fpr_status fpr_compare(const char *const *paths, size_t count, const char *kernel, const char *basis,
                               const fpr_options *options, fpr_comparison **comparison, fpr_error *error);
FPR_API void fpr_comparison_free(fpr_comparison *comparison);
FPR_API fpr_status fpr_comparison_json(const fpr_comparison *comparison, fpr_write write, void *context,
                                       fpr_error *error);
/* A line for every pair: a, b, shift, noise_median, noise_q95, resolved (1 or 0), pc1 .. pck. */
FPR_API fpr_status fpr_comparison_csv(const fpr_comparison *comparison, fpr_write write, void *context,
                                      fpr_error *error);
FPR_API fpr_status fpr_comparison_html(const fpr_comparison *comparison, fpr_write write, void *context,
                                       fpr_error *error);

/* ---- collections
 *
 * A profile is what of a checkpoint's kernels adds up: moments, sparsity and quality of every layer and, where a basis and a
 * range were given, counts of coefficients; src/collect/PROFILE.md. A corpus is many of them, grouped. */

/* Writes the profile of INPUT to OUTPUT. basis: as for fpr_compare, or NULL: no coefficients. With a basis and
 * options->range, counts of the kernels of that shape (kernel, or NULL: 3x3); with a basis alone, their extent. Of the
 * options: eps, half, layout, bins, range, paper, force, threads, progress, cancel. */
FPR_API fpr_status fpr_profile(const char *input, const char *output, const char *kernel, const char *basis,
                               const fpr_options *options, fpr_error *error);

/* How the processes of one corpus talk: none but rank 0 makes a result. Both return 0, or -1 on failure. */
typedef struct fpr_exchange {
    void *context;
    unsigned rank, size;
    /* Every rank gives count bytes; at rank 0 they come to all, [size][count] in the order of ranks. */
    int (*gather)(void *context, const void *bytes, size_t count, void *all);
    /* count bytes of rank 0 come to every rank. */
    int (*broadcast)(void *context, void *bytes, size_t count);
} fpr_exchange;

typedef struct fpr_corpus_request {
    const char *const *inputs; /* checkpoints and profiles */
    size_t input_count;
    const char *table;         /* CSV: first column the name of the model (the file's stem), then what is known of it */
    const char *layers;        /* CSV with columns file, tensor, conv_depth_norm (and first, count: rows of one tensor, or
                                  filter_ids FIRST:LAST); NULL: none */
    const char *const *by;     /* columns of the table, or "depth:N": depths are those of layers, else those of ONNX graphs */
    size_t by_count;
    const char *kernel;        /* "3x3"; NULL: the shape that most models have, then of most kernels */
    const char *basis;         /* as for fpr_compare; NULL: of all kernels */
    const char *folder;        /* profiles are kept in FOLDER/profiles, and taken from there when they are newer than the
                                  checkpoint; FOLDER/basis.json is written */
    const fpr_exchange *exchange; /* NULL: one process */
} fpr_corpus_request;

typedef struct fpr_box { size_t n; double least, low, median, high, most; } fpr_box; /* quartiles; NaN when n is 0 */

typedef struct fpr_corpus_layer {
    char *model, *name;
    double depth;              /* 0 .. 1; NaN: not known */
    uint64_t kernels, sparse;
    bool finite;
    double max_abs, variance_entropy, variance_entropy_clean, orthogonality;
    double variance_entropy_normalized, variance_entropy_clean_normalized;
} fpr_corpus_layer;

typedef struct fpr_corpus_group {
    uint64_t models, layers, kernels, sparse;
    double entropy;            /* mean over layers of variance_entropy_normalized */
    fpr_basis basis;           /* of the kernels of the group alone */
    uint64_t *plane;           /* [plane_side][plane_side] counts over the range: row by component 1, column by 0 */
    /* Divergence of each of its models to the rest of the group, and to the other groups; empty for depth. */
    fpr_box within, between;
} fpr_corpus_group;

typedef struct fpr_corpus_by {
    char *column;
    fpr_comparison *groups;    /* as models: name, kernels, distribution, divergence, noise, order */
    fpr_corpus_group *more;    /* [groups->model_count] */
} fpr_corpus_by;

typedef struct fpr_corpus_model { char *name; uint64_t layers, kernels, sparse; } fpr_corpus_model;

typedef struct fpr_corpus {
    fpr_paper paper;
    unsigned kernel_rank, k, bins, plane_side;
    uint64_t kernel_shape[3];
    char *basis_source;
    fpr_basis basis;
    double range[2], *weights; /* weights: [k] */
    fpr_corpus_model *models;  /* by name */
    size_t model_count;
    fpr_corpus_layer *layers;  /* of the kernel shape, model by model */
    size_t layer_count;
    fpr_corpus_by *by;
    size_t by_count;
    char **warnings;
    size_t warning_count;
} fpr_corpus;

/* *corpus is NULL on other ranks than 0. */
FPR_API fpr_status fpr_corpus_make(const fpr_corpus_request *request, const fpr_options *options, fpr_corpus **corpus,
                                   fpr_error *error);
FPR_API void fpr_corpus_free(fpr_corpus *corpus);
FPR_API fpr_status fpr_corpus_json(const fpr_corpus *corpus, fpr_write write, void *context, fpr_error *error);
FPR_API fpr_status fpr_corpus_layers_csv(const fpr_corpus *corpus, fpr_write write, void *context, fpr_error *error);
FPR_API fpr_status fpr_corpus_groups_csv(const fpr_corpus *corpus, fpr_write write, void *context, fpr_error *error);
/* The page of one grouping, or of the whole where by is by_count. */
FPR_API fpr_status fpr_corpus_html(const fpr_corpus *corpus, size_t by, fpr_write write, void *context,
                                   fpr_error *error);

#ifdef __cplusplus
}
#endif
#endif

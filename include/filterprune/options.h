/* What a job is told. Part of filterprune.h. */
#ifndef FILTERPRUNE_OPTIONS_H
#define FILTERPRUNE_OPTIONS_H

#include "checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fpr_structure { FPR_STRUCTURE_KERNEL, FPR_STRUCTURE_FILTER, FPR_STRUCTURE_CHANNEL } fpr_structure;
typedef enum fpr_criterion {
    FPR_CRITERION_PEAK, FPR_CRITERION_L1, FPR_CRITERION_L2,
    FPR_CRITERION_BN /* the peak times |gamma| / sqrt(variance + eps) where a BatchNormalization alone follows; the graph
                      * says where: that of an ONNX input, or options.graph */
} fpr_criterion;
typedef enum fpr_bandwidth { FPR_BANDWIDTH_SILVERMAN, FPR_BANDWIDTH_SCOTT, FPR_BANDWIDTH_FIXED } fpr_bandwidth;
typedef enum fpr_cast { FPR_CAST_NONE, FPR_CAST_F32, FPR_CAST_F16, FPR_CAST_BF16 } fpr_cast;

/* The order of the rows of a comparison: alike beside alike (average linkage), by name, as given, or the largest mean shift
 * first. */
/* How distributions are made and weighed: as the options say, or as a paper did (src/collect/PAPERS.md). CVPR22: half, range
 * of all coefficients, weights by explained variance. MED22: full precision, range -3 to 3, equal weights, rows as given;
 * its basis, that of CNN Filter DB, is to be given. */
typedef enum fpr_paper { FPR_PAPER_NONE, FPR_PAPER_CVPR22, FPR_PAPER_MED22 } fpr_paper;
/* What each component counts for in a divergence: the variance it explains, or all the same. */
typedef enum fpr_weights { FPR_WEIGHTS_EXPLAINED, FPR_WEIGHTS_UNIFORM } fpr_weights;
typedef enum fpr_order { FPR_ORDER_SIMILARITY, FPR_ORDER_NAME, FPR_ORDER_GIVEN, FPR_ORDER_MEAN } fpr_order;

typedef struct fpr_globs { const char *const *patterns; size_t count; } fpr_globs; /* shell patterns: * ? [a-z] */

/* Called from the calling thread, at most some ten times a second. done and total are bytes of input. */
typedef void (*fpr_progress)(void *context, const char *phase, uint64_t done, uint64_t total);

/* What a search tried, for the report: see --accept in filterprune(1). */
typedef struct fpr_trial {
    double max_error, eps;
    uint64_t bytes;            /* of the packed output */
    bool accepted;
} fpr_trial;

/* Whether small tensors leave the header of a packed file. AUTO: with max_error. */
typedef enum fpr_pool { FPR_POOL_AUTO, FPR_POOL_ALWAYS, FPR_POOL_NEVER } fpr_pool;

typedef struct fpr_options {
    size_t sizeof_options;     /* sizeof(fpr_options) of the caller: set by fpr_options_init */
    /* what is read */
    const char *key;           /* the dictionary of a checkpoint to take, as "a.b"; NULL: by the rules of its format */
    const char *graph;         /* an ONNX file whose initializers are the checkpoint's tensors, by name and size; NULL: none */
    bool keep_channels;        /* with graph: OUTPUT keeps all channels; else those that nobody needs leave it, and it is dense */
    unsigned side;             /* of dimensions that the graph leaves open, for multiply-adds; 0: 224 */
    bool allow_expand;         /* tensors may have more bytes than the file stores of them */
    /* diagnostics */
    fpr_layout layout;
    fpr_globs transposed;      /* layers that are transposed convolutions, [in, out/groups, k...] */
    double eps;                /* sparse threshold, 0.01; >= 0 and <= 1 */
    unsigned bins;             /* histogram bins, 70; 2 .. 4096 */
    fpr_bandwidth bandwidth;
    double bandwidth_value;    /* for FPR_BANDWIDTH_FIXED, > 0 */
    bool half;                 /* round weights to float16 first, diagnostics only */
    bool spectra;              /* singular values of whole layers: needs OpenBLAS and LAPACKE at run time */
    /* comparisons and collections */
    fpr_order order;           /* of the rows */
    fpr_paper paper;           /* overrides half, bins, weights, range and order */
    fpr_weights weights;
    double range[2];           /* of the histograms, what lies outside is not counted; NaN: that of all coefficients */
    /* pruning */
    bool prune;
    fpr_structure structure;
    fpr_criterion criterion;
    double amount;             /* 0..1: prune that share of the units; negative: by eps */
    bool global;               /* rank units over all layers */
    bool pointwise;            /* prune 1x1 kernels too */
    fpr_globs only, skip;      /* layers by tensor name */
    double target_bytes;       /* find the amount that reaches this output size; 0: off */
    /* binary filters */
    bool binary;
    double binary_tol;         /* largest relative error of a two-level kernel, 0.01 */
    double binary_share;       /* share of live kernels that must meet it, 0.9 */
    /* rounding to lattices */
    double max_error;          /* largest relative L2 error of a tensor, pruning included; 0: off; below 1 */
    const char *accept;        /* the command by which max_error and eps were found, and what it said: only reported. */
    const fpr_trial *trials;   /* Borrowed until the report is written; NULL: there was none */
    size_t trial_count;
    /* what is written */
    fpr_pool pool;             /* small tensors that stay as they are share one blob, their names in it */
    bool dense;                /* write an ordinary dense checkpoint */
    int level;                 /* effort, 1 .. 19; 3: see --level in filterprune(1) */
    fpr_cast cast;             /* convert floating-point tensors */
    fpr_globs drop;            /* tensors left out of the output */
    bool force;                /* overwrite an existing output */
    bool dry_run;              /* do everything but write */
    /* how */
    unsigned threads;          /* 0: all cores this process may use */
    fpr_progress progress;     /* NULL: none */
    void *progress_context;
    const volatile int *cancel; /* NULL, or a flag that a signal handler, or another thread by an atomic store, may set:
                                 * the job stops, nothing stays behind */
} fpr_options;

FPR_API void fpr_options_init(fpr_options *options);
/* Checks every field; FPR_USAGE with a message that names the first option out of range. */
FPR_API fpr_status fpr_options_check(const fpr_options *options, fpr_error *error);

/* Whether a path is that of the index of a sharded checkpoint, by its name: NAME.index.json or, as libraries of diffusion
 * models write it, NAME.safetensors.index.VARIANT.json. */
FPR_API bool fpr_is_index(const char *path);
/* Whether a file in a folder is taken for a checkpoint by its name: safetensors and their indices, PyTorch, numpy's .npz, Keras,
 * ONNX; not what trainers put beside a model (optimizer.pt), nor a .bin that is no pytorch_model. */
FPR_API bool fpr_is_checkpoint(const char *path);

/* fpr_model_open with the options that say how a checkpoint is read: key, allow_expand, cancel. */
FPR_API fpr_status fpr_model_open_with(const char *path, const fpr_options *options, fpr_model **model, fpr_error *error);

#ifdef __cplusplus
}
#endif
#endif

/* filterprune: understand the convolution kernels of a checkpoint, and make the checkpoint smaller.
 *
 * This header is the whole public interface, in the order of use:
 *
 *   1. version and linkage         5. what a job is told (options)
 *   2. status and errors           6. jobs: prune, inspect, compare, unpack, verify
 *   3. dtypes                      7. reports: the data that JSON and HTML are made from
 *   4. checkpoints: open, look,    8. mergeable moments of kernels
 *      read one tensor
 *
 * Words. A checkpoint is a safetensors file, or the shards that a *.safetensors.index.json names. A tensor is one
 * entry of it. A convolution layer is a floating-point tensor [out, in/groups, k...]. A kernel is the k spatial
 * weights that one filter applies to one channel; a filter is all kernels of one output channel; a channel is all
 * kernels of a layer that read one input channel. A kernel is sparse when max|w| < eps * max|w| over its layer,
 * and live when it is not.
 *
 * Every fallible function returns an fpr_status and takes, last, an optional fpr_error that receives the detail.
 * The library never prints, exits, installs signal handlers or changes process-wide settings. Results do not depend on
 * the number of threads. */
#ifndef FILTERPRUNE_H
#define FILTERPRUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ 1. version and linkage */

#define FPR_VERSION_MAJOR 0
#define FPR_VERSION_MINOR 1
#define FPR_VERSION_PATCH 0
#define FPR_VERSION_STRING "0.1.0"
#define FPR_PACKED_FORMAT 1 /* version of the packed checkpoint that is written; src/pack/FORMAT.md */

#if defined(__GNUC__)
#define FPR_API __attribute__((visibility("default")))
#else
#define FPR_API
#endif

/* "0.1.0": the version of the library that was loaded. FPR_VERSION_* is the one compiled against. */
FPR_API const char *fpr_version(void);

/* The instruction sets whose vector code runs: "base", "avx2", "avx512" or "neon"; by default the best that the processor
 * has. Results are the same bytes at every level. */
FPR_API const char *fpr_simd(void);

/* ------------------------------------------------------------------ 2. status and errors */

/* The values are pinned; gaps leave room. The program's exit status is the tens digit's meaning, see fpr_exit_status. */
typedef enum fpr_status {
    FPR_OK = 0,
    FPR_IO = 10,         /* the machine failed: read, write, disk full */
    FPR_NO_MEMORY = 11,
    FPR_CANCELLED = 12,  /* fpr_options.cancel became non-zero */
    FPR_CHANGED = 13,    /* the input was truncated or rewritten while it was read */
    FPR_USAGE = 20,      /* an option or argument makes no sense */
    FPR_BAD_HEADER = 30, /* the file breaks a rule of safetensors */
    FPR_BAD_INDEX = 31,  /* a shard index breaks a rule */
    FPR_BAD_PACKED = 32, /* a packed tensor does not decode: damaged, or its checksum differs */
    FPR_TOO_NEW = 33,    /* packed by a later format than this library reads */
    FPR_BAD_BASIS = 34,  /* a basis file does not hold a basis */
    FPR_BAD_PROFILE = 35, /* a profile or a table of a collection breaks its rules */
    FPR_EXISTS = 40,     /* the output exists and force was not given */
    FPR_SAME_FILE = 41,  /* the output is the input */
    FPR_DIFFERS = 50     /* verify found a difference */
} fpr_status;

#define FPR_NO_OFFSET UINT64_MAX

typedef struct fpr_error {
    fpr_status status;
    uint64_t offset;   /* byte in the file, or FPR_NO_OFFSET */
    char file[256];    /* path as given; the tail is kept when longer; "" when no file is at fault */
    char where[96];    /* tensor name, as in the file; the tail is kept when longer; "" when none */
    char message[256]; /* what was expected and what was found; no newline */
} fpr_error;

/* Runs no vector code above that level in this process from now on; what the processor lacks falls back to the level below
 * it. FPR_USAGE for any other name. */
FPR_API fpr_status fpr_limit_simd(const char *level, fpr_error *error);

/* Process exit status for a status: 0 done, 1 machine, 2 usage, 3 invalid input, 4 refused, 5 difference. */
FPR_API int fpr_exit_status(fpr_status status);

/* ------------------------------------------------------------------ 3. dtypes */

/* All dtypes of the safetensors reference. Only F64, F32, F16 and BF16 tensors can be convolution layers. */
typedef enum fpr_dtype {
    FPR_BOOL, FPR_F4, FPR_F6_E2M3, FPR_F6_E3M2, FPR_U8, FPR_I8, FPR_F8_E5M2, FPR_F8_E4M3, FPR_F8_E8M0,
    FPR_F8_E4M3FNUZ, FPR_F8_E5M2FNUZ, FPR_I16, FPR_U16, FPR_F16, FPR_BF16, FPR_I32, FPR_U32, FPR_F32,
    FPR_C64, FPR_F64, FPR_I64, FPR_U64,
    FPR_DTYPE_COUNT
} fpr_dtype;

FPR_API const char *fpr_dtype_name(fpr_dtype dtype); /* "F32" */
FPR_API unsigned fpr_dtype_bits(fpr_dtype dtype);    /* bits of one element: 4, 6, 8, 16, 32 or 64 */

/* ------------------------------------------------------------------ 4. checkpoints */

/* How convolution weights are laid out: OIHW is [out, in, k...] (PyTorch), HWIO is [k..., in, out] (TensorFlow), OHWI is
 * [out, k..., in] (MLX, TFLite). */
typedef enum fpr_layout { FPR_LAYOUT_AUTO, FPR_LAYOUT_OIHW, FPR_LAYOUT_HWIO, FPR_LAYOUT_OHWI } fpr_layout;
FPR_API const char *fpr_layout_name(fpr_layout layout); /* "auto", "oihw", "hwio", "ohwi" */

/* What the format of a checkpoint says that a tensor is, where it says so: ONNX, Keras and PyTorch modules do, a state
 * dictionary and safetensors do not, and then shapes and names decide. */
typedef enum fpr_kind {
    FPR_KIND_UNKNOWN,
    FPR_KIND_CONV,       /* weights of a convolution, grouped ones too */
    FPR_KIND_DEPTHWISE,  /* one input channel a filter; Keras: [h, w, c, multiplier] */
    FPR_KIND_TRANSPOSED, /* ONNX, PyTorch: [in, out/groups, k...]; Keras: [k..., out, in] */
    FPR_KIND_SEPARABLE,  /* one of the two kernels of a separable convolution of Keras */
    FPR_KIND_OTHER       /* known to be no convolution */
} fpr_kind;

#define FPR_NO_DEPTH UINT64_MAX

typedef struct fpr_model fpr_model;

typedef struct fpr_tensor {
    const char *name;      /* UTF-8, may hold NUL bytes: name_bytes counts; a NUL also follows the last byte */
    size_t name_bytes;
    fpr_dtype dtype;       /* of the restored tensor */
    unsigned rank;
    const uint64_t *shape; /* [rank], of the restored tensor */
    uint64_t elements;
    uint64_t bytes;        /* dense size */
    uint64_t stored_bytes; /* size in the file */
    const char *codec;     /* "raw" for a plain tensor, else the codec of the packed blob */
    bool packed;
    bool lossless;         /* packed without changing a weight (always true for a plain tensor) */
    unsigned shard;        /* index of the file that holds it */
    /* what the format says of its part in the network */
    fpr_kind kind;
    uint64_t groups;       /* 0: not known */
    uint64_t depth;        /* convolutions on the longest path from an input, itself not counted; FPR_NO_DEPTH */
    fpr_layout layout;     /* of this tensor; AUTO: not known */
    const char *layer;     /* the name of its layer where that is not in `name`; NULL */
} fpr_tensor;

/* Opens a checkpoint read-only and validates it whole: dense, packed, or a *.safetensors.index.json with its shards.
 * On success *model is owned by the caller; fpr_model_close(NULL) is allowed. A model may be read by several threads. */
FPR_API fpr_status fpr_model_open(const char *path, fpr_model **model, fpr_error *error);
FPR_API void fpr_model_close(fpr_model *model);
/* The format, as "safetensors" or "torch-zip"; and the dictionary that was taken of it: "" for the top level, NULL where a
 * format has only one. What cannot be a tensor of a safetensors file, or was left out, and why. */
FPR_API const char *fpr_model_format(const fpr_model *model);
FPR_API const char *fpr_model_key(const fpr_model *model);
FPR_API size_t fpr_model_skipped_count(const fpr_model *model);
FPR_API void fpr_model_skipped(const fpr_model *model, size_t index, const char **name, const char **why);
/* The other tensors of the file that are not read, without their names: beside the dictionary taken, or constants of a graph
 * that are no weights. How many they are, their bytes, and what they are (static text, NULL without any). */
FPR_API void fpr_model_others(const fpr_model *model, uint64_t *tensors, uint64_t *bytes, const char **why);

/* Tensors in the order of their data, shard after shard. Borrowed: valid until fpr_model_close. */
FPR_API size_t fpr_model_tensor_count(const fpr_model *model);
FPR_API const fpr_tensor *fpr_model_tensor(const fpr_model *model, size_t index); /* NULL past the end */
FPR_API const fpr_tensor *fpr_model_find(const fpr_model *model, const char *name);
FPR_API uint64_t fpr_model_bytes(const fpr_model *model);                         /* all files together */
FPR_API size_t fpr_model_shard_count(const fpr_model *model);
FPR_API const char *fpr_model_shard_path(const fpr_model *model, size_t shard);
/* The entries of __metadata__ in file order, without filterprune's own; *key and *value are borrowed. */
FPR_API size_t fpr_model_metadata_count(const fpr_model *model);
FPR_API void fpr_model_metadata(const fpr_model *model, size_t index, const char **key, const char **value);

/* Reads (and decodes, and checks) one tensor whole into dst, which holds at least tensor->bytes. */
FPR_API fpr_status fpr_model_read(const fpr_model *model, size_t index, void *dst, fpr_error *error);

/* What a tensor is as a convolution layer. Of a transposed convolution, [in, out/groups, k...], filters and channels are
 * counted as the axes stand in the file, as [TCQ] reads them: what prunes or names filters and channels turns them. */
typedef struct fpr_layer_shape {
    uint64_t filters;           /* out; transposed: in */
    uint64_t channels;          /* in/groups: kernels of one filter; transposed: out/groups */
    unsigned kernel_rank;       /* 1, 2 or 3 */
    uint64_t kernel_shape[3];
    uint64_t k;                 /* weights of one kernel */
    uint64_t kernels;           /* filters * channels */
    fpr_layout layout;          /* never AUTO */
    bool depthwise;             /* one kernel is a filter and a channel: the unit of pruning is the kernel */
    bool transposed;
} fpr_layer_shape;
/* FPR_LAYOUT_AUTO resolved from the shapes of the whole file: the layout that explains them best, OIHW on a tie. */
FPR_API fpr_layout fpr_model_layout(const fpr_model *model);
/* Whether a tensor is a convolution layer under that layout, by shape, name and what stands beside it. */
FPR_API bool fpr_model_layer(const fpr_model *model, size_t index, fpr_layout layout, fpr_layer_shape *shape);
/* Why a tensor that looks like a convolution is not treated as one: static text; NULL when it does not look so, or is. */
FPR_API const char *fpr_model_lookalike(const fpr_model *model, size_t index, fpr_layout layout);

/* ------------------------------------------------------------------ 5. options */

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

/* fpr_model_open with the options that say how a checkpoint is read: key, allow_expand, cancel. */
FPR_API fpr_status fpr_model_open_with(const char *path, const fpr_options *options, fpr_model **model, fpr_error *error);

/* ------------------------------------------------------------------ 7. reports (declared before the jobs that fill them) */

#define FPR_KDE_POINTS 512
#define FPR_PICTURE_KERNELS 64 /* kernels kept for Figure 2: the first channels of the first filters of a layer */

typedef struct fpr_kde {
    double bandwidth;  /* sigma of the Gaussian, in units of the coefficient */
    double start, step; /* abscissa of density[i] is start + i * step */
    bool degenerate;   /* zero spread: a spike at start + step * (FPR_KDE_POINTS - 1) / 2, density is not meaningful */
    double density[FPR_KDE_POINTS];
} fpr_kde;

typedef struct fpr_distribution {
    uint64_t kernels;
    uint64_t *counts; /* [k][bins], row i is component i */
    fpr_kde *kde;     /* [k] */
} fpr_distribution;

typedef struct fpr_divergence {
    double *per_component; /* [k] symmetric KL */
    double weighted;       /* sum of explained_variance_ratio * per_component */
} fpr_divergence;

typedef struct fpr_basis {
    double *mean;                     /* [k] */
    double *components;               /* [k][k], row i is component i, by falling variance */
    double *singular_values;          /* [k] */
    double *explained_variance_ratio; /* [k], sums to 1, or all zero without variance */
} fpr_basis;

/* All layers of one kernel shape. k < 2 or k > 128: sparsity only, has_basis is false. */
typedef struct fpr_group {
    unsigned kernel_rank;
    uint64_t kernel_shape[3];
    unsigned k;
    uint64_t layers, kernels, sparse, live, binary; /* binary: kernels stored as two levels; live: before */
    uint64_t live_signed;      /* by the largest weight, signs kept, where live is by the largest magnitude */
    uint64_t zeroed, live_left;                     /* kernels that became zero; live ones after that */
    bool has_basis;
    fpr_basis basis;
    double range[2];
    unsigned bins;
    bool has_after; /* false for inspect: after, live_after and the divergences are absent */
    fpr_distribution before, after, live_before, live_after;
    fpr_divergence divergence, live_divergence;
} fpr_group;

typedef enum fpr_scope { FPR_SCOPE_NONE, FPR_SCOPE_LAYER, FPR_SCOPE_FILTER, FPR_SCOPE_KERNEL } fpr_scope;

typedef struct fpr_binary {
    uint64_t kernels;          /* kernels at two levels after quantization */
    double share;              /* of the live kernels */
    fpr_scope scope;           /* NONE: the layer is not binary-like */
    bool symmetric;            /* a = -b everywhere */
    double level_low[2], level_high[2]; /* smallest and largest lower level; smallest and largest upper level */
    double max_relative_error; /* over the kernels (filters, the layer) that were quantized */
} fpr_binary;

#define FPR_SPECTRUM_POINTS 256

/* Singular values of a layer, W as out x (in k), or of a linear layer; with fpr_options.spectra only. Nine
 * digits, of which the last may differ between processors and versions of OpenBLAS. NaN: not defined. */
typedef struct fpr_spectrum {
    bool known;
    double norm;            /* the largest singular value */
    double stable_rank;     /* sum s^2 / norm^2 */
    double effective_rank;  /* exp of the entropy of s^2 / sum s^2 */
    uint64_t rank90, rank99, rank999; /* fewest singular values with that share of sum s^2 */
    double condition;       /* largest over smallest; NaN where that is below 1e-12 of the largest */
    uint64_t full_rank;     /* the smaller of out and in * k */
    double alpha;           /* exponent of the tail, as WeightWatcher 0.7.7 fits it; NaN for depthwise layers */
    float *values;          /* [value_count] by falling size, as shares of the largest: the first, the last, and evenly
                             * between where there are more than FPR_SPECTRUM_POINTS */
    unsigned value_count;
} fpr_spectrum;

/* What became of one tensor in the output. bytes_after is its size in the file. */
typedef struct fpr_stored { const char *codec; uint64_t bytes_before, bytes_after; } fpr_stored;

/* How the values of one tensor differ from those of the input, pruning, quantization and cast together. All zero: not at
 * all. */
typedef struct fpr_change {
    uint64_t weights;         /* of another value than in the input */
    uint64_t to_inf, to_zero; /* finite values that a cast made infinite; values other than 0 that it made 0 */
    double l2, norm;          /* L2 norms of the difference and of the tensor in the input */
} fpr_change;

/* How it is known what kind of convolution a layer is. */
typedef enum fpr_known {
    FPR_KNOWN_SHAPE,  /* by its shape alone */
    FPR_KNOWN_FORMAT, /* the file's format says so */
    FPR_KNOWN_OPTION, /* --transposed */
    FPR_KNOWN_NAME,
    FPR_KNOWN_BIAS    /* by the length of the bias beside it */
} fpr_known;

/* Weights that the network computes from two tensors: what is diagnosed and pruned is what it computes. */
typedef enum fpr_computed {
    FPR_COMPUTED_NOT,
    FPR_COMPUTED_WEIGHT_NORM, /* w = g v / |v|: the row is v's */
    FPR_COMPUTED_MASKED       /* w = orig * mask: the row is orig's */
} fpr_computed;

/* Kernels that are sparse once the BatchNormalization behind has multiplied their filters, in place of their weights. */
typedef struct fpr_scaled {
    uint64_t sparse;             /* so */
    uint64_t revived, silenced;  /* of the kernels that are sparse by weight: not so; so, and live by weight */
} fpr_scaled;

/* NaN in a double field of a report means "not defined here": JSON null. */
/* Kernels of a layer that a report shows: live ones of largest and of middling norm, and the largest of those that became
 * zero (of an inspection: that are sparse). Of a layer of more kernels, among 2,048 evenly spaced ones. */
typedef enum fpr_sample { FPR_SAMPLE_LARGEST, FPR_SAMPLE_TYPICAL, FPR_SAMPLE_GONE, FPR_SAMPLE_KINDS } fpr_sample;
#define FPR_SAMPLE_KERNELS 6

typedef struct fpr_layer {
    char *name;
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    uint64_t *shape;
    fpr_layer_shape conv;
    fpr_known known;                /* why it is depthwise, transposed or neither */
    fpr_computed computed;
    uint64_t depth;                 /* of fpr_tensor where a graph tells it of all layers; else the index among them */
    bool depth_known;               /* the former */
    bool finite;                    /* false: NaN or Inf inside, left out of the distributions */
    uint64_t live_signed;           /* as in fpr_group */
    uint64_t sparse;
    bool normed;                    /* a BatchNormalization follows: scaled says what it makes of the kernels */
    fpr_scaled scaled;
    double sparsity, max_abs;
    double variance_entropy, variance_entropy_normalized;             /* normalized: k = 9 only */
    double variance_entropy_clean, variance_entropy_clean_normalized; /* over live kernels */
    double orthogonality;
    bool orthogonality_sampled;     /* taken over 2,048 evenly spaced filters of more */
    double *explained_variance_ratio; /* [k], NULL where there is none */
    /* What the weights look as if drawn from by an initialiser, "uniform", "truncated normal" or "normal", and by which
     * rule for their width: see src/conv/untrained.c. Static text; NULL: does not look so, is not known. */
    const char *untrained_like, *untrained_rule;
    uint64_t pruned_kernels;        /* kernels that were not zero and are now */
    uint64_t live_before, live_after; /* kernels; after: neither sparse before nor zero now */
    fpr_change change;
    bool wholly_zero;               /* it had weights, and none is left */
    uint64_t removable_weights;     /* of dead filters and dead channels: what leaving them out would save here */
    bool cast;                      /* stored in another dtype than it had */
    uint64_t *dead_filters, *dead_channels; /* indices, ascending, after pruning (inspect: before) */
    uint64_t dead_filter_count, dead_channel_count;
    fpr_binary binary;
    fpr_spectrum spectrum;          /* of the input; known with options.spectra only */
    fpr_stored stored;
    double error_max_abs, error_relative_l2; /* of the restored weights against the input */
    /* Figure 2: the first filters' kernels, [picture_filters][picture_channels][k], before and after; NULL unless
     * the layer is binary-like. */
    unsigned picture_filters, picture_channels;
    float *picture_before, *picture_after;
    unsigned sample_count[FPR_SAMPLE_KINDS];
    float *sample[FPR_SAMPLE_KINDS]; /* [sample_count][k], as in the input; NULL: none, or kernels of one weight or of many */
    char **warnings;
    size_t warning_count;
} fpr_layer;

typedef struct fpr_other {      /* a tensor that is no layer */
    char *name;
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    uint64_t *shape;
    fpr_stored stored;
    fpr_spectrum spectrum; /* of a linear layer, see fpr_layer */
    fpr_change change;
    bool cast;
    double error_max_abs, error_relative_l2; /* against the input; 0 where nothing changed */
} fpr_other;

/* What the whole job changed: the sums of the rows. One definition for terminal, page, JSON, batch tables and file. */
typedef struct fpr_changes {
    uint64_t kernels;                   /* of all layers but those with NaN or Inf, 1x1 ones too: the sum over the groups */
    uint64_t pointwise_kernels;         /* of these, kernels of one weight */
    uint64_t kernels_zeroed;            /* not zero in the input, zero in the output */
    uint64_t live_before, live_after;   /* kernels */
    uint64_t binary_kernels, binary_layers;
    uint64_t tensors_changed, weights_changed;
    double relative_l2;                 /* over all weights of the tensors that changed, together */
    const char *worst_name;             /* the tensor of the largest relative error, borrowed from its row; NULL: none */
    size_t worst_name_bytes;
    double worst_relative_l2;
    uint64_t *wholly_zero;              /* layers[] indices: layers that had weights and are all zero now */
    size_t wholly_zero_count;
    uint64_t cast_tensors, cast_to_inf, cast_to_zero; /* tensors whose dtype changed */
    uint64_t large_layers;              /* tensors changed by more than FPR_LARGE_ERROR */
    uint64_t tensors_dropped;
    uint64_t removable_filters, removable_channels, removable_weights, removable_bytes; /* dense bytes */
} fpr_changes;

/* A relative error above which the network should be tested, in words, wherever it is stated. */
#define FPR_LARGE_ERROR 0.1
/* Of tensor_bytes: where not_read_bytes are less, only the JSON tells of them: shapes and numbers that a graph computes with. */
#define FPR_NOT_READ_SHARE 0.001

typedef struct fpr_lookalike {  /* looks like a convolution, is not treated as one */
    char *name;
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    uint64_t *shape;
    const char *why;            /* static text */
} fpr_lookalike;

typedef struct fpr_phase { const char *name; double seconds; } fpr_phase;

/* What left an ONNX model, which kept its outputs. Of layers: convolutions and matrix products with constant weights. */
typedef struct fpr_removed_layer {
    char *name, *weight, *op;        /* of the node, of its weights; "Conv" */
    uint64_t in_before, in_after, out_before, out_after; /* channels */
    uint64_t dead, constant, unread, merged; /* filters that left: zeros; constant; read by nobody; equal to another */
    uint64_t parameters_before, parameters_after;
    uint64_t macs_before, macs_after; /* multiply-adds; 0 where the shape is not known */
} fpr_removed_layer;

typedef struct fpr_removal_stop { char *op, *node; uint64_t channels; } fpr_removal_stop; /* what kept needless channels */

typedef struct fpr_removal {
    fpr_removed_layer *layers;       /* in the order of evaluation */
    size_t layer_count;
    fpr_removal_stop *stops;
    size_t stop_count;
    uint64_t channels;               /* filters that left, over all layers */
    uint64_t parameters_before, parameters_after, macs_before, macs_after;
    uint64_t side;                   /* of dimensions that the model leaves open, for the multiply-adds; batch 1; 0: none is open */
    /* Outputs before and after removal in double precision, on random inputs of two sizes: the largest difference over
     * the largest magnitude. What is folded is rounded to the tensor's type. NaN: not compared, for that reason. */
    double difference;
    char *not_compared;              /* NULL: compared */
    char *shapes;                    /* of a checkpoint that lost channels: JSON of what changed, "filterprune-shapes-1" */
} fpr_removal;

/* One setting that a sweep tried. */
typedef struct fpr_sweep_point {
    double eps, max_error;     /* max_error 0: only eps */
    uint64_t kernels_zeroed, bytes;
    double relative_l2, worst; /* of all that changed, and of the tensor that changed most */
} fpr_sweep_point;

/* What of a checkpoint cannot be, or is not, in OUTPUT. */
typedef struct fpr_left_out {
    char *name, *why;
} fpr_left_out;

typedef struct fpr_report {
    char *input_path;
    char *input_format;         /* "safetensors", "torch-zip" ... */
    char *input_key;            /* the dictionary taken, "" for the top level; NULL: the format has only one */
    fpr_left_out *left_out;
    size_t left_out_count;
    uint64_t not_read, not_read_bytes; /* fpr_model_others: more tensors of the file that are not read */
    uint64_t tensor_bytes;      /* of the tensors read, dense */
    uint64_t input_bytes, tensors, parameters, layer_count;
    uint64_t input_hash;        /* XXH3-64 over all bytes of the file(s), in order; 0 when not computed */
    uint64_t input_hash_long[2]; /* XXH3-128 of the same, the high half first */
    bool has_output;            /* false for inspect */
    char *output_path;
    uint64_t output_bytes;
    uint64_t output_hash;
    bool output_dense;
    fpr_options options;        /* effective: threads and layout resolved; its pointers are not valid here */
    char **only, **skip, **drop, **transposed; /* copies of the patterns */
    size_t only_count, skip_count, drop_count, transposed_count;
    fpr_group *groups;          /* most kernels first */
    size_t group_count;
    fpr_layer *layers;          /* in file order */
    fpr_other *others;
    size_t other_count;
    fpr_changes changes;
    fpr_lookalike *lookalikes;  /* those of others that look like convolutions */
    size_t lookalike_count;
    uint64_t normed_layers;     /* layers that a BatchNormalization is known to follow; scaled is the sum over them */
    fpr_scaled scaled;
    fpr_removal *removal;       /* of an ONNX output; else NULL */
    fpr_sweep_point *sweep;     /* fpr_sweep: by eps, then by max_error; NULL without */
    size_t sweep_count;
    char **warnings;            /* all of them: what a layer's own list says is here, too */
    size_t warning_count;
    fpr_phase phases[16];
    size_t phase_count;
    unsigned threads;
    uint64_t peak_rss_bytes;
} fpr_report;

FPR_API void fpr_report_free(fpr_report *report); /* NULL allowed */
/* What output_bytes are fairly compared with. A file of another format holds more than its tensors, such as a graph or the
 * state of an optimizer: to have left that out is no compression. So of such a file the smaller of its bytes and tensor_bytes;
 * else, and where the output is an ONNX graph too, input_bytes. */
FPR_API uint64_t fpr_report_compared_bytes(const fpr_report *report);

/* What is measured of every layer, in the order of the report: JSON, page, terminal and CSV show what this table names. */
typedef enum fpr_figure_kind {
    FPR_FIGURE_SHARE,  /* 0 .. 1, of something */
    FPR_FIGURE_RATIO,  /* about 0 .. 1 */
    FPR_FIGURE_NUMBER,
    FPR_FIGURE_COUNT,
    FPR_FIGURE_WEIGHT  /* as small or large as weights are */
} fpr_figure_kind;
typedef struct fpr_figure {
    const char *key;                          /* in JSON and CSV */
    fpr_figure_kind kind;
    double (*of)(const fpr_layer *layer);     /* NaN: not defined */
    const char *page, *terminal;              /* headings of its columns; NULL: it has none there */
    unsigned rank;                            /* in the terminal: columns of higher rank go first where it is narrow; 0: never */
    const char *over_layers, *limit;          /* heading of its panel over all layers; what 1 stands for; NULL: none */
} fpr_figure;
FPR_API const fpr_figure *fpr_layer_figures(size_t *count);

/* The same of spectra: figures, and the layers and linear tensors that have one, those that need the smallest share of
 * their rank for 99 % of their energy first. */
typedef struct fpr_spectrum_figure {
    const char *key, *title;                       /* in JSON, NULL: not there; heading of its column */
    fpr_figure_kind kind;
    double (*of)(const fpr_spectrum *spectrum);    /* NaN: not defined */
    unsigned rank;                                 /* as in fpr_figure */
} fpr_spectrum_figure;
FPR_API const fpr_spectrum_figure *fpr_spectrum_figures(size_t *count);
typedef struct fpr_spectrum_row {
    const char *name;
    size_t name_bytes, place;                      /* place: in the order of the report */
    const uint64_t *shape;
    unsigned rank;
    const fpr_spectrum *spectrum;
} fpr_spectrum_row;
/* Fills rows, which have room for layer_count + other_count, with what is borrowed from the report; returns how many. */
FPR_API size_t fpr_report_spectra(const fpr_report *report, fpr_spectrum_row *rows);

/* Receives rendered bytes; returns 0, or -1 to stop (the renderer then fails with FPR_IO). */
typedef int (*fpr_write)(void *context, const void *bytes, size_t count);

FPR_API fpr_status fpr_report_json(const fpr_report *report, fpr_write write, void *context, fpr_error *error);
FPR_API fpr_status fpr_report_html(const fpr_report *report, fpr_write write, void *context, fpr_error *error);
/* A line for every layer: layer, dtype, shape, kernels, live_before, live_after, dead_filters, dead_channels, its figures,
 * relative_l2, bytes_before, bytes_after. */
FPR_API fpr_status fpr_report_csv(const fpr_report *report, fpr_write write, void *context, fpr_error *error);
/* The style and the script of the pages, for pages beside them. */
FPR_API const char *fpr_page_style(void);
FPR_API const char *fpr_page_script(void);
/* The sentence that terminal, page and JSON begin with: what was changed, or for an inspection what was found. One line
 * of plain UTF-8, names made safe to print, cut to size. Returns dst. */
#define FPR_VERDICT_BYTES 1024
FPR_API char *fpr_report_verdict(const fpr_report *report, char *dst, size_t size);

/* ------------------------------------------------------------------ 6. jobs */

/* The main job: diagnose, prune, quantize, write. An output named *.onnx, of an ONNX input: the same model with the
 * pruned weights and without the channels that nobody needs any more (fpr_removal); neither packed nor cast.
 * output may be NULL with dry_run. report may be NULL, and what only a report says is not computed then; else it receives
 * one that the caller frees. On failure nothing is written and *report is NULL. For a sharded input, output is a
 * directory. */
FPR_API fpr_status fpr_prune(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                             fpr_error *error);

/* Diagnostics only: the report's "after" parts are absent. */
FPR_API fpr_status fpr_inspect(const char *input, const fpr_options *options, fpr_report **report, fpr_error *error);

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

/* Restores a dense checkpoint. Byte for byte the input of the main job when that ran losslessly. Of the options:
 * force, threads, progress, cancel. */
/* Adds to the report of an inspection what other values of eps and max_error would give, each by a dry run of
 * fpr_prune with these options. */
FPR_API fpr_status fpr_sweep(const char *input, const fpr_options *options, fpr_report *report, fpr_error *error);

FPR_API fpr_status fpr_unpack(const char *packed, const char *output, const fpr_options *options, fpr_error *error);
/* Writes the tensors of a checkpoint of any format, bit for bit, as a safetensors file as the reference implementation
 * would write it; what cannot be one is left out (fpr_model_skipped). A safetensors file keeps its header. Of the options:
 * key, allow_expand, force, threads, progress, cancel. */
FPR_API fpr_status fpr_convert(const char *input, const char *output, const fpr_options *options, fpr_error *error);

typedef struct fpr_verified {
    char *name;
    size_t name_bytes;
    bool ok;             /* decodes, checksum holds, and (against an original) within what the file states */
    bool exact;          /* same bits as the original; without one: stored losslessly */
    double max_abs, relative_l2; /* against the original; NaN without one */
    char *problem;       /* NULL when ok */
} fpr_verified;

typedef struct fpr_verification {
    bool ok;
    char *verdict;       /* what the file says of its making (fpr_statement_verdict); NULL when it says nothing */
    char *suspicion;     /* why it may differ as a whole: a wrong original, swapped arguments; NULL: no idea */
    fpr_verified *tensors;
    size_t tensor_count;
} fpr_verification;

/* Decodes every tensor and checks every checksum; against original (may be NULL) compares each tensor: lossless ones
 * must be equal bit for bit, pruned and quantized ones may differ only as their codec states. Returns FPR_DIFFERS
 * (with *verification filled) when something is wrong.
 * Two files named *.onnx are compared by what they compute: in double precision, on random inputs of two sizes. Then
 * an entry is an output; max_abs is relative to the output's largest magnitude, ok up to 1e-5 (weights are stored in
 * single precision), exact up to 1e-12. */
FPR_API fpr_status fpr_verify(const char *packed, const char *original, const fpr_options *options,
                              fpr_verification **verification, fpr_error *error);
FPR_API void fpr_verification_free(fpr_verification *verification);
FPR_API fpr_status fpr_verification_json(const fpr_verification *verification, fpr_write write, void *context,
                                         fpr_error *error);
/* ---- what a file says of its own making: without the original, without the report */

typedef struct fpr_stated {  /* a tensor, in the file's order */
    const char *name;        /* borrowed from the model */
    size_t name_bytes;
    bool lossless;           /* as it was in the file that this one was made from */
    double max_abs, relative_l2; /* against that file; infinite where a value became so; 0 when lossless */
    uint64_t zeroed;         /* kernels that became zero */
    fpr_dtype dtype_before;  /* another than its dtype when it was cast */
} fpr_stated;

typedef struct fpr_statement {
    bool stated;             /* the file has filterprune's key: what follows but the sums is from there */
    char *tool;              /* "filterprune 0.1.0", or NULL */
    char *input_name;        /* what the file was made from, without its folder; NULL: not stated */
    uint64_t input_bytes;
    char input_xxh3_128[33]; /* hexadecimal digits, or "" */
    char *options;           /* a JSON object, or NULL */
    size_t patterns_dropped; /* patterns of --drop */
    uint64_t tensors_changed, tensors_cast, kernels_zeroed;
    size_t worst;            /* number of the tensor with the largest relative error, when one changed */
    fpr_stated *tensors;
    size_t tensor_count;
} fpr_statement;

FPR_API fpr_status fpr_model_statement(const fpr_model *model, fpr_statement **statement, fpr_error *error);
FPR_API void fpr_statement_free(fpr_statement *statement);
/* "lossless: ..." or "N of M tensors changed, at most E in layer L; ...", as fpr_report_verdict writes it. */
FPR_API char *fpr_statement_verdict(const fpr_statement *statement, char *dst, size_t size);

/* XXH3-128 of all files of a model, one after the other, in 32 hexadecimal digits: what statements call an input by. */
FPR_API fpr_status fpr_model_sum(const fpr_model *model, char digits[33], fpr_error *error);

/* ---- two checkpoints, tensor by tensor */

typedef enum fpr_relation { FPR_EQUAL, FPR_CHANGED_VALUES, FPR_ONLY_IN_A, FPR_ONLY_IN_B } fpr_relation;

typedef struct fpr_difference {  /* one name */
    char *name;                  /* as in the file that has it, A's when both do */
    size_t name_bytes;
    fpr_relation relation;       /* EQUAL: same dtype, shape and bits */
    fpr_dtype dtype_a, dtype_b;  /* of the files that have it */
    bool other_shape;            /* then nothing below is known */
    double max_abs, relative_l2; /* B against A; NaN where they cannot be compared */
    uint64_t kernels, kernels_zeroed; /* of a convolution layer: all, and those that are zero in B only */
} fpr_difference;

typedef struct fpr_differences {
    fpr_difference *tensors;     /* A's order, then what only B has */
    size_t tensor_count;
    size_t count[4];             /* by relation */
} fpr_differences;

/* Compares any two checkpoints. strip: what is taken off the beginning of names that begin so, in both; may be empty.
 * Of the options: layout, threads, progress, cancel. FPR_DIFFERS, with *differences filled, unless all is equal. */
FPR_API fpr_status fpr_diff(const char *a, const char *b, const char *const *strip, size_t strip_count,
                            const fpr_options *options, fpr_differences **differences, fpr_error *error);
FPR_API void fpr_differences_free(fpr_differences *differences);
/* Schema "filterprune-diff-1". */
FPR_API fpr_status fpr_differences_json(const fpr_differences *differences, const char *a, const char *b,
                                        fpr_write write, void *context, fpr_error *error);

typedef struct fpr_exported {
    size_t layers;       /* written */
    char **left_out;     /* names of binary-like layers whose filters are not +-alpha */
    size_t left_out_count;
} fpr_exported;

/* Writes the binary layers in the bit order of Larq Compute Engine, as a safetensors file: for a layer NAME of shape
 * [O, I, H, W] a tensor NAME, I32 [O, H, W, ceil(I / 32)], channel c in bit c % 32 of word c / 32, bit 1 = negative; and
 * NAME.scale, F32 [O]. Of the options: binary_tol, binary_share, layout, force, threads. */
FPR_API fpr_status fpr_export_lce(const char *input, const char *output, const fpr_options *options,
                                  fpr_exported *result, fpr_error *error);
FPR_API void fpr_exported_free(fpr_exported *result);

/* Names, dtypes, shapes, codecs, sizes and metadata as JSON, schema "filterprune-info-1". */
FPR_API fpr_status fpr_info_json(const fpr_model *model, fpr_layout layout, fpr_write write, void *context,
                                 fpr_error *error);

/* ------------------------------------------------------------------ 8. mergeable moments */

/* Mean and centered second moments of a set of vectors of k doubles. Updated by Chan, Golub and LeVeque's pairwise
 * rule (1983): merging (n1, m1, S1) and (n2, m2, S2) gives
 *     n = n1 + n2,  d = m2 - m1,  mean = m1 + d n2/n,  S = S1 + S2 + d d' n1 n2/n,
 * which never subtracts large sums of squares. Merging is not associative in the last bit: merge in a fixed order
 * for reproducible results. */
typedef struct fpr_moments {
    unsigned k;
    uint64_t count;
    double *mean;    /* [k] */
    double *scatter; /* [k][k], symmetric: sum of (x - mean)(x - mean)' */
} fpr_moments;

FPR_API fpr_status fpr_moments_init(fpr_moments *moments, unsigned k); /* FPR_NO_MEMORY, FPR_USAGE when k is 0 or > 128 */
FPR_API void fpr_moments_free(fpr_moments *moments);
/* Adds count vectors, rows of k doubles, all finite. */
FPR_API void fpr_moments_add(fpr_moments *moments, const double *rows, size_t count);
FPR_API void fpr_moments_merge(fpr_moments *into, const fpr_moments *from);
/* Principal components of the set: fills arrays of a basis made for k (mean [k], components [k][k], singular_values
 * [k], explained_variance_ratio [k]). Sign: the entry of largest magnitude of each component is positive. */
FPR_API fpr_status fpr_moments_finish(const fpr_moments *moments, fpr_basis *basis, fpr_error *error);

#ifdef __cplusplus
}
#endif
#endif

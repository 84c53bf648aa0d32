/* Reports: the data that JSON and HTML are made from. Part of filterprune.h. */
#ifndef FILTERPRUNE_REPORT_H
#define FILTERPRUNE_REPORT_H

#include "options.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    char *graph_path;           /* of options.graph; NULL without */
    fpr_left_out *left_out;
    size_t left_out_count;
    uint64_t not_read, not_read_bytes; /* fpr_model_others: more tensors of the file that are not read */
    bool not_read_matters;      /* they are more than the shapes and numbers that a graph computes with, which only the JSON tells */
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

#ifdef __cplusplus
}
#endif
#endif

/* Checkpoints: open, look, read one tensor; what a file says of its own making. Part of filterprune.h. */
#ifndef FILTERPRUNE_CHECKPOINT_H
#define FILTERPRUNE_CHECKPOINT_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    fpr_kind layer_kind;   /* of its layer: of a bias, or of weights quantized to integers, that of their convolution */
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

#ifdef __cplusplus
}
#endif
#endif

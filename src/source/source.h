/* A checkpoint of any format, read-only: what it is to everybody above this room. Formats know bytes; nobody above knows
 * formats.
 *
 * A format is one file here and one row of source_formats in source.c. It lists tensors by name, dtype and shape, says
 * what it knows of them as layers, and reads their dense bytes. Nothing in a file is ever executed or imported. */
#ifndef FPR_SOURCE_H
#define FPR_SOURCE_H

#include "file/file.h"

/* What a format knows of a tensor's part in the network; shapes alone mislead. */
typedef enum source_kind {
    SOURCE_KIND_UNKNOWN,    /* the format does not say: shapes and names decide */
    SOURCE_KIND_CONV,       /* weights of a convolution, grouped ones too */
    SOURCE_KIND_DEPTHWISE,  /* one input channel a filter; Keras: [h, w, c, multiplier] */
    SOURCE_KIND_TRANSPOSED, /* ONNX, PyTorch: [in, out/groups, k...]; Keras: [k..., out, in] */
    SOURCE_KIND_SEPARABLE,  /* one of the two kernels of a separable convolution of Keras */
    SOURCE_KIND_OTHER       /* known to be no convolution */
} source_kind;

#define SOURCE_NO_DEPTH UINT64_MAX

typedef struct source_tensor {
    const char *name;      /* UTF-8, may hold NUL bytes: name_bytes counts; a NUL also follows the last byte */
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    const uint64_t *shape; /* [rank] */
    uint64_t elements;
    uint64_t bytes;        /* dense: row-major, little-endian */
    uint64_t stored_bytes; /* in the file */
    source_kind kind;
    uint64_t groups;       /* 0: not known */
    uint64_t depth;        /* convolutions on the longest path from an input, this one not counted; SOURCE_NO_DEPTH */
    fpr_layout layout;     /* AUTO: not known */
    const char *layer;     /* the true name of its layer where the format has one; NULL */
} source_tensor;

/* What cannot become a tensor of a safetensors file, or is left out: never silently. */
typedef struct source_skipped {
    const char *name;
    const char *why; /* "sparse", "quantized", "optimizer state" ... */
} source_skipped;

typedef struct source_options {
    const char *key;          /* --key: the dictionary to take, "a.b"; NULL: by the rules */
    bool allow_expand;        /* logical bytes may exceed those of the storage */
    const volatile int *cancel;
} source_options;

typedef struct source source;

typedef struct source_format {
    const char *name; /* family: "safetensors", "torch", "npz", "onnx", "hdf5" */
    /* Whether the first n <= 64 bytes of a regular file look like this format. */
    bool (*probe)(const uint8_t *head, size_t n);
    /* Validates all; takes file over, also on failure. FPR_BAD_HEADER for what breaks the format's rules. */
    fpr_status (*open)(file_source *file, const source_options *options, source **out, fpr_error *error);
    /* bytes [from, from + count) of the dense tensor; threads may read at the same time. */
    fpr_status (*read)(const source *s, size_t tensor, uint64_t from, uint64_t count, void *dst, fpr_error *error);
    void (*close)(source *s);
} source_format;

/* The part that every format has; a format embeds it first in a struct of its own. */
struct source {
    const source_format *format;
    const char *variant;     /* as info says it: "torch-zip", "torch-legacy", "torchscript", "npz", "npy", "onnx", ... */
    const char *key;         /* the dictionary taken, "" for the top level */
    source_tensor *tensors;  /* in the order of the file */
    size_t tensor_count;
    source_skipped *skipped;
    size_t skipped_count;
    /* Every file that is read: an OUTPUT must be none of them, and each is checked for changes. [0] is INPUT. */
    file_source **files;
    size_t file_count;
};

extern const source_format source_torch, source_npz, source_onnx, source_hdf5;

#endif

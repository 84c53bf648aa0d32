/* A checkpoint of any format, read-only: what it is to everybody above this room. Formats know bytes; nobody above knows
 * formats.
 *
 * A format is one file here and one row of `formats` in source.c. It lists tensors by name, dtype and shape, says
 * what it knows of them as layers, and reads their dense bytes. Nothing in a file is ever executed or imported. */
#ifndef FPR_SOURCE_H
#define FPR_SOURCE_H

#include "file/file.h"

/* The key of __metadata__ that a packed file carries, and what stands in it. */
#define SOURCE_PACKED_KEY "filterprune"
/* Which output a shard is of: 16 digits, as the key of the shard and the metadata of its index have them. */
#define SOURCE_SET_DIGITS 16
#define SOURCE_INDEX_SET "filterprune_set"

/* What a format knows of a tensor's part in the network; shapes alone mislead. fpr_kind says what they mean. */
typedef fpr_kind source_kind;
#define SOURCE_KIND_UNKNOWN FPR_KIND_UNKNOWN
#define SOURCE_KIND_CONV FPR_KIND_CONV
#define SOURCE_KIND_DEPTHWISE FPR_KIND_DEPTHWISE
#define SOURCE_KIND_TRANSPOSED FPR_KIND_TRANSPOSED
#define SOURCE_KIND_SEPARABLE FPR_KIND_SEPARABLE
#define SOURCE_KIND_OTHER FPR_KIND_OTHER
#define SOURCE_NO_DEPTH FPR_NO_DEPTH

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
    source_kind layer_kind; /* of its layer, where kind says OTHER of a part that is no kernels; UNKNOWN: kind holds */
    const char *unread;    /* weights of a convolution, says the format, that cannot be read as kernels: why; NULL */

    /* Where the dense bytes stand in a file as they are: then they are read from there in pieces, by all threads, and
     * hashed on the way. false, which is always right: `read` is asked for the whole tensor at once. */
    bool plain;
    unsigned file;         /* in files */
    uint64_t offset;

    /* Of packed files only. */
    bool packed;
    const char *codec;     /* NULL: "raw" */
    bool member;           /* of a pool: whoever reads the first of them decodes all, and others wait for that */
    bool changed;          /* some weight is not what it was before it was packed */
    fpr_error *damage;     /* why its blob does not open; NULL: it does */
} source_tensor;

/* What cannot become a tensor of a safetensors file, or is left out: never silently. */
typedef struct source_skipped {
    const char *name;
    const char *why; /* "sparse", "quantized", "optimizer state" ... */
} source_skipped;

/* Tensors of the file that are neither listed nor skipped by name: too many and too small to be named, or without one. */
typedef struct source_others {
    uint64_t tensors, bytes; /* dense */
    const char *why;         /* static text; "they are ..." */
} source_others;

typedef struct source_options {
    const char *key;          /* --key: the dictionary to take, "a.b"; NULL: by the rules */
    bool allow_expand;        /* logical bytes may exceed those of the storage */
    bool keep_damaged;        /* list a packed tensor whose blob is broken, with its damage, instead of failing */
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

    /* Of safetensors only; NULL: what such a file says of itself is lost in a safetensors file.
     * The header of the dense checkpoint byte for byte as it was; like: as the reference implementation would write it.
     * *text is owned by the caller (base_free). */
    fpr_status (*header)(const source *s, const file_text *like, char **text, size_t *bytes, fpr_error *error);
    /* What of the file no tensor's own checksum covers, as it is now. */
    fpr_status (*check)(const source *s, fpr_error *error);
    /* A packed tensor whole, by up to so many threads. */
    fpr_status (*decode)(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error);
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
    source_others others;
    /* Every file that is read: an OUTPUT must be none of them, and each is checked for changes. [0] is INPUT. */
    file_source **files;
    size_t file_count;

    /* Of safetensors only; else NULL and 0. */
    const file_metadata *metadata;  /* __metadata__, in the order of the file */
    size_t metadata_count;
    const file_metadata *own_key;   /* SOURCE_PACKED_KEY among them */
    const uint32_t *header_order;   /* [tensor_count] the tensor that the i-th entry of the header names */
    uint64_t header_bytes;
    bool packed;                    /* carries our key or a blob */
    char set[SOURCE_SET_DIGITS + 1]; /* which output it is a shard of; "": it does not say */
};

/* ---- source.c */

/* Opens a file by what its first bytes say. */
fpr_status source_open(const char *path, const source_options *options, source **out, fpr_error *error);
void source_close(source *s); /* NULL allowed */
/* The dense bytes of a tensor whole, by up to so many threads. */
fpr_status source_read(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error);

extern const source_format source_safetensors;
extern const source_format source_torch, source_npz, source_onnx, source_hdf5;

/* ---- bytes.c */

/* Bytes of a file as they are, by up to so many threads. */
fpr_status source_read_file(const file_source *file, uint64_t offset, uint64_t bytes, unsigned threads, uint8_t *dst,
                            fpr_error *error);
/* Whether it is a string of 16 of 0123456789abcdef. */
bool source_is_digits(const file_value *text);

#endif

/* PyTorch's files from the inside: what torch*.c share.
 *
 * Three containers (a zip archive since 1.4, five pickles with raw storages behind them before, TorchScript in a zip
 * archive) hold one pickle of the same kind: tensors are calls of functions of torch._utils with a storage, an offset,
 * sizes and strides, and a storage is a persistent id ("storage", type, key, location, count). */
#ifndef FPR_SOURCE_TORCH_H
#define FPR_SOURCE_TORCH_H

#include "source/dense.h"
#include "source/pickle.h"
#include "source/source.h"
#include "source/zip.h"

/* Dictionaries and modules inside of each other, above the tensors. */
#define TORCH_DEPTH_MOST 200
/* All names that may be made, as bytes. */
#define TORCH_NAMES_MOST (16u << 20)

/* Where a storage lies: in a member, or, of the older format, in the file itself. */
typedef struct torch_storage {
    const zip_member *member; /* NULL: in the file */
    uint64_t offset;          /* in the file */
    uint64_t bytes;
} torch_storage;

/* A storage of the older format, by its key. */
typedef struct torch_legacy_storage {
    const char *key;
    size_t key_bytes;
    unsigned element;  /* bytes */
    uint64_t count;    /* as the pickle says */
    uint64_t offset;
    bool found;        /* in the list behind the pickle */
} torch_legacy_storage;

/* What state_dict() of a class of TorchScript names: the lists of its code. */
typedef struct torch_script_class {
    size_t name;       /* in texts, "__torch__.nets.Net" */
    size_t tensors;    /* in texts: names one after the other, an empty one behind the last */
} torch_script_class;

typedef struct torch_script {
    torch_script_class *classes; /* by name */
    size_t count, room;
    char *texts;
    size_t text_bytes, text_room;
} torch_script;

typedef struct torch_tensor {
    dense_view view;      /* shape and stride: set when all tensors are known */
    torch_storage storage;
    fpr_dtype dtype;
    uint64_t elements, bytes;
    const char *why;      /* it cannot be a tensor of a safetensors file; NULL: it can, and all above is known */
} torch_tensor;

typedef struct torch_file {
    source base;
    file_source *file;
    const source_options *options; /* while it is opened */
    pickle pickle;
    zip_archive *zip;              /* NULL: the older format */
    const char *prefix;            /* of the archive's members, "archive/"; not terminated */
    size_t prefix_bytes;
    const char *folder;            /* of the storages: "data/" */
    bool big_endian;
    bool scripted;
    torch_script script;
    torch_legacy_storage *storages; /* by key */
    size_t storage_count;
    torch_tensor *tensors;         /* of base.tensors, with room for more */
    size_t tensor_room;
    struct { char *bytes; size_t count, room; } names; /* of tensors and of what is skipped, one after the other */
    struct { uint64_t *numbers; size_t count, room; } numbers; /* shapes and strides */
    size_t skipped_room;
    uint8_t *marks;                /* a byte a node of the pickle: torch_names.c */
} torch_file;

/* ---- torch_tensor.c */

bool torch_is_tensor(const pickle *p, pickle_ref v);
/* What the tensor is. shape and stride have room for DENSE_RANK_MOST each. FPR_BAD_HEADER for one that does not fit its
 * storage, or is none. */
fpr_status torch_describe(const torch_file *t, pickle_ref v, torch_tensor *out, uint64_t *shape, uint64_t *stride,
                          fpr_error *error);
/* The storage type of a persistent id: bytes of an element and how many there are. */
fpr_status torch_storage_type(const pickle *p, pickle_ref id, unsigned *element, fpr_dtype *dtype, const char **why,
                              uint64_t *count, fpr_error *error);
/* Storages of the older format, by key: for qsort, and one of them. */
int torch_legacy_order(const void *a, const void *b);
const torch_legacy_storage *torch_legacy_find(const torch_file *t, const char *key, size_t bytes);

/* ---- torch_legacy.c, torch_script.c */

bool torch_legacy_probe(const uint8_t *head, size_t n);
fpr_status torch_legacy_read(torch_file *t, fpr_error *error);

fpr_status torch_script_read(torch_file *t, fpr_error *error);
/* The names of a class's parameters and buffers, an empty one behind the last; NULL: no module of the archive's code. */
const char *torch_script_tensors(const torch_script *s, const char *module, const char *name);
void torch_script_free(torch_script *s);

/* ---- torch_names.c */

/* Chooses the dictionary and lists its tensors. */
fpr_status torch_list(torch_file *t, fpr_error *error);

/* ---- torch_lists.c */

fpr_status torch_add_tensor(torch_file *t, const char *name, size_t name_bytes, pickle_ref v, source_kind kind,
                            uint64_t groups, fpr_error *error);
/* "left out" and the like: why is copied. */
fpr_status torch_add_skipped(torch_file *t, const char *name, size_t name_bytes, const char *why, fpr_error *error);

/* ---- torch.c */

/* A PyTorch archive; takes file and zip over, also on failure. */
fpr_status torch_open_zip(file_source *file, zip_archive *zip, const source_options *options, source **out,
                          fpr_error *error);

#endif

/* A checkpoint that is open: files, headers, packed tensors decoded on the fly; and its tensors in memory, a few MiB at
 * a time.
 *
 * open.c     one file, or an index and its shards; what is packed in it is found here
 * model.c    tensors, headers, the check over what is not packed
 * batch.c    tensors from file to memory, in batches
 * checksum.c XXH3-64 over all files, from what a sweep has in memory
 * options.c  what everybody who works on a model asks of its options
 * Knows formats and what a layer is, no statistics and no outputs. */
#ifndef FPR_MODEL_H
#define FPR_MODEL_H

#include "base/base.h"
#include "conv/conv.h"
#include "file/file.h"
#include "pack/pack.h"

#include <stdatomic.h>

/* ---- options.c */

/* Resolves threads; the cancel flag as a status. */
unsigned job_threads(const fpr_options *options);
fpr_status job_cancelled(const fpr_options *options, fpr_error *error);
double job_now(void); /* seconds, monotonic */

/* ---- model.c */

/* The key of __metadata__ that a packed file carries, and what stands in it. */
#define JOB_METADATA_KEY "filterprune"

/* Memory for batches, kept from sweep to sweep: fresh pages are dear. */
typedef struct job_buffer {
    uint8_t *bytes;
    uint64_t capacity;
} job_buffer;

typedef struct model_shard {
    char *path, *name;         /* name: as the index has it; NULL when the model is one file */
    file_source *source;
    file_header header;
    char *text;                /* the raw header, header.header_bytes long */
    size_t first;              /* its first tensor in the model */
    bool packed;               /* carries the key or a blob */
    file_tree key;             /* the value of the key, until all tensors are listed */
    char *original_header;     /* text of "header" in the key; NULL when the key is missing */
    uint64_t check_offset;     /* in text, of the 16 digits of "check"; UINT64_MAX: none */
    uint64_t check;
} model_shard;

typedef struct model_tensor {
    fpr_tensor view;           /* what callers see */
    const file_tensor *file;   /* what the file's header says */
    fpr_error damage;          /* why its blob does not open; status FPR_OK: it does */
} model_tensor;

struct fpr_model {
    char *path;
    model_shard *shards;
    size_t shard_count;
    bool is_index;
    char *index_text;          /* the index file, for is_index */
    size_t index_bytes;
    model_tensor *tensors;     /* data order, shard after shard */
    size_t tensor_count;
    size_t *by_name;           /* tensor numbers sorted by name */
    const file_metadata **metadata; /* the entries of all shards, without ours */
    size_t metadata_count;
    uint64_t bytes;
    fpr_layout layout;
    job_buffer *buffers;       /* [2], of the job that owns the model */
};

/* fpr_model_open; with keep_damaged a tensor whose blob is broken is listed with its damage instead of failing. */
fpr_status model_open(const char *path, bool keep_damaged, fpr_model **model, fpr_error *error);
/* Reads a tensor into dst (64-byte aligned) with up to threads threads. */
fpr_status model_read(const fpr_model *model, size_t index, unsigned threads, void *dst, fpr_error *error);
const fpr_tensor *model_find(const fpr_model *model, const char *name, size_t name_bytes); /* names with NUL bytes, too */
/* Bytes of the checkpoint when every tensor is dense, header as restored. */
fpr_status model_dense_bytes(const fpr_model *model, uint64_t *total, fpr_error *error);
/* The header of a dense version of a shard, as the reference implementation would write it. */
fpr_status model_like_header(const fpr_model *model, size_t shard, file_text *text, fpr_error *error);
/* The header of the dense shard byte for byte as it was: text of header_bytes, owned by the caller (base_free). */
fpr_status model_dense_header(const fpr_model *model, size_t shard, char **text, size_t *bytes, fpr_error *error);
/* Checks "check": header and raw tensors, as they are in the file now. Fine when the shard has none. */
fpr_status model_check_shard(const fpr_model *model, size_t shard, fpr_error *error);
/* FPR_CHANGED when a file of the model is not what it was when it was opened. */
fpr_status model_check_unchanged(const fpr_model *model, fpr_error *error);
/* A number that changes with any file of the model. */
uint64_t model_stamp(const fpr_model *model);
/* Whether path is one of the files of the model, also by link. */
bool model_is_file(const fpr_model *model, const char *path);

/* ---- batch.c */

#define JOB_BATCH_BYTES (4u << 20)

/* Called with the loaded tensors ids[first .. first + count - 1]; bytes[i] belongs to ids[first + i] and may be changed. */
typedef fpr_status (*job_visit)(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error);

/* Called once after each visit, beside the loading of the next batch, while the bytes of that visit are still there. */
typedef fpr_status (*job_beside)(void *context, fpr_error *error);

/* Loads ids in order, in batches of at most JOB_BATCH_BYTES (a larger tensor comes alone), and visits each batch.
 * beside may be NULL; with it, two batches are in memory, but not two large tensors. */
fpr_status job_batches(const fpr_model *model, const size_t *ids, size_t count, const fpr_options *options,
                       const char *phase, job_visit visit, job_beside beside, void *context, fpr_error *error);

/* ---- checksum.c: XXH3-64 over all files of a model */

typedef struct job_checksum job_checksum;

/* *sum is to be freed whatever is returned. */
fpr_status checksum_new(const fpr_model *model, job_checksum **sum, fpr_error *error);
/* Adds a tensor as it was read, and what lies between it and the one before. */
void checksum_take(job_checksum *sum, size_t tensor, const void *bytes);
/* Reads what has not been added yet; *value has no meaning once *stop is true. Tells of errors in taking, too. */
fpr_status checksum_rest(job_checksum *sum, const atomic_bool *stop, uint64_t *value, fpr_error *error);
void checksum_free(job_checksum *sum);

#endif

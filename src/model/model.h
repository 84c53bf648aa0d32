/* A checkpoint that is open: files, headers, packed tensors decoded on the fly; and its tensors in memory, a few MiB at
 * a time.
 *
 * open.c     one file, or an index and its shards
 * model.c    tensors, shards, headers
 * pipe.c     tensors from file to memory, through the hands of whoever works on them, and out again
 * checksum.c XXH3-64 over all files, from what a sweep has in memory
 * options.c  what everybody who works on a model asks of its options
 * Sees sources, and what a layer is; no statistics, no outputs. */
#ifndef FPR_MODEL_H
#define FPR_MODEL_H

#include "base/base.h"
#include "conv/roles.h"
#include "file/file.h"

#include <stdatomic.h>

/* ---- options.c */

/* Resolves threads; the cancel flag as a status. */
unsigned job_threads(const fpr_options *options);
fpr_status job_cancelled(const fpr_options *options, fpr_error *error);
double job_now(void); /* seconds, monotonic */

/* ---- open.c */

typedef struct model_options {
    bool keep_damaged;           /* list a packed tensor whose blob is broken, with its damage, instead of failing */
    const fpr_options *options;  /* its key, allow_expand and cancel; NULL: none of them */
} model_options;

/* fpr_model_open with more to say. */
fpr_status model_open(const char *path, const model_options *options, fpr_model **model, fpr_error *error);

/* ---- model.c. What is public in filterprune.h is used by everybody: fpr_model_tensor_count, fpr_model_tensor ...
 * A model is one file or more (shards), each a source of its own. Its tensors are in the order in which their data lies in
 * a safetensors file: as it is in one, as the reference implementation would write it of another format. */

/* A tensor that is known to be there. */
const fpr_tensor *model_tensor(const fpr_model *model, size_t index);
size_t model_number(const fpr_model *model, const fpr_tensor *tensor); /* of a tensor of this model */
const fpr_tensor *model_find(const fpr_model *model, const char *name, size_t name_bytes); /* names with NUL bytes, too */
/* What a tensor is, as far as name, shape and neighbours tell. */
const conv_role *model_role(const fpr_model *model, size_t index);
/* fpr_model_layer with what options say of this tensor, and how it is known. */
bool model_layer(const fpr_model *model, size_t index, conv_reading reading, fpr_layer_shape *shape, fpr_known *known);
/* What roles.h wants to know of a tensor; borrowed. */
conv_tensor model_conv_tensor(const fpr_model *model, size_t index);
/* What fpr_model_layout rests on. */
conv_evidence model_layout_by(const fpr_model *model);
/* Reads a tensor into dst (64-byte aligned) with up to threads threads. */
fpr_status model_read(const fpr_model *model, size_t index, unsigned threads, void *dst, fpr_error *error);

const char *model_path(const fpr_model *model);
bool model_is_index(const fpr_model *model);
/* The index file of a sharded model; NULL when it is one file. */
const char *model_index_text(const fpr_model *model, size_t *bytes);
/* Bytes of the checkpoint when every tensor is dense, header as restored. */
fpr_status model_dense_bytes(const fpr_model *model, uint64_t *total, fpr_error *error);
/* FPR_CHANGED when a file of the model is not what it was when it was opened. */
fpr_status model_check_unchanged(const fpr_model *model, fpr_error *error);
/* A number that changes with any file of the model. */
uint64_t model_stamp(const fpr_model *model);
/* Whether path is one of the files of the model, also by link. */
bool model_is_file(const fpr_model *model, const char *path);

/* Every file that is read, shard after shard. */
size_t model_file_count(const fpr_model *model);
const file_source *model_file(const fpr_model *model, size_t file);
/* Where a tensor's dense bytes stand as they are: in model_file(*file) from *offset on; false when they do not. */
/* The bytes that a packed tensor has in its file, stored_bytes of them. */
fpr_status model_read_stored(const fpr_model *model, size_t index, unsigned threads, uint8_t *dst, fpr_error *error);
bool model_place(const fpr_model *model, size_t index, size_t *file, uint64_t *offset);

/* Shards. */
/* What a shard is called in an output, and the index: as in the input, but shards of PyTorch, NAME.bin, become
 * NAME.safetensors. NULL: the model is one file. */
const char *model_shard_name(const fpr_model *model, size_t shard);
const char *model_index_name(const fpr_model *model);
bool model_renames(const fpr_model *model); /* whether they do */
size_t model_shard_first(const fpr_model *model, size_t shard);      /* its first tensor in the model */
size_t model_shard_tensors(const fpr_model *model, size_t shard);    /* how many it has */
bool model_shard_is_packed(const fpr_model *model, size_t shard);    /* carries our key or a blob */
/* Metadata but for our own key, and that; NULL where there is none. */
const file_metadata *model_shard_metadata(const fpr_model *model, size_t shard, size_t *count);
const file_metadata *model_shard_key(const fpr_model *model, size_t shard);
/* [tensors] which tensor of the shard the i-th entry of its header names. */
const uint32_t *model_shard_order(const fpr_model *model, size_t shard);
/* The header of a dense version of a shard, as the reference implementation would write it. */
fpr_status model_like_header(const fpr_model *model, size_t shard, file_text *text, fpr_error *error);
/* The header of the dense shard byte for byte as it was, or like the above when it was no safetensors file: text of
 * header_bytes, owned by the caller (base_free). */
fpr_status model_dense_header(const fpr_model *model, size_t shard, char **text, size_t *bytes, fpr_error *error);
/* Of the file as it is or, of another format, as it will be. */
fpr_status model_header_bytes(const fpr_model *model, size_t shard, uint64_t *bytes, fpr_error *error);
/* Checks "check": header and raw tensors, as they are in the file now. Fine when the shard has none. */
fpr_status model_check_shard(const fpr_model *model, size_t shard, fpr_error *error);

/* ---- pipe.c: read, work, write; the only place where these overlap */

#define MODEL_BATCH_BYTES (4u << 20)
#define MODEL_TOGETHER_BYTES (10u << 20) /* of a tensor that still may be in memory beside the batch before */

/* Called with the loaded tensors ids[first .. first + count - 1]; bytes[i] belongs to ids[first + i], is 64-byte aligned
 * and may be changed. */
typedef fpr_status (*model_visit)(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error);

typedef struct model_pipe {
    const char *phase; /* for progress */
    model_visit work;  /* a batch, from the calling thread; NULL: nothing to do */
    /* Makes ready what of the batch is to be written; the batch before has been written by then. NULL: nothing is. */
    model_visit put;
    /* Writes what put made ready, by another thread: beside the reading of the next batch and the work on it. The bytes
     * of the batch stay until then. NULL: put has done it. */
    fpr_status (*write)(void *context, fpr_error *error);
    void *context;
    /* Told before `work`, in order, of each packed tensor that does not decode, ids[number]: its bytes mean nothing.
     * NULL: that ends the job. */
    fpr_status (*damaged)(void *context, size_t number, const fpr_error *why, fpr_error *error);
} model_pipe;

/* Takes ids in order, in batches of at most MODEL_BATCH_BYTES; a larger tensor comes alone. Two batches are in memory
 * where something is written, but not two tensors above MODEL_TOGETHER_BYTES: what a job takes is bounded by one of them. */
fpr_status model_run(const fpr_model *model, const size_t *ids, size_t count, const fpr_options *options,
                     const model_pipe *pipe, fpr_error *error);

/* ---- checksum.c: XXH3-64 over all files of a model */

typedef struct job_checksum job_checksum;
/* XXH3 of the same bytes, 64 bits and 128 bits (the high half first). */
typedef struct model_sum {
    uint64_t value, wide[2];
} model_sum;

/* *sum is to be freed whatever is returned. */
fpr_status checksum_new(const fpr_model *model, job_checksum **sum, fpr_error *error);
/* Adds a tensor as it was read, and what lies between it and the one before. */
void checksum_take(job_checksum *sum, size_t tensor, const void *bytes);
/* Reads what has not been added yet; *value has no meaning once *stop is true. Tells of errors in taking, too. */
fpr_status checksum_rest(job_checksum *sum, const atomic_bool *stop, model_sum *value, fpr_error *error);
void checksum_free(job_checksum *sum);

#endif

/* The jobs: open, study, shrink, pack, report. The only room that sees all the others; it computes nothing itself.
 *
 * model.c    a checkpoint: files, headers, packed tensors decoded on the fly
 * batch.c    tensors from file to memory, a few MiB at a time
 * study.c    layers, kernel groups and the sweeps over them
 * writer.c   one output file, packed or dense
 * outputs.c  where the files of an output go, and what is refused
 * rows.c     a study as the rows of a report
 * basis.c    bases from outside
 * prune.c inspect.c compare.c unpack.c verify.c info.c   one job each */
#ifndef FPR_JOB_H
#define FPR_JOB_H

#include "base/base.h"
#include "conv/conv.h"
#include "file/file.h"
#include "pack/pack.h"
#include "shrink/shrink.h"

#include <stdatomic.h>

/* ---- options.c */

/* Resolves threads; the cancel flag as a status. */
unsigned job_threads(const fpr_options *options);
fpr_status job_cancelled(const fpr_options *options, fpr_error *error);
conv_settings job_settings(const fpr_options *options);
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

/* ---- study.c */

typedef struct study_layer {
    size_t tensor;
    size_t group;
    fpr_layer_shape shape;
    conv_measure measure;
    double *ratio; /* [k] or NULL */
} study_layer;

/* Memory for the farthest kernels of all groups together. */
#define STUDY_FAR_BYTES (1u << 20)

typedef struct study_group {
    fpr_layer_shape shape; /* of its first layer */
    uint64_t layers, kernels, sparse, live;
    fpr_moments all, live_moments; /* k = 0 without a basis */
    fpr_basis basis;
    double range[2];
    conv_far *far;         /* NULL without a basis, and once the range is known */
    conv_counter *counter;
    bool ranged;           /* the range is known without a sweep */
    bool has_basis;        /* at least one finite kernel and 2 <= k <= 128 */
    bool crowded_out;      /* would have a basis, but the file has too many kernel shapes */
} study_group;

typedef struct study {
    const fpr_model *model;
    size_t tensor_count;
    uint64_t stamp;      /* of the model */
    const fpr_options *options;
    conv_settings settings;
    study_layer *layers;
    size_t layer_count;
    study_group *groups; /* in order of first appearance */
    size_t group_count;
    size_t *layer_of;    /* [tensor_count] layer of a tensor, SIZE_MAX: none */
} study;

/* Finds the layers and measures them: the first sweep. only: the kernel shape of interest, or NULL for all; with it
 * nothing but moments and sparsity is measured. sum: takes what is read, or NULL. */
fpr_status study_new(const fpr_model *model, const fpr_options *options, const fpr_layer_shape *only, job_checksum *sum,
                     study **out, fpr_error *error);
/* Bases, the second sweep (ranges), and counters for the third. */
fpr_status study_prepare(study *s, fpr_error *error);
/* Visits the layers without NaN or Inf; while it runs, (*layers)[i] is the layer number of the i-th tensor visited. */
fpr_status study_visit_finite(const study *s, const char *phase, job_visit visit, void *context, const size_t **layers,
                              fpr_error *error);
/* The second sweep alone, for bases that were set by hand. */
fpr_status study_ranges(study *s, fpr_error *error);
typedef fpr_status (*study_visit_group)(void *context, study_group *group, const conv_block *blocks, size_t count,
                                        fpr_error *error);
/* Visits blocks[i] of layer layers[i] group by group; groups without a basis are passed over. */
fpr_status study_by_group(study *s, const conv_block *blocks, const size_t *layers, size_t count,
                          study_visit_group visit, void *context, fpr_error *error);
void study_free(study *s);
/* Allocates a basis for k. */
fpr_status study_basis_new(fpr_basis *basis, unsigned k, fpr_error *error);
void study_basis_free(fpr_basis *basis);
conv_block study_block(const study *s, const study_layer *layer, const void *weights);
/* What the first sweep knows of a layer, for shrink/. */
shrink_known study_known(const study_layer *layer, const fpr_options *options);
bool study_same_group(const fpr_layer_shape *a, const fpr_layer_shape *b);
/* ---- writer.c: one output file. Tensors are put in data order; the header, which comes first in the file but is known
 * last, is written into room kept for it. */

/* What is to be known of a tensor of the output. */
typedef struct writer_tensor {
    const fpr_tensor *source;
    bool dropped;
    fpr_dtype dtype;       /* after --cast */
    uint64_t bytes;        /* dense, after --cast */
    bool lossless;         /* before it is decided: certain to become so */
    bool decided;          /* the fields below hold */
    uint64_t stored;       /* bytes in the file */
    const char *codec;     /* static text, "raw" when plain */
    double max_abs, relative_l2; /* of what is restored against the input; stated in the file unless lossless */
} writer_tensor;

typedef struct job_writer job_writer;

/* Whether the output is dense is fixed here; path NULL counts bytes and writes nothing (a dry run). tensors are the
 * shard's, in data order, borrowed until the writer is gone; the writer reads their decisions when it needs them. */
fpr_status writer_new(const fpr_model *model, size_t shard, const char *path, bool dense, const fpr_options *options,
                      const writer_tensor *tensors, job_writer **writer, fpr_error *error);
/* The next tensor that is not dropped: as blob, or its dense bytes when blob is NULL. It is decided by now. */
fpr_status writer_put(job_writer *writer, const pack_blob *blob, const void *bytes, fpr_error *error);
/* The same for many tensors at once: they are listed in order, given their place in the file, and written. They must
 * stay until then; writing may run beside whatever does not use the writer. */
fpr_status writer_list(job_writer *writer, const pack_blob *blob, const void *bytes, fpr_error *error);
fpr_status writer_reserve_listed(job_writer *writer, fpr_error *error);
fpr_status writer_write_listed(job_writer *writer, fpr_error *error); /* nothing listed: nothing to do */
/* Whether so many bytes more stay in memory until the size of the header is known: only writer_put serves them. */
bool writer_holds(const job_writer *writer, uint64_t bytes);
/* Writes the header; *total receives the size of the whole file. */
fpr_status writer_finish(job_writer *writer, uint64_t *total, fpr_error *error);
/* Adds the finished file; nothing in a dry run. */
fpr_status writer_hash(job_writer *writer, file_hash *hash, unsigned threads, fpr_error *error);
fpr_status writer_commit(job_writer *writer, fpr_error *error); /* frees the writer */
void writer_abandon(job_writer *writer);                        /* removes the file; frees the writer; NULL allowed */
/* Bytes that a tensor costs in the header when it is packed, beyond those it costs when it is not. */
uint64_t writer_overhead(const fpr_tensor *tensor);

/* ---- outputs.c */

/* OUTPUT itself, or OUTPUT/SHARD for a sharded checkpoint; NULL when output is, or without memory. base_free. */
char *output_shard_path(const fpr_model *model, size_t shard, const char *output);
/* Refuses, before any work is done, an output that is missing, exists, or is the input. */
fpr_status output_check(const fpr_model *model, const char *output, const fpr_options *options, fpr_error *error);
/* Makes the directory of a sharded output; *made says that it was not there. Nothing to do for a single file. */
fpr_status output_folder(const fpr_model *model, const char *output, bool *made, fpr_error *error);
/* Writes the index of a sharded output: the input's, less dropped tensors, total_size as stored; tensors NULL: all
 * dense. */
fpr_status output_index(const fpr_model *model, const writer_tensor *tensors, const char *output,
                        const fpr_options *options, fpr_error *error);
/* Removes what a failed job has put into the directory that output_folder made, and the directory. */
void output_remove(const fpr_model *model, const char *output);

/* ---- basis.c */

/* "robustness", or the path of a JSON file, for kernels of k weights. *basis is made here: study_basis_free. */
fpr_status basis_load(const char *source, unsigned k, fpr_basis *basis, fpr_error *error);

/* ---- rows.c: a study and its outcome as a report */

/* A report with every row of layers and tensors filled as far as the study knows: stored and binary are "raw, nothing". */
fpr_status rows_new(const study *s, fpr_report **report, fpr_error *error);
/* Distributions and divergences of all groups, most kernels first; the layer rows are complete by now. */
fpr_status rows_groups(study *s, bool has_after, fpr_report *report, fpr_error *error);
fpr_status rows_warn(char ***list, size_t *count, fpr_error *error, const char *format, ...) BASE_PRINTF(4, 5);
void rows_memory(fpr_report *report); /* peak memory of the process so far */
void rows_phase(fpr_report *report, const char *name, double *since);

#endif

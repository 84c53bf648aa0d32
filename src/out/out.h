/* The files that a job writes: one output file each, and where they go.
 *
 * writer.c   one output file, packed or dense
 * statement.c what it says of its making
 * outputs.c  what is refused, and the index of shards
 * place.c    where the files are made, and how they get their names */
#ifndef FPR_OUT_H
#define FPR_OUT_H

#include "model/model.h"
#include "pack/pack.h"
#include "source/source.h"

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
    bool packed;           /* as a blob */
    bool pooled;           /* as a member of the pool, which takes `stored` of its bytes; known before it is decided */
    unsigned reader;       /* the oldest that can decode it */
    const char *codec;     /* static text, "raw" when plain */
    double max_abs, relative_l2; /* of what is restored against the input; stated in the file unless lossless */
    uint64_t zeroed;       /* kernels that became zero */
    fpr_change change;
} writer_tensor;

typedef struct job_writer job_writer;

/* The blob that the pooled tensors of a file share, and the name that it has there. */
#define POOL_NAME_BYTES 48
typedef struct writer_pool {
    pack_blob *blob; /* NULL: there is none */
    char name[POOL_NAME_BYTES];
} writer_pool;

/* ---- statement.c: members of the key, beginning with a comma */

/* What the output is made from. The hash may come late: it is needed when the header is written. */
typedef struct out_input {
    const char *name; /* without its folder, UTF-8 */
    uint64_t bytes, hash[2]; /* XXH3-128 over all files, the high half first */
    double amount;           /* that was settled on; negative: by eps */
} out_input;
void statement_input(file_text *json, const out_input *input);
void statement_options(file_text *json, const fpr_options *options, double amount);
/* Which output a shard is of, 16 digits: the same in all shards of one, another where the input, an option that shapes the
 * output, or this program is another one. */
#define OUT_SET_BYTES 17
fpr_status statement_set(const fpr_model *model, const out_input *input, const fpr_options *options, char set[OUT_SET_BYTES],
                         fpr_error *error);

/* PACKED: blobs, the key. STATED: dense, with a key that says what was done. PLAIN: dense, the input's own header. */
typedef enum out_form { OUT_PACKED, OUT_STATED, OUT_PLAIN } out_form;

/* The form of the output is fixed here; path NULL counts bytes and writes nothing (a dry run). tensors are the
 * shard's, in data order, borrowed until the writer is gone; the writer reads their decisions when it needs them. */
fpr_status writer_new(const fpr_model *model, size_t shard, const char *path, out_form form,
                      const fpr_options *options, const out_input *input, const writer_tensor *tensors,
                      job_writer **writer, fpr_error *error);
/* The pool, before any tensor; borrowed until the writer is gone. */
fpr_status writer_put_pool(job_writer *writer, const writer_pool *pool, fpr_error *error);
/* The next tensor that is neither dropped nor pooled: as blob, or its dense bytes when blob is NULL. It is decided by now. */
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
/* The finished file, which is the caller's now; frees the writer. NULL in a dry run. */
file_out *writer_release(job_writer *writer);
void writer_abandon(job_writer *writer);                        /* removes the file; frees the writer; NULL allowed */
/* Bytes that a tensor costs in the header when it is packed, beyond those it costs when it is not. */
uint64_t writer_overhead(const fpr_tensor *tensor);

/* ---- outputs.c */

/* OUTPUT itself, or OUTPUT/SHARD for a sharded checkpoint; NULL when output is, or without memory. base_free. */
char *output_shard_path(const fpr_model *model, size_t shard, const char *output);
/* Refuses, before any work is done, an output that is missing, exists, or is the input. */
fpr_status output_check(const fpr_model *model, const char *output, const fpr_options *options, fpr_error *error);
/* The index of a sharded output: the input's, less dropped tensors, total_size as stored; tensors NULL: all dense. set: as
 * its shards have it; NULL: they have none. */
fpr_status output_index_text(const fpr_model *model, const writer_tensor *tensors, const char *set, file_text *text,
                             fpr_error *error);

/* ---- place.c: where the files of an output are made, and how they get their names, all at once or none */

typedef struct out_place out_place;

/* For shards a folder is made beside OUTPUT or in it, which holds them until they are switched. */
fpr_status place_new(const fpr_model *model, const char *output, const fpr_options *options, out_place **place,
                     fpr_error *error);
/* Where a shard is to be written; NULL without memory. base_free. */
char *place_path(const out_place *place, size_t shard);
/* The status of what failed there, with the file's final name in the error. */
fpr_status place_failed(const out_place *place, size_t shard, fpr_status status, fpr_error *error);
/* Takes a file that is written there; of shards it is on disk and closed afterwards. Owns out, also on failure. */
fpr_status place_add(out_place *place, size_t shard, file_out *out, fpr_error *error);
/* Forgets the files added: they are written again. */
void place_again(out_place *place);
/* Gives all files their names, the index of shards with them: tensors and set as in output_index_text. On failure OUTPUT
 * is as it was. FPR_EXISTS when somebody else has made it meanwhile. */
fpr_status place_switch(out_place *place, const writer_tensor *tensors, const char *set, fpr_error *error);
/* Removes what has not got its name; NULL allowed. */
void place_free(out_place *place);

#endif

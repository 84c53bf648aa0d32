/* XXH3-64 over the files of a model, one after the other, from what a sweep has in memory: only what the sweep passes
 * over is read for it. */
#include "model/model.h"

#define CHUNK (128u << 10) /* stays in the second cache level */

struct job_checksum {
    const fpr_model *model;
    file_hash *hash;
    uint8_t *buffer;
    size_t file; /* what is before `at` of this file of the model has been added */
    uint64_t at;
    fpr_error error; /* the first */
};

fpr_status checksum_new(const fpr_model *model, job_checksum **sum, fpr_error *error)
{
    job_checksum *c = *sum = base_calloc(1, sizeof *c);
    if (c) {
        c->model = model;
        c->hash = file_hash_new();
        c->buffer = base_alloc(CHUNK, 1);
    }
    return c && c->hash && c->buffer ? FPR_OK : base_no_memory(error, CHUNK);
}

/* Adds what comes before `offset` of a file, if anything does. */
static void read_until(job_checksum *c, size_t file, uint64_t offset, const atomic_bool *stop)
{
    while (!c->error.status && !(stop && atomic_load(stop)) && !base_cancelled() && c->file <= file) {
        const file_source *source = model_file(c->model, c->file);
        const uint64_t size = file_source_size(source), end = c->file < file ? size : offset;
        if (c->at >= end) {
            if (c->file == file) return;
            c->file++;
            c->at = 0;
            continue;
        }
        const uint64_t n = end - c->at < CHUNK ? end - c->at : CHUNK;
        if (!file_source_read(source, c->at, c->buffer, n, &c->error)) file_hash_add(c->hash, c->buffer, n);
        c->at += n;
    }
}

void checksum_take(job_checksum *c, size_t tensor, const void *bytes)
{
    size_t file;
    uint64_t begin;
    if (!model_place(c->model, tensor, &file, &begin)) return; /* these are not the bytes of the file */
    read_until(c, file, begin, NULL);
    if (c->error.status || c->file != file || c->at != begin) return; /* or it has been read already */
    const uint64_t n = model_tensor(c->model, tensor)->bytes;
    file_hash_add(c->hash, bytes, n);
    c->at += n;
}

fpr_status checksum_rest(job_checksum *c, const atomic_bool *stop, model_sum *value, fpr_error *error)
{
    const size_t last = model_file_count(c->model) - 1;
    read_until(c, last, file_source_size(model_file(c->model, last)), stop);
    if (!c->error.status) base_check_cancelled(&c->error);
    if (c->error.status) {
        if (error) *error = c->error;
        return c->error.status;
    }
    file_hash_long(c->hash, value->wide);
    value->value = file_hash_end(c->hash);
    c->hash = NULL;
    return FPR_OK;
}

void checksum_free(job_checksum *c)
{
    if (!c) return;
    if (c->hash) file_hash_end(c->hash);
    base_free(c->buffer);
    base_free(c);
}

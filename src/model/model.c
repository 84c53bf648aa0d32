/* A checkpoint that is open: its tensors, its metadata, its headers, and whether the bytes are what they should be. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>

FPR_API size_t fpr_model_tensor_count(const fpr_model *m) { return m->tensor_count; }

FPR_API const fpr_tensor *fpr_model_tensor(const fpr_model *m, size_t index)
{
    return index < m->tensor_count ? &m->tensors[index].view : NULL;
}

const fpr_tensor *model_find(const fpr_model *m, const char *name, size_t bytes)
{
    size_t low = 0, high = m->tensor_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const fpr_tensor *t = &m->tensors[m->by_name[middle]].view;
        int order = memcmp(t->name, name, t->name_bytes < bytes ? t->name_bytes : bytes);
        if (!order) order = (t->name_bytes > bytes) - (t->name_bytes < bytes);
        if (!order) return t;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

FPR_API const fpr_tensor *fpr_model_find(const fpr_model *m, const char *name)
{
    return model_find(m, name, strlen(name));
}

FPR_API uint64_t fpr_model_bytes(const fpr_model *m) { return m->bytes; }

FPR_API size_t fpr_model_shard_count(const fpr_model *m) { return m->shard_count; }

FPR_API const char *fpr_model_shard_path(const fpr_model *m, size_t shard)
{
    return shard < m->shard_count ? m->shards[shard].path : NULL;
}

static bool is_own_key(const file_metadata *entry) { return !strcmp(entry->key, JOB_METADATA_KEY); }

FPR_API size_t fpr_model_metadata_count(const fpr_model *m) { return m->metadata_count; }

FPR_API void fpr_model_metadata(const fpr_model *m, size_t index, const char **key, const char **value)
{
    const file_metadata *entry = index < m->metadata_count ? m->metadata[index] : NULL;
    *key = entry ? entry->key : NULL;
    *value = entry ? entry->value : NULL;
}

FPR_API fpr_layout fpr_model_layout(const fpr_model *m) { return m->layout; }

FPR_API bool fpr_model_layer(const fpr_model *m, size_t index, fpr_layout layout, fpr_layer_shape *shape)
{
    if (index >= m->tensor_count || m->tensors[index].damage.status) return false;
    const fpr_tensor *t = &m->tensors[index].view;
    return conv_layer_shape(t->dtype, t->rank, t->shape, layout == FPR_LAYOUT_AUTO ? m->layout : layout, shape);
}

/* ---------------------------------------------------------------- reading */

#define READ_CHUNK (1u << 20)

typedef struct read_context {
    const model_shard *shard;
    uint64_t offset, bytes;
    uint8_t *dst;
    fpr_error *errors;
} read_context;

static void read_chunk(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const read_context *c = context;
    uint64_t begin = (uint64_t)i * READ_CHUNK, n = c->bytes - begin < READ_CHUNK ? c->bytes - begin : READ_CHUNK;
    file_source_read(c->shard->source, c->offset + begin, c->dst + begin, n, &c->errors[i]);
}

static fpr_status read_stored(const model_shard *shard, const file_tensor *f, unsigned threads, uint8_t *dst,
                              fpr_error *error)
{
    uint64_t bytes = f->end - f->begin, offset = shard->header.data_begin + f->begin;
    size_t chunks = (size_t)((bytes + READ_CHUNK - 1) / READ_CHUNK);
    if (threads <= 1 || chunks <= 1) return file_source_read(shard->source, offset, dst, bytes, error);
    read_context c = {shard, offset, bytes, dst, base_calloc(chunks, sizeof *c.errors)};
    if (!c.errors) return base_no_memory(error, chunks * sizeof *c.errors);
    base_parallel(threads, chunks, read_chunk, &c);
    const fpr_status status = base_first_error(c.errors, chunks, error);
    base_free(c.errors);
    return status;
}

fpr_status model_read(const fpr_model *m, size_t index, unsigned threads, void *dst, fpr_error *error)
{
    const model_tensor *t = &m->tensors[index];
    const model_shard *shard = &m->shards[t->view.shard];
    fpr_status status;
    if (t->damage.status) {
        if (error) *error = t->damage;
        return t->damage.status;
    }
    if (!t->view.packed) {
        status = read_stored(shard, t->file, threads, dst, error);
    } else {
        uint64_t bytes = t->file->end - t->file->begin;
        uint8_t *blob = base_alloc_aligned(bytes, 1);
        if (!blob) return base_no_memory(error, bytes);
        status = read_stored(shard, t->file, threads, blob, error);
        if (!status) status = pack_decode(blob, bytes, threads, dst, t->view.bytes, error);
        base_free(blob);
    }
    if (status) {
        base_error_in_file(error, shard->path);
        base_error_in_tensor(error, t->view.name);
    }
    return status;
}

FPR_API fpr_status fpr_model_read(const fpr_model *m, size_t index, void *dst, fpr_error *error)
{
    if (index >= m->tensor_count) return base_fail(error, FPR_USAGE, "there is no tensor %zu", index);
    return model_read(m, index, 1, dst, error);
}

/* ---------------------------------------------------------------- headers */

fpr_status model_like_header(const fpr_model *m, size_t s, file_text *text, fpr_error *error)
{
    const model_shard *shard = &m->shards[s];
    const file_header *h = &shard->header;
    file_header dense = {.tensor_count = h->tensor_count, .header_order = h->header_order};
    dense.tensors = base_alloc(h->tensor_count, sizeof *dense.tensors);
    dense.metadata = base_alloc(h->metadata_count, sizeof *dense.metadata);
    if (!dense.tensors || !dense.metadata) {
        base_free(dense.tensors);
        base_free(dense.metadata);
        return base_no_memory(error, h->tensor_count * sizeof *dense.tensors);
    }
    uint64_t at = 0;
    for (size_t i = 0; i < h->tensor_count; i++) {
        const fpr_tensor *t = &m->tensors[shard->first + i].view;
        dense.tensors[i] = (file_tensor){.name = t->name,
                                         .name_bytes = t->name_bytes,
                                         .dtype = t->dtype,
                                         .rank = t->rank,
                                         .shape = t->shape,
                                         .elements = t->elements,
                                         .begin = at,
                                         .end = at + t->bytes};
        at += t->bytes;
    }
    for (size_t i = 0; i < h->metadata_count; i++)
        if (!is_own_key(&h->metadata[i])) dense.metadata[dense.metadata_count++] = h->metadata[i];
    dense.has_metadata = dense.metadata_count > 0;
    fpr_status status = file_header_write(&dense, text, error);
    base_free(dense.tensors);
    base_free(dense.metadata);
    return status;
}

fpr_status model_dense_header(const fpr_model *m, size_t s, char **text, size_t *bytes, fpr_error *error)
{
    *text = NULL;
    const model_shard *shard = &m->shards[s];
    if (!shard->packed) {
        *text = base_copy_text(shard->text, (size_t)shard->header.header_bytes);
        *bytes = (size_t)shard->header.header_bytes;
        return *text ? FPR_OK : base_no_memory(error, shard->header.header_bytes);
    }
    file_text like = {0};
    fpr_status status = model_like_header(m, s, &like, error);
    const char *stored = shard->original_header ? shard->original_header : "canonical";
    if (!status) status = pack_header_decode(stored, like.bytes, like.count, text, bytes, error);
    file_text_free(&like);
    /* What comes out must be a header of exactly these tensors: the checksum covers its text, this its meaning. */
    file_header parsed = {0};
    uint64_t dense_bytes = 0;
    for (size_t i = 0; i < shard->header.tensor_count; i++) dense_bytes += m->tensors[shard->first + i].view.bytes;
    if (!status) status = file_header_parse(*text, *bytes, dense_bytes, &parsed, error);
    if (status == FPR_BAD_HEADER)
        status = base_fail(error, FPR_BAD_PACKED, "the original header kept in the file is no valid header");
    if (!status && parsed.tensor_count != shard->header.tensor_count)
        status = base_fail(error, FPR_BAD_PACKED, "the original header kept in the file is of other tensors");
    for (size_t i = 0; !status && i < shard->header.tensor_count; i++) {
        const fpr_tensor *t = &m->tensors[shard->first + i].view;
        const file_tensor *p = &parsed.tensors[i];
        if (p->name_bytes != t->name_bytes || memcmp(p->name, t->name, t->name_bytes) || p->dtype != t->dtype || p->rank != t->rank ||
            (t->rank && memcmp(p->shape, t->shape, t->rank * sizeof *t->shape)))
            status = base_fail(error, FPR_BAD_PACKED, "the original header kept in the file is of other tensors");
    }
    file_header_free(&parsed);
    if (status) {
        base_error_in_file(error, shard->path);
        base_free(*text);
        *text = NULL;
    }
    return status;
}

fpr_status model_dense_bytes(const fpr_model *m, uint64_t *total, fpr_error *error)
{
    fpr_status status = FPR_OK;
    *total = 0;
    for (size_t i = 0; i < m->tensor_count; i++) *total += m->tensors[i].view.bytes;
    for (size_t s = 0; !status && s < m->shard_count; s++) {
        char *text = NULL;
        size_t bytes = 0;
        status = model_dense_header(m, s, &text, &bytes, error);
        base_free(text);
        *total += 8 + bytes;
    }
    return status;
}

/* ---------------------------------------------------------------- the check over header and raw tensors */

fpr_status model_check_shard(const fpr_model *m, size_t s, fpr_error *error)
{
    const model_shard *shard = &m->shards[s];
    if (shard->check_offset == UINT64_MAX) return FPR_OK;
    uint8_t *buffer = base_alloc(READ_CHUNK, 1);
    file_hash *raw = file_hash_new(), *all = file_hash_new();
    fpr_status status = buffer && raw && all ? FPR_OK : base_no_memory(error, READ_CHUNK);
    for (size_t i = 0; !status && i < shard->header.tensor_count; i++) {
        const model_tensor *t = &m->tensors[shard->first + i];
        for (uint64_t at = t->file->begin; !status && !t->view.packed && at < t->file->end; at += READ_CHUNK) {
            uint64_t n = t->file->end - at < READ_CHUNK ? t->file->end - at : READ_CHUNK;
            status = file_source_read(shard->source, shard->header.data_begin + at, buffer, n, error);
            if (!status) file_hash_add(raw, buffer, n);
        }
    }
    uint8_t digits[8];
    base_store_le64(digits, raw ? file_hash_end(raw) : 0);
    if (all) {
        file_hash_add(all, shard->text, shard->check_offset);
        file_hash_add(all, "0000000000000000", 16);
        file_hash_add(all, shard->text + shard->check_offset + 16, shard->header.header_bytes - shard->check_offset - 16);
        file_hash_add(all, digits, 8);
    }
    uint64_t hash = all ? file_hash_end(all) : 0;
    base_free(buffer);
    if (!status && hash != shard->check) {
        status = base_fail(error, FPR_BAD_PACKED, "checksum of the header and the raw tensors differs: the file is damaged");
        base_error_in_file(error, shard->path);
    }
    return status;
}

fpr_status model_check_unchanged(const fpr_model *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < m->shard_count; s++) status = file_source_check(m->shards[s].source, error);
    return status;
}

uint64_t model_stamp(const fpr_model *m)
{
    uint64_t stamp = m->shard_count;
    for (size_t s = 0; s < m->shard_count; s++) stamp = stamp * 31 + file_source_stamp(m->shards[s].source);
    return stamp;
}

bool model_is_file(const fpr_model *m, const char *path)
{
    for (size_t s = 0; s < m->shard_count; s++)
        if (file_source_is(m->shards[s].source, path)) return true;
    return false;
}

/* A checkpoint that is open: its tensors, its shards, its headers. */
#include "model/inside.h"

FPR_API size_t fpr_model_tensor_count(const fpr_model *m) { return m->tensor_count; }

FPR_API const fpr_tensor *fpr_model_tensor(const fpr_model *m, size_t index)
{
    return index < m->tensor_count ? &m->tensors[index] : NULL;
}

const fpr_tensor *model_tensor(const fpr_model *m, size_t index) { return &m->tensors[index]; }

size_t model_number(const fpr_model *m, const fpr_tensor *tensor) { return (size_t)(tensor - m->tensors); }

const fpr_tensor *model_find(const fpr_model *m, const char *name, size_t bytes)
{
    size_t low = 0, high = m->tensor_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const fpr_tensor *t = &m->tensors[m->by_name[middle]];
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

FPR_API const char *fpr_model_format(const fpr_model *m) { return m->shards[0].source->variant; }

FPR_API const char *fpr_model_key(const fpr_model *m)
{
    const source *s = m->shards[0].source;
    return s->format == &source_safetensors ? NULL : s->key;
}

FPR_API size_t fpr_model_skipped_count(const fpr_model *m)
{
    size_t count = 0;
    for (size_t s = 0; s < m->shard_count; s++) count += m->shards[s].source->skipped_count;
    return count;
}

FPR_API void fpr_model_skipped(const fpr_model *m, size_t index, const char **name, const char **why)
{
    *name = *why = NULL;
    for (size_t s = 0; s < m->shard_count; s++) {
        const source *from = m->shards[s].source;
        if (index < from->skipped_count) {
            *name = from->skipped[index].name;
            *why = from->skipped[index].why;
            return;
        }
        index -= from->skipped_count;
    }
}

FPR_API void fpr_model_others(const fpr_model *m, uint64_t *tensors, uint64_t *bytes, const char **why)
{
    const source_others *o = &m->shards[0].source->others; /* shards are of safetensors, which has none */
    *tensors = o->tensors;
    *bytes = o->bytes;
    *why = o->tensors ? o->why : NULL;
}

FPR_API size_t fpr_model_shard_count(const fpr_model *m) { return m->shard_count; }

FPR_API const char *fpr_model_shard_path(const fpr_model *m, size_t shard)
{
    return shard < m->shard_count ? m->shards[shard].path : NULL;
}

FPR_API size_t fpr_model_metadata_count(const fpr_model *m)
{
    size_t count = 0;
    for (size_t s = 0; s < m->shard_count; s++) count += m->shards[s].metadata_count;
    return count;
}

FPR_API void fpr_model_metadata(const fpr_model *m, size_t index, const char **key, const char **value)
{
    *key = *value = NULL;
    for (size_t s = 0; s < m->shard_count; s++) {
        const model_shard *shard = &m->shards[s];
        if (index < shard->metadata_count) {
            *key = shard->metadata[index].key;
            *value = shard->metadata[index].value;
            return;
        }
        index -= shard->metadata_count;
    }
}

FPR_API fpr_layout fpr_model_layout(const fpr_model *m) { return m->layout; }

const conv_role *model_role(const fpr_model *m, size_t index) { return &m->roles[index]; }

conv_evidence model_layout_by(const fpr_model *m) { return m->layout_by; }

conv_tensor model_conv_tensor(const fpr_model *m, size_t index)
{
    const fpr_tensor *t = &m->tensors[index];
    return (conv_tensor){.name = t->name,
                         .name_bytes = t->name_bytes,
                         .dtype = t->dtype,
                         .rank = t->rank,
                         .shape = t->shape,
                         .elements = t->elements,
                         .kind = t->kind,
                         .layout = t->layout};
}

bool model_layer(const fpr_model *m, size_t index, conv_reading reading, fpr_layer_shape *shape, fpr_known *known)
{
    if (index >= m->tensor_count || model_source_of(m, index)->damage) return false;
    const conv_tensor t = model_conv_tensor(m, index);
    if (reading.layout == FPR_LAYOUT_AUTO) reading.layout = m->layout;
    return conv_role_layer(&t, &m->roles[index], &reading, shape, known);
}

FPR_API bool fpr_model_layer(const fpr_model *m, size_t index, fpr_layout layout, fpr_layer_shape *shape)
{
    fpr_known known;
    return model_layer(m, index, (conv_reading){.layout = layout}, shape, &known);
}

FPR_API const char *fpr_model_lookalike(const fpr_model *m, size_t index, fpr_layout layout)
{
    if (index >= m->tensor_count || model_source_of(m, index)->damage) return NULL;
    if (model_source_of(m, index)->unread) return model_source_of(m, index)->unread;
    const conv_tensor t = model_conv_tensor(m, index);
    return conv_role_lookalike(&t, &m->roles[index], layout == FPR_LAYOUT_AUTO ? m->layout : layout);
}

fpr_status model_read(const fpr_model *m, size_t index, unsigned threads, void *dst, fpr_error *error)
{
    const source_tensor *t = model_source_of(m, index);
    const model_shard *shard = &m->shards[m->tensors[index].shard];
    if (t->damage) {
        if (error) *error = *t->damage;
        return t->damage->status;
    }
    fpr_status status = source_read(shard->source, (size_t)(t - shard->source->tensors), threads, dst, error);
    if (status) {
        base_error_in_file(error, shard->path);
        base_error_in_tensor(error, t->name);
    }
    return status;
}

FPR_API fpr_status fpr_model_read(const fpr_model *m, size_t index, void *dst, fpr_error *error)
{
    if (index >= m->tensor_count) return base_fail(error, FPR_USAGE, "there is no tensor %zu", index);
    return model_read(m, index, 1, dst, error);
}

/* ---------------------------------------------------------------- shards */

const char *model_path(const fpr_model *m) { return m->path; }

bool model_is_index(const fpr_model *m) { return m->is_index; }

const char *model_index_text(const fpr_model *m, size_t *bytes)
{
    *bytes = m->index_bytes;
    return m->index_text;
}

const char *model_shard_name(const fpr_model *m, size_t s)
{
    return m->shards[s].output_name ? m->shards[s].output_name : m->shards[s].name;
}

const char *model_index_name(const fpr_model *m)
{
    const char *slash = strrchr(m->path, '/');
    return m->output_index ? m->output_index : slash ? slash + 1 : m->path;
}

bool model_renames(const fpr_model *m) { return m->shard_count && m->shards[0].output_name; }

size_t model_shard_first(const fpr_model *m, size_t s) { return m->shards[s].first; }

size_t model_shard_tensors(const fpr_model *m, size_t s) { return m->shards[s].source->tensor_count; }

bool model_shard_is_packed(const fpr_model *m, size_t s) { return m->shards[s].source->packed; }

const file_metadata *model_shard_metadata(const fpr_model *m, size_t s, size_t *count)
{
    *count = m->shards[s].metadata_count;
    return m->shards[s].metadata;
}

const file_metadata *model_shard_key(const fpr_model *m, size_t s) { return m->shards[s].source->own_key; }

const uint32_t *model_shard_order(const fpr_model *m, size_t s)
{
    const model_shard *shard = &m->shards[s];
    return shard->order ? shard->order : shard->source->header_order;
}


fpr_status model_check_shard(const fpr_model *m, size_t s, fpr_error *error)
{
    const source *from = m->shards[s].source;
    return from->format->check ? from->format->check(from, error) : FPR_OK;
}

/* ---------------------------------------------------------------- headers */

fpr_status model_like_header(const fpr_model *m, size_t s, file_text *text, fpr_error *error)
{
    const model_shard *shard = &m->shards[s];
    const size_t n = model_shard_tensors(m, s);
    uint32_t *order = base_alloc(n, sizeof *order); /* file_header is filled by readers, too: not const there */
    file_tensor *tensors = base_alloc(n, sizeof *tensors);
    if (!order || !tensors) {
        base_free(order);
        base_free(tensors);
        return base_no_memory(error, n * sizeof *tensors);
    }
    if (n) memcpy(order, model_shard_order(m, s), n * sizeof *order);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const fpr_tensor *t = &m->tensors[shard->first + i];
        tensors[i] = (file_tensor){.name = t->name,
                                   .name_bytes = t->name_bytes,
                                   .dtype = t->dtype,
                                   .rank = t->rank,
                                   .shape = t->shape,
                                   .elements = t->elements,
                                   .begin = at,
                                   .end = at + t->bytes};
        at += t->bytes;
    }
    file_header dense = {.tensors = tensors,
                         .header_order = order,
                         .tensor_count = n,
                         .metadata = shard->metadata,
                         .metadata_count = shard->metadata_count,
                         .has_metadata = shard->metadata_count > 0};
    fpr_status status = file_header_write(&dense, text, error);
    base_free(order);
    base_free(tensors);
    return status;
}

fpr_status model_dense_header(const fpr_model *m, size_t s, char **text, size_t *bytes, fpr_error *error)
{
    const source *from = m->shards[s].source;
    file_text like = {0};
    *text = NULL;
    const bool own = from->format->header != NULL;
    fpr_status status = own && !from->packed ? FPR_OK : model_like_header(m, s, &like, error);
    if (!status && own) {
        status = from->format->header(from, &like, text, bytes, error);
    } else if (!status) {
        *text = like.bytes;
        *bytes = like.count;
        like = (file_text){0};
    }
    file_text_free(&like);
    return status;
}

fpr_status model_header_bytes(const fpr_model *m, size_t s, uint64_t *bytes, fpr_error *error)
{
    file_text like = {0};
    *bytes = m->shards[s].source->header_bytes;
    if (m->shards[s].source->format->header) return FPR_OK;
    fpr_status status = model_like_header(m, s, &like, error);
    *bytes = like.count;
    file_text_free(&like);
    return status;
}

fpr_status model_dense_bytes(const fpr_model *m, uint64_t *total, fpr_error *error)
{
    fpr_status status = FPR_OK;
    *total = 0;
    for (size_t i = 0; i < m->tensor_count; i++) *total += m->tensors[i].bytes;
    for (size_t s = 0; !status && s < m->shard_count; s++) {
        char *text = NULL;
        size_t bytes = 0;
        status = model_dense_header(m, s, &text, &bytes, error);
        base_free(text);
        *total += 8 + bytes;
    }
    return status;
}

/* ---------------------------------------------------------------- files */

size_t model_file_count(const fpr_model *m) { return m->file_count; }

const file_source *model_file(const fpr_model *m, size_t file) { return m->files[file]; }

fpr_status model_read_stored(const fpr_model *m, size_t index, unsigned threads, uint8_t *dst, fpr_error *error)
{
    const source_tensor *t = model_source_of(m, index);
    return source_read_file(m->files[m->shards[m->tensors[index].shard].first_file + t->file], t->offset, t->stored_bytes, threads, dst, error);
}

bool model_place(const fpr_model *m, size_t index, size_t *file, uint64_t *offset)
{
    const source_tensor *t = model_source_of(m, index);
    *file = m->shards[m->tensors[index].shard].first_file + t->file;
    *offset = t->offset;
    return t->plain;
}

fpr_status model_check_unchanged(const fpr_model *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t f = 0; !status && f < m->file_count; f++) status = file_source_check(m->files[f], error);
    if (!status && m->index_file) status = file_source_check(m->index_file, error);
    return status;
}

uint64_t model_stamp(const fpr_model *m)
{
    uint64_t stamp = m->file_count;
    for (size_t f = 0; f < m->file_count; f++) stamp = stamp * 31 + file_source_stamp(m->files[f]);
    return stamp;
}

bool model_is_file(const fpr_model *m, const char *path)
{
    for (size_t f = 0; f < m->file_count; f++)
        if (file_source_is(m->files[f], path)) return true;
    return m->index_file && file_source_is(m->index_file, path);
}

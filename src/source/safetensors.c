/* safetensors, the format that is written as well: header, then the bytes of the tensors as they are. */
#include "source/packed.h"

static fpr_status list_tensors(safetensors *s, const source_options *options, fpr_error *error)
{
    const file_header *h = &s->header;
    s->base.tensors = base_calloc(h->tensor_count, sizeof *s->base.tensors);
    if (!s->base.tensors) return base_no_memory(error, h->tensor_count * sizeof *s->base.tensors);
    s->base.tensor_count = h->tensor_count;
    s->base.header_order = h->header_order;
    for (size_t i = 0; i < h->tensor_count; i++) {
        const file_tensor *f = &h->tensors[i];
        s->base.tensors[i] = (source_tensor){.name = f->name,
                                             .name_bytes = f->name_bytes,
                                             .dtype = f->dtype,
                                             .rank = f->rank,
                                             .shape = f->shape,
                                             .elements = f->elements,
                                             .bytes = f->end - f->begin,
                                             .stored_bytes = f->end - f->begin,
                                             .depth = SOURCE_NO_DEPTH,
                                             .plain = true,
                                             .offset = h->data_begin + f->begin};
        if (packed_is_member(s, i)) packed_show_member(s, i, &s->base.tensors[i]);
    }
    return packed_look(s, options, error);
}

static void list_metadata(safetensors *s)
{
    const file_header *h = &s->header;
    s->base.metadata = h->metadata;
    s->base.metadata_count = h->metadata_count;
    s->base.header_bytes = h->header_bytes;
    for (size_t i = 0; i < h->metadata_count; i++)
        if (h->metadata[i].key_bytes == sizeof SOURCE_PACKED_KEY - 1 && !strcmp(h->metadata[i].key, SOURCE_PACKED_KEY))
            s->base.own_key = &h->metadata[i];
}

static void close_source(source *base)
{
    safetensors *s = (safetensors *)(void *)base;
    for (size_t i = 0; i < base->tensor_count; i++) {
        if (base->tensors[i].shape != s->header.tensors[i].shape)
            base_free((uint64_t *)(uintptr_t)base->tensors[i].shape);
        base_free(base->tensors[i].damage);
    }
    for (size_t i = 0; base->files && i < base->file_count; i++) file_source_close(base->files[i]);
    base_free(base->files);
    base_free(base->tensors);
    packed_pool_close(s);
    file_header_free(&s->header);
    file_tree_free(&s->key);
    base_free(s->text);
    base_free(s->original_header);
    base_free(s);
}

static fpr_status open_source(file_source *file, const source_options *options, source **out, fpr_error *error)
{
    *out = NULL;
    safetensors *s = base_calloc(1, sizeof *s);
    file_source **files = base_alloc(1, sizeof *files);
    if (!s || !files) {
        base_free(s);
        base_free(files);
        file_source_close(file);
        return base_no_memory(error, sizeof *s);
    }
    files[0] = file;
    pthread_mutex_init(&s->pool_lock, NULL);
    s->base = (source){.format = &source_safetensors, .variant = "safetensors", .key = "", .files = files, .file_count = 1};
    fpr_status status = file_header_read(file, &s->header, &s->text, error);
    if (!status) list_metadata(s);
    if (!status) status = packed_open(s, error);
    if (!status) status = packed_pool(s, error);
    if (!status) status = list_tensors(s, options, error);
    file_tree_free(&s->key);
    if (status) close_source(&s->base);
    else *out = &s->base;
    return status;
}

const source_format source_safetensors = {
    .name = "safetensors",
    .open = open_source,
    .close = close_source,
    .header = packed_header,
    .check = packed_check,
    .decode = packed_decode,
};

/* The packed checkpoint: its own key in __metadata__, its blobs, its check, and the header that it restores. */
#include "source/packed.h"

#include <stdio.h>

#define READ_CHUNK (1u << 20)

/* ---------------------------------------------------------------- the key */

/* As our writer puts it, so that the digits are found in the raw header: see out/writer.c. */
#define CHECK_PREFIX "\"" SOURCE_PACKED_KEY "\":\"{\\\"format\\\":1,\\\"reader\\\":%u,\\\"check\\\":\\\""

/* 16 of 0123456789abcdef: no other spelling is a check. */
static bool read_check(const file_value *text, uint64_t *check)
{
    *check = 0;
    if (!source_is_digits(text)) return false;
    for (size_t i = 0; i < 16; i++) {
        const char c = text->text[i];
        *check = *check << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

/* Of shards. Files made before there were sets say nothing. */
static fpr_status read_set(safetensors *s, fpr_error *error)
{
    const file_value *set = file_value_get(s->key.root, "set");
    if (set && !source_is_digits(set)) return packed_bad_key(error, "names no set of shards");
    if (set) memcpy(s->base.set, set->text, sizeof s->base.set);
    return FPR_OK;
}

static fpr_status read_key(safetensors *s, const file_metadata *entry, fpr_error *error)
{
    fpr_status status = file_tree_read(entry->value, entry->value_bytes, false, FPR_BAD_PACKED, &s->key, error);
    const file_value *root = s->key.root;
    if (status == FPR_BAD_PACKED || (!status && !file_value_is(root, FILE_OBJECT)))
        return packed_bad_key(error, "is no JSON object");
    if (status) return status;
    const file_value *reader = file_value_get(root, "reader"), *header = file_value_get(root, "header");
    const file_value *data = file_value_get(root, "data");
    if (!file_value_is(reader, FILE_INTEGER) || file_value_integer(reader) < 1) {
        status = packed_bad_key(error, "names no reader version");
    } else if (file_value_integer(reader) > PACK_READER) {
        status = base_fail(error, FPR_TOO_NEW, "needs a reader of packed format %lld; this one reads up to %u",
                           (long long)file_value_integer(reader), PACK_READER);
    } else if (data) {
        /* A dense file that says how it was made: any reader's. Whether that is still true only verify asks. */
        s->base.packed = false;
        s->states_data = true;
        if (!read_check(data, &s->check)) status = packed_bad_key(error, "has no checksum of the data");
    } else if (!file_value_is(header, FILE_STRING) || !read_check(file_value_get(root, "check"), &s->check)) {
        status = packed_bad_key(error, "has no original header or no checksum");
    } else if (!file_value_is(file_value_get(root, "tensors"), FILE_OBJECT)) {
        status = packed_bad_key(error, "has no index of the tensors");
    } else {
        s->original_header = base_copy_text(header->text, header->bytes);
        if (!s->original_header) status = base_no_memory(error, header->bytes);
        char prefix[sizeof CHECK_PREFIX + 8];
        const size_t bytes = (size_t)snprintf(prefix, sizeof prefix, CHECK_PREFIX, (unsigned)file_value_integer(reader));
        const char *at = memmem(s->text, s->header.header_bytes, prefix, bytes);
        /* Rewritten by another tool, the entry says nothing about the bytes as they are now. */
        if (at) s->check_offset = (uint64_t)(at - s->text) + bytes;
        else if (!status) status = packed_bad_key(error, "has been rewritten");
    }
    return status ? status : read_set(s, error);
}

fpr_status packed_open(safetensors *s, fpr_error *error)
{
    s->check_offset = UINT64_MAX;
    if (!s->base.own_key) return FPR_OK;
    s->base.packed = true;
    return read_key(s, s->base.own_key, error);
}

/* ---------------------------------------------------------------- blobs */

static bool could_be_packed(const file_tensor *t)
{
    return t->dtype == FPR_U8 && t->rank == 1 && t->end - t->begin >= 16;
}

/* What the index of the file says of a tensor, if anything: under its name or, where that holds a NUL byte, under its
 * number in data order. */
static const file_value *entry_of(const safetensors *s, size_t tensor)
{
    const file_tensor *f = &s->header.tensors[tensor];
    if (strlen(f->name) == f->name_bytes)
        return file_value_get(file_value_get(s->key.root, "tensors"), f->name);
    char number[24];
    snprintf(number, sizeof number, "%zu", tensor);
    return file_value_get(file_value_get(s->key.root, "numbered"), number);
}

/* Whether a tensor may be a blob by what the index says; an entry or its absence decides, where there can be one. */
typedef enum listing { LISTED_PACKED, LISTED_PLAIN, UNLISTED } listing;

static listing look_up(const safetensors *s, size_t tensor)
{
    const file_tensor *f = &s->header.tensors[tensor];
    const file_value *entry = entry_of(s, tensor);
    if (!entry) return s->key.root && strlen(f->name) == f->name_bytes ? LISTED_PLAIN : UNLISTED;
    const char *codec = file_value_text(file_value_get(entry, "codec"));
    return codec && strcmp(codec, "raw") ? LISTED_PACKED : LISTED_PLAIN;
}

/* The index repeats what the tensor says of itself, because readers that only list trust it. */
static bool agrees_with(const source_tensor *t, const file_value *entry)
{
    const char *codec = file_value_text(file_value_get(entry, "codec"));
    const char *dtype = file_value_text(file_value_get(entry, "dtype"));
    const file_value *shape = file_value_get(entry, "shape"), *bytes = file_value_get(entry, "bytes");
    if (!codec || strcmp(codec, t->packed ? t->codec : "raw") || !dtype || strcmp(dtype, fpr_dtype_name(t->dtype)))
        return false;
    if (!file_value_is(shape, FILE_ARRAY) || shape->count != t->rank) return false;
    for (const file_value *v = shape->first; v; v = v->next)
        if (!file_value_is(v, FILE_INTEGER) || (uint64_t)file_value_integer(v) != t->shape[v->place]) return false;
    return file_value_is(bytes, FILE_INTEGER) && (uint64_t)file_value_integer(bytes) == t->bytes;
}

static fpr_status note_damage(source_tensor *t, const fpr_error *damage, const char *path, fpr_error *error)
{
    t->damage = base_alloc(1, sizeof *t->damage);
    if (!t->damage) return base_no_memory(error, sizeof *t->damage);
    *t->damage = *damage;
    base_error_in_file(t->damage, path);
    base_error_in_tensor(t->damage, t->name);
    return FPR_OK;
}

static fpr_status show_restored(source_tensor *t, const pack_info *info, fpr_error *error)
{
    uint64_t *shape = base_alloc(info->rank, sizeof *shape);
    if (!shape) return base_no_memory(error, info->rank * sizeof *shape);
    memcpy(shape, info->shape, info->rank * sizeof *shape);
    t->shape = shape;
    t->rank = info->rank;
    t->dtype = info->dtype;
    t->elements = 1;
    for (unsigned d = 0; d < info->rank; d++) t->elements *= shape[d];
    t->bytes = info->bytes;
    t->codec = info->codec;
    t->changed = !info->lossless;
    return FPR_OK;
}

/* Shows what a blob restores to, or notes its damage. */
static fpr_status look_inside(safetensors *s, size_t tensor, const source_options *options, fpr_error *error)
{
    source_tensor *t = &s->base.tensors[tensor];
    const listing listed = look_up(s, tensor);
    if (packed_is_member(s, tensor) || s->states_data || listed == LISTED_PLAIN || !could_be_packed(&s->header.tensors[tensor])) return FPR_OK;
    uint8_t head[PACK_HEAD_MAX];
    size_t n = t->stored_bytes < sizeof head ? (size_t)t->stored_bytes : sizeof head;
    fpr_status status = file_source_read(s->base.files[0], t->offset, head, n, error);
    if (status) return status;
    if (listed == UNLISTED && !pack_is_blob(head, n)) return FPR_OK;
    pack_info info;
    fpr_error damage = {0};
    status = pack_peek(head, n, t->stored_bytes, &info, &damage);
    if (!status && pack_is_pool(&info)) /* where another has its place */
        status = base_fail(&damage, FPR_BAD_PACKED, "packed tensor: is a pool, which the file does not name");
    /* Bytes that begin like a blob by chance are no damaged one, unless the index says that there must be one. */
    if (status == FPR_BAD_PACKED && listed == UNLISTED) return FPR_OK;
    t->packed = s->base.packed = true;
    t->plain = false;
    if (!status) return show_restored(t, &info, error);
    if (options->keep_damaged && status != FPR_TOO_NEW)
        return note_damage(t, &damage, file_source_path(s->base.files[0]), error);
    if (error) *error = damage;
    base_error_in_tensor(error, t->name);
    return status;
}

static fpr_status look(safetensors *s, size_t tensor, const source_options *options, fpr_error *error)
{
    source_tensor *t = &s->base.tensors[tensor];
    fpr_status status = look_inside(s, tensor, options, error);
    const file_value *entry = entry_of(s, tensor);
    if (status || t->damage || !entry || agrees_with(t, entry)) return status;
    fpr_error damage = {0};
    base_fail(&damage, FPR_BAD_PACKED, "the index in __metadata__ says otherwise than the tensor itself");
    if (options->keep_damaged) return note_damage(t, &damage, file_source_path(s->base.files[0]), error);
    if (error) *error = damage;
    base_error_in_tensor(error, t->name);
    return FPR_BAD_PACKED;
}

fpr_status packed_look(safetensors *s, const source_options *options, fpr_error *error)
{
    const file_value *named = file_value_get(s->key.root, "tensors"), *numbered = file_value_get(s->key.root, "numbered");
    size_t listed = named ? named->count : 0, found = 0;
    fpr_status status = FPR_OK;
    if (s->states_data) return FPR_OK;
    for (size_t i = 0; !status && i < s->base.tensor_count; i++) {
        status = look(s, i, options, error);
        found += entry_of(s, i) != NULL;
    }
    if (file_value_is(numbered, FILE_OBJECT)) listed += numbered->count;
    return status || found == listed ? status : packed_bad_key(error, "lists a tensor that the file does not have");
}

fpr_status packed_decode(const source *base, size_t tensor, unsigned threads, void *dst, fpr_error *error)
{
    const source_tensor *t = &base->tensors[tensor];
    if (packed_is_member((const safetensors *)(const void *)base, tensor)) return packed_decode_member(base, tensor, threads, dst, error);
    uint8_t *blob = base_alloc_aligned(t->stored_bytes, 1);
    if (!blob) return base_no_memory(error, t->stored_bytes);
    fpr_status status = source_read_file(base->files[0], t->offset, t->stored_bytes, threads, blob, error);
    if (!status) status = pack_decode(blob, t->stored_bytes, threads, dst, t->bytes, error);
    base_free(blob);
    return status;
}

/* ---------------------------------------------------------------- the header that is restored */

/* What comes out must be a header of exactly these tensors: the checksum covers its text, this its meaning. */
static fpr_status agrees(const source *s, const char *text, size_t bytes, fpr_error *error)
{
    file_header parsed = {0};
    uint64_t dense_bytes = 0;
    for (size_t i = 0; i < s->tensor_count; i++) dense_bytes += s->tensors[i].bytes;
    fpr_status status = file_header_parse(text, bytes, dense_bytes, &parsed, error);
    if (status == FPR_BAD_HEADER)
        status = base_fail(error, FPR_BAD_PACKED, "the original header kept in the file is no valid header");
    bool same = !status && parsed.tensor_count == s->tensor_count;
    for (size_t i = 0; same && i < s->tensor_count; i++) {
        const source_tensor *t = &s->tensors[i];
        const file_tensor *p = &parsed.tensors[i];
        same = p->name_bytes == t->name_bytes && !memcmp(p->name, t->name, t->name_bytes) && p->dtype == t->dtype &&
               p->rank == t->rank && (!t->rank || !memcmp(p->shape, t->shape, t->rank * sizeof *t->shape));
    }
    if (!status && !same)
        status = base_fail(error, FPR_BAD_PACKED, "the original header kept in the file is of other tensors");
    file_header_free(&parsed);
    return status;
}

fpr_status packed_header(const source *base, const file_text *like, char **text, size_t *bytes, fpr_error *error)
{
    const safetensors *s = (const safetensors *)(const void *)base;
    *text = NULL;
    if (!base->packed) {
        *text = base_copy_text(s->text, (size_t)s->header.header_bytes);
        *bytes = (size_t)s->header.header_bytes;
        return *text ? FPR_OK : base_no_memory(error, s->header.header_bytes);
    }
    const char *stored = s->original_header ? s->original_header : "canonical";
    fpr_status status = pack_header_decode(stored, like->bytes, like->count, text, bytes, error);
    if (!status) status = agrees(base, *text, *bytes, error);
    if (status) {
        base_error_in_file(error, file_source_path(base->files[0]));
        base_free(*text);
        *text = NULL;
    }
    return status;
}

/* ---------------------------------------------------------------- the check over header and raw tensors */

static fpr_status hash_raw(const source *s, file_hash *raw, uint8_t *buffer, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < s->tensor_count; i++) {
        const source_tensor *t = &s->tensors[i];
        for (uint64_t at = 0, n; !status && !t->packed && at < t->bytes; at += n) {
            n = t->bytes - at < READ_CHUNK ? t->bytes - at : READ_CHUNK;
            status = base_check_cancelled(error);
            if (!status) status = file_source_read(s->files[0], t->offset + at, buffer, n, error);
            if (!status) file_hash_add(raw, buffer, n);
        }
    }
    return status;
}

fpr_status packed_check(const source *base, fpr_error *error)
{
    const safetensors *s = (const safetensors *)(const void *)base;
    if (s->check_offset == UINT64_MAX && !s->states_data) return FPR_OK;
    uint8_t *buffer = base_alloc(READ_CHUNK, 1);
    file_hash *raw = file_hash_new(), *all = file_hash_new();
    fpr_status status = buffer && raw && all ? FPR_OK : base_no_memory(error, READ_CHUNK);
    if (!status) status = hash_raw(base, raw, buffer, error);
    uint8_t digits[8];
    const uint64_t of_raw = raw ? file_hash_end(raw) : 0;
    base_store_le64(digits, of_raw);
    if (all && !s->states_data) {
        file_hash_add(all, s->text, s->check_offset);
        file_hash_add(all, "0000000000000000", 16);
        file_hash_add(all, s->text + s->check_offset + 16, s->header.header_bytes - s->check_offset - 16);
        file_hash_add(all, digits, 8);
    }
    uint64_t hash = all ? file_hash_end(all) : 0;
    base_free(buffer);
    if (!status && s->states_data && of_raw != s->check) {
        status = base_fail(error, FPR_BAD_PACKED, "the data is not what was written: what __metadata__ says of it may be untrue");
        base_error_in_file(error, file_source_path(base->files[0]));
    }
    if (s->states_data) return status;
    if (!status && hash != s->check) {
        status = base_fail(error, FPR_BAD_PACKED, "checksum of the header and the raw tensors differs: the file is damaged");
        base_error_in_file(error, file_source_path(base->files[0]));
    }
    return status;
}

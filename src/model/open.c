/* Opening a checkpoint: one file, or an index and its shards; what is packed in it is found here. */
#include "model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <fcntl.h>

/* A shard index names every tensor once; this is far more than any real one. */
#define INDEX_BYTES_MAX (100u << 20)

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

/* ---------------------------------------------------------------- the packed file's own metadata */

/* As our writer puts it, so that the digits are found in the raw header: see writer.c. */
static const char check_prefix[] = "\"" JOB_METADATA_KEY "\":\"{\\\"format\\\":1,\\\"reader\\\":1,\\\"check\\\":\\\"";

static fpr_status bad_key(fpr_error *error, const char *what)
{
    return base_fail(error, FPR_BAD_PACKED, "__metadata__ key '%s': %s", JOB_METADATA_KEY, what);
}

static fpr_status read_key(model_shard *shard, const file_metadata *entry, fpr_error *error)
{
    fpr_status status = file_tree_read(entry->value, entry->value_bytes, false, FPR_BAD_PACKED, &shard->key, error);
    const file_value *root = shard->key.root;
    if (status == FPR_BAD_PACKED || (!status && !file_value_is(root, FILE_OBJECT)))
        return bad_key(error, "is no JSON object");
    if (status) return status;
    const file_value *reader = file_value_get(root, "reader"), *header = file_value_get(root, "header");
    const file_value *check = file_value_get(root, "check");
    if (!file_value_is(reader, FILE_INTEGER)) {
        status = bad_key(error, "names no reader version");
    } else if (file_value_integer(reader) > PACK_READER) {
        status = base_fail(error, FPR_TOO_NEW, "needs a reader of packed format %lld; this one reads up to %u",
                           (long long)file_value_integer(reader), PACK_READER);
    } else if (!file_value_is(header, FILE_STRING) || !file_value_is(check, FILE_STRING) || check->bytes != 16) {
        status = bad_key(error, "has no original header or no checksum");
    } else {
        shard->original_header = base_copy_text(header->text, header->bytes);
        if (!shard->original_header) status = base_no_memory(error, header->bytes);
        char *end;
        shard->check = strtoull(check->text, &end, 16);
        const char *at = memmem(shard->text, shard->header.header_bytes, check_prefix, sizeof check_prefix - 1);
        /* Rewritten by another tool, the entry says nothing about the bytes as they are now. */
        if (!*end && at) shard->check_offset = (uint64_t)(at - shard->text) + sizeof check_prefix - 1;
        else if (!status) status = bad_key(error, "has been rewritten");
    }
    return status;
}

/* ---------------------------------------------------------------- tensors */

static bool could_be_packed(const file_tensor *t)
{
    return t->dtype == FPR_U8 && t->rank == 1 && t->end - t->begin >= 16;
}

/* What the index of the shard says of a tensor that may be a blob. */
typedef enum listing { LISTED_PACKED, LISTED_PLAIN, UNLISTED } listing;

static listing look_up(const model_shard *shard, const file_tensor *f)
{
    if (!shard->key.root || strlen(f->name) != f->name_bytes) return UNLISTED;
    const file_value *entry = file_value_get(file_value_get(shard->key.root, "tensors"), f->name);
    const char *codec = file_value_text(file_value_get(entry, "codec"));
    return codec && strcmp(codec, "raw") ? LISTED_PACKED : LISTED_PLAIN;
}

/* Fills the view of a tensor; a packed one shows what it restores to. */
static fpr_status view_tensor(fpr_model *m, size_t shard_index, size_t i, model_tensor *t, fpr_error *error)
{
    model_shard *shard = &m->shards[shard_index];
    const file_tensor *f = &shard->header.tensors[i];
    t->file = f;
    t->view = (fpr_tensor){.name = f->name,
                           .name_bytes = f->name_bytes,
                           .dtype = f->dtype,
                           .rank = f->rank,
                           .shape = f->shape,
                           .elements = f->elements,
                           .bytes = f->end - f->begin,
                           .stored_bytes = f->end - f->begin,
                           .codec = "raw",
                           .lossless = true,
                           .shard = (unsigned)shard_index};
    if (!could_be_packed(f)) return FPR_OK;
    listing listed = look_up(shard, f);
    if (listed == LISTED_PLAIN) return FPR_OK;
    uint8_t head[PACK_HEAD_MAX];
    size_t n = f->end - f->begin < sizeof head ? (size_t)(f->end - f->begin) : sizeof head;
    fpr_status status = file_source_read(shard->source, shard->header.data_begin + f->begin, head, n, error);
    if (status) return status;
    if (listed == UNLISTED && !pack_is_blob(head, n)) return FPR_OK;
    pack_info info;
    status = pack_peek(head, n, f->end - f->begin, &info, &t->damage);
    /* Bytes that begin like a blob by chance are no damaged one, unless the index says that there must be one. */
    if (status == FPR_BAD_PACKED && listed == UNLISTED) {
        t->damage = (fpr_error){0};
        return FPR_OK;
    }
    t->view.packed = true;
    shard->packed = true;
    if (status) {
        base_error_in_file(&t->damage, shard->path);
        base_error_in_tensor(&t->damage, f->name);
        return FPR_OK;
    }
    uint64_t *shape = base_alloc(info.rank, sizeof *shape);
    if (!shape) return base_no_memory(error, info.rank * sizeof *shape);
    memcpy(shape, info.shape, info.rank * sizeof *shape);
    t->view.shape = shape;
    t->view.rank = info.rank;
    t->view.dtype = info.dtype;
    t->view.elements = 1;
    for (unsigned d = 0; d < info.rank; d++) t->view.elements *= shape[d];
    t->view.bytes = info.bytes;
    t->view.codec = info.codec;
    t->view.lossless = info.lossless;
    return FPR_OK;
}

static int by_name(const void *a, const void *b, void *context)
{
    const model_tensor *t = context;
    const fpr_tensor *x = &t[*(const size_t *)a].view, *y = &t[*(const size_t *)b].view;
    size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(x->name, y->name, n);
    return order ? order : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

static fpr_status list_metadata(fpr_model *m, fpr_error *error)
{
    size_t count = 0;
    for (size_t s = 0; s < m->shard_count; s++) count += m->shards[s].header.metadata_count;
    m->metadata = base_alloc(count, sizeof *m->metadata);
    if (!m->metadata) return base_no_memory(error, count * sizeof *m->metadata);
    for (size_t s = 0; s < m->shard_count; s++) {
        const file_header *h = &m->shards[s].header;
        for (size_t i = 0; i < h->metadata_count; i++)
            if (strcmp(h->metadata[i].key, JOB_METADATA_KEY)) m->metadata[m->metadata_count++] = &h->metadata[i];
    }
    return FPR_OK;
}

static fpr_status list_tensors(fpr_model *m, bool keep_damaged, fpr_error *error)
{
    for (size_t s = 0; s < m->shard_count; s++) {
        m->shards[s].first = m->tensor_count;
        m->tensor_count += m->shards[s].header.tensor_count;
    }
    m->tensors = base_calloc(m->tensor_count, sizeof *m->tensors);
    m->by_name = base_alloc(m->tensor_count, sizeof *m->by_name);
    if (!m->tensors || !m->by_name) return base_no_memory(error, m->tensor_count * sizeof *m->tensors);
    for (size_t s = 0, i = 0; s < m->shard_count; s++) {
        for (size_t j = 0; j < m->shards[s].header.tensor_count; j++, i++) {
            m->by_name[i] = i;
            fpr_status status = view_tensor(m, s, j, &m->tensors[i], error);
            if (status) return status;
            if (m->tensors[i].damage.status && (!keep_damaged || m->tensors[i].damage.status == FPR_TOO_NEW)) {
                if (error) *error = m->tensors[i].damage;
                return m->tensors[i].damage.status;
            }
        }
    }
    qsort_r(m->by_name, m->tensor_count, sizeof *m->by_name, by_name, m->tensors);
    for (size_t s = 0; s < m->shard_count; s++) file_tree_free(&m->shards[s].key);
    return list_metadata(m, error);
}

static void vote_layout(fpr_model *m)
{
    long votes = 0;
    for (size_t i = 0; i < m->tensor_count; i++) {
        const fpr_tensor *t = &m->tensors[i].view;
        votes += conv_layout_vote(t->dtype, t->rank, t->shape);
    }
    m->layout = votes > 0 ? FPR_LAYOUT_HWIO : FPR_LAYOUT_OIHW;
}

/* ---------------------------------------------------------------- files */

static fpr_status open_shard(model_shard *shard, fpr_error *error)
{
    shard->check_offset = UINT64_MAX;
    fpr_status status = file_source_open(shard->path, &shard->source, error);
    if (!status) status = file_header_read(shard->source, &shard->header, &shard->text, error);
    for (size_t i = 0; !status && i < shard->header.metadata_count; i++) {
        const file_metadata *entry = &shard->header.metadata[i];
        if (entry->key_bytes != sizeof JOB_METADATA_KEY - 1 || strcmp(entry->key, JOB_METADATA_KEY)) continue;
        shard->packed = true;
        status = read_key(shard, entry, error);
    }
    if (status) base_error_in_file(error, shard->path);
    return status;
}

static fpr_status read_index(const char *path, char **text, size_t *bytes, fpr_error *error)
{
    file_source *source;
    fpr_status status = file_source_open(path, &source, error);
    if (status) return status;
    uint64_t n = file_source_size(source);
    if (n > INDEX_BYTES_MAX) {
        status = base_fail(error, FPR_BAD_INDEX, "an index of %llu bytes is larger than %u",
                           (unsigned long long)n, INDEX_BYTES_MAX);
    } else if (!(*text = base_alloc(n + 1, 1))) {
        status = base_no_memory(error, n + 1);
    } else {
        (*text)[n] = 0;
        *bytes = n;
        status = file_source_read(source, 0, *text, n, error);
    }
    file_source_close(source);
    return status;
}

/* A shard lies beside its index: a name with a slash, or one that climbs, is refused. */
static bool plain_name(const char *name, size_t bytes)
{
    return bytes > 0 && strlen(name) == bytes && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The distinct file names of weight_map, sorted; borrowed from map. */
static fpr_status shard_names(const file_value *map, const char ***names, size_t *count, fpr_error *error)
{
    size_t n = 0;
    *names = base_alloc(map->count, sizeof **names);
    if (!*names) return base_no_memory(error, map->count * sizeof **names);
    for (const file_value *v = map->first; v; v = v->next) {
        if (v->kind != FILE_STRING || !plain_name(v->text, v->bytes)) {
            fpr_status status = base_fail(error, FPR_BAD_INDEX, "weight_map names a shard that is no plain file name");
            base_error_in_tensor(error, v->key);
            return status;
        }
        (*names)[n++] = v->text;
    }
    qsort(*names, n, sizeof **names, by_text);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp((*names)[i], (*names)[*count - 1])) (*names)[(*count)++] = (*names)[i];
    return FPR_OK;
}

static fpr_status open_shards(fpr_model *m, const file_value *map, fpr_error *error)
{
    const char **names = NULL;
    size_t count = 0;
    fpr_status status = shard_names(map, &names, &count, error);
    if (!status && !(m->shards = base_calloc(count, sizeof *m->shards)))
        status = base_no_memory(error, count * sizeof *m->shards);
    const char *slash = strrchr(m->path, '/');
    size_t folder = slash ? (size_t)(slash - m->path) + 1 : 0;
    for (size_t i = 0; !status && i < count; i++) {
        model_shard *shard = &m->shards[i];
        m->shard_count++;
        size_t n = strlen(names[i]);
        shard->name = base_copy_text(names[i], n);
        shard->path = base_alloc(folder + n + 1, 1);
        if (!shard->name || !shard->path) {
            status = base_no_memory(error, folder + n + 1);
            break;
        }
        memcpy(shard->path, m->path, folder);
        memcpy(shard->path + folder, names[i], n + 1);
        if (access(shard->path, F_OK) != 0 && errno == ENOENT) {
            status = base_fail(error, FPR_BAD_INDEX, "the index names a shard that is missing: %s", names[i]);
            base_error_in_file(error, m->path);
        } else {
            status = open_shard(shard, error);
        }
    }
    base_free(names);
    return status;
}

/* Every tensor of the index lies in the shard it names, and no shard holds one that the index does not know. */
static fpr_status check_index(const fpr_model *m, const file_value *map, fpr_error *error)
{
    for (size_t i = 0; i < m->tensor_count; i++) {
        const fpr_tensor *t = &m->tensors[i].view;
        const char *named = strlen(t->name) == t->name_bytes ? file_value_text(file_value_get(map, t->name)) : NULL;
        const char *shard = m->shards[t->shard].name;
        if (named && !strcmp(named, shard)) continue;
        fpr_status status =
            named ? base_fail(error, FPR_BAD_INDEX, "the index puts this tensor in %s, but %s holds it", named, shard)
                  : base_fail(error, FPR_BAD_INDEX, "%s holds a tensor that the index does not name", shard);
        base_error_in_tensor(error, t->name);
        return status;
    }
    if (map->count == m->tensor_count) return FPR_OK;
    for (const file_value *v = map->first; v; v = v->next) {
        if (fpr_model_find(m, v->key)) continue;
        base_fail(error, FPR_BAD_INDEX, "the index puts this tensor in %s, which does not hold it", v->text);
        base_error_in_tensor(error, v->key);
        break;
    }
    return FPR_BAD_INDEX;
}

static fpr_status open_index(fpr_model *m, bool keep_damaged, fpr_error *error)
{
    fpr_status status = read_index(m->path, &m->index_text, &m->index_bytes, error);
    if (status) return status;
    file_tree tree;
    status = file_tree_read(m->index_text, m->index_bytes, true, FPR_BAD_INDEX, &tree, error);
    const file_value *map = file_value_get(tree.root, "weight_map");
    if (!status && !file_value_is(map, FILE_OBJECT)) {
        status = base_fail(error, FPR_BAD_INDEX, "no object weight_map in the index");
    } else if (!status) {
        m->is_index = true;
        status = open_shards(m, map, error);
        if (!status) status = list_tensors(m, keep_damaged, error);
        if (!status) status = check_index(m, map, error);
    }
    if (status) base_error_in_file(error, m->path);
    file_tree_free(&tree);
    return status;
}

static fpr_status open_one(fpr_model *m, bool keep_damaged, fpr_error *error)
{
    m->shards = base_calloc(1, sizeof *m->shards);
    char *path = base_copy_text(m->path, strlen(m->path));
    if (!m->shards || !path) {
        base_free(path);
        return base_no_memory(error, sizeof *m->shards);
    }
    m->shard_count = 1;
    m->shards->path = path;
    fpr_status status = open_shard(m->shards, error);
    return status ? status : list_tensors(m, keep_damaged, error);
}

fpr_status model_open(const char *path, bool keep_damaged, fpr_model **model, fpr_error *error)
{
    *model = NULL;
    fpr_model *m = base_calloc(1, sizeof *m);
    if (m) m->path = base_copy_text(path, strlen(path));
    if (m) m->buffers = base_calloc(2, sizeof *m->buffers);
    fpr_status status = m && m->path && m->buffers ? FPR_OK : base_no_memory(error, sizeof *m);
    if (!status)
        status = ends_with(path, ".index.json") ? open_index(m, keep_damaged, error) : open_one(m, keep_damaged, error);
    if (status) {
        base_error_in_file(error, path);
        fpr_model_close(m);
        return status;
    }
    for (size_t s = 0; s < m->shard_count; s++) m->bytes += file_source_size(m->shards[s].source);
    vote_layout(m);
    *model = m;
    return FPR_OK;
}

FPR_API fpr_status fpr_model_open(const char *path, fpr_model **model, fpr_error *error)
{
    return model_open(path, false, model, error);
}

FPR_API void fpr_model_close(fpr_model *m)
{
    if (!m) return;
    for (size_t i = 0; m->tensors && i < m->tensor_count; i++)
        if (m->tensors[i].view.shape != (m->tensors[i].file ? m->tensors[i].file->shape : NULL))
            base_free((uint64_t *)(uintptr_t)m->tensors[i].view.shape);
    for (size_t s = 0; s < m->shard_count; s++) {
        model_shard *shard = &m->shards[s];
        file_source_close(shard->source);
        file_header_free(&shard->header);
        file_tree_free(&shard->key);
        base_free(shard->text);
        base_free(shard->original_header);
        base_free(shard->path);
        base_free(shard->name);
    }
    base_free(m->shards);
    base_free(m->tensors);
    base_free(m->by_name);
    base_free(m->metadata);
    base_free(m->index_text);
    for (unsigned i = 0; m->buffers && i < 2; i++) base_free(m->buffers[i].bytes);
    base_free(m->buffers);
    base_free(m->path);
    base_free(m);
}

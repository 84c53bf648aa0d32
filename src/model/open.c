/* Opening a checkpoint: one file, or an index and its shards. */
#include "model/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A shard index names every tensor once; this is far more than any real one. */
#define INDEX_BYTES_MAX (100u << 20)

/* ---------------------------------------------------------------- tensors */

static int by_name(const void *a, const void *b, void *context)
{
    const fpr_tensor *t = context;
    const fpr_tensor *x = &t[*(const size_t *)a], *y = &t[*(const size_t *)b];
    size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(x->name, y->name, n);
    return order ? order : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

/* Where the reference implementation of safetensors puts a tensor: wide dtypes first, then by name. */
static int as_written(const void *a, const void *b, void *context)
{
    const source_tensor *t = context;
    const source_tensor *x = &t[*(const size_t *)a], *y = &t[*(const size_t *)b];
    if (x->dtype != y->dtype) return x->dtype > y->dtype ? -1 : 1;
    size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(x->name, y->name, n);
    return order ? order : (x->name_bytes > y->name_bytes) - (x->name_bytes < y->name_bytes);
}

/* A source without an order of its own gets that of the file that is written of it. */
static fpr_status order_tensors(model_shard *shard, fpr_error *error)
{
    const source *from = shard->source;
    const size_t n = from->tensor_count;
    if (from->header_order) return FPR_OK;
    if (n > UINT32_MAX) return base_fail(error, FPR_BAD_HEADER, "%zu tensors are too many", n);
    shard->number = base_alloc(n, sizeof *shard->number);
    shard->order = base_alloc(n, sizeof *shard->order);
    if (!shard->number || !shard->order) return base_no_memory(error, n * sizeof *shard->number);
    for (size_t i = 0; i < n; i++) {
        shard->number[i] = i;
        shard->order[i] = (uint32_t)i;
    }
    if (n) qsort_r(shard->number, n, sizeof *shard->number, as_written, from->tensors);
    return FPR_OK;
}

static fpr_status keep_metadata(model_shard *shard, fpr_error *error)
{
    const source *from = shard->source;
    shard->metadata = base_alloc(from->metadata_count, sizeof *shard->metadata);
    if (!shard->metadata) return base_no_memory(error, from->metadata_count * sizeof *shard->metadata);
    for (size_t i = 0; i < from->metadata_count; i++)
        if (&from->metadata[i] != from->own_key) shard->metadata[shard->metadata_count++] = from->metadata[i];
    return FPR_OK;
}

static fpr_tensor view(const source_tensor *t, size_t shard)
{
    return (fpr_tensor){.name = t->name,
                        .name_bytes = t->name_bytes,
                        .dtype = t->dtype,
                        .rank = t->rank,
                        .shape = t->shape,
                        .elements = t->elements,
                        .bytes = t->bytes,
                        .stored_bytes = t->stored_bytes,
                        .codec = t->codec ? t->codec : "raw",
                        .packed = t->packed,
                        .lossless = !t->changed,
                        .shard = (unsigned)shard,
                        .kind = t->kind,
                        .layer_kind = t->layer_kind ? t->layer_kind : t->kind,
                        .groups = t->groups,
                        .depth = t->depth,
                        .layout = t->layout,
                        .layer = t->layer};
}

/* What each tensor is, and in which order weights are laid out. */
static fpr_status find_roles(fpr_model *m, fpr_error *error)
{
    conv_tensor *tensors = base_alloc(m->tensor_count, sizeof *tensors);
    m->roles = base_alloc(m->tensor_count, sizeof *m->roles);
    fpr_status status = tensors && m->roles ? FPR_OK : base_no_memory(error, m->tensor_count * sizeof *tensors);
    for (size_t i = 0; !status && i < m->tensor_count; i++) tensors[i] = model_conv_tensor(m, i);
    if (!status) {
        conv_roles(tensors, m->by_name, m->tensor_count, m->roles);
        m->layout = conv_roles_layout(tensors, m->roles, m->tensor_count, &m->layout_by);
    }
    base_free(tensors);
    return status;
}

static fpr_status list_tensors(fpr_model *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < m->shard_count; s++) {
        model_shard *shard = &m->shards[s];
        shard->first = m->tensor_count;
        shard->first_file = m->file_count;
        m->tensor_count += shard->source->tensor_count;
        m->file_count += shard->source->file_count;
        status = order_tensors(shard, error);
        if (!status) status = keep_metadata(shard, error);
    }
    if (status) return status;
    m->tensors = base_calloc(m->tensor_count, sizeof *m->tensors);
    m->by_name = base_alloc(m->tensor_count, sizeof *m->by_name);
    m->files = base_alloc(m->file_count, sizeof *m->files);
    if (!m->tensors || !m->by_name || !m->files) return base_no_memory(error, m->tensor_count * sizeof *m->tensors);
    for (size_t s = 0, i = 0; s < m->shard_count; s++) {
        const model_shard *shard = &m->shards[s];
        for (size_t j = 0; j < shard->source->tensor_count; j++, i++) {
            m->by_name[i] = i;
            m->tensors[i] = view(&shard->source->tensors[model_source_number(shard, j)], s);
        }
        for (size_t f = 0; f < shard->source->file_count; f++) {
            m->files[shard->first_file + f] = shard->source->files[f];
            m->bytes += file_source_size(shard->source->files[f]);
        }
    }
    if (m->tensor_count) qsort_r(m->by_name, m->tensor_count, sizeof *m->by_name, by_name, m->tensors);
    return find_roles(m, error);
}

/* ---------------------------------------------------------------- files */

static fpr_status open_shard(model_shard *shard, const model_options *how, fpr_error *error)
{
    source_options options = {.keep_damaged = how->keep_damaged};
    if (how->options) {
        options.key = how->options->key;
        options.allow_expand = how->options->allow_expand;
        options.cancel = how->options->cancel;
    }
    fpr_status status = source_open(shard->path, &options, &shard->source, error);
    if (status) base_error_in_file(error, shard->path);
    return status;
}

static fpr_status read_index(const char *path, file_source **index, char **text, size_t *bytes, fpr_error *error)
{
    fpr_status status = file_source_open(path, index, error);
    if (status) return status;
    const file_source *file = *index;
    uint64_t n = file_source_size(file);
    if (n > INDEX_BYTES_MAX) {
        status = base_fail(error, FPR_BAD_INDEX, "an index of %llu bytes is larger than %u",
                           (unsigned long long)n, INDEX_BYTES_MAX);
    } else if (!(*text = base_alloc(n + 1, 1))) {
        status = base_no_memory(error, n + 1);
    } else {
        (*text)[n] = 0;
        *bytes = n;
        status = file_source_read(file, 0, *text, n, error);
    }
    return status;
}

/* A shard lies beside its index: a name with a slash, or one that climbs, is refused. */
/* The next part of a path, without what says nothing: of "./a//b", "a", then "b". NULL at the end. */
static const char *next_part(const char **path, size_t *bytes)
{
    for (;;) {
        *path += strspn(*path, "/");
        *bytes = strcspn(*path, "/");
        if (!*bytes) return NULL;
        const char *part = *path;
        *path += *bytes;
        if (*bytes > 1 || *part != '.') return part;
    }
}

/* A file beside the index, or in a folder below, as the reference implementation takes it; none that leads out. */
static bool plain_name(const char *name, size_t bytes)
{
    size_t n, parts = 0;
    if (strlen(name) != bytes || name[0] == '/' || (bytes && name[bytes - 1] == '/')) return false;
    for (const char *part; (part = next_part(&name, &n)); parts++)
        if (n == 2 && !memcmp(part, "..", 2)) return false;
    return parts > 0;
}

/* Its shortest spelling; dst has as many bytes as the name and a NUL. Returns the end. */
static char *put_plain(char *dst, const char *name)
{
    size_t n;
    char *begin = dst;
    for (const char *part; (part = next_part(&name, &n));) {
        if (dst != begin) *dst++ = '/';
        memcpy(dst, part, n);
        dst += n;
    }
    *dst = 0;
    return dst + 1;
}

static bool is_spelling(const char *name, const char *plain)
{
    size_t n;
    bool first = true;
    for (const char *part; (part = next_part(&name, &n)); first = false) {
        if (!first && *plain++ != '/') return false;
        if (strncmp(plain, part, n)) return false;
        plain += n;
    }
    return !*plain;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The distinct file names of weight_map, sorted; they stand in *text. */
static fpr_status shard_names(const file_value *map, const char ***names, char **text, size_t *count, fpr_error *error)
{
    size_t n = 0, bytes = 0;
    for (const file_value *v = map->first; v; v = v->next) bytes += v->kind == FILE_STRING ? v->bytes + 1 : 0;
    *names = base_alloc(map->count, sizeof **names);
    char *at = *text = base_alloc(bytes, 1);
    if (!*names || !*text) return base_no_memory(error, map->count * sizeof **names + bytes);
    for (const file_value *v = map->first; v; v = v->next) {
        if (v->kind != FILE_STRING || !plain_name(v->text, v->bytes)) {
            fpr_status status = base_fail(error, FPR_BAD_INDEX, "weight_map names a shard that is no plain file name");
            base_error_in_tensor(error, v->key);
            return status;
        }
        (*names)[n++] = at;
        at = put_plain(at, v->text);
    }
    qsort(*names, n, sizeof **names, by_text);
    *count = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp((*names)[i], (*names)[*count - 1])) (*names)[(*count)++] = (*names)[i];
    return FPR_OK;
}

static fpr_status open_shards(fpr_model *m, const file_value *map, const model_options *how, fpr_error *error)
{
    const char **names = NULL;
    char *text = NULL;
    size_t count = 0;
    fpr_status status = shard_names(map, &names, &text, &count, error);
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
        struct stat is;
        const bool exists = stat(shard->path, &is) == 0;
        if (!exists && errno == ENOENT) {
            status = base_fail(error, FPR_BAD_INDEX, "the index names a shard that is missing: %s", names[i]);
            base_error_in_file(error, m->path);
        } else if (exists && !S_ISREG(is.st_mode)) {
            status = base_fail(error, FPR_BAD_INDEX, "the index names a shard that is no file: %s", names[i]);
            base_error_in_file(error, m->path);
        } else {
            status = open_shard(shard, how, error);
        }
    }
    base_free(names);
    base_free(text);
    return status;
}

/* Every tensor of the index lies in the shard it names, and no shard holds one that the index does not know. */
static fpr_status check_index(const fpr_model *m, const file_value *map, fpr_error *error)
{
    for (size_t i = 0; i < m->tensor_count; i++) {
        const fpr_tensor *t = &m->tensors[i];
        const char *named = strlen(t->name) == t->name_bytes ? file_value_text(file_value_get(map, t->name)) : NULL;
        const char *shard = m->shards[t->shard].name;
        if (named && is_spelling(named, shard)) continue;
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

/* The shards are of one output, all of them, and of the one that the index names, if it does. */
static fpr_status check_set(const fpr_model *m, const file_value *root, fpr_error *error)
{
    const file_value *named = file_value_get(file_value_get(root, "metadata"), SOURCE_INDEX_SET);
    if (named && !source_is_digits(named))
        return base_fail(error, FPR_BAD_INDEX, "metadata." SOURCE_INDEX_SET " is none of ours");
    const char *set = named ? named->text : m->shards[0].source->set;
    for (size_t s = 0; s < m->shard_count; s++)
        if (strcmp(m->shards[s].source->set, set))
            return base_fail(error, FPR_BAD_INDEX, "%s is of another output than %s: shards of two are mixed",
                             m->shards[s].name, named ? "the index" : m->shards[0].name);
    return FPR_OK;
}

/* *made: NAME + end as NAME + other; NULL when it has no such end. */
static fpr_status with_end(const char *name, const char *end, const char *other, char **made, fpr_error *error)
{
    const size_t n = strlen(name), m = strlen(end), bytes = strlen(other) + 1;
    *made = NULL;
    if (n <= m || strcmp(name + n - m, end)) return FPR_OK;
    if (!(*made = base_alloc(n - m + bytes, 1))) return base_no_memory(error, n - m + bytes);
    memcpy(*made, name, n - m);
    memcpy(*made + n - m, other, bytes);
    return FPR_OK;
}

/* Outputs are safetensors: shards that PyTorch wrote are called so in them, if all of them are NAME.bin. */
static fpr_status name_outputs(fpr_model *m, fpr_error *error)
{
    fpr_status status = FPR_OK;
    bool all = true;
    for (size_t s = 0; !status && all && s < m->shard_count; s++) {
        model_shard *shard = &m->shards[s];
        status = with_end(shard->name, ".bin", ".safetensors", &shard->output_name, error);
        all = shard->output_name && shard->source->format != &source_safetensors;
    }
    for (size_t s = 0; !all && s < m->shard_count; s++) {
        base_free(m->shards[s].output_name);
        m->shards[s].output_name = NULL;
    }
    if (status || !all) return status;
    return with_end(model_index_name(m), ".bin.index.json", ".safetensors.index.json", &m->output_index, error);
}

static fpr_status open_index(fpr_model *m, const model_options *how, fpr_error *error)
{
    fpr_status status = read_index(m->path, &m->index_file, &m->index_text, &m->index_bytes, error);
    if (status) return status;
    file_tree tree;
    status = file_tree_read(m->index_text, m->index_bytes, true, FPR_BAD_INDEX, &tree, error);
    const file_value *map = file_value_get(tree.root, "weight_map");
    if (!status && !file_value_is(map, FILE_OBJECT)) {
        status = base_fail(error, FPR_BAD_INDEX, "no object weight_map in the index");
    } else if (!status && !map->first) {
        status = base_fail(error, FPR_BAD_INDEX, "weight_map names no tensor");
    } else if (!status) {
        m->is_index = true;
        status = open_shards(m, map, how, error);
        if (!status) status = name_outputs(m, error);
        if (!status) status = check_set(m, tree.root, error);
        if (!status) status = list_tensors(m, error);
        if (!status) status = check_index(m, map, error);
    }
    if (status) base_error_in_file(error, m->path);
    file_tree_free(&tree);
    return status;
}

static fpr_status open_one(fpr_model *m, const model_options *how, fpr_error *error)
{
    m->shards = base_calloc(1, sizeof *m->shards);
    char *path = base_copy_text(m->path, strlen(m->path));
    if (!m->shards || !path) {
        base_free(path);
        return base_no_memory(error, sizeof *m->shards);
    }
    m->shard_count = 1;
    m->shards->path = path;
    fpr_status status = open_shard(m->shards, how, error);
    return status ? status : list_tensors(m, error);
}

static fpr_status open_path(fpr_model *m, const char *path, const model_options *how, fpr_error *error)
{
    fpr_status status = model_find_in_folder(path, &m->path, error);
    if (status) return status;
    if (!m->path) m->path = base_copy_text(path, strlen(path));
    m->buffers = base_calloc(2, sizeof *m->buffers);
    if (!m->path || !m->buffers) return base_no_memory(error, strlen(path));
    return fpr_is_index(m->path) ? open_index(m, how, error) : open_one(m, how, error);
}

fpr_status model_open(const char *path, const model_options *how, fpr_model **model, fpr_error *error)
{
    *model = NULL;
    fpr_model *m = base_calloc(1, sizeof *m);
    if (!m) return base_no_memory(error, sizeof *m);
    fpr_status status = open_path(m, path, how, error);
    if (status) {
        base_error_in_file(error, m->path ? m->path : path);
        fpr_model_close(m);
        return status;
    }
    *model = m;
    return FPR_OK;
}

FPR_API fpr_status fpr_model_open(const char *path, fpr_model **model, fpr_error *error)
{
    return model_open(path, &(model_options){0}, model, error);
}

FPR_API fpr_status fpr_model_open_with(const char *path, const fpr_options *options, fpr_model **model, fpr_error *error)
{
    return model_open(path, &(model_options){.options = options}, model, error);
}

FPR_API void fpr_model_close(fpr_model *m)
{
    if (!m) return;
    for (size_t s = 0; s < m->shard_count; s++) {
        model_shard *shard = &m->shards[s];
        source_close(shard->source);
        base_free(shard->number);
        base_free(shard->order);
        base_free(shard->metadata);
        base_free(shard->path);
        base_free(shard->name);
        base_free(shard->output_name);
    }
    base_free(m->shards);
    base_free(m->tensors);
    base_free(m->by_name);
    base_free(m->roles);
    base_free(m->files);
    file_source_close(m->index_file);
    base_free(m->index_text);
    base_free(m->output_index);
    for (unsigned i = 0; m->buffers && i < 2; i++) base_free(m->buffers[i].bytes);
    base_free(m->buffers);
    base_free(m->path);
    base_free(m);
}

/* The header of a safetensors file, strictly by the rules of the format.
 *
 * The rules are those of the format's description (github.com/huggingface/safetensors, README, "Format"). The verdict
 * on a file is the reference implementation's, except where that lets pass what the format's text forbids: duplicate
 * keys, white space before the first '{', and spellings of an entry that only its JSON library knows (an array in place
 * of the object, an object in place of a dtype's name).
 *
 * One pass over the text. Strings and shapes go into an arena; what is read of a tensor waits in a list until all are
 * known, and is then put in the order of the data. */

#include "base/xxh.h"
#include "file/file.h"
#include "file/json.h"

#include <stdio.h>
#include <sys/random.h>

typedef unsigned long long number; /* as printf's %llu wants it */

typedef struct found_tensor {
    file_tensor tensor;
    uint32_t name_at, offsets_at; /* places in the text, for messages */
} found_tensor;

typedef struct found_metadata {
    file_metadata entry;
    uint32_t key_at;
} found_metadata;

typedef struct reader {
    file_json json;
    uint64_t data_bytes;
    uint64_t tensors_end; /* of all data, once its order is known */
    found_tensor *tensors;
    size_t tensor_count, tensor_capacity;
    found_metadata *metadata;
    size_t metadata_count, metadata_capacity;
    bool saw_metadata, has_metadata; /* saw: also as null */
} reader;

/* ---- the fields of a tensor */

static bool read_dtype(file_json *j, file_tensor *t)
{
    size_t start = j->at, bytes;
    const char *name;
    file_json_mark mark = file_json_here(j);
    if (file_json_peek(j) != '"') return file_json_unexpected(j, "dtype must be a string");
    if (!file_json_string(j, &name, &bytes)) return false;
    if (!file_dtype_find(name, bytes, &t->dtype)) return file_json_bad(j, start, "unknown dtype \"%.24s\"", name);
    file_json_release(j, mark);
    return true;
}

static bool read_shape(file_json *j, file_tensor *t)
{
    size_t start = j->at;
    if (!file_json_sizes(j, "shape", "a dimension")) return false;
    uint64_t *shape = file_json_keep(j, j->size_count, sizeof *shape);
    if (!shape) return false;
    t->elements = 1;
    /* In this order, as the reference multiplies: what comes after a zero cannot overflow any more. */
    for (size_t i = 0; i < j->size_count; i++) {
        shape[i] = j->sizes[i];
        if (!base_multiply(t->elements, shape[i], &t->elements))
            return file_json_bad(j, start, "the dimensions multiply to more than 64 bits hold");
    }
    t->shape = shape;
    t->rank = (unsigned)j->size_count;
    return true;
}

static bool read_offsets(file_json *j, file_tensor *t)
{
    size_t start = j->at;
    if (!file_json_sizes(j, "data_offsets", "an offset")) return false;
    if (j->size_count != 2)
        return file_json_bad(j, start, "data_offsets must be two numbers, found %llu", (number)j->size_count);
    t->begin = j->sizes[0];
    t->end = j->sizes[1];
    return true;
}

/* ---- a tensor */

enum { FIELD_DTYPE, FIELD_SHAPE, FIELD_OFFSETS, FIELD_COUNT };
static const char *const fields[FIELD_COUNT] = {"dtype", "shape", "data_offsets"};

static unsigned which_field(const char *key, size_t bytes)
{
    unsigned i = 0;
    while (i < FIELD_COUNT && (strlen(fields[i]) != bytes || memcmp(fields[i], key, bytes) != 0)) i++;
    return i;
}

static bool read_field(file_json *j, unsigned field, file_tensor *t)
{
    switch (field) {
    case FIELD_DTYPE: return read_dtype(j, t);
    case FIELD_SHAPE: return read_shape(j, t);
    case FIELD_OFFSETS: return read_offsets(j, t);
    default: return file_json_skip(j, 2);
    }
}

/* What an entry promises about its own data; where tensors meet is checked when all are known. */
static bool check_extent(file_json *j, const file_tensor *t, uint64_t data_bytes, const size_t at[FIELD_COUNT])
{
    unsigned element = fpr_dtype_bits(t->dtype);
    size_t shape_at = at[FIELD_SHAPE], offsets_at = at[FIELD_OFFSETS];
    uint64_t bits;
    if (!base_multiply(t->elements, element, &bits))
        return file_json_bad(j, shape_at, "%llu elements of %u bits are more than 64 bits count", (number)t->elements,
                             element);
    if (bits % 8)
        return file_json_bad(j, shape_at, "%llu elements of %u bits do not fill whole bytes", (number)t->elements,
                             element);
    if (t->begin > t->end)
        return file_json_bad(j, offsets_at, "data_offsets run backwards, from %llu to %llu", (number)t->begin,
                             (number)t->end);
    if (t->end > data_bytes)
        return file_json_bad(j, offsets_at, "data_offsets end at %llu, past the data section (%llu bytes)",
                             (number)t->end, (number)data_bytes);
    if (t->end - t->begin != bits / 8)
        return file_json_bad(j, offsets_at, "data_offsets span %llu bytes, dtype and shape make %llu",
                             (number)(t->end - t->begin), (number)(bits / 8));
    return true;
}

/* The object of one tensor; its name has been read. */
static bool read_tensor(reader *r, const char *name, size_t name_bytes, size_t name_at)
{
    file_json *j = &r->json;
    j->tensor = name;
    if (file_json_peek(j) != '{') return file_json_unexpected(j, "the entry of a tensor must be an object");
    j->at++;
    file_tensor t = {.name = name, .name_bytes = name_bytes};
    size_t seen[FIELD_COUNT] = {0}; /* where each value begins; 0 is where the header does */
    for (bool first = true;; first = false) {
        const char *key;
        size_t bytes, key_at;
        file_json_mark mark = file_json_here(j);
        file_json_step step = file_json_key(j, first, "the entry of a tensor", &key, &bytes, &key_at);
        if (step == FILE_JSON_FAILED) return false;
        if (step == FILE_JSON_END) break;
        unsigned field = which_field(key, bytes);
        file_json_release(j, mark);
        if (field < FIELD_COUNT) {
            if (seen[field]) return file_json_bad(j, key_at, "%s is given twice", fields[field]);
            seen[field] = j->at;
        }
        if (!read_field(j, field, &t)) return false;
    }
    for (unsigned i = 0; i < FIELD_COUNT; i++)
        if (!seen[i]) return file_json_bad(j, j->at - 1, "%s is missing", fields[i]);
    if (!check_extent(j, &t, r->data_bytes, seen)) return false;
    if (!file_json_grow(j, &r->tensors, r->tensor_count, &r->tensor_capacity, sizeof *r->tensors)) return false;
    r->tensors[r->tensor_count++] = (found_tensor){t, (uint32_t)name_at, (uint32_t)seen[FIELD_OFFSETS]};
    j->tensor = NULL;
    return true;
}

/* ---- __metadata__: null, or an object of strings */

static bool read_metadata(reader *r, size_t key_at)
{
    file_json *j = &r->json;
    if (r->saw_metadata) return file_json_bad(j, key_at, "__metadata__ is given twice");
    r->saw_metadata = true;
    if (file_json_peek(j) == 'n') return file_json_word(j, "null");
    if (file_json_peek(j) != '{') return file_json_unexpected(j, "__metadata__ must be an object of strings");
    j->at++;
    r->has_metadata = true;
    for (bool first = true;; first = false) {
        found_metadata m;
        size_t at;
        file_json_step step = file_json_key(j, first, "__metadata__", &m.entry.key, &m.entry.key_bytes, &at);
        if (step == FILE_JSON_END) return true;
        if (step == FILE_JSON_FAILED) return false;
        if (file_json_peek(j) != '"') return file_json_unexpected(j, "the values of __metadata__ must be strings");
        if (!file_json_string(j, &m.entry.value, &m.entry.value_bytes)) return false;
        m.key_at = (uint32_t)at;
        if (!file_json_grow(j, &r->metadata, r->metadata_count, &r->metadata_capacity, sizeof m)) return false;
        r->metadata[r->metadata_count++] = m;
    }
}

static bool read_header(reader *r)
{
    file_json *j = &r->json;
    if (file_json_peek(j) != '{') return file_json_unexpected(j, "the header must begin with '{'");
    j->at++;
    for (bool first = true;; first = false) {
        const char *key;
        size_t bytes, key_at;
        file_json_step step = file_json_key(j, first, "the header", &key, &bytes, &key_at);
        if (step == FILE_JSON_FAILED) return false;
        if (step == FILE_JSON_END) break;
        bool is_metadata = bytes == 12 && memcmp(key, "__metadata__", 12) == 0;
        if (!(is_metadata ? read_metadata(r, key_at) : read_tensor(r, key, bytes, key_at))) return false;
    }
    if (file_json_skip_space(j) >= 0)
        return file_json_unexpected(j, "only white space may follow the closing '}' of the header");
    return true;
}

/* ---- no name twice */

typedef struct name {
    const char *text;
    size_t bytes;
    uint32_t at;
} name;

static name get_name(const reader *r, bool in_metadata, size_t i)
{
    if (in_metadata) return (name){r->metadata[i].entry.key, r->metadata[i].entry.key_bytes, r->metadata[i].key_at};
    return (name){r->tensors[i].tensor.name, r->tensors[i].tensor.name_bytes, r->tensors[i].name_at};
}

typedef struct slot {
    uint32_t hash, index; /* index counts from 1; 0: free */
} slot;

/* Whether the i-th name is new to the table, by open addressing; enters it. */
static bool enter_name(const reader *r, bool in_metadata, size_t i, slot *slots, uint64_t mask, uint64_t seed)
{
    name n = get_name(r, in_metadata, i);
    uint64_t hash = XXH3_64bits_withSeed(n.text, n.bytes, seed);
    uint32_t high = (uint32_t)(hash >> 32);
    uint64_t at = hash & mask;
    for (; slots[at].index; at = (at + 1) & mask) {
        if (slots[at].hash != high) continue;
        name other = get_name(r, in_metadata, slots[at].index - 1);
        if (other.bytes == n.bytes && memcmp(other.text, n.text, n.bytes) == 0) return false;
    }
    slots[at] = (slot){high, (uint32_t)i + 1};
    return true;
}

static bool check_names(reader *r, bool in_metadata)
{
    size_t count = in_metadata ? r->metadata_count : r->tensor_count, i = 0;
    uint64_t size = 16, seed;
    while (size < 2 * (uint64_t)count) size *= 2;
    slot *slots = base_calloc(size, sizeof *slots);
    if (!slots) return file_json_no_memory(&r->json, size * sizeof *slots);
    /* A random seed, so that no file can be made of names that collide. Where the kernel has no random bytes yet, the
     * place of the table is at least no constant. */
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) seed = (uint64_t)(uintptr_t)slots;
    while (i < count && enter_name(r, in_metadata, i, slots, size - 1, seed)) i++;
    base_free(slots);
    if (i == count) return true;
    name twice = get_name(r, in_metadata, i);
    if (in_metadata) return file_json_bad(&r->json, twice.at, "__metadata__ has the key \"%.64s\" twice", twice.text);
    r->json.tensor = twice.text;
    return file_json_bad(&r->json, twice.at, "a second tensor of this name");
}

/* ---- the order of the data */

typedef struct place {
    uint64_t key;
    uint32_t index;
} place;

/* Sorts tensors by where their data begins, empty ones first, else as in the header: a radix sort, because a hostile
 * order must not cost more than a friendly one. places and spare hold tensor_count each; returns the sorted one. */
static const place *sort_places(const reader *r, place *places, place *spare)
{
    size_t count = r->tensor_count;
    uint64_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        const file_tensor *t = &r->tensors[i].tensor;
        places[i] = (place){t->begin << 1 | (t->end > t->begin), (uint32_t)i}; /* begin <= file size < 2^63 */
        if (places[i].key > largest) largest = places[i].key;
    }
    for (unsigned shift = 0; shift < 64 && largest >> shift; shift += 8) {
        size_t starts[257] = {0};
        for (size_t i = 0; i < count; i++) starts[(places[i].key >> shift & 255) + 1]++;
        for (unsigned d = 0; d < 256; d++) starts[d + 1] += starts[d];
        for (size_t i = 0; i < count; i++) spare[starts[places[i].key >> shift & 255]++] = places[i];
        place *sorted = spare;
        spare = places;
        places = sorted;
    }
    return places;
}

/* Data must follow on data, from the first byte of the section to the last. */
static bool check_tiling(reader *r, const place *sorted)
{
    file_json *j = &r->json;
    uint64_t end = 0;
    for (size_t i = 0; i < r->tensor_count; i++) {
        const found_tensor *f = &r->tensors[sorted[i].index];
        if (f->tensor.begin != end) {
            j->tensor = f->tensor.name;
            return file_json_bad(j, f->offsets_at, "%s: begins at %llu, the data before it ends at %llu",
                                 f->tensor.begin > end ? "a hole in the data" : "overlapping data",
                                 (number)f->tensor.begin, (number)end);
        }
        end = f->tensor.end;
    }
    r->tensors_end = end;
    if (end == r->data_bytes) return true;
    return file_json_bad(j, j->n + end, "the tensors end after %llu bytes of data, the file after %llu", (number)end,
                         (number)r->data_bytes);
}

static bool order_tensors(reader *r, file_header *header)
{
    size_t count = r->tensor_count;
    place *places = base_alloc(2 * (uint64_t)count, sizeof *places);
    if (!places) return file_json_no_memory(&r->json, 2 * (uint64_t)count * sizeof *places);
    const place *sorted = sort_places(r, places, places + count);
    bool good = check_tiling(r, sorted);
    if (good) {
        header->tensors = file_json_keep(&r->json, count, sizeof *header->tensors);
        header->header_order = file_json_keep(&r->json, count, sizeof *header->header_order);
        good = header->tensors && header->header_order;
    }
    for (size_t i = 0; good && i < count; i++) {
        header->tensors[i] = r->tensors[sorted[i].index].tensor;
        header->header_order[sorted[i].index] = (uint32_t)i;
    }
    header->tensor_count = count;
    base_free(places);
    return good;
}

/* Whether all went well stands in r->json.status. */
static void finish(reader *r, file_header *header)
{
    if (!check_names(r, true) || !check_names(r, false) || !order_tensors(r, header)) return;
    header->metadata = file_json_keep(&r->json, r->metadata_count, sizeof *header->metadata);
    if (!header->metadata) return;
    for (size_t i = 0; i < r->metadata_count; i++) header->metadata[i] = r->metadata[i].entry;
    header->metadata_count = r->metadata_count;
    header->has_metadata = r->has_metadata;
    header->header_bytes = r->json.n;
    header->data_begin = 8 + (uint64_t)r->json.n;
    header->data_bytes = r->data_bytes;
    header->memory = r->json.chunks;
}

static fpr_status parse(const char *text, uint64_t n, uint64_t data_bytes, file_header *header, uint64_t *tensors_end,
                        fpr_error *error)
{
    memset(header, 0, sizeof *header);
    reader r = {.json = {.text = text,
                         .n = (size_t)n,
                         .error = error,
                         .invalid = FPR_BAD_HEADER,
                         .whole = "the header",
                         .before = 8},
                .data_bytes = data_bytes};
    if (n > FILE_HEADER_MAX)
        file_json_bad(&r.json, 0, "a header of %llu bytes, the format allows %u", (number)n, FILE_HEADER_MAX);
    else if (read_header(&r))
        finish(&r, header);
    if (r.json.status) {
        file_json_free_chunks(r.json.chunks);
        memset(header, 0, sizeof *header);
    }
    base_free(r.tensors);
    base_free(r.metadata);
    base_free(r.json.sizes);
    *tensors_end = r.tensors_end;
    return r.json.status;
}

fpr_status file_header_parse(const char *text, uint64_t n, uint64_t data_bytes, file_header *header, fpr_error *error)
{
    uint64_t end;
    return parse(text, n, data_bytes, header, &end, error);
}

void file_header_free(file_header *header)
{
    file_json_free_chunks(header->memory);
    memset(header, 0, sizeof *header);
}

/* ---- from a file */

/* What else people keep weights in, told by the first bytes; NULL when it is none of these. */
static const char *guess_format(const uint8_t first[8])
{
    static const struct {
        const char *magic, *format;
    } known[] = {
        {"PK\3\4", "a zip archive (a PyTorch .pt or .pth file?)"},
        {"\x80\x02", "a Python pickle (an old PyTorch file?)"},
        {"GGUF", "a GGUF file"},
        {"\x89HDF", "an HDF5 file (Keras .h5?)"},
        {"\x93NUMPY", "a NumPy .npy file"},
        {"\x1f\x8b", "a gzip file"},
        {"\x28\xb5\x2f\xfd", "a zstd file"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memcmp(first, known[i].magic, strlen(known[i].magic)) == 0) return known[i].format;
    return NULL;
}

static fpr_status read_length(const file_source *source, uint64_t *n, fpr_error *error)
{
    uint64_t size = file_source_size(source);
    uint8_t first[8];
    fpr_status status;
    if (size < sizeof first) {
        status = base_fail(error, FPR_BAD_HEADER, "too short for a safetensors file (%llu bytes)", (number)size);
        base_error_at(error, 0);
        return status;
    }
    status = file_source_read(source, 0, first, sizeof first, error);
    if (status) return status;
    *n = base_load_le64(first);
    if (*n <= FILE_HEADER_MAX && *n <= size - 8) return FPR_OK;
    const char *format = guess_format(first);
    if (format)
        status = base_fail(error, FPR_BAD_HEADER, "is no safetensors file but %s", format);
    else if (*n > FILE_HEADER_MAX)
        status = base_fail(error, FPR_BAD_HEADER,
                           "no safetensors file: its header would take %llu bytes, the format allows %u", (number)*n,
                           FILE_HEADER_MAX);
    else
        status = base_fail(error, FPR_BAD_HEADER, "truncated, or no safetensors file: the header should take %llu bytes, "
                           "the file ends after %llu", (number)*n, (number)(size - 8));
    base_error_at(error, 0);
    return status;
}

/* A header that would do for a longer file: this one is cut short, which is said first. */
static void tell_truncation(const char *text, uint64_t n, uint64_t data_bytes, fpr_error *error)
{
    file_header header;
    uint64_t end = 0;
    if (!error || (parse(text, n, INT64_MAX, &header, &end, NULL) == FPR_OK) || end <= data_bytes) return;
    char found[sizeof error->message];
    memcpy(found, error->message, sizeof found);
    snprintf(error->message, sizeof error->message, "truncated: the file has %llu bytes and should have %llu: %.150s",
             (number)(8 + n + data_bytes), (number)(8 + n + end), found);
}

fpr_status file_header_read(const file_source *source, file_header *header, char **text, fpr_error *error)
{
    memset(header, 0, sizeof *header);
    if (text) *text = NULL;
    uint64_t n = 0;
    char *bytes = NULL;
    fpr_status status = read_length(source, &n, error);
    if (!status && !(bytes = base_alloc(n, 1))) status = base_no_memory(error, n);
    if (!status) status = file_source_read(source, 8, bytes, n, error);
    if (!status) {
        status = file_header_parse(bytes, n, file_source_size(source) - 8 - n, header, error);
        if (status == FPR_BAD_HEADER) tell_truncation(bytes, n, file_source_size(source) - 8 - n, error);
    }
    if (status) base_error_in_file(error, file_source_path(source));
    if (!status && text)
        *text = bytes;
    else
        base_free(bytes);
    return status;
}

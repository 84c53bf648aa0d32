/* JSON documents as trees: the index of a sharded checkpoint, our own key in a file's metadata, a basis.
 *
 * The texts come from strangers. What is accepted is RFC 8259 with an object or array outermost, integers of 64 bits,
 * reals that a double can hold. All memory is ours, so that an allocation that fails is never taken for a broken
 * text. */
#include "file/file.h"
#include "file/json.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>

/* A value takes 56 bytes, and "{}," is three bytes of text: a file of 100 MB would take gigabytes. A hundred thousand
 * tensors need a tenth of this. */
#define VALUES_MAX 4000000u
#define CONTAINERS_MAX 1000000u
/* Objects and arrays open at once, as in headers. Nothing here is recursive; other readers of the same text may be. */
#define DEPTH_MAX FILE_JSON_DEPTH

static bool is_bomb(const char *text, uint64_t n)
{
    size_t values = 0, containers = 0;
    bool quoted = false;
    for (uint64_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted) i += c == '\\';
        else if (c == ',' || c == ':') values++;
        else if (c == '[' || c == '{') containers++;
    }
    return values > VALUES_MAX || containers > CONTAINERS_MAX;
}

/* ---- reading */

/* Where the next value belongs. */
typedef struct position {
    file_value *open;  /* the object or array that is being read */
    file_value **link; /* what is to point to it */
    unsigned depth;
    const char *key;   /* in an object */
    size_t key_bytes, key_at;
} position;

static bool read_string(file_json *j, bool strict, file_value *v)
{
    size_t start = j->at;
    v->kind = FILE_STRING;
    if (!file_json_string(j, &v->text, &v->bytes)) return false;
    if (!strict || strlen(v->text) == v->bytes) return true;
    return file_json_bad(j, start, "a string holds a NUL character");
}

/* strtod takes the point of the current locale, which is the host program's. */
static bool read_real(file_json *j, size_t start, file_value *v)
{
    const char *point = nl_langinfo(RADIXCHAR), *dot = strchr(v->text, '.');
    size_t point_bytes = strlen(point), before = dot ? (size_t)(dot - v->text) : 0;
    char *local = file_json_keep(j, (uint64_t)v->bytes + point_bytes + 1, 1);
    if (!local) return false;
    if (dot) {
        memcpy(local, v->text, before);
        memcpy(local + before, point, point_bytes);
        memcpy(local + before + point_bytes, dot + 1, v->bytes - before);
    } else {
        memcpy(local, v->text, v->bytes + 1);
    }
    v->number.real = strtod(local, NULL);
    return isfinite(v->number.real) ? true : file_json_bad(j, start, "a number past the range of a double");
}

static bool read_integer(file_json *j, size_t start, file_value *v)
{
    bool negative = v->text[0] == '-';
    uint64_t magnitude = 0, most = (uint64_t)INT64_MAX + negative;
    for (const char *p = v->text + negative; *p; p++)
        if (!base_multiply(magnitude, 10, &magnitude) || !base_add(magnitude, (uint64_t)(*p - '0'), &magnitude) ||
            magnitude > most)
            return file_json_bad(j, start, "an integer past the range of 64 bits");
    v->number.integer = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

static bool read_number(file_json *j, file_value *v)
{
    size_t start = j->at;
    bool is_whole;
    if (!file_json_number(j, &is_whole)) return false;
    v->kind = is_whole ? FILE_INTEGER : FILE_REAL;
    v->bytes = j->at - start;
    char *text = file_json_keep(j, (uint64_t)v->bytes + 1, 1);
    if (!text) return false;
    memcpy(text, j->text + start, v->bytes);
    text[v->bytes] = 0;
    v->text = text;
    return is_whole ? read_integer(j, start, v) : read_real(j, start, v);
}

/* A value that is neither object nor array. */
static bool read_scalar(file_json *j, bool strict, file_value *v)
{
    switch (file_json_peek(j)) {
    case '"': return read_string(j, strict, v);
    case 't': v->kind = FILE_TRUE; return file_json_word(j, "true");
    case 'f': v->kind = FILE_FALSE; return file_json_word(j, "false");
    case 'n': v->kind = FILE_NULL; return file_json_word(j, "null");
    case '-':
    case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        return read_number(j, v);
    default: return file_json_unexpected(j, "expected a value");
    }
}

static int by_key_and_place(const void *a, const void *b)
{
    const file_value *x = *(file_value *const *)a, *y = *(file_value *const *)b;
    int order = strcmp(x->key, y->key);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

/* Makes the members of an object easy to find: of those with one key the last, unless that is an error. */
static bool sort_members(file_json *j, bool strict, file_value *object)
{
    size_t n = 0;
    file_value **sorted = file_json_keep(j, object->count, sizeof(file_value *));
    if (!sorted) return false;
    for (file_value *v = object->first; v; v = v->next) sorted[n++] = v;
    qsort(sorted, n, sizeof *sorted, by_key_and_place);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_last = i + 1 == n || strcmp(sorted[i]->key, sorted[i + 1]->key) != 0;
        if (!is_last && strict) return file_json_bad(j, j->at - 1, "\"%.40s\" is given twice", sorted[i]->key);
        if (is_last) sorted[kept++] = sorted[i];
    }
    object->sorted = sorted;
    object->count = kept;
    return true;
}

static file_value *add_value(file_json *j, position *at)
{
    file_value *v = file_json_keep(j, 1, sizeof *v);
    if (!v) return NULL;
    *v = (file_value){.parent = at->open, .key = at->key};
    if (v->parent) v->place = (uint32_t)v->parent->count++;
    *at->link = v;
    at->link = &v->next;
    at->key = NULL;
    return v;
}

static bool enter(file_json *j, position *at, file_value *container)
{
    if (++at->depth > DEPTH_MAX) return file_json_bad(j, j->at, "nested deeper than %u levels", (unsigned)DEPTH_MAX);
    container->kind = file_json_peek(j) == '{' ? FILE_OBJECT : FILE_ARRAY;
    at->open = container;
    at->link = &container->first;
    j->at++;
    return true;
}

/* To where the next value begins, out of everything that ends before; nothing is open at the end of the document. */
static bool next_value(file_json *j, bool strict, position *at)
{
    while (at->open) {
        file_value *open = at->open;
        bool first = open->count == 0, is_object = open->kind == FILE_OBJECT;
        file_json_step step = is_object ? file_json_key(j, first, "an object", &at->key, &at->key_bytes, &at->key_at)
                                        : file_json_item(j, ']', first, "an array");
        if (step == FILE_JSON_FAILED) return false;
        if (step == FILE_JSON_ITEM)
            return !is_object || strlen(at->key) == at->key_bytes ||
                   file_json_bad(j, at->key_at, "a key holds a NUL character");
        if (is_object && !sort_members(j, strict, open)) return false;
        at->link = &open->next;
        at->open = open->parent;
        at->depth--;
    }
    return true;
}

static bool read_document(file_json *j, bool strict, file_value **root)
{
    position at = {.link = root};
    int c = file_json_skip_space(j);
    if (c != '{' && c != '[') return file_json_unexpected(j, "expected '{' or '['");
    do {
        file_value *v = add_value(j, &at);
        if (!v) return false;
        c = file_json_skip_space(j);
        if (!(c == '{' || c == '[' ? enter(j, &at, v) : read_scalar(j, strict, v))) return false;
        if (!next_value(j, strict, &at)) return false;
    } while (at.open);
    return file_json_skip_space(j) < 0 || file_json_unexpected(j, "expected nothing after the outermost value");
}

fpr_status file_tree_read(const char *text, uint64_t n, bool strict, fpr_status invalid, file_tree *tree,
                          fpr_error *error)
{
    *tree = (file_tree){0};
    if (is_bomb(text, n)) return base_fail(error, invalid, "holds more values than any real one");
    file_json j = {
        .text = text, .n = (size_t)n, .error = error, .invalid = invalid, .whole = "the text", .lines = true};
    bool fine = read_document(&j, strict, &tree->root);
    tree->memory = j.chunks;
    if (!fine) file_tree_free(tree);
    return j.status;
}

void file_tree_free(file_tree *tree)
{
    file_json_free_chunks(tree->memory);
    *tree = (file_tree){0};
}

/* ---- looking */

file_value *file_value_get(const file_value *object, const char *key)
{
    size_t low = 0, high = object && object->kind == FILE_OBJECT ? object->count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(object->sorted[middle]->key, key);
        if (!order) return object->sorted[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

bool file_value_is(const file_value *v, file_kind kind) { return v && v->kind == kind; }

const char *file_value_text(const file_value *v) { return file_value_is(v, FILE_STRING) ? v->text : NULL; }

int64_t file_value_integer(const file_value *v) { return file_value_is(v, FILE_INTEGER) ? v->number.integer : 0; }

double file_value_number(const file_value *v)
{
    return file_value_is(v, FILE_REAL) ? v->number.real : (double)file_value_integer(v);
}

/* ---- writing */

static void add_line(file_text *out, unsigned depth)
{
    file_text_add(out, "\n", 1);
    while (depth--) file_text_add(out, "  ", 2);
}

static void add_scalar(file_text *out, const file_value *v)
{
    static const char *const words[] = {[FILE_NULL] = "null", [FILE_FALSE] = "false", [FILE_TRUE] = "true"};
    if (v->kind == FILE_STRING) file_text_string(out, v->text, v->bytes);
    else if (v->kind == FILE_INTEGER || v->kind == FILE_REAL) file_text_add(out, v->text, v->bytes);
    else file_text_add(out, words[v->kind], strlen(words[v->kind]));
}

void file_text_value(file_text *out, const file_value *root)
{
    unsigned depth = 0;
    for (const file_value *v = root;;) {
        if (v->key) {
            file_text_string(out, v->key, strlen(v->key));
            file_text_add(out, ": ", 2);
        }
        bool is_container = v->kind == FILE_ARRAY || v->kind == FILE_OBJECT;
        if (is_container) file_text_add(out, v->kind == FILE_OBJECT ? "{" : "[", 1);
        if (is_container && v->first) {
            v = v->first;
            add_line(out, ++depth);
            continue;
        }
        if (is_container) file_text_add(out, v->kind == FILE_OBJECT ? "}" : "]", 1);
        else add_scalar(out, v);
        while (v != root && !v->next) {
            v = v->parent;
            add_line(out, --depth);
            file_text_add(out, v->kind == FILE_OBJECT ? "}" : "]", 1);
        }
        if (v == root) return;
        v = v->next;
        file_text_add(out, ",", 1);
        add_line(out, depth);
    }
}

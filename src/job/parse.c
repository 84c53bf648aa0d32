/* JSON from strangers: the index of a sharded checkpoint, our own key in a file's metadata, a basis. jansson reads it;
 * what jansson does not do is done here: bounding memory, and telling a text that is wrong from memory that ran out. */
#include "job/job.h"

#include <jansson.h>

/* In memory a value costs up to 50 bytes, an array or object 250, and "{}," is three bytes of text: a file of 100 MB
 * would take gigabytes. A hundred thousand tensors need a tenth of this. */
#define VALUES_MAX 4000000u
#define CONTAINERS_MAX 1000000u

static bool is_bomb(const char *text, size_t n)
{
    size_t values = 0, containers = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '"') quoted = !quoted;
        else if (quoted) i += c == '\\';
        else if (c == ',' || c == ':') values++;
        else if (c == '[' || c == '{') containers++;
    }
    return values > VALUES_MAX || containers > CONTAINERS_MAX;
}

/* jansson reports a failed allocation as whatever it was about to do. Our own reader, which refuses other things, says
 * whether the text is at fault. */
static bool is_text_at_fault(const char *text, size_t n, const json_error_t *where)
{
    switch (json_error_code(where)) {
    case json_error_stack_overflow:
    case json_error_invalid_utf8:
    case json_error_null_character:
    case json_error_null_byte_in_key:
    case json_error_duplicate_key:
    case json_error_numeric_overflow: return true;
    default: break;
    }
    size_t first = 0;
    while (first < n && memchr(" \t\r\n", text[first], 4)) first++;
    bool is_document = first < n && (text[first] == '{' || text[first] == '['); /* jansson takes nothing else */
    return !is_document || file_json_check(text, n) == FPR_BAD_HEADER;
}

fpr_status job_parse(const char *text, size_t n, size_t flags, fpr_status invalid, struct json_t **root, fpr_error *error)
{
    json_error_t where = {.line = -1};
    *root = NULL;
    if (is_bomb(text, n)) return base_fail(error, invalid, "holds more values than any real one");
    *root = json_loadb(text, n, flags, &where);
    if (*root) return FPR_OK;
    if (!is_text_at_fault(text, n, &where)) return base_no_memory(error, n);
    if (where.line < 0) return base_fail(error, invalid, "is no JSON");
    fpr_status status = base_fail(error, invalid, "line %d: %s", where.line, where.text);
    if (where.position >= 0) base_error_at(error, (uint64_t)where.position);
    return status;
}

/* Growing text, JSON strings, and safetensors headers as the reference implementation lays them out. */
#include "file/file.h"

#include <stdarg.h>
#include <stdio.h>

/* Room for count more bytes, or NULL; the failure sticks. */
static char *reserve(file_text *text, size_t count)
{
    if (text->failed) return NULL;
    if (count > text->capacity - text->count) {
        size_t capacity = text->capacity ? text->capacity : 256;
        while (capacity - text->count < count && capacity <= SIZE_MAX / 4) capacity *= 2;
        char *bytes = capacity - text->count < count ? NULL : base_grow(text->bytes, capacity, 1);
        if (!bytes) {
            text->failed = true;
            return NULL;
        }
        text->bytes = bytes;
        text->capacity = capacity;
    }
    return text->bytes + text->count;
}

void file_text_add(file_text *text, const void *bytes, size_t count)
{
    char *p = count ? reserve(text, count) : NULL; /* nothing to nothing has no place */
    if (!p) return;
    memcpy(p, bytes, count);
    text->count += count;
}

static void add_text(file_text *text, const char *chars) { file_text_add(text, chars, strlen(chars)); }

static void add_number(file_text *text, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    file_text_add(text, digits + at, sizeof digits - at);
}

/* Escapes what serde_json escapes, the way it does: the two-character forms where JSON has them, \u00xx in lower case
 * for the other control characters, everything else verbatim. */
void file_text_string(file_text *text, const char *bytes, size_t count)
{
    static const char hex[] = "0123456789abcdef";
    size_t plain = 0; /* first byte not yet copied */
    file_text_add(text, "\"", 1);
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        char escape[6] = {'\\', 0};
        size_t length = 2;
        switch (c) {
        case '"': case '\\': escape[1] = (char)c; break;
        case '\b': escape[1] = 'b'; break;
        case '\f': escape[1] = 'f'; break;
        case '\n': escape[1] = 'n'; break;
        case '\r': escape[1] = 'r'; break;
        case '\t': escape[1] = 't'; break;
        default:
            memcpy(escape + 1, "u00", 3);
            escape[4] = hex[c >> 4];
            escape[5] = hex[c & 15];
            length = 6;
        }
        file_text_add(text, bytes + plain, i - plain);
        file_text_add(text, escape, length);
        plain = i + 1;
    }
    file_text_add(text, bytes + plain, count - plain);
    file_text_add(text, "\"", 1);
}

void file_text_format(file_text *text, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    char *p = reserve(text, 128);
    int n = p ? vsnprintf(p, text->capacity - text->count, format, list) : -1;
    if (n < 0) {
        text->failed = true;
    } else if ((size_t)n >= text->capacity - text->count) {
        p = reserve(text, (size_t)n + 1);
        if (p) vsnprintf(p, (size_t)n + 1, format, again);
    }
    if (!text->failed) text->count += (size_t)n;
    va_end(again);
    va_end(list);
}

void file_text_free(file_text *text)
{
    base_free(text->bytes);
    *text = (file_text){0};
}

void file_text_tensor(file_text *text, const char *name, size_t name_bytes, fpr_dtype dtype, unsigned rank,
                      const uint64_t *shape, uint64_t begin, uint64_t end)
{
    file_text_string(text, name, name_bytes);
    add_text(text, ":{\"dtype\":\"");
    add_text(text, fpr_dtype_name(dtype));
    add_text(text, "\",\"shape\":[");
    for (unsigned i = 0; i < rank; i++) {
        if (i) add_text(text, ",");
        add_number(text, shape[i]);
    }
    add_text(text, "],\"data_offsets\":[");
    add_number(text, begin);
    add_text(text, ",");
    add_number(text, end);
    add_text(text, "]}");
}

static void add_metadata(file_text *text, const file_header *header)
{
    add_text(text, "\"__metadata__\":{");
    for (size_t i = 0; i < header->metadata_count; i++) {
        const file_metadata *m = &header->metadata[i];
        if (i) add_text(text, ",");
        file_text_string(text, m->key, m->key_bytes);
        add_text(text, ":");
        file_text_string(text, m->value, m->value_bytes);
    }
    add_text(text, "}");
}

fpr_status file_header_write(const file_header *header, file_text *text, fpr_error *error)
{
    size_t start = text->count;
    bool with_metadata = header->has_metadata || header->metadata_count;
    add_text(text, "{");
    if (with_metadata) add_metadata(text, header);
    for (size_t i = 0; i < header->tensor_count; i++) {
        const file_tensor *t = &header->tensors[header->header_order ? header->header_order[i] : i];
        if (i || with_metadata) add_text(text, ",");
        file_text_tensor(text, t->name, t->name_bytes, t->dtype, t->rank, t->shape, t->begin, t->end);
    }
    add_text(text, "}");
    while (!text->failed && (text->count - start) % 8) add_text(text, " ");
    if (text->failed) return base_no_memory(error, text->capacity);
    if (text->count - start > FILE_HEADER_MAX)
        return base_fail(error, FPR_BAD_HEADER, "the header would take %llu bytes, the format allows %u",
                         (unsigned long long)(text->count - start), FILE_HEADER_MAX);
    return FPR_OK;
}

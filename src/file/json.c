/* The reader for JSON: texts, numbers, and the steps through objects and arrays. */
#include "file/json.h"
#include "base/utf8.h"
#include "file/file.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- errors and memory */

struct file_json_chunk {
    file_json_chunk *previous;
    uint64_t padding; /* contents begin 16-byte aligned */
};

static size_t line_of(const file_json *j, uint64_t at)
{
    size_t line = 1;
    for (uint64_t i = 0; i < at && i < j->n; i++) line += j->text[i] == '\n';
    return line;
}

static bool fail(file_json *j, uint64_t at, const char *found, const char *format, va_list list) BASE_PRINTF(4, 0);
static bool fail(file_json *j, uint64_t at, const char *found, const char *format, va_list list)
{
    char text[sizeof j->error->message];
    vsnprintf(text, sizeof text, format, list);
    /* What is quoted from the file must neither break the line nor reach a terminal as a command. */
    for (char *p = text; *p; p++)
        if (*p < 0x20 || *p > 0x7e) *p = '?';
    char line[32] = "";
    if (j->lines) snprintf(line, sizeof line, "line %zu: ", line_of(j, at));
    j->status = base_fail(j->error, j->invalid, "%s%s%s", line, text, found);
    base_error_at(j->error, j->before + at);
    if (j->tensor) base_error_in_tensor(j->error, j->tensor);
    return false;
}

bool file_json_bad(file_json *j, uint64_t at, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fail(j, at, "", format, list);
    va_end(list);
    return false;
}

bool file_json_unexpected(file_json *j, const char *format, ...)
{
    char found[40];
    int c = file_json_peek(j);
    if (c < 0)
        snprintf(found, sizeof found, ", found the end of %s", j->whole);
    else
        snprintf(found, sizeof found, c > 0x20 && c < 0x7f ? ", found '%c'" : ", found byte 0x%02x", c);
    va_list list;
    va_start(list, format);
    fail(j, j->at, found, format, list);
    va_end(list);
    return false;
}

bool file_json_no_memory(file_json *j, uint64_t bytes)
{
    j->status = base_no_memory(j->error, bytes);
    return false;
}

void *file_json_keep(file_json *j, uint64_t count, uint64_t size)
{
    uint64_t bytes;
    if (!base_multiply(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        file_json_no_memory(j, UINT64_MAX);
        return NULL;
    }
    bytes = bytes ? (bytes + 7) & ~UINT64_C(7) : 8; /* never NULL for nothing */
    if (bytes > j->room_bytes) {
        /* Text of n bytes decodes to about n bytes of strings and shapes; large headers get it in pieces. */
        uint64_t wanted = j->n < 4096 ? 4096 : j->n > 1 << 20 ? 1 << 20 : j->n;
        if (bytes > wanted) wanted = bytes;
        file_json_chunk *c = base_alloc(wanted + sizeof *c, 1);
        if (!c) {
            file_json_no_memory(j, wanted);
            return NULL;
        }
        c->previous = j->chunks;
        j->chunks = c;
        j->room = (char *)(c + 1);
        j->room_bytes = (size_t)wanted;
    }
    void *p = j->room;
    j->room += bytes;
    j->room_bytes -= (size_t)bytes;
    return p;
}

void file_json_release(file_json *j, file_json_mark mark)
{
    if (j->chunks != mark.chunk || !mark.chunk) return; /* a chunk begun meanwhile is left as it is */
    j->room_bytes += (size_t)(j->room - mark.room);
    j->room = mark.room;
}

void file_json_free_chunks(file_json_chunk *c)
{
    while (c) {
        file_json_chunk *previous = c->previous;
        base_free(c);
        c = previous;
    }
}

bool file_json_grow(file_json *j, void *list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) return true;
    size_t wanted = *capacity + *capacity / 2 + 16;
    void *block; /* copied in and out: a void ** may not point to another type of pointer */
    memcpy(&block, list, sizeof block);
    block = base_grow(block, wanted, size);
    if (!block) return file_json_no_memory(j, (uint64_t)wanted * size);
    memcpy(list, &block, sizeof block);
    *capacity = wanted;
    return true;
}

/* ---- white space, strings */

int file_json_skip_space(file_json *j)
{
    while (j->at < j->n) {
        char c = j->text[j->at];
        if (c != ' ' && c != '\n' && c != '\t' && c != '\r') break;
        j->at++;
    }
    return file_json_peek(j);
}

static bool expect(file_json *j, char wanted, const char *where)
{
    if (file_json_skip_space(j) != wanted)
        return file_json_unexpected(j, "expected '%c' %s", wanted, where);
    j->at++;
    return true;
}

static int hex_digit(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of a \u escape, or -1. */
static int32_t hex4(const file_json *j, size_t at)
{
    if (j->n - at < 4) return -1;
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit((unsigned char)j->text[at + i]);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool is_high_surrogate(int32_t u) { return u >= 0xd800 && u <= 0xdbff; }
static bool is_low_surrogate(int32_t u) { return u >= 0xdc00 && u <= 0xdfff; }

/* Steps over an escape; j->at is at its backslash. */
static bool check_escape(file_json *j)
{
    size_t start = j->at;
    j->at += 2;
    if (start + 1 >= j->n) return file_json_bad(j, start, "%s ends inside a string", j->whole);
    char c = j->text[start + 1];
    if (c != 'u') {
        if (c && strchr("\"\\/bfnrt", c)) return true;
        return file_json_bad(j, start, "JSON has no such escape in a string");
    }
    int32_t u = hex4(j, j->at);
    if (u < 0) return file_json_bad(j, start, "\\u wants four hexadecimal digits");
    j->at += 4;
    if (is_low_surrogate(u))
        return file_json_bad(j, start, "a low surrogate \\u%04x without the high one before it", (unsigned)u);
    if (!is_high_surrogate(u)) return true;
    bool has_pair = j->n - j->at >= 2 && j->text[j->at] == '\\' && j->text[j->at + 1] == 'u';
    if (!has_pair || !is_low_surrogate(hex4(j, j->at + 2)))
        return file_json_bad(j, start, "a high surrogate \\u%04x without the low one after it", (unsigned)u);
    j->at += 6;
    return true;
}

/* Steps over one character of more than one byte. */
static bool check_utf8(file_json *j)
{
    uint32_t code;
    const unsigned length = base_utf8(j->text + j->at, j->n - j->at, &code);
    if (!length)
        return file_json_bad(j, j->at, "%s is not UTF-8: byte 0x%02x", j->whole, (unsigned char)j->text[j->at]);
    j->at += length;
    return true;
}

/* Steps over a string; j->at is past its opening quote, and past the closing one afterwards. */
static bool check_string(file_json *j, bool *has_escapes)
{
    *has_escapes = false;
    for (;;) {
        int c = file_json_peek(j);
        if (c < 0) return file_json_bad(j, j->n, "%s ends inside a string", j->whole);
        if (c == '"') break;
        if (c >= 0x80) {
            if (!check_utf8(j)) return false;
        } else if (c == '\\') {
            *has_escapes = true;
            if (!check_escape(j)) return false;
        } else if (c < 0x20) {
            return file_json_bad(j, j->at, "a raw control character (byte 0x%02x) inside a string", (unsigned)c);
        } else {
            j->at++;
        }
    }
    j->at++;
    return true;
}

/* Decodes n checked bytes at a place of the text; returns the decoded length, which is never more than n. */
static size_t unescape(const file_json *j, size_t at, size_t n, char *dst)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char *p = dst;
    for (size_t end = at + n; at < end;) {
        if (j->text[at] != '\\') {
            *p++ = j->text[at++];
            continue;
        }
        char c = j->text[at + 1];
        at += 2;
        if (c != 'u') {
            *p++ = to[strchr(from, c) - from];
            continue;
        }
        int32_t u = hex4(j, at);
        at += 4;
        if (is_high_surrogate(u)) {
            u = 0x10000 + ((u - 0xd800) << 10) + (hex4(j, at + 2) - 0xdc00);
            at += 6;
        }
        p += base_put_utf8(p, (uint32_t)u);
    }
    return (size_t)(p - dst);
}

bool file_json_string(file_json *j, const char **string, size_t *bytes)
{
    size_t start = ++j->at;
    bool has_escapes;
    if (!check_string(j, &has_escapes)) return false;
    size_t raw = j->at - 1 - start;
    char *p = file_json_keep(j, (uint64_t)raw + 1, 1);
    if (!p) return false;
    if (has_escapes)
        raw = unescape(j, start, raw, p);
    else
        memcpy(p, j->text + start, raw);
    p[raw] = 0;
    *string = p;
    *bytes = raw;
    return true;
}

/* ---- objects and arrays */

file_json_step file_json_item(file_json *j, char close, bool first, const char *of)
{
    int c = file_json_skip_space(j);
    if (c == close) {
        j->at++;
        return FILE_JSON_END;
    }
    if (!first) {
        if (c != ',') {
            file_json_unexpected(j, "expected ',' or '%c' in %s", close, of);
            return FILE_JSON_FAILED;
        }
        size_t comma = j->at++;
        if (file_json_skip_space(j) == close) {
            file_json_bad(j, comma, "a comma after the last item of %s", of);
            return FILE_JSON_FAILED;
        }
    }
    return FILE_JSON_ITEM;
}

file_json_step file_json_key(file_json *j, bool first, const char *of, const char **key, size_t *bytes, size_t *key_at)
{
    file_json_step s = file_json_item(j, '}', first, of);
    if (s != FILE_JSON_ITEM) return s;
    *key_at = j->at;
    if (file_json_peek(j) != '"') {
        file_json_unexpected(j, "expected a key in double quotes in %s", of);
        return FILE_JSON_FAILED;
    }
    if (!file_json_string(j, key, bytes) || !expect(j, ':', "after a key")) return FILE_JSON_FAILED;
    file_json_skip_space(j);
    return FILE_JSON_ITEM;
}

/* ---- arrays of sizes */

static bool is_digit(int c) { return c >= '0' && c <= '9'; }

/* A whole number from 0 to 2^64 - 1, nothing else: no sign, fraction, exponent or leading zero. */
static bool read_size(file_json *j, const char *what, uint64_t *value)
{
    int c = file_json_skip_space(j);
    size_t start = j->at;
    if (c == '-') return file_json_bad(j, start, "%s must be a whole number, and not negative", what);
    if (!is_digit(c))
        return file_json_unexpected(j, "%s must be a whole number", what);
    *value = 0;
    for (; is_digit(c); j->at++, c = file_json_peek(j))
        if (!base_multiply(*value, 10, value) || !base_add(*value, (uint64_t)(c - '0'), value))
            return file_json_bad(j, start, "%s is larger than 64 bits hold", what);
    if (j->text[start] == '0' && j->at > start + 1) return file_json_bad(j, start, "%s has a leading zero", what);
    if (c == '.' || c == 'e' || c == 'E')
        return file_json_bad(j, start, "%s must be a whole number, without point or exponent", what);
    return true;
}

bool file_json_sizes(file_json *j, const char *field, const char *what)
{
    if (file_json_peek(j) != '[')
        return file_json_unexpected(j, "%s must be an array", field);
    j->at++;
    for (j->size_count = 0;; j->size_count++) {
        file_json_step s = file_json_item(j, ']', j->size_count == 0, field);
        if (s == FILE_JSON_END) return true;
        if (s == FILE_JSON_FAILED) return false;
        if (!file_json_grow(j, &j->sizes, j->size_count, &j->size_capacity, sizeof *j->sizes)) return false;
        if (!read_size(j, what, &j->sizes[j->size_count])) return false;
    }
}

/* ---- values that mean nothing here: extra fields of a tensor are checked as JSON and passed over */

static bool skip_digits(file_json *j)
{
    if (!is_digit(file_json_peek(j)))
        return file_json_unexpected(j, "expected a digit");
    while (is_digit(file_json_peek(j))) j->at++;
    return true;
}

/* value * 10 + digit, unless that takes more than 64 bits. */
static bool add_digit(uint64_t *value, char digit)
{
    uint64_t ten, sum;
    if (!base_multiply(*value, 10, &ten) || !base_add(ten, (uint64_t)(digit - '0'), &sum)) return false;
    *value = sum;
    return true;
}

/* Whether value * 10^exponent is infinite when it is computed in doubles, the power rounded first. */
static bool overflows(uint64_t value, int64_t exponent)
{
    if (!value || exponent < 0) return false;
    if (exponent > DBL_MAX_10_EXP) return true;
    char power[8];
    snprintf(power, sizeof power, "1e%d", (int)exponent);
    return isinf((double)value * strtod(power, NULL));
}

/* Whether the reference calls a number without sign out of range. Its reader (serde_json) keeps the first digits that fit
 * into 64 bits and scales them in doubles: next to the largest double its verdict is not that of exact rounding, in
 * either direction. */
static bool is_infinite(const char *p, size_t n)
{
    uint64_t value = 0;
    int64_t exponent = 0, written = 0;
    size_t i = 0;
    for (; i < n && is_digit(p[i]) && add_digit(&value, p[i]); i++) {}
    for (; i < n && is_digit(p[i]); i++) exponent++; /* one digit too many: none of the rest counts, but its place */
    if (i < n && p[i] == '.') {
        for (i++; i < n && is_digit(p[i]) && add_digit(&value, p[i]); i++) exponent--;
        while (i < n && is_digit(p[i])) i++;
    }
    if (i == n) return overflows(value, exponent);
    const bool negative = p[++i] == '-'; /* behind the letter e */
    for (; i < n; i++)
        if (is_digit(p[i])) written = written < INT32_MAX ? written * 10 + (p[i] - '0') : written;
    return overflows(value, negative ? exponent - written : exponent + written);
}

/* RFC 8259, section 6. Like the reference, refuses a number that no double can hold: every reader that takes it for one
 * would get infinity. */
bool file_json_number(file_json *j, bool *is_whole)
{
    size_t start = j->at;
    if (file_json_peek(j) == '-') j->at++;
    size_t first = j->at;
    if (!skip_digits(j)) return false;
    if (j->text[first] == '0' && j->at > first + 1) return file_json_bad(j, start, "a number with a leading zero");
    *is_whole = true;
    if (file_json_peek(j) == '.') {
        *is_whole = false;
        j->at++;
        if (!skip_digits(j)) return false;
    }
    if (file_json_peek(j) == 'e' || file_json_peek(j) == 'E') {
        *is_whole = false;
        j->at++;
        if (file_json_peek(j) == '+' || file_json_peek(j) == '-') j->at++;
        if (!skip_digits(j)) return false;
    }
    if (is_infinite(j->text + first, j->at - first))
        return file_json_bad(j, start, "a number past the range of a double");
    return true;
}

bool file_json_word(file_json *j, const char *word)
{
    size_t n = strlen(word);
    if (j->n - j->at < n || memcmp(j->text + j->at, word, n) != 0)
        return file_json_unexpected(j, "expected a value");
    j->at += n;
    return true;
}

/* A value that is neither object nor array. */
static bool skip_scalar(file_json *j)
{
    bool ignored;
    switch (file_json_peek(j)) {
    case '"': j->at++; return check_string(j, &ignored);
    case 't': return file_json_word(j, "true");
    case 'f': return file_json_word(j, "false");
    case 'n': return file_json_word(j, "null");
    case '-': return file_json_number(j, &ignored);
    default:
        if (is_digit(file_json_peek(j))) return file_json_number(j, &ignored);
        return file_json_unexpected(j, "expected a value");
    }
}

/* Not recursive: how deep the input goes must not decide about our stack. */
bool file_json_skip(file_json *j, unsigned open)
{
    char close[FILE_JSON_DEPTH]; /* what ends each object or array that was entered here */
    unsigned depth = 0;
    for (;;) {
        int c = file_json_skip_space(j);
        bool first = c == '{' || c == '[';
        if (first) {
            if (open + depth == FILE_JSON_DEPTH)
                return file_json_bad(j, j->at, "nested deeper than %d levels", FILE_JSON_DEPTH);
            close[depth++] = c == '{' ? '}' : ']';
            j->at++;
        } else if (!skip_scalar(j)) {
            return false;
        }
        for (;; first = false, depth--) { /* to the next value, out of everything that ends here */
            if (!depth) return true;
            const char *key;
            size_t bytes, at;
            file_json_mark mark = file_json_here(j);
            file_json_step s = close[depth - 1] == '}' ? file_json_key(j, first, "an object", &key, &bytes, &at)
                                                       : file_json_item(j, ']', first, "an array");
            file_json_release(j, mark);
            if (s == FILE_JSON_FAILED) return false;
            if (s == FILE_JSON_ITEM) break;
        }
    }
}

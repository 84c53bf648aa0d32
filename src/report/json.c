/* Writes JSON values. The text is plain UTF-8 whatever the names hold, and ends up the same in every locale. */
#include "report/report.h"

#include <math.h>

static void separate(report_out *out)
{
    if (out->comma) report_bytes(out, ",", 1);
    if (out->line) report_bytes(out, "\n", 1);
    out->comma = out->line = false;
}

void report_begin(report_out *out, char bracket)
{
    separate(out);
    report_bytes(out, &bracket, 1);
}

void report_end(report_out *out, char bracket)
{
    if (out->line) report_bytes(out, "\n", 1);
    out->line = false;
    report_bytes(out, &bracket, 1);
    out->comma = true;
}

void report_line(report_out *out) { out->line = true; }

static void quoted(report_out *out, const char *bytes, size_t count)
{
    static const char hex[] = "0123456789abcdef";
    report_bytes(out, "\"", 1);
    while (count) {
        size_t plain = 0;
        while (plain < count) {
            unsigned char c = (unsigned char)bytes[plain];
            if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\') break;
            plain++;
        }
        report_bytes(out, bytes, plain);
        bytes += plain, count -= plain;
        if (!count) break;
        uint32_t code;
        unsigned length = base_utf8(bytes, count, &code);
        if (!length) {
            report_text(out, "\\ufffd");
            length = 1;
        } else if (code == '"' || code == '\\') {
            const char pair[2] = {'\\', (char)code};
            report_bytes(out, pair, 2);
        } else if (code < 0x20 || code == 0x7F) {
            const char escape[6] = {'\\', 'u', '0', '0', hex[code >> 4], hex[code & 15]};
            report_bytes(out, escape, 6);
        } else {
            report_bytes(out, bytes, length);
        }
        bytes += length, count -= length;
    }
    report_bytes(out, "\"", 1);
}

void report_key(report_out *out, const char *key)
{
    separate(out);
    quoted(out, key, strlen(key));
    report_bytes(out, ": ", 2);
}

void report_string(report_out *out, const char *bytes, size_t count)
{
    separate(out);
    quoted(out, bytes, count);
    out->comma = true;
}

static void word(report_out *out, const char *text)
{
    separate(out);
    report_text(out, text);
    out->comma = true;
}

void report_string0(report_out *out, const char *text)
{
    if (text)
        report_string(out, text, strlen(text));
    else
        report_null(out);
}

void report_bool(report_out *out, bool v) { word(out, v ? "true" : "false"); }

void report_null(report_out *out) { word(out, "null"); }

void report_value(report_out *out, const char *json) { word(out, json ? json : "null"); }

void report_integer(report_out *out, uint64_t v)
{
    char text[REPORT_NUMBER];
    report_format_integer(text, v);
    word(out, text);
}

void report_number(report_out *out, double v)
{
    char text[REPORT_NUMBER] = "null";
    if (isfinite(v)) report_format_double(text, v);
    word(out, text);
}

static void hash_digits(char text[16], uint64_t hash)
{
    for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
}

void report_hash(report_out *out, uint64_t hash)
{
    char text[16];
    hash_digits(text, hash);
    if (hash) report_string(out, text, 16);
    else report_null(out);
}

void report_long_hash(report_out *out, const uint64_t hash[2])
{
    char text[32];
    hash_digits(text, hash[0]);
    hash_digits(text + 16, hash[1]);
    if (hash[0] || hash[1]) report_string(out, text, 32);
    else report_null(out);
}

/* The arrays of numbers make up most of a document: straight into the buffer. */
static void put_number(report_out *out, bool first, const char *text, size_t length)
{
    char *room = report_reserve(out, length + 1);
    if (!room) return;
    if (!first) *room++ = ',';
    memcpy(room, text, length);
    out->used += length + !first;
}

void report_numbers(report_out *out, const double *v, size_t count)
{
    if (!v) {
        report_null(out);
        return;
    }
    report_begin(out, '[');
    for (size_t i = 0; i < count; i++) {
        char text[REPORT_NUMBER] = "null";
        size_t length = isfinite(v[i]) ? report_format_double(text, v[i]) : 4;
        put_number(out, !i, text, length);
    }
    report_end(out, ']');
}

void report_integers(report_out *out, const uint64_t *v, size_t count)
{
    report_begin(out, '[');
    for (size_t i = 0; i < count; i++) {
        char text[REPORT_NUMBER];
        put_number(out, !i, text, report_format_integer(text, v[i]));
    }
    report_end(out, ']');
}

void report_densities(report_out *out, const double *v, size_t count)
{
    double peak = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(v[i]) && fabs(v[i]) > peak) peak = fabs(v[i]);
    int decade = peak > 0 ? report_decade(peak) : 0;
    if (decade < -3 || decade > 6) { /* no density of scaled kernels is like that: no need to be quick */
        report_numbers(out, v, count);
        return;
    }
    unsigned places = (unsigned)(6 - decade); /* 0 .. 9, what report_format_fixed takes */
    double scale = report_power_of_ten((int)places);
    report_begin(out, '[');
    for (size_t i = 0; i < count; i++) {
        char text[REPORT_NUMBER] = "null";
        size_t length = 4;
        if (isfinite(v[i])) {
            length = report_format_fixed(text, v[i], fabs(v[i]) * scale < 0.5 ? 0 : places);
            if (memchr(text, '.', length)) {
                while (text[length - 1] == '0') length--;
                if (text[length - 1] == '.') length--;
            }
        }
        put_number(out, !i, text, length);
    }
    report_end(out, ']');
}

void report_strings(report_out *out, char *const *v, size_t count)
{
    report_begin(out, '[');
    for (size_t i = 0; i < count; i++) report_string0(out, v[i]);
    report_end(out, ']');
}

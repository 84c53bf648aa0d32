/* Text of a page: names made harmless, numbers made readable. */
#include "report/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- names */

bool page_is_invisible(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c & 0xFFFE) == 0xFFFE ||
           (c >= 0xFDD0 && c <= 0xFDEF) || (c >= 0xE0000 && c <= 0xE0FFF);
}

static void text_character(report_out *out, const char *bytes, unsigned length, uint32_t c)
{
    switch (c) {
    case '<':
        report_text(out, "&lt;");
        return;
    case '>':
        report_text(out, "&gt;");
        return;
    case '&':
        report_text(out, "&amp;");
        return;
    case '"':
        report_text(out, "&quot;");
        return;
    case '\'':
        report_text(out, "&#39;");
        return;
    default:
        break;
    }
    if (page_is_invisible(c))
        page_print(out, "\xE2\x9F\xA8U+%04X\xE2\x9F\xA9", c);
    else
        report_bytes(out, bytes, length);
}

void page_text(report_out *out, const char *bytes, size_t count)
{
    while (count) {
        size_t plain = 0;
        while (plain < count) {
            unsigned char c = (unsigned char)bytes[plain];
            if (c < 0x20 || c >= 0x7F || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'') break;
            plain++;
        }
        report_bytes(out, bytes, plain);
        bytes += plain, count -= plain;
        if (!count) return;
        uint32_t code = 0xFFFD;
        unsigned length = base_utf8(bytes, count, &code);
        if (length)
            text_character(out, bytes, length, code);
        else
            report_text(out, "\xEF\xBF\xBD"), length = 1;
        bytes += length, count -= length;
    }
}

/* Back to the beginning of the character that byte at belongs to. */
static size_t boundary(const char *bytes, size_t at)
{
    for (unsigned i = 0; i < 3 && at && ((unsigned char)bytes[at] & 0xC0) == 0x80; i++) at--;
    return at;
}

void page_short(report_out *out, const char *bytes, size_t count, size_t most)
{
    if (count <= most) {
        page_text(out, bytes, count);
        return;
    }
    size_t head = boundary(bytes, most / 3), tail = boundary(bytes, count - (most - most / 3));
    page_text(out, bytes, head);
    report_text(out, "\xE2\x80\xA6");
    page_text(out, bytes + tail, count - tail);
}

/* Lines may break after the separators of a name, so that they need not break inside a word. */
static void breakable(report_out *out, const char *bytes, size_t count)
{
    size_t from = 0;
    for (size_t i = 0; i < count; i++) {
        if (!strchr("./_-", bytes[i]) || !bytes[i]) continue;
        page_text(out, bytes + from, i + 1 - from);
        report_text(out, "<wbr>");
        from = i + 1;
    }
    page_text(out, bytes + from, count - from);
}

#define NAME_BYTES 160
#define SHARED_LEAST 12 /* less than that is not worth hiding */

void page_name(report_out *out, const char *bytes, size_t count)
{
    report_text(out, "<bdi>");
    if (!count)
        report_text(out, "(empty name)");
    else if (count > NAME_BYTES)
        page_short(out, bytes, count, NAME_BYTES);
    else
        breakable(out, bytes, count);
    report_text(out, "</bdi>");
}

/* ---- what all layers' names have in common at both ends, from a dot or slash to the next */

page_shared page_shared_of(const fpr_report *r)
{
    page_shared s = {0, 0};
    if (r->layer_count < 2) return s;
    const char *first = r->layers[0].name;
    const size_t length = r->layers[0].name_bytes;
    size_t head = length, tail = length;
    for (uint64_t i = 1; i < r->layer_count; i++) {
        const char *name = r->layers[i].name;
        const size_t bytes = r->layers[i].name_bytes;
        size_t n = 0;
        while (n < head && n < bytes && name[n] == first[n]) n++;
        head = n;
        for (n = 0; n < tail && n < bytes && name[bytes - 1 - n] == first[length - 1 - n]; n++) {}
        tail = n;
        if (bytes <= head + tail) head = tail = 0; /* nothing would be left of it */
    }
    while (head && first[head - 1] != '.' && first[head - 1] != '/') head--;
    while (tail && first[length - tail] != '.' && first[length - tail] != '/') tail--;
    if (length > head + tail && head + tail >= SHARED_LEAST) s.head = head, s.tail = tail;
    return s;
}

void page_name_without(report_out *out, const char *bytes, size_t count, const page_shared *shared)
{
    if (count > NAME_BYTES || shared->head + shared->tail >= count || !(shared->head + shared->tail)) {
        page_name(out, bytes, count);
        return;
    }
    report_text(out, "<bdi><span class=\"shared\">");
    page_text(out, bytes, shared->head);
    report_text(out, "</span>");
    breakable(out, bytes + shared->head, count - shared->head - shared->tail);
    report_text(out, "<span class=\"shared\">");
    page_text(out, bytes + count - shared->tail, shared->tail);
    report_text(out, "</span></bdi>");
}

void page_shared_note(report_out *out, const fpr_report *r, const page_shared *shared)
{
    if (!(shared->head + shared->tail)) return;
    const char *name = r->layers[0].name;
    report_text(out, " Names without what all have in common: ");
    if (shared->head) page_short(out, name, shared->head, 80), report_text(out, "\xE2\x80\xA6");
    if (shared->head && shared->tail) report_text(out, " and ");
    if (shared->tail)
        report_text(out, "\xE2\x80\xA6"), page_short(out, name + r->layers[0].name_bytes - shared->tail, shared->tail, 80);
    report_text(out, ".");
}

void page_path(report_out *out, const char *path)
{
    if (path)
        page_name(out, path, strlen(path));
    else
        report_text(out, "\xE2\x80\x93");
}

const char *page_file_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return !path ? "" : slash && slash[1] ? slash + 1 : path;
}

void page_print(report_out *out, const char *format, ...)
{
    char *room = report_reserve(out, 512);
    if (!room) return;
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(room, 512, format, arguments);
    va_end(arguments);
    if (n > 0) out->used += n < 512 ? (size_t)n : 511;
}

/* ---- numbers */

static const char dash[] = "\xE2\x80\x93";

void page_count(report_out *out, uint64_t v)
{
    char digits[REPORT_NUMBER];
    size_t n = report_format_integer(digits, v);
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0) report_bytes(out, ",", 1);
        report_bytes(out, digits + i, 1);
    }
}

void page_size(report_out *out, uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    unsigned unit = 0;
    double v = (double)bytes;
    while (v >= 999.5 && unit < 6) v /= 1000, unit++;
    char text[REPORT_NUMBER];
    report_format_fixed(text, v, unit == 0 || v >= 99.95 ? 0 : v >= 9.995 ? 1 : 2);
    report_text(out, text);
    page_print(out, "\xC2\xA0%s", bytes == 1 ? "byte" : units[unit]);
}

void page_share(report_out *out, double share)
{
    char text[REPORT_NUMBER];
    if (!isfinite(share)) {
        report_text(out, dash);
        return;
    }
    if (share > 0 && share < 0.0005)
        report_text(out, "&lt;\xC2\xA0"
                         "0.1");
    else if (share < 1 && share > 0.9995)
        report_text(out, "&gt;\xC2\xA0"
                         "99.9");
    else if (share == 0 || share == 1)
        report_text(out, share == 0 ? "0" : "100");
    else
        report_format_fixed(text, share * 100, 1), report_text(out, text);
    report_text(out, "\xC2\xA0%");
}

size_t page_decimal(char *dst, double v)
{
    if (!isfinite(v)) return memcpy(dst, dash, sizeof dash), sizeof dash - 1;
    if (fabs(v) < 1e-12) return memcpy(dst, "0", 2), 1; /* what rounding leaves of nothing */
    if (v < 0) return memcpy(dst, "\xE2\x88\x92", 3), 3 + page_decimal(dst + 3, -v);
    int decade = report_decade(v * 1.0005); /* 9.996 has the digits of 10.0 */
    if (decade >= -4 && decade < 6) return report_format_fixed(dst, v, decade >= 2 ? 0 : (unsigned)(2 - decade));
    size_t n = report_format_fixed(dst, v / report_power_of_ten(decade), 2);
    return n + (size_t)snprintf(dst + n, REPORT_NUMBER - n, "e%d", decade);
}

void page_value(report_out *out, double v)
{
    char text[REPORT_NUMBER];
    page_decimal(text, v);
    report_text(out, text);
}

void page_number(report_out *out, double v)
{
    char text[REPORT_NUMBER];
    if (isfinite(v)) report_format_double(text, v);
    report_text(out, isfinite(v) ? text : dash);
}

void page_shape(report_out *out, const uint64_t *shape, unsigned rank)
{
    char text[REPORT_NUMBER];
    if (!rank) report_text(out, "scalar");
    for (unsigned i = 0; i < rank; i++) {
        if (i) report_text(out, "\xC3\x97");
        report_format_integer(text, shape[i]);
        report_text(out, text);
    }
}

void page_plural(report_out *out, uint64_t n, const char *singular, const char *plural)
{
    page_count(out, n);
    page_print(out, "\xC2\xA0%s", n == 1 ? singular : plural);
}

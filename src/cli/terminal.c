/* What the terminal can show, names made safe to print, and numbers as people read them. */
#include "cli/cli.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

static bool locale_is_utf8(void) { return !strcmp(nl_langinfo(CODESET), "UTF-8"); }

terminal terminal_for(FILE *out)
{
    terminal term = { .out = out, .is_terminal = isatty(fileno(out)) == 1, .utf8 = locale_is_utf8(), .width = 10000 };
    const char *type = getenv("TERM"), *no_color = getenv("NO_COLOR"), *columns = getenv("COLUMNS");
    struct winsize size;
    /* https://no-color.org: any value but the empty one. */
    term.color = term.is_terminal && type && strcmp(type, "dumb") != 0 && !(no_color && no_color[0]);
    /* Where nobody looks, nothing is cut. */
    long wanted = columns ? strtol(columns, NULL, 10) : 0;
    if (wanted >= 20 && wanted <= 10000) term.width = (unsigned)wanted;
    else if (term.is_terminal && ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        term.width = size.ws_col;
    else if (term.is_terminal) term.width = 80;
    return term;
}

const char *style_on(const terminal *term, style s)
{
    static const char *const codes[] = { "", "\033[1m", "\033[2m", "\033[32m", "\033[33m", "\033[31m" };
    return term->color ? codes[s] : "";
}

const char *style_off(const terminal *term) { return term->color ? "\033[0m" : ""; }

/* ---- text */

/* One character of UTF-8, strictly: no overlong forms, no surrogates. Returns its bytes, 0 when there is none. */
static size_t read_utf8(const char *text, size_t n, unsigned *point)
{
    const unsigned char *s = (const unsigned char *)text;
    static const unsigned least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (!length || length > n) return 0;
    unsigned p = length == 1 ? s[0] : s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2) return 0;
        p = p << 6 | (s[i] & 63u);
    }
    if (p < least[length] || p > 0x10ffff || (p >= 0xd800 && p <= 0xdfff)) return 0;
    *point = p;
    return length;
}

/* C1 controls, and marks that hide, join or reorder what is around them. */
static bool is_treacherous(unsigned p)
{
    return (p >= 0x80 && p < 0xa0) || p == 0xad || p == 0x61c || (p >= 0x200b && p <= 0x200f) ||
           (p >= 0x2028 && p <= 0x202e) || (p >= 0x2060 && p <= 0x206f) || p == 0xfeff ||
           (p >= 0xfff0 && p <= 0xfffb) || p >= 0xe0000;
}

char *safe_text(char *dst, size_t size, const char *src, size_t n)
{
    bool utf8 = locale_is_utf8();
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        char piece[16];
        unsigned char c = (unsigned char)src[i];
        unsigned point = 0;
        size_t length = utf8 ? read_utf8(src + i, n - i, &point) : c < 0x80;
        if (length <= 1) point = c;
        if (c == '\n') snprintf(piece, sizeof piece, "\\n");
        else if (c == '\t') snprintf(piece, sizeof piece, "\\t");
        else if (c == '\r') snprintf(piece, sizeof piece, "\\r");
        else if (!length || c < 0x20 || c == 0x7f) snprintf(piece, sizeof piece, "\\x%02x", c);
        else if (is_treacherous(point)) snprintf(piece, sizeof piece, "\\u{%x}", point);
        else snprintf(piece, sizeof piece, "%.*s", (int)length, src + i);
        size_t bytes = strlen(piece);
        if (used + bytes + 4 > size) { /* what is left out is told by dots */
            memcpy(dst + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(dst + used, piece, bytes);
        used += bytes;
        i += length ? length : 1;
    }
    dst[used] = 0;
    return dst;
}

char *safe_name(char dst[SAFE_NAME], const char *src) { return safe_text(dst, SAFE_NAME, src, strlen(src)); }

/* Columns of the character at text, and its bytes. */
static unsigned next_width(const char *text, size_t *bytes)
{
    wchar_t wide;
    mbstate_t state;
    memset(&state, 0, sizeof state);
    size_t n = mbrtowc(&wide, text, strlen(text), &state);
    if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
        *bytes = 1;
        return 1;
    }
    *bytes = n;
    int columns = wcwidth(wide);
    return columns < 0 ? 1 : (unsigned)columns;
}

unsigned text_width(const char *text)
{
    unsigned width = 0;
    size_t bytes;
    for (; *text; text += bytes) width += next_width(text, &bytes);
    return width;
}

const char *dots(const terminal *term) { return term->utf8 ? "\xe2\x80\xa6" : ".."; }
const char *arrow(const terminal *term) { return term->utf8 ? "\xe2\x86\x92" : "->"; }

/* Finds the bytes between the first `head` and the last `tail` columns of a text of `all` columns. */
static void find_middle(const char *text, unsigned all, unsigned head, unsigned tail, size_t *begin, size_t *end)
{
    unsigned seen = 0;
    size_t bytes;
    *begin = 0;
    for (const char *s = text; *s; s += bytes) {
        unsigned columns = next_width(s, &bytes);
        if (seen + columns <= head) *begin = (size_t)(s - text) + bytes;
        seen += columns;
        *end = (size_t)(s - text) + bytes;
        if (all - seen <= tail) break;
    }
}

static void cut(char *text, unsigned width, bool at_end)
{
    unsigned all = text_width(text);
    if (all <= width) return;
    const char *mark = locale_is_utf8() ? "\xe2\x80\xa6" : "..";
    size_t begin = 0, end = 0, mark_bytes = strlen(mark);
    unsigned mark_width = text_width(mark), keep = width > mark_width ? width - mark_width : 0;
    /* The mark may take more bytes than what it stands for: then one character more goes. */
    for (;; keep--) {
        /* The end of a name tells more than its beginning. */
        unsigned head = at_end ? keep : keep / 3;
        find_middle(text, all, head, keep - head, &begin, &end);
        if (begin + mark_bytes <= end || keep == 0) break;
    }
    if (begin + mark_bytes > end) return; /* a text of one or two bytes */
    memcpy(text + begin, mark, mark_bytes);
    memmove(text + begin + mark_bytes, text + end, strlen(text + end) + 1);
}

void shorten(char *text, unsigned width) { cut(text, width, false); }
void shorten_end(char *text, unsigned width) { cut(text, width, true); }

void print_wrapped(const terminal *term, const char *text, unsigned indent)
{
    char safe[2 * FPR_VERDICT_BYTES];
    unsigned at = 0;
    text = safe_text(safe, sizeof safe, text, strlen(text));
    while (*text) {
        size_t bytes, word = strcspn(text, " ");
        if (!strncmp(text + word, " %", 2)) word += 2 + strcspn(text + word + 2, " "); /* a number keeps its sign */
        unsigned width = 0;
        for (size_t i = 0; i < word; i += bytes) width += next_width(text + i, &bytes);
        if (!at) fprintf(term->out, "%*s", (int)indent, ""), at = indent;
        else if (at + 1 + width <= term->width) fputc(' ', term->out), at++;
        else fprintf(term->out, "\n%*s", (int)indent, ""), at = indent;
        /* A word that is longer than a line is broken. */
        for (size_t i = 0; i < word; i += bytes) {
            width = next_width(text + i, &bytes);
            if (at + width > term->width) fprintf(term->out, "\n%*s", (int)indent, ""), at = indent;
            fprintf(term->out, "%.*s", (int)bytes, text + i);
            at += width;
        }
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', term->out);
}

/* ---- numbers */

char *number_count(char dst[NUMBER_TEXT], uint64_t n)
{
    char digits[NUMBER_TEXT];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), used = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) dst[used++] = ',';
        dst[used++] = digits[i];
    }
    dst[used] = 0;
    return dst;
}

char *number_bytes(char dst[NUMBER_TEXT], double n)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    size_t unit = 0;
    /* 999.95 would be printed as 1000.0. */
    while (unit < 4 && n >= (unit ? 999.95 : 1000)) n /= 1000, unit++;
    snprintf(dst, NUMBER_TEXT, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
    return dst;
}

char *number_share(char dst[NUMBER_TEXT], double share)
{
    double percent = 100 * share;
    if (isnan(percent)) snprintf(dst, NUMBER_TEXT, "-");
    else if (percent == 0) snprintf(dst, NUMBER_TEXT, "0 %%");
    else if (percent < 0.01) snprintf(dst, NUMBER_TEXT, "<0.01 %%");
    else if (percent < 9.995) snprintf(dst, NUMBER_TEXT, "%.2f %%", percent);
    else if (percent < 99.95) snprintf(dst, NUMBER_TEXT, "%.1f %%", percent);
    else if (percent < 100) snprintf(dst, NUMBER_TEXT, ">99.9 %%"); /* all but a few is not all */
    else snprintf(dst, NUMBER_TEXT, "%.0f %%", percent);
    return dst;
}

char *number_seconds(char dst[NUMBER_TEXT], double seconds)
{
    if (seconds < 9.995) snprintf(dst, NUMBER_TEXT, "%.2f s", seconds);
    else if (seconds < 99.95) snprintf(dst, NUMBER_TEXT, "%.1f s", seconds);
    else snprintf(dst, NUMBER_TEXT, "%llu:%02llu min", (unsigned long long)(seconds + 0.5) / 60,
                  (unsigned long long)(seconds + 0.5) % 60);
    return dst;
}

char *number_plain(char dst[NUMBER_TEXT], double x)
{
    if (isnan(x)) snprintf(dst, NUMBER_TEXT, "-");
    else if (fabs(x) < 1e-12) snprintf(dst, NUMBER_TEXT, "0"); /* what rounding leaves of nothing */
    else number_weight(dst, x);
    return dst;
}

char *number_weight(char dst[NUMBER_TEXT], double x)
{
    if (isnan(x)) snprintf(dst, NUMBER_TEXT, "-");
    else if (x == 0) snprintf(dst, NUMBER_TEXT, "0");
    else if (fabs(x) < 0.001 || fabs(x) >= 1e6) snprintf(dst, NUMBER_TEXT, "%.1e", x);
    else snprintf(dst, NUMBER_TEXT, fabs(x) < 100 ? "%.3f" : "%.1f", x);
    return dst;
}

char *number_figure(char dst[NUMBER_TEXT], fpr_figure_kind kind, double x)
{
    switch (kind) {
    case FPR_FIGURE_SHARE: return number_share(dst, x);
    case FPR_FIGURE_WEIGHT: return number_weight(dst, x);
    case FPR_FIGURE_COUNT: return number_count(dst, (uint64_t)x);
    default: return number_plain(dst, x);
    }
}

char *shape_text(char dst[SHAPE_TEXT], const uint64_t *shape, unsigned rank)
{
    size_t used = 0;
    dst[0] = 0;
    for (unsigned i = 0; i < rank && used + 24 < SHAPE_TEXT; i++)
        used += (size_t)snprintf(dst + used, SHAPE_TEXT - used, i ? "x%llu" : "%llu", (unsigned long long)shape[i]);
    return dst;
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Aligned columns that adapt to the width at hand. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A name is not shortened below this, nor below a third of the width while there is a column to give up for it. */
enum { LEAST_NAME = 14 };

struct table {
    const column *columns;
    size_t column_count, cell_count, room;
    char **cells;
    bool broken; /* out of memory: what is there is printed */
};

table *table_new(const column *columns, size_t count)
{
    table *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->columns = columns;
    t->column_count = count;
    return t;
}

void table_free(table *t)
{
    if (!t) return;
    for (size_t i = 0; i < t->cell_count; i++) free(t->cells[i]);
    free(t->cells);
    free(t);
}

void table_cell(table *t, const char *format, ...)
{
    if (!t || t->broken) return;
    if (t->cell_count == t->room) {
        size_t room = t->room ? 2 * t->room : 16 * t->column_count;
        void *cells = realloc(t->cells, room * sizeof *t->cells);
        if (!cells) {
            t->broken = true;
            return;
        }
        t->cells = cells;
        t->room = room;
    }
    va_list list;
    va_start(list, format);
    if (vasprintf(&t->cells[t->cell_count], format, list) < 0) t->broken = true;
    else t->cell_count++;
    va_end(list);
}

static void print_cell(const terminal *term, const char *text, unsigned width, bool right, bool last)
{
    unsigned has = text_width(text);
    int gap = has < width ? (int)(width - has) : 0;
    if (right) fprintf(term->out, "%*s%s", gap, "", text);
    else fprintf(term->out, "%s%*s", text, last ? 0 : gap, "");
}

/* Bytes that all names of the first column begin with, up to a dot or slash: what tells nothing goes first. */
static size_t common_beginning(const table *t, size_t row_count)
{
    size_t common = row_count > 1 ? strlen(t->cells[0]) : 0;
    for (size_t r = 1; r < row_count; r++) {
        const char *name = t->cells[r * t->column_count];
        size_t n = 0;
        while (n < common && name[n] == t->cells[0][n]) n++;
        common = n;
    }
    while (common && t->cells[0][common - 1] != '.' && t->cells[0][common - 1] != '/') common--;
    return common;
}

/* The same of their ends, from a dot or slash on, behind what they have in common at their beginning. */
static size_t common_end(const table *t, size_t row_count, size_t begun)
{
    const char *first = row_count > 1 ? t->cells[0] : "";
    size_t common = strlen(first) > begun ? strlen(first) - begun - 1 : 0;
    for (size_t r = 1; r < row_count; r++) {
        const char *name = t->cells[r * t->column_count];
        const size_t length = strlen(name);
        size_t n = 0;
        while (n < common && begun + n + 1 < length && name[length - 1 - n] == first[strlen(first) - 1 - n]) n++;
        common = n;
    }
    const char *end = first + strlen(first) - common;
    while (*end && *end != '.' && *end != '/') end++;
    return strlen(end);
}

typedef struct shared { size_t begin, end; } shared; /* bytes that the names of a table have in common */

static void print_row(const table *t, const terminal *term, unsigned indent, const unsigned *widths, shared skip,
                      size_t row)
{
    size_t last = 0; /* column with something to print: no spaces at the end of a line */
    for (size_t c = 0; c < t->column_count; c++) {
        if (widths[c] && (row == 0 || t->cells[(row - 1) * t->column_count + c][0])) last = c;
    }
    fprintf(term->out, "%*s%s", (int)indent, "", row ? "" : style_on(term, STYLE_BOLD));
    for (size_t c = 0; c <= last; c++) {
        if (!widths[c]) continue;
        char cell[SAFE_NAME];
        const char *text = row ? t->cells[(row - 1) * t->column_count + c] : t->columns[c].title;
        if (c == 0 && row && text_width(text) > widths[0])
            snprintf(cell, sizeof cell, "%s%.*s%s", skip.begin ? dots(term) : "",
                     (int)(strlen(text) - skip.begin - skip.end), text + skip.begin, skip.end ? dots(term) : "");
        else
            snprintf(cell, sizeof cell, "%s", text);
        if (c == 0) shorten(cell, widths[0]);
        print_cell(term, cell, widths[c], t->columns[c].right, c == last);
        if (c != last) fputs("  ", term->out);
    }
    fprintf(term->out, "%s\n", row ? "" : style_off(term));
}

void table_print(const table *t, const terminal *term, unsigned indent)
{
    enum { MOST = 24 };
    unsigned widths[MOST];
    if (!t || t->column_count > MOST) return;
    size_t row_count = t->cell_count / t->column_count;
    for (size_t c = 0; c < t->column_count; c++) {
        widths[c] = text_width(t->columns[c].title);
        for (size_t r = 0; r < row_count; r++) {
            unsigned width = text_width(t->cells[r * t->column_count + c]);
            if (width > widths[c]) widths[c] = width;
        }
    }
    unsigned name = widths[0], least = term->width / 3 > LEAST_NAME ? term->width / 3 : LEAST_NAME;
    for (;;) {
        unsigned others = indent;
        size_t goes = 0;
        for (size_t c = 1; c < t->column_count; c++) {
            if (!widths[c]) continue;
            others += widths[c] + 2;
            if (t->columns[c].rank >= t->columns[goes].rank && t->columns[c].rank) goes = c;
        }
        unsigned left = term->width > others ? term->width - others : 0;
        if (left >= name) break;
        if (left >= least || !goes) {
            widths[0] = left > LEAST_NAME ? left : LEAST_NAME < name ? LEAST_NAME : name;
            break;
        }
        widths[goes] = 0;
    }
    shared skip = {0};
    if (widths[0] < name) skip.begin = common_beginning(t, row_count), skip.end = common_end(t, row_count, skip.begin);
    for (size_t r = 0; r <= row_count; r++) print_row(t, term, indent, widths, skip, r);
}

/* Comma-separated values. */
#include "collect/table.h"

#include <stdlib.h>

/* One field, cut in place; *at moves behind what ends it, which is returned: ',', '\n', 0, or '"' for quotes that do not
 * close or are followed by more. */
static char next_field(char **at, const char **field)
{
    char *from = *at, *to = from;
    if (*from != '"') {
        from += strcspn(from, ",\r\n");
        to = from;
    } else {
        bool closed = false;
        for (from++; *from && !closed; from++) {
            closed = *from == '"' && *++from != '"';
            if (!closed) *to++ = *from;
            else from--;
        }
        if (!closed) return '"';
    }
    *field = *at;
    char end = *from;
    if (end == '\r' && from[1] == '\n') end = *++from;
    else if (end == '\r') end = '\n';
    if (end && end != ',' && end != '\n') return '"';
    *at = end ? from + 1 : from;
    *to = 0;
    return end;
}

static int by_key(const void *a, const void *b, void *context)
{
    const collect_table *t = context;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const int order = strcmp(collect_table_cell(t, i, 0), collect_table_cell(t, j, 0));
    return order ? order : (i > j) - (i < j);
}

/* Fields of one line into row, of t->columns where that is known. */
static fpr_status read_line(char **at, size_t line, collect_table *t, size_t *room, fpr_error *error)
{
    size_t column = 0;
    char end = ',';
    for (; end == ','; column++) {
        const char *field;
        end = next_field(at, &field);
        if (end == '"') return base_fail(error, FPR_BAD_PROFILE, "line %zu: quotes that do not close", line + 1);
        if (line && column >= t->columns)
            return base_fail(error, FPR_BAD_PROFILE, "line %zu has more fields than there are headings", line + 1);
        const size_t wanted = line ? (t->rows + 2) * t->columns : column + 1;
        if (wanted > *room) {
            const char **longer = base_grow(t->cells, wanted * 2, sizeof *longer);
            if (!longer) return base_no_memory(error, wanted * 2 * sizeof *longer);
            t->cells = longer;
            *room = wanted * 2;
        }
        t->cells[(line ? (t->rows + 1) * t->columns : 0) + column] = field;
    }
    if (!line) t->columns = column;
    else for (; column < t->columns; column++) t->cells[(t->rows + 1) * t->columns + column] = "";
    t->rows += line > 0;
    return FPR_OK;
}

fpr_status collect_table_parse(char *text, size_t count, collect_table *t, fpr_error *error)
{
    *t = (collect_table){.text = text};
    size_t room = 0;
    fpr_status status = FPR_OK;
    char *at = text;
    if (strlen(text) != count) status = base_fail(error, FPR_BAD_PROFILE, "no table: it holds a NUL byte");
    if (!strncmp(at, "\xEF\xBB\xBF", 3)) at += 3;
    for (size_t line = 0; !status && (*at || !line); line++) {
        if (line && (*at == '\n' || (at[0] == '\r' && at[1] == '\n'))) { /* an empty line */
            at += *at == '\r' ? 2 : 1;
            continue;
        }
        status = read_line(&at, line, t, &room, error);
    }
    if (!status && !(t->sorted = base_alloc(t->rows, sizeof *t->sorted)))
        status = base_no_memory(error, t->rows * sizeof *t->sorted);
    for (size_t i = 0; !status && i < t->rows; i++) t->sorted[i] = i;
    if (!status && t->rows) qsort_r(t->sorted, t->rows, sizeof *t->sorted, by_key, t);
    if (status) collect_table_free(t);
    return status;
}

void collect_table_free(collect_table *t)
{
    base_free(t->text);
    base_free(t->cells);
    base_free(t->sorted);
    *t = (collect_table){0};
}

size_t collect_table_column(const collect_table *t, const char *heading)
{
    for (size_t i = 0; i < t->columns; i++)
        if (!strcmp(t->cells[i], heading)) return i;
    return SIZE_MAX;
}

const char *collect_table_cell(const collect_table *t, size_t row, size_t column)
{
    return t->cells[(row + 1) * t->columns + column];
}

size_t collect_table_find(const collect_table *t, const char *key, size_t *first)
{
    size_t low = 0, high = t->rows, count = 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(collect_table_cell(t, t->sorted[middle], 0), key) < 0) low = middle + 1;
        else high = middle;
    }
    *first = low;
    while (low + count < t->rows && !strcmp(collect_table_cell(t, t->sorted[low + count], 0), key)) count++;
    return count;
}

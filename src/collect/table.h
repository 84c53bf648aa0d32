/* Tables as comma-separated values (RFC 4180), with a line of headings: what people know of models and layers. */
#ifndef FPR_COLLECT_TABLE_H
#define FPR_COLLECT_TABLE_H

#include "base/base.h"

typedef struct collect_table {
    char *text;          /* the file, cut into fields in place */
    const char **cells;  /* [rows + 1][columns], the headings first; a short line has empty fields at its end */
    size_t rows, columns;
    size_t *sorted;      /* [rows] by the first column, then by place */
} collect_table;

/* Takes text (base_alloc of count + 1 bytes, text[count] = 0), also on failure. FPR_BAD_PROFILE: quotes that do not close,
 * lines longer than the headings, no headings. */
fpr_status collect_table_parse(char *text, size_t count, collect_table *table, fpr_error *error);
void collect_table_free(collect_table *table);
/* The column of that heading; SIZE_MAX: none. */
size_t collect_table_column(const collect_table *table, const char *heading);
const char *collect_table_cell(const collect_table *table, size_t row, size_t column);
/* The rows whose first field is key: sorted[*first] .. , their number. */
size_t collect_table_find(const collect_table *table, const char *key, size_t *first);

#endif

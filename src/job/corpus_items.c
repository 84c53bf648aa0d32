/* What the models of a corpus are: checkpoints, profiles, or runs of rows that a table names. */
#include "job/corpus.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TABLE_BYTES_MAX (UINT64_C(1) << 30)

const char *corpus_profile_path(const corpus_item *item) { return item->given ? item->path : item->stored; }

profile_source corpus_source(const corpus_item *item)
{
    return (profile_source){item->path, item->name, item->rows, item->row_count};
}

void corpus_items_free(corpus_run *run)
{
    for (size_t i = 0; run->items && i < run->item_count; i++) {
        base_free(run->items[i].name);
        base_free(run->items[i].stored);
        base_free(run->items[i].rows);
    }
    base_free(run->items);
    collect_table_free(&run->table);
    collect_table_free(&run->layers);
}

static fpr_status read_table(const char *path, collect_table *table, fpr_error *error)
{
    char *text;
    size_t count;
    fpr_status status = profile_read_file(path, TABLE_BYTES_MAX, &text, &count, error);
    if (status) return status;
    status = collect_table_parse(text, count, table, error);
    if (status) base_error_in_file(error, path);
    return status;
}

static fpr_status is_profile(const char *path, bool *yes, fpr_error *error)
{
    file_source *file;
    uint8_t head[4] = {0};
    fpr_status status = file_source_open(path, &file, error);
    if (status) return status;
    if (file_source_size(file) >= sizeof head) status = file_source_read(file, 0, head, sizeof head, error);
    *yes = !status && collect_is_profile(head, sizeof head);
    file_source_close(file);
    return status;
}

static char *stored_path(const corpus_run *run, const char *name)
{
    const char *folder = run->request->folder;
    const size_t n = strlen(folder) + strlen(name) + 16;
    char *path = base_alloc(n, 1);
    if (path) {
        strcpy(path, folder);
        strcat(path, "/profiles/");
        strcat(path, name);
        strcat(path, ".fpp");
    }
    return path;
}

static fpr_status add_item(corpus_run *run, const char *path, char *name, bool given, corpus_item **added, fpr_error *error)
{
    corpus_item *longer = name ? base_grow(run->items, run->item_count + 1, sizeof *longer) : NULL;
    if (!longer) {
        base_free(name);
        return base_no_memory(error, (run->item_count + 1) * sizeof *longer);
    }
    run->items = longer;
    corpus_item *item = *added = &longer[run->item_count++];
    *item = (corpus_item){.path = path, .name = name, .given = given};
    if (given) return FPR_OK;
    item->stored = stored_path(run, name);
    return item->stored ? FPR_OK : base_no_memory(error, strlen(name));
}

/* ---------------------------------------------------------------- rows of a dataset */

static bool parse_count(const char *text, const char **end, uint64_t *v)
{
    char *stop;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *v = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0;
}

/* first and count of a line of the table of layers: two columns, or filter_ids "FIRST:LAST", both included. */
static bool row_range(const collect_table *t, size_t row, const size_t columns[3], uint64_t *first, uint64_t *count)
{
    const char *end;
    if (columns[2] != SIZE_MAX) {
        uint64_t last;
        if (!parse_count(collect_table_cell(t, row, columns[2]), &end, first) || *end != ':') return false;
        if (!parse_count(end + 1, &end, &last) || *end || last < *first) return false;
        *count = last - *first + 1;
        return true;
    }
    return parse_count(collect_table_cell(t, row, columns[0]), &end, first) && !*end &&
           parse_count(collect_table_cell(t, row, columns[1]), &end, count) && !*end;
}

static fpr_status add_rows(corpus_run *run, const char *path, const size_t columns[3], fpr_error *error)
{
    const collect_table *t = &run->layers;
    fpr_status status = FPR_OK;
    for (size_t i = 0, n; !status && i < t->rows; i += n) {
        const char *model = collect_table_cell(t, t->sorted[i], 0);
        size_t first;
        n = collect_table_find(t, model, &first);
        corpus_item *item;
        status = add_item(run, path, base_copy_text(model, strlen(model)), false, &item, error);
        if (status) break;
        item->rows = base_alloc(n, sizeof *item->rows);
        if (!item->rows) return base_no_memory(error, n * sizeof *item->rows);
        for (size_t r = 0; r < n; r++) {
            const size_t row = t->sorted[i + r];
            profile_rows *rows = &item->rows[item->row_count++];
            rows->name = collect_table_cell(t, row, run->tensor_column);
            if (!row_range(t, row, columns, &rows->first, &rows->count))
                return base_fail(error, FPR_BAD_PROFILE, "%s: line %zu does not say which rows", run->request->layers, row + 2);
        }
    }
    return status;
}

/* ---------------------------------------------------------------- depths that inputs know */

static fpr_status knows_depths(const corpus_run *run, const corpus_item *item, bool *knows, fpr_error *error)
{
    const model_options how = {.options = &run->options};
    fpr_model *model = NULL;
    if (item->given) {
        collect_profile p;
        fpr_status status = profile_load(item->path, false, &p, error);
        if (status) return status;
        *knows = p.deep;
        collect_profile_free(&p);
        return FPR_OK;
    }
    fpr_status status = model_open(item->path, &how, &model, error);
    if (status) return status;
    for (size_t i = 0; !*knows && i < fpr_model_tensor_count(model); i++)
        *knows = fpr_model_tensor(model, i)->depth != FPR_NO_DEPTH;
    fpr_model_close(model);
    return FPR_OK;
}

/* Before hours of work, not after them: groups by depth need a table that tells it, or one input that does. */
static fpr_status check_depths(const corpus_run *run, fpr_error *error)
{
    const fpr_corpus_request *r = run->request;
    fpr_status status = FPR_OK;
    bool asked = false, knows = run->depth_column != SIZE_MAX;
    for (size_t b = 0; b < r->by_count; b++) asked |= !strncmp(r->by[b], "depth:", 6);
    for (size_t i = 0; asked && !status && !knows && i < run->item_count; i++)
        status = knows_depths(run, &run->items[i], &knows, error);
    if (status || !asked || knows) return status;
    return base_fail(error, FPR_USAGE,
                     "groups by depth need ONNX models, or --layers, a table with the columns file, tensor and conv_depth_norm");
}

/* ---------------------------------------------------------------- all */

static int by_name(const void *a, const void *b)
{
    const corpus_item *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static fpr_status sort_items(corpus_run *run, fpr_error *error)
{
    qsort(run->items, run->item_count, sizeof *run->items, by_name);
    for (size_t i = 0; i < run->item_count; i++) {
        const char *name = run->items[i].name;
        if (!*name || strchr(name, '/') || !strcmp(name, "."))
            return base_fail(error, FPR_USAGE, "'%s' is no name of a model", name);
        if (i && !strcmp(name, run->items[i - 1].name))
            return base_fail(error, FPR_USAGE, "two models are called '%s': %s and %s", name, run->items[i - 1].path,
                             run->items[i].path);
    }
    return FPR_OK;
}

static fpr_status read_tables(corpus_run *run, fpr_error *error)
{
    fpr_status status = FPR_OK;
    run->tensor_column = run->depth_column = SIZE_MAX;
    if (run->request->table) status = read_table(run->request->table, &run->table, error);
    if (status || !run->request->layers) return status;
    status = read_table(run->request->layers, &run->layers, error);
    if (status) return status;
    run->tensor_column = collect_table_column(&run->layers, "tensor");
    run->depth_column = collect_table_column(&run->layers, "conv_depth_norm");
    if (run->tensor_column == SIZE_MAX)
        return base_fail(error, FPR_BAD_PROFILE, "%s: no column 'tensor'", run->request->layers);
    return FPR_OK;
}

fpr_status corpus_read_by(const corpus_run *run, const char *by, unsigned *parts, size_t *column, fpr_error *error)
{
    *parts = 0;
    *column = SIZE_MAX;
    if (strncmp(by, "depth:", 6) != 0) {
        if (run->table.columns) *column = collect_table_column(&run->table, by);
        return *column != SIZE_MAX ? FPR_OK : base_fail(error, FPR_USAGE, "the table has no column '%s'", by);
    }
    char *end;
    const unsigned long n = strtoul(by + 6, &end, 10);
    if (by[6] < '1' || by[6] > '9' || *end || n > 1000) return base_fail(error, FPR_USAGE, "'%s': depth:1 to depth:1000", by);
    *parts = (unsigned)n;
    return FPR_OK;
}

fpr_status corpus_items(corpus_run *run, fpr_error *error)
{
    const fpr_corpus_request *r = run->request;
    fpr_status status = read_tables(run, error);
    /* Before hours of work, not after them. */
    for (size_t b = 0; !status && b < r->by_count; b++) {
        unsigned parts;
        size_t column;
        status = corpus_read_by(run, r->by[b], &parts, &column, error);
    }
    const size_t columns[3] = {collect_table_column(&run->layers, "first"), collect_table_column(&run->layers, "count"),
                               collect_table_column(&run->layers, "filter_ids")};
    const bool has_rows = (columns[0] != SIZE_MAX && columns[1] != SIZE_MAX) || columns[2] != SIZE_MAX;
    size_t datasets = 0;
    for (size_t i = 0; !status && i < r->input_count; i++) {
        bool given = false;
        corpus_item *item;
        status = is_profile(r->inputs[i], &given, error);
        if (status) break;
        if (has_rows && !given) {
            if (datasets++)
                return base_fail(error, FPR_USAGE, "%s names rows of one file, and there are more: %s", r->layers, r->inputs[i]);
            status = add_rows(run, r->inputs[i], columns, error);
            continue;
        }
        char *name = profile_stem(r->inputs[i]);
        if (given && name) { /* a profile knows the name of its model */
            collect_profile p;
            status = profile_load(r->inputs[i], false, &p, error);
            base_free(name);
            if (status) break;
            name = p.name;
            p.name = NULL;
            collect_profile_free(&p);
        }
        status = add_item(run, r->inputs[i], name, given, &item, error);
    }
    if (!status && !run->item_count) status = base_fail(error, FPR_USAGE, "there are no models");
    if (!status) status = sort_items(run, error);
    return status ? status : check_depths(run, error);
}

/* ---------------------------------------------------------------- depths */

static int by_tensor(const void *a, const void *b, void *context)
{
    const corpus_run *run = context;
    return strcmp(collect_table_cell(&run->layers, *(const size_t *)a, run->tensor_column),
                  collect_table_cell(&run->layers, *(const size_t *)b, run->tensor_column));
}

fpr_status corpus_depths_of(const corpus_run *run, const char *model, corpus_depths *d, fpr_error *error)
{
    size_t first = 0;
    *d = (corpus_depths){.run = run};
    if (run->depth_column == SIZE_MAX) return FPR_OK;
    d->count = collect_table_find(&run->layers, model, &first);
    d->rows = base_alloc(d->count, sizeof *d->rows);
    if (!d->rows) return base_no_memory(error, d->count * sizeof *d->rows);
    for (size_t i = 0; i < d->count; i++) d->rows[i] = run->layers.sorted[first + i];
    if (d->count) qsort_r(d->rows, d->count, sizeof *d->rows, by_tensor, (void *)(uintptr_t)run);
    return FPR_OK;
}

double corpus_depth(const corpus_depths *d, const char *tensor)
{
    size_t low = 0, high = d->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(collect_table_cell(&d->run->layers, d->rows[middle], d->run->tensor_column), tensor);
        if (!order) {
            const char *text = collect_table_cell(&d->run->layers, d->rows[middle], d->run->depth_column);
            char *end;
            const double v = strtod(text, &end);
            return end > text && !*end && v >= 0 && v <= 1 ? v : NAN;
        }
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NAN;
}

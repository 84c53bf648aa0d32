/* Groups of a corpus: sums over layers by columns of the table and by depth, and how far the groups are apart. */
#include "job/compare.h"
#include "job/corpus.h"
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* One --by: what the groups are called, and their sums. */
typedef struct grouping {
    const char *column;
    unsigned parts;       /* of depth; 0: a column of the table */
    size_t table_column;
    char **names;         /* sorted; of depth: by interval */
    collect_sum *sums;    /* [count] */
    size_t count, left_out; /* left_out: layers without a group */
    size_t *of_item;      /* [items] group of a model, SIZE_MAX: none (columns only) */
} grouping;

typedef struct grouped {
    corpus_run *run;
    grouping *by;
    size_t by_count;
    uint64_t **counts;    /* [items] of each model, [k][bins]; NULL: none of these kernels */
} grouped;

/* ---------------------------------------------------------------- which groups there are */

static const char *value_of(const corpus_run *run, size_t item, size_t column)
{
    size_t first;
    if (!collect_table_find(&run->table, run->items[item].name, &first)) return "";
    return collect_table_cell(&run->table, run->table.sorted[first], column);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static fpr_status add_name(grouping *g, const char *text, fpr_error *error)
{
    char **longer = base_grow(g->names, g->count + 1, sizeof *longer);
    if (!longer) return base_no_memory(error, (g->count + 1) * sizeof *longer);
    g->names = longer;
    longer[g->count] = base_copy_text(text, strlen(text));
    return longer[g->count] ? (g->count++, FPR_OK) : base_no_memory(error, strlen(text));
}

/* Right-closed intervals of equal width; the first is closed on both sides. */
static fpr_status name_depths(grouping *g, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (unsigned i = 0; !status && i < g->parts; i++) {
        char text[2 * REPORT_NUMBER + 8], low[REPORT_NUMBER], high[REPORT_NUMBER];
        report_format_double(low, round(1e6 * i / g->parts) / 1e6);
        report_format_double(high, round(1e6 * (i + 1) / g->parts) / 1e6);
        snprintf(text, sizeof text, "%c%s, %s]", i ? '(' : '[', low, high);
        status = add_name(g, text, error);
    }
    return status;
}

static fpr_status name_values(const corpus_run *run, grouping *g, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < run->item_count; i++) {
        const char *value = value_of(run, i, g->table_column);
        if (*value) status = add_name(g, value, error);
    }
    if (status) return status;
    if (g->count) qsort(g->names, g->count, sizeof *g->names, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < g->count; i++) {
        if (kept && !strcmp(g->names[kept - 1], g->names[i])) base_free(g->names[i]);
        else g->names[kept++] = g->names[i];
    }
    g->count = kept;
    for (size_t i = 0; i < run->item_count; i++) {
        const char *value = value_of(run, i, g->table_column);
        char *const *found = *value ? bsearch(&value, g->names, g->count, sizeof *g->names, by_text) : NULL;
        g->of_item[i] = found ? (size_t)(found - g->names) : SIZE_MAX;
    }
    return FPR_OK;
}

static fpr_status open_grouping(const corpus_run *run, const char *by, grouping *g, fpr_error *error)
{
    const fpr_corpus *c = run->result;
    g->column = by;
    g->table_column = SIZE_MAX;
    g->of_item = base_alloc(run->item_count, sizeof *g->of_item);
    if (!g->of_item) return base_no_memory(error, run->item_count * sizeof *g->of_item);
    fpr_status status = corpus_read_by(run, by, &g->parts, &g->table_column, error);
    if (!status) status = g->parts ? name_depths(g, error) : name_values(run, g, error);
    g->sums = status ? NULL : base_calloc(g->count, sizeof *g->sums);
    if (!status && !g->sums) status = base_no_memory(error, g->count * sizeof *g->sums);
    for (size_t i = 0; !status && i < g->count; i++) status = collect_sum_init(&g->sums[i], c->k, c->bins, error);
    return status;
}

static size_t group_of(const grouping *g, size_t item, double depth)
{
    if (!g->parts) return g->of_item[item];
    if (isnan(depth)) return SIZE_MAX;
    for (unsigned i = 0; i < g->parts; i++)
        if (depth <= (double)(i + 1) / g->parts) return i;
    return g->parts - 1;
}

static void close_groupings(grouped *all)
{
    for (size_t b = 0; all->by && b < all->by_count; b++) {
        grouping *g = &all->by[b];
        for (size_t i = 0; i < g->count; i++) base_free(g->names[i]);
        for (size_t i = 0; g->sums && i < g->count; i++) collect_sum_free(&g->sums[i]);
        base_free(g->names);
        base_free(g->sums);
        base_free(g->of_item);
    }
    for (size_t i = 0; all->counts && i < all->run->item_count; i++) base_free(all->counts[i]);
    base_free(all->by);
    base_free(all->counts);
}

/* ---------------------------------------------------------------- adding up */

static fpr_status layer_row(fpr_corpus *c, const char *model, const collect_layer *l, double depth, fpr_error *error)
{
    if (c->layer_count % 1024 == 0) {
        fpr_corpus_layer *longer = base_grow(c->layers, c->layer_count + 1024, sizeof *longer);
        if (!longer) return base_no_memory(error, (c->layer_count + 1024) * sizeof *longer);
        c->layers = longer;
    }
    fpr_corpus_layer *row = &c->layers[c->layer_count++];
    *row = (fpr_corpus_layer){.model = base_copy_text(model, strlen(model)), .name = base_copy_text(l->name, strlen(l->name)),
                              .depth = depth, .kernels = l->kernels, .sparse = l->sparse, .finite = l->finite,
                              .max_abs = l->max_abs, .variance_entropy = l->variance_entropy,
                              .variance_entropy_clean = l->variance_entropy_clean, .orthogonality = l->orthogonality};
    row->variance_entropy_normalized = collect_normalized_entropy(l->k, l->variance_entropy, l->kernels);
    row->variance_entropy_clean_normalized =
        collect_normalized_entropy(l->k, l->variance_entropy_clean, l->kernels - l->sparse);
    return row->model && row->name ? FPR_OK : base_no_memory(error, strlen(l->name));
}

static fpr_status add_layers(grouped *all, size_t i, const collect_profile *p, collect_sum *own, fpr_error *error)
{
    corpus_run *run = all->run;
    corpus_depths depths;
    fpr_status status = corpus_depths_of(run, run->items[i].name, &depths, error);
    for (size_t l = 0; !status && l < p->layer_count; l++) {
        const collect_layer *layer = &p->layers[l];
        if (!collect_same_shape(layer, &run->grid)) continue;
        const double stated = corpus_depth(&depths, layer->name), depth = isnan(stated) ? layer->depth : stated;
        status = layer_row(run->result, run->items[i].name, layer, depth, error);
        if (status || !layer->finite) continue;
        collect_sum_add(own, &run->items[i], layer);
        for (size_t b = 0; b < all->by_count; b++) {
            const size_t group = group_of(&all->by[b], i, depth);
            if (group == SIZE_MAX) all->by[b].left_out++;
            else collect_sum_add(&all->by[b].sums[group], &run->items[i], layer);
        }
    }
    base_free(depths.rows);
    return status;
}

static fpr_status add_model(grouped *all, size_t i, fpr_error *error)
{
    corpus_run *run = all->run;
    fpr_corpus *c = run->result;
    collect_profile p;
    collect_sum own;
    fpr_status status = profile_load(corpus_profile_path(&run->items[i]), true, &p, error);
    if (status) return status;
    bool has = false;
    for (size_t l = 0; l < p.layer_count; l++) has |= p.layers[l].finite && collect_same_shape(&p.layers[l], &run->grid);
    if (has && (!p.counted || !collect_same_grid(&p.grid, &run->grid))) {
        collect_profile_free(&p);
        return base_fail(error, FPR_CHANGED, "%s is no longer what it was", corpus_profile_path(&run->items[i]));
    }
    status = collect_sum_init(&own, c->k, c->bins, error);
    if (!status) status = add_layers(all, i, &p, &own, error);
    if (!status && own.layers) {
        all->counts[i] = base_alloc((uint64_t)c->k * c->bins, sizeof(uint64_t));
        if (!all->counts[i]) status = base_no_memory(error, (uint64_t)c->k * c->bins * sizeof(uint64_t));
        else collect_bins(own.cells, c->k, c->bins, all->counts[i]);
    }
    fpr_corpus_model *m = &c->models[c->model_count++];
    *m = (fpr_corpus_model){base_copy_text(run->items[i].name, strlen(run->items[i].name)), own.layers, own.kernels, own.sparse};
    if (!status && !m->name) status = base_no_memory(error, strlen(run->items[i].name));
    collect_sum_free(&own);
    collect_profile_free(&p);
    return status;
}

/* ---------------------------------------------------------------- groups as rows of a comparison */

static fpr_status fill_distribution(const corpus_run *run, const collect_sum *s, fpr_distribution *d, double *scratch,
                                    fpr_error *error)
{
    const size_t cells = s->bins << COLLECT_ZOOM;
    d->kernels = s->kernels;
    d->counts = base_alloc((uint64_t)s->k * s->bins, sizeof *d->counts);
    d->kde = base_alloc(s->k, sizeof *d->kde);
    if (!d->counts || !d->kde) return base_no_memory(error, s->k * sizeof *d->kde);
    collect_bins(s->cells, s->k, s->bins, d->counts);
    for (unsigned i = 0; i < s->k; i++)
        collect_density(s->cells + i * cells, cells, run->grid.range, run->options.bandwidth, run->options.bandwidth_value,
                        scratch, &d->kde[i]);
    return FPR_OK;
}

static fpr_status fill_group(const corpus_run *run, const collect_sum *s, const char *name, fpr_compared *row,
                             fpr_corpus_group *more, double *scratch, fpr_error *error)
{
    *row = (fpr_compared){.path = base_copy_text(name, strlen(name)), .layers = s->layers, .kernels = s->kernels,
                          .live = s->kernels - s->sparse};
    *more = (fpr_corpus_group){.models = s->models, .layers = s->layers, .kernels = s->kernels, .sparse = s->sparse,
                               .entropy = s->entropies ? s->entropy / (double)s->entropies : NAN};
    more->plane = base_alloc(COLLECT_SIDE * COLLECT_SIDE, sizeof *more->plane);
    if (!row->path || !more->plane) return base_no_memory(error, COLLECT_SIDE * COLLECT_SIDE * sizeof *more->plane);
    memcpy(more->plane, s->plane, COLLECT_SIDE * COLLECT_SIDE * sizeof *more->plane);
    fpr_status status = fill_distribution(run, s, &row->distribution, scratch, error);
    if (!status) status = study_basis_new(&more->basis, s->k, error);
    if (!status) status = fpr_moments_finish(&s->moments, &more->basis, error);
    return status;
}

static fpr_status fill_divergences(const corpus_run *run, fpr_comparison *c, fpr_error *error)
{
    const size_t n = c->model_count;
    c->divergence = base_calloc(n * n, sizeof *c->divergence);
    c->per_component = base_calloc(n * n * c->k, sizeof *c->per_component);
    if (!c->divergence || !c->per_component) return base_no_memory(error, n * n * c->k * sizeof(double));
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            double *parts = c->per_component + (i * n + j) * c->k;
            const double d = collect_divergence(c->models[i].distribution.counts, c->models[j].distribution.counts, c->k,
                                                c->bins, run->grid.range, c->weights, parts);
            memcpy(c->per_component + (j * n + i) * c->k, parts, c->k * sizeof *parts);
            c->divergence[i * n + j] = c->divergence[j * n + i] = d;
            c->models[i].mean_shift += d / (double)(n - 1);
            c->models[j].mean_shift += d / (double)(n - 1);
        }
    return FPR_OK;
}

/* Each model of a group against what else is in it, and against the other groups. place: row of each group. */
static fpr_status fill_boxes(const grouped *all, const grouping *g, const size_t *place, fpr_corpus_by *by, fpr_error *error)
{
    const corpus_run *run = all->run;
    const fpr_comparison *c = by->groups;
    const size_t n = c->model_count, size = (size_t)c->k * c->bins;
    double *within = base_alloc(run->item_count, sizeof *within), *between = base_alloc((uint64_t)run->item_count * n, sizeof *between);
    uint64_t *rest = base_alloc(size, sizeof *rest);
    fpr_status status = within && between && rest ? FPR_OK : base_no_memory(error, run->item_count * n * sizeof(double));
    for (size_t group = 0; !status && group < g->count; group++) {
        if (place[group] == SIZE_MAX) continue;
        size_t inside = 0, outside = 0;
        for (size_t i = 0; i < run->item_count; i++) {
            if (g->of_item[i] != group || !all->counts[i]) continue;
            for (size_t d = 0; d < size; d++) rest[d] = c->models[place[group]].distribution.counts[d] - all->counts[i][d];
            if (g->sums[group].models > 1)
                within[inside++] = collect_divergence(all->counts[i], rest, c->k, c->bins, run->grid.range, c->weights, NULL);
            for (size_t other = 0; other < n; other++)
                if (other != place[group])
                    between[outside++] = collect_divergence(all->counts[i], c->models[other].distribution.counts, c->k, c->bins,
                                                            run->grid.range, c->weights, NULL);
            if ((status = job_cancelled(&run->options, error))) break;
        }
        collect_box(within, inside, &by->more[place[group]].within);
        collect_box(between, outside, &by->more[place[group]].between);
    }
    base_free(within);
    base_free(between);
    base_free(rest);
    return status;
}

static fpr_status finish_grouping(const grouped *all, const grouping *g, fpr_corpus_by *by, fpr_error *error)
{
    const corpus_run *run = all->run;
    const fpr_corpus *whole = run->result;
    by->column = base_copy_text(g->column, strlen(g->column));
    fpr_comparison *c = by->groups = base_calloc(1, sizeof *c);
    by->more = base_calloc(g->count, sizeof *by->more);
    double *scratch = base_alloc(COLLECT_DENSITY_SCRATCH(whole->bins << COLLECT_ZOOM), sizeof *scratch);
    size_t *place = base_alloc(g->count, sizeof *place);
    fpr_status status = by->column && c && by->more && scratch && place ? FPR_OK : base_no_memory(error, g->count * sizeof *by->more);
    if (!status) {
        c->models = base_calloc(g->count, sizeof *c->models);
        c->weights = base_alloc(whole->k, sizeof *c->weights);
        c->kernel_rank = whole->kernel_rank, c->k = whole->k, c->bins = whole->bins, c->paper = whole->paper;
        memcpy(c->kernel_shape, whole->kernel_shape, sizeof c->kernel_shape);
        memcpy(c->range, whole->range, sizeof c->range);
        c->basis_source = base_copy_text(whole->basis_source, strlen(whole->basis_source));
        if (!c->models || !c->weights || !c->basis_source) status = base_no_memory(error, g->count * sizeof *c->models);
    }
    if (!status) memcpy(c->weights, whole->weights, whole->k * sizeof *c->weights);
    if (!status) status = study_basis_new(&c->basis, whole->k, error);
    if (!status) study_basis_copy(&c->basis, &whole->basis, whole->k);
    for (size_t i = 0; !status && i < g->count; i++) {
        place[i] = SIZE_MAX;
        if (!g->sums[i].layers) continue; /* no layer is so deep */
        place[i] = c->model_count++;
        status = fill_group(run, &g->sums[i], g->names[i], &c->models[place[i]], &by->more[place[i]], scratch, error);
    }
    if (!status) status = fill_divergences(run, c, error);
    if (!status && !g->parts) status = fill_boxes(all, g, place, by, error);
    fpr_options options = run->options;
    if (g->parts) options.order = FPR_ORDER_GIVEN; /* depth has an order of its own */
    if (!status) status = compare_conclude(c, &options, error);
    base_free(scratch);
    base_free(place);
    return status;
}

static fpr_status warn_left_out(const grouped *all, fpr_error *error)
{
    fpr_corpus *c = all->run->result;
    fpr_status status = FPR_OK;
    size_t broken = 0;
    for (size_t b = 0; !status && b < all->by_count; b++)
        if (all->by[b].left_out)
            status = rows_warn(&c->warnings, &c->warning_count, error, "%s: %zu layers are in no group", all->by[b].column,
                               all->by[b].left_out);
    for (size_t i = 0; i < c->layer_count; i++) broken += !c->layers[i].finite;
    if (!status && broken)
        status = rows_warn(&c->warnings, &c->warning_count, error, "%zu layers hold NaN or Inf: left out", broken);
    return status;
}

fpr_status corpus_group_all(corpus_run *run, fpr_error *error)
{
    const fpr_corpus_request *r = run->request;
    fpr_corpus *c = run->result;
    grouped all = {.run = run, .by = base_calloc(r->by_count, sizeof *all.by),
                   .counts = base_calloc(run->item_count, sizeof *all.counts)};
    c->models = base_calloc(run->item_count, sizeof *c->models);
    c->by = base_calloc(r->by_count, sizeof *c->by);
    fpr_status status = all.by && all.counts && c->models && c->by ? FPR_OK : base_no_memory(error, run->item_count * 64);
    for (size_t b = 0; !status && b < r->by_count; b++) status = open_grouping(run, r->by[b], &all.by[all.by_count++], error);
    for (size_t i = 0; !status && i < run->item_count; i++) status = add_model(&all, i, error);
    for (size_t b = 0; !status && b < r->by_count; b++)
        status = finish_grouping(&all, &all.by[b], &c->by[c->by_count++], error);
    if (!status) status = warn_left_out(&all, error);
    close_groupings(&all);
    return status;
}

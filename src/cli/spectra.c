/* The table of spectra: what a user reads before choosing --structure and --amount. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>

#define SHOWN 15 /* without -v */

typedef struct entry {
    const char *name;
    const uint64_t *shape;
    unsigned rank;
    size_t place;
    const fpr_spectrum *spectrum;
} entry;

static double needed(const fpr_spectrum *s) { return s->full_rank ? (double)s->rank99 / (double)s->full_rank : 2; }

/* What needs the smallest share of its rank first; ties in the order of the file. */
static int by_need(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const double p = needed(x->spectrum), q = needed(y->spectrum);
    if (p != q) return p < q ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static size_t collect(const fpr_report *r, entry *list)
{
    size_t n = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->spectrum.known) list[n] = (entry){ l->name, l->shape, l->rank, n, &l->spectrum }, n++;
    }
    for (uint64_t i = 0; i < r->other_count; i++) {
        const fpr_other *t = &r->others[i];
        if (t->spectrum.known) list[n] = (entry){ t->name, t->shape, t->rank, n, &t->spectrum }, n++;
    }
    qsort(list, n, sizeof *list, by_need);
    return n;
}

static void cells(table *t, const entry *e)
{
    char a[NUMBER_TEXT], name[SAFE_NAME], shape[SHAPE_TEXT];
    const fpr_spectrum *s = e->spectrum;
    table_cell(t, "%s", safe_name(name, e->name));
    table_cell(t, "%s", shape_text(shape, e->shape, e->rank));
    table_cell(t, "%s", number_share(a, needed(s) > 1 ? NAN : needed(s)));
    table_cell(t, "%s", number_weight(a, s->norm));
    table_cell(t, "%s", number_plain(a, s->stable_rank));
    table_cell(t, "%s", number_plain(a, s->effective_rank));
    table_cell(t, "%s", number_count(a, s->rank90));
    table_cell(t, "%s", number_count(a, s->rank99));
    table_cell(t, "%s", number_count(a, s->rank999));
    table_cell(t, "%s", number_count(a, s->full_rank));
    table_cell(t, "%s", number_plain(a, s->condition));
    table_cell(t, "%s", number_plain(a, s->alpha));
}

void print_spectra(const fpr_report *r, bool all, const terminal *term)
{
    static const column columns[] = {
        { "layer", false, 0 },       { "shape", true, 6 },          { "needed", true, 0 }, { "norm", true, 4 },
        { "stable rank", true, 3 },  { "effective rank", true, 2 }, { "90 %", true, 8 },   { "99 %", true, 1 },
        { "99.9 %", true, 9 },       { "full rank", true, 5 },      { "condition", true, 7 }, { "alpha", true, 0 },
    };
    entry *list = malloc((r->layer_count + r->other_count + 1) * sizeof *list);
    table *t = table_new(columns, sizeof columns / sizeof *columns);
    if (list && t) {
        const size_t n = collect(r, list), shown = all || n < SHOWN ? n : SHOWN;
        for (size_t i = 0; i < shown; i++) cells(t, &list[i]);
        fprintf(term->out, "\n  Layers as matrices; \"needed\" is the share of the rank that holds 99 %% of the energy%s\n",
                n ? "" : ": none");
        if (n) table_print(t, term, 2);
        if (shown < n)
            fprintf(term->out, "  %sThe %zu most redundant; all %zu with -v%s\n", style_on(term, STYLE_DIM), shown, n,
                    style_off(term));
    }
    table_free(t);
    free(list);
}

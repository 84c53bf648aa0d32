/* The table of spectra: what a user reads before choosing --structure and --amount. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>

#define SHOWN 15 /* without -v */
#define COLUMNS_MOST 24

static void cells(table *t, const fpr_spectrum_row *e)
{
    char a[NUMBER_TEXT], name[SAFE_NAME], shape[SHAPE_TEXT];
    size_t figures;
    const fpr_spectrum_figure *figure = fpr_spectrum_figures(&figures);
    table_cell(t, "%s", safe_text(name, sizeof name, e->name, e->name_bytes));
    table_cell(t, "%s", shape_text(shape, e->shape, e->rank));
    for (size_t i = 0; i < figures; i++) table_cell(t, "%s", number_figure(a, figure[i].kind, figure[i].of(e->spectrum)));
}

void print_spectra(const fpr_report *r, bool all, const terminal *term)
{
    column columns[COLUMNS_MOST] = { { "layer", false, 0 }, { "shape", true, 6 } };
    size_t figures, count = 2;
    const fpr_spectrum_figure *figure = fpr_spectrum_figures(&figures);
    for (size_t i = 0; i < figures && count < COLUMNS_MOST; i++)
        columns[count++] = (column){ figure[i].title, true, figure[i].rank };
    fpr_spectrum_row *list = malloc((r->layer_count + r->other_count + 1) * sizeof *list);
    table *t = table_new(columns, count);
    if (list && t) {
        const size_t n = fpr_report_spectra(r, list), shown = all || n < SHOWN ? n : SHOWN;
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

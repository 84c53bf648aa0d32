/* Spectra of whole layers: their JSON, and their section of the page. */
#include "report/page.h"

#include <math.h>
#include <stdlib.h>

#define PLOTS 60 /* layers whose spectrum is drawn */

void report_spectrum(report_out *out, const fpr_spectrum *s)
{
    if (!s->known) return;
    report_key(out, "spectrum");
    report_begin(out, '{');
    report_key(out, "norm"), report_number(out, s->norm);
    report_key(out, "stable_rank"), report_number(out, s->stable_rank);
    report_key(out, "effective_rank"), report_number(out, s->effective_rank);
    report_key(out, "rank90"), report_integer(out, s->rank90);
    report_key(out, "rank99"), report_integer(out, s->rank99);
    report_key(out, "rank999"), report_integer(out, s->rank999);
    report_key(out, "condition"), report_number(out, s->condition);
    report_key(out, "alpha"), report_number(out, s->alpha);
    report_end(out, '}');
}

/* A layer or linear tensor with its spectrum. */
typedef struct entry {
    const char *name;
    size_t name_bytes, place;
    const uint64_t *shape;
    unsigned rank;
    const fpr_spectrum *spectrum;
} entry;

/* The share of the rank that holds 99 % of the energy. */
static double needed(const fpr_spectrum *s)
{
    return s->full_rank ? (double)s->rank99 / (double)s->full_rank : NAN;
}

/* What is most redundant first; ties in the order of the file. */
static int by_need(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const double p = needed(x->spectrum), q = needed(y->spectrum);
    if (p != q) return p < q ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static void cell(report_out *out, double v)
{
    report_text(out, "<td>");
    page_value(out, v);
    report_text(out, "</td>");
}

static void row(report_out *out, const entry *e)
{
    const fpr_spectrum *s = e->spectrum;
    report_text(out, "<tr><th scope=\"row\">");
    page_name(out, e->name, e->name_bytes);
    report_text(out, "</th><td>");
    page_shape(out, e->shape, e->rank);
    report_text(out, "</td><td>");
    page_share(out, needed(s));
    report_text(out, "</td>");
    cell(out, s->norm), cell(out, s->stable_rank), cell(out, s->effective_rank);
    cell(out, (double)s->rank90), cell(out, (double)s->rank99), cell(out, (double)s->rank999);
    cell(out, (double)s->full_rank), cell(out, s->condition), cell(out, s->alpha);
    report_text(out, "</tr>\n");
}

static void plot(report_out *out, const entry *e, double *values)
{
    const fpr_spectrum *s = e->spectrum;
    if (s->value_count < 2 || !(s->norm > 0)) return;
    const svg_plot axes = {{0, (double)s->full_rank - 1, 34, 196}, {-4, 0, 96, 20}};
    for (unsigned i = 0; i < s->value_count; i++)
        values[i] = s->values[i] > 1e-4f ? log10((double)s->values[i]) : -4; /* the floor of the plot */
    svg_open(out, "spectrum", 204, 122);
    report_text(out, "Singular values of ");
    page_short(out, e->name, e->name_bytes, 60);
    svg_draw(out);
    report_text(out, "<text class=\"label\" x=\"34\" y=\"12\">");
    page_short(out, e->name, e->name_bytes, 26);
    report_text(out, "</text>");
    svg_axis_y(out, &axes, 4, false, NULL);
    svg_curve(out, "thin", &axes, 0, ((double)s->full_rank - 1) / (s->value_count - 1), values, s->value_count, false);
    svg_axis_x(out, &axes, 3, NULL);
    svg_close(out);
}

static size_t collect(const fpr_report *r, entry *list)
{
    size_t n = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->spectrum.known) list[n] = (entry){l->name, l->name_bytes, n, l->shape, l->rank, &l->spectrum}, n++;
    }
    for (uint64_t i = 0; i < r->other_count; i++) {
        const fpr_other *t = &r->others[i];
        if (t->spectrum.known) list[n] = (entry){t->name, t->name_bytes, n, t->shape, t->rank, &t->spectrum}, n++;
    }
    qsort(list, n, sizeof *list, by_need);
    return n;
}

void page_spectra(report_out *out, const fpr_report *r)
{
    if (!r->options.spectra) return;
    entry *list = base_alloc(r->layer_count + r->other_count, sizeof *list);
    double *values = base_alloc(FPR_SPECTRUM_POINTS, sizeof *values);
    const size_t n = list && values ? collect(r, list) : 0;
    if (!list || !values) out->failed = FPR_NO_MEMORY;
    report_text(out, "<section id=\"spectra\"><h2>Spectra of whole layers</h2>\n");
    if (!n) report_text(out, "<p>No layer has a spectrum.</p>");
    if (n) {
        report_text(out, "<p>Each layer as a matrix, outputs by inputs and kernel weights, the most redundant first: those "
                         "that need the smallest share of their rank for 99&nbsp;% of their energy (the sum of squares of "
                         "singular values).</p>\n<div class=\"scroll\"><table class=\"sortable\"><thead><tr>"
                         "<th scope=\"col\">layer</th><th scope=\"col\">shape</th><th scope=\"col\">needed</th>"
                         "<th scope=\"col\">norm</th><th scope=\"col\">stable rank</th>"
                         "<th scope=\"col\">effective rank</th><th scope=\"col\">90&nbsp;%</th>"
                         "<th scope=\"col\">99&nbsp;%</th><th scope=\"col\">99.9&nbsp;%</th>"
                         "<th scope=\"col\">full rank</th><th scope=\"col\">condition</th>"
                         "<th scope=\"col\">alpha</th></tr></thead><tbody>\n");
        for (size_t i = 0; i < n; i++) row(out, &list[i]);
        report_text(out, "</tbody></table></div>\n<figure><div class=\"panels\">");
        for (size_t i = 0; i < n && i < PLOTS; i++) plot(out, &list[i], values);
        report_text(out, "</div><figcaption><b>Singular values</b> by falling size, as powers of ten of the largest; "
                         "what is below 1e&minus;4 of it lies on the floor.");
        if (n > PLOTS) page_print(out, " The %d most redundant of %zu are drawn.", PLOTS, n);
        report_text(out, " Alpha is the exponent of the tail as WeightWatcher fits it, on the pool of a convolution's "
                         "slices; depthwise layers have none.</figcaption></figure>");
    }
    report_text(out, "</section>\n");
    base_free(list);
    base_free(values);
}

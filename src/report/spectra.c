/* Spectra of whole layers: their JSON, and their section of the page. */
#include "report/page.h"

#include <math.h>
#include <stdlib.h>

#define PLOTS 60 /* layers whose spectrum is drawn */

/* The share of the rank that holds 99 % of the energy. */
static double needed(const fpr_spectrum *s) { return s->full_rank ? (double)s->rank99 / (double)s->full_rank : NAN; }
static double norm(const fpr_spectrum *s) { return s->norm; }
static double stable_rank(const fpr_spectrum *s) { return s->stable_rank; }
static double effective_rank(const fpr_spectrum *s) { return s->effective_rank; }
static double rank90(const fpr_spectrum *s) { return (double)s->rank90; }
static double rank99(const fpr_spectrum *s) { return (double)s->rank99; }
static double rank999(const fpr_spectrum *s) { return (double)s->rank999; }
static double full_rank(const fpr_spectrum *s) { return (double)s->full_rank; }
static double condition(const fpr_spectrum *s) { return s->condition; }
static double alpha(const fpr_spectrum *s) { return s->alpha; }

static const fpr_spectrum_figure figures[] = {
    {NULL, "needed", FPR_FIGURE_SHARE, needed, 0},
    {"norm", "norm", FPR_FIGURE_WEIGHT, norm, 4},
    {"stable_rank", "stable rank", FPR_FIGURE_NUMBER, stable_rank, 3},
    {"effective_rank", "effective rank", FPR_FIGURE_NUMBER, effective_rank, 2},
    {"rank90", "90 %", FPR_FIGURE_COUNT, rank90, 8},
    {"rank99", "99 %", FPR_FIGURE_COUNT, rank99, 1},
    {"rank999", "99.9 %", FPR_FIGURE_COUNT, rank999, 9},
    {NULL, "full rank", FPR_FIGURE_COUNT, full_rank, 5},
    {"condition", "condition", FPR_FIGURE_NUMBER, condition, 7},
    {"alpha", "alpha", FPR_FIGURE_NUMBER, alpha, 0},
};
enum { FIGURES = sizeof figures / sizeof *figures };

FPR_API const fpr_spectrum_figure *fpr_spectrum_figures(size_t *count)
{
    *count = FIGURES;
    return figures;
}

void report_spectrum(report_out *out, const fpr_spectrum *s)
{
    if (!s->known) return;
    report_key(out, "spectrum");
    report_begin(out, '{');
    for (unsigned i = 0; i < FIGURES; i++)
        if (figures[i].key) report_key(out, figures[i].key), report_number(out, figures[i].of(s));
    report_end(out, '}');
}

/* What is most redundant first, what has no rank last; ties in the order of the report. */
static int by_need(const void *a, const void *b)
{
    const fpr_spectrum_row *x = a, *y = b;
    const double p = x->spectrum->full_rank ? needed(x->spectrum) : 2, q = y->spectrum->full_rank ? needed(y->spectrum) : 2;
    if (p != q) return p < q ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

FPR_API size_t fpr_report_spectra(const fpr_report *r, fpr_spectrum_row *rows)
{
    size_t n = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->spectrum.known) rows[n] = (fpr_spectrum_row){l->name, l->name_bytes, n, l->shape, l->rank, &l->spectrum}, n++;
    }
    for (uint64_t i = 0; i < r->other_count; i++) {
        const fpr_other *t = &r->others[i];
        if (t->spectrum.known) rows[n] = (fpr_spectrum_row){t->name, t->name_bytes, n, t->shape, t->rank, &t->spectrum}, n++;
    }
    qsort(rows, n, sizeof *rows, by_need);
    return n;
}

static void row(report_out *out, const fpr_spectrum_row *e)
{
    report_text(out, "<tr><th class=\"left\" scope=\"row\">");
    page_name(out, e->name, e->name_bytes);
    report_text(out, "</th><td>");
    page_shape(out, e->shape, e->rank);
    report_text(out, "</td>");
    for (unsigned i = 0; i < FIGURES; i++) {
        const double v = figures[i].of(e->spectrum);
        report_text(out, "<td data-v=\"");
        page_number(out, v);
        report_text(out, "\">");
        if (figures[i].kind == FPR_FIGURE_SHARE) page_share(out, v);
        else if (figures[i].kind == FPR_FIGURE_COUNT) page_count(out, (uint64_t)v);
        else page_value(out, v);
        report_text(out, "</td>");
    }
    report_text(out, "</tr>\n");
}

static void plot(report_out *out, const fpr_spectrum_row *e, double *values)
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

void page_spectra(report_out *out, const fpr_report *r)
{
    if (!r->options.spectra) return;
    fpr_spectrum_row *list = base_alloc(r->layer_count + r->other_count, sizeof *list);
    double *values = base_alloc(FPR_SPECTRUM_POINTS, sizeof *values);
    const size_t n = list && values ? fpr_report_spectra(r, list) : 0;
    if (!list || !values) out->failed = FPR_NO_MEMORY;
    report_text(out, "<section id=\"spectra\"><h2>Spectra of whole layers</h2>\n");
    if (!n) report_text(out, "<p>No layer has a spectrum.</p>");
    if (n) {
        report_text(out, "<p>Each layer as a matrix, outputs by inputs and kernel weights, the most redundant first: those "
                         "that need the smallest share of their rank for 99&nbsp;% of their energy (the sum of squares of "
                         "singular values).</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of "
                         "spectra\"><table class=\"sortable\"><thead><tr><th class=\"left\" scope=\"col\">layer</th>"
                         "<th scope=\"col\">shape</th>");
        for (unsigned i = 0; i < FIGURES; i++) {
            report_text(out, "<th scope=\"col\">");
            page_text(out, figures[i].title, strlen(figures[i].title));
            report_text(out, "</th>");
        }
        report_text(out, "</tr></thead><tbody>\n");
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

/* Figure 3, second half: a ridge plot, models by components. */
#include "report/page.h"

#include <math.h>

typedef struct ridge {
    const fpr_comparison *c;
    const size_t *order;
    size_t n;
    double left, width, gap, pitch, rise;
    double *scaled; /* [FPR_KDE_POINTS] */
} ridge;

/* The part of the axis where some model's density is visible: 1 % of its peak. */
static svg_scale visible(const ridge *r, unsigned component, double from)
{
    double lo = r->c->range[1], hi = r->c->range[0];
    for (size_t m = 0; m < r->n; m++) {
        const fpr_kde *kde = &r->c->models[r->order[m]].distribution.kde[component];
        double peak = 0;
        for (int i = 0; i < FPR_KDE_POINTS; i++) peak = fmax(peak, kde->density[i]);
        int first = 0, last = FPR_KDE_POINTS - 1;
        if (kde->degenerate) first = last = FPR_KDE_POINTS / 2;
        while (first < last && kde->density[first] < 0.01 * peak) first++;
        while (last > first && kde->density[last] < 0.01 * peak) last--;
        lo = fmin(lo, kde->start + first * kde->step);
        hi = fmax(hi, kde->start + last * kde->step);
    }
    if (!(hi > lo)) lo -= 0.5, hi += 0.5;
    return (svg_scale){lo, hi, from, from + r->width};
}

static void one(report_out *out, const ridge *r, const fpr_kde *kde, const svg_scale *x, double base)
{
    svg_plot plot = {*x, {0, 1, base, base - r->rise}};
    double peak = 0;
    if (kde->degenerate) {
        double at = svg_place(x, kde->start + kde->step * (FPR_KDE_POINTS - 1) / 2);
        svg_line(out, "ridge", at, base, at, base - r->rise);
        return;
    }
    for (int i = 0; i < FPR_KDE_POINTS; i++) peak = fmax(peak, kde->density[i]);
    for (int i = 0; i < FPR_KDE_POINTS; i++) r->scaled[i] = peak > 0 ? kde->density[i] / peak : 0;
    svg_curve(out, "ridge", &plot, kde->start, kde->step, r->scaled, FPR_KDE_POINTS, true);
}

static void heads(report_out *out, const ridge *r, unsigned component, double x)
{
    char text[REPORT_NUMBER + 8] = "PC\xC2\xA0";
    report_format_integer(text + 4, component + 1);
    svg_text(out, "head mid", x + r->width / 2, 16, text);
    size_t n = report_format_fixed(text, 100 * r->c->basis.explained_variance_ratio[component], 1);
    memcpy(text + n, "\xC2\xA0%", 4);
    svg_text(out, "label mid", x + r->width / 2, 31, text);
}

static void draw(report_out *out, const ridge *r, unsigned columns)
{
    double top = 44 + r->rise, bottom = top + (double)(r->n - 1) * r->pitch + 4;
    svg_open(out, "ridges", r->left + columns * (r->width + r->gap), bottom + 36);
    report_text(out, "Density of the coefficients of every model along every component");
    svg_draw(out);
    for (size_t m = 0; m < r->n; m++) {
        char x[REPORT_NUMBER], y[REPORT_NUMBER];
        if (r->n > 60) {
            if ((m + 1) % 10 && m) continue;
            report_format_integer(x, m + 1);
            svg_text(out, "tick end", r->left - 9, top + (double)m * r->pitch, x);
            continue;
        }
        const char *name = page_model_name(r->c, r->order[m]);
        size_t count = strlen(name), suffix = strlen(".safetensors");
        if (count > suffix && strcmp(name + count - suffix, ".safetensors") == 0) count -= suffix;
        report_format_fixed(x, r->left - 9, 1);
        report_format_fixed(y, top + (double)m * r->pitch, 1);
        page_print(out, "<text class=\"name end\" x=\"%s\" y=\"%s\">", x, y);
        page_short(out, name, count, 26);
        report_text(out, "</text>");
    }
    for (unsigned i = 0; i < columns; i++) {
        double from = r->left + i * (r->width + r->gap);
        svg_scale x = visible(r, i, from);
        svg_plot axis = {x, {0, 1, bottom, top}};
        heads(out, r, i, from);
        for (size_t m = 0; m < r->n; m++)
            one(out, r, &r->c->models[r->order[m]].distribution.kde[i], &x, top + (double)m * r->pitch);
        svg_axis_x(out, &axis, 2, i == columns / 2 ? "coefficient" : NULL);
        report_text(out, "\n");
    }
    svg_close(out);
}

void page_ridges(report_out *out, const fpr_comparison *c, const size_t *order, size_t count)
{
    unsigned columns = c->k < PAGE_COMPONENTS ? c->k : PAGE_COMPONENTS;
    ridge r = {.c = c, .order = order, .n = count, .left = count > 60 ? 44 : 190, .gap = 12};
    r.pitch = count <= 12 ? 40 : count <= 40 ? 24 : count <= 100 ? 14 : 9;
    r.rise = r.pitch * 1.7;
    r.width = floor((1096 - r.left) / columns) - r.gap;
    if (r.width > 220) r.width = 220;
    r.scaled = base_alloc(FPR_KDE_POINTS, sizeof *r.scaled);
    if (!r.scaled) {
        out->failed = FPR_NO_MEMORY;
        return;
    }
    report_text(
        out, "<figure id=\"figure-3b\"><div class=\"plot\" tabindex=\"0\" role=\"region\" aria-label=\"Ridge plot\">");
    draw(out, &r, columns);
    report_text(out, "</div><figcaption><b>Figure 3b.</b> Density of the coefficients, one row a model in the order of "
                     "Figure 3a, one column a component with the variance it explains. Each curve is scaled to its own "
                     "peak; each column has its own horizontal scale, from where to where some curve reaches 1 % of "
                     "its peak.");
    if (columns < c->k) page_print(out, " The first %u of %u components are drawn.", columns, c->k);
    report_text(out, "</figcaption></figure>\n");
    base_free(r.scaled);
}

/* Pages of a corpus: one for the whole, one for each grouping. */
#include "report/page.h"

#include <math.h>

#define SCATTER 6000   /* layers drawn */
#define GROUPS_DRAWN 60
#define SHADES 32      /* of the heat map, which the densities share */

static void title(report_out *out, const fpr_corpus *c, const char *kicker)
{
    uint64_t kernels = 0;
    for (size_t i = 0; i < c->model_count; i++) kernels += c->models[i].kernels;
    page_print(out, "<header>\n<p class=\"kicker\">%s</p>\n<h1>", kicker);
    page_plural(out, c->model_count, "model", "models");
    report_text(out, ", ");
    page_shape(out, c->kernel_shape, c->kernel_rank);
    report_text(out, " kernels</h1>\n<p class=\"lede\">");
    page_plural(out, kernels, "kernel", "kernels");
    report_text(out, " of ");
    page_plural(out, c->layer_count, "layer", "layers");
    report_text(out, " in one basis, over one range.");
    if (c->paper) page_print(out, " Counted as %s did.", report_paper(c->paper));
    report_text(out, "</p>\n");
}

static void warnings(report_out *out, const fpr_corpus *c)
{
    if (!c->warning_count) return;
    report_text(out, "<div class=\"notes\" id=\"warnings\"><h2>Warnings</h2>");
    page_warnings(out, c->warnings, c->warning_count);
    report_text(out, "</div>\n");
}

/* ---------------------------------------------------------------- layers against depth */

typedef double (*measure)(const fpr_corpus_layer *);

static double sparsity(const fpr_corpus_layer *l) { return (double)l->sparse / (double)l->kernels; }
static double entropy(const fpr_corpus_layer *l) { return l->variance_entropy_normalized; }

static void scatter(report_out *out, const fpr_corpus *c, const char *head, measure of, bool percent)
{
    const size_t every = (c->layer_count + SCATTER - 1) / SCATTER;
    double most = 1;
    for (size_t i = 0; i < c->layer_count; i++)
        if (of(&c->layers[i]) > most) most = of(&c->layers[i]);
    const svg_plot plot = {{0, 1, 46, 500}, {0, most * 1.04, 224, 30}};
    svg_open(out, "depth", 512, 262);
    page_print(out, "%s of layers over their depth", head);
    svg_draw(out);
    svg_text(out, "head", 46, 16, head);
    svg_axis_y(out, &plot, 5, percent, NULL);
    for (size_t i = 0; i < c->layer_count; i += every) {
        const double v = of(&c->layers[i]);
        if (!c->layers[i].finite || !isfinite(v) || isnan(c->layers[i].depth)) continue;
        page_print(out, "<circle cx=\"%d\" cy=\"%d\" r=\"2\"/>", (int)lround(svg_place(&plot.x, c->layers[i].depth)),
                   (int)lround(svg_place(&plot.y, v)));
    }
    svg_axis_x(out, &plot, 6, "depth of the layer, 0 to 1");
    svg_close(out);
}

static void depths(report_out *out, const fpr_corpus *c)
{
    size_t known = 0;
    for (size_t i = 0; i < c->layer_count; i++) known += !isnan(c->layers[i].depth);
    if (!known) return;
    report_text(out, "<section id=\"depth\"><h2>Depth</h2>\n<figure><div class=\"panels\">");
    scatter(out, c, "Sparse kernels", sparsity, true);
    if (c->k == 9) scatter(out, c, "Variance entropy / T(n)", entropy, false);
    report_text(out, "</div><figcaption><b>Depth.</b> One point a layer, by the depth that the table of layers gives");
    if (c->layer_count > SCATTER) page_print(out, "; every %zu-th is drawn", (c->layer_count + SCATTER - 1) / SCATTER);
    report_text(out, ".</figcaption></figure></section>\n");
}

/* ---------------------------------------------------------------- the whole */

static void model_table(report_out *out, const fpr_corpus *c)
{
    report_text(out, "<section id=\"models\"><h2>Models</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                     "aria-label=\"Table of models\"><table class=\"sortable\"><thead><tr><th class=\"left\" "
                     "scope=\"col\">Model</th><th scope=\"col\">Layers</th><th scope=\"col\">Kernels</th><th "
                     "scope=\"col\">Live</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < c->model_count; i++) {
        const fpr_corpus_model *m = &c->models[i];
        report_text(out, "<tr><th class=\"left\" scope=\"row\">");
        page_path(out, m->name);
        report_text(out, "</th><td>");
        page_count(out, m->layers);
        report_text(out, "</td><td>");
        page_count(out, m->kernels);
        report_text(out, "</td><td>");
        page_share(out, m->kernels ? (double)(m->kernels - m->sparse) / (double)m->kernels : NAN);
        report_text(out, "</td></tr>\n");
    }
    report_text(out, "</tbody></table></div></section>\n");
}

static void whole(report_out *out, const fpr_corpus *c)
{
    page_begin(out, "corpus", NULL);
    title(out, c, "filterprune corpus");
    report_text(out, "<ul class=\"tiles\">");
    for (size_t i = 0; i < c->by_count; i++) {
        report_text(out, "<li><p>Groups by</p><p class=\"big\">");
        page_path(out, c->by[i].column);
        report_text(out, "</p><p>");
        page_plural(out, c->by[i].groups->model_count, "group", "groups");
        page_print(out, ": <a href=\"by-%zu.html\">page</a></p></li>", i + 1);
    }
    report_text(out, "</ul>\n");
    warnings(out, c);
    report_text(out, "</header>\n<main id=\"main\">\n<section id=\"basis\"><h2>Basis</h2>\n");
    page_basis(out, &c->basis, c->kernel_rank, c->kernel_shape, c->k);
    report_text(out, "</section>\n");
    depths(out, c);
    model_table(out, c);
    page_footer(out);
}

/* ---------------------------------------------------------------- boxes */

static void box(report_out *out, const char *class_name, const fpr_box *b, const svg_scale *x, double y)
{
    if (!b->n) return;
    const double least = svg_place(x, b->least), low = svg_place(x, b->low), median = svg_place(x, b->median),
                 high = svg_place(x, b->high), most = svg_place(x, b->most);
    svg_line(out, "axis", least, y, low, y);
    svg_line(out, "axis", high, y, most, y);
    svg_rect(out, class_name, low, y - 4, fmax(high - low, 1), 8);
    svg_line(out, "ink", median, y - 5, median, y + 5);
}

static void boxes(report_out *out, const fpr_corpus_by *by, size_t drawn)
{
    const fpr_comparison *c = by->groups;
    double most = 0;
    for (size_t i = 0; i < drawn; i++) {
        const fpr_corpus_group *g = &by->more[c->order[i]];
        if (g->within.n && g->within.most > most) most = g->within.most;
        if (g->between.n && g->between.most > most) most = g->between.most;
    }
    if (!(most > 0)) return;
    const double bottom = 20 + (double)drawn * 26;
    const svg_plot plot = {{0, most, 190, 800}, {0, 1, bottom, 14}};
    static const svg_key keys[] = {{"fillbar", "to the rest of its group", true}, {"bar2", "to the other groups", true}};
    report_text(out, "<figure id=\"boxes\">");
    svg_legend(out, keys, 2);
    report_text(out, "<div class=\"plot\" tabindex=\"0\" role=\"region\" aria-label=\"Box plots\">");
    svg_open(out, "boxes", 820, bottom + 36);
    report_text(out, "Divergence of the models of each group within it and to the other groups");
    svg_draw(out);
    for (size_t i = 0; i < drawn; i++) {
        const size_t g = c->order[i];
        const double y = 24 + (double)i * 26;
        char x[REPORT_NUMBER], place[REPORT_NUMBER];
        report_format_fixed(x, 182, 1);
        report_format_fixed(place, y + 6, 1);
        page_print(out, "<text class=\"name end\" x=\"%s\" y=\"%s\">", x, place);
        page_short(out, page_model_name(c, g), strlen(page_model_name(c, g)), 26);
        report_text(out, "</text>");
        box(out, "fillbar", &by->more[g].within, &plot.x, y - 4);
        box(out, "bar2", &by->more[g].between, &plot.x, y + 7);
    }
    svg_axis_x(out, &plot, 6, "divergence");
    svg_close(out);
    report_text(out, "</div><figcaption><b>Within and between.</b> Divergence of each model to what else is in its group "
                     "(above) and to each of the other groups (below): least, quartiles, most. A group means something "
                     "where the upper box lies left of the lower one.</figcaption></figure>\n");
}

/* ---------------------------------------------------------------- density of the first two components */

static void plane(report_out *out, const fpr_corpus *c, const uint64_t *counts)
{
    const unsigned side = c->plane_side;
    uint64_t most = 0;
    for (unsigned i = 0; i < side * side; i++) most = counts[i] > most ? counts[i] : most;
    page_print(out, "<svg role=\"img\" class=\"density\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\"><title>Density of "
                    "the first two coefficients</title>", side * 5, side * 5, side * 5, side * 5);
    for (unsigned y = 0; most && y < side; y++)
        for (unsigned x = 0; x < side; x++) {
            const uint64_t v = counts[y * side + x];
            if (!v) continue;
            const double t = log1p((double)v) / log1p((double)most);
            page_print(out, "<rect class=\"v%u\" x=\"%u\" y=\"%u\" width=\"5\" height=\"5\"/>",
                       t >= 1 ? SHADES - 1 : (unsigned)(t * SHADES), x * 5, (side - 1 - y) * 5);
        }
    report_text(out, "</svg>");
}

static void planes(report_out *out, const fpr_corpus *c, const fpr_corpus_by *by, size_t drawn)
{
    if (c->k < 2) return;
    report_text(out, "<section id=\"plane\"><h2>First two components</h2>\n<figure><ul class=\"kernels\">");
    for (size_t i = 0; i < drawn; i++) {
        const size_t g = by->groups->order[i];
        report_text(out, "<li>");
        plane(out, c, by->more[g].plane);
        page_path(out, page_model_name(by->groups, g));
        report_text(out, "</li>\n");
    }
    report_text(out, "</ul><figcaption><b>Density of the first two coefficients</b> (PC\xC2\xA0""1 to the right, PC\xC2\xA0""2 up), "
                     "over the common range; colours by the logarithm of the count, to each group's own peak."
                     "</figcaption></figure></section>\n");
}

/* ---------------------------------------------------------------- one grouping */

static void group_table(report_out *out, const fpr_corpus *c, const fpr_corpus_by *by)
{
    const fpr_comparison *all = by->groups;
    report_text(out, "<section id=\"groups\"><h2>Groups</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                     "aria-label=\"Table of groups\"><table class=\"sortable\"><thead><tr><th class=\"left\" "
                     "scope=\"col\">Group</th><th scope=\"col\">Models</th><th scope=\"col\">Layers</th><th "
                     "scope=\"col\">Kernels</th><th scope=\"col\">Live</th><th scope=\"col\">Entropy / T(n)</th><th "
                     "scope=\"col\">Mean shift</th><th class=\"left\" scope=\"col\">Nearest</th>");
    const unsigned columns = c->k < PAGE_COMPONENTS ? c->k : PAGE_COMPONENTS;
    for (unsigned k = 0; k < columns; k++) page_print(out, "<th scope=\"col\">PC\xC2\xA0%u</th>", k + 1);
    report_text(out, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < all->model_count; i++) {
        const size_t g = all->order[i];
        const fpr_corpus_group *m = &by->more[g];
        report_text(out, "<tr><th class=\"left\" scope=\"row\">");
        page_path(out, all->models[g].path);
        report_text(out, "</th><td>");
        page_count(out, m->models);
        report_text(out, "</td><td>");
        page_count(out, m->layers);
        report_text(out, "</td><td>");
        page_count(out, m->kernels);
        report_text(out, "</td><td>");
        page_share(out, (double)(m->kernels - m->sparse) / (double)m->kernels);
        report_text(out, "</td><td>");
        page_value(out, m->entropy);
        report_text(out, "</td><td>");
        page_value(out, all->models[g].mean_shift);
        report_text(out, "</td><td class=\"left wide\">");
        page_path(out, page_model_name(all, all->models[g].nearest));
        report_text(out, "</td>");
        for (unsigned k = 0; k < columns; k++) {
            report_text(out, "<td>");
            page_share(out, m->basis.explained_variance_ratio[k]);
            report_text(out, "</td>");
        }
        report_text(out, "</tr>\n");
    }
    report_text(out, "</tbody></table></div><p class=\"soft\">PC: the variance that each component of the group's own basis "
                     "explains.</p></section>\n");
}

static void eigen_kernels(report_out *out, const fpr_corpus *c, const fpr_corpus_by *by, size_t drawn)
{
    report_text(out, "<section id=\"bases\"><h2>Eigen-kernels of each group</h2>\n");
    for (size_t i = 0; i < drawn; i++) {
        const size_t g = by->groups->order[i];
        report_text(out, "<h3>");
        page_path(out, by->groups->models[g].path);
        report_text(out, "</h3>");
        page_basis(out, &by->more[g].basis, c->kernel_rank, c->kernel_shape, c->k);
    }
    report_text(out, "</section>\n");
}

static void one_grouping(report_out *out, const fpr_corpus *c, const fpr_corpus_by *by)
{
    const fpr_comparison *all = by->groups;
    const size_t drawn = all->model_count < GROUPS_DRAWN ? all->model_count : GROUPS_DRAWN;
    page_begin(out, "corpus", by->column);
    title(out, c, "filterprune corpus");
    report_text(out, "<p>Groups by ");
    page_path(out, by->column);
    report_text(out, "; <a href=\"corpus.html\">the whole</a>.</p>");
    warnings(out, c);
    report_text(out, "</header>\n<main id=\"main\">\n");
    if (all->model_count) {
        report_text(out, "<section id=\"shift\"><h2>Distribution shift</h2>\n");
        page_heat_map(out, all, all->order, all->model_count < 200 ? all->model_count : 200);
        boxes(out, by, drawn);
        page_ridges(out, all, all->order, drawn);
        report_text(out, "</section>\n");
        planes(out, c, by, drawn);
        group_table(out, c, by);
        eigen_kernels(out, c, by, drawn < 24 ? drawn : 24);
    }
    page_footer(out);
}

fpr_status fpr_corpus_html(const fpr_corpus *c, size_t by, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    if (by < c->by_count) one_grouping(&out, c, &c->by[by]);
    else whole(&out, c);
    return report_close(&out, error);
}

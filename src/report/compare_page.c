/* The page of a comparison: Figure 3, the basis, the models and the pairs. */
#include "report/page.h"

#include <math.h>
#include <stdlib.h>

#define MODELS_DRAWN 200 /* in the figures */
#define ROWS 1000        /* in the table of models */
#define PAIRS 200        /* in the table of pairs */

typedef struct pair {
    size_t a, b;
    double shift;
} pair;

/* Largest first; ties by place, so that the order never depends on the sorting. */
static int by_shift(const void *left, const void *right)
{
    const pair *x = left, *y = right;
    if (x->shift != y->shift) return x->shift < y->shift ? 1 : -1;
    if (x->a != y->a) return x->a < y->a ? -1 : 1;
    return x->b < y->b ? -1 : x->b > y->b;
}

static double ordered(double v) { return isfinite(v) ? v : -1; }

static size_t *model_order(const fpr_comparison *c)
{
    size_t n = c->model_count;
    if (c->order) {
        size_t *copy = base_alloc(n, sizeof *copy);
        if (copy) memcpy(copy, c->order, n * sizeof *copy);
        return copy;
    }
    pair *keys = base_alloc(n, sizeof *keys);
    size_t *order = base_alloc(n, sizeof *order);
    if (keys && order) {
        for (size_t i = 0; i < n; i++) keys[i] = (pair){i, 0, ordered(c->models[i].mean_shift)};
        qsort(keys, n, sizeof *keys, by_shift);
        for (size_t i = 0; i < n; i++) order[i] = keys[i].a;
    } else {
        base_free(order);
        order = NULL;
    }
    base_free(keys);
    return order;
}

static pair *all_pairs(const fpr_comparison *c, size_t *count)
{
    size_t n = c->model_count;
    uint64_t most;
    *count = 0;
    pair *pairs = base_multiply(n, n, &most) ? base_alloc(most / 2, sizeof *pairs) : NULL;
    if (!pairs) return NULL;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) pairs[(*count)++] = (pair){i, j, ordered(c->divergence[i * n + j])};
    qsort(pairs, *count, sizeof *pairs, by_shift);
    return pairs;
}

static void model_name(report_out *out, const fpr_comparison *c, size_t i)
{
    page_path(out, page_model_name(c, i));
}

/* ---- first screen */

static void pair_tile(report_out *out, const fpr_comparison *c, const char *name, const pair *p)
{
    page_print(out, "<li><p>%s</p><p class=\"big\">", name);
    page_value(out, p->shift);
    report_text(out, "</p><p>");
    model_name(out, c, p->a);
    report_text(out, " and ");
    model_name(out, c, p->b);
    report_text(out, page_is_resolved(c, p->a, p->b) ? "</p></li>" : ", not resolved</p></li>");
}

/* The farthest and the closest pair, and how many are not farther apart than chance. */
static void pair_tiles(report_out *out, const fpr_comparison *c, const pair *pairs, size_t count)
{
    size_t farthest = 0, unresolved = 0;
    for (size_t i = 0; i < count; i++) unresolved += !page_is_resolved(c, pairs[i].a, pairs[i].b);
    while (farthest < count && !page_is_resolved(c, pairs[farthest].a, pairs[farthest].b)) farthest++;
    if (farthest < count) pair_tile(out, c, "Farthest pair", &pairs[farthest]);
    if (count > 1) pair_tile(out, c, "Closest pair", &pairs[count - 1]);
    if (!unresolved) return;
    report_text(out, "<li><p>Not resolved</p><p class=\"big\">");
    page_count(out, unresolved);
    report_text(out, "</p><p>of ");
    page_plural(out, count, "pair", "pairs");
    report_text(out, ": no farther apart than samples of one distribution</p></li>");
}

static size_t farthest_model(const fpr_comparison *c)
{
    size_t best = 0;
    for (size_t i = 1; i < c->model_count; i++)
        if (c->models[i].mean_shift > c->models[best].mean_shift) best = i;
    return best;
}

static void summary(report_out *out, const fpr_comparison *c, const pair *pairs, size_t pair_count)
{
    uint64_t kernels = 0;
    for (size_t i = 0; i < c->model_count; i++) kernels += c->models[i].kernels;
    report_text(out, "<header>\n<p class=\"kicker\">filterprune comparison</p>\n<h1>");
    page_plural(out, c->model_count, "model", "models");
    report_text(out, ", ");
    page_shape(out, c->kernel_shape, c->kernel_rank);
    report_text(out,
                " kernels</h1>\n<p class=\"lede\">How far apart the distributions of their convolution kernels lie: ");
    page_plural(out, kernels, "kernel", "kernels");
    report_text(out, " in one common basis of ");
    page_plural(out, c->k, "component", "components");
    report_text(out, ". 0 means alike.</p>\n<ul class=\"tiles\">");
    pair_tiles(out, c, pairs, pair_count);
    if (c->model_count > 2) {
        const size_t far = farthest_model(c);
        report_text(out, "<li><p>Farthest from all others</p><p class=\"big\">");
        page_value(out, c->models[far].mean_shift);
        report_text(out, "</p><p>");
        model_name(out, c, far);
        report_text(out, ", mean shift</p></li>");
    }
    size_t warnings = c->warning_count + c->left_out_count;
    page_print(out, "<li class=\"%s\"><p>Warnings</p><p class=\"big\">", warnings ? "warn" : "good");
    if (warnings)
        page_count(out, warnings);
    else
        report_text(out, "None");
    page_print(out, "</p><p>%s</p></li></ul>\n", warnings ? "See below." : "Every model took part.");
    if (warnings) {
        report_text(out, "<div class=\"notes\" id=\"warnings\"><h2>Warnings</h2>");
        if (c->warning_count) page_warnings(out, c->warnings, c->warning_count);
        if (c->left_out_count) {
            report_text(out, "<p>Left out, because they have no such kernels:</p>");
            page_warnings(out, c->left_out, c->left_out_count);
        }
        report_text(out, "</div>\n");
    }
    report_text(out, "</header>\n<nav aria-label=\"Sections\"><ul><li><a href=\"#shift\">Shift</a></li><li><a "
                     "href=\"#basis\">Basis</a></li><li><a href=\"#models\">Models</a></li><li><a "
                     "href=\"#pairs\">Pairs</a></li></ul></nav>\n");
}

/* ---- tables */

static void count_cell(report_out *out, uint64_t v)
{
    report_text(out, "<td>");
    page_count(out, v);
    report_text(out, "</td>");
}

static void value_cell(report_out *out, double v)
{
    report_text(out, "<td data-v=\"");
    page_number(out, v);
    report_text(out, "\">");
    page_value(out, v);
    report_text(out, "</td>");
}

static void model_table(report_out *out, const fpr_comparison *c, const size_t *order)
{
    report_text(out, "<section id=\"models\"><h2>Models</h2>\n");
    if (c->model_count > ROWS)
        page_print(out, "<p class=\"soft\">The first %u of %zu models are listed.</p>", ROWS, c->model_count);
    report_text(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of models\"><table "
        "class=\"sortable\"><thead><tr><th scope=\"col\">Place</th><th class=\"left\" scope=\"col\">Model</th><th "
        "scope=\"col\">Mean shift</th><th class=\"left\" scope=\"col\">Nearest</th><th scope=\"col\">Shift to it</th><th scope=\"col\">Layers</th><th scope=\"col\">Kernels</th><th "
        "scope=\"col\">Live</th><th scope=\"col\">Binary-like layers</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < c->model_count && i < ROWS; i++) {
        const fpr_compared *m = &c->models[order[i]];
        report_text(out, "<tr>");
        count_cell(out, i + 1);
        report_text(out, "<th class=\"left\" scope=\"row\">");
        page_path(out, m->path);
        report_text(out, "</th>");
        value_cell(out, m->mean_shift);
        report_text(out, "<td class=\"left wide\">");
        model_name(out, c, m->nearest);
        report_text(out, "</td>");
        value_cell(out, c->divergence[order[i] * c->model_count + m->nearest]);
        count_cell(out, m->layers);
        count_cell(out, m->kernels);
        report_text(out, "<td>");
        page_share(out, m->kernels ? (double)m->live / (double)m->kernels : NAN);
        report_text(out, "</td>");
        count_cell(out, m->binary_layers);
        report_text(out, "</tr>\n");
    }
    report_text(out, "</tbody></table></div></section>\n");
}

static void pair_table(report_out *out, const fpr_comparison *c, const pair *pairs, size_t count)
{
    size_t n = c->model_count;
    unsigned columns = c->k < PAGE_COMPONENTS ? c->k : PAGE_COMPONENTS;
    report_text(out, "<section id=\"pairs\"><h2>Pairs</h2>\n");
    if (count > PAIRS)
        page_print(out,
                   "<p class=\"soft\">The %u pairs of largest shift of %zu are listed; the JSON output has all.</p>",
                   PAIRS, count);
    report_text(
        out,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of pairs\"><table "
        "class=\"sortable\"><caption>Shift, what of it samples of one distribution would show (exceeded in one of twenty "
        "cases), and symmetric divergence along each component.</caption><thead><tr><th "
        "class=\"left\" scope=\"col\">Model</th><th class=\"left\" scope=\"col\">Model</th><th "
        "scope=\"col\">Shift</th><th scope=\"col\">Noise</th><th class=\"left\" scope=\"col\">Resolved</th>");
    for (unsigned i = 0; i < columns; i++) page_print(out, "<th scope=\"col\">PC\xC2\xA0%u</th>", i + 1);
    report_text(out, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < count && i < PAIRS; i++) {
        const pair *p = &pairs[i];
        report_text(out, "<tr><th class=\"left\" scope=\"row\">");
        model_name(out, c, p->a);
        report_text(out, "</th><td class=\"left wide\">");
        model_name(out, c, p->b);
        report_text(out, "</td>");
        value_cell(out, c->divergence[p->a * n + p->b]);
        value_cell(out, c->noise_q95 ? c->noise_q95[p->a * n + p->b] : NAN);
        report_text(out, page_is_resolved(c, p->a, p->b) ? "<td class=\"left\">yes</td>" : "<td class=\"left\">no</td>");
        for (unsigned j = 0; j < columns; j++) {
            report_text(out, "<td>");
            page_value(out, c->per_component[(p->a * n + p->b) * c->k + j]);
            report_text(out, "</td>");
        }
        report_text(out, "</tr>\n");
    }
    report_text(out, "</tbody></table></div></section>\n");
}

static void basis(report_out *out, const fpr_comparison *c)
{
    report_text(out, "<section id=\"basis\"><h2>Basis</h2>\n<p>");
    if (c->basis_source && strcmp(c->basis_source, "joint") == 0)
        report_text(out, "Fitted to the kernels of all models together.");
    else
        report_text(out, "Fixed basis: "), page_path(out, c->basis_source), report_text(out, ".");
    report_text(out, "</p>");
    page_basis(out, &c->basis, c->kernel_rank, c->kernel_shape, c->k);
    report_text(out, "</section>\n");
}

fpr_status fpr_comparison_html(const fpr_comparison *c, fpr_write write, void *context, fpr_error *error)
{
    size_t pair_count = 0, drawn = c->model_count < MODELS_DRAWN ? c->model_count : MODELS_DRAWN;
    size_t *order = model_order(c);
    pair *pairs = all_pairs(c, &pair_count);
    report_out out;
    fpr_status status =
        order && pairs ? FPR_OK : base_no_memory(error, (uint64_t)c->model_count * c->model_count * sizeof *pairs / 2);
    if (!status) status = report_open(&out, write, context, error);
    if (!status) {
        page_begin(&out, "comparison", NULL);
        summary(&out, c, pairs, pair_count);
        report_text(&out, "<main id=\"main\">\n<section id=\"shift\"><h2>Distribution shift</h2>\n");
        page_heat_map(&out, c, order, drawn);
        page_ridges(&out, c, order, drawn);
        report_text(&out, "</section>\n");
        basis(&out, c);
        model_table(&out, c, order);
        pair_table(&out, c, pairs, pair_count);
        page_footer(&out);
        status = report_close(&out, error);
    }
    base_free(order);
    base_free(pairs);
    return status;
}

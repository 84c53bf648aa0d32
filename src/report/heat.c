/* Figure 3, first half: the matrix of pairwise divergences as a heat map. */
#include "report/page.h"

#include <math.h>

#define SHADES 32

typedef struct heat {
    const fpr_comparison *c;
    const size_t *order;
    size_t n;
    double cell, left, top;
    double lo, hi;
    bool logarithmic;
} heat;

static double value(const heat *h, size_t row, size_t column)
{
    return h->c->divergence[h->order[row] * h->c->model_count + h->order[column]];
}

static bool resolved(const heat *h, size_t row, size_t column)
{
    return page_is_resolved(h->c, h->order[row], h->order[column]);
}

#define MED22_MOST 0.5 /* the last colour of that paper's heat maps */

/* The scale of colours: linear from 0, or logarithmic when the pairs differ by more than a factor of 30. Pairs that are
 * not resolved are no part of it. A paper's is its own. */
static void find_scale(heat *h)
{
    if (h->c->paper == FPR_PAPER_MED22) {
        h->hi = MED22_MOST;
        return;
    }
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < h->n; i++)
        for (size_t j = 0; j < i; j++) {
            double v = value(h, i, j);
            if (!resolved(h, i, j)) continue;
            if (v > 0 && v < least) least = v;
            if (v > most && isfinite(v)) most = v;
        }
    h->hi = most > 0 ? most : 1;
    h->logarithmic = most > 0 && most > 30 * least;
    h->lo = h->logarithmic ? least : 0;
}

static unsigned shade(const heat *h, double v)
{
    double t = h->logarithmic ? log(fmax(v, h->lo) / h->lo) / log(h->hi / h->lo) : v / h->hi;
    return !(t > 0) ? 0 : t >= 1 ? SHADES - 1 : (unsigned)(t * SHADES);
}

static const char *name_of(const heat *h, size_t place) { return page_model_name(h->c, h->order[place]); }

static void short_name(report_out *out, const char *name, size_t most)
{
    size_t n = strlen(name), suffix = strlen(".safetensors");
    if (n > suffix && strcmp(name + n - suffix, ".safetensors") == 0) n -= suffix;
    page_short(out, name, n, most);
}

static void cell(report_out *out, const heat *h, size_t i, size_t j)
{
    double v = value(h, i, j);
    char x[REPORT_NUMBER], size[REPORT_NUMBER], text[REPORT_NUMBER];
    report_format_fixed(x, (double)j * h->cell, 1);
    report_format_fixed(size, h->cell, 1);
    page_decimal(text, v);
    if (i == j)
        page_print(out, "<rect class=\"same\" x=\"%s\" width=\"%s\" height=\"%s\"><title>", x, size, size);
    else if (!resolved(h, i, j))
        page_print(out, "<rect class=\"unsure\" x=\"%s\" width=\"%s\" height=\"%s\"><title>", x, size, size);
    else
        page_print(out, "<rect class=\"v%u\" x=\"%s\" width=\"%s\" height=\"%s\"><title>", shade(h, v), x, size, size);
    if (h->n <= 60) {
        short_name(out, name_of(h, i), 40);
        if (i != j) report_text(out, " \xE2\x86\x94 "), short_name(out, name_of(h, j), 40);
    } else {
        page_print(out, i == j ? "%zu" : "%zu, %zu", i + 1, j + 1);
    }
    if (i != j) report_text(out, ": "), report_text(out, text);
    if (i != j && !resolved(h, i, j)) report_text(out, ", not resolved");
    report_text(out, "</title></rect>");
    if (h->cell >= 38) {
        report_format_fixed(x, ((double)j + 0.5) * h->cell, 1);
        page_print(out, "<text class=\"value mid %s\" x=\"%s\" y=\"%d\">%s</text>",
                   i == j || !resolved(h, i, j) ? "label"
                   : shade(h, v) < 19 ? "on-dark"
                                      : "on-light",
                   x, (int)(h->cell / 2 + 4), i == j ? "" : text);
    }
}

/* Names beside rows and above columns where they fit, else every tenth place as a number. */
static void labels(report_out *out, const heat *h)
{
    for (size_t i = 0; i < h->n; i++) {
        double middle = ((double)i + 0.5) * h->cell;
        if (h->n > 60) {
            char text[REPORT_NUMBER];
            if ((i + 1) % 20) continue;
            report_format_integer(text, i + 1);
            svg_text(out, "tick end", h->left - 5, h->top + middle + 3.5, text);
            svg_text(out, "tick mid", h->left + middle, h->top - 5, text);
            continue;
        }
        char x[REPORT_NUMBER], y[REPORT_NUMBER];
        report_format_fixed(x, h->left - 7, 1);
        report_format_fixed(y, h->top + middle + 3.5, 1);
        page_print(out, "<text class=\"row-name name end\" x=\"%s\" y=\"%s\">", x, y);
        short_name(out, name_of(h, i), 26);
        report_text(out, "</text>");
        report_format_fixed(x, h->left + middle + 3.5, 1);
        report_format_fixed(y, h->top - 7, 1);
        page_print(out, "<text class=\"column-name name\" transform=\"translate(%s %s) rotate(-60)\">", x, y);
        short_name(out, name_of(h, i), 26);
        report_text(out, "</text>");
    }
}

static void matrix(report_out *out, const heat *h)
{
    double side = (double)h->n * h->cell, width = h->left + side + 90, height = h->top + side + 6;
    char text[3][REPORT_NUMBER];
    report_format_fixed(text[0], width, 0);
    report_format_fixed(text[1], height, 0);
    report_format_fixed(text[2], h->cell, 1);
    page_print(out,
               "<svg role=\"img\" class=\"heat\" width=\"%s\" height=\"%s\" viewBox=\"0 0 %s %s\" data-cell=\"%s\" "
               "data-left=\"%d\" data-top=\"%d\" data-names=\"",
               text[0], text[1], text[0], text[1], text[2], (int)h->left, (int)h->top);
    for (size_t i = 0; i < h->n; i++) {
        if (i) report_bytes(out, "\n", 1);
        short_name(out, name_of(h, i), 60);
    }
    report_text(
        out,
        "\"><title>Heat map of the divergence of every pair of models; the table of pairs has the numbers</title>");
    labels(out, h);
    for (size_t i = 0; i < h->n; i++) {
        report_format_fixed(text[0], h->top + (double)i * h->cell, 1);
        page_print(out, "\n<g class=\"row\" transform=\"translate(%d %s)\">", (int)h->left, text[0]);
        for (size_t j = 0; j < h->n; j++) cell(out, h, i, j);
        report_text(out, "</g>");
    }
    svg_close(out);
}

/* The colour bar, with round numbers: multiples on a linear scale, 1, 2 and 5 in each decade on a logarithmic one. */
static void color_bar(report_out *out, const heat *h)
{
    svg_open(out, "bar", 380, 44);
    report_text(out, "Scale of colours");
    svg_draw(out);
    for (unsigned i = 0; i < SHADES; i++)
        page_print(out, "<rect class=\"v%u\" x=\"%u\" y=\"4\" width=\"11\" height=\"12\"/>", i, 14 + i * 11);
    svg_plot plot = {{h->lo, h->hi, 14, 366}, {0, 1, 16, 4}};
    if (!h->logarithmic) {
        svg_axis_x(out, &plot, 6, NULL);
    } else {
        bool few = h->hi / h->lo < 1e3;
        for (int decade = report_decade(h->lo); decade <= report_decade(h->hi); decade++)
            for (unsigned m = 0; m < (few ? 3u : 1u); m++) {
                static const double multiples[] = {1, 2, 5};
                double v = multiples[m] * report_power_of_ten(decade),
                       x = 14 + 352 * log(v / h->lo) / log(h->hi / h->lo);
                char text[REPORT_NUMBER];
                if (v < h->lo || v > h->hi) continue;
                report_format_double(text, v);
                svg_line(out, "axis", x, 16, x, 20);
                svg_text(out, "tick mid", x, 31, text);
            }
    }
    svg_close(out);
}

static bool weighted(const fpr_comparison *c)
{
    for (unsigned i = 1; c->weights && i < c->k; i++)
        if (c->weights[i] != c->weights[0]) return true;
    return !c->weights;
}

void page_heat_map(report_out *out, const fpr_comparison *c, const size_t *order, size_t count)
{
    heat h = {.c = c, .order = order, .n = count};
    h.cell = floor(fmin(58, fmax(4, 820.0 / (double)h.n)));
    h.left = h.n > 60 ? 40 : 190, h.top = h.n > 60 ? 24 : 150;
    find_scale(&h);
    static const char *const names[] = {"similarity", "name", "place", "mean shift"},
        *const captions[] = {"alike beside alike (average linkage)", "by name", "as given",
                             "by their mean shift to all others, largest first"};
    const fpr_order by = c->order ? c->ordered_by : FPR_ORDER_MEAN;
    page_print(out,
               "<figure id=\"figure-3a\"><div class=\"tools\" id=\"order\" hidden>Order by <button type=\"button\" "
               "value=\"page\" aria-pressed=\"true\">%s</button><button type=\"button\" value=\"name\" "
               "aria-pressed=\"false\">name</button></div><div class=\"plot\" tabindex=\"0\" role=\"region\" "
               "aria-label=\"Heat map\">", names[by]);
    matrix(out, &h);
    report_text(out, "</div><p id=\"read\" class=\"soft\" aria-hidden=\"true\"></p>");
    color_bar(out, &h);
    report_text(
        out, "<figcaption><b>Figure 3a.</b> Symmetric Kullback\xE2\x80\x93Leibler divergence of every pair of models, ");
    page_print(out, "%s. Models are ordered %s. Colours run ",
               weighted(c) ? "weighted by explained variance" : "the mean over the components", captions[by]);
    report_text(out, c->paper == FPR_PAPER_MED22 ? "linearly from 0 to 0.5, the last one also beyond, as in the paper."
                     : h.logarithmic             ? "logarithmically."
                                                 : "linearly from 0.");
    if (c->noise_q95)
        report_text(out, " Grey pairs are not resolved: two samples of one distribution, of their sizes, would lie as "
                         "far apart in one of twenty cases. (Kernels of one layer are not independent, so this floor is "
                         "a lower bound.)");
    if (h.n > 60) report_text(out, " Numbers are the places in the table of models.");
    if (count < c->model_count)
        page_print(out, by == FPR_ORDER_MEAN ? " The %zu models of largest mean shift of %zu are drawn."
                                             : " The first %zu models of %zu in this order are drawn.",
                   count, c->model_count);
    report_text(out, "</figcaption></figure>\n");
}

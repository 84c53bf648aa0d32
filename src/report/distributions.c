/* Figure 1: the density of the coefficients along each principal component, before and after overlaid.
 *
 * A pruned model has a spike where its zero kernels sit, many times higher than the rest. So the vertical scale follows
 * the live kernels; what rises above it is cut, and its peak is written at the top. Where most kernels are zero,
 * Silverman's rule, which looks at the middle half of them, gives a bandwidth of nearly nothing: the estimate is then a
 * comb of single kernels beside the spike, and the spike alone is drawn. */
#include "report/page.h"

#include <math.h>

enum { BEFORE, AFTER, LIVE_BEFORE, LIVE_AFTER, CURVES };

typedef struct curves {
    const fpr_kde *kde[CURVES];
} curves; /* NULL: not drawn */

static const fpr_kde *curve(bool wanted, const fpr_distribution *d) { return wanted && d->kernels ? d->kde : NULL; }

/* The curves that tell something: where no kernel is sparse or becomes zero, live kernels are all kernels. */
static curves chosen(const fpr_group *g)
{
    bool sparse = (g->sparse || g->zeroed) && g->live;
    return (curves){{curve(true, &g->before), curve(g->has_after, &g->after), curve(sparse, &g->live_before),
                     curve(sparse && g->has_after, &g->live_after)}};
}

static double peak(const fpr_kde *kde)
{
    double most = 0;
    for (int i = 0; i < FPR_KDE_POINTS; i++)
        if (kde->density[i] > most) most = kde->density[i];
    return kde->degenerate ? 0 : most;
}

#define COLLAPSED 0.25 /* of the live kernels' bandwidth */

/* Whether the density of all kernels is that comb, by the bandwidth of the live ones. */
static bool is_collapsed(const curves *c, int which, unsigned i)
{
    const int live = which + LIVE_BEFORE;
    if (which >= LIVE_BEFORE) return false;
    const fpr_kde *own = c->kde[which], *of = c->kde[live] ? c->kde[live] : c->kde[LIVE_BEFORE];
    return own && of && !own[i].degenerate && !of[i].degenerate && own[i].bandwidth < COLLAPSED * of[i].bandwidth;
}

/* Upper end of the vertical axis for components first .. last - 1: a little above the live curves, or all of them. */
static double upper_end(const curves *c, unsigned first, unsigned last)
{
    double lead = 0, all = 0;
    int leading = c->kde[LIVE_BEFORE] ? LIVE_BEFORE : BEFORE;
    for (unsigned i = first; i < last; i++) {
        for (int which = 0; which < CURVES; which++)
            if (c->kde[which] && !is_collapsed(c, which, i)) all = fmax(all, peak(&c->kde[which][i]));
        if (c->kde[leading]) lead = fmax(lead, peak(&c->kde[leading][i]));
    }
    double end = lead > 0 ? fmin(all, 1.25 * lead) : all;
    return end > 0 ? end * 1.08 : 1;
}

static void degenerate(report_out *out, const char *class_name, const svg_plot *plot, const fpr_kde *kde)
{
    double at = kde->start + kde->step * (FPR_KDE_POINTS - 1) / 2;
    if (at < plot->x.lo || at > plot->x.hi) return;
    double x = svg_place(&plot->x, at);
    svg_line(out, class_name, x, plot->y.from, x, plot->y.to);
}

static int highest_point(const fpr_kde *kde)
{
    int highest = 0;
    for (int i = 0; i < FPR_KDE_POINTS; i++)
        if (kde->density[i] > kde->density[highest]) highest = i;
    return highest;
}

static void arrow(report_out *out, const svg_plot *plot, double at, const char *class_name, double row, const char *text)
{
    const double x = svg_place(&plot->x, at), top = plot->y.to;
    const bool right = x < plot->x.to - 80;
    page_print(out, "<path class=\"%s\" d=\"M%d %dl4 6h-8z\"/>", class_name, (int)x, (int)top - 1);
    page_print(out, "<text class=\"%s%s\" x=\"%d\" y=\"%d\">%s</text>", class_name, right ? "" : " end",
               (int)x + (right ? 8 : -8), (int)(top + 7 + row), text);
}

/* An arrow head and a number where a curve is cut. */
static void mark_cut(report_out *out, const svg_plot *plot, const fpr_kde *kde, const char *class_name, double row)
{
    const int highest = highest_point(kde);
    const double at = kde->start + kde->step * highest;
    if (kde->degenerate || kde->density[highest] <= plot->y.hi || at < plot->x.lo || at > plot->x.hi) return;
    char text[REPORT_NUMBER + 16];
    memcpy(text, "peak ", 5);
    page_decimal(text + 5, kde->density[highest]);
    arrow(out, plot, at, class_name, row, text);
}

/* The spike of a collapsed density: the fullest bin of the histogram, because 512 points may step over it, and the share
 * of the kernels that lies there. */
static void spike(report_out *out, const fpr_group *g, const svg_plot *plot, const fpr_distribution *d, unsigned i,
                  const char *class_name, const char *mark, double row)
{
    const uint64_t *counts = d->counts + (size_t)i * g->bins;
    unsigned bin = 0;
    for (unsigned b = 0; b < g->bins; b++)
        if (counts[b] > counts[bin]) bin = b;
    const double at = plot->x.lo + (plot->x.hi - plot->x.lo) * (bin + 0.5) / g->bins;
    char text[REPORT_NUMBER + 16];
    memcpy(text, "spike ", 6);
    size_t n = 6 + report_format_fixed(text + 6, 100 * (double)counts[bin] / (double)d->kernels, 0);
    memcpy(text + n, "\xC2\xA0%", 4);
    const double x = svg_place(&plot->x, at);
    svg_line(out, class_name, x, plot->y.from, x, plot->y.to);
    arrow(out, plot, at, mark, row, text);
}

static void panel(report_out *out, const fpr_group *g, const curves *c, unsigned i, double upper)
{
    static const char *const classes[CURVES] = {"all-before", "all-after", "before-area", "after"};
    const double widened = g->range[1] > g->range[0] ? 0 : 0.5; /* as the histogram is */
    svg_plot plot = {{g->range[0] - widened, g->range[1] + widened, 46, 350}, {0, upper, 184, 30}};
    char head[64], text[REPORT_NUMBER];
    report_format_integer(text, i + 1);
    svg_open(out, "kde", 360, 222);
    page_print(out, "Component %u: density of the coefficients", i + 1);
    svg_draw(out);
    svg_axis_y(out, &plot, 4, false, "density");
    for (int which = 0; which < CURVES; which++) {
        if (!c->kde[which]) continue;
        const fpr_kde *kde = &c->kde[which][i];
        bool alone = which < LIVE_BEFORE && !c->kde[LIVE_BEFORE];
        const char *class_name = alone ? classes[which + LIVE_BEFORE] : classes[which];
        if (is_collapsed(c, which, i))
            spike(out, g, &plot, which == BEFORE ? &g->before : &g->after, i, class_name,
                  which == BEFORE ? "spike-before" : "spike-after", which == BEFORE ? 0 : 12);
        else if (kde->degenerate)
            degenerate(out, which % 2 ? "after" : "before", &plot, kde);
        else
            svg_curve(out, class_name, &plot, kde->start, kde->step, kde->density, FPR_KDE_POINTS,
                      alone ? which == 0 : which == 2);
    }
    if (c->kde[BEFORE] && !is_collapsed(c, BEFORE, i)) mark_cut(out, &plot, &c->kde[BEFORE][i], "spike-before", 0);
    if (c->kde[AFTER] && !is_collapsed(c, AFTER, i)) mark_cut(out, &plot, &c->kde[AFTER][i], "spike-after", 12);
    svg_axis_x(out, &plot, 6, "coefficient");
    size_t n = 0;
    memcpy(head, "PC\xC2\xA0", 4), n = 4;
    n += report_format_integer(head + n, i + 1);
    memcpy(head + n, " \xC2\xB7 ", 4), n += 4;
    n += report_format_fixed(head + n, 100 * g->basis.explained_variance_ratio[i], 1);
    memcpy(head + n, "\xC2\xA0% of variance", 16);
    svg_text(out, "head", 46, 16, head);
    if (g->has_after && g->divergence.per_component) {
        memcpy(head, "KL ", 3);
        page_decimal(head + 3, g->divergence.per_component[i]);
        svg_text(out, "label end", 350, 16, head);
    }
    svg_close(out);
}

static bool any_degenerate(const curves *c, unsigned drawn)
{
    for (int which = 0; which < CURVES; which++)
        for (unsigned i = 0; c->kde[which] && i < drawn; i++)
            if (c->kde[which][i].degenerate) return true;
    return false;
}

static bool any_collapsed(const curves *c, unsigned drawn)
{
    for (int which = BEFORE; which <= AFTER; which++)
        for (unsigned i = 0; i < drawn; i++)
            if (is_collapsed(c, which, i)) return true;
    return false;
}

static void caption(report_out *out, const fpr_group *g, const curves *c, unsigned drawn, char letter)
{
    page_print(out, "<figcaption><b>Figure 1%c.</b> Density of the coefficients of the ", letter);
    page_shape(out, g->kernel_shape, g->kernel_rank);
    report_text(out, " kernels along their principal components (Gaussian kernel estimate; kernels scaled to a largest "
                     "|weight| of 1). ");
    if (drawn < g->k) page_print(out, "The first %u of %u components are drawn. ", drawn, g->k);
    if (c->kde[LIVE_BEFORE])
        report_text(
            out,
            "Area and heavy line: live kernels; dotted lines: all kernels, sparse ones included. The vertical scale "
            "follows the live kernels: a dotted line that leaves at the top has its peak written there. ");
    else
        report_text(out, g->sparse ? "No kernel is live: all kernels are drawn. "
                                   : "No kernel is sparse: all kernels are drawn. ");
    report_text(out, "All panels share the horizontal axis, each three in a row the vertical one.");
    if (any_degenerate(c, drawn))
        report_text(out, " A vertical line stands for coefficients that are all equal, which have no density.");
    if (any_collapsed(c, drawn))
        report_text(out, " Where so many kernels are alike that the bandwidth of all collapses, no density is drawn of "
                         "them but the spike, in the fullest bin of the histogram, with the share of the kernels there.");
    if (g->has_after) report_text(out, " KL: symmetric divergence of all kernels, before against after.");
    report_text(out, "</figcaption>");
}

void page_distributions(report_out *out, const fpr_group *g, char letter)
{
    curves c = chosen(g);
    bool live = c.kde[LIVE_BEFORE] != NULL;
    unsigned drawn = g->k < PAGE_COMPONENTS ? g->k : PAGE_COMPONENTS;
    const svg_key keys[CURVES] = {{"before-area", live ? "live kernels, before" : "before", true},
                                  {"after", live ? "live kernels, after" : "after", false},
                                  {"all-before", "all kernels, before", false},
                                  {"all-after", "all kernels, after", false}};
    svg_key shown[CURVES];
    size_t count = 0;
    for (size_t i = 0; i < CURVES; i++)
        if ((i < 2 || live) && (i % 2 == 0 || g->has_after)) shown[count++] = keys[i];
    page_print(out, "<h3>Distribution along the principal components</h3><figure id=\"figure-1%c\">", letter);
    svg_legend(out, shown, count);
    report_text(out, "<div class=\"panels\">");
    for (unsigned i = 0; i < drawn; i++) {
        unsigned row = i / 3 * 3, end = row + 3 < drawn ? row + 3 : drawn;
        panel(out, g, &c, i, upper_end(&c, row, end));
    }
    report_text(out, "</div>");
    caption(out, g, &c, drawn, letter);
    report_text(out, "</figure>\n");
}

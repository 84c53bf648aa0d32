/* Layer by layer: the figures that have a panel, over the layers in the order of the file or, where a graph tells it, by
 * depth. */
#include "report/page.h"

#include <math.h>

#define POINTS 3000 /* points drawn in a panel */
#define NAMED 400   /* up to so many layers, each point tells its layer */

/* Where a layer stands on the horizontal axis. */
static double place(const fpr_report *r, uint64_t i) { return r->layers[i].depth_known ? (double)r->layers[i].depth : (double)i; }

static const char *axis_name(const fpr_report *r)
{
    return r->layers[0].depth_known ? "convolutions before it" : "layer, in file order";
}

static void named_points(report_out *out, const fpr_report *r, const svg_plot *plot, const fpr_figure *p)
{
    for (uint64_t i = 0; i < r->layer_count && i < POINTS; i++) {
        double v = p->of(&r->layers[i]);
        char text[REPORT_NUMBER];
        if (!isfinite(v)) continue;
        page_decimal(text, v);
        page_print(out, "<circle cx=\"%d\" cy=\"%d\" r=\"%s\"><title>", (int)lround(svg_place(&plot->x, place(r, i))),
                   (int)lround(svg_place(&plot->y, v)), r->layer_count > 120 ? "2" : "2.6");
        page_short(out, r->layers[i].name, r->layers[i].name_bytes, 60);
        report_text(out, ": ");
        report_text(out, text);
        report_text(out, "</title></circle>");
    }
}

static void panel(report_out *out, const fpr_report *r, const fpr_figure *p, double *values)
{
    uint64_t every = (r->layer_count + POINTS - 1) / POINTS, count = 0;
    const bool known = r->layers[0].depth_known;
    double least = INFINITY, most = 0, last = 0;
    for (uint64_t i = 0; i < r->layer_count; i += every) {
        double v = values[count++] = p->of(&r->layers[i]);
        if (v < least) least = v;
        if (v > most) most = v;
    }
    for (uint64_t i = 0; i < r->layer_count; i++) last = fmax(last, place(r, i));
    if (!isfinite(least)) return;
    double lower = least < 0 ? least : 0, upper = most > 1 ? most : 1;
    svg_plot plot = {{-0.5, last + 0.5, 46, 350}, {lower, upper * 1.04, 184, 30}};
    svg_open(out, "depth", 360, 222);
    page_print(out, "%s over the layers, %s", p->over_layers, known ? "by depth" : "in file order");
    svg_draw(out);
    svg_text(out, "head", 46, 16, p->over_layers);
    svg_axis_y(out, &plot, 5, p->kind == FPR_FIGURE_SHARE, NULL);
    if (p->limit) {
        double y = svg_place(&plot.y, 1);
        svg_line(out, "limit", 46, y, 350, y);
        svg_text(out, "label end", 350, 16, p->limit);
    }
    if (!known) svg_curve(out, "thin", &plot, 0, (double)every, values, count, false);
    if (r->layer_count <= NAMED || known) named_points(out, r, &plot, p);
    svg_axis_x(out, &plot, last < 5 ? (unsigned)last + 1 : 6, axis_name(r));
    svg_close(out);
}

void page_depth(report_out *out, const fpr_report *r)
{
    size_t figures;
    const fpr_figure *figure = fpr_layer_figures(&figures);
    const bool known = r->layers[0].depth_known;
    double *values = base_alloc(POINTS + 1, sizeof *values);
    if (!values) {
        out->failed = FPR_NO_MEMORY;
        return;
    }
    report_text(out, known ? "<section id=\"depth\"><h2>Depth profile</h2>\n" : "<section id=\"depth\"><h2>Layer by layer</h2>\n");
    report_text(out, "<figure><div class=\"panels\">");
    for (size_t i = 0; i < figures; i++)
        if (figure[i].over_layers) panel(out, r, &figure[i], values);
    report_text(out, known ? "</div><figcaption><b>Depth profile.</b> One point a layer; depth, from the graph, is the number of "
                             "convolutions before it on the longest path from an input. "
                           : "</div><figcaption><b>Layer by layer.</b> One point a layer, in the order of the file, which need "
                             "not be that of the network. ");
    report_text(out, "Entropy is given for kernels of nine weights, for which T(n) was fitted");
    if (r->layer_count > POINTS && !known)
        page_print(out, "; every %u-th layer is drawn", (unsigned)((r->layer_count + POINTS - 1) / POINTS));
    report_text(out, ". Layers without the quantity leave a gap.</figcaption></figure></section>\n");
    base_free(values);
}

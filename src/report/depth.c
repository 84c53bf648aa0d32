/* Layer by layer: sparsity, variance entropy and orthogonality over the layers in their order. */
#include "report/page.h"

#include <math.h>

#define POINTS 3000 /* points drawn in a panel */
#define NAMED 400   /* up to so many layers, each point tells its layer */

typedef double (*measure)(const fpr_layer *);

static double sparsity(const fpr_layer *l) { return l->sparsity; }
static double entropy(const fpr_layer *l) { return l->variance_entropy_normalized; }
static double orthogonality(const fpr_layer *l) { return l->orthogonality; }

typedef struct profile {
    const char *head, *label, *limit_text; /* limit_text NULL: no line at 1 */
    measure of;
    bool percent;
} profile;

static void named_points(report_out *out, const fpr_report *r, const svg_plot *plot, const profile *p)
{
    for (uint64_t i = 0; i < r->layer_count; i++) {
        double v = p->of(&r->layers[i]);
        char text[REPORT_NUMBER];
        if (!isfinite(v)) continue;
        page_decimal(text, v);
        page_print(out, "<circle cx=\"%d\" cy=\"%d\" r=\"%s\"><title>", (int)lround(svg_place(&plot->x, (double)i)),
                   (int)lround(svg_place(&plot->y, v)), r->layer_count > 120 ? "2" : "2.6");
        page_short(out, r->layers[i].name, r->layers[i].name_bytes, 60);
        report_text(out, ": ");
        report_text(out, text);
        report_text(out, "</title></circle>");
    }
}

static void panel(report_out *out, const fpr_report *r, const profile *p, double *values)
{
    uint64_t every = (r->layer_count + POINTS - 1) / POINTS, count = 0;
    double least = INFINITY, most = 0;
    for (uint64_t i = 0; i < r->layer_count; i += every) {
        double v = values[count++] = p->of(&r->layers[i]);
        if (v < least) least = v;
        if (v > most) most = v;
    }
    if (!isfinite(least)) return;
    double lower = least < 0 ? least : 0, upper = most > 1 ? most : 1, last = (double)(r->layer_count - 1);
    svg_plot plot = {{-0.5, last + 0.5, 46, 350}, {lower, upper * 1.04, 184, 30}};
    svg_open(out, "depth", 360, 222);
    page_print(out, "%s over the layers, in file order", p->head);
    svg_draw(out);
    svg_text(out, "head", 46, 16, p->head);
    svg_axis_y(out, &plot, 5, p->percent, NULL);
    if (p->limit_text) {
        double y = svg_place(&plot.y, 1);
        svg_line(out, "limit", 46, y, 350, y);
        svg_text(out, "label end", 350, 16, p->limit_text);
    }
    svg_curve(out, "thin", &plot, 0, (double)every, values, count, false);
    if (r->layer_count <= NAMED) named_points(out, r, &plot, p);
    svg_axis_x(out, &plot, r->layer_count < 6 ? (unsigned)r->layer_count : 6, "layer, in file order");
    svg_close(out);
}

void page_depth(report_out *out, const fpr_report *r)
{
    static const profile profiles[] = {{"Sparse kernels", "share", NULL, sparsity, true},
                                       {"Variance entropy / T(n)", "ratio", "dashed: random kernels", entropy, false},
                                       {"Orthogonality", "ratio", "dashed: orthogonal filters", orthogonality, false}};
    double *values = base_alloc(POINTS + 1, sizeof *values);
    if (!values) {
        out->failed = FPR_NO_MEMORY;
        return;
    }
    report_text(out, "<section id=\"depth\"><h2>Layer by layer</h2>\n<figure><div class=\"panels\">");
    for (size_t i = 0; i < sizeof profiles / sizeof *profiles; i++) panel(out, r, &profiles[i], values);
    report_text(out, "</div><figcaption><b>Layer by layer.</b> One point a layer, in the order of the file, which need not be that of the network. "
                     "Entropy is given for kernels of nine weights, for which T(n) was fitted");
    if (r->layer_count > POINTS)
        page_print(out, "; every %u-th layer is drawn", (unsigned)((r->layer_count + POINTS - 1) / POINTS));
    report_text(out, ". Layers without the quantity leave a gap.</figcaption></figure></section>\n");
    base_free(values);
}

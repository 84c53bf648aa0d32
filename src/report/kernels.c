/* A few kernels of every layer: the largest, typical ones, and those that went. Each on a scale of its own, because what is
 * looked at is their shape. */
#include "report/page.h"

#include <math.h>

/* A page of many layers has fewer kernels of each, and no more layers than this. */
#define ROWS 300
#define CELLS 54 /* in one strip: six kernels of 3x3 */

static unsigned per_strip(const fpr_layer *l, uint64_t layers)
{
    const unsigned fit = CELLS / (unsigned)l->conv.k;
    const unsigned most = layers > 250 ? 1 : layers > 120 ? 2 : layers > 60 ? 3 : FPR_SAMPLE_KERNELS;
    const unsigned shown = fit < 2 ? 2 : fit;
    return shown < most ? shown : most;
}

static double largest(const float *v, unsigned count)
{
    double most = 0;
    for (unsigned i = 0; i < count; i++) most = fmax(most, fabs((double)v[i]));
    return most;
}

/* Kernels side by side. */
static void strip(report_out *out, const fpr_layer *l, fpr_sample kind, unsigned count, const char *title)
{
    const unsigned k = (unsigned)l->conv.k, rank = l->conv.kernel_rank;
    int width, height;
    page_kernel_size(rank, l->conv.kernel_shape, &width, &height);
    const int pitch = width + 1 + (rank == 3);
    svg_open(out, height == 1 ? "strip flat" : "strip", pitch * (int)count - (pitch - width), height);
    report_text(out, title);
    svg_draw(out);
    for (unsigned shade = 0; shade < DIVERGING; shade++) {
        svg_cells cells;
        bool begun = false;
        for (unsigned j = 0; j < count; j++) {
            const float *w = l->sample[kind] + (size_t)j * k;
            const double limit = largest(w, k);
            for (unsigned i = 0; i < k; i++) {
                int x, y;
                if (page_diverging((double)w[i], limit) != shade) continue;
                if (!begun) svg_cells_begin(out, &cells, "d", shade), begun = true;
                page_cell(rank, l->conv.kernel_shape, i, &x, &y);
                svg_cell(out, &cells, (int)j * pitch + x, y);
            }
        }
        if (begun) svg_cells_end(out, &cells);
    }
    svg_close(out);
}

static bool has_samples(const fpr_layer *l)
{
    return l->sample_count[FPR_SAMPLE_LARGEST] || l->sample_count[FPR_SAMPLE_GONE];
}

static void row(report_out *out, const fpr_report *r, const fpr_layer *l, uint64_t layers, const page_shared *shared)
{
    const char *const titles[] = {"Largest kernels", "Typical kernels", r->has_output ? "Pruned kernels" : "Sparse kernels"};
    report_text(out, "<tr><th class=\"left\" scope=\"row\">");
    page_name_without(out, l->name, l->name_bytes, shared);
    report_text(out, "</th>");
    for (fpr_sample kind = FPR_SAMPLE_LARGEST; kind < FPR_SAMPLE_KINDS; kind++) {
        const unsigned most = per_strip(l, layers), count = l->sample_count[kind] < most ? l->sample_count[kind] : most;
        report_text(out, "<td>");
        if (count) strip(out, l, kind, count, titles[kind]);
        else report_text(out, "\xE2\x80\x93");
        report_text(out, "</td>");
    }
    report_text(out, "</tr>\n");
}

void page_kernels(report_out *out, const fpr_report *r)
{
    uint64_t layers = 0, shown = 0;
    const page_shared shared = page_shared_of(r);
    for (uint64_t i = 0; i < r->layer_count; i++) layers += has_samples(&r->layers[i]);
    report_text(out, "<section id=\"kernels\"><h2>Kernels</h2>\n");
    if (!layers) {
        report_text(out, "<p>No layer has kernels of 2 to 49 weights, which could be drawn.</p></section>\n");
        return;
    }
    report_text(out, "<figure><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Kernels of each layer\"><table "
                     "class=\"strips\"><thead><tr><th class=\"left\" scope=\"col\">Layer</th><th class=\"left\" "
                     "scope=\"col\">Largest</th><th class=\"left\" scope=\"col\">Typical</th><th class=\"left\" scope=\"col\">");
    report_text(out, r->has_output ? "Pruned" : "Sparse");
    report_text(out, "</th></tr></thead><tbody>\n");
    for (uint64_t i = 0; i < r->layer_count && shown < ROWS; i++)
        if (has_samples(&r->layers[i])) row(out, r, &r->layers[i], layers, &shared), shown++;
    report_text(out, "</tbody></table></div>");
    page_color_scale(out);
    report_text(out, "<figcaption><b>Kernels.</b> Of each layer, as they are in the input: live kernels of the largest L2 norm, "
                     "those around the median norm, and ");
    report_text(out, r->has_output ? "of those that became zero the largest. " : "of those that are sparse, but not zero, the largest. ");
    report_text(out, "Each kernel is coloured from its own most negative to its own most positive weight. Of a layer of more "
                     "kernels, 2,048 evenly spaced ones were looked at.");
    if (shown < layers) page_print(out, " The first %u of %llu layers are drawn.", ROWS, (unsigned long long)layers);
    page_shared_note(out, r, &shared);
    report_text(out, "</figcaption></figure></section>\n");
}

/* Figure 2: the first filters of each binary-like layer, before and after. */
#include "report/page.h"

#include <math.h>

#define LAYERS_DRAWN 18

/* Pixels between kernels: slices of a 3-D kernel are one apart. */
static int gap(const fpr_layer *l) { return l->conv.kernel_rank == 3 ? 3 : 1; }

/* Rows are filters, columns their first channels; every kernel is a small image of its weights. */
static void picture(report_out *out, const fpr_layer *l, const float *weights, double limit, const char *when)
{
    unsigned k = (unsigned)l->conv.k, rank = l->conv.kernel_rank;
    int width, height;
    page_kernel_size(rank, l->conv.kernel_shape, &width, &height);
    int across = (int)l->picture_channels, down = (int)l->picture_filters;
    int pitch = width + gap(l), row = height + gap(l);
    svg_open(out, "filters", across * pitch - gap(l), down * row - gap(l));
    page_print(out, "The first %d filters by %d channels, %s", down, across, when);
    svg_draw(out);
    for (unsigned shade = 0; shade < DIVERGING; shade++) {
        svg_cells cells;
        bool begun = false;
        for (int filter = 0; filter < down; filter++)
            for (int channel = 0; channel < across; channel++) {
                const float *w = weights + ((size_t)filter * (size_t)across + (size_t)channel) * k;
                for (unsigned i = 0; i < k; i++) {
                    int x, y;
                    if (page_diverging((double)w[i], limit) != shade) continue;
                    if (!begun) svg_cells_begin(out, &cells, "d", shade), begun = true;
                    page_cell(rank, l->conv.kernel_shape, i, &x, &y);
                    svg_cell(out, &cells, channel * pitch + x, filter * row + y);
                }
            }
        if (begun) svg_cells_end(out, &cells);
    }
    svg_close(out);
}

static double largest(const float *v, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs((double)v[i]));
    return most;
}

static void levels(report_out *out, const fpr_binary *b)
{
    report_text(out, "levels ");
    page_value(out, b->level_low[0]);
    if (b->level_low[0] != b->level_low[1]) report_text(out, " to "), page_value(out, b->level_low[1]);
    report_text(out, " and ");
    page_value(out, b->level_high[0]);
    if (b->level_high[0] != b->level_high[1]) report_text(out, " to "), page_value(out, b->level_high[1]);
}

static void layer(report_out *out, const fpr_layer *l)
{
    static const char *const scopes[] = {"", "one pair of levels for the layer", "one pair of levels per filter",
                                         "one pair of levels per kernel"};
    size_t count = (size_t)l->picture_filters * l->picture_channels * l->conv.k;
    double limit = largest(l->picture_before, count);
    report_text(out, "<div><h3>");
    page_name(out, l->name, l->name_bytes);
    report_text(out, "</h3><p>");
    page_share(out, l->binary.share);
    page_print(out, " of the live kernels, %s%s; ", scopes[l->binary.scope], l->binary.symmetric ? ", symmetric" : "");
    levels(out, &l->binary);
    report_text(out, "; largest relative error ");
    page_value(out, l->binary.max_relative_error);
    int width, height;
    page_kernel_size(l->conv.kernel_rank, l->conv.kernel_shape, &width, &height);
    bool flat = (unsigned)(width + 1) * l->picture_channels > 2 * (unsigned)(height + 1) * l->picture_filters;
    page_print(out, "</p><div class=\"pair%s\"><div>", flat ? " stacked" : "");
    picture(out, l, l->picture_before, limit, "before");
    report_text(out, "before");
    if (l->picture_after) {
        report_text(out, "</div><div>");
        picture(out, l, l->picture_after, limit, "after");
        report_text(out, "after");
    }
    report_text(out, "</div></div></div>");
}

void page_binary(report_out *out, const fpr_report *r)
{
    uint64_t all = 0, drawn = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) all += r->layers[i].binary.scope != FPR_SCOPE_NONE;
    report_text(out, "<section id=\"binary\"><h2>Binary filters</h2>\n");
    if (!all) {
        report_text(out, r->options.binary ? "<p>No layer keeps to two levels within the tolerance.</p>"
                                           : "<p>The search for two-level filters was switched off.</p>");
        report_text(out, "</section>\n");
        return;
    }
    report_text(out, "<figure id=\"figure-2\"><div class=\"pictures\">");
    for (uint64_t i = 0; i < r->layer_count && drawn < LAYERS_DRAWN; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->binary.scope == FPR_SCOPE_NONE || !l->picture_before) continue;
        layer(out, l);
        drawn++;
    }
    report_text(out, "</div>");
    page_color_scale(out);
    report_text(out, "<figcaption><b>Figure 2.</b> First filters of the binary-like layers");
    if (r->has_output) report_text(out, ", before and after");
    report_text(
        out, ". Rows are filters, columns input channels; each image is one kernel, coloured from the most negative to "
             "the most positive weight of the picture. Plain ones are sparse.");
    if (drawn < all) {
        page_print(out, " The first %u of ", (unsigned)drawn);
        page_plural(out, all, "such layer is", "such layers are");
        report_text(out, " drawn; the table below has all.");
    }
    report_text(out, "</figcaption></figure></section>\n");
}

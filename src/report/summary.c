/* The first screen: what was changed, by how much, what share of the kernels is live, how big before and after, which
 * layers are binary-like, how far the distributions moved. And the table of kernel groups. */
#include "report/page.h"

#include <math.h>

/* The largest group with a basis, or NULL. */
static const fpr_group *shown_group(const fpr_report *r)
{
    for (size_t i = 0; i < r->group_count; i++)
        if (r->groups[i].has_basis) return &r->groups[i];
    return NULL;
}

static double part(uint64_t of, uint64_t all) { return all ? (double)of / (double)all : NAN; }

static void times_smaller(report_out *out, uint64_t before, uint64_t after)
{
    char text[REPORT_NUMBER];
    double ratio = part(before, after);
    if (!(ratio > 1)) {
        report_text(out, before == after ? "as large as before" : "larger than before");
        return;
    }
    report_format_fixed(text, ratio, ratio < 10 ? 2 : 1);
    report_text(out, text);
    report_text(out, "\xC3\x97 smaller");
}

/* The same sentence as in the terminal and in the JSON. */
static void lede(report_out *out, const fpr_report *r)
{
    char verdict[FPR_VERDICT_BYTES];
    fpr_report_verdict(r, verdict, sizeof verdict);
    report_text(out, r->changes.large_layers ? "<p class=\"lede test\">" : "<p class=\"lede\">");
    page_text(out, verdict, strlen(verdict));
    report_text(out, "</p>\n");
}

static void tile(report_out *out, const char *class_name, const char *name)
{
    page_print(out, "<li class=\"%s\"><p>%s</p><p class=\"big\">", class_name, name);
}

/* Width only; the number stands beside it. */
static void meter(report_out *out, double share)
{
    char text[REPORT_NUMBER];
    report_format_fixed(text, share > 1 ? 1 : share >= 0 ? share : 0, 4);
    report_text(out, "<p class=\"meter\" aria-hidden=\"true\" style=\"--v:");
    report_text(out, text);
    report_text(out, "\"></p>");
}

static void size_tile(report_out *out, const fpr_report *r)
{
    tile(out, "size", r->has_output ? "Size" : "Size of the file");
    page_size(out, r->has_output ? r->output_bytes : r->input_bytes);
    report_text(out, "</p>");
    const uint64_t compared = fpr_report_compared_bytes(r);
    if (r->has_output) meter(out, part(r->output_bytes, compared));
    report_text(out, "<p>");
    if (r->has_output) {
        report_text(out, compared < r->input_bytes ? "of tensors of " : "from ");
        page_size(out, compared);
        report_text(out, ", ");
        times_smaller(out, compared, r->output_bytes);
        report_text(out, "</p><p>");
        page_count(out, r->input_bytes);
        report_text(out, " \xE2\x86\x92 ");
        page_count(out, r->output_bytes);
        report_text(out, " bytes");
    } else {
        page_plural(out, r->input_bytes, "byte", "bytes");
        report_text(out, ", ");
        page_plural(out, r->tensors, "tensor", "tensors");
    }
    report_text(out, "</p></li>");
}

static void live_tile(report_out *out, const fpr_report *r)
{
    const fpr_changes *c = &r->changes;
    const double before = part(c->live_before, c->kernels), after = part(c->live_after, c->kernels);
    tile(out, "live", r->has_output ? "Live kernels, before \xE2\x86\x92 after" : "Live kernels");
    page_share(out, before);
    if (r->has_output) report_text(out, " \xE2\x86\x92 "), page_share(out, after);
    report_text(out, "</p>");
    meter(out, after);
    report_text(out, "<p>");
    page_count(out, r->has_output ? c->live_after : c->live_before);
    report_text(out, " of ");
    page_count(out, c->kernels);
    report_text(out, r->has_output ? " are live now" : " are live");
    if (c->pointwise_kernels) report_text(out, "; 1\xC3\x97" "1 counted, too");
    report_text(out, "</p></li>");
}

static void changed_tiles(report_out *out, const fpr_report *r)
{
    const fpr_changes *c = &r->changes;
    tile(out, "zeroed", "Kernels that became zero");
    page_count(out, c->kernels_zeroed);
    report_text(out, "</p>");
    meter(out, part(c->kernels_zeroed, c->kernels));
    report_text(out, "<p>of ");
    page_count(out, c->kernels);
    report_text(out, "; ");
    page_plural(out, c->weights_changed, "weight", "weights");
    report_text(out, " in ");
    page_plural(out, c->tensors_changed, "tensor", "tensors");
    report_text(out, " changed</p></li>");
    tile(out, c->large_layers ? "warn" : "error", "Largest relative error");
    if (!c->worst_name)
        report_text(out, "0");
    else if (isfinite(c->worst_relative_l2))
        page_share(out, c->worst_relative_l2);
    else
        report_text(out, "\xE2\x88\x9E");
    report_text(out, "</p><p>");
    if (c->worst_name) {
        report_text(out, "L2, in ");
        page_name(out, c->worst_name, c->worst_name_bytes);
        report_text(out, c->large_layers ? "</p><p>Test the network before it is used.</p></li>" : "</p></li>");
    } else {
        report_text(out, "Every tensor keeps its values.</p></li>");
    }
}

#define NAMES_SHOWN 3

static void binary_tile(report_out *out, const fpr_report *r)
{
    const uint64_t layers = r->changes.binary_layers;
    tile(out, "binary", "Binary-like layers");
    page_count(out, layers);
    report_text(out, "</p><p>");
    if (!layers)
        report_text(out, r->options.binary ? "No layer keeps to two levels." : "The search for them was switched off.");
    unsigned shown = 0;
    for (uint64_t i = 0; i < r->layer_count && shown < NAMES_SHOWN; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->binary.scope == FPR_SCOPE_NONE) continue;
        if (shown++) report_text(out, ", ");
        page_name(out, l->name, l->name_bytes);
    }
    if (layers > NAMES_SHOWN) {
        report_text(out, " and ");
        page_count(out, layers - NAMES_SHOWN);
        report_text(out, " more");
    }
    report_text(out, "</p></li>");
}

/* What is a small shift: a logarithmic scale from 0.001 to 20, with what chance gives two samples of n kernels, where most
 * pairs of networks are (see words() in page.c), and a mark at the value. */
static void shift_scale(report_out *out, double v, uint64_t kernels)
{
    const svg_scale scale = {log10(0.001), log10(20), 2, 198};
    const double chance = svg_place(&scale, log10(fmin(20, fmax(0.001, 200 / (double)kernels))));
    const double from = svg_place(&scale, log10(0.03)), low = svg_place(&scale, log10(0.13));
    const double high = svg_place(&scale, log10(0.7)), to = svg_place(&scale, log10(11));
    svg_open(out, "shift-scale", 200, 30);
    report_text(out, "The shift on a logarithmic scale from 0.001 to 20: chance alone reaches the end of the grey bar, most "
                     "pairs of networks are within the blue one");
    svg_draw(out);
    svg_rect(out, "unsure", 2, 12, chance - 2, 5);
    svg_rect(out, "ridge", from, 12, to - from, 5);
    svg_rect(out, "fillbar", low, 12, high - low, 5);
    svg_line(out, "axis", 2, 17, 198, 17);
    const double at = svg_place(&scale, log10(fmin(20, fmax(0.001, v))));
    page_print(out, "<path class=\"spike-after\" d=\"M%d 11l-4 -8h8z\"/>", (int)lround(at));
    svg_text(out, "tick", 2, 28, "0.001");
    svg_text(out, "tick mid", svg_place(&scale, log10(0.1)), 28, "0.1");
    svg_text(out, "tick end", 198, 28, "20");
    svg_close(out);
}

static void shift_tile(report_out *out, const fpr_report *r)
{
    const fpr_group *g = shown_group(r);
    tile(out, "shift", "Shift of the distributions");
    if (!g || !g->has_after) {
        report_text(out, "\xE2\x80\x93</p><p>No kernel has a spatial extent that a basis could describe.</p></li>");
        return;
    }
    page_value(out, g->divergence.weighted);
    report_text(out, "</p><p>all ");
    page_shape(out, g->kernel_shape, g->kernel_rank);
    report_text(out, " kernels; live ones alone ");
    page_value(out, g->live_divergence.weighted);
    report_text(out, "</p>");
    shift_scale(out, g->divergence.weighted, g->kernels);
    report_text(out, "<p>symmetric KL, weighted by explained variance. Grey: chance; blue: between networks.</p></li>");
}

/* "None" only where nothing was changed either. */
static void warning_tile(report_out *out, const fpr_report *r)
{
    if (!r->warning_count && r->changes.tensors_changed) return;
    tile(out, r->warning_count ? "warn" : "good", "Warnings");
    if (r->warning_count)
        page_count(out, r->warning_count);
    else
        report_text(out, "None");
    report_text(out, "</p><p>");
    report_text(out, r->warning_count ? "See below." : "Every tensor was read, checked and understood.");
    report_text(out, "</p></li>");
}

void page_summary(report_out *out, const fpr_report *r)
{
    const char *name = page_file_name(r->input_path);
    page_print(out, "<header>\n<p class=\"kicker\">filterprune %s</p>\n<h1>", r->has_output ? "report" : "inspection");
    page_name(out, name, strlen(name));
    report_text(out, "</h1>\n");
    lede(out, r);
    report_text(out, "<ul class=\"tiles\">");
    if (r->has_output) changed_tiles(out, r);
    if (r->layer_count) live_tile(out, r);
    size_tile(out, r);
    if (r->layer_count) {
        binary_tile(out, r);
        if (r->has_output) shift_tile(out, r);
    }
    warning_tile(out, r);
    report_text(out, "</ul>\n");
    if (r->warning_count) {
        report_text(out, "<div class=\"notes\" id=\"warnings\"><h2>Warnings</h2>");
        page_warnings(out, r->warnings, r->warning_count);
        report_text(out, "</div>\n");
    }
    report_text(out, "</header>\n");
}

/* ---- kernel groups */

static void cell_value(report_out *out, double v)
{
    report_text(out, "<td>");
    page_value(out, v);
    report_text(out, "</td>");
}

static void cell_count(report_out *out, uint64_t v)
{
    report_text(out, "<td>");
    page_count(out, v);
    report_text(out, "</td>");
}

static void cell_share(report_out *out, double share)
{
    report_text(out, "<td>");
    page_share(out, share);
    report_text(out, "</td>");
}

void page_group_table(report_out *out, const fpr_report *r)
{
    bool after = r->has_output;
    report_text(
        out,
        "<section id=\"groups\"><h2>Kernel groups</h2>\n<p>All layers of one kernel shape form a group with a basis of "
        "its own. Kernels of one weight or of more than 128 have no basis: their sparsity is counted.</p>\n<div "
        "class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of kernel groups\"><table><thead><tr><th "
        "class=\"left\" scope=\"col\">Kernel</th><th scope=\"col\">Layers</th><th scope=\"col\">Kernels</th><th "
        "scope=\"col\">Sparse</th>");
    report_text(out, after ? "<th scope=\"col\">Became zero</th><th scope=\"col\">Live before</th><th "
                             "scope=\"col\">Live after</th>"
                           : "<th scope=\"col\">Live</th>");
    report_text(out, "<th scope=\"col\">At two levels</th>");
    if (after) report_text(out, "<th scope=\"col\">Shift, all kernels</th><th scope=\"col\">Shift, live kernels</th>");
    report_text(out, "</tr></thead><tbody>");
    for (size_t i = 0; i < r->group_count && i < 200; i++) {
        const fpr_group *g = &r->groups[i];
        report_text(out, "<tr><th class=\"left\" scope=\"row\">");
        page_shape(out, g->kernel_shape, g->kernel_rank);
        report_text(out, "</th>");
        cell_count(out, g->layers);
        cell_count(out, g->kernels);
        cell_count(out, g->sparse);
        if (after) cell_count(out, g->zeroed);
        cell_share(out, part(g->live, g->kernels));
        if (after) cell_share(out, part(g->live_left, g->kernels));
        cell_count(out, g->binary);
        if (after) {
            bool moved = g->has_basis && g->has_after;
            cell_value(out, moved ? g->divergence.weighted : NAN);
            cell_value(out, moved ? g->live_divergence.weighted : NAN);
        }
        report_text(out, "</tr>");
    }
    report_text(out, "</tbody></table></div></section>\n");
}

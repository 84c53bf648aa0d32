/* The first screen: how big before and after, what share of the kernels is live, which layers are binary-like, how far
 * the distributions moved, is anything wrong. And the table of kernel groups. */
#include "report/page.h"

#include <math.h>

typedef struct facts {
    uint64_t kernels, live, binary_layers;
    const fpr_group *shown; /* the largest group with a basis, or NULL */
    size_t warnings;        /* of the file and of its layers */
} facts;

static facts gather(const fpr_report *r)
{
    facts f = {.warnings = r->warning_count};
    for (size_t i = 0; i < r->group_count; i++) {
        const fpr_group *g = &r->groups[i];
        f.kernels += g->kernels, f.live += g->live;
        if (g->has_basis && !f.shown) f.shown = g;
    }
    for (uint64_t i = 0; i < r->layer_count; i++) {
        f.binary_layers += r->layers[i].binary.scope != FPR_SCOPE_NONE;
        f.warnings += r->layers[i].warning_count;
    }
    return f;
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

static void lede(report_out *out, const fpr_report *r, const facts *f)
{
    report_text(out, "<p class=\"lede\">");
    page_size(out, r->input_bytes);
    if (r->has_output) {
        report_text(out, " became ");
        page_size(out, r->output_bytes);
        report_text(out, ", ");
        times_smaller(out, r->input_bytes, r->output_bytes);
    } else {
        report_text(out, " with ");
        page_plural(out, r->parameters, "parameter", "parameters");
        report_text(out, " in ");
        page_plural(out, r->tensors, "tensor", "tensors");
    }
    if (!r->layer_count) {
        report_text(out, ". The file holds no convolution layer.</p>\n");
        return;
    }
    report_text(out, ". Of ");
    page_plural(out, f->kernels, "kernel", "kernels");
    report_text(out, " in ");
    page_plural(out, r->layer_count, "convolution layer", "convolution layers");
    report_text(out, ", ");
    page_share(out, part(f->live, f->kernels));
    report_text(out, " are live; ");
    if (f->binary_layers)
        page_plural(out, f->binary_layers, "layer is binary-like", "layers are binary-like");
    else
        report_text(out, "no layer is binary-like");
    if (f->shown && f->shown->has_after) {
        report_text(out, "; the distribution of the ");
        page_shape(out, f->shown->kernel_shape, f->shown->kernel_rank);
        report_text(out, f->shown->divergence.weighted == 0 ? " kernels did not move" : " kernels moved by ");
        if (f->shown->divergence.weighted != 0) page_value(out, f->shown->divergence.weighted);
    }
    report_text(out, ".</p>\n");
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
    if (r->has_output) meter(out, part(r->output_bytes, r->input_bytes));
    report_text(out, "<p>");
    if (r->has_output) {
        report_text(out, "from ");
        page_size(out, r->input_bytes);
        report_text(out, ", ");
        times_smaller(out, r->input_bytes, r->output_bytes);
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

static void live_tile(report_out *out, const facts *f)
{
    tile(out, "live", "Live kernels");
    page_share(out, part(f->live, f->kernels));
    report_text(out, "</p>");
    meter(out, part(f->live, f->kernels));
    report_text(out, "<p>");
    page_count(out, f->kernels - f->live);
    report_text(out, " of ");
    page_count(out, f->kernels);
    report_text(out, " are sparse</p></li>");
}

#define NAMES_SHOWN 3

static void binary_tile(report_out *out, const fpr_report *r, const facts *f)
{
    tile(out, "binary", "Binary-like layers");
    page_count(out, f->binary_layers);
    report_text(out, "</p><p>");
    if (!f->binary_layers)
        report_text(out, r->options.binary ? "No layer keeps to two levels." : "The search for them was switched off.");
    unsigned shown = 0;
    for (uint64_t i = 0; i < r->layer_count && shown < NAMES_SHOWN; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->binary.scope == FPR_SCOPE_NONE) continue;
        if (shown++) report_text(out, ", ");
        page_name(out, l->name, l->name_bytes);
    }
    if (f->binary_layers > NAMES_SHOWN) {
        report_text(out, " and ");
        page_count(out, f->binary_layers - NAMES_SHOWN);
        report_text(out, " more");
    }
    report_text(out, "</p></li>");
}

static void shift_tile(report_out *out, const facts *f)
{
    tile(out, "shift", "Shift of the distributions");
    const fpr_group *g = f->shown;
    if (!g || !g->has_after) {
        report_text(out, "\xE2\x80\x93</p><p>No kernel has a spatial extent that a basis could describe.</p></li>");
        return;
    }
    page_value(out, g->divergence.weighted);
    report_text(out, "</p><p>all ");
    page_shape(out, g->kernel_shape, g->kernel_rank);
    report_text(out, " kernels; live ones alone ");
    page_value(out, g->live_divergence.weighted);
    report_text(out, "</p><p>symmetric KL, weighted by explained variance</p></li>");
}

static void warning_tile(report_out *out, const facts *f)
{
    tile(out, f->warnings ? "warn" : "good", "Warnings");
    if (f->warnings)
        page_count(out, f->warnings);
    else
        report_text(out, "None");
    report_text(out, "</p><p>");
    report_text(out, f->warnings ? "See below." : "Every tensor was read, checked and understood.");
    report_text(out, "</p></li>");
}

static void layer_warnings(report_out *out, const fpr_report *r)
{
    unsigned shown = 0;
    for (uint64_t i = 0; i < r->layer_count && shown < 40; i++) {
        const fpr_layer *l = &r->layers[i];
        for (size_t w = 0; w < l->warning_count && shown < 40; w++, shown++) {
            report_text(out, "<li>");
            page_name(out, l->name, l->name_bytes);
            report_text(out, ": ");
            page_short(out, l->warnings[w], strlen(l->warnings[w]), 400);
            report_text(out, "</li>");
        }
    }
}

void page_summary(report_out *out, const fpr_report *r)
{
    facts f = gather(r);
    const char *name = page_file_name(r->input_path);
    page_print(out, "<header>\n<p class=\"kicker\">filterprune %s</p>\n<h1>", r->has_output ? "report" : "inspection");
    page_name(out, name, strlen(name));
    report_text(out, "</h1>\n");
    lede(out, r, &f);
    report_text(out, "<ul class=\"tiles\">");
    size_tile(out, r);
    if (r->layer_count) {
        live_tile(out, &f);
        binary_tile(out, r, &f);
        if (r->has_output) shift_tile(out, &f);
    }
    warning_tile(out, &f);
    report_text(out, "</ul>\n");
    if (f.warnings) {
        report_text(out, "<div class=\"notes\" id=\"warnings\"><h2>Warnings</h2>");
        if (r->warning_count) page_warnings(out, r->warnings, r->warning_count);
        if (f.warnings > r->warning_count) {
            report_text(out, "<ul>");
            layer_warnings(out, r);
            report_text(out, "</ul>");
            if (f.warnings - r->warning_count > 40)
                report_text(out, "<p>The first 40 by layer are shown; the JSON report has all.</p>");
        }
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

void page_group_table(report_out *out, const fpr_report *r)
{
    bool after = r->has_output;
    report_text(
        out,
        "<section id=\"groups\"><h2>Kernel groups</h2>\n<p>All layers of one kernel shape form a group with a basis of "
        "its own. Kernels of one weight or of more than 128 have no basis: their sparsity is counted.</p>\n<div "
        "class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of kernel groups\"><table><thead><tr><th "
        "class=\"left\" scope=\"col\">Kernel</th><th scope=\"col\">Layers</th><th scope=\"col\">Kernels</th><th "
        "scope=\"col\">Sparse</th><th scope=\"col\">Live</th><th scope=\"col\">At two levels</th>");
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
        report_text(out, "<td>");
        page_share(out, part(g->live, g->kernels));
        report_text(out, "</td>");
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

/* The tables: layers with bars, dead filters and channels, the tensors that are no layers. */
#include "report/page.h"

#include <math.h>

#define ROWS 600     /* rows of a table; the JSON report has all */
#define DEAD_RUNS 24 /* runs of indices written out for one layer */

static void scroll_begin(report_out *out, const char *label)
{
    page_print(out, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"%s\"><table class=\"sortable\">",
               label);
}

static void heading(report_out *out, const char *text, bool left)
{
    page_print(out, "<th scope=\"col\"%s>%s</th>", left ? " class=\"left\"" : "", text);
}

/* Layers with dead parts may lie anywhere: rows counts those that would be shown. */
static void cut_note(report_out *out, uint64_t rows, const char *what)
{
    if (rows <= ROWS) return;
    page_print(out, "<p class=\"soft\">The first %u of ", ROWS);
    page_count(out, rows);
    page_print(out, " %s are listed; the JSON report has all.</p>", what);
}

typedef enum bar_kind { BAR_NUMBER, BAR_SHARE, BAR_SAMPLED } bar_kind;

static void bar(report_out *out, double v, double width, bar_kind kind)
{
    char text[REPORT_NUMBER];
    if (!isfinite(v)) {
        report_text(out, "<td>\xE2\x80\x93</td>");
        return;
    }
    report_format_fixed(text, width < 0 ? 0 : width > 1 ? 1 : width, 3);
    report_text(out, "<td class=\"bar\" style=\"--v:");
    report_text(out, text);
    if (kind != BAR_NUMBER) {
        report_text(out, "\" data-v=\"");
        page_number(out, v);
    }
    report_text(out, "\">");
    if (kind == BAR_SAMPLED) report_text(out, "~");
    if (kind == BAR_SHARE)
        page_share(out, v);
    else
        report_format_fixed(text, v, 3), report_text(out, text);
    report_text(out, "</td>");
}

static void count_cell(report_out *out, uint64_t v)
{
    report_text(out, v ? "<td>" : "<td class=\"zero\">");
    page_count(out, v);
    report_text(out, "</td>");
}

static void size_cell(report_out *out, uint64_t bytes)
{
    report_text(out, "<td data-v=\"");
    char text[REPORT_NUMBER];
    report_format_integer(text, bytes);
    report_text(out, text);
    report_text(out, "\">");
    page_size(out, bytes);
    report_text(out, "</td>");
}

static void name_cell(report_out *out, const char *name, size_t bytes)
{
    report_text(out, "<th class=\"left\" scope=\"row\">");
    page_name(out, name, bytes);
    report_text(out, "</th>");
}

static void binary_cell(report_out *out, const fpr_binary *b)
{
    static const char *const scopes[] = {"", "layer", "filter", "kernel"};
    if (b->scope == FPR_SCOPE_NONE) {
        report_text(out, "<td>\xE2\x80\x93</td>");
        return;
    }
    report_text(out, "<td data-v=\"");
    page_number(out, b->share);
    report_text(out, "\">");
    page_share(out, b->share);
    page_print(out, " <small>by %s</small></td>", scopes[b->scope]);
}

static void stored_cells(report_out *out, const fpr_stored *s)
{
    size_cell(out, s->bytes_before);
    size_cell(out, s->bytes_after);
    double left = s->bytes_before ? (double)s->bytes_after / (double)s->bytes_before : NAN;
    bar(out, left, left, BAR_SHARE);
    page_print(out, "<td class=\"left\">%s</td>", s->codec ? s->codec : "\xE2\x80\x93");
}

/* The name, and below it what is known of the tensor whatever is in it. */
static void layer_cell(report_out *out, const fpr_layer *l, const page_shared *shared)
{
    report_text(out, "<th class=\"left\" scope=\"row\">");
    page_name_without(out, l->name, l->name_bytes, shared);
    report_text(out, "<small>");
    page_shape(out, l->shape, l->rank);
    page_print(out, " %s</small>", fpr_dtype_name(l->dtype));
    if (!l->finite) report_text(out, "<small class=\"tag\">NaN or Inf</small>");
    if (l->untrained_like)
        page_print(out, "<small class=\"tag\">looks untrained: %s%s%s</small>", l->untrained_like,
                   l->untrained_rule ? ", " : "", l->untrained_rule ? l->untrained_rule : "");
    report_text(out, "</th>");
}

static void figure_cells(report_out *out, const fpr_layer *l)
{
    size_t count;
    const fpr_figure *figure = fpr_layer_figures(&count);
    for (size_t i = 0; i < count; i++) {
        if (!figure[i].page) continue;
        const double v = figure[i].of(l);
        const bool sampled = l->orthogonality_sampled && !strcmp(figure[i].key, "orthogonality");
        bar(out, v, v, sampled ? BAR_SAMPLED : figure[i].kind == FPR_FIGURE_SHARE ? BAR_SHARE : BAR_NUMBER);
    }
}

static void layer_row(report_out *out, const fpr_report *r, const fpr_layer *l, const page_shared *shared)
{
    report_text(out, "<tr>");
    count_cell(out, l->depth);
    layer_cell(out, l, shared);
    count_cell(out, l->conv.kernels);
    if (r->has_output) {
        const double left = l->finite ? (double)l->live_after / (double)l->conv.kernels : NAN;
        bar(out, left, left, BAR_SHARE);
        count_cell(out, l->pruned_kernels);
        report_text(out, "<td>");
        page_value(out, l->error_relative_l2);
        report_text(out, "</td>");
    }
    figure_cells(out, l);
    count_cell(out, l->dead_filter_count);
    count_cell(out, l->dead_channel_count);
    binary_cell(out, &l->binary);
    if (r->has_output) stored_cells(out, &l->stored);
    report_text(out, "</tr>\n");
}

/* Below the heading: on a narrow screen, that there is more to the right. */
static void scroll_hint(report_out *out)
{
    report_text(out, "<p class=\"hint\">The table is wider than the screen: it scrolls sideways.</p>\n");
}

void page_layers(report_out *out, const fpr_report *r)
{
    size_t count;
    const fpr_figure *figure = fpr_layer_figures(&count);
    const bool depth = r->layer_count && r->layers[0].depth_known;
    const page_shared shared = page_shared_of(r);
    report_text(out, "<section id=\"layers\"><h2>Layers</h2>\n");
    cut_note(out, r->layer_count, "layers");
    scroll_hint(out);
    scroll_begin(out, "Table of layers");
    report_text(out, depth ? "<caption>Convolution layers in file order, with the convolutions before each on the longest "
                             "path from an input. Bars reach from 0 to 1."
                           : "<caption>Convolution layers in file order. Bars reach from 0 to 1.");
    page_shared_note(out, r, &shared);
    report_text(out, "</caption><thead><tr>");
    heading(out, depth ? "Depth" : "No.", false);
    heading(out, "Layer", true);
    heading(out, "Kernels", false);
    if (r->has_output) {
        heading(out, "Live after", false);
        heading(out, "Became zero", false);
        heading(out, "Relative error", false);
    }
    for (size_t i = 0; i < count; i++)
        if (figure[i].page) heading(out, figure[i].page, false);
    heading(out, "Dead filters", false);
    heading(out, "Dead channels", false);
    heading(out, "At two levels", false);
    if (r->has_output) {
        heading(out, "Bytes before", false);
        heading(out, "Bytes after", false);
        heading(out, "Left", false);
        heading(out, "Stored as", true);
    }
    report_text(out, "</tr></thead><tbody>\n");
    for (uint64_t i = 0; i < r->layer_count && i < ROWS; i++) layer_row(out, r, &r->layers[i], &shared);
    report_text(out, "</tbody></table></div></section>\n");
}

/* ---- dead filters and channels: 3-6, 9, 12 ... */

static void runs(report_out *out, const uint64_t *index, uint64_t count)
{
    uint64_t i = 0, written = 0;
    if (!count) report_text(out, "\xE2\x80\x93");
    while (i < count && written < DEAD_RUNS) {
        uint64_t end = i;
        while (end + 1 < count && index[end + 1] == index[end] + 1) end++;
        char text[REPORT_NUMBER];
        if (written++) report_text(out, ", ");
        report_format_integer(text, index[i]);
        report_text(out, text);
        if (end > i) {
            report_text(out, end == i + 1 ? ", " : "\xE2\x80\x93");
            report_format_integer(text, index[end]);
            report_text(out, text);
        }
        i = end + 1;
    }
    if (i < count) {
        report_text(out, " \xE2\x80\xA6 and ");
        page_count(out, count - i);
        report_text(out, " more");
    }
}

static void dead_cells(report_out *out, const uint64_t *index, uint64_t count, uint64_t of)
{
    page_print(out, "<td data-v=\"%llu\">", (unsigned long long)count);
    page_count(out, count);
    report_text(out, " of ");
    page_count(out, of);
    report_text(out, "</td><td class=\"left wide\">");
    runs(out, index, count);
    report_text(out, "</td>");
}

/* What leaving them out would save, as far as their own layers tell it. */
static void removable_line(report_out *out, const fpr_changes *c)
{
    report_text(out, "<p>Without them, their own layers would have ");
    page_plural(out, c->removable_weights, "weight", "weights");
    report_text(out, " less (");
    page_plural(out, c->removable_filters, "filter", "filters");
    report_text(out, ", ");
    page_plural(out, c->removable_channels, "channel", "channels");
    report_text(out, "), ");
    page_size(out, c->removable_bytes);
    report_text(out, " when dense; what their neighbours would save, only a graph tells: an ONNX model goes in and comes "
                     "out without them.</p>");
}

static bool has_dead(const fpr_layer *l) { return l->dead_filter_count || l->dead_channel_count; }

void page_dead(report_out *out, const fpr_report *r)
{
    uint64_t rows = 0, shown = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) rows += has_dead(&r->layers[i]);
    report_text(out, "<section id=\"dead\"><h2>Dead filters and channels</h2>\n");
    if (r->normed_layers) {
        report_text(out, "<p>By what batch normalization multiplies their filters with, ");
        page_plural(out, r->scaled.sparse, "kernel", "kernels");
        report_text(out, " of ");
        page_plural(out, r->normed_layers, "layer", "layers");
        report_text(out, " would be sparse: it revives ");
        page_count(out, r->scaled.revived);
        report_text(out, " that are so by weight, and silences ");
        page_count(out, r->scaled.silenced);
        report_text(out, " that are not.</p>\n");
    }
    if (!rows) {
        report_text(out, "<p>Every filter and every channel has a live kernel.</p></section>\n");
        return;
    }
    page_print(out,
               "<p>All kernels of these are %s: a filter that computes nothing but its bias, a channel that nothing "
               "reads.</p>",
               r->has_output ? "zero or sparse after pruning" : "sparse");
    removable_line(out, &r->changes);
    cut_note(out, rows, "layers with dead filters or channels");
    scroll_begin(out, "Table of dead filters and channels");
    report_text(out, "<thead><tr>");
    heading(out, "Layer", true);
    heading(out, "Dead filters", false);
    heading(out, "which (from 0)", true);
    heading(out, "Dead channels", false);
    heading(out, "which (from 0)", true);
    heading(out, "Weights in them", false);
    report_text(out, "</tr></thead><tbody>\n");
    for (uint64_t i = 0; i < r->layer_count && shown < ROWS; i++) {
        const fpr_layer *l = &r->layers[i];
        if (!has_dead(l)) continue;
        report_text(out, "<tr>");
        name_cell(out, l->name, l->name_bytes);
        dead_cells(out, l->dead_filters, l->dead_filter_count, l->conv.filters);
        dead_cells(out, l->dead_channels, l->dead_channel_count, l->conv.channels);
        count_cell(out, l->removable_weights);
        report_text(out, "</tr>\n");
        shown++;
    }
    report_text(out, "</tbody></table></div></section>\n");
}

/* ---- other tensors */

void page_others(report_out *out, const fpr_report *r)
{
    uint64_t before = 0, after = 0;
    for (size_t i = 0; i < r->other_count; i++)
        before += r->others[i].stored.bytes_before, after += r->others[i].stored.bytes_after;
    report_text(out, "<section id=\"tensors\"><h2>Other tensors</h2>\n<p>");
    if (!r->other_count) {
        report_text(out, "Every tensor is a convolution layer.</p></section>\n");
        return;
    }
    page_plural(out, r->other_count, "tensor is", "tensors are");
    report_text(out, r->other_count == 1 ? " no convolution layer" : " no convolution layers");
    if (r->has_output) {
        report_text(out, ": ");
        page_size(out, before);
        report_text(out, before == after ? ", stored in as many bytes" : ", stored in ");
        if (before != after) page_size(out, after);
    }
    report_text(out, ".</p><details><summary>List them</summary>\n");
    cut_note(out, r->other_count, "tensors");
    scroll_begin(out, "Table of other tensors");
    report_text(out, "<thead><tr>");
    heading(out, "Tensor", true);
    heading(out, "Type", true);
    heading(out, "Shape", false);
    if (r->has_output) {
        heading(out, "Bytes before", false);
        heading(out, "Bytes after", false);
        heading(out, "Left", false);
        heading(out, "Stored as", true);
    }
    report_text(out, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < r->other_count && i < ROWS; i++) {
        const fpr_other *t = &r->others[i];
        report_text(out, "<tr>");
        name_cell(out, t->name, t->name_bytes);
        page_print(out, "<td class=\"left\">%s</td><td>", fpr_dtype_name(t->dtype));
        page_shape(out, t->shape, t->rank);
        report_text(out, "</td>");
        if (r->has_output) stored_cells(out, &t->stored);
        report_text(out, "</tr>\n");
    }
    report_text(out, "</tbody></table></div></details></section>\n");
}

/* What a report says in a terminal: a dozen lines, the kernel groups, the most interesting layers. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { INTERESTING = 10 };

/* Columns before the text of a line. */
enum { MARGIN = 11 };

const char *layout_name(fpr_layout layout)
{
    static const char *const names[] = { "auto", "OIHW", "HWIO", "OHWI" };
    return names[layout];
}

static void begin_line(const terminal *term, const char *key)
{
    fprintf(term->out, "  %s%-7s%s  ", style_on(term, STYLE_DIM), key, style_off(term));
}

/* ---- the lines */

static void print_size(const fpr_report *r, const terminal *term)
{
    char before[NUMBER_TEXT], after[NUMBER_TEXT], share[NUMBER_TEXT];
    begin_line(term, "size");
    if (!r->has_output) {
        fprintf(term->out, "%s bytes\n", number_count(before, r->input_bytes));
        return;
    }
    const uint64_t compared = fpr_report_compared_bytes(r);
    const double ratio = compared ? (double)r->output_bytes / (double)compared : 1;
    fprintf(term->out, "%s %s %s bytes, %s%s%s", number_count(before, r->input_bytes), arrow(term),
            number_count(after, r->output_bytes), style_on(term, ratio < 1 ? STYLE_GOOD : STYLE_PLAIN),
            number_share(share, ratio), style_off(term));
    if (compared < r->input_bytes) fprintf(term->out, " of the %s of its tensors", number_count(before, compared));
    if (ratio < 1 && r->output_bytes) fprintf(term->out, " (%.*fx smaller)", ratio > 0.1 ? 2 : 1, 1 / ratio);
    fputc('\n', term->out);
}

static void print_layers_line(const fpr_report *r, const terminal *term)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT];
    uint64_t binary = 0, dead = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) {
        binary += r->layers[i].binary.scope != FPR_SCOPE_NONE;
        dead += r->layers[i].dead_filter_count > 0;
    }
    begin_line(term, "layers");
    fprintf(term->out, "%s of %s tensors", number_count(a, r->layer_count), number_count(b, r->tensors));
    if (r->layer_count) fprintf(term->out, " (%s)", layout_name(r->options.layout));
    if (binary) fprintf(term->out, ", %s binary-like", number_count(c, binary));
    if (dead) fprintf(term->out, ", %s with dead filters", number_count(c, dead));
    fputc('\n', term->out);
}

/* What the layers look like that nobody seems to have trained. */
static void print_untrained(const fpr_report *r, bool all, const terminal *term)
{
    enum { FEW = 3 };
    char name[SAFE_NAME], text[SAFE_NAME + 128];
    uint64_t count = 0, shown = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) count += r->layers[i].untrained_like != NULL;
    for (uint64_t i = 0; i < r->layer_count && (all || shown < FEW); i++) {
        const fpr_layer *l = &r->layers[i];
        if (!l->untrained_like) continue;
        begin_line(term, shown++ ? "" : "random");
        snprintf(text, sizeof text, "%s looks untrained: %s%s%s", safe_text(name, sizeof name, l->name, l->name_bytes),
                 l->untrained_like, l->untrained_rule ? ", " : "", l->untrained_rule ? l->untrained_rule : "");
        shorten(text, term->width - MARGIN);
        fprintf(term->out, "%s\n", text);
    }
    if (count <= shown) return;
    begin_line(term, "");
    fprintf(term->out, "and %llu more look untrained (all with -v)\n", (unsigned long long)(count - shown));
}

/* The sentence that everything begins with: broken into lines on a terminal, one line elsewhere. Amber where it asks for
 * a test. */
static void print_verdict(const fpr_report *r, const terminal *term)
{
    char text[FPR_VERDICT_BYTES];
    fpr_report_verdict(r, text, sizeof text);
    fputs(style_on(term, r->changes.large_layers ? STYLE_WARN : STYLE_PLAIN), term->out);
    print_wrapped(term, text, 2);
    fputs(style_off(term), term->out);
}

/* All weights together: what the sentence does not count. */
static void print_change(const fpr_report *r, const terminal *term)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT], share[NUMBER_TEXT];
    const fpr_changes *c = &r->changes;
    begin_line(term, "change");
    fprintf(term->out, "%s weights in %s tensors", number_count(a, c->weights_changed),
            number_count(b, c->tensors_changed));
    if (c->tensors_changed && isfinite(c->relative_l2))
        fprintf(term->out, ", %s of their norm", number_share(share, c->relative_l2));
    fputc('\n', term->out);
}

static void print_time(const fpr_report *r, double seconds, const terminal *term)
{
    char time[NUMBER_TEXT], rate[NUMBER_TEXT], peak[NUMBER_TEXT];
    begin_line(term, "time");
    fprintf(term->out, "%s, %s/s, %u thread%s", number_seconds(time, seconds),
            number_bytes(rate, seconds > 0 ? (double)r->input_bytes / seconds : 0), r->threads,
            r->threads == 1 ? "" : "s");
    if (r->peak_rss_bytes) fprintf(term->out, ", memory %s", number_bytes(peak, (double)r->peak_rss_bytes));
    fputc('\n', term->out);
}

static void print_pages(page_names pages, const terminal *term)
{
    char name[SAFE_NAME];
    if (!pages.html && !pages.json) return;
    begin_line(term, "report");
    if (pages.html) fputs(safe_name(name, pages.html), term->out);
    if (pages.html && pages.json) fputs(" and .json", term->out);
    else if (pages.json) fputs(safe_name(name, pages.json), term->out);
    fputc('\n', term->out);
}

/* ---- warnings */

void print_warnings(const fpr_report *r)
{
    for (size_t i = 0; i < r->warning_count; i++) warn(r->input_path, r->warnings[i]);
}

static void print_warning_lines(const fpr_report *r, bool all, const terminal *term)
{
    enum { FEW = 5 };
    char text[SAFE_NAME];
    size_t shown = 0;
    for (; shown < r->warning_count && (all || shown < FEW); shown++) {
        safe_name(text, r->warnings[shown]);
        if (!all) shorten(text, term->width - MARGIN);
        begin_line(term, shown ? "" : "warning");
        fprintf(term->out, "%s%s%s\n", style_on(term, STYLE_WARN), text, style_off(term));
    }
    if (r->warning_count > shown) {
        begin_line(term, "");
        fprintf(term->out, "and %zu more warnings (all with -v)\n", r->warning_count - shown);
    }
}

/* NaN, shown as "-", where there is nothing to have a share of. */
static double share_of(uint64_t part, uint64_t whole) { return whole ? (double)part / (double)whole : NAN; }

/* ---- kernel groups */

static void print_groups(const fpr_report *r, const terminal *term)
{
    static const column after[] = {
        { "kernels", false, 0 }, { "layers", true, 3 }, { "count", true, 5 }, { "live before", true, 2 },
        { "live after", true, 0 }, { "two-level", true, 4 }, { "shift", true, 0 }, { "live shift", true, 1 },
    };
    static const column before[] = {
        { "kernels", false, 0 }, { "layers", true, 3 }, { "count", true, 0 }, { "live", true, 0 }, { "share", true, 2 },
        { "two-level", true, 4 }, { "variance of 3 components", true, 5 },
    };
    if (!r->group_count) return;
    table *t = table_new(r->has_output ? after : before, r->has_output ? 8 : 7);
    for (size_t i = 0; i < r->group_count; i++) {
        const fpr_group *g = &r->groups[i];
        char shape[SHAPE_TEXT], a[NUMBER_TEXT];
        shape_text(shape, g->kernel_shape, g->kernel_rank);
        table_cell(t, "%s", shape);
        table_cell(t, "%s", number_count(a, g->layers));
        table_cell(t, "%s", number_count(a, g->kernels));
        table_cell(t, "%s", r->has_output ? number_share(a, share_of(g->live, g->kernels)) : number_count(a, g->live));
        table_cell(t, "%s", number_share(a, share_of(r->has_output ? g->live_left : g->live, g->kernels)));
        table_cell(t, "%s", number_count(a, g->binary));
        if (r->has_output) {
            bool known = g->has_basis && g->has_after;
            table_cell(t, "%s", number_plain(a, known ? g->divergence.weighted : NAN));
            table_cell(t, "%s", number_plain(a, known ? g->live_divergence.weighted : NAN));
        } else if (g->has_basis) {
            const double *v = g->basis.explained_variance_ratio;
            char text[128] = "";
            size_t used = 0;
            for (unsigned c = 0; c < g->k && c < 3; c++)
                used += (size_t)snprintf(text + used, sizeof text - used, "%s%.1f", c ? ", " : "", 100 * v[c]);
            table_cell(t, "%s %%", text);
        } else {
            table_cell(t, "-");
        }
    }
    fputc('\n', term->out);
    table_print(t, term, 2);
    table_free(t);
}

/* ---- layers */

/* What is wrong comes first, then what changed, then what saved most bytes; without an output, two-level layers and
 * those with most sparse kernels. */
static double interest(const fpr_layer *layer, bool has_output)
{
    bool is_binary = layer->binary.scope != FPR_SCOPE_NONE;
    double rank = layer->warning_count || !layer->finite ? 2e15 : 0;
    if (!has_output) return rank + (double)layer->sparse + (is_binary ? 1e15 : 0);
    if (is_binary || layer->pruned_kernels) rank += 1e15;
    return rank + (double)layer->stored.bytes_before - (double)layer->stored.bytes_after;
}

typedef struct ranked { double interest; uint64_t index; } ranked;

static int by_interest(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->interest != y->interest) return x->interest < y->interest ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int by_index(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

static const char *scope_text(const fpr_layer *layer)
{
    static const char *const names[] = { "-", "layer", "filter", "kernel" };
    return names[layer->binary.scope];
}

static void figure_cells(table *t, const fpr_layer *l)
{
    size_t figures;
    const fpr_figure *figure = fpr_layer_figures(&figures);
    for (size_t i = 0; i < figures; i++) {
        char a[NUMBER_TEXT];
        if (!figure[i].terminal) continue;
        const double v = figure[i].of(l);
        const bool sampled = l->orthogonality_sampled && !strcmp(figure[i].key, "orthogonality");
        table_cell(t, "%s%s", sampled ? "~" : "", number_figure(a, figure[i].kind, v));
    }
}

static void layer_cells(table *t, const fpr_layer *l, bool has_output)
{
    char name[SAFE_NAME], shape[SHAPE_TEXT], a[NUMBER_TEXT];
    safe_text(name, sizeof name, l->name, l->name_bytes);
    shape_text(shape, l->shape, l->rank);
    table_cell(t, "%s", name);
    table_cell(t, "%s", shape);
    table_cell(t, "%s", number_count(a, l->conv.kernels));
    table_cell(t, "%s", number_share(a, l->finite ? share_of(l->live_before, l->conv.kernels) : NAN));
    if (has_output) {
        table_cell(t, "%s", number_share(a, l->finite ? share_of(l->live_after, l->conv.kernels) : NAN));
        table_cell(t, "%s", number_count(a, l->pruned_kernels));
        table_cell(t, "%s", scope_text(l));
        table_cell(t, "%s", l->error_relative_l2 > 0 ? number_share(a, l->error_relative_l2) : "-");
        table_cell(t, "%s", l->stored.codec);
        table_cell(t, "%s", number_bytes(a, (double)l->stored.bytes_before));
        table_cell(t, "%s", number_bytes(a, (double)l->stored.bytes_after));
    } else {
        table_cell(t, "%s", scope_text(l));
        figure_cells(t, l);
        table_cell(t, "%s", number_count(a, l->dead_filter_count));
        table_cell(t, "%s", number_count(a, l->dead_channel_count));
    }
}

enum { COLUMNS_MOST = 24 };

/* The columns of an inspection: the figures that have one here are among them. */
static size_t inspection_columns(column columns[COLUMNS_MOST])
{
    static const column first[] = { { "layer", false, 0 }, { "shape", true, 6 }, { "kernels", true, 3 }, { "live", true, 0 },
                                    { "two-level", true, 4 } };
    static const column last[] = { { "dead filters", true, 2 }, { "dead channels", true, 5 } };
    size_t figures, n = sizeof first / sizeof *first;
    const fpr_figure *figure = fpr_layer_figures(&figures);
    memcpy(columns, first, sizeof first);
    for (size_t i = 0; i < figures && n < COLUMNS_MOST - 2; i++)
        if (figure[i].terminal) columns[n++] = (column){ figure[i].terminal, true, figure[i].rank };
    memcpy(columns + n, last, sizeof last);
    return n + sizeof last / sizeof *last;
}

static void print_layers(const fpr_report *r, bool all, const terminal *term)
{
    static const column after[] = {
        { "layer", false, 0 }, { "shape", true, 6 }, { "kernels", true, 7 }, { "live before", true, 4 },
        { "live after", true, 0 }, { "zeroed", true, 2 }, { "two-level", true, 5 }, { "error", true, 0 },
        { "codec", true, 8 }, { "bytes before", true, 3 }, { "bytes after", true, 1 },
    };
    if (!r->layer_count) return;
    column before[COLUMNS_MOST];
    const size_t columns = r->has_output ? sizeof after / sizeof *after : inspection_columns(before);
    ranked *order = malloc(r->layer_count * sizeof *order);
    table *t = table_new(r->has_output ? after : before, columns);
    if (!order || !t) goto out;
    for (uint64_t i = 0; i < r->layer_count; i++) order[i] = (ranked){ interest(&r->layers[i], r->has_output), i };
    uint64_t shown = r->layer_count;
    if (!all && shown > INTERESTING) {
        qsort(order, shown, sizeof *order, by_interest);
        shown = INTERESTING;
        qsort(order, shown, sizeof *order, by_index); /* those chosen, in the order of the file */
    }
    bool sampled = false;
    for (uint64_t i = 0; i < shown; i++) {
        const fpr_layer *l = &r->layers[order[i].index];
        layer_cells(t, l, r->has_output);
        sampled |= l->orthogonality_sampled && !r->has_output; /* the other table has no such column */
    }
    fputc('\n', term->out);
    table_print(t, term, 2);
    if (sampled) fprintf(term->out, "  %s~ over 2,048 evenly spaced filters%s\n", style_on(term, STYLE_DIM), style_off(term));
    if (shown < r->layer_count) {
        char a[NUMBER_TEXT];
        fprintf(term->out, "  %sThe %d layers %s; all %s with -v%s\n", style_on(term, STYLE_DIM), INTERESTING,
                r->has_output ? "that changed and saved most" : "with most sparse kernels",
                number_count(a, r->layer_count), style_off(term));
    }
out:
    table_free(t);
    free(order);
}

/* What looks like a convolution and is not treated as one. */
static void print_lookalikes(const fpr_report *r, bool all, const terminal *term)
{
    enum { FEW = 3 };
    char name[SAFE_NAME], shape[SHAPE_TEXT];
    for (size_t i = 0; i < r->lookalike_count && (all || i < FEW); i++) {
        const fpr_lookalike *t = &r->lookalikes[i];
        begin_line(term, i ? "" : "no layer");
        fprintf(term->out, "%s [%s] looks like a convolution: %s\n", safe_text(name, sizeof name, t->name, t->name_bytes),
                shape_text(shape, t->shape, t->rank), t->why);
    }
    if (all || r->lookalike_count <= FEW) return;
    begin_line(term, "");
    fprintf(term->out, "and %zu more that look like convolutions (all with -v)\n", r->lookalike_count - FEW);
}

/* What BatchNormalization makes of sparse kernels, where a graph says that it follows. */
static void print_norms(const fpr_report *r, const terminal *term)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT];
    if (!r->normed_layers) return;
    begin_line(term, "norms");
    fprintf(term->out, "by batch normalization's scale %s kernels of %s layer%s are sparse:", number_count(a, r->scaled.sparse),
            number_count(b, r->normed_layers), r->normed_layers == 1 ? "" : "s");
    fprintf(term->out, " it revives %s, silences %s\n", number_count(a, r->scaled.revived), number_count(b, r->scaled.silenced));
}

/* What left an ONNX model. */
static void print_removal(const fpr_removal *r, const terminal *term)
{
    enum { FEW = 5 };
    char a[NUMBER_TEXT], b[NUMBER_TEXT], name[SAFE_NAME];
    fprintf(term->out, "  removed  %s filter%s; multiply-adds %s", number_count(a, r->channels), r->channels == 1 ? "" : "s",
            number_count(b, r->macs_before));
    fprintf(term->out, " %s %s, parameters", arrow(term), number_count(a, r->macs_after));
    fprintf(term->out, " %s %s %s\n", number_count(a, r->parameters_before), arrow(term), number_count(b, r->parameters_after));
    if (r->not_compared) fprintf(term->out, "  outputs  not compared: %s\n", safe_name(name, r->not_compared));
    else fprintf(term->out, "  outputs  differ by at most %s of their largest magnitude\n", number_plain(a, r->difference));
    if (r->shapes) fprintf(term->out, "  shapes   of what changed are in the .shapes.json beside OUTPUT: build the module with them\n");
    for (size_t i = 0; i < r->stop_count && i < FEW; i++) {
        fprintf(term->out, "  stopped  by %s", safe_name(name, r->stops[i].op));
        fprintf(term->out, " %s: %s needless channel%s\n", safe_name(name, r->stops[i].node), number_count(a, r->stops[i].channels),
                r->stops[i].channels == 1 ? " stays" : "s stay");
    }
    if (r->stop_count > FEW) fprintf(term->out, "           and by %zu more nodes (all in the report)\n", r->stop_count - FEW);
}

void print_summary(const fpr_report *r, const settings *set, double seconds, page_names pages, const terminal *term)
{
    char input[SAFE_NAME], output[SAFE_NAME];
    fputs(style_on(term, STYLE_BOLD), term->out);
    fputs(safe_name(input, r->input_path), term->out);
    if (r->has_output && r->output_path)
        fprintf(term->out, " %s %s", arrow(term), safe_name(output, r->output_path));
    fprintf(term->out, "%s\n", style_off(term));
    print_verdict(r, term);
    print_size(r, term);
    print_layers_line(r, term);
    print_untrained(r, set->verbose, term);
    print_norms(r, term);
    if (r->has_output) print_change(r, term);
    if (r->removal) print_removal(r->removal, term);
    print_time(r, seconds, term);
    print_pages(pages, term);
    print_lookalikes(r, set->verbose, term);
    print_warning_lines(r, set->verbose, term);
    print_groups(r, term);
    print_layers(r, set->verbose, term);
    if (set->job.spectra) print_spectra(r, set->verbose, term);
}

/* What layers are beyond plain convolutions, how that is known, and what looks like a layer and is none. */
#include "report/page.h"

static const char *kind_of(const fpr_layer *l)
{
    return l->conv.depthwise ? l->conv.transposed ? "transposed depthwise" : "depthwise"
           : l->conv.transposed ? "transposed" : "conv";
}

static const char *known_by(const fpr_layer *l)
{
    static const char *const names[] = {"shape", "format", "option", "name", "bias"};
    return names[l->known];
}

void report_role(report_out *out, const fpr_layer *l)
{
    static const char *const computed[] = {NULL, "weight_norm", "mask"};
    report_key(out, "kind"), report_string0(out, kind_of(l));
    report_key(out, "known_by"), report_string0(out, known_by(l));
    report_key(out, "computed"), report_string0(out, computed[l->computed]);
}

void report_lookalikes(report_out *out, const fpr_report *r)
{
    report_key(out, "lookalikes");
    report_begin(out, '[');
    for (size_t i = 0; i < r->lookalike_count; i++) {
        const fpr_lookalike *t = &r->lookalikes[i];
        report_line(out);
        report_begin(out, '{');
        report_key(out, "name"), report_string(out, t->name, t->name_bytes);
        report_key(out, "dtype"), report_string0(out, fpr_dtype_name(t->dtype));
        report_key(out, "shape"), report_integers(out, t->shape, t->rank);
        report_key(out, "why"), report_string0(out, t->why);
        report_end(out, '}');
    }
    report_end(out, ']');
}

/* ---------------------------------------------------------------- page */

#define FEW 50

static void transposed_layers(report_out *out, const fpr_report *r)
{
    static const char *const how[] = {"shape", "the file\xE2\x80\x99s format", "option", "name", "the length of the bias"};
    size_t count = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        if (!l->conv.transposed || count++ >= FEW) continue;
        report_text(out, count == 1 ? "<p>Transposed convolutions, [in, out, \xE2\x80\xA6]; their filters and channels are "
                                      "outputs and inputs all the same: " : ", ");
        page_name(out, l->name, l->name_bytes);
        page_print(out, " (by %s)", how[l->known]);
    }
    if (count > FEW) page_print(out, " and %zu more", count - FEW);
    if (count) report_text(out, ".</p>\n");
}

static void computed_layers(report_out *out, const fpr_report *r)
{
    size_t normed = 0, masked = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) {
        normed += r->layers[i].computed == FPR_COMPUTED_WEIGHT_NORM;
        masked += r->layers[i].computed == FPR_COMPUTED_MASKED;
    }
    if (normed) {
        report_text(out, "<p>");
        page_plural(out, normed, "layer is", "layers are");
        report_text(out, " kept by weight normalization: what is shown and pruned is w = g v / |v|.</p>\n");
    }
    if (masked) {
        report_text(out, "<p>");
        page_plural(out, masked, "layer is", "layers are");
        report_text(out, " kept with a pruning mask: what is shown and pruned is weights times mask.</p>\n");
    }
}

static void lookalikes(report_out *out, const fpr_report *r)
{
    report_text(out, "<p>");
    page_plural(out, r->lookalike_count, "tensor looks", "tensors look");
    report_text(out, " like a convolution, but nothing of the kind is done to it; <code>--only</code> with a pattern that names "
                     "no layer takes it in:</p>\n<ul>");
    for (size_t i = 0; i < r->lookalike_count && i < FEW; i++) {
        report_text(out, "<li>");
        page_name(out, r->lookalikes[i].name, r->lookalikes[i].name_bytes);
        report_text(out, " [");
        page_shape(out, r->lookalikes[i].shape, r->lookalikes[i].rank);
        page_print(out, "]: %s</li>", r->lookalikes[i].why);
    }
    report_text(out, "</ul>\n");
    if (r->lookalike_count > FEW) page_print(out, "<p>And %zu more, which the JSON lists.</p>\n", r->lookalike_count - FEW);
}

void page_roles(report_out *out, const fpr_report *r)
{
    bool any = r->lookalike_count > 0;
    for (uint64_t i = 0; i < r->layer_count && !any; i++) any = r->layers[i].conv.transposed || r->layers[i].computed;
    if (!any) return;
    report_text(out, "<section id=\"roles\"><h2>What tensors are</h2>\n");
    transposed_layers(out, r);
    computed_layers(out, r);
    if (r->lookalike_count) lookalikes(out, r);
    report_text(out, "</section>\n");
}

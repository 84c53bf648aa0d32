/* What left an ONNX model: its JSON, and its section of the page. */
#include "report/page.h"

#include <math.h>

static void json_layer(report_out *out, const fpr_removed_layer *l)
{
    report_line(out);
    report_begin(out, '{');
    report_key(out, "node"), report_string0(out, l->name);
    report_key(out, "weight"), report_string0(out, l->weight);
    report_key(out, "op"), report_string0(out, l->op);
    const struct { const char *key; uint64_t before, after; } pairs[] = {
        {"inputs", l->in_before, l->in_after}, {"outputs", l->out_before, l->out_after},
        {"parameters", l->parameters_before, l->parameters_after}, {"multiply_adds", l->macs_before, l->macs_after},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        report_key(out, pairs[i].key);
        report_begin(out, '{');
        report_key(out, "before"), report_integer(out, pairs[i].before);
        report_key(out, "after"), report_integer(out, pairs[i].after);
        report_end(out, '}');
    }
    report_key(out, "dead"), report_integer(out, l->dead);
    report_key(out, "constant"), report_integer(out, l->constant);
    report_key(out, "unread"), report_integer(out, l->unread);
    report_key(out, "merged"), report_integer(out, l->merged);
    report_end(out, '}');
}

void report_removal(report_out *out, const fpr_removal *r)
{
    if (!r) return;
    report_key(out, "removal");
    report_begin(out, '{');
    report_key(out, "channels"), report_integer(out, r->channels);
    report_key(out, "parameters_before"), report_integer(out, r->parameters_before);
    report_key(out, "parameters_after"), report_integer(out, r->parameters_after);
    report_key(out, "multiply_adds_before"), report_integer(out, r->macs_before);
    report_key(out, "multiply_adds_after"), report_integer(out, r->macs_after);
    report_key(out, "open_dimensions");
    if (r->side) report_integer(out, r->side);
    else report_null(out);
    report_key(out, "output_difference"), report_number(out, r->difference);
    report_key(out, "not_compared"), report_string0(out, r->not_compared);
    report_key(out, "stopped_by");
    report_begin(out, '[');
    for (size_t i = 0; i < r->stop_count; i++) {
        report_begin(out, '{');
        report_key(out, "op"), report_string0(out, r->stops[i].op);
        report_key(out, "node"), report_string0(out, r->stops[i].node);
        report_key(out, "channels"), report_integer(out, r->stops[i].channels);
        report_end(out, '}');
    }
    report_end(out, ']');
    report_key(out, "layers");
    report_begin(out, '[');
    for (size_t i = 0; i < r->layer_count; i++) json_layer(out, &r->layers[i]);
    report_end(out, ']');
    report_end(out, '}');
    report_line(out);
}

/* ---- the page */

static void pair(report_out *out, uint64_t before, uint64_t after)
{
    report_text(out, "<td>");
    page_count(out, before);
    report_text(out, "</td><td>");
    page_count(out, after);
    report_text(out, "</td>");
}

static void count(report_out *out, uint64_t n)
{
    report_text(out, "<td>");
    page_count(out, n);
    report_text(out, "</td>");
}

static void row(report_out *out, const fpr_removed_layer *l)
{
    report_text(out, "<tr><th scope=\"row\">");
    page_name(out, l->weight, strlen(l->weight));
    report_text(out, "</th><td>");
    page_name(out, l->op, strlen(l->op));
    report_text(out, "</td>");
    pair(out, l->out_before, l->out_after);
    count(out, l->dead), count(out, l->constant), count(out, l->unread), count(out, l->merged);
    pair(out, l->in_before, l->in_after);
    pair(out, l->macs_before, l->macs_after);
    report_text(out, "</tr>\n");
}

static void facts(report_out *out, const fpr_removal *r)
{
    report_text(out, "<p>");
    page_plural(out, r->channels, "filter", "filters");
    report_text(out, r->channels == 1 ? " has" : " have");
    report_text(out, " left the network, and what read them: multiply-adds ");
    page_count(out, r->macs_before);
    report_text(out, " &rarr; ");
    page_count(out, r->macs_after);
    report_text(out, ", parameters ");
    page_count(out, r->parameters_before);
    report_text(out, " &rarr; ");
    page_count(out, r->parameters_after);
    report_text(out, " (one input");
    if (r->side) {
        report_text(out, "; open dimensions are ");
        page_count(out, r->side);
    }
    report_text(out, "). ");
    if (r->not_compared) {
        report_text(out, "Outputs were not compared: ");
        page_name(out, r->not_compared, strlen(r->not_compared));
    } else {
        report_text(out, "Outputs of the pruned network before and after differ by at most ");
        page_value(out, r->difference);
        report_text(out, " of their largest magnitude, in double precision");
    }
    report_text(out, ".</p>\n");
}

void page_removal(report_out *out, const fpr_removal *r)
{
    report_text(out, "<section id=\"removal\"><h2>What left the network</h2>\n");
    facts(out, r);
    if (r->stop_count) {
        report_text(out, "<p>More was constant or unread and had to stay, because of:</p><ul>");
        for (size_t i = 0; i < r->stop_count; i++) {
            report_text(out, "<li>");
            page_name(out, r->stops[i].op, strlen(r->stops[i].op));
            report_text(out, " ");
            page_name(out, r->stops[i].node, strlen(r->stops[i].node));
            report_text(out, ": ");
            page_plural(out, r->stops[i].channels, "channel", "channels");
            report_text(out, "</li>");
        }
        report_text(out, "</ul>\n");
    }
    report_text(out, "<div class=\"scroll\"><table class=\"sortable\"><thead><tr><th scope=\"col\">weights</th>"
                     "<th scope=\"col\">operator</th><th scope=\"col\">filters</th><th scope=\"col\">left</th>"
                     "<th scope=\"col\">dead</th><th scope=\"col\">constant</th><th scope=\"col\">unread</th>"
                     "<th scope=\"col\">merged</th><th scope=\"col\">channels read</th><th scope=\"col\">left</th>"
                     "<th scope=\"col\">multiply-adds</th><th scope=\"col\">left</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < r->layer_count; i++) row(out, &r->layers[i]);
    report_text(out, "</tbody></table></div></section>\n");
}

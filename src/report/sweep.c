/* What other thresholds and errors would give: JSON, and the section of the page. */
#include "report/page.h"

static void points(report_out *out, const fpr_report *r, bool errors)
{
    report_begin(out, '[');
    for (size_t i = 0; i < r->sweep_count; i++) {
        const fpr_sweep_point *p = &r->sweep[i];
        if ((p->max_error > 0) != errors) continue;
        report_begin(out, '{');
        report_key(out, "eps"), report_number(out, p->eps);
        if (errors) report_key(out, "max_error"), report_number(out, p->max_error);
        report_key(out, "kernels_zeroed"), report_integer(out, p->kernels_zeroed);
        report_key(out, "relative_l2"), report_number(out, p->relative_l2);
        report_key(out, "worst"), report_number(out, p->worst);
        report_key(out, "bytes"), report_integer(out, p->bytes);
        report_end(out, '}');
    }
    report_end(out, ']');
}

void report_sweep(report_out *out, const fpr_report *r)
{
    if (!r->sweep_count) return;
    report_line(out);
    report_key(out, "sweep");
    report_begin(out, '{');
    report_key(out, "eps"), points(out, r, false);
    report_key(out, "max_error"), points(out, r, true);
    report_end(out, '}');
}

static void row(report_out *out, const fpr_report *r, const fpr_sweep_point *p)
{
    report_text(out, "<tr><th scope=\"row\">");
    if (p->max_error > 0) page_print(out, "max-error %g", p->max_error);
    else page_print(out, "eps %g", p->eps);
    report_text(out, "</th><td>");
    page_count(out, p->kernels_zeroed);
    report_text(out, "</td><td>");
    page_share(out, p->relative_l2);
    report_text(out, "</td><td>");
    page_share(out, p->worst);
    report_text(out, "</td><td>");
    page_size(out, p->bytes);
    report_text(out, "</td><td>");
    page_share(out, fpr_report_compared_bytes(r) ? (double)p->bytes / (double)fpr_report_compared_bytes(r) : 0);
    report_text(out, "</td></tr>\n");
}

void page_sweep(report_out *out, const fpr_report *r)
{
    if (!r->sweep_count) return;
    report_text(out, "<section id=\"sweep\"><h2>What other settings would give</h2>\n"
                     "<p>Each row is one dry run at the same level. An error is no promise of accuracy: only a test of the "
                     "network tells, see <code>--accept</code>.</p>\n"
                     "<div class=\"scroll\"><table>\n"
                     "<thead><tr><th scope=\"col\">setting</th><th scope=\"col\">kernels zeroed</th>"
                     "<th scope=\"col\">relative error of what changes</th><th scope=\"col\">largest of a tensor</th>"
                     "<th scope=\"col\">size</th><th scope=\"col\">of the input</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < r->sweep_count; i++) row(out, r, &r->sweep[i]);
    report_text(out, "</tbody></table></div></section>\n");
}

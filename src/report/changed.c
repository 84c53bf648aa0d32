/* What was changed: the tensors that differ from the input, those that changed most first. */
#include "report/page.h"

#include <math.h>
#include <stdlib.h>

#define ROWS 40 /* the JSON report has all */

/* A layer or another tensor. */
typedef struct changed {
    const char *name;
    size_t name_bytes;
    const fpr_layer *layer; /* NULL: none */
    const fpr_change *change;
    double max_abs, relative_l2;
    bool cast;
    fpr_dtype dtype;
    size_t order;
} changed;

static int by_error(const void *a, const void *b)
{
    const changed *x = a, *y = b;
    const double u = isfinite(x->relative_l2) ? x->relative_l2 : HUGE_VAL, v = isfinite(y->relative_l2) ? y->relative_l2 : HUGE_VAL;
    if (u != v) return u < v ? 1 : -1;
    return (x->order > y->order) - (x->order < y->order);
}

/* All that changed, in a list that the caller frees; NULL: no memory. */
static changed *find(const fpr_report *r, size_t *count)
{
    changed *list = base_alloc(r->layer_count + r->other_count, sizeof *list);
    *count = 0;
    for (uint64_t i = 0; list && i < r->layer_count; i++) {
        const fpr_layer *l = &r->layers[i];
        if (l->change.weights || l->cast)
            list[*count] = (changed){l->name, l->name_bytes, l, &l->change, l->error_max_abs, l->error_relative_l2, l->cast,
                                     l->dtype, *count},
            ++*count;
    }
    for (size_t i = 0; list && i < r->other_count; i++) {
        const fpr_other *t = &r->others[i];
        if (t->change.weights || t->cast)
            list[*count] = (changed){t->name, t->name_bytes, NULL, &t->change, t->error_max_abs, t->error_relative_l2,
                                     t->cast, t->dtype, *count},
            ++*count;
    }
    if (list) qsort(list, *count, sizeof *list, by_error);
    return list;
}

static void count_of(report_out *out, uint64_t n, uint64_t of)
{
    page_print(out, "<td data-v=\"%llu\">", (unsigned long long)n);
    page_count(out, n);
    if (of) report_text(out, " of "), page_count(out, of);
    report_text(out, "</td>");
}

static void row(report_out *out, const fpr_report *r, const changed *c, const page_shared *shared)
{
    static const char *const casts[] = {"", "F32", "F16", "BF16"};
    const fpr_layer *l = c->layer;
    report_text(out, "<tr><th class=\"left\" scope=\"row\">");
    if (l) page_name_without(out, c->name, c->name_bytes, shared);
    else page_name(out, c->name, c->name_bytes);
    if (l && l->wholly_zero) report_text(out, "<small class=\"tag\">wholly zero now</small>");
    page_print(out, "</th><td class=\"left\">%s", fpr_dtype_name(c->dtype));
    if (c->cast) page_print(out, " \xE2\x86\x92 %s", casts[r->options.cast]);
    report_text(out, "</td>");
    if (l) count_of(out, l->pruned_kernels, l->conv.kernels);
    else report_text(out, "<td>\xE2\x80\x93</td>");
    count_of(out, c->change->weights, 0);
    report_text(out, c->relative_l2 > FPR_LARGE_ERROR || isnan(c->relative_l2) ? "<td class=\"test\" data-v=\"" : "<td data-v=\"");
    page_number(out, c->relative_l2);
    report_text(out, "\">");
    page_share(out, c->relative_l2);
    report_text(out, "</td><td>");
    page_value(out, c->max_abs);
    report_text(out, "</td>");
    if (r->options.cast != FPR_CAST_NONE) {
        count_of(out, c->change->to_inf, 0);
        count_of(out, c->change->to_zero, 0);
    }
    report_text(out, "</tr>\n");
}

void page_changed(report_out *out, const fpr_report *r)
{
    size_t count;
    changed *list = find(r, &count);
    const page_shared shared = page_shared_of(r);
    if (!list) {
        out->failed = FPR_NO_MEMORY;
        return;
    }
    report_text(out, "<section id=\"changed\"><h2>What was changed</h2>\n");
    if (!count) {
        report_text(out, "<p>Nothing: every tensor that is in the output keeps its values.</p></section>\n");
        base_free(list);
        return;
    }
    report_text(out, "<p>");
    page_plural(out, count, "tensor differs", "tensors differ");
    report_text(out, " from the input, those that changed most first");
    if (count > ROWS) page_print(out, ": the first %u, the JSON report has all", ROWS);
    report_text(out, ". The relative error is that of all weights of a tensor together (L2); above 10\xC2\xA0% in one of "
                     "them, the network should be tested.</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
                     "aria-label=\"Table of changed tensors\"><table class=\"sortable\">");
    if (shared.head + shared.tail) {
        report_text(out, "<caption>");
        page_shared_note(out, r, &shared);
        report_text(out, "</caption>");
    }
    report_text(out, "<thead><tr><th class=\"left\" scope=\"col\">Tensor</th><th class=\"left\" scope=\"col\">Type</th><th "
                     "scope=\"col\">Kernels that became zero</th><th scope=\"col\">Weights changed</th><th "
                     "scope=\"col\">Relative error</th><th scope=\"col\">Largest difference</th>");
    if (r->options.cast != FPR_CAST_NONE)
        report_text(out, "<th scope=\"col\">Became infinite</th><th scope=\"col\">Became 0 by the cast</th>");
    report_text(out, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < count && i < ROWS; i++) row(out, r, &list[i], &shared);
    report_text(out, "</tbody></table></div></section>\n");
    base_free(list);
}

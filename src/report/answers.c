/* JSON of what is asked without a report: comparisons, differences, verifications. */
#include "report/report.h"

/* ---- filterprune-compare-1 */

static void model(report_out *out, const fpr_compared *m, unsigned k, unsigned bins)
{
    report_line(out);
    report_begin(out, '{');
    report_key(out, "path"), report_string0(out, m->path);
    report_key(out, "name"), report_string0(out, m->name);
    report_key(out, "layers"), report_integer(out, m->layers);
    report_key(out, "kernels"), report_integer(out, m->kernels);
    report_key(out, "live"), report_integer(out, m->live);
    report_key(out, "binary_layers"), report_integer(out, m->binary_layers);
    report_key(out, "mean_shift"), report_number(out, m->mean_shift);
    report_key(out, "nearest"), report_integer(out, m->nearest);
    if (m->distribution.counts) report_histogram(out, m->distribution.counts, k, bins);
    report_end(out, '}');
}

fpr_status fpr_comparison_json(const fpr_comparison *c, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    size_t n = c->model_count;
    report_begin(&out, '{');
    report_key(&out, "schema"), report_string0(&out, "filterprune-compare-1");
    report_line(&out);
    report_tool(&out);
    report_line(&out);
    report_key(&out, "models");
    report_begin(&out, '[');
    for (size_t i = 0; i < n; i++) model(&out, &c->models[i], c->k, c->bins);
    report_end(&out, ']');
    report_line(&out);
    report_key(&out, "kernel_shape"), report_kernel_shape(&out, c->kernel_rank, c->kernel_shape);
    report_key(&out, "basis_source"), report_string0(&out, c->basis_source);
    report_key(&out, "basis"), report_basis(&out, &c->basis, c->k);
    report_line(&out);
    report_key(&out, "range"), report_numbers(&out, c->range, 2);
    report_key(&out, "bins"), report_integer(&out, c->bins);
    report_key(&out, "paper"), report_string0(&out, report_paper(c->paper));
    report_key(&out, "weights"), report_numbers(&out, c->weights ? c->weights : c->basis.explained_variance_ratio, c->k);
    report_line(&out);
    report_matrix(&out, "divergence", c->divergence, n);
    report_line(&out);
    if (c->noise_median && c->noise_q95) {
        report_key(&out, "noise");
        report_begin(&out, '{');
        report_matrix(&out, "median", c->noise_median, n);
        report_line(&out);
        report_matrix(&out, "q95", c->noise_q95, n);
        report_end(&out, '}');
        report_line(&out);
    }
    report_key(&out, "per_component");
    report_begin(&out, '[');
    for (size_t i = 0; i < n; i++) {
        report_line(&out);
        report_begin(&out, '[');
        for (size_t j = 0; j < n; j++) report_numbers(&out, c->per_component + (i * n + j) * c->k, c->k);
        report_end(&out, ']');
    }
    report_end(&out, ']');
    report_line(&out);
    report_key(&out, "order");
    report_begin(&out, '[');
    for (size_t i = 0; i < n; i++) report_integer(&out, c->order ? c->order[i] : i);
    report_end(&out, ']');
    report_key(&out, "left_out"), report_strings(&out, c->left_out, c->left_out_count);
    report_key(&out, "warnings"), report_strings(&out, c->warnings, c->warning_count);
    report_line(&out);
    report_end(&out, '}');
    report_bytes(&out, "\n", 1);
    return report_close(&out, error);
}

/* ---- filterprune-diff-1 */

static void difference(report_out *out, const fpr_difference *d)
{
    static const char *const relations[] = {"equal", "changed", "only_a", "only_b"};
    report_line(out);
    report_begin(out, '{');
    report_key(out, "name"), report_string(out, d->name, d->name_bytes);
    report_key(out, "status"), report_string0(out, relations[d->relation]);
    report_key(out, "dtype_a"), report_string0(out, d->relation == FPR_ONLY_IN_B ? NULL : fpr_dtype_name(d->dtype_a));
    report_key(out, "dtype_b"), report_string0(out, d->relation == FPR_ONLY_IN_A ? NULL : fpr_dtype_name(d->dtype_b));
    report_key(out, "same_shape"), report_bool(out, d->relation < FPR_ONLY_IN_A && !d->other_shape);
    report_key(out, "max_abs"), report_number(out, d->max_abs);
    report_key(out, "relative_l2"), report_number(out, d->relative_l2);
    report_key(out, "kernels"), report_integer(out, d->kernels);
    report_key(out, "kernels_zeroed"), report_integer(out, d->kernels_zeroed);
    report_end(out, '}');
}

fpr_status fpr_differences_json(const fpr_differences *d, const char *a, const char *b, fpr_write write, void *context,
                                fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_begin(&out, '{');
    report_key(&out, "schema"), report_string0(&out, "filterprune-diff-1");
    report_line(&out);
    report_tool(&out);
    report_line(&out);
    report_key(&out, "a"), report_string0(&out, a);
    report_key(&out, "b"), report_string0(&out, b);
    report_line(&out);
    report_key(&out, "identical"), report_bool(&out, d->count[FPR_EQUAL] == d->tensor_count);
    report_key(&out, "equal"), report_integer(&out, d->count[FPR_EQUAL]);
    report_key(&out, "changed"), report_integer(&out, d->count[FPR_CHANGED_VALUES]);
    report_key(&out, "only_a"), report_integer(&out, d->count[FPR_ONLY_IN_A]);
    report_key(&out, "only_b"), report_integer(&out, d->count[FPR_ONLY_IN_B]);
    report_line(&out);
    report_key(&out, "tensors");
    report_begin(&out, '[');
    for (size_t i = 0; i < d->tensor_count; i++) difference(&out, &d->tensors[i]);
    report_end(&out, ']');
    report_line(&out);
    report_end(&out, '}');
    report_bytes(&out, "\n", 1);
    return report_close(&out, error);
}

/* ---- filterprune-verify-1 */

fpr_status fpr_verification_json(const fpr_verification *v, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_begin(&out, '{');
    report_key(&out, "schema"), report_string0(&out, "filterprune-verify-1");
    report_key(&out, "ok"), report_bool(&out, v->ok);
    report_key(&out, "verdict"), report_string0(&out, v->verdict);
    report_key(&out, "suspicion"), report_string0(&out, v->suspicion);
    report_line(&out);
    report_key(&out, "tensors");
    report_begin(&out, '[');
    for (size_t i = 0; i < v->tensor_count; i++) {
        const fpr_verified *t = &v->tensors[i];
        report_line(&out);
        report_begin(&out, '{');
        report_key(&out, "name"), report_string(&out, t->name, t->name_bytes);
        report_key(&out, "ok"), report_bool(&out, t->ok);
        report_key(&out, "exact"), report_bool(&out, t->exact);
        report_key(&out, "max_abs"), report_number(&out, t->max_abs);
        report_key(&out, "relative_l2"), report_number(&out, t->relative_l2);
        report_key(&out, "problem"), report_string0(&out, t->problem);
        report_end(&out, '}');
    }
    report_end(&out, ']');
    report_line(&out);
    report_end(&out, '}');
    report_bytes(&out, "\n", 1);
    return report_close(&out, error);
}

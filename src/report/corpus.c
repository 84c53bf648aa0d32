/* A corpus as JSON and as tables. */
#include "report/report.h"

#include <math.h>

static void group(report_out *out, const fpr_corpus_by *by, size_t i)
{
    const fpr_compared *m = &by->groups->models[i];
    const fpr_corpus_group *g = &by->more[i];
    const unsigned k = by->groups->k, bins = by->groups->bins;
    report_line(out);
    report_begin(out, '{');
    report_key(out, "name"), report_string0(out, m->path);
    report_key(out, "models"), report_integer(out, g->models);
    report_key(out, "layers"), report_integer(out, g->layers);
    report_key(out, "kernels"), report_integer(out, g->kernels);
    report_key(out, "live"), report_integer(out, g->kernels - g->sparse);
    report_key(out, "variance_entropy_normalized"), report_number(out, g->entropy);
    report_key(out, "mean_shift"), report_number(out, m->mean_shift);
    report_key(out, "nearest"), report_integer(out, m->nearest);
    report_key(out, "explained_variance_ratio"), report_numbers(out, g->basis.explained_variance_ratio, k);
    report_key(out, "counts");
    report_begin(out, '[');
    for (unsigned c = 0; c < k; c++) report_integers(out, m->distribution.counts + (size_t)c * bins, bins);
    report_end(out, ']');
    report_end(out, '}');
}

static void grouping(report_out *out, const fpr_corpus_by *by)
{
    const fpr_comparison *c = by->groups;
    const size_t n = c->model_count;
    report_line(out);
    report_begin(out, '{');
    report_key(out, "column"), report_string0(out, by->column);
    report_key(out, "groups");
    report_begin(out, '[');
    for (size_t i = 0; i < n; i++) group(out, by, i);
    report_end(out, ']');
    report_line(out);
    report_matrix(out, "divergence", c->divergence, n);
    report_line(out);
    report_key(out, "noise");
    report_begin(out, '{');
    report_matrix(out, "median", c->noise_median, n);
    report_line(out);
    report_matrix(out, "q95", c->noise_q95, n);
    report_end(out, '}');
    report_line(out);
    report_key(out, "order");
    report_begin(out, '[');
    for (size_t i = 0; i < n; i++) report_integer(out, c->order[i]);
    report_end(out, ']');
    report_end(out, '}');
}

fpr_status fpr_corpus_json(const fpr_corpus *c, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_begin(&out, '{');
    report_key(&out, "schema"), report_string0(&out, "filterprune-corpus-1");
    report_line(&out);
    report_tool(&out);
    report_key(&out, "paper"), report_string0(&out, report_paper(c->paper));
    report_key(&out, "kernel_shape"), report_kernel_shape(&out, c->kernel_rank, c->kernel_shape);
    report_line(&out);
    report_key(&out, "models");
    report_begin(&out, '[');
    for (size_t i = 0; i < c->model_count; i++) {
        const fpr_corpus_model *m = &c->models[i];
        report_line(&out);
        report_begin(&out, '{');
        report_key(&out, "name"), report_string0(&out, m->name);
        report_key(&out, "layers"), report_integer(&out, m->layers);
        report_key(&out, "kernels"), report_integer(&out, m->kernels);
        report_key(&out, "live"), report_integer(&out, m->kernels - m->sparse);
        report_end(&out, '}');
    }
    report_end(&out, ']');
    report_line(&out);
    report_key(&out, "basis_source"), report_string0(&out, c->basis_source);
    report_key(&out, "basis"), report_basis(&out, &c->basis, c->k);
    report_line(&out);
    report_key(&out, "range"), report_numbers(&out, c->range, 2);
    report_key(&out, "bins"), report_integer(&out, c->bins);
    report_key(&out, "weights"), report_numbers(&out, c->weights, c->k);
    report_line(&out);
    report_key(&out, "by");
    report_begin(&out, '[');
    for (size_t i = 0; i < c->by_count; i++) grouping(&out, &c->by[i]);
    report_end(&out, ']');
    report_line(&out);
    report_key(&out, "warnings"), report_strings(&out, c->warnings, c->warning_count);
    report_line(&out);
    report_end(&out, '}');
    report_bytes(&out, "\n", 1);
    return report_close(&out, error);
}

static void number(report_out *out, double v)
{
    report_text(out, ",");
    report_csv_number(out, v);
}

static void integer(report_out *out, uint64_t v)
{
    report_text(out, ",");
    report_csv_integer(out, v);
}

fpr_status fpr_corpus_layers_csv(const fpr_corpus *c, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_text(&out, "model,tensor,conv_depth_norm,finite,kernels,sparse,sparsity,max_abs,variance_entropy,"
                      "variance_entropy_normalized,variance_entropy_clean,variance_entropy_clean_normalized,orthogonality\n");
    for (size_t i = 0; i < c->layer_count; i++) {
        const fpr_corpus_layer *l = &c->layers[i];
        report_csv_text(&out, l->model);
        report_text(&out, ",");
        report_csv_text(&out, l->name);
        number(&out, l->depth);
        integer(&out, l->finite);
        integer(&out, l->kernels);
        integer(&out, l->sparse);
        number(&out, l->finite ? (double)l->sparse / (double)l->kernels : NAN);
        number(&out, l->finite ? l->max_abs : NAN);
        number(&out, l->variance_entropy);
        number(&out, l->variance_entropy_normalized);
        number(&out, l->variance_entropy_clean);
        number(&out, l->variance_entropy_clean_normalized);
        number(&out, l->orthogonality);
        report_text(&out, "\n");
    }
    return report_close(&out, error);
}

fpr_status fpr_corpus_groups_csv(const fpr_corpus *c, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_text(&out, "column,group,models,layers,kernels,sparse,sparsity,variance_entropy_normalized,mean_shift,nearest,"
                      "shift_to_nearest,within_median,between_median");
    for (unsigned k = 0; k < c->k; k++) report_text(&out, ",evr"), report_csv_integer(&out, k + 1);
    report_text(&out, "\n");
    for (size_t b = 0; b < c->by_count; b++)
        for (size_t i = 0; i < c->by[b].groups->model_count; i++) {
            const fpr_comparison *all = c->by[b].groups;
            const fpr_corpus_group *g = &c->by[b].more[i];
            report_csv_text(&out, c->by[b].column);
            report_text(&out, ",");
            report_csv_text(&out, all->models[i].path);
            integer(&out, g->models);
            integer(&out, g->layers);
            integer(&out, g->kernels);
            integer(&out, g->sparse);
            number(&out, (double)g->sparse / (double)g->kernels);
            number(&out, g->entropy);
            number(&out, all->models[i].mean_shift);
            report_text(&out, ",");
            report_csv_text(&out, all->models[all->models[i].nearest].path);
            number(&out, all->divergence[i * all->model_count + all->models[i].nearest]);
            number(&out, g->within.n ? g->within.median : NAN);
            number(&out, g->between.n ? g->between.median : NAN);
            for (unsigned k = 0; k < c->k; k++) number(&out, g->basis.explained_variance_ratio[k]);
            report_text(&out, "\n");
        }
    return report_close(&out, error);
}

/* The JSON documents: what main job and inspect report. SCHEMA.md describes them. */
#include "report/report.h"

#include <math.h>

/* ---- parts that documents share */

void report_tool(report_out *out)
{
    report_key(out, "tool");
    report_begin(out, '{');
    report_key(out, "name"), report_string0(out, "filterprune");
    report_key(out, "version"), report_string0(out, FPR_VERSION_STRING);
    report_end(out, '}');
}

void report_kernel_shape(report_out *out, unsigned rank, const uint64_t *shape) { report_integers(out, shape, rank); }

void report_basis(report_out *out, const fpr_basis *basis, unsigned k)
{
    report_begin(out, '{');
    report_key(out, "mean"), report_numbers(out, basis->mean, k);
    report_key(out, "components");
    report_begin(out, '[');
    for (unsigned i = 0; i < k; i++) report_numbers(out, basis->components + (size_t)i * k, k);
    report_end(out, ']');
    report_key(out, "singular_values"), report_numbers(out, basis->singular_values, k);
    report_key(out, "explained_variance_ratio"), report_numbers(out, basis->explained_variance_ratio, k);
    report_end(out, '}');
}

void report_histogram(report_out *out, const uint64_t *counts, unsigned k, unsigned bins)
{
    report_key(out, "histogram");
    report_begin(out, '{');
    report_key(out, "bins"), report_integer(out, bins);
    report_key(out, "counts");
    report_begin(out, '[');
    for (unsigned i = 0; i < k; i++) report_integers(out, counts + (size_t)i * bins, bins);
    report_end(out, ']');
    report_end(out, '}');
}

const char *report_paper(fpr_paper paper)
{
    static const char *const names[] = {NULL, "cvpr22", "med22"};
    return names[paper];
}

void report_matrix(report_out *out, const char *key, const double *matrix, size_t n)
{
    report_key(out, key);
    report_begin(out, '[');
    for (size_t i = 0; i < n; i++) report_line(out), report_numbers(out, matrix + i * n, n);
    report_end(out, ']');
}

/* ---- filterprune-report-1: head */

static void file_entry(report_out *out, const char *path, uint64_t bytes)
{
    report_key(out, "path"), report_string0(out, path);
    report_key(out, "bytes"), report_integer(out, bytes);
}

static void head(report_out *out, const fpr_report *r)
{
    report_tool(out);
    report_line(out);
    report_key(out, "input");
    report_begin(out, '{');
    file_entry(out, r->input_path, r->input_bytes);
    report_key(out, "format"), report_string0(out, r->input_format);
    report_key(out, "key");
    if (r->input_key) report_string0(out, r->input_key);
    else report_null(out);
    report_key(out, "skipped");
    report_begin(out, '{');
    for (size_t i = 0; i < r->left_out_count; i++)
        report_key(out, r->left_out[i].name), report_string0(out, r->left_out[i].why);
    report_end(out, '}');
    report_key(out, "not_read");
    report_begin(out, '{');
    report_key(out, "tensors"), report_integer(out, r->not_read);
    report_key(out, "bytes"), report_integer(out, r->not_read_bytes);
    report_end(out, '}');
    report_key(out, "tensors"), report_integer(out, r->tensors);
    report_key(out, "tensor_bytes"), report_integer(out, r->tensor_bytes);
    report_key(out, "parameters"), report_integer(out, r->parameters);
    report_key(out, "layers"), report_integer(out, r->layer_count);
    report_key(out, "xxh3"), report_hash(out, r->input_hash);
    report_key(out, "xxh3_128");
    report_long_hash(out, r->input_hash_long);
    report_end(out, '}');
    report_line(out);
    report_key(out, "output");
    if (!r->has_output) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    file_entry(out, r->output_path, r->output_bytes);
    report_key(out, "format"), report_string0(out, r->output_dense ? "dense" : "packed");
    report_key(out, "ratio");
    report_number(out, r->input_bytes ? (double)r->output_bytes / (double)r->input_bytes : NAN);
    report_key(out, "xxh3"), report_hash(out, r->output_hash);
    report_end(out, '}');
}

static void changes(report_out *out, const fpr_report *r)
{
    const fpr_changes *c = &r->changes;
    char verdict[FPR_VERDICT_BYTES];
    report_key(out, "verdict"), report_string0(out, fpr_report_verdict(r, verdict, sizeof verdict));
    report_line(out);
    report_key(out, "changes");
    if (!r->has_output) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "kernels"), report_integer(out, c->kernels);
    report_key(out, "pointwise_kernels"), report_integer(out, c->pointwise_kernels);
    report_key(out, "kernels_zeroed"), report_integer(out, c->kernels_zeroed);
    report_key(out, "live_before"), report_integer(out, c->live_before);
    report_key(out, "live_after"), report_integer(out, c->live_after);
    report_key(out, "tensors_changed"), report_integer(out, c->tensors_changed);
    report_key(out, "tensors_dropped"), report_integer(out, c->tensors_dropped);
    report_key(out, "weights_changed"), report_integer(out, c->weights_changed);
    report_key(out, "relative_l2"), report_number(out, c->relative_l2);
    report_key(out, "worst");
    if (c->worst_name) {
        report_begin(out, '{');
        report_key(out, "name"), report_string(out, c->worst_name, c->worst_name_bytes);
        report_key(out, "relative_l2"), report_number(out, c->worst_relative_l2);
        report_end(out, '}');
    } else {
        report_null(out);
    }
    report_key(out, "wholly_zero");
    report_begin(out, '[');
    for (size_t i = 0; i < c->wholly_zero_count; i++) {
        const fpr_layer *l = &r->layers[c->wholly_zero[i]];
        report_string(out, l->name, l->name_bytes);
    }
    report_end(out, ']');
    report_key(out, "cast");
    report_begin(out, '{');
    report_key(out, "tensors"), report_integer(out, c->cast_tensors);
    report_key(out, "to_inf"), report_integer(out, c->cast_to_inf);
    report_key(out, "to_zero"), report_integer(out, c->cast_to_zero);
    report_end(out, '}');
    report_end(out, '}');
}

/* What leaving out dead filters and channels would save, layer by layer in their rows. */
static void removable(report_out *out, const fpr_changes *c)
{
    report_key(out, "removable");
    report_begin(out, '{');
    report_key(out, "filters"), report_integer(out, c->removable_filters);
    report_key(out, "channels"), report_integer(out, c->removable_channels);
    report_key(out, "weights"), report_integer(out, c->removable_weights);
    report_key(out, "bytes"), report_integer(out, c->removable_bytes);
    report_end(out, '}');
}

static void number_or_null(report_out *out, bool present, double v) { report_number(out, present ? v : NAN); }

/* The search for the error and eps that a command accepts. */
static void accept(report_out *out, const fpr_options *o)
{
    report_key(out, "accept");
    if (!o->accept) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "command"), report_string0(out, o->accept);
    report_key(out, "tried");
    report_begin(out, '[');
    for (size_t i = 0; i < o->trial_count; i++) {
        const fpr_trial *t = &o->trials[i];
        report_begin(out, '{');
        report_key(out, "max_error"), report_number(out, t->max_error);
        report_key(out, "eps"), report_number(out, t->eps);
        report_key(out, "bytes"), report_integer(out, t->bytes);
        report_key(out, "accepted"), report_bool(out, t->accepted);
        report_end(out, '}');
    }
    report_end(out, ']');
    report_end(out, '}');
}

static void options(report_out *out, const fpr_report *r)
{
    static const char *const structures[] = {"kernel", "filter", "channel"};
    static const char *const criteria[] = {"peak", "l1", "l2", "bn"};
    static const char *const casts[] = {NULL, "f32", "f16", "bf16"};
    static const char *const pools[] = {"auto", "always", "never"};
    const fpr_options *o = &r->options;
    report_key(out, "options");
    report_begin(out, '{');
    report_key(out, "key"), report_string0(out, o->key);
    report_key(out, "graph"), report_string0(out, o->graph);
    report_key(out, "keep_channels"), report_bool(out, o->keep_channels);
    report_key(out, "layout"), report_string0(out, fpr_layout_name(o->layout));
    report_key(out, "transposed"), report_strings(out, r->transposed, r->transposed_count);
    report_key(out, "eps"), report_number(out, o->eps);
    report_key(out, "bins"), report_integer(out, o->bins);
    report_key(out, "bandwidth");
    if (o->bandwidth == FPR_BANDWIDTH_FIXED)
        report_number(out, o->bandwidth_value);
    else
        report_string0(out, o->bandwidth == FPR_BANDWIDTH_SCOTT ? "scott" : "silverman");
    report_key(out, "half"), report_bool(out, o->half);
    report_key(out, "spectra"), report_bool(out, o->spectra);
    report_key(out, "prune"), report_bool(out, o->prune);
    report_key(out, "structure"), report_string0(out, structures[o->structure]);
    report_key(out, "criterion"), report_string0(out, criteria[o->criterion]);
    report_key(out, "amount"), number_or_null(out, o->amount >= 0, o->amount);
    report_key(out, "global"), report_bool(out, o->global);
    report_key(out, "pointwise"), report_bool(out, o->pointwise);
    report_key(out, "only"), report_strings(out, r->only, r->only_count);
    report_key(out, "skip"), report_strings(out, r->skip, r->skip_count);
    report_key(out, "target_size"), number_or_null(out, o->target_bytes > 0, o->target_bytes);
    report_key(out, "binary"), report_bool(out, o->binary);
    report_key(out, "binary_tol"), report_number(out, o->binary_tol);
    report_key(out, "binary_share"), report_number(out, o->binary_share);
    report_key(out, "max_error"), number_or_null(out, o->max_error > 0, o->max_error);
    accept(out, o);
    report_key(out, "dense"), report_bool(out, o->dense);
    report_key(out, "pool"), report_string0(out, pools[o->pool]);
    report_key(out, "level"), report_integer(out, (uint64_t)o->level);
    report_key(out, "cast"), report_string0(out, casts[o->cast]);
    report_key(out, "drop"), report_strings(out, r->drop, r->drop_count);
    report_end(out, '}');
}

/* ---- groups */

static void distribution(report_out *out, const char *key, bool present, const fpr_distribution *d, unsigned k,
                         unsigned bins)
{
    report_line(out);
    report_key(out, key);
    if (!present || !d->counts || !d->kde) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "kernels"), report_integer(out, d->kernels);
    report_histogram(out, d->counts, k, bins);
    report_key(out, "kde");
    report_begin(out, '[');
    for (unsigned i = 0; i < k; i++) {
        const fpr_kde *kde = &d->kde[i];
        report_begin(out, '{');
        report_key(out, "bandwidth"), report_number(out, kde->bandwidth);
        report_key(out, "start"), report_number(out, kde->start);
        report_key(out, "step"), report_number(out, kde->step);
        report_key(out, "density"), report_densities(out, kde->density, FPR_KDE_POINTS);
        report_key(out, "degenerate"), report_bool(out, kde->degenerate);
        report_end(out, '}');
    }
    report_end(out, ']');
    report_end(out, '}');
}

static void divergence(report_out *out, const char *key, bool present, const fpr_divergence *d, unsigned k)
{
    report_line(out);
    report_key(out, key);
    if (!present || !d->per_component) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "per_component"), report_numbers(out, d->per_component, k);
    report_key(out, "weighted"), report_number(out, d->weighted);
    report_end(out, '}');
}

static void group(report_out *out, const fpr_group *g)
{
    bool basis = g->has_basis, after = basis && g->has_after;
    report_line(out);
    report_begin(out, '{');
    report_key(out, "kernel_shape"), report_kernel_shape(out, g->kernel_rank, g->kernel_shape);
    report_key(out, "layers"), report_integer(out, g->layers);
    report_key(out, "kernels"), report_integer(out, g->kernels);
    report_key(out, "sparse"), report_integer(out, g->sparse);
    report_key(out, "live"), report_integer(out, g->live);
    report_key(out, "live_signed");
    if (g->has_basis) report_integer(out, g->live_signed);
    else report_null(out);
    report_key(out, "live_fraction");
    report_number(out, g->kernels ? (double)g->live / (double)g->kernels : NAN);
    report_key(out, "binary"), report_integer(out, g->binary);
    report_key(out, "zeroed"), report_integer(out, g->zeroed);
    report_key(out, "live_kernels_after"), report_integer(out, g->live_left);
    report_line(out);
    report_key(out, "basis");
    if (basis)
        report_basis(out, &g->basis, g->k);
    else
        report_null(out);
    report_line(out);
    report_key(out, "range");
    report_numbers(out, basis ? g->range : NULL, 2);
    distribution(out, "before", basis, &g->before, g->k, g->bins);
    distribution(out, "after", after, &g->after, g->k, g->bins);
    divergence(out, "divergence", after, &g->divergence, g->k);
    distribution(out, "live_before", basis, &g->live_before, g->k, g->bins);
    distribution(out, "live_after", after, &g->live_after, g->k, g->bins);
    divergence(out, "live_divergence", after, &g->live_divergence, g->k);
    report_line(out);
    report_end(out, '}');
}

/* ---- layers and other tensors */

static void stored(report_out *out, const fpr_stored *s)
{
    report_key(out, "stored");
    if (!s->codec) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "codec"), report_string0(out, s->codec);
    report_key(out, "bytes_before"), report_integer(out, s->bytes_before);
    report_key(out, "bytes_after"), report_integer(out, s->bytes_after);
    report_end(out, '}');
}

static void binary(report_out *out, const fpr_binary *b)
{
    static const char *const scopes[] = {NULL, "layer", "filter", "kernel"};
    report_key(out, "binary");
    report_begin(out, '{');
    report_key(out, "kernels"), report_integer(out, b->kernels);
    report_key(out, "share"), report_number(out, b->share);
    report_key(out, "scope"), report_string0(out, scopes[b->scope]);
    report_key(out, "symmetric"), report_bool(out, b->symmetric);
    report_key(out, "max_relative_error"), report_number(out, b->max_relative_error);
    report_key(out, "lower_level"), report_numbers(out, b->scope ? b->level_low : NULL, 2);
    report_key(out, "upper_level"), report_numbers(out, b->scope ? b->level_high : NULL, 2);
    report_end(out, '}');
}

static void error_entry(report_out *out, double max_abs, double relative_l2, const fpr_change *change)
{
    report_key(out, "error");
    report_begin(out, '{');
    report_key(out, "max_abs"), report_number(out, max_abs);
    report_key(out, "relative_l2"), report_number(out, relative_l2);
    report_key(out, "weights_changed"), report_integer(out, change->weights);
    report_key(out, "to_inf"), report_integer(out, change->to_inf);
    report_key(out, "to_zero"), report_integer(out, change->to_zero);
    report_end(out, '}');
}

static void untrained(report_out *out, const fpr_layer *l)
{
    report_key(out, "untrained");
    if (!l->untrained_like) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "distribution"), report_string0(out, l->untrained_like);
    report_key(out, "initialiser"), report_string0(out, l->untrained_rule);
    report_end(out, '}');
}

static void scaled(report_out *out, bool known, const fpr_scaled *s)
{
    report_key(out, "batch_norm");
    if (!known) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "sparse"), report_integer(out, s->sparse);
    report_key(out, "revived"), report_integer(out, s->revived);
    report_key(out, "silenced"), report_integer(out, s->silenced);
    report_end(out, '}');
}

static void layer(report_out *out, const fpr_layer *l)
{
    report_line(out);
    report_begin(out, '{');
    report_key(out, "name"), report_string(out, l->name, l->name_bytes);
    report_key(out, "dtype"), report_string0(out, fpr_dtype_name(l->dtype));
    report_key(out, "shape"), report_integers(out, l->shape, l->rank);
    report_key(out, "layout"), report_string0(out, fpr_layout_name(l->conv.layout));
    report_role(out, l);
    report_key(out, "kernel_shape"), report_kernel_shape(out, l->conv.kernel_rank, l->conv.kernel_shape);
    report_key(out, "depth"), report_integer(out, l->depth);
    report_key(out, "depth_known"), report_bool(out, l->depth_known);
    report_key(out, "kernels"), report_integer(out, l->conv.kernels);
    report_key(out, "finite"), report_bool(out, l->finite);
    report_key(out, "sparse"), report_integer(out, l->sparse);
    scaled(out, l->normed, &l->scaled);
    report_key(out, "live_signed");
    if (l->conv.k >= 2 && l->conv.k <= 128 && l->finite) report_integer(out, l->live_signed);
    else report_null(out);
    size_t figures;
    const fpr_figure *figure = fpr_layer_figures(&figures);
    for (size_t i = 0; i < figures; i++) report_key(out, figure[i].key), report_number(out, figure[i].of(l));
    report_key(out, "orthogonality_sampled"), report_bool(out, l->orthogonality_sampled);
    report_key(out, "explained_variance_ratio"), report_numbers(out, l->explained_variance_ratio, l->conv.k);
    untrained(out, l);
    report_key(out, "live_before"), report_integer(out, l->live_before);
    report_key(out, "live_after"), report_integer(out, l->live_after);
    report_key(out, "wholly_zero"), report_bool(out, l->wholly_zero);
    report_key(out, "pruned_kernels"), report_integer(out, l->pruned_kernels);
    report_key(out, "dead_filters"), report_integers(out, l->dead_filters, l->dead_filter_count);
    report_key(out, "dead_channels"), report_integers(out, l->dead_channels, l->dead_channel_count);
    report_key(out, "removable_weights"), report_integer(out, l->removable_weights);
    binary(out, &l->binary);
    report_spectrum(out, &l->spectrum);
    stored(out, &l->stored);
    error_entry(out, l->error_max_abs, l->error_relative_l2, &l->change);
    report_key(out, "warnings"), report_strings(out, l->warnings, l->warning_count);
    report_end(out, '}');
}

static void other(report_out *out, const fpr_other *t)
{
    report_line(out);
    report_begin(out, '{');
    report_key(out, "name"), report_string(out, t->name, t->name_bytes);
    report_key(out, "dtype"), report_string0(out, fpr_dtype_name(t->dtype));
    report_key(out, "shape"), report_integers(out, t->shape, t->rank);
    report_spectrum(out, &t->spectrum);
    stored(out, &t->stored);
    error_entry(out, t->error_max_abs, t->error_relative_l2, &t->change);
    report_end(out, '}');
}

/* Last, and the only part that may differ between two runs on the same input. */
static void timing(report_out *out, const fpr_report *r)
{
    report_key(out, "timing");
    report_begin(out, '{');
    report_key(out, "seconds");
    report_begin(out, '{');
    for (size_t i = 0; i < r->phase_count; i++)
        report_key(out, r->phases[i].name), report_number(out, r->phases[i].seconds);
    report_end(out, '}');
    report_key(out, "threads"), report_integer(out, r->threads);
    report_key(out, "peak_rss_bytes"), report_integer(out, r->peak_rss_bytes);
    report_end(out, '}');
}

fpr_status fpr_report_json(const fpr_report *r, fpr_write write, void *context, fpr_error *error)
{
    report_out out;
    fpr_status status = report_open(&out, write, context, error);
    if (status) return status;
    report_begin(&out, '{');
    report_key(&out, "schema"), report_string0(&out, "filterprune-report-1");
    report_line(&out);
    changes(&out, r);
    report_line(&out);
    removable(&out, &r->changes);
    report_line(&out);
    report_sweep(&out, r);
    scaled(&out, r->normed_layers > 0, &r->scaled);
    report_line(&out);
    report_removal(&out, r->removal);
    head(&out, r);
    report_line(&out);
    options(&out, r);
    report_line(&out);
    report_key(&out, "groups");
    report_begin(&out, '[');
    for (size_t i = 0; i < r->group_count; i++) group(&out, &r->groups[i]);
    report_end(&out, ']');
    report_line(&out);
    report_key(&out, "layers");
    report_begin(&out, '[');
    for (uint64_t i = 0; i < r->layer_count; i++) layer(&out, &r->layers[i]);
    report_end(&out, ']');
    report_line(&out);
    report_key(&out, "tensors");
    report_begin(&out, '[');
    for (size_t i = 0; i < r->other_count; i++) other(&out, &r->others[i]);
    report_end(&out, ']');
    report_line(&out);
    report_lookalikes(&out, r);
    report_line(&out);
    report_key(&out, "warnings"), report_strings(&out, r->warnings, r->warning_count);
    report_line(&out);
    timing(&out, r);
    report_line(&out);
    report_end(&out, '}');
    report_bytes(&out, "\n", 1);
    return report_close(&out, error);
}

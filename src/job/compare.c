/* Pairwise distribution shift (Figure 3 of the paper on medical imaging): every model's kernels in one basis, over one
 * range. Models are opened one after the other, once a sweep, so that hundreds of them need no more memory or file
 * descriptors than one; what stays of each is its histogram. */
#include "job/job.h"
#include "job/compare.h"
#include "job/paper.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

typedef struct compare_run {
    const fpr_options *options;
    fpr_comparison *result;
    fpr_layer_shape group;     /* the kernel shape that is compared */
    const char **kept;         /* paths of the models that have it */
    study **studies;           /* of the kept models; their models are closed between the sweeps */
    conv_farthest *farthest;             /* of all kept models together */
    bool basis_given;
    study *study;              /* of the model at work */
    const size_t *layers;            /* layer number of each id, of the model at work */
    fpr_compared *row;
} compare_run;

/* ---------------------------------------------------------------- choosing the kernel shape */

typedef struct shape_count {
    fpr_layer_shape shape;
    size_t models;
    uint64_t kernels;
} shape_count;

/* "3x3" or "5" as a kernel shape. */
static bool parse_kernel(const char *text, fpr_layer_shape *shape)
{
    *shape = (fpr_layer_shape){.k = 1};
    for (unsigned d = 0; d < 3; d++) {
        if (!isdigit((unsigned char)*text)) return false;
        char *end;
        unsigned long n = strtoul(text, &end, 10);
        if (n < 1 || n > CONV_K_MAX) return false;
        shape->kernel_shape[d] = n;
        shape->kernel_rank = d + 1;
        shape->k *= n;
        if (!*end) return true;
        if (*end != 'x') return false;
        text = end + 1;
    }
    return false;
}

/* Adds the layers of one model to the table of shapes; a shape counts once a model. */
static fpr_status tally(const fpr_model *m, const fpr_options *o, shape_count **table, size_t *count, fpr_error *error)
{
    size_t known = *count;
    uint8_t *seen = base_calloc(known + fpr_model_tensor_count(m), 1);
    if (!seen) return base_no_memory(error, known + fpr_model_tensor_count(m));
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < fpr_model_tensor_count(m); i++) {
        fpr_layer_shape s;
        if (!fpr_model_layer(m, i, o->layout, &s) || !conv_has_basis(&s)) continue;
        size_t t = 0;
        while (t < *count && !study_same_group(&(*table)[t].shape, &s)) t++;
        if (t == *count) {
            shape_count *longer = base_grow(*table, *count + 1, sizeof *longer);
            if (!longer) status = base_no_memory(error, (*count + 1) * sizeof *longer);
            else {
                *table = longer;
                longer[(*count)++] = (shape_count){.shape = s};
            }
        }
        if (status) break;
        (*table)[t].models += !seen[t];
        seen[t] = 1;
        (*table)[t].kernels += s.kernels;
    }
    base_free(seen);
    return status;
}

/* Common to most models first, then most kernels; the first seen on a tie. */
static const shape_count *best_shape(const shape_count *table, size_t count)
{
    const shape_count *best = table;
    for (size_t t = 1; t < count; t++)
        if (table[t].models > best->models || (table[t].models == best->models && table[t].kernels > best->kernels))
            best = &table[t];
    return best;
}

fpr_status compare_kernel_shape(const char *text, fpr_layer_shape *shape, fpr_error *error)
{
    if (parse_kernel(text, shape) && conv_has_basis(shape)) return FPR_OK;
    return base_fail(error, FPR_USAGE, "'%s' is no kernel shape of 2 to %d weights like 3x3", text, CONV_K_MAX);
}

static fpr_status choose_shape(compare_run *run, const char *const *paths, size_t count, const char *kernel,
                               fpr_error *error)
{
    shape_count *table = NULL;
    size_t n = 0;
    fpr_status status = FPR_OK;
    if (kernel) return compare_kernel_shape(kernel, &run->group, error);
    for (size_t i = 0; !status && i < count; i++) {
        fpr_model *model;
        status = fpr_model_open_with(paths[i], run->options, &model, error);
        if (!status) status = tally(model, run->options, &table, &n, error);
        fpr_model_close(model);
    }
    if (!status && !n) status = base_fail(error, FPR_USAGE, "none of the models has a convolution layer with spatial kernels");
    if (!status) run->group = best_shape(table, n)->shape;
    base_free(table);
    return status;
}

/* ---------------------------------------------------------------- sweeps over one model */

static fpr_status count_group(void *context, study_group *group, const conv_block *blocks, size_t n, fpr_error *error)
{
    (void)context;
    return conv_counter_add(group->counter, blocks, n, error);
}

static fpr_status count_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    compare_run *run = context;
    study *s = run->study;
    fpr_options options = *run->options;
    options.prune = false;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    fpr_status status = blocks ? FPR_OK : base_no_memory(error, count * sizeof *blocks);
    for (size_t i = 0; !status && i < count; i++) {
        const study_layer *layer = &s->layers[run->layers[first + i]];
        shrink_plan plan = {0};
        blocks[i] = study_block(s, layer, bytes[i]);
        status = shrink_plan_layer(&layer->shape, blocks[i].dtype, bytes[i], study_known(layer, &options), &options, NULL, s->settings.threads, &plan, error);
        if (!status) run->row->binary_layers += plan.binary.scope != FPR_SCOPE_NONE;
        shrink_plan_free(&plan);
    }
    if (!status) status = study_by_group(s, blocks, run->layers + first, count, count_group, NULL, error);
    base_free(blocks);
    return status;
}

/* The first sweep of a model: into the joint moments, when it has the group at all. */
static fpr_status measure_model(compare_run *run, const char *path, fpr_moments *joint, fpr_error *error)
{
    fpr_comparison *c = run->result;
    fpr_model *model = NULL;
    study *s = NULL;
    fpr_status status = fpr_model_open_with(path, run->options, &model, error);
    if (!status) status = study_new(model, run->options, &run->group, true, NULL, &s, error);
    if (!status) status = model_check_unchanged(model, error);
    char *copy = status ? NULL : base_copy_text(path, strlen(path));
    if (!status && !copy) status = base_no_memory(error, strlen(path));
    if (!status && s->group_count && s->groups->has_basis) {
        run->kept[c->model_count] = path;
        run->studies[c->model_count] = s;
        c->models[c->model_count++] = (fpr_compared){.path = copy,
                                                     .layers = s->groups->layers,
                                                     .kernels = s->groups->kernels,
                                                     .live = s->groups->live};
        fpr_moments_merge(joint, &s->groups->all);
        conv_farthest_merge(run->farthest, s->groups->farthest);
        conv_farthest_free(s->groups->farthest);
        s->groups->farthest = NULL;
    } else if (!status) {
        c->left_out[c->left_out_count++] = copy;
    }
    bool keep = !status && c->model_count && run->studies[c->model_count - 1] == s;
    for (size_t i = 0; !status && i < s->layer_count; i++)
        if (!s->layers[i].measure.finite)
            status = rows_warn(&c->warnings, &c->warning_count, error, "%s: %s holds NaN or Inf: left out", path,
                               model_tensor(model, s->layers[i].tensor)->name);
    if (!keep) study_free(s);
    fpr_model_close(model);
    return status;
}

/* The second (count false) and third sweep of a model, in the common basis. */
static fpr_status sweep_model(compare_run *run, size_t i, bool count, fpr_error *error)
{
    fpr_comparison *c = run->result;
    fpr_model *model = NULL;
    study *st = run->study = run->studies[i];
    study_group *g = st->groups;
    run->row = &c->models[i];
    fpr_status status = fpr_model_open_with(run->kept[i], run->options, &model, error);
    /* What sweep one knows of the layers must hold for the bytes that are read now. */
    if (!status && model_stamp(model) != st->stamp)
        status = base_fail(error, FPR_CHANGED, "changed while it was compared");
    st->model = model;
    study_basis_free(&g->basis);
    if (!status) g->basis = c->basis; /* borrowed */
    if (!status && !count) status = study_ranges(st, error);
    /* The variances of a basis that was given are those of other kernels. */
    double unknown[CONV_K_MAX] = {0};
    fpr_basis basis = c->basis;
    if (run->basis_given) basis.singular_values = unknown;
    if (!status && count)
        status = conv_counter_new(&basis, c->k, c->range, g->kernels, g->live, &st->settings, &g->counter, error);
    if (!status && !count) {
        c->range[0] = fmin(c->range[0], g->range[0]);
        c->range[1] = fmax(c->range[1], g->range[1]);
    }
    if (!status && count) status = study_visit_finite(run->study, "counting", count_batch, run, &run->layers, error);
    if (!status && count) status = conv_counter_finish(g->counter, CONV_BEFORE, true, &run->row->distribution, error);
    if (!status) status = model_check_unchanged(model, error);
    g->basis = (fpr_basis){0};
    conv_counter_free(g->counter);
    g->counter = NULL;
    if (status) base_error_in_file(error, run->kept[i]);
    fpr_model_close(model);
    return status;
}

/* ---------------------------------------------------------------- the matrix */

static fpr_status fill_matrix(fpr_comparison *c, fpr_error *error)
{
    size_t n = c->model_count, k = c->k;
    c->divergence = base_calloc(n * n, sizeof *c->divergence);
    c->per_component = base_calloc(n * n * k, sizeof *c->per_component);
    if (!c->divergence || !c->per_component) return base_no_memory(error, n * n * k * sizeof(double));
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < n; i++) {
        for (size_t j = 0; !status && j < i; j++) {
            fpr_divergence d = {0};
            status = conv_divergence(&c->models[i].distribution, &c->models[j].distribution, c->k, c->bins, c->range,
                                     c->weights, &d, error);
            if (status) break;
            c->divergence[i * n + j] = c->divergence[j * n + i] = d.weighted;
            memcpy(c->per_component + (i * n + j) * k, d.per_component, k * sizeof(double));
            memcpy(c->per_component + (j * n + i) * k, d.per_component, k * sizeof(double));
            base_free(d.per_component);
        }
    }
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++) sum += c->divergence[i * n + j];
        c->models[i].mean_shift = n > 1 ? sum / (double)(n - 1) : 0;
    }
    return status;
}

static fpr_status run_compare(compare_run *run, const char *const *paths, size_t count, const char *basis,
                              fpr_error *error)
{
    fpr_comparison *c = run->result;
    fpr_moments joint = {0};
    fpr_status status = FPR_OK;
    c->kernel_rank = run->group.kernel_rank;
    memcpy(c->kernel_shape, run->group.kernel_shape, sizeof c->kernel_shape);
    c->k = (unsigned)run->group.k;
    c->bins = run->options->bins;
    run->farthest = conv_farthest_new(c->k, STUDY_FARTHEST_BYTES);
    if (!run->farthest || fpr_moments_init(&joint, c->k)) status = base_no_memory(error, c->k * c->k * sizeof(double));
    run->basis_given = basis != NULL;
    if (!status && basis) status = basis_load(basis, c->k, &c->basis, error);
    for (size_t i = 0; !status && i < count; i++) status = measure_model(run, paths[i], &joint, error);
    if (!status && !c->model_count)
        status = base_fail(error, FPR_USAGE, "none of the models has kernels of that shape");
    if (!status && !basis) {
        status = study_basis_new(&c->basis, c->k, error);
        if (!status) status = fpr_moments_finish(&joint, &c->basis, error);
    }
    c->weights = base_alloc(c->k, sizeof *c->weights);
    if (!status && !c->weights) status = base_no_memory(error, c->k * sizeof *c->weights);
    if (!status) paper_weights(run->options, &c->basis, c->k, c->weights);
    if (paper_has_range(run->options)) {
        memcpy(c->range, run->options->range, sizeof c->range);
    } else if (!status && !conv_farthest_range(run->farthest, &run->studies[0]->settings, &c->basis, c->range)) {
        c->range[0] = INFINITY;
        c->range[1] = -INFINITY;
        for (size_t i = 0; !status && i < c->model_count; i++) status = sweep_model(run, i, false, error);
    }
    for (size_t i = 0; !status && i < c->model_count; i++) status = sweep_model(run, i, true, error);
    if (!status) status = fill_matrix(c, error);
    if (!status) status = compare_conclude(c, run->options, error);
    fpr_moments_free(&joint);
    conv_farthest_free(run->farthest);
    return status;
}

FPR_API fpr_status fpr_compare(const char *const *paths, size_t count, const char *kernel, const char *basis,
                               const fpr_options *options, fpr_comparison **comparison, fpr_error *error)
{
    *comparison = NULL;
    const fpr_options as_asked = paper_options(options);
    compare_run run = {.options = &as_asked, .result = base_calloc(1, sizeof *run.result)};
    fpr_comparison *c = run.result;
    if (!c) return base_no_memory(error, sizeof *c);
    const char *from = basis ? basis : "joint";
    c->paper = options->paper;
    c->basis_source = base_copy_text(from, strlen(from));
    c->models = base_calloc(count, sizeof *c->models);
    c->left_out = base_calloc(count, sizeof *c->left_out);
    run.kept = base_calloc(count, sizeof *run.kept);
    run.studies = base_calloc(count, sizeof *run.studies);
    fpr_status status = c->basis_source && c->models && c->left_out && run.kept && run.studies
                            ? FPR_OK
                            : base_no_memory(error, count * sizeof *c->models);
    if (!status) status = fpr_options_check(options, error);
    if (!status && count < 2) status = base_fail(error, FPR_USAGE, "compare needs two models or more");
    if (!status && options->paper == FPR_PAPER_MED22 && !basis)
        status = rows_warn(&c->warnings, &c->warning_count, error,
                           "med22 has the basis of all of CNN Filter DB: none was given, this one is of these models");
    if (!status) status = choose_shape(&run, paths, count, kernel, error);
    if (!status) status = run_compare(&run, paths, count, basis, error);
    for (size_t i = 0; run.studies && i < count; i++) study_free(run.studies[i]);
    base_free(run.studies);
    base_free(run.kept);
    if (status) fpr_comparison_free(c);
    else *comparison = c;
    return status;
}

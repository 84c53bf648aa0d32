/* What follows from the matrix of a comparison: what of it is more than chance, who is like whom, in which order to look. */
#include "job/compare.h"

#include "collect/collect.h"

#include <stdlib.h>

static fpr_status find_noise(fpr_comparison *c, const fpr_options *options, fpr_error *error)
{
    const size_t n = c->model_count;
    const uint64_t **counts = base_alloc(n, sizeof *counts);
    c->noise_median = base_alloc(n * n, sizeof *c->noise_median);
    c->noise_q95 = base_alloc(n * n, sizeof *c->noise_q95);
    fpr_status status = FPR_OK;
    if (!counts || !c->noise_median || !c->noise_q95) status = base_no_memory(error, n * n * sizeof(double));
    for (size_t i = 0; !status && i < n; i++) counts[i] = c->models[i].distribution.counts;
    if (!status)
        status = collect_noise_matrix(counts, n, c->k, c->bins, c->range, c->weights,
                                      job_threads(options), options->cancel, c->noise_median, c->noise_q95, error);
    base_free(counts);
    return status ? status : job_cancelled(options, error);
}

static fpr_status find_names(fpr_comparison *c, fpr_error *error)
{
    const size_t n = c->model_count;
    const char **paths = base_alloc(n, sizeof *paths);
    char **names = base_alloc(n, sizeof *names);
    fpr_status status = paths && names ? FPR_OK : base_no_memory(error, n * sizeof *names);
    for (size_t i = 0; !status && i < n; i++) paths[i] = c->models[i].path;
    if (!status) status = collect_short_names(paths, n, names, error);
    for (size_t i = 0; !status && i < n; i++) c->models[i].name = names[i];
    base_free(paths);
    base_free(names);
    return status;
}

static void find_nearest(fpr_comparison *c)
{
    const size_t n = c->model_count;
    for (size_t i = 0; i < n; i++) {
        size_t best = i;
        for (size_t j = 0; j < n; j++)
            if (j != i && (best == i || c->divergence[i * n + j] < c->divergence[i * n + best])) best = j;
        c->models[i].nearest = best;
    }
}

static int by_name(const void *a, const void *b, void *context)
{
    const fpr_comparison *c = context;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const int order = strcmp(c->models[i].name, c->models[j].name);
    return order ? order : (i > j) - (i < j);
}

static int by_mean(const void *a, const void *b, void *context)
{
    const fpr_comparison *c = context;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const double x = c->models[i].mean_shift, y = c->models[j].mean_shift;
    if (x != y) return x < y ? 1 : -1;
    return (i > j) - (i < j);
}

static fpr_status find_order(fpr_comparison *c, fpr_order wanted, fpr_error *error)
{
    const size_t n = c->model_count;
    c->ordered_by = wanted;
    c->order = base_alloc(n, sizeof *c->order);
    if (!c->order) return base_no_memory(error, n * sizeof *c->order);
    if (wanted == FPR_ORDER_SIMILARITY) return collect_similarity_order(c->divergence, n, c->order, error);
    for (size_t i = 0; i < n; i++) c->order[i] = i;
    if (wanted == FPR_ORDER_NAME) qsort_r(c->order, n, sizeof *c->order, by_name, c);
    if (wanted == FPR_ORDER_MEAN) qsort_r(c->order, n, sizeof *c->order, by_mean, c);
    return FPR_OK;
}

fpr_status compare_conclude(fpr_comparison *c, const fpr_options *options, fpr_error *error)
{
    fpr_status status = find_noise(c, options, error);
    if (!status) status = find_names(c, error);
    if (status) return status;
    find_nearest(c);
    return find_order(c, options->order, error);
}

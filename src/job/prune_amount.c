/* How much to prune: the ranking of units over all layers, and the amount that reaches a size. */
#include "job/prune.h"

typedef struct rank_context {
    prune_run *run;
    const size_t *ids;
    shrink_ranking *ranking;
} rank_context;

static fpr_status rank_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    const rank_context *c = context;
    const fpr_options *o = c->run->options;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < count; i++) {
        size_t id = c->ids[first + i];
        const study_layer *layer = prune_layer(c->run, id);
        uint64_t n = shrink_unit_count(&layer->shape, o->structure);
        double *scores = base_alloc(n, sizeof *scores);
        if (!scores) return base_no_memory(error, n * sizeof *scores);
        shrink_scores(&layer->shape, model_tensor(c->run->model, id)->dtype, bytes[i], o->structure, o->criterion, scores);
        status = shrink_ranking_add(c->ranking, (size_t)(layer - c->run->study->layers), scores, n, error);
        base_free(scores);
    }
    return status;
}

/* Ranks the units of all layers that may be pruned; the ranking then serves any amount. */
static fpr_status rank_all(prune_run *run, shrink_ranking **ranking, fpr_error *error)
{
    size_t *ids = base_alloc(run->study->layer_count, sizeof *ids), n = 0;
    if (!ids) return base_no_memory(error, run->study->layer_count * sizeof *ids);
    fpr_status status = shrink_ranking_new(ranking, error);
    for (size_t i = 0; i < run->study->layer_count; i++)
        if (prune_is_planned(&run->study->layers[i]) && prune_allowed(run, &run->study->layers[i]))
            ids[n++] = run->study->layers[i].tensor;
    rank_context c = {run, ids, *ranking};
    if (!status) status = job_batches(run->model, ids, n, run->options, "ranking", rank_batch, NULL, &c, error);
    base_free(ids);
    return status;
}

static fpr_status set_amount(prune_run *run, fpr_options *options, shrink_ranking *ranking, double amount,
                             fpr_error *error)
{
    options->amount = amount;
    if (!ranking) return FPR_OK;
    if (!run->units) run->units = base_calloc(run->study->layer_count, sizeof *run->units);
    if (!run->units) return base_no_memory(error, run->study->layer_count * sizeof *run->units);
    return shrink_ranking_end(ranking, amount, run->units, run->study->layer_count, error);
}

/* Size of the output at an amount, found by packing without writing. */
static fpr_status size_at(prune_run *run, fpr_options *options, shrink_ranking *ranking, double amount, uint64_t *bytes,
                          job_writer **writers, fpr_error *error)
{
    fpr_status status = set_amount(run, options, ranking, amount, error);
    if (!status) status = prune_write_all(run, NULL, writers, bytes, error);
    prune_abandon_all(writers, fpr_model_shard_count(run->model));
    return status;
}

/* Bisection: size falls with the amount, up to the noise of the codecs. */
#define TARGET_STEPS 14

static fpr_status reach_target(prune_run *run, fpr_options *options, shrink_ranking *ranking, job_writer **writers,
                               fpr_error *error)
{
    prune_run trial = *run; /* no report, no counting: sizes alone */
    trial.report = NULL;
    trial.counting = false;
    uint64_t bytes;
    double low = 0, high = 1;
    fpr_status status = size_at(&trial, options, ranking, 1, &bytes, writers, error);
    if (!status && (double)bytes > options->target_bytes)
        status = base_fail(error, FPR_USAGE, "a target of %.0f bytes is out of reach: %llu remain with every unit pruned",
                           options->target_bytes, (unsigned long long)bytes);
    if (!status) status = size_at(&trial, options, ranking, 0, &bytes, writers, error);
    if (!status && (double)bytes <= options->target_bytes) high = 0;
    for (int i = 0; !status && high > 0 && i < TARGET_STEPS; i++) {
        double middle = low + (high - low) / 2;
        status = size_at(&trial, options, ranking, middle, &bytes, writers, error);
        if ((double)bytes <= options->target_bytes) high = middle;
        else low = middle;
    }
    run->units = trial.units;
    return status ? status : set_amount(run, options, ranking, high, error);
}

fpr_status prune_settle_amount(prune_run *run, fpr_options *options, job_writer **writers, fpr_error *error)
{
    shrink_ranking *ranking = NULL;
    fpr_status status = options->global ? rank_all(run, &ranking, error) : FPR_OK;
    if (!status && options->target_bytes > 0) status = reach_target(run, options, ranking, writers, error);
    else if (!status && ranking) status = set_amount(run, options, ranking, options->amount, error);
    shrink_ranking_free(ranking);
    return status;
}

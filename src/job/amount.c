/* How much to prune: the ranking of units over all layers, and the amount that reaches a size. */
#include "job/prune.h"

typedef struct rank_context {
    prune_job *job;
    const size_t *ids;
    shrink_ranking *ranking;
} rank_context;

static fpr_status rank_batch(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    const rank_context *c = context;
    const fpr_options *o = c->job->options;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < count; i++) {
        size_t id = c->ids[first + i];
        const study_layer *layer = prune_layer(c->job, id);
        uint64_t n = shrink_unit_count(&layer->shape, o->structure);
        double *scores = base_alloc(n, sizeof *scores);
        if (!scores) return base_no_memory(error, n * sizeof *scores);
        status = study_see(c->job->study, layer, job_threads(o), bytes[i], error);
        if (status) {
            base_free(scores);
            return status;
        }
        shrink_scores(&layer->shape, model_tensor(c->job->model, id)->dtype, bytes[i], o->structure, o->criterion, scores);
        status = shrink_ranking_add(c->ranking, (size_t)(layer - c->job->study->layers), scores, n, error);
        base_free(scores);
    }
    return status;
}

/* Ranks the units of all layers that may be pruned; the ranking then serves any amount. */
static fpr_status rank_all(prune_job *job, shrink_ranking **ranking, fpr_error *error)
{
    size_t *ids = base_alloc(job->study->layer_count, sizeof *ids), n = 0;
    if (!ids) return base_no_memory(error, job->study->layer_count * sizeof *ids);
    fpr_status status = shrink_ranking_new(ranking, error);
    for (size_t i = 0; i < job->study->layer_count; i++)
        if (prune_is_planned(&job->study->layers[i]) && prune_allowed(job, &job->study->layers[i]))
            ids[n++] = job->study->layers[i].tensor;
    rank_context c = {job, ids, *ranking};
    const model_pipe pipe = {.phase = "ranking", .work = rank_batch, .context = &c};
    if (!status) status = model_run(job->model, ids, n, job->options, &pipe, error);
    base_free(ids);
    return status;
}

static fpr_status set_amount(prune_job *job, shrink_ranking *ranking, double amount,
                             fpr_error *error)
{
    job->amount = amount;
    if (!ranking) return FPR_OK;
    if (!job->units) job->units = base_calloc(job->study->layer_count, sizeof *job->units);
    if (!job->units) return base_no_memory(error, job->study->layer_count * sizeof *job->units);
    return shrink_ranking_end(ranking, amount, job->units, job->study->layer_count, error);
}

/* Size of the output at an amount, found by packing without writing. */
static fpr_status size_at(prune_job *job, shrink_ranking *ranking, double amount, uint64_t *bytes,
                          job_writer **writers, fpr_error *error)
{
    fpr_status status = set_amount(job, ranking, amount, error);
    if (!status) status = shards_write(job, NULL, writers, bytes, error);
    shards_abandon(writers, fpr_model_shard_count(job->model));
    return status;
}

/* Bisection: size falls with the amount, up to the noise of the codecs. */
#define TARGET_STEPS 14

static fpr_status reach_target(prune_job *job, shrink_ranking *ranking, job_writer **writers,
                               fpr_error *error)
{
    prune_job trial = *job; /* no report, no counting: sizes alone */
    trial.report = NULL;
    trial.counting = false;
    uint64_t bytes;
    double low = 0, high = 1;
    fpr_status status = size_at(&trial, ranking, 1, &bytes, writers, error);
    if (!status && (double)bytes > job->options->target_bytes)
        status = base_fail(error, FPR_USAGE, "a target of %.0f bytes is out of reach: %llu remain with every unit pruned",
                           job->options->target_bytes, (unsigned long long)bytes);
    if (!status) status = size_at(&trial, ranking, 0, &bytes, writers, error);
    if (!status && (double)bytes <= job->options->target_bytes) high = 0;
    for (int i = 0; !status && high > 0 && i < TARGET_STEPS; i++) {
        double middle = low + (high - low) / 2;
        status = size_at(&trial, ranking, middle, &bytes, writers, error);
        if ((double)bytes <= job->options->target_bytes) high = middle;
        else low = middle;
    }
    job->units = trial.units;
    return status ? status : set_amount(job, ranking, high, error);
}

fpr_status amount_settle(prune_job *job, job_writer **writers, fpr_error *error)
{
    shrink_ranking *ranking = NULL;
    fpr_status status = job->options->global ? rank_all(job, &ranking, error) : FPR_OK;
    if (!status && job->options->target_bytes > 0) status = reach_target(job, ranking, writers, error);
    else if (!status && ranking) status = set_amount(job, ranking, job->amount, error);
    shrink_ranking_free(ranking);
    return status;
}

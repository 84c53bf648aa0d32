/* How much to prune: the ranking of units over all layers, and the amount that reaches a size. */
#include "job/prune.h"

#include <math.h>

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
        shrink_scores(&layer->shape, model_tensor(c->job->model, id)->dtype, bytes[i], o->structure, o->criterion,
                      layer->scale, scores);
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
static fpr_status size_at(prune_job *job, shrink_ranking *ranking, double amount, uint64_t *bytes, fpr_error *error)
{
    fpr_status status = set_amount(job, ranking, amount, error);
    uint64_t none;
    return status ? status : shards_write(job, NULL, bytes, &none, error);
}

/* ---------------------------------------------------------------- --target-size */

/* Each is an encoding of the whole file. Size falls with the amount nearly along a line, so that few are enough. */
#define TRIALS_MOST 5
#define NEAR_ENOUGH 0.999 /* of the target: no more trials */
#define AIM 0.9995        /* a little below the target, because what is above does not count */

typedef struct trial { double amount, bytes; } trial;

/* The amounts tried so far, and what is known of the target between them. */
typedef struct search {
    double target;
    trial over, fits; /* the largest amount that does not fit, the smallest one that does */
    bool over_is_known; /* else `over` is the size of the dense file, which packing never exceeds */
    trial before;     /* what `fits` was before */
    bool has_before;
} search;

static double crossing(const trial *a, const trial *b, double bytes)
{
    return a->bytes == b->bytes ? b->amount : a->amount + (b->amount - a->amount) * (bytes - a->bytes) / (b->bytes - a->bytes);
}

/* Where the line through the two nearest trials meets the target; between those where it must lie. */
static double next_amount(const search *s)
{
    const double aim = AIM * s->target, least = s->over.amount, most = s->fits.amount, edge = 0.01 * (most - least);
    const trial *other = s->has_before && !s->over_is_known ? &s->before : &s->over;
    const double amount = crossing(other, &s->fits, aim);
    if (!s->over_is_known && amount <= edge) return 0;
    return amount < least + edge ? least + edge : amount > most - edge ? most - edge : amount;
}

static void take_trial(search *s, trial t)
{
    if (t.bytes > s->target) {
        s->over = t;
        s->over_is_known = true;
    } else {
        s->before = s->fits;
        s->has_before = true;
        s->fits = t;
    }
}

static fpr_status reach_target(prune_job *job, shrink_ranking *ranking, fpr_error *error)
{
    prune_job packing = *job; /* no report, no counting: sizes alone */
    packing.report = NULL;
    packing.counting = false;
    search s = {.target = job->options->target_bytes, .fits.amount = 1};
    uint64_t bytes, dense;
    fpr_status status = model_dense_bytes(job->model, &dense, error);
    if (!status) status = size_at(&packing, ranking, 1, &bytes, error);
    if (!status && (double)bytes > s.target)
        status = base_fail(error, FPR_USAGE, "a target of %.0f bytes is out of reach: %llu remain with every unit pruned",
                           s.target, (unsigned long long)bytes);
    if (!status) {
        s.over.bytes = fmax((double)dense, s.target + 1);
        s.fits.bytes = (double)bytes;
    }
    for (int i = 1; !status && i < TRIALS_MOST && s.fits.amount > 0 && s.fits.bytes < NEAR_ENOUGH * s.target; i++) {
        const double amount = next_amount(&s);
        status = size_at(&packing, ranking, amount, &bytes, error);
        if (!status) take_trial(&s, (trial){amount, (double)bytes});
    }
    job->units = packing.units;
    return status ? status : set_amount(job, ranking, s.fits.amount, error);
}

fpr_status amount_settle(prune_job *job, fpr_error *error)
{
    shrink_ranking *ranking = NULL;
    fpr_status status = job->options->global ? rank_all(job, &ranking, error) : FPR_OK;
    if (!status && job->options->target_bytes > 0) status = reach_target(job, ranking, error);
    else if (!status && ranking) status = set_amount(job, ranking, job->amount, error);
    shrink_ranking_free(ranking);
    return status;
}

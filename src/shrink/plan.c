/* Decides the action of every kernel: which units go by the options, then (binary.c) which of the rest become two-level.
 * A pure function of weights and options.
 *
 * By default every sparse kernel of more than one weight becomes +0 in every bit: max|w| < eps * max|w| of its layer,
 * strictly, compared as doubles; in a layer of zeros every kernel is sparse. The unit may be a filter or a channel
 * instead; by eps it goes when all its kernels are sparse, and then all of them become zero. By amount the lowest
 * round(amount * units) of the layer go (halves to even, as torch.nn.utils.prune counts), by peak, L1 or L2 norm; a
 * ranking over all layers gives their number instead. Of equal scores the lower index goes first. Kernels of one weight
 * are left alone without --pointwise: a small weight is no dead kernel.
 *
 * In a depthwise layer the unit is always the kernel, which is filter and channel at once. There, and in a layer of a
 * single filter or channel, the strongest unit stays whatever share of filters or channels is to go.
 *
 * Memory: one byte a kernel, and by amount 8 bytes a unit while the layer is planned. */
#include "shrink/inner.h"

#include <stdatomic.h>
#include <string.h>

/* While a plan is made: flags first, then actions, among them one that only binary.c needs to tell apart. */
enum {
    FLAG_SPARSE = 1,
    FLAG_ZERO = 2, /* every weight is +0 or -0 */
    FLAG_PLUS = 4, /* +0: there is nothing to do */
    FLAGS = 8
};
enum { ACTION_KEPT_ZERO = CONV_ACTION_CHANGED + 1 };

typedef struct plan_run {
    const shrink_view *view;
    shrink_plan *plan;
    uint64_t limit;         /* of sparse magnitudes */
    const uint64_t *limits; /* [filters] the same of each; NULL: limit is that of all */
    fpr_structure asked, structure; /* as the options say; in the axes of the tensor */
    bool prune;
    const uint8_t *goes; /* [units], or NULL: a kernel goes when it is sparse */
    atomic_uint_fast64_t zeroed, unsigned_zeros, live;
} plan_run;

static void part_bounds(const plan_run *run, size_t index, uint64_t *first, uint64_t *end)
{
    uint64_t part = shrink_part_kernels(run->view->shape);
    *first = index * part;
    *end = run->view->shape->kernels - *first < part ? run->view->shape->kernels : *first + part;
}

static void flag_part(void *context, size_t index, unsigned worker)
{
    (void)worker;
    if (base_cancelled()) return;
    const plan_run *run = context;
    uint64_t first, end, magnitudes[MAGNITUDES];
    part_bounds(run, index, &first, &end);
    for (uint64_t j = first; j < end; j += MAGNITUDES) {
        size_t n = end - j < MAGNITUDES ? (size_t)(end - j) : MAGNITUDES;
        shrink_magnitudes(run->view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            const uint64_t size = shrink_size(magnitudes[i]);
            const uint64_t limit = run->limits ? run->limits[shrink_filter(run->view->shape, j + i)] : run->limit;
            /* without branches, which zero kernels among others make unpredictable */
            run->plan->action[j + i] = (uint8_t)(FLAG_SPARSE * (size < limit) + FLAG_ZERO * (size == 0) +
                                               FLAG_PLUS * (magnitudes[i] == 0));
        }
    }
}

static uint64_t unit_of(const fpr_layer_shape *s, fpr_structure structure, uint64_t kernel)
{
    return structure == FPR_STRUCTURE_KERNEL   ? kernel
           : structure == FPR_STRUCTURE_FILTER ? kernel / s->channels
                                               : kernel % s->channels;
}

/* The action of a kernel by its flags, and whether its unit goes. */
static uint8_t fate_of(unsigned flags, bool goes)
{
    if (goes && !(flags & FLAG_PLUS)) return CONV_ACTION_ZERO;
    return flags & FLAG_ZERO ? ACTION_KEPT_ZERO : CONV_ACTION_KEPT;
}

static void decide_part(void *context, size_t index, unsigned worker)
{
    (void)worker;
    if (base_cancelled()) return;
    plan_run *run = context;
    uint8_t *action = run->plan->action, actions[2][FLAGS];
    uint64_t first, end, count[ACTION_KEPT_ZERO + 1] = {0}, zeros = 0;
    part_bounds(run, index, &first, &end);
    for (unsigned flags = 0; flags < FLAGS; flags++)
        for (unsigned goes = 0; goes < 2; goes++) actions[goes][flags] = fate_of(flags, goes && run->prune);
    for (uint64_t j = first; j < end; j++) {
        const unsigned flags = action[j];
        const bool goes = run->goes ? run->goes[unit_of(run->view->shape, run->structure, j)] : flags & FLAG_SPARSE;
        action[j] = actions[goes][flags];
        count[action[j]]++;
        zeros += (flags & FLAG_ZERO) != 0 && action[j] == CONV_ACTION_ZERO;
    }
    atomic_fetch_add(&run->zeroed, count[CONV_ACTION_ZERO] - zeros);
    atomic_fetch_add(&run->unsigned_zeros, zeros);
    atomic_fetch_add(&run->live, count[CONV_ACTION_KEPT]);
}

/* Both at once where no unit has to be chosen in between: a part is still in the cache when it is looked at again. */
static void flag_and_decide_part(void *context, size_t index, unsigned worker)
{
    flag_part(context, index, worker);
    decide_part(context, index, worker);
}

static void settle_part(void *context, size_t index, unsigned worker)
{
    (void)worker;
    const plan_run *run = context;
    uint8_t *action = run->plan->action;
    uint64_t first, end;
    part_bounds(run, index, &first, &end);
    for (uint64_t j = first; j < end; j++) action[j] = action[j] == ACTION_KEPT_ZERO ? CONV_ACTION_KEPT : action[j];
}

/* Filters or channels of which every kernel is sparse. */
static void sparse_units(const plan_run *run, uint8_t *goes)
{
    const fpr_layer_shape *s = run->view->shape;
    memset(goes, 1, shrink_unit_count(s, run->asked));
    for (uint64_t j = 0; j < s->kernels; j++)
        if (!(run->plan->action[j] & FLAG_SPARSE)) goes[unit_of(s, run->structure, j)] = 0;
}

/* The lowest n units by score; among equal scores the lower index. */
static fpr_status lowest_units(const plan_run *run, fpr_criterion criterion, uint64_t n, unsigned threads,
                               uint8_t *goes, fpr_error *error)
{
    uint64_t units = shrink_unit_count(run->view->shape, run->asked);
    double *scores = base_alloc(units, sizeof *scores);
    if (!scores) return base_no_memory(error, units * sizeof *scores);
    shrink_scores_threaded(run->view, run->structure, criterion, threads, scores);
    if (base_cancelled()) {
        base_free(scores);
        return base_check_cancelled(error);
    }
    shrink_span span = {scores, NULL, units};
    shrink_cut cut = shrink_select(&span, 1, n);
    for (uint64_t i = 0; i < units; i++) {
        uint64_t key = shrink_key(&span, i);
        goes[i] = key < cut.key || (key == cut.key && cut.ties > 0);
        cut.ties -= key == cut.key && cut.ties > 0;
    }
    base_free(scores);
    return FPR_OK;
}

/* The units that go, where these are not simply the sparse kernels. */
static fpr_status choose_units(const plan_run *run, fpr_criterion criterion, const shrink_budget *budget,
                               unsigned threads, uint8_t **goes, fpr_error *error)
{
    uint64_t count = shrink_unit_count(run->view->shape, run->asked), units = budget->units;
    *goes = base_alloc(count, 1);
    if (!*goes) return base_no_memory(error, count);
    if (units == SHRINK_BY_AMOUNT && budget->amount < 0) {
        sparse_units(run, *goes);
        return FPR_OK;
    }
    if (units == SHRINK_BY_AMOUNT) units = shrink_share_of(budget->amount, count);
    if (run->asked != FPR_STRUCTURE_KERNEL && (run->view->shape->depthwise || count == 1) && units >= count) {
        units = count - 1;
        run->plan->kept_one = true;
    }
    return lowest_units(run, criterion, units, threads, *goes, error);
}

fpr_status shrink_plan_layer(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, shrink_known known,
                             const fpr_options *options, const shrink_budget *budget, unsigned threads,
                             shrink_plan *plan, fpr_error *error)
{
    shrink_view view = {s, dtype, weights, options->criterion == FPR_CRITERION_BN ? known.scale : NULL};
    plan_run run = {.view = &view,
                    .plan = plan,
                    .asked = options->structure,
                    .structure = shrink_unit(s, options->structure),
                    .prune = options->prune && budget && (s->k > 1 || options->pointwise)};
    size_t parts = (size_t)((s->kernels + shrink_part_kernels(s) - 1) / shrink_part_kernels(s));
    uint8_t *goes = NULL;
    atomic_init(&run.zeroed, 0);
    atomic_init(&run.unsigned_zeros, 0);
    atomic_init(&run.live, 0);
    *plan = (shrink_plan){.only_sparse = true};
    bool by_eps = run.structure == FPR_STRUCTURE_KERNEL &&
                  (!budget || (budget->amount < 0 && budget->units == SHRINK_BY_AMOUNT));
    /* Without sparse kernels there are no zero ones either, unless nothing is below eps. */
    bool all_live = known.measure && known.measure->sparse == 0 && options->eps > 0 && !view.scale;
    if (all_live && by_eps) run.prune = false;
    bool binary = options->binary && (run.prune || shrink_may_be_binary(&view, options, plan, threads));
    if (!run.prune && !binary) return FPR_OK;
    plan->action = base_calloc(s->kernels, 1);
    if (!plan->action) return base_no_memory(error, s->kernels);
    run.limit = shrink_sparse_limit(dtype, known.max_abs, options->eps);
    fpr_status status = FPR_OK;
    uint64_t *limits = view.scale ? base_alloc(shrink_filter_count(s), sizeof *limits) : NULL;
    if (view.scale && !limits) status = base_no_memory(error, shrink_filter_count(s) * sizeof *limits);
    if (limits) shrink_scaled_limits(&view, options->eps, limits);
    run.limits = limits;
    if (status) {
        /* nothing is planned */
    } else if (all_live && !run.prune) {
        atomic_store(&run.live, s->kernels);
    } else if (!run.prune || by_eps) {
        base_parallel(threads, parts, flag_and_decide_part, &run);
    } else {
        base_parallel(threads, parts, flag_part, &run);
        status = choose_units(&run, options->criterion, budget, threads, &goes, error);
        run.goes = goes;
        if (!status) base_parallel(threads, parts, decide_part, &run);
    }
    plan->zeroed = atomic_load(&run.zeroed);
    plan->changes = plan->zeroed + atomic_load(&run.unsigned_zeros) > 0;
    if (!status && binary && (!run.prune || shrink_may_be_binary(&view, options, plan, threads)))
        status = shrink_plan_binary(&view, options, atomic_load(&run.live), threads, plan, error);
    if (!status) status = base_check_cancelled(error);
    plan->only_sparse = !plan->levels && (by_eps || !plan->changes) && !view.scale;
    if (!status) base_parallel(threads, parts, settle_part, &run);
    base_free(goes);
    base_free(limits);
    if (status) shrink_plan_free(plan);
    return status;
}

void shrink_plan_free(shrink_plan *plan)
{
    base_free(plan->action);
    base_free(plan->levels);
    *plan = (shrink_plan){0};
}

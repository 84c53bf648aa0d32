/* Options: defaults, and the checks that every job makes first. */
#include "job/job.h"
#include "report/report.h"

#include <math.h>

FPR_API void fpr_options_init(fpr_options *o)
{
    *o = (fpr_options){
        .sizeof_options = sizeof *o,
        .layout = FPR_LAYOUT_AUTO,
        .eps = 0.01,
        .bins = 70,
        .bandwidth = FPR_BANDWIDTH_SILVERMAN,
        .prune = true,
        .amount = -1,
        .binary = true,
        .binary_tol = 0.01,
        .binary_share = 0.9,
        .level = 3,
        .range = {NAN, NAN},
    };
}

FPR_API fpr_status fpr_options_check(const fpr_options *o, fpr_error *error)
{
    if (o->sizeof_options != sizeof *o)
        return base_fail(error, FPR_USAGE, "options of %zu bytes were not made by fpr_options_init of this library",
                         o->sizeof_options);
    if (!(o->eps >= 0 && o->eps <= 1)) return base_fail(error, FPR_USAGE, "eps must lie between 0 and 1");
    if (o->bins < 2 || o->bins > 4096) return base_fail(error, FPR_USAGE, "bins must lie between 2 and 4096");
    if (o->bandwidth == FPR_BANDWIDTH_FIXED && !(o->bandwidth_value > 0 && isfinite(o->bandwidth_value)))
        return base_fail(error, FPR_USAGE, "bandwidth must be a positive number");
    if (!isnan(o->range[0]) && !(o->range[0] < o->range[1] && isfinite(o->range[0]) && isfinite(o->range[1])))
        return base_fail(error, FPR_USAGE, "range must be two numbers, the lower one first");
    if (!(o->amount <= 1)) return base_fail(error, FPR_USAGE, "amount must lie between 0 and 1");
    if ((o->criterion == FPR_CRITERION_L1 || o->criterion == FPR_CRITERION_L2) && o->prune && o->amount < 0 && !(o->target_bytes > 0))
        return base_fail(error, FPR_USAGE, "criterion l1 or l2 needs an amount: eps is a threshold on the peak");
    if (o->keep_channels && !o->graph) return base_fail(error, FPR_USAGE, "channels are kept or leave where a graph is given");
    if (o->global && o->amount < 0 && !(o->target_bytes > 0))
        return base_fail(error, FPR_USAGE, "global needs an amount");
    if (!(o->target_bytes >= 0)) return base_fail(error, FPR_USAGE, "target size must be a positive number");
    if (o->target_bytes > 0 && o->amount >= 0)
        return base_fail(error, FPR_USAGE, "target size finds the amount: give one of the two");
    if (o->target_bytes > 0 && !o->prune) return base_fail(error, FPR_USAGE, "a target size needs pruning");
    if (!(o->binary_tol >= 0 && o->binary_tol < 1))
        return base_fail(error, FPR_USAGE, "binary tolerance must lie between 0 and 1");
    if (!(o->binary_share >= 0 && o->binary_share <= 1))
        return base_fail(error, FPR_USAGE, "binary share must lie between 0 and 1");
    if (!(o->max_error >= 0 && o->max_error < 1))
        return base_fail(error, FPR_USAGE, "max error must lie between 0 and 1");
    if (o->level < 1 || o->level > 19) return base_fail(error, FPR_USAGE, "level must lie between 1 and 19");
    for (size_t i = 0; i < o->drop.count; i++)
        if (!base_is_utf8(o->drop.patterns[i], strlen(o->drop.patterns[i]))) /* they are written into the output */
            return base_fail(error, FPR_USAGE, "a pattern of drop is not UTF-8, as the names of tensors are");
    return FPR_OK;
}

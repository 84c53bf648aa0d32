/* The main job: where a graph is known, channels leave; else weights alone are pruned. */
#include "job/graphs.h"
#include "job/prune.h"

FPR_API fpr_status fpr_prune(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                             fpr_error *error)
{
    if (report) *report = NULL;
    const bool removes = job_is_onnx(output) || (options->graph && !options->keep_channels);
    return removes ? job_remove(input, output, options, report, error) : prune_weights(input, output, options, report, error);
}

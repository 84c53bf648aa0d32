/* inspect --sweep: what other thresholds and other errors would give, each by a dry run of the main job. */
#include "job/job.h"

static const double eps_points[] = {0.001, 0.003, 0.01, 0.03, 0.1}, error_points[] = {0.005, 0.01, 0.02, 0.05, 0.1};
enum { EPS_POINTS = sizeof eps_points / sizeof *eps_points, ERROR_POINTS = sizeof error_points / sizeof *error_points };

static fpr_status try_point(const char *input, const fpr_options *options, fpr_sweep_point *point, fpr_error *error)
{
    fpr_report *report;
    const fpr_status status = fpr_prune(input, NULL, options, &report, error);
    if (status) return status;
    *point = (fpr_sweep_point){.eps = options->eps,
                               .max_error = options->max_error,
                               .kernels_zeroed = report->changes.kernels_zeroed,
                               .bytes = report->output_bytes,
                               .relative_l2 = report->changes.relative_l2,
                               .worst = report->changes.worst_name ? report->changes.worst_relative_l2 : 0};
    fpr_report_free(report);
    return FPR_OK;
}

FPR_API fpr_status fpr_sweep(const char *input, const fpr_options *options, fpr_report *report, fpr_error *error)
{
    fpr_options own = *options;
    own.dry_run = true;
    own.spectra = false;
    base_free(report->sweep);
    report->sweep_count = 0;
    report->sweep = base_calloc(EPS_POINTS + ERROR_POINTS, sizeof *report->sweep);
    if (!report->sweep) return base_no_memory(error, (EPS_POINTS + ERROR_POINTS) * sizeof *report->sweep);
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < EPS_POINTS + ERROR_POINTS; i++) {
        own.eps = i < EPS_POINTS ? eps_points[i] : options->eps;
        own.max_error = i < EPS_POINTS ? 0 : error_points[i - EPS_POINTS];
        status = try_point(input, &own, &report->sweep[i], error);
        report->sweep_count += !status;
    }
    return status;
}

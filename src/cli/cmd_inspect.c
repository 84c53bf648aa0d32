/* inspect: diagnostics only, in the terminal, as JSON or as a page. */
#include "cli/cli.h"

#include <string.h>

static void print_sweep(const fpr_report *r)
{
    printf("\n  %-16s %15s %8s %8s %14s %8s\n", "setting", "kernels zeroed", "error", "largest", "bytes", "of input");
    for (size_t i = 0; i < r->sweep_count; i++) {
        const fpr_sweep_point *p = &r->sweep[i];
        char setting[48];
        snprintf(setting, sizeof setting, p->max_error > 0 ? "max-error %g" : "eps %g", p->max_error > 0 ? p->max_error : p->eps);
        printf("  %-16s %15llu %6.2f %% %6.2f %% %14llu %6.1f %%\n", setting, (unsigned long long)p->kernels_zeroed,
               100 * p->relative_l2, 100 * p->worst, (unsigned long long)p->bytes,
               100 * (double)p->bytes / (double)fpr_report_compared_bytes(r));
    }
    printf("  An error is no promise of accuracy: see --accept of the main job.\n");
}

typedef fpr_status (*renderer)(const fpr_report *report, fpr_write write, void *context, fpr_error *error);

static int write_file(const fpr_report *report, const char *path, const char *input, bool force, renderer render)
{
    page file;
    fpr_error error;
    int status = page_open(&file, path, input, force);
    if (status) return status;
    if (render(report, write_to_stream, file.stream, &error) == FPR_OK) return page_commit(&file);
    status = fail(&error, path);
    page_abandon(&file);
    return status;
}

int cmd_inspect(const settings *set)
{
    const char *input = set->operands[0];
    fpr_options job = set->job;
    fpr_report *report = NULL;
    fpr_error error;
    progress bar;
    int status = set->html ? page_check(set->html, input, job.force) : EXIT_DONE;
    if (set->csv && !status) status = page_check(set->csv, input, job.force);
    if (!status && set->html && set->csv && !strcmp(set->html, set->csv))
        status = fail_usage("--html and --csv are the same file");
    if (status) return status;

    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_inspect(input, &job, &report, &error);
    if (done == FPR_OK && set->sweep && (done = fpr_sweep(input, &job, report, &error)) != FPR_OK) fpr_report_free(report);
    progress_end(&bar);
    double seconds = seconds_now() - bar.start;
    if (done != FPR_OK) return fail(&error, input);

    if (set->html) status = write_file(report, set->html, input, job.force, fpr_report_html);
    if (set->csv && !status) status = write_file(report, set->csv, input, job.force, fpr_report_csv);
    if (!status && set->json) {
        if (!set->quiet) print_warnings(report);
        done = fpr_report_json(report, write_to_stream, stdout, &error);
        if (done != FPR_OK && !ferror(stdout)) status = fail(&error, input);
    } else if (!status && !set->quiet) {
        terminal term = terminal_for(stdout);
        print_summary(report, set, seconds, (page_names){ set->html, NULL }, &term);
        if (set->dead) print_dead(report, &term);
        if (set->sweep) print_sweep(report);
    }
    fpr_report_free(report);
    return status ? status : finish_stdout(EXIT_DONE);
}

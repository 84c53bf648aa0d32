/* inspect: diagnostics only, in the terminal, as JSON or as a page. */
#include "cli/cli.h"

int cmd_inspect(const settings *set)
{
    const char *input = set->operands[0];
    fpr_options job = set->job;
    fpr_report *report = NULL;
    fpr_error error;
    progress bar;
    page html = { 0 };
    int status = set->html ? page_check(set->html, input, job.force) : EXIT_DONE;
    if (status) return status;

    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_inspect(input, &job, &report, &error);
    progress_end(&bar);
    double seconds = seconds_now() - bar.start;
    if (done != FPR_OK) return fail(&error, input);

    if (set->html) {
        status = page_open(&html, set->html, input, job.force);
        if (!status && (done = fpr_report_html(report, write_to_stream, html.stream, &error)) != FPR_OK) {
            status = fail(&error, set->html);
            page_abandon(&html);
        }
        if (!status) status = page_commit(&html);
    }
    if (!status && set->json) {
        if (!set->quiet) print_warnings(report);
        done = fpr_report_json(report, write_to_stream, stdout, &error);
        if (done != FPR_OK && !ferror(stdout)) status = fail(&error, input);
    } else if (!status && !set->quiet) {
        terminal term = terminal_for(stdout);
        print_summary(report, set, seconds, (page_names){ set->html, NULL }, &term);
        if (set->dead) print_dead(report, &term);
    }
    fpr_report_free(report);
    return status ? status : finish_stdout(EXIT_DONE);
}

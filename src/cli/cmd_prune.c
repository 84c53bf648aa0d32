/* The main job: on one checkpoint, or on many. */
#include "cli/cli.h"

#include <stdlib.h>

int cmd_prune(const settings *set)
{
    if (set->out_dir) return run_batch(set);
    const char *input = set->operands[0], *output = set->operand_count > 1 ? set->operands[1] : NULL;
    if (!output && !set->job.dry_run)
        return fail_usage("no OUTPUT given; see filterprune --help, or filterprune inspect to diagnose only");
    if (set->operand_count > 2)
        return fail_usage("INPUT and OUTPUT are two files, %d are given; --out-dir DIR takes many", set->operand_count);
    outcome result;
    int status = run_prune(set, input, output, NULL, &result);
    if (status) return status;
    terminal term = terminal_for(stderr);
    page_names pages = { result.html, result.json };
    if (!set->quiet) print_summary(result.report, set, result.seconds, pages, &term);
    if (!set->quiet && output && !set->job.dry_run && !result.report->output_dense && !ends_with(output, ".onnx"))
        print_how_to_load(&term, output);
    if (set->strict && result.report->warning_count)
        status = fail_text(EXIT_MACHINE, input, "%zu warnings, and --strict makes them a failure",
                           result.report->warning_count);
    fpr_report_free(result.report);
    free(result.json);
    free(result.html);
    return status;
}

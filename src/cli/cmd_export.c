/* export: binary layers for an inference engine that computes with bits. */
#include "cli/cli.h"

int cmd_export(const settings *set)
{
    const char *input = set->operands[0], *output = set->operands[1];
    fpr_options job = set->job;
    fpr_error error;
    fpr_exported result;
    progress bar;
    if (!set->given[OPT_BITS]) return fail_usage("export needs --bits lce: the order of the bits");
    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_export_lce(input, output, &job, &result, &error);
    progress_end(&bar);
    if (done != FPR_OK) return fail(&error, input);
    for (size_t i = 0; i < result.left_out_count && !set->quiet; i++) {
        char name[SAFE_NAME], text[SAFE_NAME + 64];
        snprintf(text, sizeof text, "%s is left out: its filters are not all +-alpha",
                 safe_name(name, result.left_out[i]));
        warn(input, text);
    }
    if (!set->quiet) {
        terminal term = terminal_for(stderr);
        char from[SAFE_NAME], to[SAFE_NAME];
        fprintf(stderr, "%s%s %s %s%s, %zu binary layer%s\n", style_on(&term, STYLE_BOLD), safe_name(from, input),
                arrow(&term), safe_name(to, output), style_off(&term), result.layers, result.layers == 1 ? "" : "s");
    }
    fpr_exported_free(&result);
    return EXIT_DONE;
}

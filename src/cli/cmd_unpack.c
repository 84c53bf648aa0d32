/* unpack: restores a dense checkpoint. */
#include "cli/cli.h"

int cmd_unpack(const settings *set)
{
    const char *packed = set->operands[0], *output = set->operands[1];
    fpr_options job = set->job;
    fpr_error error;
    progress bar;
    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_unpack(packed, output, &job, &error);
    progress_end(&bar);
    if (done != FPR_OK) return fail(&error, packed);
    if (!set->quiet) {
        terminal term = terminal_for(stderr);
        char from[SAFE_NAME], to[SAFE_NAME], time[NUMBER_TEXT];
        fprintf(stderr, "%s%s %s %s%s, restored in %s\n", style_on(&term, STYLE_BOLD), safe_name(from, packed),
                arrow(&term), safe_name(to, output), style_off(&term),
                number_seconds(time, seconds_now() - bar.start));
    }
    return EXIT_DONE;
}

/* --help and --version. */
#include "cli/cli.h"

#include <string.h>

int print_help(const command *cmd)
{
    printf("usage: %s\n\n%s\n\n", cmd->usage, cmd->about);
    print_options(stdout, cmd);
    const char *rest = cmd->examples;
    for (const char *before = "\nExample:  "; *rest; before = "          ") {
        size_t n = strcspn(rest, "\n");
        printf("%s%.*s\n", before, (int)n, rest);
        rest += n + (rest[n] != 0);
    }
    return finish_stdout(EXIT_DONE);
}

int print_version(void)
{
    printf("filterprune %s (packed format %d)\n", fpr_version(), FPR_PACKED_FORMAT);
    return finish_stdout(EXIT_DONE);
}

/* Fuzzing: the command line. The input is the arguments, one a line. Parsing must end with done or usage, print no
 * control character, and leave every number within its bounds. */
int program_main(int argc, char **argv);
#define main program_main
#include "cli/main.c"
#undef main

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *printed;
static size_t printed_bytes;

static void require(bool condition)
{
    if (!condition) abort();
}

static void check_output(void)
{
    fflush(stderr);
    size_t lines = 0;
    for (size_t i = 0; i < printed_bytes; i++) {
        unsigned char c = (unsigned char)printed[i];
        require(c >= 0x20 || c == '\n');
        require(c != 0x7f);
        lines += c == '\n';
    }
    require(lines <= 1);
    rewind(stderr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MOST = 64 };
    char *arguments[MOST + 1];
    int count = 0;
    if (!printed) {
        stderr = open_memstream(&printed, &printed_bytes);
        require(stderr != NULL);
        setlocale(LC_CTYPE, "C.UTF-8");
    }
    char *text = malloc(size + 1);
    require(text != NULL);
    memcpy(text, data, size);
    text[size] = 0;
    for (char *at = text, *end; at <= text + size && count < MOST; at = end + 1) {
        end = strchr(at, '\n');
        if (!end) end = at + strlen(at);
        *end = 0;
        arguments[count++] = at;
    }
    arguments[count] = NULL;
    const command *cmd = count ? find_command(arguments[0]) : NULL;
    int first = cmd != NULL;
    if (!cmd) cmd = commands;
    settings set;
    int status = parse_arguments(cmd, count - first, arguments + first, &set);
    require(status == EXIT_DONE || status == EXIT_USAGE);
    require((status == EXIT_USAGE) == (fflush(stderr) == 0 && ftell(stderr) > 0));
    if (status == EXIT_DONE && !set.help && !set.version) {
        require(set.operand_count <= count);
        require(set.job.only.count + set.job.skip.count + set.job.drop.count <= (size_t)count);
        require(set.job.threads <= 1024 && set.job.eps >= 0 && set.job.eps <= 1 && set.job.level >= 1 && set.job.level <= 19);
        fpr_error error;
        fpr_status fine = fpr_options_check(&set.job, &error);
        require(fine == FPR_OK || fine == FPR_USAGE);
    }
    check_output();
    free_arguments(&set);
    free(text);
    return 0;
}

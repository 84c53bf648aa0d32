/* The program's beginning and end: makes the ground safe, and runs the command. */
#include "cli/cli.h"

#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* With one of the three standard streams closed, the next file opened would take its number, and a message would go
 * into a checkpoint. A write to standard output must still fail, so that takes a descriptor open for reading. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) != -1) continue;
        if (open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) < 0) _exit(EXIT_MACHINE);
    }
}

/* A word that is no file and nearly a command was meant as one. */
static int check_misspelt(const settings *set)
{
    const char *word = set->operand_count ? set->operands[0] : "";
    if (!word[0] || strpbrk(word, "./") || access(word, F_OK) == 0) return EXIT_DONE;
    if (find_command(word)) return fail_usage("the command comes first: filterprune %s ...", word);
    static const struct { const char *word, *form; } meant[] = {
        { "prune", "filterprune INPUT OUTPUT" }, { "pack", "filterprune INPUT OUTPUT" },
        { "compress", "filterprune INPUT OUTPUT" }, { "list", "filterprune info FILE" }, { "ls", "filterprune info FILE" },
        { "show", "filterprune info FILE" }, { "restore", "filterprune unpack PACKED OUTPUT" },
    };
    for (size_t i = 0; i < sizeof meant / sizeof meant[0]; i++)
        if (!strcmp(word, meant[i].word)) return fail_usage("no command '%s': it is %s", word, meant[i].form);
    const char *best = NULL;
    unsigned least = 99;
    for (const command *c = commands + 1; c->name; c++) {
        unsigned distance = edit_distance(word, strlen(word), c->name);
        if (distance < least) best = c->name, least = distance;
    }
    if (!best || !is_near(least, strlen(word))) return EXIT_DONE;
    char name[SAFE_NAME];
    return fail_usage("unknown command '%s'; did you mean '%s'?", safe_name(name, word), best);
}

static int check_operands(const command *cmd, const settings *set)
{
    char name[SAFE_NAME];
    if (set->operand_count < cmd->least)
        return fail_usage("%s wants %s; see filterprune %s%s--help", cmd->name[0] ? cmd->name : "the main job",
                          cmd->operands, cmd->name, cmd->name[0] ? " " : "");
    if (set->operand_count > cmd->most)
        return fail_usage("%s takes %s, not '%s' too", cmd->name, cmd->operands,
                          safe_name(name, set->operands[cmd->most]));
    return EXIT_DONE;
}

/* Memory that the process has touched is used again, and in large pages: each page touched anew costs a fault, which in
 * a virtual machine takes longer than the work on its 4 KiB. One heap for all threads, because they allocate little at
 * a time; no block of a MiB or two comes from the kernel and goes back to it; and what comes before the first large page
 * is left alone. Nothing here may fail: it is advice. */
static void keep_memory(void)
{
#ifdef __GLIBC__
    static void *volatile left_alone; /* else the compiler leaves it out */
    const size_t large = 2u << 20, most = 32u << 20, room = 60u << 20;
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, (int)most);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    /* One block, which must be of the heap whatever its size: a page that is touched in the middle, as where two blocks
     * meet, would keep small pages all around it. */
    mallopt(M_MMAP_MAX, 0);
    char *block = malloc(room);
    mallopt(M_MMAP_MAX, 65536);
    const uintptr_t begin = ((uintptr_t)block + large - 1) / large * large, gap = begin - (uintptr_t)block;
    if (block) madvise((void *)begin, ((uintptr_t)block + room) / large * large - begin, MADV_HUGEPAGE);
    free(block);
    if (block && gap > 64) left_alone = malloc(gap - 64);
    (void)left_alone;
#endif
}

/* FILTERPRUNE_SIMD lowers the instruction sets used: for comparing and for finding faults. */
static int limit_instructions(const settings *set)
{
    const char *level = getenv("FILTERPRUNE_SIMD");
    fpr_error error = { .status = FPR_OK };
    if (!level) return EXIT_DONE;
    if (fpr_limit_simd(level, &error)) return fail_usage("FILTERPRUNE_SIMD: %s", error.message);
    if (set->verbose && strcmp(level, fpr_simd()))
        fprintf(stderr, "filterprune: this processor has no %s, %s runs in its place\n", level, fpr_simd());
    return EXIT_DONE;
}

static int run_command(const command *cmd, int argc, char **argv)
{
    settings set;
    int status = parse_arguments(cmd, argc, argv, &set);
    if (status == EXIT_DONE && (set.help || set.version)) {
        status = set.help ? print_help(cmd) : print_version();
    } else if (status == EXIT_DONE) {
        if (cmd == commands) status = check_misspelt(&set);
        const bool listed = cmd == commands && set.out_dir && set.files_from; /* the operands stand in a file */
        if (status == EXIT_DONE && !listed) status = check_operands(cmd, &set);
        if (status == EXIT_DONE) status = limit_instructions(&set);
        if (status == EXIT_DONE && cmd->run != cmd_info) keep_memory(); /* which takes little, and no time */
        /* OpenBLAS makes a thread for each core when it is loaded, which wait busily for work that ours do. */
        if (status == EXIT_DONE && set.job.spectra) setenv("OPENBLAS_NUM_THREADS", "1", 0);
        if (status == EXIT_DONE) status = cmd->run(&set);
    }
    free_arguments(&set);
    return status;
}

static int run_help(int argc, char **argv)
{
    const command *cmd = commands;
    if (argc > 0 && argv[0][0] != '-' && !(cmd = find_command(argv[0]))) {
        char name[SAFE_NAME];
        return fail_usage("no command '%s'; the commands are inspect, compare, unpack, convert, verify, info, diff, export, profile, corpus and help",
                          safe_name(name, argv[0]));
    }
    return print_help(cmd);
}

int main(int argc, char **argv)
{
    hold_standard_streams();
    /* Only the character set is taken from the locale: numbers look the same everywhere. */
    setlocale(LC_CTYPE, "");
    catch_signals();

    int status;
    const command *cmd = argc > 1 ? find_command(argv[1]) : NULL;
    if (argc > 1 && !strcmp(argv[1], "help")) status = run_help(argc - 2, argv + 2);
    else if (cmd) status = run_command(cmd, argc - 2, argv + 2);
    else status = run_command(commands, argc - 1, argv + 1);
    if (interrupted) end_by_signal(interrupted);
    return status;
}

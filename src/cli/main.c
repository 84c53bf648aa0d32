/* The program's beginning and end: finds the command, makes the ground safe, turns signals into a flag. */
#include "cli/cli.h"

#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

volatile int interrupted;
volatile int may_be_killed;

const command commands[] = {
    { "", CMD_PRUNE, 1, 1000000, "INPUT and OUTPUT",
      "filterprune [OPTIONS] INPUT OUTPUT\n"
      "       filterprune [OPTIONS] --out-dir DIR INPUT...\n"
      "       filterprune inspect|compare|unpack|convert|verify|info|diff ...\n"
      "       filterprune export|profile|corpus|help ...",
      "Finds and prunes sparse convolution kernels, quantizes two-level filters, writes\n"
      "a smaller checkpoint and a report. INPUT: safetensors, PyTorch, numpy or ONNX.",
      "filterprune model.safetensors small.safetensors\n"
      "filterprune --lossless -j2 model.safetensors same.safetensors",
      cmd_prune },
    { "inspect", CMD_INSPECT, 1, 1, "one INPUT",
      "filterprune inspect [OPTIONS] INPUT",
      "Diagnoses the convolution kernels of a checkpoint, dense or packed. Writes only\n"
      "what is asked for.",
      "filterprune inspect --html report.html model.safetensors\n"
      "filterprune inspect --json model.safetensors > report.json",
      cmd_inspect },
    { "compare", CMD_COMPARE, 2, 1000000, "at least two checkpoints",
      "filterprune compare [OPTIONS] A B ...",
      "How far kernel distributions are apart: the symmetric, variance-weighted\n"
      "Kullback-Leibler divergence of every pair of checkpoints in one common basis.",
      "filterprune compare --html shift.html old.safetensors new.safetensors",
      cmd_compare },
    { "unpack", CMD_UNPACK, 2, 2, "PACKED and OUTPUT",
      "filterprune unpack [OPTIONS] PACKED OUTPUT",
      "Restores a dense checkpoint: byte for byte the original after --lossless, else\n"
      "everything but the weights that were pruned or quantized.",
      "filterprune unpack small.safetensors model.safetensors",
      cmd_unpack },
    { "convert", CMD_CONVERT, 2, 2, "INPUT and OUTPUT",
      "filterprune convert [OPTIONS] INPUT OUTPUT",
      "Writes the tensors of a checkpoint of PyTorch, numpy or ONNX, bit for bit, as a\n"
      "safetensors file. Nothing in INPUT is executed.",
      "filterprune convert model.pth model.safetensors",
      cmd_convert },
    { "verify", CMD_VERIFY, 1, 2, "PACKED (and ORIGINAL, if you like)",
      "filterprune verify [OPTIONS] PACKED [ORIGINAL]",
      "Decodes every tensor and checks every checksum; with ORIGINAL, compares each\n"
      "tensor: the same bits, or within the error that PACKED states. Exit status 5\n"
      "tells of a difference.",
      "filterprune verify small.safetensors model.safetensors\n"
      "filterprune verify --json small.safetensors",
      cmd_verify },
    { "info", CMD_INFO, 1, 1, "one FILE",
      "filterprune info [OPTIONS] FILE",
      "Lists a checkpoint: names, dtypes, shapes, codecs and sizes of its tensors, what\n"
      "is taken for a convolution layer, and the metadata. Decodes nothing.",
      "filterprune info model.safetensors\n"
      "filterprune info --json model.safetensors",
      cmd_info },
    { "diff", CMD_DIFF, 2, 2, "A and B",
      "filterprune diff [OPTIONS] A B",
      "Compares two checkpoints of any format tensor by tensor: equal, changed and by\n"
      "how much, missing on either side. Exit status 0 when all is equal, else 5.",
      "filterprune diff model.safetensors dense.safetensors\n"
      "filterprune diff --strip module. trained.pth model.safetensors",
      cmd_diff },
    { "export", CMD_EXPORT, 2, 2, "FILE and OUTPUT",
      "filterprune export --bits lce [OPTIONS] FILE OUTPUT",
      "Writes the binary layers of a checkpoint for an engine that computes with bits:\n"
      "for each layer NAME, signs as NAME and scales as NAME.scale, in a safetensors\n"
      "file. Layers whose filters are not all +-alpha are left out, and named.",
      "filterprune export --bits lce model.safetensors bits.safetensors",
      cmd_export },
    { "profile", CMD_PROFILE, 2, 2, "INPUT and FILE.fpp",
      "filterprune profile [OPTIONS] INPUT FILE.fpp",
      "Writes what of a checkpoint's kernels adds up, for a corpus that is put together\n"
      "elsewhere: moments of every layer and, with --basis and --range, counts.",
      "filterprune profile model.safetensors model.fpp",
      cmd_profile },
    { "corpus", CMD_CORPUS, 1, 1000000, "checkpoints or profiles",
      "filterprune corpus --table CSV --by COLUMN --out DIR [OPTIONS] INPUT...",
      "Distributions of kernels of many checkpoints, grouped by what a table says of\n"
      "them: corpus.json, layers.csv, groups.csv, pages. Profiles are kept in\n"
      "DIR/profiles: what was ended goes on, and a regrouping reads no weights.",
      "filterprune corpus --table zoo.csv --by Task --out zoo *.safetensors",
      cmd_corpus },
    { NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL },
};

const command *find_command(const char *name)
{
    for (const command *c = commands; c->name; c++) {
        if (c->name[0] && !strcmp(c->name, name)) return c;
    }
    return NULL;
}

/* With one of the three standard streams closed, the next file opened would take its number, and a message would go
 * into a checkpoint. A write to standard output must still fail, so that takes a descriptor open for reading. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++) {
        if (fcntl(fd, F_GETFD) != -1) continue;
        if (open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) < 0) _exit(EXIT_MACHINE);
    }
}

/* Whoever waits for the program shall see that the signal ended it. */
static void end_by_signal(int number)
{
    struct sigaction action = { .sa_handler = SIG_DFL };
    sigset_t set;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

/* A factorization of LAPACK looks at no flag, and may take seconds; nothing is written meanwhile that would stay behind. */
static void on_signal(int number)
{
    interrupted = number;
    if (may_be_killed) end_by_signal(number);
}

static void catch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction old, action = { .sa_handler = on_signal };
        sigemptyset(&action.sa_mask);
        /* Ignored from the start, as under nohup, stays ignored. */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(numbers[i], &action, NULL);
    }
    /* A closed pipe and a file that may not grow are errors of write(), and so messages. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
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

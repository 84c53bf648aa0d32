/* The one table of options. Parsing, --help, suggestions and (through --help) shell completion all read it. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind {
    FLAG,      /* bool becomes true */
    FLAG_OFF,  /* bool becomes false */
    LOSSLESS,  /* neither pruning nor binary filters */
    REAL,      /* double, least .. most */
    WHOLE,     /* unsigned or int, least .. most */
    CHOICE,    /* enum: the index of the word in `choices` */
    BANDWIDTH, /* a word or a number */
    RANGE,     /* two doubles, LO:HI */
    SIZE,      /* bytes or a share of the input */
    TEXT,      /* const char * */
    PATTERN    /* fpr_globs, repeatable */
} kind;

typedef struct option_row {
    option_id id;
    const char *section; /* heading in the main job's help */
    const char *name;
    char letter;
    const char *value;   /* what --help calls the value, NULL for a flag */
    unsigned commands;
    kind kind;
    size_t offset;       /* into settings */
    double least, most;
    const char *choices; /* "a|b|c"; shown first in the help, where completion finds them */
    const char *help;
} option_row;

#define AT(member) offsetof(settings, member)
#define STUDY (CMD_PRUNE | CMD_INSPECT | CMD_COMPARE)
#define COLLECTING (CMD_COMPARE | CMD_PROFILE | CMD_CORPUS)
#define PRINTING (CMD_INSPECT | CMD_COMPARE | CMD_VERIFY | CMD_INFO | CMD_DIFF)

static const char pruning[] = "Pruning and two-level filters", output[] = "Output",
                  diagnostics[] = "Diagnostics", running[] = "Running";

static const option_row rows[] = {
    { OPT_STRUCTURE, pruning, "structure", 0, "UNIT", CMD_PRUNE, CHOICE, AT(job.structure), 0, 0,
      "kernel|filter|channel", "what is pruned whole (kernel)" },
    { OPT_CRITERION, pruning, "criterion", 0, "SCORE", CMD_PRUNE, CHOICE, AT(job.criterion), 0, 0, "peak|l1|l2|bn",
      "score of a unit (peak: max|w|)" },
    { OPT_EPS, pruning, "eps", 0, "X", STUDY | COLLECTING, REAL, AT(job.eps), 0, 1, NULL,
      "sparse: max|w| below X times the layer's (0.01)" },
    { OPT_AMOUNT, pruning, "amount", 0, "SHARE", CMD_PRUNE, REAL, AT(job.amount), 0, 1, NULL,
      "prune the lowest SHARE (0..1) instead, per layer" },
    { OPT_GLOBAL, pruning, "global", 0, NULL, CMD_PRUNE, FLAG, AT(job.global), 0, 0, NULL,
      "rank units over all layers, not in each" },
    { OPT_TARGET_SIZE, pruning, "target-size", 0, "SIZE", CMD_PRUNE, SIZE, 0, 0, 0, NULL,
      "find the amount that fits: 20MB, or 0.5 of INPUT" },
    { OPT_ONLY, pruning, "only", 0, "GLOB", CMD_PRUNE, PATTERN, AT(job.only), 0, 0, NULL,
      "change only these layers (repeatable)" },
    { OPT_SKIP, pruning, "skip", 0, "GLOB", CMD_PRUNE, PATTERN, AT(job.skip), 0, 0, NULL,
      "leave these layers as they are (repeatable)" },
    { OPT_POINTWISE, pruning, "pointwise", 0, NULL, CMD_PRUNE, FLAG, AT(job.pointwise), 0, 0, NULL,
      "prune 1x1 kernels too" },
    { OPT_NO_PRUNE, pruning, "no-prune", 0, NULL, CMD_PRUNE, FLAG_OFF, AT(job.prune), 0, 0, NULL, "prune nothing" },
    { OPT_BINARY_TOL, pruning, "binary-tol", 0, "X", STUDY | CMD_EXPORT, REAL, AT(job.binary_tol), 0, 1, NULL,
      "largest relative error of two levels (0.01)" },
    { OPT_BINARY_SHARE, pruning, "binary-share", 0, "X", STUDY | CMD_EXPORT, REAL, AT(job.binary_share), 0, 1, NULL,
      "share of live kernels that must meet it (0.9)" },
    { OPT_NO_BINARY, pruning, "no-binary", 0, NULL, STUDY, FLAG_OFF, AT(job.binary), 0, 0, NULL,
      "look for no two-level filters" },
    { OPT_MAX_ERROR, output, "max-error", 0, "R", CMD_PRUNE, REAL, AT(job.max_error), 0, 1, NULL,
      "round each tensor: relative L2 error at most R" },
    { OPT_ACCEPT, output, "accept", 0, "COMMAND", CMD_PRUNE, TEXT, AT(accept), 0, 0, NULL,
      "find the largest R and eps that COMMAND FILE accepts" },
    { OPT_LOSSLESS, output, "lossless", 0, NULL, CMD_PRUNE, LOSSLESS, 0, 0, 0, NULL,
      "change no weight: OUTPUT unpacks to the same bytes" },
    { OPT_DENSE, output, "dense", 0, NULL, CMD_PRUNE, FLAG, AT(job.dense), 0, 0, NULL,
      "write an ordinary checkpoint, loadable anywhere" },
    { OPT_POOL, output, "pool", 0, "WHEN", CMD_PRUNE, CHOICE, AT(job.pool), 0, 0, "auto|always|never",
      "small tensors share one entry" },
    { OPT_LEVEL, output, "level", 0, "N", CMD_PRUNE, WHOLE, AT(job.level), 1, 19, NULL,
      "effort, 1 to 19 (3); from 10 on slow to unpack too" },
    { OPT_CAST, output, "cast", 0, "DTYPE", CMD_PRUNE, CHOICE, AT(job.cast), 0, 0, "none|f32|f16|bf16",
      "convert float tensors" },
    { OPT_DROP, output, "drop", 0, "GLOB", CMD_PRUNE, PATTERN, AT(job.drop), 0, 0, NULL,
      "leave tensors out (repeatable)" },
    { OPT_OUT_DIR, output, "out-dir", 0, "DIR", CMD_PRUNE, TEXT, AT(out_dir), 0, 0, NULL,
      "many INPUTs: write all here, with an index page" },
    { OPT_TABLE, output, "table", 0, "CSV", CMD_CORPUS, TEXT, AT(table), 0, 0, NULL,
      "models: first column the file's stem, then anything" },
    { OPT_BY, output, "by", 0, "COLUMN", CMD_CORPUS, PATTERN, AT(by), 0, 0, NULL,
      "group by it, or by depth:10 (repeatable)" },
    { OPT_LAYERS, output, "layers", 0, "CSV", CMD_CORPUS, TEXT, AT(layers), 0, 0, NULL,
      "columns file, tensor, conv_depth_norm" },
    { OPT_OUT, output, "out", 0, "DIR", CMD_CORPUS, TEXT, AT(out_dir), 0, 0, NULL, "write all here" },
    { OPT_FILES_FROM, output, "files-from", 0, "FILE", CMD_PRUNE, TEXT, AT(files_from), 0, 0, NULL,
      "more INPUTs for --out-dir, one a line" },
    { OPT_SKIP_EXISTING, output, "skip-existing", 0, NULL, CMD_PRUNE, FLAG, AT(skip_existing), 0, 0, NULL,
      "--out-dir: leave what was made of the same INPUT" },
    { OPT_REPORT, output, "report", 0, "STEM", CMD_PRUNE, TEXT, AT(report), 0, 0, NULL,
      "STEM.report.json, .html (OUTPUT's name)" },
    { OPT_NO_REPORT, output, "no-report", 0, NULL, CMD_PRUNE, FLAG, AT(no_report), 0, 0, NULL, "write no report" },
    { OPT_DRY_RUN, output, "dry-run", 0, NULL, CMD_PRUNE, FLAG, AT(job.dry_run), 0, 0, NULL,
      "do everything but write; OUTPUT may be absent" },
    { OPT_KERNEL, diagnostics, "kernel", 0, "SHAPE", COLLECTING, TEXT, AT(kernel), 0, 0, NULL,
      "kernels compared, such as 3x3 (the most common)" },
    { OPT_BASIS, diagnostics, "basis", 0, "FILE", COLLECTING, TEXT, AT(basis), 0, 0, "robustness|FILE",
      "a fixed basis (joint)" },
    { OPT_LAYOUT, diagnostics, "layout", 0, "ORDER", STUDY | COLLECTING | CMD_INFO | CMD_EXPORT | CMD_DIFF, CHOICE,
      AT(job.layout), 0, 0,
      "auto|oihw|hwio|ohwi", "order of weight axes (auto)" },
    { OPT_TRANSPOSED, diagnostics, "transposed", 0, "GLOB", CMD_PRUNE | CMD_INSPECT, PATTERN, AT(job.transposed), 0, 0, NULL,
      "these layers are transposed, [in, out, ...]" },
    { OPT_BINS, diagnostics, "bins", 0, "N", STUDY | COLLECTING, WHOLE, AT(job.bins), 2, 4096, NULL, "histogram bins (70)" },
    { OPT_BANDWIDTH, diagnostics, "bandwidth", 0, "RULE", STUDY | CMD_CORPUS, BANDWIDTH, AT(job.bandwidth), 0, 0,
      "silverman|scott|NUMBER", "of the densities" },
    { OPT_HALF, diagnostics, "half", 0, NULL, STUDY | COLLECTING, FLAG, AT(job.half), 0, 0, NULL,
      "round weights to float16 for the diagnostics" },
    { OPT_SPECTRA, diagnostics, "spectra", 0, NULL, CMD_PRUNE | CMD_INSPECT, FLAG, AT(job.spectra), 0, 0, NULL,
      "singular values of whole layers (OpenBLAS, LAPACKE)" },
    { OPT_SWEEP, diagnostics, "sweep", 0, NULL, CMD_INSPECT, FLAG, AT(sweep), 0, 0, NULL,
      "tabulate what other eps and max-error would give" },
    { OPT_ORDER, diagnostics, "order", 0, "ORDER", CMD_COMPARE | CMD_CORPUS, CHOICE, AT(job.order), 0, 0,
      "similarity|name|given|mean", "of rows" },
    { OPT_PAPER, diagnostics, "paper", 0, "P", COLLECTING, CHOICE, AT(job.paper), 0, 0,
      "none|cvpr22|med22", "count as that paper" },
    { OPT_WEIGHTS, diagnostics, "weights", 0, "W", CMD_COMPARE | CMD_CORPUS, CHOICE, AT(job.weights), 0, 0,
      "explained|uniform", "of components" },
    { OPT_RANGE, diagnostics, "range", 0, "LO:HI", COLLECTING, RANGE, AT(job.range), 0, 0, NULL,
      "of the histograms (that of all coefficients)" },
    { OPT_FLOAT16, diagnostics, "float16", 0, NULL, COLLECTING, FLAG, AT(job.half), 0, 0, NULL,
      "the same as --half" },
    { OPT_DEAD, diagnostics, "dead", 0, NULL, CMD_INSPECT, FLAG, AT(dead), 0, 0, NULL,
      "list dead filters and channels with their indices" },
    { OPT_STRIP, diagnostics, "strip", 0, "PREFIX", CMD_DIFF, PATTERN, AT(strip), 0, 0, NULL,
      "take it off names that begin so (repeatable)" },
    { OPT_BITS, diagnostics, "bits", 0, "ENGINE", CMD_EXPORT, CHOICE, AT(bits), 0, 0, "lce",
      "the bit order of Larq Compute Engine" },
    { OPT_GRAPH, running, "graph", 0, "ONNX", CMD_PRUNE | CMD_INSPECT, TEXT, AT(job.graph), 0, 0, NULL,
      "the network that INPUT's tensors belong to" },
    { OPT_KEEP_CHANNELS, running, "keep-channels", 0, NULL, CMD_PRUNE, FLAG, AT(job.keep_channels), 0, 0, NULL,
      "--graph: OUTPUT keeps channels that nobody needs" },
    { OPT_INPUT_SIZE, running, "input-size", 0, "N", CMD_PRUNE, WHOLE, AT(job.side), 1, 65536, NULL,
      "of what a graph leaves open, for multiply-adds (224)" },
    { OPT_KEY, running, "key", 0, "PATH", CMD_ALL & ~(unsigned)CMD_UNPACK, TEXT, AT(job.key), 0, 0, NULL,
      "the dictionary of a checkpoint to take: a.b" },
    { OPT_ALLOW_EXPAND, running, "allow-expand", 0, NULL, CMD_CONVERT, FLAG, AT(job.allow_expand), 0, 0, NULL,
      "tensors may be far larger than what is stored" },
    { OPT_JSON, running, "json", 0, NULL, PRINTING, FLAG, AT(json), 0, 0, NULL,
      "print machine-readable JSON on standard output" },
    { OPT_HTML, running, "html", 0, "FILE", CMD_INSPECT | CMD_COMPARE, TEXT, AT(html), 0, 0, NULL,
      "write a self-contained page with the figures" },
    { OPT_CSV, running, "csv", 0, "FILE", CMD_INSPECT | CMD_COMPARE, TEXT, AT(csv), 0, 0, NULL,
      "write a table of all layers, or of all pairs" },
    { OPT_FORCE, running, "force", 'f', NULL, CMD_PRUNE | CMD_INSPECT | CMD_COMPARE | CMD_UNPACK | CMD_EXPORT |
      CMD_CONVERT | CMD_PROFILE | CMD_CORPUS, FLAG, AT(job.force), 0, 0, NULL, "overwrite files that exist" },
    { OPT_THREADS, running, "threads", 'j', "N", CMD_ALL & ~(unsigned)CMD_INFO, WHOLE, AT(job.threads), 0, 1024, NULL,
      "threads (0: all cores the process may use)" },
    { OPT_PROGRESS, running, "progress", 0, "FORM", CMD_ALL & ~(unsigned)CMD_INFO, CHOICE, AT(progress), 0, 0,
      "bar|lines|none", "on a terminal, or for scripts (bar)" },
    { OPT_STRICT, running, "strict", 0, NULL, CMD_PRUNE, FLAG, AT(strict), 0, 0, NULL,
      "a warning is a failure: exit status 1" },
    { OPT_QUIET, running, "quiet", 'q', NULL, CMD_ALL, FLAG, AT(quiet), 0, 0, NULL, "print errors only" },
    { OPT_VERBOSE, running, "verbose", 'v', NULL, CMD_PRUNE | PRINTING, FLAG, AT(verbose), 0, 0, NULL,
      "print all, not the first few" },
    { OPT_HELP, running, "help", 'h', NULL, CMD_ALL, FLAG, AT(help), 0, 0, NULL, "print this; --version the version" },
    { OPT_VERSION, running, "version", 0, NULL, CMD_ALL, FLAG, AT(version), 0, 0, NULL, NULL },
};
enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

/* Options that deny each other. */
static const struct { option_id a, b; } contradictions[] = {
    { OPT_LOSSLESS, OPT_STRUCTURE }, { OPT_LOSSLESS, OPT_CRITERION }, { OPT_LOSSLESS, OPT_AMOUNT },
    { OPT_LOSSLESS, OPT_GLOBAL }, { OPT_LOSSLESS, OPT_TARGET_SIZE }, { OPT_LOSSLESS, OPT_POINTWISE },
    { OPT_ACCEPT, OPT_MAX_ERROR }, { OPT_ACCEPT, OPT_DRY_RUN }, { OPT_ACCEPT, OPT_OUT_DIR }, { OPT_ACCEPT, OPT_TARGET_SIZE },
    { OPT_LOSSLESS, OPT_ACCEPT }, { OPT_LOSSLESS, OPT_MAX_ERROR }, { OPT_LOSSLESS, OPT_CAST }, { OPT_LOSSLESS, OPT_DROP }, { OPT_LOSSLESS, OPT_DENSE },
    { OPT_NO_PRUNE, OPT_STRUCTURE }, { OPT_NO_PRUNE, OPT_CRITERION }, { OPT_NO_PRUNE, OPT_AMOUNT },
    { OPT_NO_PRUNE, OPT_GLOBAL }, { OPT_NO_PRUNE, OPT_TARGET_SIZE }, { OPT_NO_PRUNE, OPT_POINTWISE },
    { OPT_NO_BINARY, OPT_BINARY_TOL }, { OPT_NO_BINARY, OPT_BINARY_SHARE }, { OPT_AMOUNT, OPT_TARGET_SIZE },
    { OPT_REPORT, OPT_NO_REPORT }, { OPT_REPORT, OPT_OUT_DIR }, { OPT_DRY_RUN, OPT_OUT_DIR },
    { OPT_QUIET, OPT_VERBOSE },
    { OPT_PAPER, OPT_WEIGHTS }, { OPT_PAPER, OPT_RANGE }, { OPT_PAPER, OPT_HALF }, { OPT_PAPER, OPT_FLOAT16 },
    { OPT_PAPER, OPT_BINS }, { OPT_PAPER, OPT_ORDER },
};

static const option_row *find_row(const command *cmd, const char *name, size_t length)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if ((rows[i].commands & cmd->bit) && strlen(rows[i].name) == length && !memcmp(rows[i].name, name, length))
            return &rows[i];
    }
    return NULL;
}

static const char *name_of(option_id id)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].id == id) return rows[i].name;
    }
    return "";
}

const char *nearest_option(const command *cmd, const char *name, size_t length)
{
    const char *best = NULL;
    unsigned least = 99;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (!(rows[i].commands & cmd->bit)) continue;
        /* The beginning of a name was meant as an abbreviation. */
        bool begins = length >= 3 && !strncmp(rows[i].name, name, length);
        unsigned distance = begins ? 0 : edit_distance(name, length, rows[i].name);
        if (distance < least) best = rows[i].name, least = distance;
    }
    return best && is_near(least, length) ? best : NULL;
}

static int unknown_option(const command *cmd, const char *name, size_t length)
{
    char safe[SAFE_NAME];
    safe_text(safe, sizeof safe, name, length);
    const char *near = nearest_option(cmd, name, length);
    if (near) return fail_usage("unknown option '--%s'; did you mean '--%s'?", safe, near);
    for (const command *other = commands; other->name; other++) {
        if (find_row(other, name, length))
            return fail_usage("option '--%s' belongs to %s; see filterprune %s%s--help", safe,
                              other->name[0] ? other->name : "the main job", cmd->name, cmd->name[0] ? " " : "");
    }
    return fail_usage("unknown option '--%s'; see filterprune %s%s--help", safe, cmd->name, cmd->name[0] ? " " : "");
}

/* ---- values */

static int bad_value(const option_row *row, const char *wanted, const char *text)
{
    char safe[SAFE_NAME];
    return fail_usage("option '--%s' wants %s, not '%s'", row->name, wanted, safe_name(safe, text));
}

/* A decimal number and nothing else: no spaces, no hexadecimals, no nan. *rest is what follows the number. The program
 * never sets LC_NUMERIC, so strtod reads a point. */
static bool read_real(const char *text, double *value, const char **rest)
{
    if (!(*text >= '0' && *text <= '9') && *text != '.' && *text != '-') return false;
    if (strchr(text, 'x') || strchr(text, 'X')) return false;
    char *end;
    *value = strtod(text, &end);
    *rest = end;
    return end != text && isfinite(*value);
}

static int take_real(const option_row *row, const char *text, double *to)
{
    double value;
    const char *rest;
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a number from %g to %g", row->least, row->most);
    if (!read_real(text, &value, &rest) || *rest || !(value >= row->least && value <= row->most))
        return bad_value(row, wanted, text);
    *to = value;
    return EXIT_DONE;
}

static int take_whole(const option_row *row, const char *text, unsigned *to)
{
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a whole number from %g to %g", row->least, row->most);
    size_t digits = strspn(text, "0123456789");
    if (!digits || digits > 9 || text[digits]) return bad_value(row, wanted, text);
    unsigned long value = strtoul(text, NULL, 10);
    if ((double)value < row->least || (double)value > row->most) return bad_value(row, wanted, text);
    *to = (unsigned)value;
    return EXIT_DONE;
}

/* The index of text among the words of "a|b|c", or -1. */
static int find_word(const char *words, const char *text)
{
    size_t length = strlen(text);
    for (int i = 0;; i++) {
        size_t n = strcspn(words, "|");
        if (n == length && !memcmp(words, text, n)) return i;
        if (!words[n]) return -1;
        words += n + 1;
    }
}

static int take_bandwidth(const option_row *row, const char *text, fpr_options *job)
{
    double value;
    const char *rest;
    if (!strcmp(text, "silverman")) job->bandwidth = FPR_BANDWIDTH_SILVERMAN;
    else if (!strcmp(text, "scott")) job->bandwidth = FPR_BANDWIDTH_SCOTT;
    else if (read_real(text, &value, &rest) && !*rest && value > 0) {
        job->bandwidth = FPR_BANDWIDTH_FIXED;
        job->bandwidth_value = value;
    } else {
        return bad_value(row, "silverman, scott or a number above 0", text);
    }
    return EXIT_DONE;
}

static int take_size(const option_row *row, const char *text, settings *set)
{
    static const struct { const char *name; double bytes; } units[] = {
        { "B", 1 }, { "kB", 1e3 }, { "KB", 1e3 }, { "MB", 1e6 }, { "GB", 1e9 }, { "TB", 1e12 },
        { "KiB", 1024 }, { "MiB", 1048576 }, { "GiB", 1073741824 }, { "TiB", 1099511627776 },
    };
    static const char wanted[] = "bytes, such as 500000, 20MB or 20MiB, or a share of the input, such as 0.5";
    double value;
    const char *rest;
    if (!read_real(text, &value, &rest) || value <= 0) return bad_value(row, wanted, text);
    set->target_ratio = 0;
    set->job.target_bytes = 0;
    if (!*rest) {
        if (value <= 1) set->target_ratio = value;
        else set->job.target_bytes = value;
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(rest, units[i].name)) continue;
        set->job.target_bytes = value * units[i].bytes;
        return set->job.target_bytes >= 1 ? EXIT_DONE : bad_value(row, wanted, text);
    }
    return bad_value(row, wanted, text);
}

static int take_range(const option_row *row, const char *text, double *to)
{
    char *end;
    to[0] = strtod(text, &end);
    if (end == text || *end != ':') return bad_value(row, "two numbers, LO:HI", text);
    text = end + 1;
    to[1] = strtod(text, &end);
    if (end == text || *end || !isfinite(to[0]) || !isfinite(to[1]) || !(to[0] < to[1]))
        return bad_value(row, "two numbers, the lower one first", text);
    return EXIT_DONE;
}

static int take(const option_row *row, const char *text, settings *set)
{
    void *to = (char *)set + row->offset;
    set->given[row->id] = true;
    switch (row->kind) {
    case FLAG: *(bool *)to = true; return EXIT_DONE;
    case FLAG_OFF: *(bool *)to = false; return EXIT_DONE;
    case LOSSLESS: set->lossless = true; set->job.prune = set->job.binary = false; return EXIT_DONE;
    case REAL: return take_real(row, text, to);
    case WHOLE: return take_whole(row, text, to);
    case CHOICE: {
        int index = find_word(row->choices, text);
        if (index < 0) return bad_value(row, row->choices, text);
        *(unsigned *)to = (unsigned)index;
        return EXIT_DONE;
    }
    case BANDWIDTH: return take_bandwidth(row, text, &set->job);
    case RANGE: return take_range(row, text, to);
    case SIZE: return take_size(row, text, set);
    case TEXT:
        if (!*text) return bad_value(row, "a name", text);
        *(const char **)to = text;
        return EXIT_DONE;
    case PATTERN: {
        fpr_globs *globs = to;
        if (!*text) return bad_value(row, "a pattern", text);
        /* The list was made for as many patterns as there are arguments. */
        ((const char **)(uintptr_t)globs->patterns)[globs->count++] = text;
        return EXIT_DONE;
    }
    }
    return EXIT_DONE;
}

/* ---- the command line */

/* --name, --name=value or --name value. */
static int take_long(const command *cmd, const char *text, int *i, int argc, char **argv, settings *set)
{
    size_t length = strcspn(text, "=");
    const option_row *row = find_row(cmd, text, length);
    if (!row) return unknown_option(cmd, text, length);
    if (!row->value) {
        if (text[length]) return fail_usage("option '--%s' takes no value", row->name);
        return take(row, NULL, set);
    }
    if (text[length]) return take(row, text + length + 1, set);
    if (*i + 1 >= argc) return fail_usage("option '--%s' wants a value", row->name);
    return take(row, argv[++*i], set);
}

/* -fq, -j2 or -j 2. */
static int take_letters(const command *cmd, const char *letters, int *i, int argc, char **argv, settings *set)
{
    for (; *letters; letters++) {
        const option_row *row = NULL;
        for (size_t r = 0; r < ROW_COUNT && !row; r++) {
            if (rows[r].letter == *letters && (rows[r].commands & cmd->bit)) row = &rows[r];
        }
        if (!row) {
            char safe[SAFE_NAME];
            safe_text(safe, sizeof safe, letters, 1);
            return fail_usage("unknown option '-%s'; see filterprune %s%s--help", safe, cmd->name,
                              cmd->name[0] ? " " : "");
        }
        if (row->value) {
            if (letters[1]) return take(row, letters + 1, set);
            if (*i + 1 >= argc) return fail_usage("option '-%c' wants a value", row->letter);
            return take(row, argv[++*i], set);
        }
        int status = take(row, NULL, set);
        if (status) return status;
    }
    return EXIT_DONE;
}

static int check_contradictions(const settings *set)
{
    for (size_t i = 0; i < sizeof contradictions / sizeof contradictions[0]; i++) {
        if (set->given[contradictions[i].a] && set->given[contradictions[i].b])
            return fail_usage("--%s and --%s contradict each other", name_of(contradictions[i].a),
                              name_of(contradictions[i].b));
    }
    return EXIT_DONE;
}

int parse_arguments(const command *cmd, int argc, char **argv, settings *set)
{
    memset(set, 0, sizeof *set);
    fpr_options_init(&set->job);
    set->job.cancel = &interrupted;
    size_t room = (size_t)argc + 1;
    set->operands = malloc(7 * room * sizeof *set->operands);
    if (!set->operands) return fail_memory();
    set->job.only.patterns = set->operands + room;
    set->job.skip.patterns = set->operands + 2 * room;
    set->job.drop.patterns = set->operands + 3 * room;
    set->job.transposed.patterns = set->operands + 4 * room;
    set->by.patterns = set->operands + 5 * room;
    set->strip.patterns = set->operands + 6 * room;

    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        int status = EXIT_DONE;
        if (only_operands || text[0] != '-') set->operands[set->operand_count++] = text;
        else if (!text[1]) status = fail_usage("'-' is not supported: a checkpoint is read in many places");
        else if (text[1] != '-') status = take_letters(cmd, text + 1, &i, argc, argv, set);
        else if (text[2]) status = take_long(cmd, text + 2, &i, argc, argv, set);
        else only_operands = true;
        if (status) return status;
        if (set->help || set->version) return EXIT_DONE; /* whatever else is wrong */
    }
    for (int i = 0; i < set->operand_count; i++) {
        if (!set->operands[i][0]) return fail_usage("a file name is empty");
    }
    if (set->given[OPT_MAX_ERROR] && !(set->job.max_error > 0)) set->job.prune = set->job.binary = false; /* no error at all */
    return check_contradictions(set);
}

void free_arguments(settings *set)
{
    free(set->operands);
    set->operands = NULL;
}

/* ---- help */

void print_options(FILE *out, const command *cmd)
{
    const char *section = NULL;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const option_row *row = &rows[i];
        if (!(row->commands & cmd->bit) || !row->help) continue;
        if (!cmd->name[0] && row->section != section) fprintf(out, "%s\n", row->section);
        section = row->section;
        char left[40], letter[8] = "";
        if (row->letter) snprintf(letter, sizeof letter, "-%c,", row->letter);
        snprintf(left, sizeof left, "  %3s --%s%s%s", letter, row->name, row->value ? " " : "",
                 row->value ? row->value : "");
        fprintf(out, "%-25s %s%s%s\n", left, row->choices ? row->choices : "", row->choices ? ": " : "", row->help);
    }
}

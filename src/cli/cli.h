/* The program: reads the command line, calls the library, prints. It uses nothing of the library but its public
 * header, computes no statistics and touches no checkpoint itself.
 *
 * main.c       start and end
 * commands.c   the table of commands
 * signals.c    signals, as a flag
 * arguments.c  the table of options: parsing, and what --help says of each
 * help.c       --help, --version
 * misspelt.c   how far a misspelt name is from one that there is
 * message.c    the one line that every failure prints; standard output that may fail
 * terminal.c   what the terminal can show; names made safe to print; numbers for people
 * table.c      aligned columns for any width
 * progress.c   the bar, or lines for scripts
 * paths.c      names of files
 * pages.c      report files: refused or written whole
 * summary.c    what a report says in a terminal
 * statement.c  what a file says of its making
 * prune_one.c  the main job on one input
 * many.c       the same on many in one call
 * cmd_*.c      one command each */
#ifndef FPR_CLI_H
#define FPR_CLI_H

#include "filterprune.h"

#include <stdio.h>

#if defined(__GNUC__)
#define CLI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define CLI_PRINTF(text, first)
#endif

enum { EXIT_DONE = 0, EXIT_MACHINE = 1, EXIT_USAGE = 2, EXIT_INVALID = 3, EXIT_REFUSED = 4, EXIT_DIFFERENT = 5 };

/* ---- commands and options */

/* Bits, so that an option can name all commands that take it. */
enum { CMD_PRUNE = 1, CMD_INSPECT = 2, CMD_COMPARE = 4, CMD_UNPACK = 8, CMD_VERIFY = 16, CMD_INFO = 32, CMD_EXPORT = 64, CMD_CONVERT = 128,
       CMD_PROFILE = 256, CMD_CORPUS = 512, CMD_DIFF = 1024, CMD_ALL = 2047 };

typedef enum option_id {
    OPT_TRANSPOSED, OPT_STRIP, OPT_DEAD, OPT_FILES_FROM, OPT_SKIP_EXISTING, OPT_STRICT,
    OPT_STRUCTURE, OPT_CRITERION, OPT_EPS, OPT_AMOUNT, OPT_GLOBAL, OPT_TARGET_SIZE, OPT_ONLY, OPT_SKIP, OPT_POINTWISE,
    OPT_NO_PRUNE, OPT_BINARY_TOL, OPT_BINARY_SHARE, OPT_NO_BINARY, OPT_MAX_ERROR, OPT_ACCEPT, OPT_SWEEP, OPT_LOSSLESS, OPT_DENSE, OPT_POOL, OPT_LEVEL, OPT_CAST,
    OPT_DROP, OPT_OUT_DIR, OPT_OUT, OPT_TABLE, OPT_LAYERS, OPT_BY, OPT_REPORT, OPT_NO_REPORT, OPT_DRY_RUN, OPT_KERNEL, OPT_BASIS, OPT_LAYOUT, OPT_BINS,
    OPT_BANDWIDTH, OPT_HALF, OPT_SPECTRA, OPT_FLOAT16, OPT_ORDER, OPT_PAPER, OPT_WEIGHTS, OPT_RANGE, OPT_CSV, OPT_BITS, OPT_GRAPH, OPT_KEEP_CHANNELS, OPT_INPUT_SIZE, OPT_KEY, OPT_ALLOW_EXPAND, OPT_JSON, OPT_HTML, OPT_FORCE, OPT_THREADS, OPT_PROGRESS, OPT_QUIET, OPT_VERBOSE,
    OPT_HELP, OPT_VERSION, OPT_COUNT
} option_id;

enum { PROGRESS_BAR, PROGRESS_LINES, PROGRESS_NONE }; /* --progress */

typedef struct settings {
    fpr_options job;
    double target_ratio;   /* --target-size as a share of the input, or 0 */
    bool lossless;
    const char *report;    /* --report STEM, or NULL */
    bool no_report;
    bool sweep;            /* inspect --sweep */
    const char *accept;    /* --accept COMMAND, or NULL */
    const char *out_dir;   /* batch, or NULL */
    const char *files_from; /* batch: a file of more INPUTs, one a line */
    bool skip_existing, strict;
    bool dead;             /* inspect: list dead filters and channels */
    fpr_globs strip;       /* diff: beginnings of names */
    const char *table, *layers; /* corpus */
    fpr_globs by;          /* corpus: columns */
    const char *kernel, *basis, *html, *csv;
    unsigned bits;         /* the only order so far: lce */
    unsigned progress;
    bool json, quiet, verbose, help, version;
    bool given[OPT_COUNT];
    const char **operands; /* owned, in one block with the lists of patterns */
    int operand_count;
} settings;

typedef struct command {
    const char *name;     /* "" is the main job */
    unsigned bit;
    int least, most;      /* operands */
    const char *operands; /* as an error message names them */
    const char *usage, *about, *examples;
    int (*run)(const settings *set);
} command;

extern const command commands[]; /* ends with a NULL name; the main job is first */
const command *find_command(const char *name);

int cmd_prune(const settings *set);
int cmd_inspect(const settings *set);
int cmd_compare(const settings *set);
int cmd_unpack(const settings *set);
int cmd_convert(const settings *set);
int cmd_verify(const settings *set);
int cmd_info(const settings *set);
int cmd_diff(const settings *set);
int cmd_export(const settings *set);
int cmd_profile(const settings *set);
int cmd_corpus(const settings *set);
/* How the processes of a corpus talk; NULL but in filterprune-mpi. */
extern const fpr_exchange *corpus_exchange;
int run_batch(const settings *set);
/* accept.c: finds max_error and eps, and says in *job what was tried; the caller frees *trials. */
int accept_settle(const settings *set, const char *input, const char *output, fpr_options *job, fpr_trial **trials);

/* Reads argv[0 .. argc-1], what follows the command's name. EXIT_DONE, or EXIT_USAGE with the line printed. */
int parse_arguments(const command *cmd, int argc, char **argv, settings *set);
void free_arguments(settings *set);
/* The lines of --help that list the options of a command. */
void print_options(FILE *out, const command *cmd);
/* The option of this command whose name is nearest to name, or NULL when none is near. */
const char *nearest_option(const command *cmd, const char *name, size_t length);

int print_help(const command *cmd);
int print_version(void);
/* How many letters to add, drop, change or swap to make b of a; for short names. */
unsigned edit_distance(const char *a, size_t length, const char *b);
/* Whether so many edits may be a slip of the fingers in a name of this length. */
bool is_near(unsigned distance, size_t length);

/* Non-zero once SIGINT, SIGTERM or SIGHUP came; jobs stop soon after. */
extern volatile int interrupted;
extern volatile int may_be_killed; /* a signal may end the program at once: nothing is being written */
void catch_signals(void);
void end_by_signal(int number);

int main(int argc, char **argv); /* under another name in filterprune-mpi */

/* ---- messages */

/* Prints the line "filterprune: FILE: what is wrong (where)" and returns the exit status. file serves where the error
 * names none; NULL for none. */
int fail(const fpr_error *error, const char *file);
int fail_text(int exit_status, const char *file, const char *format, ...) CLI_PRINTF(3, 4);
int fail_usage(const char *format, ...) CLI_PRINTF(1, 2);
int fail_memory(void);
/* "filterprune: warning: FILE: text". */
void warn(const char *file, const char *text);
/* Flushes standard output; returns exit_status, or EXIT_MACHINE with a line when something could not be written. */
int finish_stdout(int exit_status);
/* An fpr_write to a FILE *. */
int write_to_stream(void *stream, const void *bytes, size_t count);

/* ---- terminal */

typedef struct terminal {
    FILE *out;
    bool is_terminal;
    bool color;
    bool utf8;
    unsigned width;
} terminal;

terminal terminal_for(FILE *out);
typedef enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD } style;
const char *style_on(const terminal *term, style s); /* "" without colour */
const char *style_off(const terminal *term);

const char *dots(const terminal *term);
const char *arrow(const terminal *term);

#define SAFE_NAME 512
/* Writes n bytes of a name that may hold anything so that it is one line of plain text: control characters, terminal
 * escapes, invalid UTF-8 and characters that reorder or hide text become \n, \xNN or \u{N}. Returns dst. */
char *safe_text(char *dst, size_t size, const char *src, size_t n);
char *safe_name(char dst[SAFE_NAME], const char *src);
/* Columns that text takes; text is safe. */
unsigned text_width(const char *text);
/* Shorten safe text in the middle, or at its end, to at most width columns, in place. */
void shorten(char *text, unsigned width);
void shorten_end(char *text, unsigned width);
/* A sentence of any text, made safe, in lines that fit. */
void print_wrapped(const terminal *term, const char *text, unsigned indent);

#define NUMBER_TEXT 40
char *number_count(char dst[NUMBER_TEXT], uint64_t n);      /* 1,257,472 */
char *number_bytes(char dst[NUMBER_TEXT], double n);        /* 94.4 MB */
char *number_share(char dst[NUMBER_TEXT], double share);    /* 1.03 % */
char *number_seconds(char dst[NUMBER_TEXT], double seconds); /* 0.12 s, 3:05 */
char *number_plain(char dst[NUMBER_TEXT], double x);        /* three digits; "-" for NaN; 0 below 1e-12 */
char *number_weight(char dst[NUMBER_TEXT], double x);       /* the same of what may be as small as weights are */
char *number_figure(char dst[NUMBER_TEXT], fpr_figure_kind kind, double x);
#define SHAPE_TEXT 128
const char *layout_name(fpr_layout layout); /* "OIHW" */
char *shape_text(char dst[SHAPE_TEXT], const uint64_t *shape, unsigned rank); /* 64x3x3x3 */
double seconds_now(void);

/* ---- tables: the first column holds names and is shortened when the width does not suffice; then whole columns go,
 * the one of highest `rank` first (rank 0 stays). */

typedef struct column { const char *title; bool right; unsigned rank; } column;
typedef struct table table;
table *table_new(const column *columns, size_t count); /* NULL without memory; the columns are borrowed */
void table_cell(table *t, const char *format, ...) CLI_PRINTF(2, 3); /* the next cell, row after row */
void table_print(const table *t, const terminal *term, unsigned indent);
void table_free(table *t);

/* ---- progress */

typedef struct progress {
    terminal term;
    bool wanted, shown, lines;
    double start, drawn;
    const char *label; /* shown before the phase; may be NULL */
} progress;
void progress_begin(progress *bar, const settings *set, fpr_options *job, const char *label);
void progress_end(progress *bar); /* erases it */

/* ---- names of files */

/* Both return what the caller frees, or NULL without memory. */
char *join_text(const char *a, const char *b, const char *c);
char *join_path(const char *directory, const char *name);
const char *base_name(const char *path);
bool ends_with(const char *text, const char *end);
/* Whether two paths name one file, or would if it were there. */
bool is_same_place(const char *a, const char *b);
/* Takes off what makes a path that of an index, and leaves NAME or NAME.VARIANT; whether it was one. */
bool strip_index(char *path);
bool strip_end(char *text, const char *end); /* whether it had that end, and more than it */

/* ---- inputs.c: the inputs of a batch, and where their outputs go */

typedef struct batch_input { char *path, *output; } batch_input;
typedef struct batch_inputs {
    batch_input *list;
    char **shards; /* of the indices in folders, sorted: no inputs of their own */
    size_t shard_count, shard_room;
    size_t count, room;
} batch_inputs;
/* Operands, folders among them taken whole, and the lines of --files-from. Outputs keep the folders below the deepest
 * one that all inputs share. EXIT_DONE, or the line is printed. */
int collect_inputs(const settings *set, batch_inputs *inputs);
void free_inputs(batch_inputs *inputs);
/* Makes the folders that lead to a file. */
int make_folders(const char *path);

/* ---- pages */

typedef struct page {
    char *path, *temporary;
    FILE *stream;
    bool force;
} page;
/* Whether a page may be written there: EXIT_DONE, or the exit status with the line printed. Never over the input, a
 * checkpoint or anything that is no regular file; over another file only with force. input may be NULL. */
int page_check(const char *path, const char *input, bool force);
int page_open(page *p, const char *path, const char *input, bool force);
/* Renames the page into place (page_commit) or removes it (page_abandon). Both leave *p closed. */
int page_commit(page *p);
void page_abandon(page *p);

/* ---- summaries */

typedef struct page_names { const char *html, *json; } page_names; /* report files, NULL when there are none */
void print_spectra(const fpr_report *report, bool all, const terminal *term); /* spectra.c */
void print_summary(const fpr_report *report, const settings *set, double seconds, page_names pages,
                   const terminal *term);
void print_dead(const fpr_report *report, const terminal *term); /* indices of dead filters and channels */
void print_warnings(const fpr_report *report); /* to standard error, one line each */

/* ---- what a file says of its making */

void print_statement(const fpr_statement *statement, const terminal *term);
void print_stated_changes(const fpr_statement *statement, bool all, const terminal *term);
/* What of another format's file is not read, and why; only some names unless all are wanted. */
void print_left_out(const fpr_model *model, bool all, const terminal *term);
void print_how_to_load(const terminal *term, const char *path); /* the three ways, on one line */

/* ---- the main job, shared by cmd_prune.c and many.c */

typedef struct outcome {
    fpr_report *report; /* NULL after a failure; the caller frees it */
    char *html, *json;  /* paths written, or NULL; the caller frees them */
    double seconds;
} outcome;
int run_prune(const settings *set, const char *input, const char *output, const char *label, outcome *result);

#endif

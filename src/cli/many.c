/* Many inputs in one call: each gets its output and report in one directory, a bad one does not stop the rest. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct entry {
    char *output; /* path */
    int status;
    uint64_t bytes_before, bytes_after, kernels, live, binary_layers;
    double seconds;
    bool has_report;
} entry;

/* A file keeps its name; a sharded checkpoint becomes a directory named after its index. */
static char *output_for(const char *directory, const char *input)
{
    char *path = join_path(directory, base_name(input));
    if (path && strip_end(path, ".index.json")) strip_end(path, ".safetensors");
    return path;
}

static int prepare(const settings *set, entry *entries)
{
    struct stat is;
    for (int i = 0; i < set->operand_count; i++) {
        entries[i].output = output_for(set->out_dir, set->operands[i]);
        if (!entries[i].output) return fail_memory();
        for (int j = 0; j < i; j++) {
            if (!strcmp(entries[i].output, entries[j].output)) {
                char a[SAFE_NAME], b[SAFE_NAME], c[SAFE_NAME];
                return fail_usage("%s and %s would both become %s", safe_name(a, set->operands[j]),
                                  safe_name(b, set->operands[i]), safe_name(c, entries[i].output));
            }
        }
    }
    if (stat(set->out_dir, &is) == 0) {
        if (!S_ISDIR(is.st_mode)) return fail_text(EXIT_REFUSED, set->out_dir, "exists and is no directory");
    } else if (mkdir(set->out_dir, 0777) != 0) {
        return fail_text(EXIT_MACHINE, set->out_dir, "cannot be made: %s", strerror(errno));
    }
    return EXIT_DONE;
}

static void run_one(const settings *set, int i, entry *e)
{
    outcome result;
    char label[80];
    snprintf(label, sizeof label, "%d of %d, %.40s", i + 1, set->operand_count, base_name(set->operands[i]));
    e->status = run_prune(set, set->operands[i], e->output, label, &result);
    if (e->status) return;
    const fpr_report *r = result.report;
    e->bytes_before = r->input_bytes;
    e->bytes_after = r->output_bytes;
    for (size_t g = 0; g < r->group_count; g++) {
        if (r->groups[g].k < 2) continue; /* a single weight is no kernel to be dead */
        e->kernels += r->groups[g].kernels;
        e->live += r->groups[g].live;
    }
    for (uint64_t l = 0; l < r->layer_count; l++) e->binary_layers += r->layers[l].binary.scope != FPR_SCOPE_NONE;
    e->seconds = result.seconds;
    e->has_report = result.html != NULL;
    fpr_report_free(result.report);
    free(result.json);
    free(result.html);
}

/* NaN, shown as "-", where there is nothing to have a share of. */
static double share_of(uint64_t part, uint64_t whole) { return whole ? (double)part / (double)whole : NAN; }

static const char *status_text(int status)
{
    static const char *const names[] = { "done", "failed", "failed", "invalid", "refused", "differs" };
    return names[status];
}

static void print_table(const settings *set, const entry *entries, const terminal *term)
{
    static const column columns[] = {
        { "checkpoint", false, 0 }, { "result", false, 0 }, { "before", true, 1 }, { "after", true, 0 },
        { "share", true, 0 }, { "kernels", true, 4 }, { "live", true, 2 }, { "binary layers", true, 5 },
        { "time", true, 3 },
    };
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (int i = 0; i < set->operand_count; i++) {
        const entry *e = &entries[i];
        char name[SAFE_NAME], a[NUMBER_TEXT];
        bool done = e->status == EXIT_DONE;
        table_cell(t, "%s", safe_name(name, base_name(set->operands[i])));
        table_cell(t, "%s", status_text(e->status));
        table_cell(t, "%s", done ? number_bytes(a, (double)e->bytes_before) : "");
        table_cell(t, "%s", done ? number_bytes(a, (double)e->bytes_after) : "");
        table_cell(t, "%s", done ? number_share(a, share_of(e->bytes_after, e->bytes_before)) : "");
        table_cell(t, "%s", done ? number_count(a, e->kernels) : "");
        table_cell(t, "%s", done ? number_share(a, share_of(e->live, e->kernels)) : "");
        table_cell(t, "%s", done ? number_count(a, e->binary_layers) : "");
        table_cell(t, "%s", done ? number_seconds(a, e->seconds) : "");
    }
    table_print(t, term, 0);
    table_free(t);
}

/* ---- index.html */

static void put_text(FILE *out, const char *text)
{
    char safe[SAFE_NAME];
    for (const char *s = safe_name(safe, text); *s; s++) {
        if (*s == '&') fputs("&amp;", out);
        else if (*s == '<') fputs("&lt;", out);
        else if (*s == '>') fputs("&gt;", out);
        else fputc(*s, out);
    }
}

/* A file name as a relative link: every byte but the unreserved ones of RFC 3986 is written %XX. */
static void put_link(FILE *out, const char *name)
{
    for (const unsigned char *s = (const unsigned char *)name; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
                     strchr("-._~/", *s);
        fprintf(out, plain ? "%c" : "%%%02X", *s);
    }
}

static void put_row(FILE *out, const settings *set, int i, const entry *e)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT], d[NUMBER_TEXT];
    fputs("<tr><th scope=\"row\">", out);
    if (e->has_report) {
        /* The report lies beside OUTPUT, or in it when that is a directory of shards. */
        char *stem = strdup(base_name(e->output));
        bool sharded = stem && !strip_end(stem, ".safetensors") && ends_with(set->operands[i], ".index.json");
        fputs("<a href=\"./", out);
        if (sharded) put_link(out, stem), fputc('/', out);
        put_link(out, stem ? stem : "");
        fputs(".report.html\">", out);
        put_text(out, set->operands[i]);
        fputs("</a>", out);
        free(stem);
    } else {
        put_text(out, set->operands[i]);
    }
    if (e->status) {
        fprintf(out, "</th><td class=\"bad\">%s</td><td></td><td></td><td></td><td></td><td></td><td></td></tr>\n",
                status_text(e->status));
        return;
    }
    fprintf(out, "</th><td>done</td><td>%s</td><td>%s</td><td>%s</td>", number_count(a, e->bytes_before),
            number_count(b, e->bytes_after),
            number_share(c, share_of(e->bytes_after, e->bytes_before)));
    fprintf(out, "<td>%s</td><td>%s</td><td>%s</td></tr>\n", number_count(a, e->kernels),
            number_share(d, share_of(e->live, e->kernels)), number_count(b, e->binary_layers));
}

static int write_index(const settings *set, const entry *entries, const char *path)
{
    static const char head[] =
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
        "<title>filterprune: checkpoints</title>\n<style>\n"
        ":root { color-scheme: light dark; }\n"
        "body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }\n"
        "div { overflow-x: auto; }\n"
        "table { border-collapse: collapse; font-variant-numeric: tabular-nums; }\n"
        "caption { text-align: left; padding-bottom: .5rem; }\n"
        "th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #8886; }\n"
        "th:first-child, td:nth-child(2), th:nth-child(2) { text-align: left; }\n"
        "tbody th { font-weight: normal; overflow-wrap: anywhere; }\n"
        ".bad { font-weight: bold; }\n"
        "</style>\n</head>\n<body>\n<main>\n<h1>Checkpoints</h1>\n<div tabindex=\"0\" role=\"region\" "
        "aria-label=\"Checkpoints\">\n<table>\n";
    page p;
    int done = 0, status = page_open(&p, path, NULL, set->job.force);
    if (status) return status;
    for (int i = 0; i < set->operand_count; i++) done += entries[i].status == EXIT_DONE;
    fputs(head, p.stream);
    fprintf(p.stream,
            "<caption>%d of %d done by filterprune %s; each name leads to its report. Sizes in bytes.</caption>\n",
            done, set->operand_count, fpr_version());
    fputs("<thead><tr><th scope=\"col\">Checkpoint</th><th scope=\"col\">Result</th><th scope=\"col\">Before</th>"
          "<th scope=\"col\">After</th><th scope=\"col\">Share</th><th scope=\"col\">Kernels</th>"
          "<th scope=\"col\">Live</th><th scope=\"col\">Binary-like layers</th></tr></thead>\n<tbody>\n", p.stream);
    for (int i = 0; i < set->operand_count; i++) put_row(p.stream, set, i, &entries[i]);
    fputs("</tbody>\n</table>\n</div>\n</main>\n</body>\n</html>\n", p.stream);
    return page_commit(&p);
}

/* The machine's failure weighs most, then an invalid input, then what was refused. */
static int worse(int a, int b)
{
    static const int weight[] = { 0, 5, 1, 4, 3, 2 };
    return weight[a] >= weight[b] ? a : b;
}

int run_batch(const settings *set)
{
    size_t count = (size_t)set->operand_count;
    entry *entries = calloc(count, sizeof *entries);
    char *index = join_path(set->out_dir, "index.html");
    int status = entries && index ? prepare(set, entries) : fail_memory(), worst = EXIT_DONE;
    if (!status && !set->no_report) status = page_check(index, NULL, set->job.force);
    if (!status) {
        for (int i = 0; i < set->operand_count && !interrupted; i++) {
            run_one(set, i, &entries[i]);
            worst = worse(worst, entries[i].status);
        }
        if (interrupted) worst = EXIT_MACHINE;
        else {
            if (!set->no_report) worst = worse(worst, write_index(set, entries, index));
            terminal term = terminal_for(stderr);
            if (!set->quiet) print_table(set, entries, &term);
        }
    }
    for (size_t i = 0; entries && i < count; i++) free(entries[i].output);
    free(entries);
    free(index);
    return status ? status : worst;
}

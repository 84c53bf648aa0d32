/* Many inputs in one call: each gets its output and report in one directory, a bad one does not stop the rest. */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct entry {
    int status;
    bool skipped;
    uint64_t bytes_before, bytes_after, warnings;
    double seconds, worst; /* largest relative error */
    fpr_changes changes;   /* the numbers alone: what it points to is gone */
    char *report;          /* the path of its page; NULL */
} entry;

static int prepare(const settings *set)
{
    struct stat is;
    if (stat(set->out_dir, &is) == 0) {
        if (!S_ISDIR(is.st_mode)) return fail_text(EXIT_REFUSED, set->out_dir, "exists and is no directory");
    } else if (mkdir(set->out_dir, 0777) != 0) {
        return fail_text(EXIT_MACHINE, set->out_dir, "cannot be made: %s", strerror(errno));
    }
    return EXIT_DONE;
}

/* What gained nothing is the input itself, or its tensors where that is of another format. */
static bool is_same(const batch_input *in, const fpr_model *input, const fpr_model *made, const fpr_options *job)
{
    char sum[33], of_output[33];
    fpr_error error;
    if (!strcmp(fpr_model_format(input), fpr_model_format(made)))
        return fpr_model_bytes(input) == fpr_model_bytes(made) && fpr_model_sum(input, sum, &error) == FPR_OK &&
               fpr_model_sum(made, of_output, &error) == FPR_OK && !strcmp(sum, of_output);
    fpr_differences *d = NULL;
    const bool same = fpr_diff(in->path, in->output, NULL, 0, job, &d, &error) == FPR_OK;
    fpr_differences_free(d);
    return same;
}

/* Whether the output is there and says that it was made of this very input. Of shards, the index in the folder is asked. */
static bool is_made_of(const batch_input *in, const fpr_options *job)
{
    char sum[33];
    struct stat is;
    fpr_model *made = NULL, *input = NULL;
    fpr_statement *s = NULL;
    fpr_error error;
    bool same = false;
    if (stat(in->output, &is) != 0) return false;
    if (fpr_model_open(in->output, &made, &error) == FPR_OK && fpr_model_statement(made, &s, &error) == FPR_OK &&
        fpr_model_open_with(in->path, job, &input, &error) == FPR_OK)
        same = !s->input_xxh3_128[0] ? is_same(in, input, made, job)
                                     : fpr_model_bytes(input) == s->input_bytes &&
                                           fpr_model_sum(input, sum, &error) == FPR_OK && !strcmp(sum, s->input_xxh3_128);
    fpr_statement_free(s);
    fpr_model_close(input);
    fpr_model_close(made);
    return same;
}

static void run_one(const settings *set, const batch_inputs *in, size_t i, entry *e)
{
    outcome result;
    char label[100];
    const batch_input *one = &in->list[i];
    settings own = *set;
    /* net.onnx may lie beside net.safetensors: its report is net.onnx.report. */
    if (ends_with(one->output, ".onnx") && !set->no_report && !set->job.dry_run) own.report = one->output;
    if (set->skip_existing && is_made_of(one, &set->job)) {
        e->skipped = true;
        return;
    }
    snprintf(label, sizeof label, "%zu of %zu, %.40s", i + 1, in->count, base_name(one->path));
    e->status = make_folders(one->output);
    if (!e->status) e->status = run_prune(&own, one->path, one->output, label, &result);
    if (e->status) return;
    const fpr_report *r = result.report;
    e->bytes_before = fpr_report_compared_bytes(r);
    e->bytes_after = r->output_bytes;
    e->changes = r->changes;
    e->worst = r->changes.worst_name ? r->changes.worst_relative_l2 : 0;
    e->changes.worst_name = NULL;
    e->changes.wholly_zero = NULL;
    e->warnings = r->warning_count;
    e->seconds = result.seconds;
    e->report = result.html;
    if (!set->quiet) print_warnings(r);
    if (set->strict && r->warning_count)
        e->status = fail_text(EXIT_MACHINE, one->path, "%zu warnings, and --strict makes them a failure", r->warning_count);
    fpr_report_free(result.report);
    free(result.json);
}

/* NaN, shown as "-", where there is nothing to have a share of. */
static double share_of(uint64_t part, uint64_t whole) { return whole ? (double)part / (double)whole : NAN; }

static const char *status_text(const entry *e)
{
    static const char *const names[] = { "done", "failed", "failed", "invalid", "refused", "differs" };
    return e->skipped ? "was done" : names[e->status];
}

/* All that are done, together. */
static entry total_of(const entry *entries, size_t count)
{
    entry all = { 0 };
    for (size_t i = 0; i < count; i++) {
        const entry *e = &entries[i];
        all.bytes_before += e->bytes_before;
        all.bytes_after += e->bytes_after;
        all.changes.kernels += e->changes.kernels;
        all.changes.kernels_zeroed += e->changes.kernels_zeroed;
        all.changes.live_before += e->changes.live_before;
        all.changes.live_after += e->changes.live_after;
        all.changes.binary_layers += e->changes.binary_layers;
        all.warnings += e->warnings;
        all.seconds += e->seconds;
        if (e->worst > all.worst) all.worst = e->worst;
    }
    return all;
}

static void add_row(table *t, const char *name, const char *result, const entry *e, bool done)
{
    char safe[SAFE_NAME], a[NUMBER_TEXT];
    const fpr_changes *c = &e->changes;
    table_cell(t, "%s", safe_name(safe, name));
    table_cell(t, "%s", result);
    table_cell(t, "%s", done ? number_bytes(a, (double)e->bytes_before) : "");
    table_cell(t, "%s", done ? number_bytes(a, (double)e->bytes_after) : "");
    table_cell(t, "%s", done ? number_share(a, share_of(e->bytes_after, e->bytes_before)) : "");
    table_cell(t, "%s", done ? number_count(a, c->kernels_zeroed) : "");
    table_cell(t, "%s", done ? number_share(a, e->worst) : "");
    table_cell(t, "%s", done ? number_share(a, share_of(c->live_before, c->kernels)) : "");
    table_cell(t, "%s", done ? number_share(a, share_of(c->live_after, c->kernels)) : "");
    table_cell(t, "%s", done ? number_count(a, c->binary_layers) : "");
    table_cell(t, "%s", done ? number_count(a, e->warnings) : "");
    table_cell(t, "%s", done ? number_seconds(a, e->seconds) : "");
}

static void print_table(const batch_inputs *in, const entry *entries, const terminal *term)
{
    static const column columns[] = {
        { "checkpoint", false, 0 }, { "result", false, 0 }, { "before", true, 1 }, { "after", true, 0 },
        { "share", true, 2 }, { "zeroed", true, 0 }, { "largest error", true, 0 }, { "live before", true, 3 },
        { "live after", true, 2 }, { "binary layers", true, 6 }, { "warnings", true, 4 }, { "time", true, 5 },
    };
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < in->count; i++)
        add_row(t, in->list[i].path, status_text(&entries[i]), &entries[i],
                !entries[i].skipped && entries[i].bytes_before > 0);
    entry all = total_of(entries, in->count);
    if (in->count > 1) add_row(t, "all", "", &all, true);
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

static void put_cells(FILE *out, const entry *e)
{
    char a[NUMBER_TEXT];
    const fpr_changes *c = &e->changes;
    fprintf(out, "<td>%s</td>", number_count(a, e->bytes_before));
    fprintf(out, "<td>%s</td>", number_count(a, e->bytes_after));
    fprintf(out, "<td>%s</td>", number_share(a, share_of(e->bytes_after, e->bytes_before)));
    fprintf(out, "<td>%s</td>", number_count(a, c->kernels));
    fprintf(out, "<td>%s</td>", number_count(a, c->kernels_zeroed));
    fprintf(out, "<td>%s</td>", number_share(a, e->worst));
    fprintf(out, "<td>%s</td>", number_share(a, share_of(c->live_before, c->kernels)));
    fprintf(out, "<td>%s</td>", number_share(a, share_of(c->live_after, c->kernels)));
    fprintf(out, "<td>%s</td>", number_count(a, c->binary_layers));
    fprintf(out, "<td>%s</td>", number_count(a, e->warnings));
}

/* From the index page, which lies in the folder that all reports are below. */
static void put_report_link(FILE *out, const settings *set, const entry *e)
{
    const char *below = e->report + strlen(set->out_dir);
    fputs("./", out);
    put_link(out, below + strspn(below, "/"));
}

static void put_row(FILE *out, const settings *set, const batch_input *in, const entry *e)
{
    fputs("<tr><th scope=\"row\" class=\"left\">", out);
    if (e->report) {
        fputs("<a href=\"", out);
        put_report_link(out, set, e);
        fputs("\">", out);
    }
    put_text(out, in->path);
    if (e->report) fputs("</a>", out);
    fprintf(out, "</th><td class=\"left\">%s</td>", status_text(e));
    if (e->bytes_before && !e->skipped) put_cells(out, e);
    else for (unsigned i = 0; i < 10; i++) fputs("<td></td>", out);
    fputs("</tr>\n", out);
}

static void put_html(FILE *out, const settings *set, const batch_inputs *in, const entry *entries)
{
    static const char *const titles[] = { "Bytes before", "Bytes after", "Left", "Kernels", "Became zero", "Largest error",
                                          "Live before", "Live after", "Binary-like layers", "Warnings" };
    size_t good = 0, failed = 0;
    for (size_t i = 0; i < in->count; i++) failed += entries[i].status != EXIT_DONE, good += entries[i].status == EXIT_DONE;
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<title>filterprune: checkpoints</title>\n<style>\n%s</style>\n</head>\n<body>\n"
            "<header>\n<p class=\"kicker\">filterprune batch</p>\n<h1>Checkpoints</h1>\n"
            "<p class=\"lede%s\">%zu of %zu done by filterprune %s; %zu failed.</p>\n</header>\n<main id=\"main\">\n"
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Checkpoints\">\n<table class=\"sortable\">\n"
            "<caption>Each name leads to its report. Kernels: of all convolution layers, 1x1 counted, too.</caption>\n"
            "<thead><tr><th scope=\"col\" class=\"left\">Checkpoint</th><th scope=\"col\" class=\"left\">Result</th>",
            fpr_page_style(), failed ? " test" : "", good, in->count, fpr_version(), failed);
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) fprintf(out, "<th scope=\"col\">%s</th>", titles[i]);
    fputs("</tr></thead>\n<tbody>\n", out);
    for (size_t i = 0; i < in->count; i++) put_row(out, set, &in->list[i], &entries[i]);
    entry all = total_of(entries, in->count);
    fputs("</tbody>\n<tfoot><tr><th scope=\"row\" class=\"left\">All</th><td></td>", out);
    put_cells(out, &all);
    fprintf(out, "</tr></tfoot>\n</table>\n</div>\n</main>\n<script>\n%s</script>\n</body>\n</html>\n", fpr_page_script());
}

/* ---- index.json and index.csv: paths are strings of JSON, where what is no UTF-8 becomes a question mark */

static void put_quoted(FILE *out, const char *text, bool csv)
{
    fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (*s == '"') fputs(csv ? "\"\"" : "\\\"", out);
        else if (*s == '\\' && !csv) fputs("\\\\", out);
        else if (*s < 0x20) fprintf(out, csv ? " " : "\\u%04x", *s);
        else fputc(*s, out);
    }
    fputc('"', out);
}

static void put_json(FILE *out, const settings *set, const batch_inputs *in, const entry *entries)
{
    (void)set;
    fputs("{\"schema\": \"filterprune-index-1\", \"checkpoints\": [", out);
    for (size_t i = 0; i < in->count; i++) {
        const entry *e = &entries[i];
        const fpr_changes *c = &e->changes;
        fputs(i ? ",\n{\"input\": " : "\n{\"input\": ", out);
        put_quoted(out, in->list[i].path, false);
        fputs(", \"output\": ", out);
        put_quoted(out, in->list[i].output, false);
        fprintf(out, ", \"result\": \"%s\", \"status\": %d, \"bytes_before\": %llu, \"bytes_after\": %llu, \"kernels\": %llu, "
                "\"kernels_zeroed\": %llu, \"live_before\": %llu, \"live_after\": %llu, \"binary_layers\": %llu, "
                "\"warnings\": %llu, \"worst_relative_l2\": ", status_text(e), e->status,
                (unsigned long long)e->bytes_before, (unsigned long long)e->bytes_after, (unsigned long long)c->kernels,
                (unsigned long long)c->kernels_zeroed, (unsigned long long)c->live_before,
                (unsigned long long)c->live_after, (unsigned long long)c->binary_layers, (unsigned long long)e->warnings);
        fprintf(out, isfinite(e->worst) ? "%.17g}" : "null}", e->worst);
    }
    fputs("\n]}\n", out);
}

static void put_csv(FILE *out, const settings *set, const batch_inputs *in, const entry *entries)
{
    (void)set;
    fputs("input,output,result,bytes_before,bytes_after,kernels,kernels_zeroed,live_before,live_after,binary_layers,"
          "warnings,worst_relative_l2\n", out);
    for (size_t i = 0; i < in->count; i++) {
        const entry *e = &entries[i];
        const fpr_changes *c = &e->changes;
        put_quoted(out, in->list[i].path, true);
        fputc(',', out);
        put_quoted(out, in->list[i].output, true);
        fprintf(out, ",%s,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%.17g\n", status_text(e),
                (unsigned long long)e->bytes_before, (unsigned long long)e->bytes_after, (unsigned long long)c->kernels,
                (unsigned long long)c->kernels_zeroed, (unsigned long long)c->live_before,
                (unsigned long long)c->live_after, (unsigned long long)c->binary_layers, (unsigned long long)e->warnings,
                e->worst);
    }
}

typedef struct index_file {
    const char *name;
    void (*put)(FILE *out, const settings *set, const batch_inputs *in, const entry *entries);
} index_file;

static const index_file index_files[] = { { "index.html", put_html }, { "index.json", put_json }, { "index.csv", put_csv } };
enum { INDEX_FILES = sizeof index_files / sizeof index_files[0] };

/* entries NULL: only checks that they may be written. With --skip-existing a second run replaces them. */
static int write_indices(const settings *set, const batch_inputs *in, const entry *entries)
{
    int status = EXIT_DONE;
    for (unsigned i = 0; !status && i < INDEX_FILES; i++) {
        char *path = join_path(set->out_dir, index_files[i].name);
        const bool force = set->job.force || set->skip_existing;
        page p;
        if (!path) return fail_memory();
        if (!entries) status = page_check(path, NULL, force);
        else if (!(status = page_open(&p, path, NULL, force))) {
            index_files[i].put(p.stream, set, in, entries);
            status = page_commit(&p);
        }
        free(path);
    }
    return status;
}

/* The machine's failure weighs most, then an invalid input, then what was refused. */
static int worse(int a, int b)
{
    static const int weight[] = { 0, 5, 1, 4, 3, 2 };
    return weight[a] >= weight[b] ? a : b;
}

int run_batch(const settings *set)
{
    batch_inputs in;
    int status = collect_inputs(set, &in), worst = EXIT_DONE;
    entry *entries = status ? NULL : calloc(in.count, sizeof *entries);
    if (!status && !entries) status = fail_memory();
    if (!status) status = prepare(set);
    if (!status && !set->no_report) status = write_indices(set, &in, NULL);
    if (!status) {
        for (size_t i = 0; i < in.count && !interrupted; i++) {
            run_one(set, &in, i, &entries[i]);
            worst = worse(worst, entries[i].status);
        }
        if (interrupted) worst = EXIT_MACHINE;
        else {
            if (!set->no_report) worst = worse(worst, write_indices(set, &in, entries));
            terminal term = terminal_for(stderr);
            if (!set->quiet) print_table(&in, entries, &term);
        }
    }
    for (size_t i = 0; entries && i < in.count; i++) free(entries[i].report);
    free(entries);
    free_inputs(&in);
    return status ? status : worst;
}

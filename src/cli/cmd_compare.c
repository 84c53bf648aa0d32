/* compare: how far the kernel distributions of checkpoints are apart. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

/* A matrix of more models than this is a wall of digits. */
enum { MATRIX_MOST = 20, FEW_PAIRS = 5 };

static bool is_resolved(const fpr_comparison *c, size_t i, size_t j)
{
    const size_t at = i * c->model_count + j;
    return c->divergence[at] > c->noise_q95[at];
}

/* Rows in the order of the comparison; the numbers are places in it. */
static void print_models(const fpr_comparison *c, const terminal *term)
{
    static const column columns[] = {
        { "model", false, 0 }, { "no.", true, 0 }, { "layers", true, 4 }, { "kernels", true, 3 }, { "live", true, 2 },
        { "binary layers", true, 5 }, { "mean shift", true, 0 }, { "nearest", false, 1 }, { "shift to it", true, 1 },
    };
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < c->model_count; i++) {
        const fpr_compared *m = &c->models[c->order[i]];
        char name[SAFE_NAME], a[NUMBER_TEXT];
        table_cell(t, "%s", safe_name(name, m->name));
        table_cell(t, "%zu", i + 1);
        table_cell(t, "%s", number_count(a, m->layers));
        table_cell(t, "%s", number_count(a, m->kernels));
        table_cell(t, "%s", number_share(a, m->kernels ? (double)m->live / (double)m->kernels : 0));
        table_cell(t, "%s", number_count(a, m->binary_layers));
        table_cell(t, "%s", number_plain(a, m->mean_shift));
        safe_name(name, c->models[m->nearest].name);
        shorten(name, 30);
        table_cell(t, "%s", name);
        table_cell(t, "%s%s", is_resolved(c, c->order[i], m->nearest) ? "" : "~",
                   number_plain(a, c->divergence[c->order[i] * c->model_count + m->nearest]));
    }
    table_print(t, term, 0);
    table_free(t);
}

static void print_matrix(const fpr_comparison *c, const terminal *term)
{
    column columns[MATRIX_MOST + 1] = { { "shift", true, 0 } };
    char titles[MATRIX_MOST][NUMBER_TEXT], a[NUMBER_TEXT];
    for (size_t i = 0; i < c->model_count; i++) {
        snprintf(titles[i], sizeof titles[i], "%zu", i + 1);
        columns[i + 1] = (column){ titles[i], true, 0 };
    }
    table *t = table_new(columns, c->model_count + 1);
    for (size_t i = 0; i < c->model_count; i++) {
        table_cell(t, "%zu", i + 1);
        for (size_t j = 0; j < c->model_count; j++) {
            const size_t x = c->order[i], y = c->order[j];
            if (i == j) table_cell(t, "-");
            else
                table_cell(t, "%s%s", is_resolved(c, x, y) ? "" : "~",
                           number_plain(a, c->divergence[x * c->model_count + y]));
        }
    }
    table_print(t, term, 0);
    table_free(t);
}

typedef struct pair { double shift; size_t a, b; } pair;

static int by_shift(const void *x, const void *y)
{
    const pair *p = x, *q = y;
    if (p->shift != q->shift) return p->shift < q->shift ? 1 : -1;
    if (p->a != q->a) return p->a < q->a ? -1 : 1;
    return p->b < q->b ? -1 : p->b > q->b;
}

/* most pairs from the first or, up to the first, from the last; resolved ones only, or all. */
static void print_list(const fpr_comparison *c, const char *title, const pair *pairs, size_t count, bool from_last,
                       bool resolved_only, size_t most, const terminal *term)
{
    const column columns[] = { { title, false, 0 }, { "shift", true, 0 }, { "by chance", true, 1 } };
    table *t = table_new(columns, 3);
    for (size_t i = 0; t && i < count && most; i++) {
        const pair *p = &pairs[from_last ? count - 1 - i : i];
        char a[SAFE_NAME], b[SAFE_NAME], number[NUMBER_TEXT];
        if (resolved_only && !is_resolved(c, p->a, p->b)) continue;
        most--;
        safe_name(a, c->models[p->a].name);
        safe_name(b, c->models[p->b].name);
        shorten(a, 60);
        shorten(b, 60);
        table_cell(t, "%s - %s", a, b);
        table_cell(t, "%s%s", is_resolved(c, p->a, p->b) ? "" : "~", number_plain(number, p->shift));
        table_cell(t, "%s", number_plain(number, c->noise_q95[p->a * c->model_count + p->b]));
    }
    table_print(t, term, 0);
    table_free(t);
}

/* Which are alike, which are not: the closest pairs, then the farthest of those that are resolved. */
static void print_pairs(const fpr_comparison *c, bool all, const terminal *term)
{
    size_t n = c->model_count, count = n * (n - 1) / 2, used = 0, unresolved = 0;
    pair *pairs = malloc(count * sizeof *pairs);
    if (!pairs) return;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) {
            pairs[used++] = (pair){ c->divergence[i * n + j], i, j };
            unresolved += !is_resolved(c, i, j);
        }
    }
    qsort(pairs, count, sizeof *pairs, by_shift);
    if (all) {
        print_list(c, "pair, most shifted first", pairs, count, false, false, count, term);
    } else if (count > 1) {
        print_list(c, "closest pairs", pairs, count, true, false, FEW_PAIRS, term);
        fputc('\n', term->out);
        print_list(c, "farthest pairs", pairs, count, false, true, FEW_PAIRS, term);
        if (count > FEW_PAIRS) fprintf(term->out, "%zu pairs in all (listed with -v)\n", count);
    }
    if (unresolved)
        fprintf(term->out, "%s~ not resolved: no farther than chance (%zu of %zu)%s\n", style_on(term, STYLE_DIM),
                unresolved, count, style_off(term));
    free(pairs);
}

static void print_comparison(const fpr_comparison *c, const settings *set, const terminal *term)
{
    char shape[SHAPE_TEXT], name[SAFE_NAME];
    fprintf(term->out, "%s%s kernels of %zu models%s\nbasis: %s; %u bins over %.4g to %.4g\n\n",
            style_on(term, STYLE_BOLD), shape_text(shape, c->kernel_shape, c->kernel_rank), c->model_count,
            style_off(term), safe_name(name, c->basis_source), c->bins, c->range[0], c->range[1]);
    print_models(c, term);
    fputc('\n', term->out);
    if (c->model_count < 2) return;
    if (c->model_count <= MATRIX_MOST && c->model_count * 9 + 5 <= term->width) {
        print_matrix(c, term);
        fputc('\n', term->out);
    }
    print_pairs(c, set->verbose, term);
}

static void warn_all(const fpr_comparison *c)
{
    for (size_t i = 0; i < c->warning_count; i++) warn(NULL, c->warnings[i]);
    for (size_t i = 0; i < c->left_out_count; i++) {
        char shape[SHAPE_TEXT], text[SHAPE_TEXT + 40];
        snprintf(text, sizeof text, "left out: it has no %s kernels",
                 shape_text(shape, c->kernel_shape, c->kernel_rank));
        warn(c->left_out[i], text);
    }
}

typedef fpr_status (*renderer)(const fpr_comparison *c, fpr_write write, void *context, fpr_error *error);

static int write_file(const fpr_comparison *c, const char *path, renderer render, const settings *set)
{
    page file;
    fpr_error error;
    int status = page_open(&file, path, NULL, set->job.force);
    if (status) return status;
    if (render(c, write_to_stream, file.stream, &error) != FPR_OK) {
        status = fail(&error, path);
        page_abandon(&file);
        return status;
    }
    return page_commit(&file);
}

int cmd_compare(const settings *set)
{
    fpr_options job = set->job;
    fpr_comparison *c = NULL;
    fpr_error error;
    progress bar;
    int status = EXIT_DONE;
    for (int i = 0; i < set->operand_count && !status; i++) {
        if (set->html) status = page_check(set->html, set->operands[i], job.force);
        if (set->csv && !status) status = page_check(set->csv, set->operands[i], job.force);
    }
    if (status) return status;
    if (set->html && set->csv && !strcmp(set->html, set->csv)) return fail_usage("--html and --csv are the same file");

    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_compare(set->operands, (size_t)set->operand_count, set->kernel, set->basis, &job, &c, &error);
    progress_end(&bar);
    if (done != FPR_OK) return fail(&error, NULL);

    if (!set->quiet) warn_all(c);
    if (set->html) status = write_file(c, set->html, fpr_comparison_html, set);
    if (set->csv && !status) status = write_file(c, set->csv, fpr_comparison_csv, set);
    if (!status && set->json) {
        if (fpr_comparison_json(c, write_to_stream, stdout, &error) != FPR_OK && !ferror(stdout))
            status = fail(&error, NULL);
    } else if (!status && !set->quiet) {
        terminal term = terminal_for(stdout);
        print_comparison(c, set, &term);
    }
    fpr_comparison_free(c);
    return status ? status : finish_stdout(EXIT_DONE);
}

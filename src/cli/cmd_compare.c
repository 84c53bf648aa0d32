/* compare: how far the kernel distributions of checkpoints are apart. */
#include "cli/cli.h"

#include <stdlib.h>

/* A matrix of more models than this is a wall of digits. */
enum { MATRIX_MOST = 20, FEW_PAIRS = 10 };

static void print_models(const fpr_comparison *c, const terminal *term)
{
    static const column columns[] = {
        { "model", false, 0 }, { "no.", true, 0 }, { "layers", true, 3 }, { "kernels", true, 2 }, { "live", true, 1 },
        { "binary layers", true, 4 }, { "mean shift", true, 0 },
    };
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < c->model_count; i++) {
        const fpr_compared *m = &c->models[i];
        char name[SAFE_NAME], a[NUMBER_TEXT];
        table_cell(t, "%s", safe_name(name, m->path));
        table_cell(t, "%zu", i + 1);
        table_cell(t, "%s", number_count(a, m->layers));
        table_cell(t, "%s", number_count(a, m->kernels));
        table_cell(t, "%s", number_share(a, m->kernels ? (double)m->live / (double)m->kernels : 0));
        table_cell(t, "%s", number_count(a, m->binary_layers));
        table_cell(t, "%s", number_plain(a, m->mean_shift));
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
        for (size_t j = 0; j < c->model_count; j++)
            table_cell(t, "%s", i == j ? "-" : number_plain(a, c->divergence[i * c->model_count + j]));
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

static void print_pairs(const fpr_comparison *c, bool all, const terminal *term)
{
    static const column columns[] = { { "pair, most shifted first", false, 0 }, { "shift", true, 0 } };
    size_t n = c->model_count, count = n * (n - 1) / 2, used = 0;
    pair *pairs = malloc(count * sizeof *pairs);
    table *t = table_new(columns, 2);
    if (!pairs || !t) goto out;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i + 1; j < n; j++) pairs[used++] = (pair){ c->divergence[i * n + j], i, j };
    }
    qsort(pairs, count, sizeof *pairs, by_shift);
    for (size_t i = 0; i < count && (all || i < FEW_PAIRS); i++) {
        char a[SAFE_NAME], b[SAFE_NAME], number[NUMBER_TEXT];
        safe_name(a, c->models[pairs[i].a].path);
        safe_name(b, c->models[pairs[i].b].path);
        shorten(a, 60);
        shorten(b, 60);
        table_cell(t, "%s - %s", a, b);
        table_cell(t, "%s", number_plain(number, pairs[i].shift));
    }
    table_print(t, term, 0);
    if (!all && count > FEW_PAIRS) fprintf(term->out, "The first %d of %zu pairs (all with -v)\n", FEW_PAIRS, count);
out:
    table_free(t);
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
    bool fits = c->model_count <= MATRIX_MOST && c->model_count * 9 + 5 <= term->width;
    if (fits) print_matrix(c, term);
    if (fits && set->verbose) fputc('\n', term->out);
    if (!fits || set->verbose) print_pairs(c, set->verbose, term);
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

static int write_page(const fpr_comparison *c, const settings *set)
{
    page html;
    fpr_error error;
    int status = page_open(&html, set->html, NULL, set->job.force);
    if (status) return status;
    if (fpr_comparison_html(c, write_to_stream, html.stream, &error) != FPR_OK) {
        status = fail(&error, set->html);
        page_abandon(&html);
        return status;
    }
    return page_commit(&html);
}

int cmd_compare(const settings *set)
{
    fpr_options job = set->job;
    fpr_comparison *c = NULL;
    fpr_error error;
    progress bar;
    int status = EXIT_DONE;
    for (int i = 0; set->html && i < set->operand_count && !status; i++)
        status = page_check(set->html, set->operands[i], job.force);
    if (status) return status;

    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_compare(set->operands, (size_t)set->operand_count, set->kernel, set->basis, &job, &c, &error);
    progress_end(&bar);
    if (done != FPR_OK) return fail(&error, NULL);

    if (!set->quiet) warn_all(c);
    if (set->html) status = write_page(c, set);
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

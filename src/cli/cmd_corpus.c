/* profile and corpus: many checkpoints as one collection. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int cmd_profile(const settings *set)
{
    fpr_options job = set->job;
    fpr_error error;
    progress bar;
    int status = page_check(set->operands[1], set->operands[0], job.force);
    if (status) return status;
    progress_begin(&bar, set, &job, NULL);
    const fpr_status done = fpr_profile(set->operands[0], set->operands[1], set->kernel, set->basis, &job, &error);
    progress_end(&bar);
    return done == FPR_OK ? EXIT_DONE : fail(&error, set->operands[0]);
}

/* ---- corpus */

const fpr_exchange *corpus_exchange;

typedef struct document {
    const char *name;
    size_t by; /* of a page */
    fpr_status (*render)(const fpr_corpus *c, fpr_write write, void *context, fpr_error *error);
} document;

static int write_document(const fpr_corpus *c, const settings *set, const document *d)
{
    page file;
    fpr_error error;
    char *path = join_path(set->out_dir, d->name);
    if (!path) return fail_memory();
    int status = page_open(&file, path, NULL, set->job.force);
    if (!status) {
        const fpr_status done = d->render ? d->render(c, write_to_stream, file.stream, &error)
                                          : fpr_corpus_html(c, d->by, write_to_stream, file.stream, &error);
        if (done != FPR_OK) {
            status = fail(&error, path);
            page_abandon(&file);
        } else {
            status = page_commit(&file);
        }
    }
    free(path);
    return status;
}

static int write_documents(const fpr_corpus *c, const settings *set)
{
    static const document tables[] = {
        { "layers.csv", 0, fpr_corpus_layers_csv }, { "groups.csv", 0, fpr_corpus_groups_csv },
        { "corpus.html", SIZE_MAX, NULL } };
    static const document result = { "corpus.json", 0, fpr_corpus_json };
    int status = EXIT_DONE;
    for (size_t i = 0; !status && i < sizeof tables / sizeof tables[0]; i++) status = write_document(c, set, &tables[i]);
    for (size_t i = 0; !status && i < c->by_count; i++) {
        char name[40];
        snprintf(name, sizeof name, "by-%zu.html", i + 1);
        status = write_document(c, set, &(document){ name, i, NULL });
    }
    /* Last: where it stands, all the rest does. */
    return status ? status : write_document(c, set, &result);
}

static void print_groups(const fpr_corpus_by *by, const terminal *term)
{
    static const column columns[] = {
        { "group", false, 0 }, { "models", true, 3 }, { "layers", true, 4 }, { "kernels", true, 1 }, { "live", true, 2 },
        { "mean shift", true, 0 }, { "nearest", false, 1 }, { "shift to it", true, 1 },
    };
    const fpr_comparison *c = by->groups;
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < c->model_count; i++) {
        const size_t g = c->order[i], near = c->models[g].nearest, at = g * c->model_count + near;
        const fpr_corpus_group *m = &by->more[g];
        char name[SAFE_NAME], a[NUMBER_TEXT];
        table_cell(t, "%s", safe_name(name, c->models[g].path));
        table_cell(t, "%s", number_count(a, m->models));
        table_cell(t, "%s", number_count(a, m->layers));
        table_cell(t, "%s", number_count(a, m->kernels));
        table_cell(t, "%s", number_share(a, m->kernels ? (double)(m->kernels - m->sparse) / (double)m->kernels : 0));
        table_cell(t, "%s", number_plain(a, c->models[g].mean_shift));
        safe_name(name, c->models[near].path);
        shorten(name, 24);
        table_cell(t, "%s", name);
        table_cell(t, "%s%s", c->divergence[at] > c->noise_q95[at] ? "" : "~", number_plain(a, c->divergence[at]));
    }
    table_print(t, term, 0);
    table_free(t);
}

static void print_corpus(const fpr_corpus *c, const terminal *term)
{
    char shape[SHAPE_TEXT], a[NUMBER_TEXT], name[SAFE_NAME];
    uint64_t kernels = 0;
    for (size_t i = 0; i < c->model_count; i++) kernels += c->models[i].kernels;
    fprintf(term->out, "%s%s %s kernels of %zu models%s\nbasis: %s; %u bins over %.4g to %.4g\n", style_on(term, STYLE_BOLD),
            number_count(a, kernels), shape_text(shape, c->kernel_shape, c->kernel_rank), c->model_count,
            style_off(term), safe_name(name, c->basis_source), c->bins, c->range[0], c->range[1]);
    fputs("explained variance:", term->out);
    for (unsigned i = 0; i < c->k && i < 9; i++) fprintf(term->out, " %.5f", c->basis.explained_variance_ratio[i]);
    fputc('\n', term->out);
    for (size_t i = 0; i < c->by_count; i++) {
        fprintf(term->out, "\n%sby %s%s\n", style_on(term, STYLE_BOLD), safe_name(name, c->by[i].column), style_off(term));
        print_groups(&c->by[i], term);
    }
}

int cmd_corpus(const settings *set)
{
    fpr_options job = set->job;
    fpr_corpus *c = NULL;
    fpr_error error;
    progress bar;
    if (!set->out_dir) return fail_usage("corpus needs --out DIR");
    char *result = join_path(set->out_dir, "corpus.json");
    if (!result) return fail_memory();
    struct stat is;
    int status = stat(set->out_dir, &is) == 0 ? page_check(result, NULL, job.force) : EXIT_DONE;
    free(result);
    if (status) return status;
    const fpr_corpus_request request = {
        .inputs = set->operands, .input_count = (size_t)set->operand_count, .table = set->table, .layers = set->layers,
        .by = set->by.patterns, .by_count = set->by.count, .kernel = set->kernel, .basis = set->basis,
        .folder = set->out_dir, .exchange = corpus_exchange };
    progress_begin(&bar, set, &job, NULL);
    const fpr_status done = fpr_corpus_make(&request, &job, &c, &error);
    progress_end(&bar);
    if (done != FPR_OK) return fail(&error, NULL);
    if (!c) return finish_stdout(EXIT_DONE); /* rank 0 has it */
    for (size_t i = 0; !set->quiet && i < c->warning_count; i++) warn(NULL, c->warnings[i]);
    status = write_documents(c, set);
    if (!status && !set->quiet) {
        terminal term = terminal_for(stdout);
        print_corpus(c, &term);
    }
    fpr_corpus_free(c);
    return status ? status : finish_stdout(EXIT_DONE);
}

/* diff: two checkpoints, tensor by tensor. */
#include "cli/cli.h"

#include <math.h>

static void print_row(table *t, const fpr_difference *d)
{
    static const char *const relations[] = { "equal", "changed", "only in A", "only in B" };
    char name[SAFE_NAME], number[NUMBER_TEXT];
    table_cell(t, "%s", safe_text(name, sizeof name, d->name, d->name_bytes));
    table_cell(t, "%s", d->other_shape ? "other shape" : relations[d->relation]);
    if (d->relation < FPR_ONLY_IN_A && d->dtype_a != d->dtype_b)
        table_cell(t, "%s/%s", fpr_dtype_name(d->dtype_a), fpr_dtype_name(d->dtype_b));
    else
        table_cell(t, "%s", fpr_dtype_name(d->relation == FPR_ONLY_IN_B ? d->dtype_b : d->dtype_a));
    bool values = d->relation == FPR_CHANGED_VALUES && !isnan(d->max_abs);
    table_cell(t, "%s", values ? number_weight(number, d->max_abs) : "");
    table_cell(t, "%s", values && isfinite(d->relative_l2) ? number_share(number, d->relative_l2) : values ? "infinite" : "");
    table_cell(t, "%s", values && d->kernels ? number_count(number, d->kernels_zeroed) : "");
}

static void print_result(const fpr_differences *d, const settings *set, const terminal *term)
{
    static const column columns[] = {
        { "tensor", false, 0 }, { "result", false, 0 }, { "dtype", false, 3 }, { "largest difference", true, 2 },
        { "relative", true, 0 }, { "kernels zeroed", true, 1 },
    };
    enum { FEW = 40 };
    char a[SAFE_NAME], b[SAFE_NAME], number[4][NUMBER_TEXT];
    const bool same = d->count[FPR_EQUAL] == d->tensor_count;
    double worst = 0;
    for (size_t i = 0; i < d->tensor_count; i++)
        if (d->tensors[i].relative_l2 > worst) worst = d->tensors[i].relative_l2;
    fprintf(term->out, "%s%s%s  %s and %s: ", style_on(term, same ? STYLE_GOOD : STYLE_WARN), same ? "EQUAL" : "DIFFERENT",
            style_off(term), safe_name(a, set->operands[0]), safe_name(b, set->operands[1]));
    fprintf(term->out, "%s equal, %s changed, %s only in A, %s only in B", number_count(number[0], d->count[FPR_EQUAL]),
            number_count(number[1], d->count[FPR_CHANGED_VALUES]), number_count(number[2], d->count[FPR_ONLY_IN_A]),
            number_count(number[3], d->count[FPR_ONLY_IN_B]));
    if (worst > 0 && isfinite(worst)) fprintf(term->out, "; at most %s", number_share(number[0], worst));
    fputc('\n', term->out);
    if (same && !set->verbose) return;
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    size_t shown = 0, rows = 0;
    for (size_t i = 0; i < d->tensor_count; i++) {
        if (!set->verbose && d->tensors[i].relation == FPR_EQUAL) continue;
        if (rows++, !set->verbose && shown == FEW) continue;
        print_row(t, &d->tensors[i]);
        shown++;
    }
    fputc('\n', term->out);
    table_print(t, term, 0);
    if (rows > shown) fprintf(term->out, "and %zu more (all with -v)\n", rows - shown);
    table_free(t);
}

int cmd_diff(const settings *set)
{
    const char *a = set->operands[0], *b = set->operands[1];
    fpr_options job = set->job;
    fpr_differences *d = NULL;
    fpr_error error;
    progress bar;
    int status = EXIT_DONE;
    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_diff(a, b, set->strip.patterns, set->strip.count, &job, &d, &error);
    progress_end(&bar);
    if (done != FPR_OK && done != FPR_DIFFERS) return fail(&error, a);
    if (d && set->json) {
        fpr_error problem;
        if (fpr_differences_json(d, a, b, write_to_stream, stdout, &problem) != FPR_OK && !ferror(stdout))
            status = fail(&problem, a);
    } else if (d && !set->quiet) {
        terminal term = terminal_for(stdout);
        print_result(d, set, &term);
    }
    fpr_differences_free(d);
    status = status ? status : finish_stdout(EXIT_DONE);
    return status ? status : fpr_exit_status(done);
}

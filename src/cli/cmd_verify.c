/* verify: decodes all, checks every checksum, and compares with an original. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

static void print_tensors(const fpr_verification *v, bool has_original, const terminal *term)
{
    static const column columns[] = {
        { "tensor", false, 0 }, { "result", false, 0 }, { "largest error", true, 2 }, { "relative", true, 1 },
    };
    table *t = table_new(columns, has_original ? 4 : 2);
    for (size_t i = 0; i < v->tensor_count; i++) {
        const fpr_verified *tensor = &v->tensors[i];
        char name[SAFE_NAME], number[NUMBER_TEXT];
        table_cell(t, "%s", safe_text(name, sizeof name, tensor->name, tensor->name_bytes));
        table_cell(t, "%s", !tensor->ok ? "DIFFERS" : tensor->exact ? "exact" : has_original ? "as stated" : "decodes");
        if (!has_original) continue;
        table_cell(t, "%s", number_weight(number, tensor->max_abs));
        table_cell(t, "%s", number_plain(number, tensor->relative_l2));
    }
    table_print(t, term, 0);
    table_free(t);
}

static void print_result(const fpr_verification *v, const settings *set, const terminal *term)
{
    size_t exact = 0, wrong = 0;
    double worst = 0;
    bool has_original = set->operand_count > 1;
    char name[SAFE_NAME], text[NUMBER_TEXT], share[NUMBER_TEXT];
    if (set->verbose) print_tensors(v, has_original, term);
    for (size_t i = 0; i < v->tensor_count; i++) {
        const fpr_verified *tensor = &v->tensors[i];
        wrong += !tensor->ok;
        exact += tensor->ok && tensor->exact;
        if (tensor->ok && tensor->relative_l2 > worst) worst = tensor->relative_l2;
    }
    fprintf(term->out, "%s%s%s  %s: %s tensors decode and match their checksums\n",
            style_on(term, wrong ? STYLE_BAD : STYLE_GOOD), wrong ? "DIFFERS" : "OK", style_off(term),
            safe_name(name, set->operands[0]), number_count(text, v->tensor_count - wrong));
    if (wrong) fprintf(term->out, "    %s do not, or differ from what was stated\n", number_count(text, wrong));
    if (has_original)
        fprintf(term->out, "    %s equal %s bit for bit\n", number_count(text, exact),
                safe_name(name, set->operands[1]));
    if (exact + wrong < v->tensor_count && has_original)
        fprintf(term->out, "    %s changed as stated; error up to %s\n",
                number_count(text, v->tensor_count - wrong - exact), number_share(share, worst));
    if (v->verdict) print_wrapped(term, v->verdict, 4);
}

static bool is_onnx(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && !strcmp(path + n - 5, ".onnx");
}

/* Two ONNX models: an entry is an output of the graph. */
static void print_outputs(const fpr_verification *v, const settings *set, const terminal *term)
{
    char a[SAFE_NAME], b[SAFE_NAME], number[NUMBER_TEXT];
    fprintf(term->out, "%s%s%s  %s and %s", style_on(term, v->ok ? STYLE_GOOD : STYLE_BAD), v->ok ? "OK" : "DIFFERS",
            style_off(term), safe_name(a, set->operands[0]), safe_name(b, set->operands[1]));
    fprintf(term->out, v->ok ? " compute the same\n" : " compute different outputs\n");
    if (v->verdict) {
        print_wrapped(term, v->verdict, 4);
        return;
    }
    for (size_t i = 0; i < v->tensor_count; i++) {
        const fpr_verified *t = &v->tensors[i];
        fprintf(term->out, "    %s differs by at most %s of its largest magnitude\n",
                safe_text(a, sizeof a, t->name, t->name_bytes), number_weight(number, t->max_abs));
    }
    fprintf(term->out, "    in double precision, on random inputs of two sizes\n");
}

int cmd_verify(const settings *set)
{
    const char *packed = set->operands[0], *original = set->operand_count > 1 ? set->operands[1] : NULL;
    fpr_options job = set->job;
    fpr_verification *v = NULL;
    fpr_error error;
    progress bar;
    int status = EXIT_DONE;
    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_verify(packed, original, &job, &v, &error);
    progress_end(&bar);
    if (done != FPR_OK && done != FPR_DIFFERS) return fail(&error, packed);

    if (v && set->json) {
        fpr_error problem;
        if (fpr_verification_json(v, write_to_stream, stdout, &problem) != FPR_OK && !ferror(stdout))
            status = fail(&problem, packed);
    } else if (v && !set->quiet) {
        terminal term = terminal_for(stdout);
        if (original && is_onnx(packed) && is_onnx(original)) print_outputs(v, set, &term);
        else print_result(v, set, &term);
    }
    status = status ? status : finish_stdout(EXIT_DONE);
    /* One line for each tensor that is wrong, or one for all. */
    const char *suspicion = v ? v->suspicion : NULL;
    if (suspicion) {
        char text[2 * SAFE_NAME];
        fail_text(EXIT_DIFFERENT, packed, "%s", safe_text(text, sizeof text, suspicion, strlen(suspicion)));
    }
    for (size_t i = 0; v && i < v->tensor_count && (!suspicion || set->verbose); i++) {
        const fpr_verified *tensor = &v->tensors[i];
        char name[SAFE_NAME], text[SAFE_NAME];
        if (tensor->ok) continue;
        safe_text(name, sizeof name, tensor->name, tensor->name_bytes);
        safe_name(text, tensor->problem ? tensor->problem : "differs");
        fail_text(EXIT_DIFFERENT, packed, "%s (tensor %s)", text, name);
    }
    if (!v && done == FPR_DIFFERS) fail(&error, packed);
    fpr_verification_free(v);
    return status ? status : fpr_exit_status(done);
}

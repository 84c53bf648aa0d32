/* info: what a checkpoint holds, without decoding it. */
#include "cli/cli.h"
#include <string.h>

static void print_head(const fpr_model *model, const char *path, fpr_layout layout, const terminal *term)
{
    char name[SAFE_NAME], a[NUMBER_TEXT], b[NUMBER_TEXT], share[NUMBER_TEXT];
    fpr_layer_shape conv;
    uint64_t dense = 0, parameters = 0, stored = 0;
    size_t packed = 0, layers = 0, count = fpr_model_tensor_count(model);
    for (size_t i = 0; i < count; i++) {
        const fpr_tensor *t = fpr_model_tensor(model, i);
        dense += t->bytes;
        stored += t->stored_bytes;
        parameters += t->elements;
        packed += t->packed;
        layers += fpr_model_layer(model, i, layout, &conv);
    }
    fprintf(term->out, "%s%s%s\n", style_on(term, STYLE_BOLD), safe_name(name, path), style_off(term));
    fprintf(term->out, "%s bytes, %s tensors, %s elements", number_count(a, fpr_model_bytes(model)),
            number_count(b, count), number_count(share, parameters));
    if (layers) fprintf(term->out, ", %zu layers (%s)", layers, layout_name(layout));
    if (fpr_model_shard_count(model) > 1) fprintf(term->out, ", %zu shards", fpr_model_shard_count(model));
    fputc('\n', term->out);
    if (packed)
        fprintf(term->out, "%s tensors packed, at %s of %s dense bytes\n", number_count(a, packed),
                number_share(share, dense ? (double)stored / (double)dense : 1), number_count(b, dense));
}

/* Which reader took it, and which dictionary of it, of a file that is no safetensors file. */
static void print_format(const fpr_model *model, const terminal *term)
{
    const char *format = fpr_model_format(model), *key = fpr_model_key(model);
    char name[SAFE_NAME];
    if (strcmp(format, "safetensors") == 0) return;
    fputs(format, term->out);
    if (key && *key) fprintf(term->out, ", key %s", safe_name(name, key));
    fputc('\n', term->out);
}

static void print_metadata(const fpr_model *model, bool all, const terminal *term)
{
    enum { FEW = 8 };
    size_t count = fpr_model_metadata_count(model);
    for (size_t i = 0; i < count && (all || i < FEW); i++) {
        const char *key, *value;
        char name[SAFE_NAME], text[SAFE_NAME];
        fpr_model_metadata(model, i, &key, &value);
        safe_name(name, key);
        shorten(name, term->width / 3);
        safe_name(text, value);
        unsigned used = text_width(name) + 2;
        if (!all) shorten_end(text, term->width > used + 10 ? term->width - used : 10);
        fprintf(term->out, "%s%s%s: %s\n", style_on(term, STYLE_DIM), name, style_off(term), text);
    }
    if (!all && count > FEW) fprintf(term->out, "and %zu more entries of metadata (all with -v)\n", count - FEW);
}

void print_left_out(const fpr_model *model, bool all, const terminal *term)
{
    enum { FEW = 8 };
    const size_t count = fpr_model_skipped_count(model);
    char text[SAFE_NAME], bytes[NUMBER_TEXT];
    uint64_t others, other_bytes;
    const char *name, *why;
    for (size_t i = 0; i < count && (all || i < FEW); i++) {
        fpr_model_skipped(model, i, &name, &why);
        safe_name(text, name);
        shorten(text, term->width / 2);
        fprintf(term->out, "  not read  %s: %s\n", text, why);
    }
    if (!all && count > FEW) fprintf(term->out, "  and %zu more, all in filterprune info --json\n", count - FEW);
    fpr_model_others(model, &others, &other_bytes, &why);
    if (others)
        fprintf(term->out, "  not read  %llu more tensor%s, %s bytes: %s\n", (unsigned long long)others, others == 1 ? "" : "s",
                number_count(bytes, other_bytes), why);
}

static void print_tensors(const fpr_model *model, fpr_layout layout, const terminal *term)
{
    static const column columns[] = {
        { "tensor", false, 0 }, { "dtype", false, 1 }, { "shape", true, 0 }, { "layer", true, 4 }, { "codec", true, 2 },
        { "bytes", true, 3 }, { "stored", true, 0 },
    };
    table *t = table_new(columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < fpr_model_tensor_count(model); i++) {
        const fpr_tensor *tensor = fpr_model_tensor(model, i);
        fpr_layer_shape conv;
        char name[SAFE_NAME], a[NUMBER_TEXT], shape[SHAPE_TEXT];
        table_cell(t, "%s", safe_text(name, sizeof name, tensor->name, tensor->name_bytes));
        table_cell(t, "%s", fpr_dtype_name(tensor->dtype));
        table_cell(t, "%s", shape_text(shape, tensor->shape, tensor->rank));
        bool is_layer = fpr_model_layer(model, i, layout, &conv);
        table_cell(t, "%s", is_layer ? shape_text(shape, conv.kernel_shape, conv.kernel_rank) : "");
        table_cell(t, "%s", tensor->codec);
        table_cell(t, "%s", number_count(a, tensor->bytes));
        table_cell(t, "%s", number_count(a, tensor->stored_bytes));
    }
    fputc('\n', term->out);
    table_print(t, term, 0);
    table_free(t);
}

static bool is_packed(const fpr_model *model)
{
    for (size_t i = 0; i < fpr_model_tensor_count(model); i++)
        if (fpr_model_tensor(model, i)->packed) return true;
    return false;
}

int cmd_info(const settings *set)
{
    const char *path = set->operands[0];
    fpr_model *model;
    fpr_error error;
    int status = EXIT_DONE;
    fpr_statement *statement = NULL;
    if (fpr_model_open_with(path, &set->job, &model, &error) != FPR_OK) return fail(&error, path);
    fpr_layout layout = set->job.layout == FPR_LAYOUT_AUTO ? fpr_model_layout(model) : set->job.layout;
    if (set->json) {
        if (fpr_info_json(model, layout, write_to_stream, stdout, &error) != FPR_OK && !ferror(stdout))
            status = fail(&error, path);
    } else if (!set->quiet) {
        terminal term = terminal_for(stdout);
        if (fpr_model_statement(model, &statement, &error) != FPR_OK) statement = NULL;
        if (statement && !statement->stated && !is_packed(model)) fpr_statement_free(statement), statement = NULL;
        print_head(model, path, layout, &term);
        print_format(model, &term);
        print_metadata(model, set->verbose, &term);
        if (statement) {
            print_statement(statement, &term);
            if (is_packed(model)) print_how_to_load(&term, path);
            print_stated_changes(statement, set->verbose, &term);
        }
        print_tensors(model, layout, &term);
        print_left_out(model, set->verbose, &term);
    }
    fpr_statement_free(statement);
    fpr_model_close(model);
    return status ? status : finish_stdout(EXIT_DONE);
}

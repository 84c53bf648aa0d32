/* What a file says of its making: the input it was made from, the options, and which shards were made together. */
#include "out/out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void statement_input(file_text *json, const out_input *input)
{
    file_text_format(json, ",\"input\":{\"name\":");
    file_text_string(json, input->name, strlen(input->name));
    file_text_format(json, ",\"bytes\":%" PRIu64 ",\"xxh3_128\":\"%016" PRIx64 "%016" PRIx64 "\"}", input->bytes,
                     input->hash[0], input->hash[1]);
}

/* The shortest of 15 and 17 digits that reads back as the same number. */
static void add_number(file_text *json, const char *name, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.15g", value);
    if (strtod(text, NULL) != value) snprintf(text, sizeof text, "%.17g", value);
    file_text_format(json, ",\"%s\":%s", name, text);
}

static void add_patterns(file_text *json, const char *name, const fpr_globs *globs)
{
    for (size_t i = 0; i < globs->count; i++) {
        file_text_format(json, i ? "," : ",\"%s\":[", name);
        file_text_string(json, globs->patterns[i], strlen(globs->patterns[i]));
    }
    if (globs->count) file_text_format(json, "]");
}

/* Those that shaped the weights; what was off is left out, so that a lossless file says little. */
void statement_options(file_text *json, const fpr_options *o, double amount)
{
    static const char *const structures[] = {"kernel", "filter", "channel"};
    static const char *const criteria[] = {"peak", "l1", "l2", "bn"};
    file_text_format(json, ",\"options\":{\"level\":%d", o->level);
    if (o->prune) {
        file_text_format(json, ",\"structure\":\"%s\",\"criterion\":\"%s\"", structures[o->structure],
                         criteria[o->criterion]);
        if (amount >= 0) add_number(json, "amount", amount);
        else add_number(json, "eps", o->eps);
        if (o->global) file_text_format(json, ",\"global\":true");
        if (o->pointwise) file_text_format(json, ",\"pointwise\":true");
        add_patterns(json, "only", &o->only);
        add_patterns(json, "skip", &o->skip);
    }
    if (o->binary) {
        add_number(json, "binary_tol", o->binary_tol);
        add_number(json, "binary_share", o->binary_share);
    }
    if (o->max_error > 0) add_number(json, "max_error", o->max_error);
    file_text_format(json, "}");
}

/* The options that the text above leaves out, and still shape the output. */
static void add_other_options(file_text *text, const fpr_options *o, fpr_layout layout)
{
    file_text_format(text, ",%d,%d,%d,%d", o->dense, o->cast, o->layout == FPR_LAYOUT_AUTO ? layout : o->layout, o->pool);
    if (o->graph) file_text_string(text, o->graph, strlen(o->graph));
    add_patterns(text, "transposed", &o->transposed);
    add_patterns(text, "drop", &o->drop);
}

fpr_status statement_set(const fpr_model *model, const out_input *input, const fpr_options *options, char set[OUT_SET_BYTES],
                         fpr_error *error)
{
    file_text text = {0};
    file_text_format(&text, "filterprune %s", fpr_version());
    statement_input(&text, input);
    statement_options(&text, options, input->amount);
    add_other_options(&text, options, fpr_model_layout(model));
    file_hash *hash = text.failed ? NULL : file_hash_new();
    if (hash) {
        file_hash_add(hash, text.bytes, text.count);
        snprintf(set, OUT_SET_BYTES, "%016" PRIx64, file_hash_end(hash));
    }
    file_text_free(&text);
    return hash ? FPR_OK : base_no_memory(error, 1024);
}

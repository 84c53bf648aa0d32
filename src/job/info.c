/* What a checkpoint holds, as JSON: names, dtypes, shapes, codecs, sizes, metadata. */
#include "job/job.h"
#include "report/report.h"

#include <stdlib.h>
#include <string.h>

/* Of another format than safetensors: the dictionary taken, and what of it is no tensor here. */
static void add_origin(report_out *out, const fpr_model *m)
{
    uint64_t others, bytes;
    const char *name, *why;
    report_line(out);
    report_key(out, "key"), report_string0(out, fpr_model_key(m));
    report_line(out);
    report_key(out, "skipped"), report_begin(out, '{');
    for (size_t i = 0; i < fpr_model_skipped_count(m); i++) {
        fpr_model_skipped(m, i, &name, &why);
        report_line(out);
        report_key(out, name), report_string0(out, why);
    }
    report_end(out, '}');
    fpr_model_others(m, &others, &bytes, &why);
    report_line(out);
    report_key(out, "not_read"), report_begin(out, '{');
    report_key(out, "tensors"), report_integer(out, others);
    report_key(out, "bytes"), report_integer(out, bytes);
    report_end(out, '}');
}

/* What the format itself says of a tensor, where it does. */
static void add_known(report_out *out, const fpr_tensor *t)
{
    static const char *const kinds[] = {NULL, "conv", "depthwise", "transpose", "separable", "other"};
    if (kinds[t->layer_kind]) report_key(out, "kind"), report_string0(out, kinds[t->layer_kind]);
    if (t->groups) report_key(out, "groups"), report_integer(out, t->groups);
    if (t->depth != FPR_NO_DEPTH) report_key(out, "depth"), report_integer(out, t->depth);
    if (t->layer) report_key(out, "layer_name"), report_string0(out, t->layer);
}

static void add_layer(report_out *out, const fpr_layer_shape *s)
{
    report_begin(out, '{');
    report_key(out, "layout"), report_string0(out, fpr_layout_name(s->layout));
    report_key(out, "filters"), report_integer(out, s->filters);
    report_key(out, "channels"), report_integer(out, s->channels);
    report_key(out, "kernels"), report_integer(out, s->kernels);
    report_key(out, "kernel_shape"), report_kernel_shape(out, s->kernel_rank, s->kernel_shape);
    report_end(out, '}');
}

static void add_tensor(report_out *out, const fpr_model *m, size_t i, fpr_layout layout)
{
    const fpr_tensor *t = fpr_model_tensor(m, i);
    fpr_layer_shape s;
    report_line(out);
    report_begin(out, '{');
    report_key(out, "name"), report_string(out, t->name, t->name_bytes);
    report_key(out, "dtype"), report_string0(out, fpr_dtype_name(t->dtype));
    report_key(out, "shape"), report_integers(out, t->shape, t->rank);
    report_key(out, "bytes"), report_integer(out, t->bytes);
    report_key(out, "stored_bytes"), report_integer(out, t->stored_bytes);
    report_key(out, "codec"), report_string0(out, t->codec);
    report_key(out, "lossless"), report_bool(out, t->lossless);
    if (fpr_model_shard_count(m) > 1) report_key(out, "shard"), report_integer(out, t->shard);
    report_key(out, "layer");
    if (fpr_model_layer(m, i, layout, &s)) add_layer(out, &s);
    else report_null(out);
    add_known(out, t);
    report_end(out, '}');
}

/* What the file says of its making; NULL: nothing. */
static void add_statement(report_out *out, const fpr_statement *s)
{
    char verdict[FPR_VERDICT_BYTES];
    report_line(out);
    report_key(out, "statement");
    if (!s || !s->stated) {
        report_null(out);
        return;
    }
    report_begin(out, '{');
    report_key(out, "verdict"), report_string0(out, fpr_statement_verdict(s, verdict, sizeof verdict));
    report_key(out, "tool"), report_string0(out, s->tool);
    report_key(out, "input");
    if (s->input_name) {
        report_begin(out, '{');
        report_key(out, "name"), report_string0(out, s->input_name);
        report_key(out, "bytes"), report_integer(out, s->input_bytes);
        report_key(out, "xxh3_128"), report_string0(out, s->input_xxh3_128);
        report_end(out, '}');
    } else {
        report_null(out);
    }
    report_key(out, "options"), report_value(out, s->options);
    report_key(out, "tensors_changed"), report_integer(out, s->tensors_changed);
    report_key(out, "tensors_cast"), report_integer(out, s->tensors_cast);
    report_key(out, "kernels_zeroed"), report_integer(out, s->kernels_zeroed);
    report_key(out, "worst");
    if (s->tensors_changed) {
        const fpr_stated *worst = &s->tensors[s->worst];
        report_begin(out, '{');
        report_key(out, "name"), report_string(out, worst->name, worst->name_bytes);
        report_key(out, "relative_l2"), report_number(out, worst->relative_l2);
        report_end(out, '}');
    } else {
        report_null(out);
    }
    report_end(out, '}');
}

static void add_totals(report_out *out, const fpr_model *m, uint64_t dense, fpr_layout layout)
{
    bool packed = false;
    uint64_t parameters = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(m); i++) {
        packed |= fpr_model_tensor(m, i)->packed;
        parameters += fpr_model_tensor(m, i)->elements;
    }
    const char *format = fpr_model_key(m) ? fpr_model_format(m) : packed ? "packed" : "dense";
    report_line(out);
    report_key(out, "schema"), report_string0(out, "filterprune-info-1");
    report_line(out);
    report_key(out, "path"), report_string0(out, model_path(m));
    report_line(out);
    report_key(out, "format"), report_string0(out, format);
    report_line(out);
    report_key(out, "bytes"), report_integer(out, fpr_model_bytes(m));
    report_line(out);
    report_key(out, "dense_bytes"), report_integer(out, dense);
    report_line(out);
    report_key(out, "parameters"), report_integer(out, parameters);
    report_line(out);
    report_key(out, "layout"), report_string0(out, fpr_layout_name(layout));
    report_line(out);
    report_key(out, "shards"), report_begin(out, '[');
    for (size_t s = 0; s < fpr_model_shard_count(m); s++) report_string0(out, fpr_model_shard_path(m, s));
    report_end(out, ']');
}

typedef struct entry {
    const char *key;
    size_t index;
} entry;

static int by_key(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const int order = strcmp(x->key, y->key);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* Every shard repeats what is said of the whole; an object has a key once, so the first that has it counts.
 * repeated: [entries] for each whether one before has its key; base_free. */
static fpr_status find_repeated(const fpr_model *m, bool **repeated, fpr_error *error)
{
    const size_t n = fpr_model_metadata_count(m);
    const char *value;
    entry *entries = base_alloc(n, sizeof *entries);
    *repeated = base_calloc(n, sizeof **repeated);
    const fpr_status status = entries && *repeated ? FPR_OK : base_no_memory(error, n * sizeof *entries);
    for (size_t i = 0; !status && i < n; i++) {
        fpr_model_metadata(m, i, &entries[i].key, &value);
        entries[i].index = i;
    }
    if (!status) qsort(entries, n, sizeof *entries, by_key);
    for (size_t i = 1; !status && i < n; i++) (*repeated)[entries[i].index] = !strcmp(entries[i].key, entries[i - 1].key);
    base_free(entries);
    return status;
}

static void add_all(report_out *out, const fpr_model *m, uint64_t dense, fpr_layout layout, const fpr_statement *s,
                    const bool *repeated)
{
    report_begin(out, '{');
    add_totals(out, m, dense, layout);
    if (fpr_model_key(m)) add_origin(out, m);
    add_statement(out, s);
    report_line(out);
    report_key(out, "metadata"), report_begin(out, '{');
    for (size_t i = 0; i < fpr_model_metadata_count(m); i++) {
        const char *key, *value;
        if (repeated[i]) continue;
        fpr_model_metadata(m, i, &key, &value);
        report_line(out);
        report_key(out, key), report_string0(out, value);
    }
    report_end(out, '}');
    report_line(out);
    report_key(out, "tensors"), report_begin(out, '[');
    for (size_t i = 0; i < fpr_model_tensor_count(m); i++) add_tensor(out, m, i, layout);
    report_end(out, ']');
    report_line(out);
    report_end(out, '}');
    report_text(out, "\n");
}

FPR_API fpr_status fpr_info_json(const fpr_model *m, fpr_layout layout, fpr_write write, void *context, fpr_error *error)
{
    fpr_statement *stated = NULL;
    bool *repeated = NULL;
    uint64_t dense;
    report_out out;
    /* A damaged header, or statement, does not keep the rest from being listed. */
    fpr_status status = model_dense_bytes(m, &dense, error);
    if (status != FPR_NO_MEMORY) status = fpr_model_statement(m, &stated, error);
    if (status == FPR_NO_MEMORY) return status;
    if (layout == FPR_LAYOUT_AUTO) layout = fpr_model_layout(m);
    const fpr_statement *said = status ? NULL : stated;
    status = find_repeated(m, &repeated, error);
    if (!status) status = report_open(&out, write, context, error);
    if (!status) {
        add_all(&out, m, dense, layout, said, repeated);
        status = report_close(&out, error);
    }
    base_free(repeated);
    fpr_statement_free(stated);
    return status;
}

/* What a checkpoint holds, as JSON: names, dtypes, shapes, codecs, sizes, metadata. */
#include "job/job.h"
#include "report/report.h"

#include <inttypes.h>
#include <math.h>

static void add_shape(file_text *t, unsigned rank, const uint64_t *shape)
{
    file_text_format(t, "[");
    for (unsigned d = 0; d < rank; d++) file_text_format(t, d ? ",%" PRIu64 : "%" PRIu64, shape[d]);
    file_text_format(t, "]");
}

/* A path may hold any bytes; JSON holds UTF-8: U+FFFD stands for each byte that is none. */
static void add_path(file_text *text, const char *path)
{
    file_text clean = {0};
    size_t n = strlen(path);
    while (n) {
        uint32_t code;
        unsigned length = base_utf8(path, n, &code);
        if (length) file_text_add(&clean, path, length);
        else file_text_add(&clean, "\xef\xbf\xbd", 3);
        path += length ? length : 1;
        n -= length ? length : 1;
    }
    file_text_string(text, clean.bytes ? clean.bytes : "", clean.count);
    text->failed |= clean.failed;
    file_text_free(&clean);
}

/* Of another format than safetensors: the dictionary taken, and what of it is no tensor here. */
static void add_origin(file_text *text, const fpr_model *m)
{
    file_text_format(text, "\n  \"key\": ");
    file_text_string(text, fpr_model_key(m), strlen(fpr_model_key(m)));
    file_text_format(text, ",\n  \"skipped\": {");
    for (size_t i = 0; i < fpr_model_skipped_count(m); i++) {
        const char *name, *why;
        fpr_model_skipped(m, i, &name, &why);
        file_text_format(text, i ? ",\n    " : "\n    ");
        file_text_string(text, name, strlen(name));
        file_text_format(text, ": ");
        file_text_string(text, why, strlen(why));
    }
    uint64_t others, bytes;
    const char *why;
    fpr_model_others(m, &others, &bytes, &why);
    file_text_format(text, fpr_model_skipped_count(m) ? "\n  }," : "},");
    file_text_format(text, "\n  \"not_read\": {\"tensors\": %" PRIu64 ", \"bytes\": %" PRIu64 "},", others, bytes);
}

/* What the format itself says of a tensor, where it does. */
static void add_known(file_text *text, const fpr_tensor *t)
{
    static const char *const kinds[] = {NULL, "conv", "depthwise", "transpose", "separable", "other"};
    if (kinds[t->kind]) file_text_format(text, ", \"kind\": \"%s\"", kinds[t->kind]);
    if (t->groups) file_text_format(text, ", \"groups\": %" PRIu64, t->groups);
    if (t->depth != FPR_NO_DEPTH) file_text_format(text, ", \"depth\": %" PRIu64, t->depth);
    if (!t->layer) return;
    file_text_format(text, ", \"layer_name\": ");
    file_text_string(text, t->layer, strlen(t->layer));
}

static void add_tensor(file_text *text, const fpr_model *m, size_t i, fpr_layout layout)
{
    const fpr_tensor *t = fpr_model_tensor(m, i);
    fpr_layer_shape s;
    file_text_format(text, i ? ",\n    {\"name\": " : "\n    {\"name\": ");
    file_text_string(text, t->name, t->name_bytes);
    file_text_format(text, ", \"dtype\": \"%s\", \"shape\": ", fpr_dtype_name(t->dtype));
    add_shape(text, t->rank, t->shape);
    file_text_format(text, ", \"bytes\": %" PRIu64 ", \"stored_bytes\": %" PRIu64 ", \"codec\": \"%s\", \"lossless\": %s",
                     t->bytes, t->stored_bytes, t->codec, t->lossless ? "true" : "false");
    if (fpr_model_shard_count(m) > 1) file_text_format(text, ", \"shard\": %u", t->shard);
    if (fpr_model_layer(m, i, layout, &s)) {
        file_text_format(text, ", \"layer\": {\"layout\": \"%s\", \"filters\": %" PRIu64 ", \"channels\": %" PRIu64
                         ", \"kernels\": %" PRIu64 ", \"kernel_shape\": ",
                         fpr_layout_name(s.layout), s.filters, s.channels, s.kernels);
        add_shape(text, s.kernel_rank, s.kernel_shape);
        file_text_format(text, "}");
    } else {
        file_text_format(text, ", \"layer\": null");
    }
    add_known(text, t);
    file_text_format(text, "}");
}

static void add_stated_number(file_text *text, const char *name, double value)
{
    char number[REPORT_NUMBER];
    if (isfinite(value)) report_format_double(number, value);
    file_text_format(text, "\"%s\": %s", name, isfinite(value) ? number : "null");
}

/* What the file says of its making. */
static fpr_status add_statement(file_text *text, const fpr_model *m, fpr_error *error)
{
    fpr_statement *s = NULL;
    char verdict[FPR_VERDICT_BYTES];
    fpr_status status = fpr_model_statement(m, &s, error);
    if (status == FPR_NO_MEMORY) return status;
    if (status || !s->stated) {
        file_text_format(text, "\n  \"statement\": null,");
        fpr_statement_free(s);
        return FPR_OK;
    }
    fpr_statement_verdict(s, verdict, sizeof verdict);
    file_text_format(text, "\n  \"statement\": {\"verdict\": ");
    file_text_string(text, verdict, strlen(verdict));
    file_text_format(text, ", \"tool\": ");
    if (s->tool) file_text_string(text, s->tool, strlen(s->tool));
    else file_text_format(text, "null");
    file_text_format(text, ", \"input\": ");
    if (s->input_name) {
        file_text_format(text, "{\"name\": ");
        file_text_string(text, s->input_name, strlen(s->input_name));
        file_text_format(text, ", \"bytes\": %" PRIu64 ", \"xxh3_128\": \"%s\"}", s->input_bytes, s->input_xxh3_128);
    } else {
        file_text_format(text, "null");
    }
    file_text_format(text, ", \"options\": %s, \"tensors_changed\": %" PRIu64 ", \"tensors_cast\": %" PRIu64
                     ", \"kernels_zeroed\": %" PRIu64 ", \"worst\": ", s->options ? s->options : "null",
                     s->tensors_changed, s->tensors_cast, s->kernels_zeroed);
    if (s->tensors_changed) {
        file_text_format(text, "{\"name\": ");
        file_text_string(text, s->tensors[s->worst].name, s->tensors[s->worst].name_bytes);
        file_text_format(text, ", ");
        add_stated_number(text, "relative_l2", s->tensors[s->worst].relative_l2);
        file_text_format(text, "}},");
    } else {
        file_text_format(text, "null},");
    }
    fpr_statement_free(s);
    return FPR_OK;
}

FPR_API fpr_status fpr_info_json(const fpr_model *m, fpr_layout layout, fpr_write write, void *context, fpr_error *error)
{
    file_text text = {0};
    size_t tensors = fpr_model_tensor_count(m), metadata = fpr_model_metadata_count(m);
    bool packed = false;
    uint64_t parameters = 0, dense;
    for (size_t i = 0; i < tensors; i++) {
        packed |= fpr_model_tensor(m, i)->packed;
        parameters += fpr_model_tensor(m, i)->elements;
    }
    fpr_status status = model_dense_bytes(m, &dense, error);
    if (status == FPR_NO_MEMORY) return status; /* a damaged header does not keep the rest from being listed */
    status = FPR_OK;
    if (layout == FPR_LAYOUT_AUTO) layout = fpr_model_layout(m);
    file_text_format(&text, "{\n  \"schema\": \"filterprune-info-1\",\n  \"path\": ");
    add_path(&text, model_path(m));
    file_text_format(&text,
                     ",\n  \"format\": \"%s\",\n  \"bytes\": %" PRIu64 ",\n  \"dense_bytes\": %" PRIu64
                     ",\n  \"parameters\": %" PRIu64 ",\n  \"layout\": \"%s\",\n  \"shards\": [",
                     fpr_model_key(m) ? fpr_model_format(m) : packed ? "packed" : "dense", fpr_model_bytes(m), dense, parameters,
                     fpr_layout_name(layout));
    for (size_t s = 0; s < fpr_model_shard_count(m); s++) {
        if (s) file_text_format(&text, ", ");
        add_path(&text, fpr_model_shard_path(m, s));
    }
    file_text_format(&text, "],");
    if (fpr_model_key(m)) add_origin(&text, m);
    if (!status) status = add_statement(&text, m, error);
    file_text_format(&text, "\n  \"metadata\": {");
    for (size_t i = 0; i < metadata; i++) {
        const char *key, *value;
        fpr_model_metadata(m, i, &key, &value);
        file_text_format(&text, i ? ",\n    " : "\n    ");
        file_text_string(&text, key, strlen(key));
        file_text_format(&text, ": ");
        file_text_string(&text, value, strlen(value));
    }
    file_text_format(&text, metadata ? "\n  },\n  \"tensors\": [" : "},\n  \"tensors\": [");
    for (size_t i = 0; i < tensors; i++) add_tensor(&text, m, i, layout);
    file_text_format(&text, tensors ? "\n  ]\n}\n" : "]\n}\n");
    if (text.failed) status = base_no_memory(error, text.count);
    if (!status && write(context, text.bytes, text.count)) status = base_fail(error, FPR_IO, "cannot write the output");
    file_text_free(&text);
    return status;
}

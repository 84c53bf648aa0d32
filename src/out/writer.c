/* One output file, packed or dense.
 *
 * A safetensors header comes first and tells sizes that are known last. So the data is written behind a gap of the
 * largest size that the header can have, and what the header does not need of it is white space, which the format
 * allows. To keep that white space short, data stays in memory until there is too much of it: a small file gets an
 * exact header, and in a large one only the digits of some offsets are guessed. */
#include "out/out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Data kept back before the size of the header is fixed. */
#define HELD_BYTES (1u << 20)

struct job_writer {
    const fpr_model *model;
    size_t shard;
    const writer_tensor *tensors;
    size_t tensor_count, next;
    out_form form;
    const fpr_options *options;
    const out_input *input;
    file_out *out;          /* NULL: a dry run */
    char *original;         /* dense: the header; packed: the text of "header" in the key */
    size_t original_bytes;
    bool fixed;             /* the room for the header is fixed */
    uint64_t room;          /* bytes before the data, length prefix included */
    file_text held;         /* data not yet written */
    uint64_t data_bytes;
    const writer_pool *pool; /* NULL: none */
    file_hash *raw;         /* over all raw tensors */
    file_part *parts;       /* listed, not yet written */
    size_t part_count, part_capacity;
    uint64_t part_bytes, part_offset;
    fpr_error problem;      /* of append_some, which can only say that there was one */
};

/* ---------------------------------------------------------------- the header */

static const char *cast_names[] = {"none", "f32", "f16", "bf16"};

/* JSON readers written in C cannot hold a name with a NUL byte: such a tensor is listed under its number. */
static bool is_named(const fpr_tensor *t) { return strlen(t->name) == t->name_bytes; }

/* An error of infinity (a cast can overflow) is null: JSON has no word for it. */
static void add_bound(file_text *json, const char *name, double value)
{
    if (isfinite(value)) file_text_format(json, ",\"%s\":%.17e", name, value);
    else file_text_format(json, ",\"%s\":null", name);
}

/* One tensor of the index; number: among those of the file, in data order. */
static void add_index_entry(file_text *json, const writer_tensor *t, size_t number)
{
    /* "kernels" is the longest of its kind: an undecided tensor may only become shorter. */
    const char *codec = t->decided ? t->codec : "kernels";
    bool lossless = t->lossless;

    if (is_named(t->source)) file_text_string(json, t->source->name, t->source->name_bytes);
    else file_text_format(json, "\"%zu\"", number);
    file_text_format(json, ":{\"codec\":\"%s\",\"dtype\":\"%s\",\"shape\":[", codec, fpr_dtype_name(t->dtype));
    for (unsigned d = 0; d < t->source->rank; d++)
        file_text_format(json, d ? ",%" PRIu64 : "%" PRIu64, t->source->shape[d]);
    file_text_format(json, "],\"bytes\":%" PRIu64 ",\"lossless\":%s", t->bytes, lossless ? "true" : "false");
    if (!lossless) {
        /* The widest number of this form is as long as the guess for an undecided tensor. */
        add_bound(json, "max_abs", t->decided ? t->max_abs : 1e-300);
        add_bound(json, "relative_l2", t->decided ? t->relative_l2 : 1e-300);
    }
    if (!lossless && (t->zeroed || !t->decided))
        file_text_format(json, ",\"zeroed\":%" PRIu64, t->decided ? t->zeroed : t->source->elements);
    if (t->dtype != t->source->dtype) file_text_format(json, ",\"cast\":\"%s\"", fpr_dtype_name(t->source->dtype));
    file_text_format(json, "}");
}

/* The tensors that are named, or those that are numbered, less the plain ones that are as they were. */
static void add_index(const job_writer *w, file_text *json, bool named, const char *separator)
{
    size_t number = 0;
    for (size_t i = 0; i < w->tensor_count; i++) {
        const writer_tensor *t = &w->tensors[i];
        if (t->dropped) continue;
        number++;
        if (is_named(t->source) != named || t->pooled || (t->decided && t->lossless && !t->packed)) continue;
        file_text_format(json, "%s", separator);
        separator = ",";
        add_index_entry(json, t, number - 1);
    }
}

/* The value of our key: what a tool needs that only lists. */
static void add_key(const job_writer *w, file_text *header)
{
    file_text json = {0};
    unsigned reader = 1;
    for (size_t i = 0; i < w->tensor_count; i++)
        if (!w->tensors[i].dropped && w->tensors[i].decided && w->tensors[i].reader > reader) reader = w->tensors[i].reader;
    if (w->pool && pack_blob_reader(w->pool->blob) > reader) reader = pack_blob_reader(w->pool->blob);
    /* open.c finds the digits of "check" by this beginning. */
    file_text_format(&json, "{\"format\":%u,\"reader\":%u,\"%s\":\"%016d\",\"tool\":\"filterprune %s\"", PACK_FORMAT, reader,
                     w->form == OUT_STATED ? "data" : "check", 0, fpr_version());
    if (w->form == OUT_PACKED) {
        file_text_format(&json, ",\"header\":");
        file_text_string(&json, w->original, strlen(w->original));
    }
    statement_input(&json, w->input);
    statement_options(&json, w->options, w->input->amount);
    if (w->options->cast) file_text_format(&json, ",\"cast\":\"%s\"", cast_names[w->options->cast]);
    for (size_t i = 0; i < w->options->drop.count; i++) {
        file_text_format(&json, i ? "," : ",\"drop\":[");
        file_text_string(&json, w->options->drop.patterns[i], strlen(w->options->drop.patterns[i]));
        if (i + 1 == w->options->drop.count) file_text_format(&json, "]");
    }
    char set[OUT_SET_BYTES];
    if (model_is_index(w->model)) {
        json.failed |= statement_set(w->model, w->input, w->options, set, NULL) != FPR_OK;
        file_text_format(&json, ",\"set\":\"%s\"", json.failed ? "" : set);
    }
    if (w->pool) file_text_format(&json, ",\"pool\":\"%s\"", w->pool->name);
    file_text_format(&json, ",\"tensors\":{");
    add_index(w, &json, true, "");
    add_index(w, &json, false, "},\"numbered\":{");
    file_text_format(&json, "}}");
    file_text_string(header, SOURCE_PACKED_KEY, sizeof SOURCE_PACKED_KEY - 1);
    file_text_add(header, ":", 1);
    file_text_string(header, json.bytes ? json.bytes : "", json.count);
    header->failed |= json.failed;
    file_text_free(&json);
}

static void add_metadata(const job_writer *w, file_text *header)
{
    size_t count;
    const file_metadata *metadata = model_shard_metadata(w->model, w->shard, &count);
    file_text_format(header, "\"__metadata__\":{");
    add_key(w, header);
    for (size_t i = 0; i < count; i++) {
        const file_metadata *m = &metadata[i];
        file_text_add(header, ",", 1);
        file_text_string(header, m->key, m->key_bytes);
        file_text_add(header, ":", 1);
        file_text_string(header, m->value, m->value_bytes);
    }
    file_text_add(header, "}", 1);
}

/* Which of its two entries in the header is longer, that of a plain tensor or that of a blob of `stored` bytes: an
 * undecided tensor gets room for either. */
static bool is_longer_plain(const writer_tensor *t, uint64_t stored)
{
    char text[24];
    size_t plain = strlen(fpr_dtype_name(t->dtype)) + (t->source->rank ? t->source->rank - 1 : 0);
    size_t packed = strlen(fpr_dtype_name(FPR_U8)) + (size_t)snprintf(text, sizeof text, "%" PRIu64, stored);
    for (unsigned d = 0; d < t->source->rank; d++)
        plain += (size_t)snprintf(text, sizeof text, "%" PRIu64, t->source->shape[d]);
    return plain > packed;
}

/* The header of the packed file by what is decided so far, undecided tensors at their dense size; padded to 8. */
static fpr_status packed_header(const job_writer *w, file_text *header, fpr_error *error)
{
    const uint32_t *order = model_shard_order(w->model, w->shard);
    const uint64_t pool_bytes = w->pool ? pack_blob_size(w->pool->blob) : 0;
    uint64_t *begin = base_alloc(w->tensor_count + 1, sizeof *begin);
    if (!begin) return base_no_memory(error, w->tensor_count * sizeof *begin);
    begin[0] = pool_bytes;
    for (size_t i = 0; i < w->tensor_count; i++) {
        const writer_tensor *t = &w->tensors[i];
        begin[i + 1] = begin[i] + (t->dropped || t->pooled ? 0 : t->decided ? t->stored : t->bytes);
    }
    file_text_add(header, "{", 1);
    add_metadata(w, header);
    if (w->pool) {
        file_text_add(header, ",", 1);
        file_text_tensor(header, w->pool->name, strlen(w->pool->name), FPR_U8, 1, &pool_bytes, 0, pool_bytes);
    }
    for (size_t e = 0; e < w->tensor_count; e++) {
        size_t i = order[e];
        const writer_tensor *t = &w->tensors[i];
        if (t->dropped || t->pooled) continue;
        uint64_t stored = begin[i + 1] - begin[i];
        bool packed = t->decided ? t->packed : !is_longer_plain(t, stored);
        file_text_add(header, ",", 1);
        file_text_tensor(header, t->source->name, t->source->name_bytes, packed ? FPR_U8 : t->dtype,
                         packed ? 1 : t->source->rank, packed ? &stored : t->source->shape, begin[i], begin[i + 1]);
    }
    file_text_add(header, "}", 1);
    while (header->count % 8 && !header->failed) file_text_add(header, " ", 1);
    base_free(begin);
    if (header->failed) return base_no_memory(error, header->count);
    if (header->count > FILE_HEADER_MAX)
        return base_fail(error, FPR_USAGE, "the header of the packed file would be larger than the format allows");
    return FPR_OK;
}

/* Writes the 16 digits of "check" into the header, as open.c and FORMAT.md have it; those of "data" in a dense file. */
static fpr_status sign_header(job_writer *w, file_text *header, fpr_error *error)
{
    static const char check_mark[] = "\\\"check\\\":\\\"", data_mark[] = "\\\"data\\\":\\\"";
    const bool stated = w->form == OUT_STATED;
    const char *mark = stated ? data_mark : check_mark;
    char *at = memmem(header->bytes, header->count, mark, strlen(mark));
    file_hash *all = file_hash_new();
    if (!at || !all) {
        if (all) file_hash_end(all);
        return base_no_memory(error, sizeof *w);
    }
    uint8_t digits[8];
    const uint64_t raw = file_hash_end(w->raw);
    base_store_le64(digits, raw);
    w->raw = NULL;
    file_hash_add(all, header->bytes, header->count);
    file_hash_add(all, digits, sizeof digits);
    char text[17];
    const uint64_t check = file_hash_end(all);
    snprintf(text, sizeof text, "%016" PRIx64, stated ? raw : check);
    memcpy(at + strlen(mark), text, 16);
    return FPR_OK;
}

/* A header of a dense output without a statement of ours. */
static fpr_status new_header(const job_writer *w, file_text *text, fpr_error *error)
{
    const uint32_t *order = model_shard_order(w->model, w->shard);
    size_t metadata_count;
    const file_metadata *metadata = model_shard_metadata(w->model, w->shard, &metadata_count);
    file_header dense = {0};
    size_t *number = base_alloc(w->tensor_count, sizeof *number); /* of a kept tensor among the kept ones */
    dense.tensors = base_alloc(w->tensor_count, sizeof *dense.tensors);
    dense.header_order = base_alloc(w->tensor_count, sizeof *dense.header_order);
    dense.metadata = base_alloc(metadata_count, sizeof *dense.metadata);
    fpr_status status = number && dense.tensors && dense.header_order && dense.metadata
                            ? FPR_OK
                            : base_no_memory(error, w->tensor_count * sizeof *dense.tensors);
    uint64_t at = 0;
    for (size_t i = 0; !status && i < w->tensor_count; i++) {
        const writer_tensor *t = &w->tensors[i];
        if (t->dropped) continue;
        number[i] = dense.tensor_count;
        dense.tensors[dense.tensor_count++] = (file_tensor){
            t->source->name,  t->source->name_bytes, t->dtype, t->source->rank,
            t->source->shape, t->source->elements,   at,       at + t->bytes};
        at += t->bytes;
    }
    for (size_t e = 0, n = 0; !status && e < w->tensor_count; e++)
        if (!w->tensors[order[e]].dropped) dense.header_order[n++] = (uint32_t)number[order[e]];
    for (size_t i = 0; !status && i < metadata_count; i++) dense.metadata[dense.metadata_count++] = metadata[i];
    dense.has_metadata = dense.metadata_count > 0;
    if (!status) status = file_header_write(&dense, text, error);
    base_free(number);
    base_free(dense.tensors);
    base_free(dense.header_order);
    base_free(dense.metadata);
    return status;
}

/* The header of a dense output: the input's own, or a new one when tensors were dropped or cast. */
static fpr_status dense_header(job_writer *w, fpr_error *error)
{
    const fpr_options *o = w->options;
    if (!o->drop.count && !o->cast)
        return model_dense_header(w->model, w->shard, &w->original, &w->original_bytes, error);
    file_text text = {0};
    const fpr_status status = new_header(w, &text, error);
    w->original = text.bytes;
    w->original_bytes = text.count;
    return status;
}

/* An input that was an output before says so in its header. That is not true of data that changed since. */
static fpr_status forget_statement(job_writer *w, fpr_error *error)
{
    static const char key[] = "\"" SOURCE_PACKED_KEY "\"";
    bool changed = false;
    for (size_t i = 0; i < w->tensor_count; i++) changed |= !w->tensors[i].dropped && !w->tensors[i].lossless;
    if (!changed || !memmem(w->original, w->original_bytes, key, sizeof key - 1)) return FPR_OK;
    file_text text = {0};
    fpr_status status = new_header(w, &text, error);
    while (!status && text.count < w->original_bytes && !text.failed) file_text_add(&text, " ", 1);
    if (!status && text.failed) status = base_no_memory(error, w->original_bytes);
    if (!status && text.count > w->original_bytes)
        status = base_fail(error, FPR_IO, "the header does not fit the room kept for it");
    if (!status && w->out) status = file_out_patch(w->out, 8, text.bytes, text.count, error);
    file_text_free(&text);
    return status;
}

/* What the key keeps of the input's header: enough to restore it byte for byte, when there is something to restore. */
static fpr_status keep_header(job_writer *w, fpr_error *error)
{
    char *header = NULL;
    size_t bytes = 0;
    file_text like = {0};
    if (w->options->drop.count || w->options->cast) {
        w->original = base_copy_text("canonical", 9);
        return w->original ? FPR_OK : base_no_memory(error, 10);
    }
    fpr_status status = model_dense_header(w->model, w->shard, &header, &bytes, error);
    if (!status) status = model_like_header(w->model, w->shard, &like, error);
    if (!status) status = pack_header_encode(header, bytes, like.bytes, like.count, &w->original, error);
    base_free(header);
    file_text_free(&like);
    return status;
}

/* ---------------------------------------------------------------- the file */

fpr_status writer_new(const fpr_model *model, size_t shard, const char *path, out_form form,
                      const fpr_options *options, const out_input *input, const writer_tensor *tensors,
                      job_writer **writer, fpr_error *error)
{
    *writer = NULL;
    job_writer *w = base_calloc(1, sizeof *w);
    if (!w) return base_no_memory(error, sizeof *w);
    w->model = model;
    w->shard = shard;
    w->tensors = tensors;
    w->tensor_count = model_shard_tensors(model, shard);
    w->form = form;
    w->input = input;
    w->options = options;
    w->raw = file_hash_new();
    fpr_status status = w->raw ? FPR_OK : base_no_memory(error, sizeof *w);
    if (!status && form == OUT_PLAIN) status = dense_header(w, error);
    if (!status && form == OUT_PACKED) status = keep_header(w, error);
    if (!status && path) status = file_out_create(path, options->force, &w->out, error);
    if (!status && form == OUT_PLAIN) {
        uint8_t length[8];
        base_store_le64(length, w->original_bytes);
        w->fixed = true;
        w->room = 8 + w->original_bytes;
        if (w->out) status = file_out_write(w->out, length, 8, error);
        if (w->out && !status) status = file_out_write(w->out, w->original, w->original_bytes, error);
    }
    if (status) writer_abandon(w);
    else *writer = w;
    return status;
}

/* Fixes the room for the header and lets go of the data held back. */
static fpr_status fix_room(job_writer *w, fpr_error *error)
{
    file_text header = {0};
    fpr_status status = packed_header(w, &header, error);
    w->fixed = true;
    w->room = 8 + header.count;
    /* The gap is filled with the header as it is guessed now: any bytes of that size would do. */
    if (!status && w->out) status = file_out_write(w->out, "\0\0\0\0\0\0\0\0", 8, error);
    if (!status && w->out) status = file_out_write(w->out, header.bytes, header.count, error);
    if (!status && w->out) status = file_out_write(w->out, w->held.bytes, w->held.count, error);
    file_text_free(&header);
    file_text_free(&w->held);
    w->held = (file_text){0};
    return status;
}

static int hold_some(void *context, const void *bytes, size_t count)
{
    job_writer *w = context;
    file_text_add(&w->held, bytes, count);
    return w->held.failed ? -1 : 0;
}

static int append_some(void *context, const void *bytes, size_t count)
{
    job_writer *w = context;
    return w->out && file_out_write(w->out, bytes, count, &w->problem) ? -1 : 0;
}

/* The next tensor is this one: its bytes are counted, and hashed when they are raw. */
static uint64_t next_tensor(job_writer *w, const pack_blob *blob, const void *bytes)
{
    while (w->tensors[w->next].dropped || w->tensors[w->next].pooled) w->next++;
    uint64_t stored = w->tensors[w->next++].stored;
    if (!blob && w->form != OUT_PLAIN) file_hash_add(w->raw, bytes, stored);
    w->data_bytes += stored;
    return stored;
}

bool writer_holds(const job_writer *w, uint64_t bytes) { return !w->fixed && w->held.count + bytes <= HELD_BYTES; }

static int list_part(void *context, const void *bytes, size_t count)
{
    job_writer *w = context;
    if (w->part_count == w->part_capacity) {
        size_t capacity = w->part_capacity ? 2 * w->part_capacity : 256;
        file_part *longer = base_grow(w->parts, capacity, sizeof *longer);
        if (!longer) return -1;
        w->parts = longer;
        w->part_capacity = capacity;
    }
    w->parts[w->part_count++] = (file_part){bytes, count};
    return 0;
}

fpr_status writer_list(job_writer *w, const pack_blob *blob, const void *bytes, fpr_error *error)
{
    uint64_t stored = next_tensor(w, blob, bytes);
    bool listed = blob ? !pack_blob_write(blob, list_part, w, NULL) : !list_part(w, bytes, stored);
    w->part_bytes += stored;
    return listed ? FPR_OK : base_no_memory(error, w->part_capacity * sizeof *w->parts);
}

fpr_status writer_reserve_listed(job_writer *w, fpr_error *error)
{
    fpr_status status = w->fixed ? FPR_OK : fix_room(w, error);
    if (!status && w->out) status = file_out_reserve(w->out, w->part_bytes, &w->part_offset, error);
    return status;
}

fpr_status writer_write_listed(job_writer *w, fpr_error *error)
{
    fpr_status status =
        w->out && w->part_count ? file_out_place(w->out, w->part_offset, w->parts, w->part_count, error) : FPR_OK;
    w->part_count = 0;
    w->part_bytes = 0;
    return status;
}

/* So many bytes, of a blob or as they are, where the data has come to. */
static fpr_status put_bytes(job_writer *w, const pack_blob *blob, const void *bytes, uint64_t stored, fpr_error *error)
{
    fpr_status status = writer_holds(w, stored) || w->fixed ? FPR_OK : fix_room(w, error);
    if (status) return status;
    fpr_write write = w->fixed ? append_some : hold_some;
    if (blob) status = pack_blob_write(blob, write, w, error);
    else write(w, bytes, stored);
    if (w->held.failed) return base_no_memory(error, stored);
    if (!w->problem.status) return status;
    if (error) *error = w->problem;
    return w->problem.status;
}

fpr_status writer_put_pool(job_writer *w, const writer_pool *pool, fpr_error *error)
{
    if (!pool->blob) return FPR_OK;
    w->pool = pool;
    w->data_bytes += pack_blob_size(pool->blob);
    return put_bytes(w, pool->blob, NULL, pack_blob_size(pool->blob), error);
}

fpr_status writer_put(job_writer *w, const pack_blob *blob, const void *bytes, fpr_error *error)
{
    return put_bytes(w, blob, bytes, next_tensor(w, blob, bytes), error);
}

fpr_status writer_finish(job_writer *w, uint64_t *total, fpr_error *error)
{
    fpr_status status = FPR_OK;
    if (w->form == OUT_PLAIN) {
        status = forget_statement(w, error);
    } else {
        file_text header = {0};
        if (!w->fixed) status = fix_room(w, error);
        if (!status) status = packed_header(w, &header, error);
        /* Beyond the room the data begins: rather no file than one written over. */
        if (!status && header.count > w->room - 8)
            status = base_fail(error, FPR_IO, "the header does not fit the room kept for it");
        while (!status && header.count < w->room - 8 && !header.failed) file_text_add(&header, " ", 1);
        if (header.failed) status = base_no_memory(error, w->room);
        if (!status) status = sign_header(w, &header, error);
        uint8_t length[8];
        base_store_le64(length, w->room - 8);
        if (!status && w->out) status = file_out_patch(w->out, 0, length, 8, error);
        if (!status && w->out) status = file_out_patch(w->out, 8, header.bytes, header.count, error);
        file_text_free(&header);
    }
    *total = w->room + w->data_bytes;
    return status;
}

fpr_status writer_hash(job_writer *w, file_hash *hash, unsigned threads, fpr_error *error)
{
    return w->out ? file_out_hash(w->out, hash, threads, error) : FPR_OK;
}

static void writer_free(job_writer *w)
{
    if (w->raw) file_hash_end(w->raw);
    file_text_free(&w->held);
    base_free(w->parts);
    base_free(w->original);
    base_free(w);
}

file_out *writer_release(job_writer *w)
{
    file_out *out = w->out;
    writer_free(w);
    return out;
}

void writer_abandon(job_writer *w)
{
    if (!w) return;
    file_out_abandon(w->out);
    writer_free(w);
}

uint64_t writer_overhead(const fpr_tensor *tensor)
{
    writer_tensor t = {.source = tensor,
                       .dtype = tensor->dtype,
                       .bytes = tensor->bytes,
                       .decided = true,
                       .codec = "kernels",
                       .lossless = true};
    file_text json = {0}, quoted = {0};
    add_index_entry(&json, &t, UINT32_MAX);
    file_text_string(&quoted, json.bytes ? json.bytes : "", json.count);
    uint64_t bytes = quoted.count; /* the two quotes stand for the comma, and for luck */
    file_text_free(&json);
    file_text_free(&quoted);
    return bytes;
}

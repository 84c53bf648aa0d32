/* What a file says of its own making, from its key and from the heads of its blobs. */
#include "job/job.h"

#include <math.h>
#include <stdio.h>

/* The errors that an entry states; null stands for infinity. */
static double stated_error(const file_value *entry, const char *name)
{
    const file_value *v = file_value_get(entry, name);
    return file_value_is(v, FILE_NULL) ? (double)INFINITY : file_value_number(v);
}

static fpr_dtype dtype_named(const char *name, fpr_dtype otherwise)
{
    for (unsigned d = 0; name && d < FPR_DTYPE_COUNT; d++)
        if (!strcmp(fpr_dtype_name((fpr_dtype)d), name)) return (fpr_dtype)d;
    return otherwise;
}

static const file_value *entry_of(const file_value *root, const fpr_tensor *t, size_t number)
{
    char text[24];
    if (strlen(t->name) == t->name_bytes) return file_value_get(file_value_get(root, "tensors"), t->name);
    snprintf(text, sizeof text, "%zu", number);
    return file_value_get(file_value_get(root, "numbered"), text);
}

static void add_tensor(fpr_statement *s, const fpr_tensor *t, const file_value *entry)
{
    fpr_stated *row = &s->tensors[s->tensor_count];
    *row = (fpr_stated){.name = t->name, .name_bytes = t->name_bytes, .lossless = t->lossless, .dtype_before = t->dtype};
    if (entry) {
        row->lossless &= file_value_is(file_value_get(entry, "lossless"), FILE_TRUE);
        row->dtype_before = dtype_named(file_value_text(file_value_get(entry, "cast")), t->dtype);
        const int64_t zeroed = file_value_integer(file_value_get(entry, "zeroed"));
        if (!row->lossless && zeroed > 0) row->zeroed = (uint64_t)zeroed;
    }
    if (!row->lossless) {
        row->max_abs = entry ? stated_error(entry, "max_abs") : NAN;
        row->relative_l2 = entry ? stated_error(entry, "relative_l2") : NAN;
        if (!s->tensors_changed++ || row->relative_l2 > s->tensors[s->worst].relative_l2) s->worst = s->tensor_count;
    }
    s->tensors_cast += row->dtype_before != t->dtype;
    s->kernels_zeroed += row->zeroed;
    s->tensor_count++;
}

static fpr_status copy_text(const file_value *v, char **copy, fpr_error *error)
{
    const char *text = file_value_text(v);
    if (!text || *copy) return FPR_OK;
    *copy = base_copy_text(text, strlen(text));
    return *copy ? FPR_OK : base_no_memory(error, strlen(text));
}

/* What is said once, for the whole output: every shard repeats it. */
static fpr_status read_head(fpr_statement *s, const file_value *root, fpr_error *error)
{
    const file_value *input = file_value_get(root, "input"), *drop = file_value_get(root, "drop");
    file_value *options = file_value_get(root, "options");
    const char *hash = file_value_text(file_value_get(input, "xxh3_128"));
    fpr_status status = copy_text(file_value_get(root, "tool"), &s->tool, error);
    if (!status) status = copy_text(file_value_get(input, "name"), &s->input_name, error);
    const int64_t bytes = file_value_integer(file_value_get(input, "bytes"));
    if (bytes > 0) s->input_bytes = (uint64_t)bytes;
    if (hash && strlen(hash) == 32 && strspn(hash, "0123456789abcdef") == 32) memcpy(s->input_xxh3_128, hash, 33);
    if (file_value_is(drop, FILE_ARRAY)) s->patterns_dropped = drop->count;
    if (status || s->options || !file_value_is(options, FILE_OBJECT)) return status;
    file_text text = {0};
    /* As a document of its own, without the key of a member. */
    const char *key = options->key;
    options->key = NULL;
    file_text_value(&text, options);
    options->key = key;
    file_text_add(&text, "", 1);
    if (!text.failed) s->options = base_copy_text(text.bytes, text.count - 1);
    file_text_free(&text);
    return s->options ? FPR_OK : base_no_memory(error, 256);
}

static fpr_status add_shard(fpr_statement *s, const fpr_model *m, size_t shard, fpr_error *error)
{
    const file_metadata *own = model_shard_key(m, shard);
    file_tree key = {0};
    fpr_status status = FPR_OK;
    if (own) status = file_tree_read(own->value, own->value_bytes, false, FPR_BAD_PACKED, &key, error);
    if (status == FPR_BAD_PACKED && !fpr_model_tensor_count(m)) status = FPR_OK;
    if (!status && key.root) s->stated = true;
    if (!status && key.root) status = read_head(s, key.root, error);
    const size_t first = model_shard_first(m, shard), count = model_shard_tensors(m, shard);
    for (size_t i = 0; !status && i < count; i++)
        add_tensor(s, model_tensor(m, first + i), entry_of(key.root, model_tensor(m, first + i), i));
    file_tree_free(&key);
    return status;
}

FPR_API fpr_status fpr_model_statement(const fpr_model *m, fpr_statement **statement, fpr_error *error)
{
    const size_t count = fpr_model_tensor_count(m);
    fpr_statement *s = *statement = base_calloc(1, sizeof *s);
    if (!s) return base_no_memory(error, sizeof *s);
    s->tensors = base_calloc(count, sizeof *s->tensors);
    fpr_status status = s->tensors ? FPR_OK : base_no_memory(error, count * sizeof *s->tensors);
    for (size_t i = 0; !status && i < fpr_model_shard_count(m); i++) status = add_shard(s, m, i, error);
    if (!status) return FPR_OK;
    fpr_statement_free(s);
    *statement = NULL;
    return status;
}

FPR_API void fpr_statement_free(fpr_statement *s)
{
    if (!s) return;
    base_free(s->tool);
    base_free(s->input_name);
    base_free(s->options);
    base_free(s->tensors);
    base_free(s);
}

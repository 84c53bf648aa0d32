/* Decodes everything, checks every checksum, and holds the result against the original. */
#include "job/graphs.h"
#include "job/explained.h"

#include <math.h>
#include <stdio.h>
#include <strings.h>

typedef struct verify_run {
    const fpr_model *packed, *original;
    file_tree *keys; /* [shards] our metadata, empty where there is none */
    unsigned threads;
    size_t tensor_rows; /* the row of the first tensor in the result */
    fpr_verification *result;
} verify_run;

/* ---------------------------------------------------------------- what the file states */

static fpr_status own_key(const file_metadata *m, file_tree *key, fpr_error *error)
{
    return m ? file_tree_read(m->value, m->value_bytes, false, FPR_BAD_PACKED, key, error) : FPR_OK;
}

/* What the index says of a tensor: under its name or, where that holds a NUL byte, under its number in the file. */
static const file_value *entry_of(const verify_run *run, const fpr_tensor *t)
{
    const file_value *root = run->keys[t->shard].root;
    if (strlen(t->name) == t->name_bytes) return file_value_get(file_value_get(root, "tensors"), t->name);
    char number[24];
    snprintf(number, sizeof number, "%zu", model_number(run->packed, t) - model_shard_first(run->packed, t->shard));
    return file_value_get(file_value_get(root, "numbered"), number);
}

static bool stated_lossless(const file_value *entry, const fpr_tensor *t)
{
    return entry ? file_value_is(file_value_get(entry, "lossless"), FILE_TRUE) && t->lossless : t->lossless;
}

/* The largest error that the file states: null stands for infinity, none for 0. */
static double stated_bound(const file_value *entry, const char *name)
{
    const file_value *value = file_value_get(entry, name);
    return file_value_is(value, FILE_NULL) ? (double)INFINITY : file_value_number(value);
}

static bool is_dropped(const verify_run *run, const char *name)
{
    static const fpr_globs none = {0};
    for (size_t s = 0; s < fpr_model_shard_count(run->packed); s++) {
        const file_value *drop = file_value_get(run->keys[s].root, "drop");
        for (const file_value *v = file_value_is(drop, FILE_ARRAY) ? drop->first : NULL; v; v = v->next) {
            const char *pattern = file_value_text(v);
            if (pattern && shrink_selected(&(fpr_globs){&pattern, 1}, &none, name)) return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- one tensor */

static fpr_status set_problem(fpr_verified *v, const char *text, fpr_error *error)
{
    v->ok = v->exact = false;
    if (v->problem) return FPR_OK;
    v->problem = base_copy_text(text, strlen(text));
    return v->problem ? FPR_OK : base_no_memory(error, strlen(text));
}

/* Whether the file states that a tensor of this dtype was converted to that of t. */
static bool is_cast(const verify_run *run, const fpr_tensor *t, const fpr_tensor *original)
{
    const char *cast = file_value_text(file_value_get(run->keys[t->shard].root, "cast"));
    return cast && original->dtype != t->dtype && !strcasecmp(cast, fpr_dtype_name(t->dtype));
}

/* Sums in another order may differ in the last digits. */
#define STATED_SLACK (1 + 1e-9)

static fpr_status compare_tensor(verify_run *run, const fpr_tensor *t, const void *bytes, fpr_verified *v, fpr_error *error)
{
    const fpr_tensor *o = model_find(run->original, t->name, t->name_bytes);
    const file_value *entry = entry_of(run, t);
    if (!o) return set_problem(v, "the original has no tensor of this name", error);
    if (o->rank != t->rank || (o->rank && memcmp(o->shape, t->shape, o->rank * sizeof *o->shape)))
        return set_problem(v, "the original has another shape", error);
    if (o->dtype != t->dtype && !(base_is_float(o->dtype) && base_is_float(t->dtype)))
        return set_problem(v, "the original has another dtype", error);
    void *other = base_alloc_aligned(o->bytes, 1);
    if (!other) return base_no_memory(error, o->bytes);
    fpr_status status = model_read(run->original, model_number(run->original, o), run->threads, other, error);
    v->exact = !status && o->dtype == t->dtype && !memcmp(bytes, other, o->bytes);
    if (!status && v->exact) {
        v->max_abs = v->relative_l2 = 0;
    } else if (!status && !base_is_float(t->dtype)) {
        status = set_problem(v, "differs from the original", error);
    } else if (!status && !shrink_difference(t->dtype, bytes, o->dtype, other, t->elements, &v->max_abs, &v->relative_l2)) {
        status = set_problem(v, "differs from the original in NaN", error);
    } else if (!status && !run->keys[t->shard].root && !t->packed) {
        bool explained;
        status = job_is_explained(run->packed, run->original, model_number(run->original, o), t, bytes, other, &explained, error);
        if (!status && !explained) status = set_problem(v, "differs from the original", error);
    } else if (!status && stated_lossless(entry, t)) {
        /* A cast that changed no value is lossless, too. */
        if (!is_cast(run, t, o) || !shrink_same_values(t->dtype, bytes, o->dtype, other, t->elements))
            status = set_problem(v, t->packed ? "differs from the original, though stored as lossless"
                                              : "differs from the original", error);
    } else if (!status && !entry) {
        status = set_problem(v, "differs from the original, and the file states no error for it", error);
    } else if (!status) {
        double stated = stated_bound(entry, "max_abs");
        double stated_l2 = stated_bound(entry, "relative_l2");
        if (v->max_abs > stated * STATED_SLACK || v->relative_l2 > stated_l2 * STATED_SLACK)
            status = set_problem(v, "differs from the original by more than the file states", error);
    }
    base_free(other);
    return status;
}

static fpr_status verify_tensor(verify_run *run, size_t index, const void *bytes, fpr_verified *v, fpr_error *error)
{
    const fpr_tensor *t = model_tensor(run->packed, index);
    const file_value *entry = entry_of(run, t);
    fpr_status status = FPR_OK;
    if (v->problem) return FPR_OK; /* it does not decode */
    v->exact = stated_lossless(entry, t);
    if (run->original) status = compare_tensor(run, t, bytes, v, error);
    return status;
}

/* ---------------------------------------------------------------- all of them, through the pipe */

typedef struct verify_batch {
    verify_run *run;
    size_t first;
    void *const *bytes;
    fpr_error *errors;
} verify_batch;

static void verify_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const verify_batch *b = context;
    const size_t index = b->first + i;
    verify_tensor(b->run, index, b->bytes[i], &b->run->result->tensors[b->run->tensor_rows + index], &b->errors[i]);
}

/* Tensors pass in their order: the number of one in the pipe is its number in the model. */
static fpr_status verify_some(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    verify_run *run = context;
    verify_batch b = {run, first, bytes, base_calloc(count, sizeof *b.errors)};
    if (!b.errors) return base_no_memory(error, count * sizeof *b.errors);
    base_parallel(run->threads, count, verify_one, &b);
    const fpr_status status = base_first_error(b.errors, count, error);
    base_free(b.errors);
    return status;
}

static fpr_status note_damage(void *context, size_t number, const fpr_error *why, fpr_error *error)
{
    const verify_run *run = context;
    return set_problem(&run->result->tensors[run->tensor_rows + number], why->message, error);
}

static fpr_status verify_tensors(verify_run *run, const fpr_options *options, fpr_error *error)
{
    const fpr_model *p = run->packed;
    const size_t n = fpr_model_tensor_count(p);
    size_t *ids = base_alloc(n, sizeof *ids);
    if (!ids) return base_no_memory(error, n * sizeof *ids);
    run->tensor_rows = run->result->tensor_count;
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < n; i++) {
        const fpr_tensor *t = model_tensor(p, i);
        ids[i] = i;
        run->result->tensors[run->result->tensor_count++] = (fpr_verified){.name = base_copy_text(t->name, t->name_bytes),
                                                                           .name_bytes = t->name_bytes,
                                                                           .ok = true,
                                                                           .max_abs = NAN,
                                                                           .relative_l2 = NAN};
        if (!run->result->tensors[run->result->tensor_count - 1].name) status = base_no_memory(error, t->name_bytes);
    }
    const model_pipe pipe = {.phase = "verifying", .work = verify_some, .damaged = note_damage, .context = run};
    if (!status) status = model_run(p, ids, n, options, &pipe, error);
    base_free(ids);
    return status;
}

/* Tensors of the original that are neither here nor stated as dropped. */
static fpr_status verify_missing(verify_run *run, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && run->original && i < fpr_model_tensor_count(run->original); i++) {
        const fpr_tensor *o = model_tensor(run->original, i);
        if (model_find(run->packed, o->name, o->name_bytes) || is_dropped(run, o->name)) continue;
        fpr_verified *v = &run->result->tensors[run->result->tensor_count++];
        *v = (fpr_verified){.name = base_copy_text(o->name, o->name_bytes),
                            .name_bytes = o->name_bytes,
                            .max_abs = NAN,
                            .relative_l2 = NAN};
        status = v->name ? set_problem(v, "missing: the original has it", error) : base_no_memory(error, o->name_bytes);
    }
    return status;
}

/* The header and the raw tensors of every shard, as one row each where they are damaged. */
static fpr_status verify_shards(verify_run *run, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < fpr_model_shard_count(run->packed); s++) {
        fpr_error found = {0};
        fpr_status check = model_check_shard(run->packed, s, &found);
        char *header = NULL;
        size_t bytes;
        if (!check) check = model_dense_header(run->packed, s, &header, &bytes, &found);
        base_free(header);
        if (!check && model_shard_is_packed(run->packed, s) && !model_shard_key(run->packed, s))
            check = base_fail(&found, FPR_BAD_PACKED, "has lost its '%s' metadata", SOURCE_PACKED_KEY);
        if (!check) continue;
        if (check != FPR_BAD_PACKED) {
            if (error) *error = found;
            return check;
        }
        fpr_verified *v = &run->result->tensors[run->result->tensor_count++];
        *v = (fpr_verified){.name = base_copy_text("__metadata__", 12),
                            .name_bytes = 12,
                            .max_abs = NAN,
                            .relative_l2 = NAN};
        status = v->name ? set_problem(v, found.message, error) : base_no_memory(error, 12);
    }
    return status;
}

static fpr_status verify_all(verify_run *run, const fpr_options *options, fpr_error *error)
{
    const fpr_model *p = run->packed;
    uint64_t rows = fpr_model_tensor_count(p) + fpr_model_shard_count(p) + (run->original ? fpr_model_tensor_count(run->original) : 0);
    run->keys = base_calloc(fpr_model_shard_count(p), sizeof *run->keys);
    run->result->tensors = base_calloc(rows, sizeof *run->result->tensors);
    if (!run->keys || !run->result->tensors) return base_no_memory(error, rows * sizeof *run->result->tensors);
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < fpr_model_shard_count(p); s++) status = own_key(model_shard_key(p, s), &run->keys[s], error);
    if (!status) status = verify_shards(run, error);
    if (!status) status = verify_tensors(run, options, error);
    if (!status) status = job_cancelled(options, error);
    if (!status) status = verify_missing(run, error);
    if (!status) status = model_check_unchanged(p, error);
    if (!status && run->original) status = model_check_unchanged(run->original, error);
    run->result->ok = true;
    for (size_t i = 0; i < run->result->tensor_count; i++) run->result->ok &= run->result->tensors[i].ok;
    return status;
}

/* What the file says of itself, and what may be wrong as a whole. A damaged key says nothing. */
static fpr_status add_words(const verify_run *run, fpr_error *error)
{
    fpr_statement *s = NULL;
    char verdict[FPR_VERDICT_BYTES];
    fpr_status status = fpr_model_statement(run->packed, &s, error);
    if (status && status != FPR_NO_MEMORY) return FPR_OK;
    bool packed = false;
    for (size_t i = 0; !status && i < s->tensor_count; i++) packed |= model_tensor(run->packed, i)->packed;
    if (!status && (s->stated || packed)) {
        fpr_statement_verdict(s, verdict, sizeof verdict);
        run->result->verdict = base_copy_text(verdict, strlen(verdict));
        if (!run->result->verdict) status = base_no_memory(error, strlen(verdict));
    }
    size_t wrong = 0;
    for (size_t i = 0; i < run->result->tensor_count; i++) wrong += !run->result->tensors[i].ok;
    if (!status && 2 * wrong > run->result->tensor_count)
        run->result->suspicion = verify_suspicion(run->packed, run->original, s);
    fpr_statement_free(s);
    return status;
}

FPR_API fpr_status fpr_verify(const char *packed, const char *original, const fpr_options *options,
                              fpr_verification **verification, fpr_error *error)
{
    *verification = NULL;
    if (original && job_is_onnx(packed) && job_is_onnx(original))
        return job_verify_graphs(packed, original, options, verification, error);
    const volatile int *watched = base_watch(options->cancel);
    fpr_model *p = NULL, *o = NULL;
    verify_run run = {.threads = job_threads(options), .result = base_calloc(1, sizeof *run.result)};
    fpr_status status = run.result ? fpr_options_check(options, error) : base_no_memory(error, sizeof *run.result);
    if (!status) status = model_open(packed, &(model_options){true, options}, &p, error);
    if (!status && original) status = fpr_model_open_with(original, options, &o, error);
    run.packed = p;
    run.original = o;
    if (!status) status = verify_all(&run, options, error);
    if (!status) status = add_words(&run, error);
    if (status) {
        base_error_in_file(error, packed);
        fpr_verification_free(run.result);
    } else {
        *verification = run.result;
        if (!run.result->ok) {
            status = base_fail(error, FPR_DIFFERS, original ? "differs from %s" : "is damaged", original);
            base_error_in_file(error, packed);
        }
    }
    for (size_t s = 0; run.keys && s < fpr_model_shard_count(p); s++) file_tree_free(&run.keys[s]);
    base_free(run.keys);
    fpr_model_close(p);
    fpr_model_close(o);
    base_watch(watched);
    return status;
}

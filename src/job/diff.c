/* Two checkpoints, tensor by tensor: what is equal, what changed by how much, what only one of them has. */
#include "job/job.h"

#include <math.h>
#include <stdlib.h>

typedef struct diff_run {
    const fpr_model *a, *b;
    const char *const *strip;
    size_t strip_count;
    fpr_layout layout; /* of A */
    const fpr_options *options;
    fpr_differences *result;
} diff_run;

/* A tensor of B under the name by which it is looked for. */
typedef struct named {
    const char *name;
    size_t bytes, index;
    bool taken;
} named;

/* The name without what is to be stripped, once. */
static void strip_name(const diff_run *run, const char **name, size_t *bytes)
{
    for (size_t i = 0; i < run->strip_count; i++) {
        const size_t n = strlen(run->strip[i]);
        if (n >= *bytes || memcmp(*name, run->strip[i], n)) continue;
        *name += n;
        *bytes -= n;
        return;
    }
}

static int by_name(const void *x, const void *y)
{
    const named *a = x, *b = y;
    const size_t n = a->bytes < b->bytes ? a->bytes : b->bytes;
    const int order = memcmp(a->name, b->name, n);
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

static bool is_float(fpr_dtype d) { return d == FPR_F64 || d == FPR_F32 || d == FPR_F16 || d == FPR_BF16; }

static bool is_zero(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint64_t kernel)
{
    double w[128];
    const uint64_t k = s->k;
    if (k > 128) return false;
    conv_kernels(s, dtype, weights, kernel, 1, w);
    for (uint64_t i = 0; i < k; i++)
        if (w[i] != 0) return false;
    return true;
}

/* Kernels that are zero in B alone; of 1x1 layers, too: there a kernel is a weight. */
static void count_zeroed(const diff_run *run, size_t index_a, const void *a, fpr_dtype dtype_b, const void *b,
                         fpr_difference *row)
{
    fpr_layer_shape s;
    if (!fpr_model_layer(run->a, index_a, run->layout, &s)) return;
    row->kernels = s.kernels;
    for (uint64_t j = 0; j < s.kernels; j++)
        row->kernels_zeroed += is_zero(&s, dtype_b, b, j) && !is_zero(&s, row->dtype_a, a, j);
}

static fpr_status compare_values(const diff_run *run, size_t index_a, size_t index_b, fpr_difference *row,
                                 fpr_error *error)
{
    const fpr_tensor *a = model_tensor(run->a, index_a), *b = model_tensor(run->b, index_b);
    const unsigned threads = job_threads(run->options);
    void *of_a = base_alloc_aligned(a->bytes, 1), *of_b = base_alloc_aligned(b->bytes, 1);
    fpr_status status = of_a && of_b ? FPR_OK : base_no_memory(error, a->bytes + b->bytes);
    if (!status) status = model_read(run->a, index_a, threads, of_a, error);
    if (!status) status = model_read(run->b, index_b, threads, of_b, error);
    const bool same = !status && a->dtype == b->dtype && (!a->bytes || !memcmp(of_a, of_b, a->bytes));
    row->relation = same ? FPR_EQUAL : FPR_CHANGED_VALUES;
    if (same) row->max_abs = row->relative_l2 = 0;
    if (!status && !same && is_float(a->dtype) && is_float(b->dtype)) {
        if (!shrink_difference(b->dtype, of_b, a->dtype, of_a, a->elements, &row->max_abs, &row->relative_l2))
            row->max_abs = row->relative_l2 = NAN;
        count_zeroed(run, index_a, of_a, b->dtype, of_b, row);
    }
    base_free(of_a);
    base_free(of_b);
    return status;
}

static fpr_status new_row(const diff_run *run, const fpr_tensor *t, fpr_relation relation, fpr_difference **row,
                          fpr_error *error)
{
    *row = &run->result->tensors[run->result->tensor_count++];
    **row = (fpr_difference){.name = base_copy_text(t->name, t->name_bytes),
                             .name_bytes = t->name_bytes,
                             .relation = relation,
                             .dtype_a = t->dtype,
                             .dtype_b = t->dtype,
                             .max_abs = NAN,
                             .relative_l2 = NAN};
    return (*row)->name ? FPR_OK : base_no_memory(error, t->name_bytes);
}

static fpr_status compare_one(const diff_run *run, size_t index_a, named *names, fpr_error *error)
{
    const fpr_tensor *a = model_tensor(run->a, index_a);
    named key = {.name = a->name, .bytes = a->name_bytes};
    strip_name(run, &key.name, &key.bytes);
    named *found = bsearch(&key, names, fpr_model_tensor_count(run->b), sizeof *names, by_name);
    if (found && found->taken) found = NULL;
    fpr_difference *row;
    fpr_status status = new_row(run, a, found ? FPR_CHANGED_VALUES : FPR_ONLY_IN_A, &row, error);
    if (status || !found) return status;
    found->taken = true;
    const fpr_tensor *b = model_tensor(run->b, found->index);
    row->dtype_b = b->dtype;
    row->other_shape = a->rank != b->rank || (a->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape));
    return row->other_shape ? FPR_OK : compare_values(run, index_a, found->index, row, error);
}

static fpr_status compare_all(diff_run *run, named *names, fpr_error *error)
{
    const size_t in_a = fpr_model_tensor_count(run->a), in_b = fpr_model_tensor_count(run->b);
    uint64_t done = 0;
    double told = job_now();
    fpr_status status = FPR_OK;
    for (size_t i = 0; i < in_b; i++) {
        const fpr_tensor *t = model_tensor(run->b, i);
        names[i] = (named){t->name, t->name_bytes, i, false};
        strip_name(run, &names[i].name, &names[i].bytes);
    }
    qsort(names, in_b, sizeof *names, by_name);
    for (size_t i = 0; !status && i < in_a; i++) {
        status = job_cancelled(run->options, error);
        if (!status) status = compare_one(run, i, names, error);
        done += model_tensor(run->a, i)->bytes;
        if (!run->options->progress || job_now() - told < 0.1) continue;
        told = job_now();
        run->options->progress(run->options->progress_context, "comparing", done, fpr_model_bytes(run->a));
    }
    /* In the order of B: the names are sorted. */
    bool *taken = base_calloc(in_b, sizeof *taken);
    if (!taken && !status) status = base_no_memory(error, in_b);
    for (size_t i = 0; taken && i < in_b; i++) taken[names[i].index] = names[i].taken;
    fpr_difference *row;
    for (size_t i = 0; !status && i < in_b; i++)
        if (!taken[i]) status = new_row(run, model_tensor(run->b, i), FPR_ONLY_IN_B, &row, error);
    base_free(taken);
    for (size_t i = 0; i < run->result->tensor_count; i++) run->result->count[run->result->tensors[i].relation]++;
    return status;
}

static fpr_status run_diff(diff_run *run, fpr_error *error)
{
    const size_t rows = fpr_model_tensor_count(run->a) + fpr_model_tensor_count(run->b);
    run->layout = run->options->layout == FPR_LAYOUT_AUTO ? fpr_model_layout(run->a) : run->options->layout;
    run->result->tensors = base_calloc(rows, sizeof *run->result->tensors);
    named *names = base_alloc(fpr_model_tensor_count(run->b), sizeof *names);
    fpr_status status = run->result->tensors && names ? FPR_OK : base_no_memory(error, rows * sizeof *names);
    if (!status) status = compare_all(run, names, error);
    if (!status) status = model_check_unchanged(run->a, error);
    if (!status) status = model_check_unchanged(run->b, error);
    base_free(names);
    return status;
}

FPR_API fpr_status fpr_diff(const char *a, const char *b, const char *const *strip, size_t strip_count,
                            const fpr_options *options, fpr_differences **differences, fpr_error *error)
{
    fpr_model *first = NULL, *second = NULL;
    *differences = NULL;
    fpr_status status = fpr_options_check(options, error);
    if (!status && (status = fpr_model_open_with(a, options, &first, error))) base_error_in_file(error, a);
    if (!status && (status = fpr_model_open_with(b, options, &second, error))) base_error_in_file(error, b);
    diff_run run = {first, second, strip, strip_count, FPR_LAYOUT_AUTO, options, NULL};
    if (!status && !(run.result = base_calloc(1, sizeof *run.result))) status = base_no_memory(error, sizeof *run.result);
    if (!status && (status = run_diff(&run, error))) base_error_in_file(error, a);
    fpr_model_close(first);
    fpr_model_close(second);
    if (status) {
        fpr_differences_free(run.result);
        return status;
    }
    *differences = run.result;
    if (run.result->count[FPR_EQUAL] == run.result->tensor_count) return FPR_OK;
    status = base_fail(error, FPR_DIFFERS, "differs from %s", b);
    base_error_in_file(error, a);
    return status;
}

FPR_API void fpr_differences_free(fpr_differences *d)
{
    if (!d) return;
    for (size_t i = 0; d->tensors && i < d->tensor_count; i++) base_free(d->tensors[i].name);
    base_free(d->tensors);
    base_free(d);
}

/* What the output says of the input: its name and its checksum, for the rest of which other work need not wait. */
#include "job/prune.h"
#include "report/report.h"

struct input_sum {
    job_checksum *sum;
    base_aside *aside;
    char *name;
    out_input said;
    model_sum value;
    fpr_error error;
    atomic_bool stop;
};

static void sum_rest(void *context, size_t index, unsigned worker)
{
    (void)index, (void)worker;
    input_sum *s = context;
    checksum_rest(s->sum, &s->stop, &s->value, &s->error);
}

/* The input without its folder: where a file lay is nobody's business. What is no UTF-8 becomes question marks. */
static char *input_name(const fpr_model *model)
{
    const char *path = model_path(model), *slash = strrchr(path, '/');
    if (slash && slash[1]) path = slash + 1;
    const size_t n = strlen(path);
    char *name = base_copy_text(path, n);
    for (size_t i = 0, length; name && i < n; i += length ? length : 1) {
        uint32_t code;
        length = base_utf8(name + i, n - i, &code);
        if (!length) name[i] = '?';
    }
    return name;
}

fpr_status input_new(const fpr_model *model, input_sum **sum, fpr_error *error)
{
    input_sum *s = *sum = base_calloc(1, sizeof *s);
    if (!s) return base_no_memory(error, sizeof *s);
    s->name = input_name(model);
    s->said = (out_input){.name = s->name, .bytes = fpr_model_bytes(model)};
    return s->name ? checksum_new(model, &s->sum, error) : base_no_memory(error, sizeof *s);
}

job_checksum *input_checksum(input_sum *s) { return s->sum; }

fpr_status input_start(input_sum *s, unsigned threads, fpr_error *error)
{
    s->aside = base_start_aside(threads, sum_rest, s);
    return s->aside ? FPR_OK : base_no_memory(error, sizeof *s);
}

out_input *input_said(input_sum *s) { return &s->said; }

fpr_status input_settle(input_sum *s, fpr_error *error)
{
    if (s->aside) base_end_aside(s->aside);
    s->aside = NULL;
    memcpy(s->said.hash, s->value.wide, sizeof s->said.hash);
    if (s->error.status && error) *error = s->error;
    return s->error.status;
}

fpr_status input_end(input_sum *s, fpr_status status, fpr_report *r, fpr_error *error)
{
    if (!s) return status;
    atomic_store(&s->stop, status != FPR_OK);
    if (s->aside) base_end_aside(s->aside);
    checksum_free(s->sum);
    if (!status) {
        r->input_hash = s->value.value;
        memcpy(r->input_hash_long, s->value.wide, sizeof r->input_hash_long);
        if (s->error.status && error) *error = s->error;
        status = s->error.status;
    }
    base_free(s->name);
    base_free(s);
    return status;
}

/* Tensors from file to memory, a few MiB at a time: what bounds the memory of every job. */
#include "model/inside.h"

typedef struct load_context {
    const fpr_model *model;
    const size_t *ids;
    void *const *bytes;
    job_beside beside; /* NULL: nothing */
    void *context;
    unsigned threads;
    fpr_error *errors; /* the first is that of beside */
} load_context;

static void load_one(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const load_context *c = context;
    if (i) model_read(c->model, c->ids[i - 1], c->threads, c->bytes[i - 1], &c->errors[i]);
    else if (c->beside) c->beside(c->context, &c->errors[0]);
}

/* Loads count tensors into bytes[]; a tensor that comes alone is read and decoded by all threads together. */
static fpr_status load(const fpr_model *model, const size_t *ids, size_t count, unsigned threads, void *const *bytes,
                       job_beside beside, void *context, fpr_error *error)
{
    if (count == 1 && !beside) return model_read(model, ids[0], threads, bytes[0], error);
    load_context c = {model, ids, bytes, beside, context, threads, base_calloc(count + 1, sizeof *c.errors)};
    if (!c.errors) return base_no_memory(error, count * sizeof *c.errors);
    base_parallel(threads, count + 1, load_one, &c);
    const fpr_status status = base_first_error(c.errors, count + 1, error);
    base_free(c.errors);
    return status;
}

static uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* How many of ids make the next batch, and their bytes. */
static size_t next_batch(const fpr_model *model, const size_t *ids, size_t count, uint64_t *bytes)
{
    size_t n = 0;
    for (*bytes = 0; n < count; n++) {
        uint64_t more = aligned(model->tensors[ids[n]].bytes);
        if (n > 0 && *bytes + more > JOB_BATCH_BYTES) break;
        *bytes += more;
    }
    return n;
}

static fpr_status make_room(model_buffer *buffer, uint64_t wanted, fpr_error *error)
{
    if (wanted <= buffer->capacity) return FPR_OK;
    base_free(buffer->bytes);
    buffer->capacity = wanted < JOB_BATCH_BYTES ? JOB_BATCH_BYTES : wanted;
    buffer->bytes = base_alloc_aligned(buffer->capacity, 1);
    if (buffer->bytes) return FPR_OK;
    wanted = buffer->capacity;
    buffer->capacity = 0;
    return base_no_memory(error, wanted);
}

/* Ten times a second is enough for any eye. */
#define PROGRESS_SECONDS 0.1

fpr_status job_batches(const fpr_model *model, const size_t *ids, size_t count, const fpr_options *options,
                       const char *phase, job_visit visit, job_beside beside, void *context, fpr_error *error)
{
    model_buffer *const buffers = model->buffers;
    uint64_t done = 0, total = 0;
    unsigned turn = 0;
    for (size_t i = 0; i < count; i++) total += model->tensors[ids[i]].bytes;
    void **bytes = base_alloc(count, sizeof *bytes);
    fpr_status status = bytes ? FPR_OK : base_no_memory(error, count * sizeof *bytes);
    double told = job_now();
    const volatile int *watched = base_watch(options->cancel);
    for (size_t first = 0, n; !status && first < count; first += n) {
        uint64_t wanted;
        n = next_batch(model, ids + first, count - first, &wanted);
        /* Side by side with the batch before, in the other buffer; but two large tensors are not kept at once. */
        const bool together = wanted <= JOB_BATCH_BYTES && buffers[turn].capacity <= JOB_BATCH_BYTES;
        if (beside && first && !together) status = beside(context, error);
        if (beside && together) turn = !turn;
        if (!status) status = make_room(&buffers[turn], wanted, error);
        if (status) break;
        uint64_t at = 0;
        for (size_t i = 0; i < n; i++) {
            bytes[i] = buffers[turn].bytes + at;
            at += aligned(model->tensors[ids[first + i]].bytes);
            done += model->tensors[ids[first + i]].bytes;
        }
        status = job_cancelled(options, error);
        if (!status) status = load(model, ids + first, n, job_threads(options), bytes,
                                   first && together ? beside : NULL, context, error);
        if (!status) status = job_cancelled(options, error);
        if (!status) status = visit(context, first, n, bytes, error);
        if (options->progress && job_now() - told > PROGRESS_SECONDS) {
            told = job_now();
            options->progress(options->progress_context, phase, done, total);
        }
    }
    if (!status && count && beside) status = beside(context, error);
    base_watch(watched);
    if (options->progress && !status) options->progress(options->progress_context, phase, total, total);
    base_free(bytes);
    return status;
}

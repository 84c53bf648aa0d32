/* Tensors from file to memory a few MiB at a time, through the hands of whoever works on them, and out again: what bounds
 * the memory of every job, and the only place where reading, working and writing overlap. */
#include "model/inside.h"

#include <stdlib.h>

/* ---------------------------------------------------------------- reading */

/* A tensor of the batch, and when it is its turn: a pool at first, that nobody waits for it, then large ones. */
typedef struct load_turn { size_t i; uint64_t weight; } load_turn;

typedef struct load_context {
    const fpr_model *model;
    const size_t *ids;
    void *const *bytes;
    unsigned threads;
    fpr_error *errors;
    load_turn *turns;
} load_context;

static int by_turn(const void *a, const void *b)
{
    const load_turn *x = a, *y = b;
    if (x->weight != y->weight) return x->weight < y->weight ? 1 : -1;
    return (x->i > y->i) - (x->i < y->i);
}

static void take_turns(load_context *c, size_t count)
{
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        const source_tensor *t = model_source_of(c->model, c->ids[i]);
        c->turns[i] = (load_turn){i, t->member && first ? UINT64_MAX : t->bytes};
        if (t->member) first = false;
    }
    qsort(c->turns, count, sizeof *c->turns, by_turn);
}

static void load_one(void *context, size_t turn, unsigned worker)
{
    (void)worker;
    const load_context *c = context;
    const size_t i = c->turns[turn].i;
    model_read(c->model, c->ids[i], c->threads, c->bytes[i], &c->errors[i]);
}

/* Hands damage to whoever can go on without these tensors. */
static fpr_status report_damage(const model_pipe *pipe, size_t first, size_t count, fpr_error *errors, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && pipe->damaged && i < count; i++) {
        if (errors[i].status != FPR_BAD_PACKED && errors[i].status != FPR_TOO_NEW) continue;
        status = pipe->damaged(pipe->context, first + i, &errors[i], error);
        errors[i].status = FPR_OK;
    }
    return status;
}

/* Loads tensors number first to first + count of the pipe into bytes[]; inside, all threads share the work on a large
 * one. */
static fpr_status load(const fpr_model *model, const size_t *ids, size_t first, size_t count, unsigned threads,
                       void *const *bytes, const model_pipe *pipe, fpr_error *error)
{
    load_context c = {model, ids, bytes, threads, base_calloc(count, sizeof *c.errors), base_alloc(count, sizeof *c.turns)};
    fpr_status status = c.errors && c.turns ? FPR_OK : base_no_memory(error, count * (sizeof *c.errors + sizeof *c.turns));
    if (!status) {
        take_turns(&c, count);
        base_parallel(threads, count, load_one, &c);
        status = report_damage(pipe, first, count, c.errors, error);
    }
    if (!status) status = base_first_error(c.errors, count, error);
    base_free(c.errors);
    base_free(c.turns);
    return status;
}

/* ---------------------------------------------------------------- batches */

static uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* How many of ids make the next batch, and their bytes. */
static size_t next_batch(const fpr_model *model, const size_t *ids, size_t count, uint64_t *bytes)
{
    size_t n = 0;
    for (*bytes = 0; n < count; n++) {
        uint64_t more = aligned(model->tensors[ids[n]].bytes);
        if (n > 0 && *bytes + more > MODEL_BATCH_BYTES) break;
        *bytes += more;
    }
    return n;
}

/* What any batch of a model takes, where none of its tensors is larger than a batch. */
static uint64_t usual_room(const fpr_model *model)
{
    uint64_t all = 0;
    for (size_t i = 0; i < model->tensor_count && all < MODEL_BATCH_BYTES; i++) all += aligned(model->tensors[i].bytes);
    return all < MODEL_BATCH_BYTES ? all : MODEL_BATCH_BYTES;
}

/* Once for all sweeps over the model, but no more than it can use: a page that is touched is made, and large pages are whole. */
static fpr_status make_room(const fpr_model *model, model_buffer *buffer, uint64_t wanted, fpr_error *error)
{
    if (wanted <= buffer->capacity) return FPR_OK;
    const uint64_t usual = usual_room(model);
    base_free(buffer->bytes);
    buffer->capacity = wanted < usual ? usual : wanted;
    buffer->bytes = base_alloc_aligned(buffer->capacity, 1);
    if (buffer->bytes) return FPR_OK;
    wanted = buffer->capacity;
    buffer->capacity = 0;
    return base_no_memory(error, wanted);
}

/* ---------------------------------------------------------------- writing, aside of what follows */

typedef struct pipe_run {
    const fpr_model *model;
    const fpr_options *options;
    const model_pipe *pipe;
    unsigned threads;
    unsigned turn;        /* the buffer of the batch at hand */
    base_aside *aside;    /* the writing of the batch before */
    fpr_error write_error;
    double told;          /* when progress was last told */
} pipe_run;

static void write_task(void *context, size_t index, unsigned worker)
{
    (void)index, (void)worker;
    pipe_run *run = context;
    run->pipe->write(run->pipe->context, &run->write_error);
}

/* Waits until the batch before is written. */
static fpr_status settle(pipe_run *run, fpr_error *error)
{
    base_end_aside(run->aside);
    run->aside = NULL;
    return base_first_error(&run->write_error, 1, error);
}

static fpr_status put(pipe_run *run, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    fpr_status status = settle(run, error);
    if (!status) status = run->pipe->put(run->pipe->context, first, count, bytes, error);
    if (status || !run->pipe->write) return status;
    run->aside = base_start_aside(run->threads, write_task, run);
    return run->aside ? FPR_OK : base_no_memory(error, sizeof *run);
}

/* ---------------------------------------------------------------- the pipe */

/* Ten times a second is enough for any eye. */
#define PROGRESS_SECONDS 0.1

static void tell(pipe_run *run, uint64_t done, uint64_t total)
{
    if (!run->options->progress || (done < total && job_now() - run->told <= PROGRESS_SECONDS)) return;
    run->told = job_now();
    run->options->progress(run->options->progress_context, run->pipe->phase, done, total);
}

/* One batch: ids[0 .. count), the first of which is number `first`. */
static fpr_status pass(pipe_run *run, const size_t *ids, size_t first, size_t count, uint64_t wanted, void **bytes,
                       fpr_error *error)
{
    const model_pipe *pipe = run->pipe;
    model_buffer *const buffers = run->model->buffers;
    fpr_status status = FPR_OK;
    /* Beside the batch before, in the other buffer; but two large tensors are not kept at once. */
    const bool together = wanted <= MODEL_TOGETHER_BYTES && buffers[run->turn].capacity <= MODEL_TOGETHER_BYTES;
    if (!together) status = settle(run, error);
    else if (pipe->put) run->turn = !run->turn;
    model_buffer *buffer = &buffers[run->turn];
    if (!status) status = make_room(run->model, buffer, wanted, error);
    if (status) return status;
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        bytes[i] = buffer->bytes + at;
        at += aligned(run->model->tensors[ids[i]].bytes);
    }
    status = job_cancelled(run->options, error);
    if (!status) status = load(run->model, ids, first, count, run->threads, bytes, pipe, error);
    if (!status) status = job_cancelled(run->options, error);
    if (!status && pipe->work) status = pipe->work(pipe->context, first, count, bytes, error);
    /* What was cut short must not be written. */
    if (!status) status = job_cancelled(run->options, error);
    if (!status && pipe->put) status = put(run, first, count, bytes, error);
    return status;
}

fpr_status model_run(const fpr_model *model, const size_t *ids, size_t count, const fpr_options *options,
                     const model_pipe *pipe, fpr_error *error)
{
    pipe_run run = {.model = model,
                    .options = options,
                    .pipe = pipe,
                    .threads = job_threads(options),
                    .told = job_now()};
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < count; i++) total += model->tensors[ids[i]].bytes;
    void **bytes = base_alloc(count, sizeof *bytes);
    fpr_status status = bytes ? FPR_OK : base_no_memory(error, count * sizeof *bytes);
    const volatile int *watched = base_watch(options->cancel);
    for (size_t first = 0, n; !status && first < count; first += n) {
        uint64_t wanted;
        n = next_batch(model, ids + first, count - first, &wanted);
        status = pass(&run, ids + first, first, n, wanted, bytes, error);
        for (size_t i = first; i < first + n; i++) done += model->tensors[ids[i]].bytes;
        if (!status && done < total) tell(&run, done, total);
    }
    const fpr_status settled = settle(&run, status ? NULL : error);
    if (!status) status = settled;
    base_watch(watched);
    if (!status) tell(&run, total, total);
    base_free(bytes);
    return status;
}

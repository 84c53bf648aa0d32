/* Restores a dense checkpoint: the original header, byte for byte, then every tensor decoded. The same for a checkpoint of
 * another format makes a safetensors file of it. */
#include "job/job.h"

typedef struct unpack_run {
    const fpr_model *model;
    const size_t *ids;
    file_out *out;
    file_part *parts; /* [tensors] of the batch that is to be written */
    size_t count;
    uint64_t offset;
} unpack_run;

static fpr_status list_parts(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    unpack_run *run = context;
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        run->parts[i] = (file_part){bytes[i], model_tensor(run->model, run->ids[first + i])->bytes};
        total += run->parts[i].count;
    }
    run->count = count;
    return file_out_reserve(run->out, total, &run->offset, error);
}

static fpr_status write_parts(void *context, fpr_error *error)
{
    const unpack_run *run = context;
    return file_out_place(run->out, run->offset, run->parts, run->count, error);
}

/* Tensors whose bytes stand in a file as they are, as far as they follow one another: no memory is needed for them. */
static fpr_status copy_plain(unpack_run *run, size_t first, size_t n, size_t *next, fpr_error *error)
{
    fpr_status status = FPR_OK;
    size_t file;
    uint64_t offset;
    for (*next = first; !status && *next < n && model_place(run->model, run->ids[*next], &file, &offset); ++*next)
        status = file_out_copy(run->out, model_file(run->model, file), offset,
                               model_tensor(run->model, run->ids[*next])->bytes, error);
    return status;
}

/* A shard that is not packed: what lies in it as it will lie in OUTPUT is copied, the rest is read and turned. */
static fpr_status convert_tensors(unpack_run *run, size_t n, const fpr_options *options, const model_pipe *pipe,
                                  fpr_error *error)
{
    fpr_status status = FPR_OK;
    const size_t *all = run->ids;
    for (size_t i = 0, end = 0; !status && i < n; i = end) {
        size_t file;
        uint64_t offset;
        run->ids = all;
        status = job_cancelled(options, error);
        if (!status) status = copy_plain(run, i, n, &end, error);
        if (status || end > i) continue;
        while (end < n && !model_place(run->model, all[end], &file, &offset)) end++;
        run->ids = all + i;
        status = model_run(run->model, all + i, end - i, options, pipe, error);
    }
    return status;
}

static fpr_status unpack_shard(const fpr_model *model, size_t s, const char *path, const char *phase,
                               const fpr_options *options, file_out **out, fpr_error *error)
{
    size_t n = model_shard_tensors(model, s), *ids = base_alloc(n, sizeof *ids), bytes = 0;
    char *header = NULL;
    uint8_t length[8];
    fpr_status status = ids ? FPR_OK : base_no_memory(error, n * sizeof *ids);
    for (size_t i = 0; !status && i < n; i++) ids[i] = model_shard_first(model, s) + i;
    /* Without our metadata the tensors restore, but the header may not: that must be wanted. */
    if (!status && model_shard_is_packed(model, s) && !model_shard_key(model, s) && !options->force) {
        status = base_fail(error, FPR_BAD_PACKED,
                           "has lost its '%s' metadata: tensors can be restored, the original header cannot (--force "
                           "restores them under a new one)",
                           SOURCE_PACKED_KEY);
        base_error_in_file(error, fpr_model_shard_path(model, s));
    }
    if (!status) status = model_check_shard(model, s, error);
    if (!status) status = model_dense_header(model, s, &header, &bytes, error);
    if (!status) status = file_out_create(path, options->force, out, error);
    base_store_le64(length, bytes);
    if (!status) status = file_out_write(*out, length, 8, error);
    if (!status) status = file_out_write(*out, header, bytes, error);
    unpack_run run = {.model = model, .ids = ids, .out = *out, .parts = base_alloc(n, sizeof *run.parts)};
    const model_pipe pipe = {.phase = phase, .put = list_parts, .write = write_parts, .context = &run};
    if (!status && !run.parts) status = base_no_memory(error, n * sizeof *run.parts);
    if (!status)
        status = model_shard_is_packed(model, s) ? model_run(model, ids, n, options, &pipe, error)
                                                 : convert_tensors(&run, n, options, &pipe, error);
    base_free(run.parts);
    base_free(header);
    base_free(ids);
    return status;
}

static fpr_status unpack_into(const fpr_model *model, out_place *place, const char *phase, const fpr_options *options,
                              fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t s = 0; !status && s < fpr_model_shard_count(model); s++) {
        char *path = place_path(place, s);
        file_out *out = NULL;
        status = path ? unpack_shard(model, s, path, phase, options, &out, error) : base_no_memory(error, 1);
        if (!status) status = place_add(place, s, out, error);
        else file_out_abandon(out);
        if (status && path) base_error_in_file(error, path);
        if (status && path && error && !strcmp(error->file, path)) place_failed(place, s, status, error);
        base_free(path);
    }
    return status;
}

static fpr_status unpack_all(const fpr_model *model, const char *output, const char *phase, const fpr_options *options,
                             fpr_error *error)
{
    out_place *place;
    fpr_status status = place_new(model, output, options, &place, error);
    if (status) return status;
    status = unpack_into(model, place, phase, options, error);
    if (!status) status = model_check_unchanged(model, error);
    if (!status) status = job_cancelled(options, error);
    if (!status) status = place_switch(place, NULL, NULL, error);
    place_free(place);
    return status;
}

static fpr_status restore(const char *input, const char *output, const char *phase, const fpr_options *options,
                          fpr_error *error)
{
    const volatile int *watched = base_watch(options->cancel);
    fpr_model *model = NULL;
    fpr_status status = fpr_options_check(options, error);
    if (!status) status = fpr_model_open_with(input, options, &model, error);
    if (!status) status = output_check(model, output, options, error);
    if (!status) status = unpack_all(model, output, phase, options, error);
    if (status) base_error_in_file(error, input);
    fpr_model_close(model);
    base_watch(watched);
    return status;
}

FPR_API fpr_status fpr_unpack(const char *packed, const char *output, const fpr_options *options, fpr_error *error)
{
    return restore(packed, output, "unpacking", options, error);
}

FPR_API fpr_status fpr_convert(const char *input, const char *output, const fpr_options *options, fpr_error *error)
{
    return restore(input, output, "converting", options, error);
}

/* Profiles of checkpoints: the sweeps. */
#include "job/profile.h"

#include <math.h>
#include <stdlib.h>

#define ROWS_BATCH (8u << 20) /* bytes of rows that are in memory at a time, unless one layer has more */

/* ---------------------------------------------------------------- layers of a source */

typedef struct profile_layer {
    size_t tensor;
    uint64_t first;
    const char *name;
    fpr_layer_shape shape;
    double depth;        /* conv_depth_norm; NaN: not known */
} profile_layer;

typedef struct sweeping {
    const profile_source *source;
    const fpr_options *options;
    conv_settings settings;
    collect_profile *profile;
    fpr_model *model;
    study *study;        /* of a checkpoint; NULL: rows */
    size_t *study_layers; /* [count] number of each layer in the study */
    profile_layer *layers;
    size_t count;
    size_t *chosen;      /* layers to visit */
    size_t chosen_count;
    fpr_dtype dtype;     /* of rows */
    /* measuring */
    const fpr_layer_shape *far_shape;
    conv_farthest *farthest;
    /* extent, counting */
    const fpr_basis *basis;
    const collect_grid *grid;
} sweeping;

typedef fpr_status (*visit_blocks)(sweeping *s, const size_t *layers, conv_block *blocks, size_t count, fpr_error *error);

static fpr_status find_rows(sweeping *s, fpr_error *error)
{
    const fpr_tensor *t = NULL;
    size_t tensor = 0;
    fpr_layer_shape one = {.filters = 1, .k = 1, .layout = FPR_LAYOUT_OIHW};
    for (size_t i = 0; i < fpr_model_tensor_count(s->model); i++) {
        const fpr_tensor *candidate = fpr_model_tensor(s->model, i);
        const bool fits = (candidate->dtype == FPR_F64 || candidate->dtype == FPR_F32) && candidate->rank >= 2 &&
                          candidate->rank <= 4;
        if (!fits || (t && t->elements >= candidate->elements)) continue;
        t = candidate;
        tensor = i;
    }
    if (!t) return base_fail(error, FPR_USAGE, "holds no tensor [N, k...] whose rows are kernels");
    s->dtype = t->dtype;
    one.kernel_rank = t->rank - 1;
    for (unsigned d = 0; d < one.kernel_rank; d++) {
        one.kernel_shape[d] = t->shape[d + 1];
        one.k *= t->shape[d + 1] && one.k < CONV_K_MAX ? t->shape[d + 1] : CONV_K_MAX + 1;
    }
    if (one.kernel_rank == 1 && one.k == 9) /* rows of nine are 3x3 kernels */
        one.kernel_rank = 2, one.kernel_shape[0] = one.kernel_shape[1] = 3;
    if (!conv_has_basis(&one)) return base_fail(error, FPR_USAGE, "its rows are no kernels of 2 to %d weights", CONV_K_MAX);
    for (size_t i = 0; i < s->source->row_count; i++) {
        const profile_rows *r = &s->source->rows[i];
        if (r->count == 0 || r->first > t->shape[0] || r->count > t->shape[0] - r->first)
            return base_fail(error, FPR_USAGE, "%s: rows %llu to %llu of %llu", r->name, (unsigned long long)r->first,
                             (unsigned long long)(r->first + r->count), (unsigned long long)t->shape[0]);
        profile_layer *l = &s->layers[s->count++];
        *l = (profile_layer){tensor, r->first, r->name, one, NAN};
        l->shape.channels = l->shape.kernels = r->count;
    }
    return FPR_OK;
}

static fpr_status open_source(sweeping *s, fpr_error *error)
{
    const model_options how = {.options = s->options};
    fpr_status status = model_open(s->source->path, &how, &s->model, error);
    if (status) return status;
    const size_t n = s->source->rows ? s->source->row_count : fpr_model_tensor_count(s->model);
    s->layers = base_calloc(n, sizeof *s->layers);
    s->chosen = base_alloc(n, sizeof *s->chosen);
    if (!s->layers || !s->chosen) return base_no_memory(error, n * sizeof *s->layers);
    if (s->source->rows) return find_rows(s, error);
    for (size_t i = 0; !status && i < fpr_model_shard_count(s->model); i++) status = model_check_shard(s->model, i, error);
    if (!status) status = study_find(s->model, s->options, NULL, &s->study, error);
    if (status) return status;
    s->study_layers = base_alloc(n, sizeof *s->study_layers);
    if (!s->study_layers) return base_no_memory(error, n * sizeof *s->study_layers);
    for (size_t i = 0; i < s->study->layer_count; i++) {
        const study_layer *l = &s->study->layers[i];
        if (!conv_has_basis(&l->shape) || !l->shape.kernels) continue;
        s->study_layers[s->count] = i;
        s->layers[s->count++] = (profile_layer){l->tensor, 0, model_tensor(s->model, l->tensor)->name, l->shape, NAN};
    }
    return FPR_OK;
}

static void close_source(sweeping *s)
{
    base_free(s->layers);
    base_free(s->chosen);
    base_free(s->study_layers);
    study_free(s->study);
    fpr_model_close(s->model);
}

/* ---------------------------------------------------------------- visiting them */

typedef struct batch_context { sweeping *s; visit_blocks visit; } batch_context;

static fpr_status visit_tensors(void *context, size_t first, size_t count, void *const *bytes, fpr_error *error)
{
    const batch_context *c = context;
    sweeping *s = c->s;
    conv_block *blocks = base_alloc(count, sizeof *blocks);
    if (!blocks) return base_no_memory(error, count * sizeof *blocks);
    for (size_t i = 0; i < count; i++) {
        const profile_layer *l = &s->layers[s->chosen[first + i]];
        blocks[i] = (conv_block){.shape = &l->shape, .dtype = fpr_model_tensor(s->model, l->tensor)->dtype,
                                 .weights = bytes[i]};
    }
    const fpr_status status = c->visit(s, s->chosen + first, blocks, count, error);
    base_free(blocks);
    return status;
}

static uint64_t row_bytes(const sweeping *s, const profile_layer *l)
{
    return l->shape.k * (s->dtype == FPR_F64 ? 8 : 4);
}

typedef struct row_batch {
    const sweeping *s;
    size_t first;           /* of the chosen layers */
    const conv_block *blocks;
    const file_source *file;
    uint64_t offset;        /* of the tensor */
    fpr_error *errors;
} row_batch;

static void read_rows(void *context, size_t i, unsigned worker)
{
    const row_batch *b = context;
    (void)worker;
    const profile_layer *l = &b->s->layers[b->s->chosen[b->first + i]];
    const uint64_t one = row_bytes(b->s, l);
    file_source_read(b->file, b->offset + l->first * one, (void *)(uintptr_t)b->blocks[i].weights, l->shape.kernels * one,
                     &b->errors[i]);
}

/* Layers chosen[first .. last - 1], whose rows follow one another into room; every thread reads. */
static fpr_status visit_rows(sweeping *s, size_t first, size_t last, uint8_t *room, conv_block *blocks,
                             visit_blocks visit, fpr_error *error)
{
    size_t file = 0;
    row_batch batch = {.s = s, .first = first, .blocks = blocks, .errors = base_calloc(last - first, sizeof *batch.errors)};
    if (!batch.errors) return base_no_memory(error, (last - first) * sizeof *batch.errors);
    bool lies = true;
    for (size_t i = first; lies && i < last; i++) {
        const profile_layer *l = &s->layers[s->chosen[i]];
        lies = model_place(s->model, l->tensor, &file, &batch.offset); /* of one tensor, all of them */
        blocks[i - first] = (conv_block){.shape = &l->shape, .dtype = s->dtype, .weights = room};
        room += (l->shape.kernels * row_bytes(s, l) + 63) / 64 * 64;
    }
    fpr_status status = FPR_OK;
    if (lies) {
        batch.file = model_file(s->model, file);
        base_parallel(s->settings.threads, last - first, read_rows, &batch);
        status = base_first_error(batch.errors, last - first, error);
    } else {
        status = base_fail(error, FPR_USAGE, "its rows do not lie in the file as they are");
    }
    base_free(batch.errors);
    if (!status) status = job_cancelled(s->options, error);
    return status ? status : visit(s, s->chosen + first, blocks, last - first, error);
}

static fpr_status sweep_rows(sweeping *s, visit_blocks visit, fpr_error *error)
{
    uint64_t room = ROWS_BATCH, done = 0, all = 0;
    for (size_t i = 0; i < s->chosen_count; i++) {
        const profile_layer *l = &s->layers[s->chosen[i]];
        const uint64_t bytes = l->shape.kernels * row_bytes(s, l) + 64;
        all += bytes;
        if (bytes > room) room = bytes;
    }
    uint8_t *bytes = base_alloc_aligned(room, 1);
    conv_block *blocks = base_alloc(s->chosen_count, sizeof *blocks);
    fpr_status status = bytes && blocks ? FPR_OK : base_no_memory(error, room);
    for (size_t first = 0, last; !status && first < s->chosen_count; first = last) {
        uint64_t used = 0;
        for (last = first; last < s->chosen_count; last++) {
            const profile_layer *l = &s->layers[s->chosen[last]];
            const uint64_t more = (l->shape.kernels * row_bytes(s, l) + 63) / 64 * 64;
            if (last > first && used + more > room) break;
            used += more;
        }
        status = visit_rows(s, first, last, bytes, blocks, visit, error);
        done += used;
        if (!status && s->options->progress)
            s->options->progress(s->options->progress_context, "reading rows", done < all ? done : all, all);
    }
    base_free(bytes);
    base_free(blocks);
    return status;
}

/* Visits the chosen layers, a few MiB at a time. */
static fpr_status sweep_layers(sweeping *s, const char *phase, visit_blocks visit, fpr_error *error)
{
    if (s->source->rows) return sweep_rows(s, visit, error);
    batch_context context = {s, visit};
    size_t *layers = base_alloc(s->chosen_count, sizeof *layers);
    if (!layers) return base_no_memory(error, s->chosen_count * sizeof *layers);
    for (size_t i = 0; i < s->chosen_count; i++) layers[i] = s->study_layers[s->chosen[i]];
    const fpr_status status = study_visit(s->study, layers, s->chosen_count, phase, visit_tensors, &context, error);
    base_free(layers);
    return status;
}

static fpr_status end_sweep(sweeping *s, fpr_status status, fpr_error *error)
{
    if (!status) status = model_check_unchanged(s->model, error);
    if (status) base_error_in_file(error, s->source->path);
    close_source(s);
    return status;
}

/* ---------------------------------------------------------------- depths */

static int by_depth(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* conv_depth_norm of every layer, where the checkpoint is a graph: the rank of its depth among the different ones that 2-D
 * convolutions have, over the last rank. */
static fpr_status take_depths(sweeping *s, fpr_error *error)
{
    if (!s->study) return FPR_OK;
    const size_t n = s->study->layer_count;
    uint64_t *depths = base_alloc(n, sizeof *depths);
    if (!depths) return base_no_memory(error, n * sizeof *depths);
    size_t found = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        const study_layer *l = &s->study->layers[i];
        const uint64_t depth = fpr_model_tensor(s->model, l->tensor)->depth;
        if (depth != FPR_NO_DEPTH && l->shape.kernel_rank == 2 && !l->shape.transposed) depths[found++] = depth;
    }
    if (found) qsort(depths, found, sizeof *depths, by_depth);
    for (size_t i = 0; i < found; i++)
        if (!count || depths[count - 1] != depths[i]) depths[count++] = depths[i];
    s->profile->deep = count > 0;
    for (size_t i = 0; i < s->count; i++) {
        const uint64_t depth = fpr_model_tensor(s->model, s->layers[i].tensor)->depth;
        size_t rank = 0;
        while (rank + 1 < count && depths[rank] < depth) rank++;
        if (count && depth != FPR_NO_DEPTH) s->layers[i].depth = count > 1 ? (double)rank / (double)(count - 1) : 0;
    }
    base_free(depths);
    return FPR_OK;
}

/* ---------------------------------------------------------------- sweep one */

static fpr_status take_layer(sweeping *s, size_t i, conv_measure *m, fpr_error *error)
{
    const profile_layer *from = &s->layers[i];
    collect_layer *l = &s->profile->layers[i];
    *l = (collect_layer){.name = base_copy_text(from->name, strlen(from->name)), .kernel_rank = from->shape.kernel_rank,
                         .k = (unsigned)from->shape.k, .kernels = from->shape.kernels, .depth = from->depth,
                         .finite = m->finite,
                         .sparse = m->finite ? m->sparse : 0, .max_abs = m->max_abs,
                         .variance_entropy = m->variance_entropy, .variance_entropy_clean = m->variance_entropy_clean,
                         .orthogonality = m->orthogonality, .moments = m->all};
    memcpy(l->kernel_shape, from->shape.kernel_shape, sizeof l->kernel_shape);
    m->all = (fpr_moments){0};
    return l->name ? FPR_OK : base_no_memory(error, strlen(from->name));
}

static fpr_status measure_blocks(sweeping *s, const size_t *layers, conv_block *blocks, size_t count, fpr_error *error)
{
    conv_measure *results = base_calloc(count, sizeof *results);
    if (!results) return base_no_memory(error, count * sizeof *results);
    for (size_t i = 0; s->farthest && i < count; i++)
        if (study_same_group(blocks[i].shape, s->far_shape)) results[i].farthest = s->farthest;
    fpr_status status = conv_measure_blocks(blocks, count, &s->settings, results, error);
    for (size_t i = 0; i < count; i++) {
        if (!status) status = take_layer(s, layers[i], &results[i], error);
        fpr_moments_free(&results[i].all);
        fpr_moments_free(&results[i].live);
    }
    base_free(results);
    return status;
}

fpr_status profile_measure(const profile_source *from, const fpr_options *options, const fpr_layer_shape *far_shape,
                           conv_farthest *farthest, collect_profile *profile, fpr_error *error)
{
    sweeping s = {.source = from, .options = options, .settings = study_settings(options), .profile = profile,
                  .far_shape = far_shape, .farthest = farthest};
    *profile = (collect_profile){.eps = options->eps, .half = options->half};
    fpr_status status = open_source(&s, error);
    if (!status) {
        profile->source_bytes = fpr_model_bytes(s.model);
        profile->name = base_copy_text(from->name, strlen(from->name));
        profile->layers = base_calloc(s.count, sizeof *profile->layers);
        if (profile->layers) profile->layer_count = s.count;
        if (!profile->name || !profile->layers) status = base_no_memory(error, s.count * sizeof *profile->layers);
    }
    for (size_t i = 0; !status && i < s.count; i++) s.chosen[s.chosen_count++] = i;
    if (!status) status = take_depths(&s, error);
    if (!status) status = sweep_layers(&s, "measuring", measure_blocks, error);
    status = end_sweep(&s, status, error);
    if (status) collect_profile_free(profile);
    return status;
}

/* ---------------------------------------------------------------- sweeps two and three */

static fpr_status extend_blocks(sweeping *s, const size_t *layers, conv_block *blocks, size_t count, fpr_error *error)
{
    (void)layers;
    return conv_range_blocks(blocks, count, &s->settings, s->basis, s->profile->extent, error);
}

static fpr_status count_blocks(sweeping *s, const size_t *layers, conv_block *blocks, size_t count, fpr_error *error)
{
    const conv_grid grid = {.basis = s->basis, .range = {s->grid->range[0], s->grid->range[1]}, .bins = s->grid->bins,
                            .zoom = COLLECT_ZOOM, .side = COLLECT_SIDE};
    conv_cells *results = base_alloc(count, sizeof *results);
    if (!results) return base_no_memory(error, count * sizeof *results);
    for (size_t i = 0; i < count; i++)
        results[i] = (conv_cells){s->profile->layers[layers[i]].cells, s->profile->layers[layers[i]].plane};
    const fpr_status status = conv_cell_blocks(blocks, count, &s->settings, &grid, results, s->profile->extent, error);
    base_free(results);
    return status;
}

/* Opens the source again for the layers of the grid's shape, which must be those that were measured. */
static fpr_status sweep_again(const profile_source *from, const fpr_options *options, const fpr_basis *basis,
                              const collect_grid *grid, collect_profile *profile, const char *phase, visit_blocks visit,
                              fpr_error *error)
{
    sweeping s = {.source = from, .options = options, .settings = study_settings(options), .profile = profile,
                  .basis = basis, .grid = grid};
    fpr_status status = open_source(&s, error);
    bool same = !status && s.count == profile->layer_count;
    for (size_t i = 0; same && i < s.count; i++) {
        const collect_layer *l = &profile->layers[i];
        same = l->kernels == s.layers[i].shape.kernels && l->k == s.layers[i].shape.k &&
               !strcmp(l->name, s.layers[i].name);
        if (same && l->finite && collect_same_shape(l, grid)) s.chosen[s.chosen_count++] = i;
    }
    if (!status && !same) status = base_fail(error, FPR_CHANGED, "is no longer what it was when its profile was made");
    if (!status && s.chosen_count) status = sweep_layers(&s, phase, visit, error);
    return end_sweep(&s, status, error);
}

fpr_status profile_extent(const profile_source *from, const fpr_options *options, const fpr_basis *basis,
                          const collect_grid *grid, collect_profile *profile, fpr_error *error)
{
    profile->grid = *grid;
    profile->counted = false;
    profile->extent[0] = INFINITY;
    profile->extent[1] = -INFINITY;
    fpr_status status = sweep_again(from, options, basis, grid, profile, "ranging", extend_blocks, error);
    profile->ranged = !status && profile->extent[0] <= profile->extent[1];
    return status;
}

fpr_status profile_count(const profile_source *from, const fpr_options *options, const fpr_basis *basis,
                         const collect_grid *grid, collect_profile *profile, fpr_error *error)
{
    fpr_status status = collect_profile_count_anew(profile, grid, error);
    profile->extent[0] = INFINITY;
    profile->extent[1] = -INFINITY;
    if (!status) status = sweep_again(from, options, basis, grid, profile, "counting", count_blocks, error);
    profile->ranged = !status && profile->extent[0] <= profile->extent[1];
    return status;
}

/* ---------------------------------------------------------------- files */

fpr_status profile_read_file(const char *path, uint64_t most, char **text, size_t *count, fpr_error *error)
{
    file_source *file = NULL;
    *text = NULL;
    fpr_status status = file_source_open(path, &file, error);
    const uint64_t n = status ? 0 : file_source_size(file);
    if (!status && n > most) status = base_fail(error, FPR_BAD_PROFILE, "the file is too large for what it should be");
    if (!status && !(*text = base_alloc(n + 1, 1))) status = base_no_memory(error, n);
    if (!status) status = file_source_read(file, 0, *text, n, error);
    if (!status) (*text)[n] = 0;
    *count = (size_t)n;
    file_source_close(file);
    if (status) {
        base_error_in_file(error, path);
        base_free(*text);
        *text = NULL;
    }
    return status;
}

fpr_status profile_load(const char *path, bool with_counts, collect_profile *profile, fpr_error *error)
{
    char *bytes;
    size_t count;
    *profile = (collect_profile){0};
    fpr_status status = profile_read_file(path, UINT64_C(1) << 32, &bytes, &count, error);
    if (status) return status;
    status = collect_profile_read((const uint8_t *)bytes, count, with_counts, profile, error);
    base_free(bytes);
    if (status) base_error_in_file(error, path);
    return status;
}

fpr_status profile_store(const collect_profile *profile, const char *path, bool force, fpr_error *error)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    file_out *out = NULL;
    fpr_status status = collect_profile_write(profile, &bytes, &count, error);
    if (!status) status = file_out_create(path, force, &out, error);
    if (!status) status = file_out_write(out, bytes, count, error);
    if (!status) status = file_out_commit(out, error);
    else file_out_abandon(out);
    base_free(bytes);
    if (status) base_error_in_file(error, path);
    return status;
}

char *profile_stem(const char *path)
{
    char *name = NULL;
    const char *last = strrchr(path, '/');
    last = last ? last + 1 : path;
    size_t n = strlen(last);
    static const char *const kinds[] = {".safetensors.index.json", ".safetensors", ".fpp", ".onnx", ".pth", ".pt",
                                        ".ckpt", ".bin", ".npz", ".npy", ".h5", ".keras"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const size_t ending = strlen(kinds[i]);
        if (n > ending && !memcmp(last + n - ending, kinds[i], ending)) {
            n -= ending;
            break;
        }
    }
    name = base_copy_text(last, n);
    return name;
}

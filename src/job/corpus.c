/* A corpus: every model gets a profile, in one basis and over one range; then the sums. Each step looks at what is there
 * already, so that a run that was ended goes on where it was, and a regrouping only adds. With more than one process, each
 * makes the profiles of its share of the models, in a folder that all see, and rank 0 adds them up: in the order of names,
 * so that the sums are the same to the last bit whoever made the parts. */
#include "job/corpus.h"
#include "job/compare.h"
#include "job/paper.h"

#include "report/report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---------------------------------------------------------------- processes */

static const fpr_exchange alone = {.rank = 0, .size = 1};

static const fpr_exchange *exchange_of(const corpus_run *run)
{
    return run->request->exchange ? run->request->exchange : &alone;
}

static bool is_mine(const corpus_run *run, size_t item)
{
    return item % exchange_of(run)->size == exchange_of(run)->rank;
}

/* The end of a step: all go on, or none. */
static fpr_status agree(const corpus_run *run, fpr_status status, fpr_error *error)
{
    const fpr_exchange *x = exchange_of(run);
    if (x->size < 2) return status;
    int32_t own = status, all_well = 0, *every = base_alloc(x->size, sizeof *every);
    if (!every) return base_no_memory(error, x->size * sizeof *every);
    bool failed = x->gather(x->context, &own, sizeof own, every) != 0;
    for (unsigned r = 0; x->rank == 0 && r < x->size; r++)
        if (!all_well) all_well = every[r];
    base_free(every);
    failed |= x->broadcast(x->context, &all_well, sizeof all_well) != 0;
    if (status) return status;
    if (failed) return base_fail(error, FPR_IO, "the processes cannot talk to each other");
    return all_well ? base_fail(error, (fpr_status)all_well, "another process failed") : FPR_OK;
}

/* ---------------------------------------------------------------- step one: moments */

/* Whether a kept profile is not older than what it was made of. */
static bool is_fresh(const corpus_item *item)
{
    struct stat of, profile;
    if (stat(item->path, &of) || stat(item->stored, &profile)) return false;
    if (profile.st_mtim.tv_sec != of.st_mtim.tv_sec) return profile.st_mtim.tv_sec > of.st_mtim.tv_sec;
    return profile.st_mtim.tv_nsec >= of.st_mtim.tv_nsec;
}

static bool fits_options(const collect_profile *p, const fpr_options *o) { return p->eps == o->eps && p->half == o->half; }

static fpr_status measure_item(corpus_run *run, corpus_item *item, conv_farthest *farthest, bool *reused, fpr_error *error)
{
    collect_profile p;
    *reused = false;
    if (is_fresh(item) && profile_load(item->stored, false, &p, NULL) == FPR_OK) {
        *reused = fits_options(&p, &run->options) && !strcmp(p.name, item->name) &&
                  (!item->rows || p.layer_count == item->row_count);
        collect_profile_free(&p);
        if (*reused) return FPR_OK;
    }
    const profile_source from = corpus_source(item);
    fpr_status status = profile_measure(&from, &run->options, &run->shape, farthest, &p, error);
    if (status) return status;
    status = profile_store(&p, item->stored, true, error);
    collect_profile_free(&p);
    return status;
}

static fpr_status measure_all(corpus_run *run, conv_farthest **farthest, fpr_error *error)
{
    fpr_status status = FPR_OK;
    bool whole = exchange_of(run)->size == 1;
    for (size_t i = 0; !status && i < run->item_count; i++) {
        bool reused = false;
        if (run->items[i].given) whole = false;
        else if (is_mine(run, i)) status = measure_item(run, &run->items[i], *farthest, &reused, error);
        whole &= !reused;
    }
    if (!whole) {
        conv_farthest_free(*farthest);
        *farthest = NULL;
    }
    return agree(run, status, error);
}

/* ---------------------------------------------------------------- step two: kernel shape and basis */

typedef struct shape_sum { fpr_layer_shape shape; size_t models, last; uint64_t kernels; fpr_moments moments; } shape_sum;
typedef struct shape_sums { shape_sum *list; size_t count; } shape_sums;

static fpr_status add_moments(shape_sums *sums, const collect_layer *l, size_t item, fpr_error *error)
{
    size_t i = 0;
    fpr_layer_shape shape = {.kernel_rank = l->kernel_rank, .k = l->k};
    memcpy(shape.kernel_shape, l->kernel_shape, sizeof shape.kernel_shape);
    while (i < sums->count && !study_same_group(&sums->list[i].shape, &shape)) i++;
    if (i == sums->count) {
        shape_sum *longer = base_grow(sums->list, sums->count + 1, sizeof *longer);
        if (longer) sums->list = longer;
        if (!longer || fpr_moments_init(&longer[i].moments, l->k)) return base_no_memory(error, l->k * l->k * sizeof(double));
        fpr_moments none = longer[i].moments;
        longer[i] = (shape_sum){.shape = shape, .last = SIZE_MAX, .moments = none};
        sums->count++;
    }
    shape_sum *s = &sums->list[i];
    s->models += s->last != item;
    s->last = item;
    s->kernels += l->kernels;
    fpr_moments_merge(&s->moments, &l->moments);
    return FPR_OK;
}

static fpr_status sum_item(corpus_run *run, size_t i, shape_sums *sums, fpr_error *error)
{
    corpus_item *item = &run->items[i];
    collect_profile p;
    fpr_status status = profile_load(corpus_profile_path(item), false, &p, error);
    if (status) return status;
    if (!fits_options(&p, &run->options))
        status = base_fail(error, FPR_USAGE, "%s was made with other options (eps %g%s)", item->path, p.eps,
                           p.half ? ", float16" : "");
    for (size_t l = 0; !status && l < p.layer_count; l++)
        if (p.layers[l].finite) status = add_moments(sums, &p.layers[l], i, error);
    item->ranged = p.ranged;
    item->counted = p.counted;
    item->grid = p.grid;
    memcpy(item->extent, p.extent, sizeof item->extent);
    collect_profile_free(&p);
    return status;
}

/* Common to most models first, then of most kernels; the first seen on a tie. */
static shape_sum *best_shape(const shape_sums *sums, const fpr_layer_shape *wanted)
{
    shape_sum *best = NULL;
    for (size_t i = 0; i < sums->count; i++) {
        shape_sum *s = &sums->list[i];
        if (wanted && !study_same_group(&s->shape, wanted)) continue;
        if (!best || s->models > best->models || (s->models == best->models && s->kernels > best->kernels)) best = s;
    }
    return best;
}

static fpr_status find_basis(corpus_run *run, const fpr_layer_shape *wanted, fpr_error *error)
{
    const fpr_corpus_request *r = run->request;
    fpr_corpus *c = run->result;
    shape_sums sums = {NULL, 0};
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < run->item_count; i++) status = sum_item(run, i, &sums, error);
    shape_sum *best = status ? NULL : best_shape(&sums, wanted);
    if (!status && !best) status = base_fail(error, FPR_USAGE, "none of the models has kernels of that shape");
    if (best) {
        run->shape = best->shape;
        c->kernel_rank = best->shape.kernel_rank;
        c->k = (unsigned)best->shape.k;
        c->bins = run->options.bins;
        c->plane_side = COLLECT_SIDE;
        memcpy(c->kernel_shape, best->shape.kernel_shape, sizeof c->kernel_shape);
        const char *source_name = r->basis ? r->basis : "joint";
        c->basis_source = base_copy_text(source_name, strlen(source_name));
        c->weights = base_alloc(c->k, sizeof *c->weights);
        if (!c->basis_source || !c->weights) status = base_no_memory(error, c->k * sizeof *c->weights);
    }
    if (!status && r->basis) status = basis_load(r->basis, c->k, &c->basis, error);
    if (!status && !r->basis) status = study_basis_new(&c->basis, c->k, error);
    if (!status && best && !r->basis) status = fpr_moments_finish(&best->moments, &c->basis, error);
    if (!status) paper_weights(&run->options, &c->basis, c->k, c->weights);
    for (size_t i = 0; i < sums.count; i++) fpr_moments_free(&sums.list[i].moments);
    base_free(sums.list);
    return status;
}

/* ---------------------------------------------------------------- step three: the range */

static char *in_folder(const corpus_run *run, const char *name)
{
    const size_t n = strlen(run->request->folder) + strlen(name) + 2;
    char *path = base_alloc(n, 1);
    if (path) {
        strcpy(path, run->request->folder);
        strcat(path, "/");
        strcat(path, name);
    }
    return path;
}

/* The range of a run before over the same kernels: one basis of all kernels, one range. */
static bool known_range(const corpus_run *run, double range[2])
{
    char *path = in_folder(run, "basis.json"), *text = NULL, number[24];
    size_t count = 0;
    file_tree tree = {0};
    bool known = false;
    snprintf(number, sizeof number, "%016llx", (unsigned long long)run->grid.basis);
    if (path && !run->request->basis && profile_read_file(path, 1u << 24, &text, &count, NULL) == FPR_OK &&
        file_tree_read(text, count, true, FPR_BAD_BASIS, &tree, NULL) == FPR_OK) {
        const char *is = file_value_text(file_value_get(tree.root, "number"));
        const file_value *both = file_value_get(tree.root, "range");
        known = is && !strcmp(is, number) && file_value_is(both, FILE_ARRAY) && both->count == 2;
        if (known) range[0] = file_value_number(both->first), range[1] = file_value_number(both->first->next);
    }
    file_tree_free(&tree);
    base_free(text);
    base_free(path);
    return known && range[0] < range[1];
}

/* Whether a profile has layers of the kernel shape at all: one without needs no counts. */
static fpr_status has_layers(const corpus_run *run, const corpus_item *item, bool *has, fpr_error *error)
{
    collect_profile p;
    *has = false;
    fpr_status status = profile_load(corpus_profile_path(item), false, &p, error);
    if (status) return status;
    for (size_t i = 0; i < p.layer_count; i++) *has |= p.layers[i].finite && collect_same_shape(&p.layers[i], &run->grid);
    collect_profile_free(&p);
    return FPR_OK;
}

static fpr_status extend_item(corpus_run *run, corpus_item *item, fpr_error *error)
{
    bool has;
    fpr_status checked = has_layers(run, item, &has, error);
    if (checked || !has) return checked;
    if (item->given)
        return base_fail(error, FPR_USAGE,
                         "%s: its range in this basis is not known: filterprune profile --basis %s/basis.json makes it",
                         item->path, run->request->folder);
    collect_profile p;
    const profile_source from = corpus_source(item);
    fpr_status status = profile_load(item->stored, false, &p, error);
    if (status) return status;
    status = profile_extent(&from, &run->options, &run->result->basis, &run->grid, &p, error);
    if (!status) status = profile_store(&p, item->stored, true, error);
    collect_profile_free(&p);
    return status;
}

/* Extents of all, made where they are missing; another rank's are read from its files. */
static fpr_status range_by_sweep(corpus_run *run, double range[2], fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < run->item_count; i++) {
        corpus_item *item = &run->items[i];
        if (item->ranged && item->grid.basis == run->grid.basis) continue;
        if (is_mine(run, i)) status = extend_item(run, item, error);
    }
    status = agree(run, status, error);
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (size_t i = 0; !status && i < run->item_count; i++) {
        corpus_item *item = &run->items[i];
        if (!item->ranged || item->grid.basis != run->grid.basis) {
            collect_profile p;
            status = profile_load(corpus_profile_path(item), false, &p, error);
            if (status) break;
            item->ranged = p.ranged;
            item->counted = p.counted;
            item->grid = p.grid;
            memcpy(item->extent, p.extent, sizeof item->extent);
            collect_profile_free(&p);
        }
        if (!item->ranged) continue; /* none of these kernels */
        range[0] = fmin(range[0], item->extent[0]);
        range[1] = fmax(range[1], item->extent[1]);
    }
    return status;
}

static fpr_status write_basis(const corpus_run *run, fpr_error *error);

static fpr_status find_range(corpus_run *run, const conv_farthest *farthest, fpr_error *error)
{
    fpr_corpus *c = run->result;
    const conv_settings settings = study_settings(&run->options);
    fpr_status status = FPR_OK;
    bool known = true, same = farthest != NULL;
    run->grid = (collect_grid){.kernel_rank = c->kernel_rank, .k = c->k, .bins = c->bins,
                               .basis = collect_basis_number(&c->basis, c->k)};
    memcpy(run->grid.kernel_shape, c->kernel_shape, sizeof c->kernel_shape);
    if (paper_has_range(&run->options)) memcpy(c->range, run->options.range, sizeof c->range);
    else if (same) known = conv_farthest_range(farthest, &settings, &c->basis, c->range);
    else known = known_range(run, c->range);
    /* All take the same way: what rank 0 knows. */
    int32_t by_rank_0 = known;
    const fpr_exchange *x = exchange_of(run);
    if (x->size > 1 && (x->broadcast(x->context, &by_rank_0, sizeof by_rank_0) ||
                        x->broadcast(x->context, c->range, sizeof c->range)))
        return base_fail(error, FPR_IO, "the processes cannot talk to each other");
    if (x->rank == 0) memcpy(run->grid.range, c->range, sizeof c->range);
    if (!by_rank_0 && x->rank == 0) { /* for who has to make profiles elsewhere */
        c->range[0] = c->range[1] = NAN;
        status = write_basis(run, error);
    }
    if (!status && !by_rank_0) status = range_by_sweep(run, c->range, error);
    memcpy(run->grid.range, c->range, sizeof c->range);
    if (!status && x->rank == 0) status = write_basis(run, error);
    return status;
}

/* ---------------------------------------------------------------- step four: counts */

static fpr_status count_item(corpus_run *run, corpus_item *item, fpr_error *error)
{
    bool has;
    fpr_status checked = has_layers(run, item, &has, error);
    if (checked || !has) return checked;
    if (item->given)
        return base_fail(error, FPR_USAGE,
                         "%s: not counted in this basis: filterprune profile --basis %s/basis.json --range %.17g:%.17g does it",
                         item->path, run->request->folder, run->grid.range[0], run->grid.range[1]);
    collect_profile p;
    const profile_source from = corpus_source(item);
    fpr_status status = profile_load(item->stored, false, &p, error);
    if (status) return status;
    status = profile_count(&from, &run->options, &run->result->basis, &run->grid, &p, error);
    if (!status) status = profile_store(&p, item->stored, true, error);
    collect_profile_free(&p);
    return status;
}

static fpr_status count_all(corpus_run *run, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (size_t i = 0; !status && i < run->item_count; i++) {
        corpus_item *item = &run->items[i];
        if (item->counted && collect_same_grid(&item->grid, &run->grid)) continue;
        if (is_mine(run, i)) status = count_item(run, item, error);
    }
    return agree(run, status, error);
}

/* ---------------------------------------------------------------- files */

static int write_out(void *out, const void *bytes, size_t count) { return file_out_write(out, bytes, count, NULL) ? -1 : 0; }

/* The basis as --basis reads it, and what else a profile made elsewhere has to know. */
static fpr_status write_basis(const corpus_run *run, fpr_error *error)
{
    const fpr_corpus *c = run->result;
    char *path = in_folder(run, "basis.json"), number[24];
    file_out *file = NULL;
    report_out out;
    if (!path) return base_no_memory(error, strlen(run->request->folder));
    snprintf(number, sizeof number, "%016llx", (unsigned long long)run->grid.basis);
    fpr_status status = file_out_create(path, true, &file, error);
    if (!status) status = report_open(&out, write_out, file, error);
    if (!status) {
        report_begin(&out, '{');
        report_key(&out, "kernel_shape"), report_kernel_shape(&out, c->kernel_rank, c->kernel_shape);
        report_key(&out, "number"), report_string0(&out, number);
        report_key(&out, "range"), report_numbers(&out, isnan(c->range[0]) ? NULL : c->range, 2);
        report_line(&out);
        report_key(&out, "mean"), report_numbers(&out, c->basis.mean, c->k);
        report_line(&out);
        report_key(&out, "components");
        report_begin(&out, '[');
        for (unsigned i = 0; i < c->k; i++) report_line(&out), report_numbers(&out, c->basis.components + (size_t)i * c->k, c->k);
        report_end(&out, ']');
        report_line(&out);
        report_key(&out, "singular_values"), report_numbers(&out, c->basis.singular_values, c->k);
        report_line(&out);
        report_key(&out, "explained_variance_ratio"), report_numbers(&out, c->basis.explained_variance_ratio, c->k);
        report_end(&out, '}');
        report_bytes(&out, "\n", 1);
        status = report_close(&out, error);
    }
    if (!status) status = file_out_commit(file, error);
    else file_out_abandon(file);
    base_free(path);
    return status;
}

static fpr_status make_folders(const corpus_run *run, fpr_error *error)
{
    char *path = in_folder(run, "profiles");
    if (!path) return base_no_memory(error, strlen(run->request->folder));
    fpr_status status = FPR_OK;
    if ((mkdir(run->request->folder, 0777) && errno != EEXIST) || (mkdir(path, 0777) && errno != EEXIST))
        status = base_fail_errno(error, FPR_IO, errno, "%s cannot be made", path);
    base_free(path);
    return status;
}

/* ---------------------------------------------------------------- all */

static fpr_status run_corpus(corpus_run *run, fpr_error *error)
{
    const fpr_corpus_request *r = run->request;
    fpr_layer_shape wanted = {.kernel_rank = 2, .kernel_shape = {3, 3}, .k = 9};
    conv_farthest *farthest = NULL;
    fpr_status status = FPR_OK;
    if (r->kernel) status = compare_kernel_shape(r->kernel, &wanted, error);
    run->shape = wanted;
    if (!status) status = make_folders(run, error);
    if (!status) status = corpus_items(run, error);
    if (!status && !(farthest = conv_farthest_new((unsigned)wanted.k, 16 * STUDY_FARTHEST_BYTES)))
        status = base_no_memory(error, 16 * STUDY_FARTHEST_BYTES);
    if (!status) status = measure_all(run, &farthest, error);
    if (!status) status = find_basis(run, r->kernel ? &wanted : NULL, error);
    if (!study_same_group(&run->shape, &wanted)) {
        conv_farthest_free(farthest);
        farthest = NULL;
    }
    if (!status) status = find_range(run, farthest, error);
    conv_farthest_free(farthest);
    if (!status) status = count_all(run, error);
    if (!status && exchange_of(run)->rank == 0) status = corpus_group_all(run, error);
    corpus_items_free(run);
    return status;
}

FPR_API fpr_status fpr_corpus_make(const fpr_corpus_request *request, const fpr_options *options, fpr_corpus **corpus,
                                   fpr_error *error)
{
    *corpus = NULL;
    fpr_status status = fpr_options_check(options, error);
    if (status) return status;
    corpus_run run = {.request = request, .options = paper_options(options), .result = base_calloc(1, sizeof *run.result)};
    if (!run.result) return base_no_memory(error, sizeof *run.result);
    run.result->paper = options->paper;
    if (options->paper == FPR_PAPER_MED22 && !request->basis)
        status = rows_warn(&run.result->warnings, &run.result->warning_count, error,
                           "med22 has the basis of all of CNN Filter DB: none was given, this one is of these models");
    if (!status) status = run_corpus(&run, error);
    if (!status && exchange_of(&run)->rank == 0) *corpus = run.result;
    else fpr_corpus_free(run.result);
    return status;
}

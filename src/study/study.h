/* What is learnt of a model: its layers, their kernel groups, the sweeps over the weights, and all of it as a report.
 *
 * study.c    layers, kernel groups and the sweeps over them
 * see.c      the weights that the network computes with, where the file does not hold them as such
 * rows.c     a study as the rows of a report
 * changes.c  what all rows together say was changed
 * basis.c    bases from outside */
#ifndef FPR_STUDY_H
#define FPR_STUDY_H

#include "model/model.h"
#include "shrink/view.h"

/* ---- study.c */

conv_settings study_settings(const fpr_options *options);

typedef struct study_layer {
    size_t tensor;
    size_t group;
    fpr_layer_shape shape; /* of the weights as they are seen: OIHW where the file has OHWI */
    fpr_layout stored;     /* as the file has them */
    fpr_known known;
    conv_part part;        /* WEIGHT, DIRECTION or ORIGINAL: of the last two, what is seen is computed with the partner */
    size_t partner;        /* a tensor of the model */
    conv_measure measure;
    double *ratio; /* [k] or NULL */
    double *scale; /* [filters] what the BatchNormalization behind them multiplies them with; NULL: not known. Owned */
} study_layer;

/* Memory for the farthest kernels of all groups together. */
#define STUDY_FARTHEST_BYTES (1u << 20)

typedef struct study_group {
    fpr_layer_shape shape; /* of its first layer */
    uint64_t layers, kernels, sparse, live, live_signed;
    fpr_moments all, live_moments; /* k = 0 without a basis */
    fpr_basis basis;
    double range[2];
    conv_farthest *farthest;         /* NULL without a basis, and once the range is known */
    conv_counter *counter;
    bool ranged;           /* the range is known without a sweep */
    bool has_basis;        /* at least one finite kernel and 2 <= k <= 128 */
    bool crowded_out;      /* would have a basis, but the file has too many kernel shapes */
} study_group;

typedef struct study {
    const fpr_model *model;
    size_t tensor_count;
    uint64_t stamp;      /* of the model */
    const fpr_options *options;
    conv_settings settings;
    study_layer *layers;
    size_t layer_count;
    study_group *groups; /* in order of first appearance */
    size_t group_count;
    size_t *layer_of;    /* [tensor_count] layer of a tensor, SIZE_MAX: none */
    bool *taking;        /* [options->only.count] the pattern names no layer, so it takes in what looks like one */
} study;

/* Finds the layers and measures them: the first sweep. only: the kernel shape of interest, or NULL for all. briefly: nothing
 * but moments and sparsity, for what decides and is not read. sum: takes what is read, or NULL. */
fpr_status study_new(const fpr_model *model, const fpr_options *options, const fpr_layer_shape *only, bool briefly,
                     job_checksum *sum, study **out, fpr_error *error);
/* Finds the layers and measures nothing. */
fpr_status study_find(const fpr_model *model, const fpr_options *options, const fpr_layer_shape *only, study **out,
                      fpr_error *error);
/* Visits layers[0 .. count - 1] as they are seen: the i-th tensor visited is of layer layers[i]. */
fpr_status study_visit(const study *s, const size_t *layers, size_t count, const char *phase, model_visit visit,
                       void *context, fpr_error *error);
/* Bases, the second sweep (ranges), and counters for the third. */
fpr_status study_prepare(study *s, fpr_error *error);
/* New counters: what was counted is forgotten. */
fpr_status study_recount(study *s, fpr_error *error);
/* Visits the layers without NaN or Inf; while it runs, (*layers)[i] is the layer number of the i-th tensor visited. */
fpr_status study_visit_finite(const study *s, const char *phase, model_visit visit, void *context, const size_t **layers,
                              fpr_error *error);
/* The second sweep alone, for bases that were set by hand. */
fpr_status study_ranges(study *s, fpr_error *error);
typedef fpr_status (*study_visit_group)(void *context, study_group *group, const conv_block *blocks, size_t count,
                                        fpr_error *error);
/* Visits blocks[i] of layer layers[i] group by group; groups without a basis are passed over. */
fpr_status study_by_group(study *s, const conv_block *blocks, const size_t *layers, size_t count,
                          study_visit_group visit, void *context, fpr_error *error);
void study_free(study *s);
/* Allocates a basis for k. */
fpr_status study_basis_new(fpr_basis *basis, unsigned k, fpr_error *error);
void study_basis_free(fpr_basis *basis);
void study_basis_copy(fpr_basis *to, const fpr_basis *from, unsigned k); /* both were made for k */
conv_block study_block(const study *s, const study_layer *layer, const void *weights);
/* What the first sweep knows of a layer, for shrink/. */
shrink_known study_known(const study_layer *layer, const fpr_options *options);
/* Outputs, whichever axis they stand along. */
static inline uint64_t study_filters(const study_layer *layer)
{
    return layer->shape.transposed ? layer->shape.channels : layer->shape.filters;
}
bool study_same_group(const fpr_layer_shape *a, const fpr_layer_shape *b);

/* ---- see.c */

/* Fills s->taking, which is [options->only.count]. */
void study_find_taking(study *s);
/* Whether --only takes a tensor in as weights, though nothing else says that it is. */
bool study_takes(const study *s, size_t tensor);

/* Whether a layer is seen as the file holds it. */
static inline bool study_is_plain(const study_layer *layer)
{
    return layer->stored != FPR_LAYOUT_OHWI && layer->part == CONV_PART_WEIGHT;
}
/* The tensor of a layer, as it was read, becomes the weights that the network computes with: what every sweep sees. */
fpr_status study_see(const study *s, const study_layer *layer, unsigned threads, void *weights, fpr_error *error);
/* The layer that a tensor belongs to without being it, a length or a mask; NULL: none. */
const study_layer *study_owner(const study *s, size_t tensor);
/* What a plan for what is seen does to a tensor of the layer, as it was read: the layer's own, or a length or mask that
 * study_owner knows. seen: for the layer's own, the weights after the plan was carried out on them; else before. */
void study_put_back(const study *s, const study_layer *layer, size_t tensor, const shrink_plan *plan, const void *seen,
                    void *bytes);

/* ---- basis.c */

/* "robustness", or the path of a JSON file, for kernels of k weights. *basis is made here: study_basis_free. */
fpr_status basis_load(const char *source, unsigned k, fpr_basis *basis, fpr_error *error);

/* ---- rows.c: a study and its outcome as a report */

/* A report with every row of layers and tensors filled as far as the study knows: stored and binary are "raw, nothing". */
fpr_status rows_new(const study *s, fpr_report **report, fpr_error *error);
/* Distributions and divergences of all groups, most kernels first; the layer rows are complete by now. */
fpr_status rows_groups(study *s, bool has_after, fpr_report *report, fpr_error *error);
fpr_status rows_warn(char ***list, size_t *count, fpr_error *error, const char *format, ...) BASE_PRINTF(4, 5);
/* That the output has so many bytes, and the input fewer, and why. */
fpr_status rows_warn_larger(fpr_report *report, uint64_t bytes, uint64_t before, const char *why, fpr_error *error);
/* A warning about one layer, in its row and in the report's list. */
fpr_status rows_warn_layer(fpr_report *report, size_t layer, fpr_error *error, const char *text);
/* changes.c: report->changes from rows that are complete, and the warnings that follow from them. */
fpr_status rows_changes(fpr_report *report, fpr_error *error);
void rows_memory(fpr_report *report); /* peak memory of the process so far */
void rows_phase(fpr_report *report, const char *name, double *since);

#endif

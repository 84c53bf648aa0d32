/* Jobs on ONNX graphs: remove.c, graphs.c. */
#ifndef FPR_JOB_GRAPHS_H
#define FPR_JOB_GRAPHS_H

#include "graph/graph.h"
#include "job/job.h"

/* ---- remove.c */

bool job_is_onnx(const char *output); /* by its name; NULL allowed */
/* fpr_prune for an output of that name. */
fpr_status job_remove(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                      fpr_error *error);

/* ---- norms.c: what follows the layers */

/* The tensors of a checkpoint in the place of a graph's, by name and size. */
graph_weights job_weights_of(fpr_model *model);
/* Where a graph is known, --graph or an ONNX input: the layers' scales, and in their rows what is sparse by them.
 * FPR_USAGE where criterion bn has none. */
fpr_status job_norms(study *s, fpr_model *model, const char *input, fpr_report *report, fpr_error *error);

/* ---- graphs.c: two graphs on the same inputs */

#define JOB_COMPARE_SIDE 64 /* of open dimensions, at first */

typedef struct graph_difference {
    double worst;     /* over all outputs: largest difference over the output's largest magnitude */
    double *outputs;  /* [outputs] the same for each; NULL allowed */
    double *relative; /* [outputs] relative L2 over both sizes; NULL allowed */
} graph_difference;

/* FPR_USAGE, with the operator, where one is not evaluated; FPR_DIFFERS where inputs, outputs or shapes differ. */
fpr_status job_compare_graphs(const graph *a, const graph *b, const volatile int *cancel, graph_difference *difference,
                              fpr_error *error);
fpr_status job_open_graph(const char *path, const graph_weights *weights, const volatile int *cancel, graph **g,
                          fpr_error *error);

/* Outputs that differ by more than this, relative to their largest magnitude, are no longer the same: what is folded is
 * rounded to the dtype that most weights have, 1e-5 in single precision and double, 5e-3 in F16, 4e-2 in BF16 (ten times
 * what one rounding of these changes). Up to JOB_EXACT they are equal but for the order of double-precision sums. */
double job_same(const graph *g);
#define JOB_EXACT 1e-12
/* fpr_verify for two ONNX models: one entry for each output. */
fpr_status job_verify_graphs(const char *small, const char *original, const fpr_options *options,
                             fpr_verification **verification, fpr_error *error);

#endif

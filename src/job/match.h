/* A checkpoint and the graph that its tensors belong to: match.c, shapes.c. */
#ifndef FPR_JOB_MATCH_H
#define FPR_JOB_MATCH_H

#include "job/graphs.h"

typedef struct job_match {
    const onnx_model *graph; /* borrowed, and so are tensors */
    fpr_model *tensors;
    size_t count;            /* of the checkpoint's tensors */
    uint32_t *of;            /* [names of the graph] the tensor that an initializer of that name is, + 1; 0: none */
    onnx_name *names;        /* [count] what the graph calls a tensor; 0: it is not in the graph */
} job_match;

/* Equal name and shape, or equal bytes and shape where names differ. FPR_USAGE where nothing is found, where the graph has
 * other numbers and not all the tensors, or where it takes two tensors for one that the checkpoint holds apart. */
fpr_status job_match_new(const onnx_model *of, fpr_model *tensors, job_match *match, fpr_error *error);
void job_match_free(job_match *match);

/* ---- shapes.c: the checkpoint without the channels that left `after` */

/* Writes every tensor of `weights`, which has the names of the matched checkpoint: those of the graph as they are in
 * `after`, the others as they are; then biases that convolutions got. path NULL: nothing is written. *text: what changed,
 * schema filterprune-shapes-1; base_free. */
fpr_status job_write_shapes(const job_match *match, const graph *before, const graph *after, fpr_model *weights,
                            const char *path, bool force, const fpr_removal *removal, char **text, fpr_error *error);

#endif

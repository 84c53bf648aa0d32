/* The parts of a comparison: compare.c makes the matrix, conclude.c says what follows from it. */
#ifndef FPR_JOB_COMPARE_H
#define FPR_JOB_COMPARE_H

#include "job/job.h"

/* "3x3" or "5" as a kernel shape that has a basis. */
fpr_status compare_kernel_shape(const char *text, fpr_layer_shape *shape, fpr_error *error);
/* From the distributions and the matrix: noise floors, short names, the nearest model of each, the order of rows. */
fpr_status compare_conclude(fpr_comparison *c, const fpr_options *options, fpr_error *error);

#endif

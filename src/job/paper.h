/* How distributions are made and weighed, by the options or as a paper did. */
#ifndef FPR_JOB_PAPER_H
#define FPR_JOB_PAPER_H

#include "base/base.h"

/* The options with what their preset says in place; without one, as they are. */
fpr_options paper_options(const fpr_options *given);
/* What each component counts for: weights[k]. */
void paper_weights(const fpr_options *options, const fpr_basis *basis, unsigned k, double *weights);
/* Whether the range is fixed. */
bool paper_has_range(const fpr_options *options);

#endif

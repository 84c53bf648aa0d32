/* For verify: differences that need no statement. */
#ifndef FPR_JOB_EXPLAINED_H
#define FPR_JOB_EXPLAINED_H

#include "job/job.h"

/* bytes: of t, a tensor of a dense file without our key; other: of the original's tensor of that number. *explained: whole
 * kernels became zero, and all other elements are what a cast to t's dtype makes of the original's; or they are lengths of weight
 * normalization that fit the directions in packed, t's model. */
fpr_status job_is_explained(const fpr_model *packed, const fpr_model *original, size_t tensor, const fpr_tensor *t, const void *bytes,
                            const void *other, bool *explained, fpr_error *error);

#endif

/* Private to conv/: how far the filters of a layer are from orthogonal. */
#ifndef FPR_CONV_ORTHOGONALITY_H
#define FPR_CONV_ORTHOGONALITY_H

#include "conv/conv.h"

/* Sets results[b].orthogonality = 1 - sum|W W' - I| / (o (o - 1)) for every finite block of more than one filter whose
 * kernels have a basis; W has the filters as rows of unit length, zero rows stay zero. NaN elsewhere. Of more than
 * CONV_ORTHOGONALITY_FILTERS filters o are taken, which results[b].orthogonality_sampled says. */
fpr_status conv_orthogonality(const conv_block *blocks, size_t count, const conv_settings *settings,
                              conv_measure *results, fpr_error *error);

#endif

/* Products of blocks of rows, through BLAS. */
#include "num/num.h"

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112, UPPER = 121 }; /* CBLAS */

fpr_status num_gram_add(float *g, const float *a, const float *b, unsigned m, unsigned n, unsigned depth,
                        bool first, fpr_error *error)
{
    const num_blas *blas = num_blas_get(error);
    if (!blas) return FPR_IO;
    const float beta = first ? 0 : 1;
    if (a == b)
        blas->ssyrk(ROW_MAJOR, UPPER, NO_TRANS, (int)m, (int)depth, 1, a, (int)depth, beta, g, (int)n);
    else
        blas->sgemm(ROW_MAJOR, NO_TRANS, TRANS, (int)m, (int)n, (int)depth, 1, a, (int)depth, b, (int)depth, beta, g,
                    (int)n);
    return FPR_OK;
}

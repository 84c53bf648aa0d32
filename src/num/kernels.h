/* The variants of the inner loops that were compiled in. */
#ifndef FPR_NUM_KERNELS_H
#define FPR_NUM_KERNELS_H

#include "num/num.h"

extern const num_kernels num_kernels_base, num_kernels_avx2, num_kernels_avx512;

#endif

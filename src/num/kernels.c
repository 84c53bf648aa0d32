/* The inner loops that run: those of the instruction sets in use. */
#include "num/kernels.h"

#include "base/simd.h"

#ifdef NUM_X86_KERNELS
static const num_kernels *const variants[BASE_SIMD_COUNT] = {&num_kernels_base, &num_kernels_avx2, &num_kernels_avx512};
#else
static const num_kernels *const variants[BASE_SIMD_COUNT] = {&num_kernels_base};
#endif

const num_kernels *num_kernels_best(void) { return variants[base_simd_level()]; }

const num_kernels *num_kernels_variant(unsigned index) { return index <= base_simd_best() ? variants[index] : NULL; }

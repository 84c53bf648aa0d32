/* Chooses the inner loops that this processor can run. */
#include "num/kernels.h"

const num_kernels *num_kernels_variant(unsigned index)
{
    const num_kernels *usable[4] = {&num_kernels_base};
#ifdef NUM_X86_KERNELS
    /* libgcc's answer includes whether the operating system saves the registers. */
    unsigned n = 1;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) usable[n++] = &num_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        usable[n++] = &num_kernels_avx512;
#endif
    return index < 4 ? usable[index] : NULL;
}

const num_kernels *num_kernels_best(void)
{
    const num_kernels *best = num_kernels_variant(0);
    for (unsigned i = 1; num_kernels_variant(i); i++) best = num_kernels_variant(i);
    return best;
}

/* Chooses the inner loops that this processor can run. */
#include "num/kernels.h"

#ifdef NUM_X86_KERNELS
/* libgcc's answers include whether the operating system saves the registers. */
static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

const num_kernels *num_kernels_best(void)
{
    __builtin_cpu_init();
    return has_avx512() ? &num_kernels_avx512 : has_avx2() ? &num_kernels_avx2 : &num_kernels_base;
}

const num_kernels *num_kernels_variant(unsigned index)
{
    const num_kernels *usable[3] = {&num_kernels_base};
    unsigned n = 1;
    __builtin_cpu_init();
    if (has_avx2()) usable[n++] = &num_kernels_avx2;
    if (has_avx512()) usable[n++] = &num_kernels_avx512;
    return index < n ? usable[index] : NULL;
}
#else
const num_kernels *num_kernels_best(void) { return &num_kernels_base; }
const num_kernels *num_kernels_variant(unsigned index) { return index == 0 ? &num_kernels_base : NULL; }
#endif

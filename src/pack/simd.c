/* Which vector code this machine runs. The choice never changes a byte of what is written or restored. */
#include "pack/blob.h"

#include <stdatomic.h>

static atomic_uint limit = PACK_SIMD_AVX512;

void pack_limit_simd(unsigned most) { atomic_store(&limit, most); }

unsigned pack_simd(void)
{
    unsigned most = atomic_load_explicit(&limit, memory_order_relaxed);
#if defined(__x86_64__)
    if (most >= PACK_SIMD_AVX512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi2"))
        return PACK_SIMD_AVX512;
    if (most >= PACK_SIMD_AVX2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        return PACK_SIMD_AVX2;
#endif
    (void)most;
    return PACK_SIMD_PLAIN;
}

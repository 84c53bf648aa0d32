/* Which instruction sets this processor has, and how many of them are used. */
#include "base/simd.h"

#include <stdatomic.h>

#if defined(__aarch64__)
#define PLAIN "neon" /* part of every such processor: the portable loops are compiled to it */
#else
#define PLAIN "base"
#endif

static const char *const names[BASE_SIMD_COUNT] = {PLAIN, "avx2", "avx512"};
static atomic_int most = BASE_SIMD_AVX512;

#if defined(__x86_64__)
/* libgcc's answers include whether the operating system saves the registers. */
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi2");
}

base_simd base_simd_best(void)
{
    __builtin_cpu_init();
    return !has_avx2() ? BASE_SIMD_PLAIN : has_avx512() ? BASE_SIMD_AVX512 : BASE_SIMD_AVX2;
}
#else
base_simd base_simd_best(void) { return BASE_SIMD_PLAIN; }
#endif

base_simd base_simd_level(void)
{
    static atomic_int known = -1;
    int best = atomic_load_explicit(&known, memory_order_relaxed);
    if (best < 0) atomic_store_explicit(&known, best = (int)base_simd_best(), memory_order_relaxed);
    const int limit = atomic_load_explicit(&most, memory_order_relaxed);
    return (base_simd)(best < limit ? best : limit);
}

void base_simd_limit(base_simd level) { atomic_store(&most, (int)level); }

FPR_API const char *fpr_simd(void) { return names[base_simd_level()]; }

FPR_API fpr_status fpr_limit_simd(const char *name, fpr_error *error)
{
    int level = 0;
    if (strcmp(name, "base") && strcmp(name, "neon")) {
        while (level < BASE_SIMD_COUNT && strcmp(name, names[level])) level++;
        if (level == BASE_SIMD_COUNT)
            return base_fail(error, FPR_USAGE, "'%.32s' is no instruction set: base, avx2, avx512 or neon", name);
    }
    base_simd_limit((base_simd)level);
    return FPR_OK;
}

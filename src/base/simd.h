/* The one dispatcher of instruction sets: every room that has vector code asks here which of it to run. All of it computes
 * the same bytes as the plain C beside it, so that the answer is a matter of speed alone.
 *
 * avx2    AVX2, FMA, BMI, BMI2, POPCNT
 * avx512  those, and AVX-512 F, BW, DQ, VL and VBMI2 (Ice Lake, Zen 4); Skylake's AVX-512, which slows its clock, is left
 *         alone */
#ifndef FPR_BASE_SIMD_H
#define FPR_BASE_SIMD_H

#include "base/base.h"

typedef enum base_simd { BASE_SIMD_PLAIN, BASE_SIMD_AVX2, BASE_SIMD_AVX512, BASE_SIMD_COUNT } base_simd;

base_simd base_simd_best(void);         /* of this processor and its operating system */
base_simd base_simd_level(void);        /* the same, but not above the limit */
void base_simd_limit(base_simd level);  /* from now on, in all threads */

#endif

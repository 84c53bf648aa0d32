/* Dealing for x86-64 with AVX2; compiled with -mavx2. */
#define NAME(f) f##_avx2
#define TABLE deal_kernels_avx2
#include "collect/deal_body.h"

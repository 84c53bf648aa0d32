/* Dealing for x86-64 with AVX-512; compiled for that. */
#define NAME(f) f##_avx512
#define TABLE deal_kernels_avx512
#include "collect/deal_body.h"

/* The inner loops for x86-64 with AVX-512 F, BW, DQ and VL; compiled with the flags of these. */
#include "num/kernels.h"
#define NAME(f) f##_avx512
#define TABLE num_kernels_avx512
#define VARIANT "avx512"
#define VECTOR 64
#include "num/kernels_body.h"

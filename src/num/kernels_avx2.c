/* The inner loops for x86-64 with AVX2 and FMA; compiled with -mavx2 -mfma. */
#include "num/kernels.h"
#define NAME(f) f##_avx2
#define TABLE num_kernels_avx2
#define VARIANT "avx2"
#define VECTOR 32
#include "num/kernels_body.h"

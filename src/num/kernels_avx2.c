/* The inner loops for x86-64 with AVX2; compiled with -mavx2. */
#include "num/kernels.h"
#define NAME(f) f##_avx2
#define TABLE num_kernels_avx2
#define VARIANT "avx2"
#define VECTOR 32
#include "num/kernels_body.h"

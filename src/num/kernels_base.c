/* The inner loops for any processor: the definition of the other variants. */
#include "num/kernels.h"
#define NAME(f) f##_base
#define TABLE num_kernels_base
#define VARIANT "baseline"
#define VECTOR 16
#include "num/kernels_body.h"

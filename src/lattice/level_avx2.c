/* Runs of weights, for x86-64 with AVX2. */
#define NAME(f) f##_avx2
#define TABLE lattice_level_avx2
#define VECTOR 32
#include "lattice/level_body.h"

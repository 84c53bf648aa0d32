/* Runs of weights, for x86-64 with AVX-512 (F, BW, DQ, VL). */
#define NAME(f) f##_avx512
#define TABLE lattice_level_avx512
#define VECTOR 64
#include "lattice/level_body.h"

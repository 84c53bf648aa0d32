/* Compiled for the instructions of BASE_SIMD_AVX2. */
#define LATTICE_CODE lattice_code_avx2
#include "pack/lattice_level.h"

/* Which of the loops over runs of weights are taken. */
#include "lattice/level.h"

#include "base/simd.h"

#ifdef LATTICE_X86_LEVELS
static const lattice_level *const levels[BASE_SIMD_COUNT] = {&lattice_level_base, &lattice_level_avx2, &lattice_level_avx512};
#else
static const lattice_level *const levels[BASE_SIMD_COUNT] = {&lattice_level_base};
#endif

const lattice_level *lattice_level_best(void) { return levels[base_simd_level()]; }

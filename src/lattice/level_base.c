/* Runs of weights, for every processor. */
#define NAME(f) f##_base
#define TABLE lattice_level_base
#define VECTOR 16
#include "lattice/level_body.h"

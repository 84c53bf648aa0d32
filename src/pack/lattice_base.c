#define LATTICE_CODE lattice_code_base
#include "pack/lattice_level.h"

/* Trellis-coded quantization (Marcellin and Fischer 1990), with eight states after Ungerboeck's code of parity checks 13
 * and 04 (1982): the points of step 1 are shared out over four sets, of which a state offers two, so that the points of
 * a set lie four apart while an index costs what one of step two costs. path_body.h finds the path. */
#include "lattice/level.h"

struct lattice_path {
    uint8_t came[LATTICE_CHUNK];
};

lattice_path *lattice_path_new(void) { return base_alloc(1, sizeof(lattice_path)); }

double lattice_path_find(lattice_path *path, const double *x, size_t n, int32_t *points)
{
    return lattice_level_best()->path(path->came, x, n, points);
}

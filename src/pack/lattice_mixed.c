/* Indices by questions: of tensors too small for what tokens must learn. */
#include "pack/lattice_walk.h"

void lattice_code_mixed(lattice_coder *c, const lattice_chunk *chunk, bool decoding)
{
    if (decoding) code_way(c, chunk, LATTICE_MIXED, c->shape.trellis, true);
    else code_way(c, chunk, LATTICE_MIXED, c->shape.trellis, false);
}

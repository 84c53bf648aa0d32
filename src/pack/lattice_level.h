/* Indices as tokens, quick or blended: made for each level of instructions by a source that says what the function is called. */
#include "pack/lattice_walk.h"

void LATTICE_CODE(lattice_coder *c, const lattice_chunk *chunk, bool decoding)
{
    const bool quick = c->shape.way == LATTICE_QUICK, trellis = c->shape.trellis;
    if (decoding && quick && trellis) code_way(c, chunk, LATTICE_QUICK, true, true);
    else if (decoding && quick) code_way(c, chunk, LATTICE_QUICK, false, true);
    else if (decoding && trellis) code_way(c, chunk, LATTICE_BLENDED, true, true);
    else if (decoding) code_way(c, chunk, LATTICE_BLENDED, false, true);
    else if (quick) code_way(c, chunk, LATTICE_QUICK, trellis, false);
    else code_way(c, chunk, LATTICE_BLENDED, trellis, false);
}

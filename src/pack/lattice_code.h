/* The entropy coder of lattices: indices of weights, each foretold from those before it. FORMAT.md, section 9.
 *
 * Knows integers and where they lie in a layer; nothing of steps and tensors. */
#ifndef FPR_LATTICE_CODE_H
#define FPR_LATTICE_CODE_H

#include "base/base.h"

#define LATTICE_OCTAVES 26u /* an index has at most so many bits */

/* How an index is told: by bits that are foretold by four opinions each; by one symbol that two models foretell, in a
 * seventh of the time, 2 % larger; or by one that four models do, in a quarter. */
typedef enum lattice_way { LATTICE_MIXED, LATTICE_QUICK, LATTICE_BLENDED } lattice_way;

typedef struct lattice_code_shape {
    uint64_t channels, k; /* as of lattice_shape */
    unsigned row;         /* weights of a kernel's row, or 0 */
    lattice_way way;
    bool signs;           /* blended: signs are foretold as well; the others always or never do */
    bool trellis;         /* indices are of two quantizers in turn */
    bool resumed;         /* blended, trellis: a dead kernel says in which state the path goes on */
    unsigned start;       /* code of the mean magnitude that the weights begin with, see lattice_start */
} lattice_code_shape;

/* The code, 0 .. 255, of a mean magnitude given in sixteenths. */
unsigned lattice_start(uint64_t sixteenths);

/* All that one thread needs: 500 KB, and up to 12 bytes a weight of a filter. */
typedef struct lattice_coder lattice_coder;
lattice_coder *lattice_coder_new(const lattice_code_shape *shape, bool encoding); /* NULL: out of memory. lattice_coder_free */
void lattice_coder_free(lattice_coder *c);

/* n kernels from `first` on. */
typedef struct lattice_chunk {
    uint64_t first, n;
    int32_t *indices; /* [n * k] */
    uint8_t *dead;    /* [n]: 1 where a kernel is only said to be zero, plus twice the state that the path goes on in if it is
                         `resumed`, else 0; with k = 1 there are none */
} lattice_chunk;

/* Bytes written, or SIZE_MAX when the capacity was too small. */
size_t lattice_encode_chunk(lattice_coder *c, const lattice_chunk *chunk, uint8_t *dst, size_t capacity);
/* To the points that the indices mean: the same numbers, unless there is a trellis. false: the bytes were not used exactly. */
bool lattice_decode_chunk(lattice_coder *c, const lattice_chunk *chunk, const uint8_t *src, size_t bytes);

#endif

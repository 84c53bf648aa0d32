/* The adaptive code: every weight is foretold from those before it. FORMAT.md, section 8, is its specification.
 *
 * Knows the heads of weights (sign, exponent, two mantissa bits) and where they lie in a layer; nothing of tensors. */
#ifndef FPR_PACK_ADAPTIVE_H
#define FPR_PACK_ADAPTIVE_H

#include "base/base.h"

#define ADAPTIVE_MANTISSA 2u    /* mantissa bits of a head, which has 1 + exponent bits + these */
#define ADAPTIVE_ABOVE 64u      /* largest distance of the weight above */
#define ADAPTIVE_COLUMNS 65536u /* filters of more weights are not compared with each other */

typedef struct adaptive_shape {
    unsigned exponent_bits;
    unsigned top;         /* the largest exponent of all weights */
    unsigned above;       /* how far back the neighbour in the other direction is, in weights; 0: there is none */
    bool zeros;           /* whether some heads are zero but for the sign */
    uint64_t channels, k; /* at least 1; their product is the number of weights of a filter */
} adaptive_shape;

/* All that one thread needs: 100 KB, and 12 bytes a weight of a filter. */
typedef struct adaptive adaptive;
adaptive *adaptive_new(const adaptive_shape *shape); /* NULL: out of memory. base_free */

/* A chunk begins, and with it nothing is known: dst has room for capacity bytes. */
void adaptive_begin_encoding(adaptive *a, uint8_t *dst, size_t capacity);
void adaptive_begin_decoding(adaptive *a, const uint8_t *src, size_t bytes);
/* The next n weights. They lie one after another from `place` on, the place in the layer in OIHW order. */
void adaptive_encode(adaptive *a, uint64_t place, const uint16_t *heads, size_t n);
void adaptive_decode(adaptive *a, uint64_t place, uint16_t *heads, size_t n);
/* The bytes written; 0 when the capacity was too small. */
size_t adaptive_end_encoding(adaptive *a);
/* Whether the bytes were used exactly. */
bool adaptive_end_decoding(const adaptive *a);

/* The distance at which the signs of weights agree, or disagree, most: a good shape.above. 0: there is none. */
unsigned adaptive_find_above(const uint16_t *heads, size_t n, unsigned exponent_bits, uint64_t k);

#endif

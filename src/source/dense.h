/* Tensors that do not lie in a file as safetensors wants them: strided, in the other byte order, or with a pending sign. */
#ifndef FPR_SOURCE_DENSE_H
#define FPR_SOURCE_DENSE_H

#include "base/base.h"

#define DENSE_RANK_MOST 64

/* Bytes that can be read from any place; threads may do so at the same time. */
typedef struct dense_store {
    fpr_status (*read)(const struct dense_store *store, uint64_t from, uint64_t count, void *dst, fpr_error *error);
    const volatile int *cancel;
} dense_store;

typedef struct dense_view {
    unsigned rank, element; /* axes; bytes of an element: 1, 2, 4 or 8 */
    unsigned unit;          /* bytes of what the next three act on: an element, or half of a complex one */
    bool swap;              /* the units' bytes stand in the other order */
    bool negative;          /* minus what is stored */
    bool conjugate;         /* every second unit is minus what is stored */
    bool whole;             /* units are integers: their minus is the two's complement; else a flipped sign bit */
    uint64_t offset;        /* bytes in front of the element [0, 0, ..] */
    const uint64_t *shape, *stride; /* [rank] stride in elements */
} dense_view;

/* Elements from the first one to the last one's end, with all axes' strides; false when that overflows. Not for empty
 * tensors. */
bool dense_span(const dense_view *v, uint64_t *elements);
/* Whether the dense bytes stand in the store as they are. */
bool dense_is_plain(const dense_view *v);
/* Bytes [from, from + count) of the dense tensor: row-major, little-endian, nothing pending. A part of a tensor that is
 * not plain costs as much as all of it. */
fpr_status dense_read(const dense_view *v, const dense_store *store, uint64_t from, uint64_t count, void *dst,
                      fpr_error *error);

#endif

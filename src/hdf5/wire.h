/* What the helper that reads HDF5 writes to its standard output: records of a kind (one byte), a length (eight bytes,
 * little-endian) and so many bytes. Shared by the helper (src/hdf5) and by who starts it (src/source/hdf5.c), which takes
 * every record for hostile: the helper reads strangers' files.
 *
 *   HDF5_TENSOR   dtype (1: fpr_dtype), rank (1), offset (8), shape (8 each), bytes of the name (4), the name, bytes of the
 *                 layer's name (4), that name. Offset: of the dense bytes in the file, or HDF5_NO_OFFSET: then they follow
 *                 in HDF5_DATA records, of this tensor alone, until all are there
 *   HDF5_SKIPPED  bytes of the name (4), the name, and why it is left out
 *   HDF5_CONFIG   JSON of the model, as Keras keeps it in an attribute
 *   HDF5_ERROR    a message; nothing follows
 *   HDF5_END      all was well; nothing follows */
#ifndef FPR_HDF5_WIRE_H
#define FPR_HDF5_WIRE_H

#include <stdint.h>

#define HDF5_TENSOR 'T'
#define HDF5_DATA 'D'
#define HDF5_SKIPPED 'S'
#define HDF5_CONFIG 'C'
#define HDF5_ERROR 'E'
#define HDF5_END 'Z'

#define HDF5_RECORD_HEAD 9
#define HDF5_RECORD_MOST (16u << 20) /* a longer record is none of ours */
#define HDF5_NO_OFFSET UINT64_MAX
#define HDF5_RANK_MOST 32

#define HDF5_INPUT_FD 3              /* the file, open for reading */
/* Arguments: where in it the HDF5 file begins, and its bytes, in decimal; and, for datasets that may be larger than what is
 * stored of them explains: */
#define HDF5_EXPAND "--allow-expand"

#endif

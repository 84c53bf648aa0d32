/* A driver of libhdf5 that reads from a part of a descriptor that is open already. */
#ifndef FPR_HDF5_INPUT_H
#define FPR_HDF5_INPUT_H

#include <hdf5.h>
#include <stdint.h>

/* The HDF5 file that stands in bytes [begin, begin + size) of the descriptor; negative when it is none. Nothing is opened by
 * name, so that the process can be confined before the library sees a byte of the file. */
hid_t hdf5_open_input(int fd, uint64_t begin, uint64_t size);

#endif

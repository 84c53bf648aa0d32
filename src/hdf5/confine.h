/* Takes everything from the helper that reading one open file does not need. */
#ifndef FPR_HDF5_CONFINE_H
#define FPR_HDF5_CONFINE_H

#include <stdbool.h>

/* Limits memory, time and files, and allows from now on only the system calls of reading, writing and memory: opening gives
 * an error, anything else ends the process. false: the kernel has no such filter, or refuses it. */
bool hdf5_confine(void);

#endif

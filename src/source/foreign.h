/* Files that are no checkpoints, but are handed in as such. */
#ifndef FPR_SOURCE_FOREIGN_H
#define FPR_SOURCE_FOREIGN_H

#include "source/source.h"

/* FPR_BAD_HEADER for a file that is known to be something else, with its name and what to do; FPR_OK for all others,
 * among them whatever could be a safetensors file. */
fpr_status foreign_refuse(const file_source *file, fpr_error *error);

#endif

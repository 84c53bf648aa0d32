/* Zip archives of any program. */
#ifndef FPR_SOURCE_ARCHIVE_H
#define FPR_SOURCE_ARCHIVE_H

#include "source/source.h"

/* Opens an archive as what its members show it to be: a source of PyTorch, or of numpy. */
extern const source_format source_archive;

#endif

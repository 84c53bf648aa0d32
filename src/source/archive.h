/* Zip archives of any program, and what all formats of named arrays ask of names. */
#ifndef FPR_SOURCE_ARCHIVE_H
#define FPR_SOURCE_ARCHIVE_H

#include "source/source.h"

/* Opens an archive as what its members show it to be: a source of PyTorch, or of numpy. */
extern const source_format source_archive;

/* A name that a safetensors file can hold: UTF-8, and not __metadata__. */
fpr_status archive_check_name(const char *name, size_t bytes, fpr_error *error);
/* No two tensors with one name. */
fpr_status archive_check_unique(const source *s, fpr_error *error);

#endif

/* What all formats of named arrays ask of names. */
#ifndef FPR_SOURCE_NAMES_H
#define FPR_SOURCE_NAMES_H

#include "source/source.h"

/* A name that a safetensors file can hold: UTF-8, and not __metadata__. */
fpr_status source_check_name(const char *name, size_t bytes, fpr_error *error);
/* No two tensors with one name. */
fpr_status source_check_unique(const source *s, fpr_error *error);

#endif

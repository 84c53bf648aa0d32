/* A safetensors file, dense or with blobs in it: what safetensors.c and packed.c share. */
#ifndef FPR_SOURCE_PACKED_H
#define FPR_SOURCE_PACKED_H

#include "source/source.h"

typedef struct safetensors {
    source base;
    file_header header;
    char *text;            /* the raw header, header.header_bytes long */
    file_tree key;         /* the value of our key, until all tensors are listed */
    char *original_header; /* text of "header" in the key; NULL when the key is missing */
    uint64_t check_offset; /* in text, of the 16 digits of "check"; UINT64_MAX: none */
    uint64_t check;
    bool states_data;      /* dense, but the key says how it was made; check is that of the data then */
} safetensors;

/* Reads our key, when the file has it. */
fpr_status packed_open(safetensors *s, fpr_error *error);
/* Tensors that are blobs are made to show what they restore to, others stay as they are. What the key says of a tensor
 * must be what the tensor says of itself. */
fpr_status packed_look(safetensors *s, const source_options *options, fpr_error *error);
/* Of source_format. */
fpr_status packed_header(const source *s, const file_text *like, char **text, size_t *bytes, fpr_error *error);
fpr_status packed_check(const source *s, fpr_error *error);
fpr_status packed_decode(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error);

#endif

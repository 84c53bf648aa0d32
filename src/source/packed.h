/* A safetensors file, dense or with blobs in it: what safetensors.c and packed.c share. */
#ifndef FPR_SOURCE_PACKED_H
#define FPR_SOURCE_PACKED_H

#include "pack/pack.h"
#include "source/source.h"

#include <pthread.h>

typedef struct safetensors {
    source base;
    file_header header;
    char *text;            /* the raw header, header.header_bytes long */
    file_tree key;         /* the value of our key, until all tensors are listed */
    char *original_header; /* text of "header" in the key; NULL when the key is missing */
    uint64_t check_offset; /* in text, of the 16 digits of "check"; UINT64_MAX: none */
    uint64_t check;
    /* Of a file with a pool: the header is shown as it would be without one. */
    pack_pool pool;
    const pack_member **member; /* [tensors] what the pool holds of them, NULL for those that stand in the header; or NULL */
    file_tensor *own_tensors;   /* header.tensors then */
    uint32_t *own_order;
    uint64_t pool_offset, pool_stored;
    pthread_mutex_t pool_lock;
    uint8_t *pool_dense;        /* its bytes, once they were needed */
    bool states_data;      /* dense, but the key says how it was made; check is that of the data then */
} safetensors;

/* Reads our key, when the file has it. */
fpr_status packed_open(safetensors *s, fpr_error *error);
/* pool.c. Finds the pool, if there is one, and puts its members among the tensors of the header; before packed_look. */
fpr_status packed_pool(safetensors *s, fpr_error *error);
void packed_pool_close(safetensors *s);
static inline bool packed_is_member(const safetensors *s, size_t tensor) { return s->member && s->member[tensor]; }
void packed_show_member(const safetensors *s, size_t tensor, source_tensor *t);
fpr_status packed_decode_member(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error);
fpr_status packed_bad_key(fpr_error *error, const char *what);

/* Tensors that are blobs are made to show what they restore to, others stay as they are. What the key says of a tensor
 * must be what the tensor says of itself. */
fpr_status packed_look(safetensors *s, const source_options *options, fpr_error *error);
/* Of source_format. */
fpr_status packed_header(const source *s, const file_text *like, char **text, size_t *bytes, fpr_error *error);
fpr_status packed_check(const source *s, fpr_error *error);
fpr_status packed_decode(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error);

#endif

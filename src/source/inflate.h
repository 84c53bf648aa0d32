/* A deflated member of an archive, read by ranges. */
#ifndef FPR_SOURCE_INFLATE_H
#define FPR_SOURCE_INFLATE_H

#include "source/zip.h"

/* Where readers of deflated members have come to: a few of them, shared by all threads. */
typedef struct inflate_pool inflate_pool;
inflate_pool *inflate_pool_new(void); /* NULL: out of memory */
void inflate_pool_free(inflate_pool *pool); /* NULL allowed */
fpr_status inflate_read(inflate_pool *pool, const file_source *file, const zip_member *member, uint64_t from,
                        uint64_t count, void *dst, fpr_error *error);

#endif

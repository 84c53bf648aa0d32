/* The packed blob: what a packed tensor is in the file. FORMAT.md beside this header is its specification.
 *
 * Stores and restores bits; decides nothing about weights. Called by job/; sees base/ and lattice/ (and zstd, xxHash).
 *
 * encode.c     chooses a codec by cheap estimates and puts the blob together
 * decode.c     a blob of any codec, restored
 *   restore.c  everything that a hostile blob could lie about, checked first; codecs of one stream
 * blob.c       the head: dtypes, layers, the section table
 * values.c     the codec `planes`: keys, low bits and byte planes of a stream of elements, in chunks
 *   estimate.c how that is done best, from a sample     scales.c  magnitudes by filter and channel
 *   stream.c   which elements, in which order           split.c   elements to symbols and planes
 * adaptive_stream.c adaptive.c   the same stream, every value foretold from those before it
 * palette.c kernelmap.c   the other codecs
 * lattice.c lattice_code.c   weights on a lattice, indices foretold from those before. lattice_walk.h goes along the kernels, and
 *                            is compiled by lattice_mixed.c, lattice_base.c and lattice_avx2.c; lattice_*.h have the ways of
 *                            it, bits.h, tokens.h and blend.h the coders
 * pool.c       many small tensors in one blob
 * frames.c     chunks: zstd frames, or the entropy coder in rans.c, rans_table.c and rans_x86.c
 * header.c     the original header of the checkpoint, so that unpack can restore it byte for byte */
#ifndef FPR_PACK_H
#define FPR_PACK_H

#include "lattice/lattice.h"

#define PACK_FORMAT ((unsigned)FPR_PACKED_FORMAT) /* format version written */
/* What this reader is: 2 knows lattices, 3 pools, 4 blended lattices. What needs no more is written for reader 1. */
#define PACK_READER 4u

typedef struct pack_input {
    fpr_dtype dtype;
    unsigned rank;
    const uint64_t *shape;
    const fpr_layer_shape *layer; /* as a convolution layer; a rank 2 float tensor comes as rows = filters, channels 1,
                                     k = columns, layout OIHW; NULL when it is neither */
    const uint8_t *bytes;         /* dense, little-endian; 64-byte aligned */
    uint64_t size;
    int level;                    /* 1 .. 19 */
    bool lossless;                /* whether these are the input's own bits: recorded in the blob */
    uint64_t adaptive_values;     /* streams of so many values at most are tried under the adaptive code as well, which
                                     takes 0.2 us a value to write and to read; 0: none */
    const lattice *lattice;       /* what the weights were rounded to; NULL: nothing */
    uint64_t must_beat;           /* no blob of this many bytes or more is worth it: *blob is then NULL */
} pack_input;

typedef struct pack_blob pack_blob;

/* *blob is NULL (with FPR_OK) when the tensor is best stored raw. Spreads chunks over threads; the bytes do not depend
 * on how many. Memory: the blob itself plus a few MiB per thread. */
fpr_status pack_encode(const pack_input *input, unsigned threads, pack_blob **blob, fpr_error *error);
/* A blob as it was read, which restored: only what it says of itself as lossless may be other. */
fpr_status pack_keep(const uint8_t *bytes, uint64_t stored_bytes, bool lossless, pack_blob **blob, fpr_error *error);
/* The lattice of a blob that restored: whether kernels were pruned of it since is for the caller to say. */
fpr_status pack_lattice_of(const uint8_t *bytes, uint64_t stored_bytes, lattice *l, fpr_error *error);
uint64_t pack_blob_size(const pack_blob *blob); /* a multiple of 8 */
const char *pack_blob_codec(const pack_blob *blob);
unsigned pack_blob_reader(const pack_blob *blob); /* the oldest reader that can decode it */
fpr_status pack_blob_write(const pack_blob *blob, fpr_write write, void *context, fpr_error *error);
void pack_blob_free(pack_blob *blob);

typedef struct pack_info {
    const char *codec; /* static text */
    fpr_dtype dtype;
    unsigned rank;
    uint64_t shape[64]; /* a tensor of higher rank is never packed */
    uint64_t bytes;     /* dense */
    uint64_t hash;      /* XXH3-64 of the dense bytes */
    bool lossless;
    unsigned reader;    /* the oldest that can decode it */
} pack_info;

#define PACK_HEAD_MAX 1024 /* the first bytes of a blob that pack_peek needs at most */

/* Whether bytes begin like a blob. A dense U8 tensor may do so by chance: only the checkpoint's own index (the key
 * `filterprune` of __metadata__) or, where that was lost, a head that agrees with the tensor in every field says so. */
bool pack_is_blob(const uint8_t *head, size_t n);
/* Reads the head of a blob of stored_bytes: FPR_BAD_PACKED or FPR_TOO_NEW. */
fpr_status pack_peek(const uint8_t *head, size_t n, uint64_t stored_bytes, pack_info *info, fpr_error *error);
/* Restores into dst (info.bytes of them, 64-byte aligned), and checks hash, frames, padding: any wrong byte is
 * FPR_BAD_PACKED. The blob is hostile until then: nothing is allocated or written beyond what stored_bytes justify. */
fpr_status pack_decode(const uint8_t *blob, uint64_t stored_bytes, unsigned threads, void *dst, uint64_t dst_bytes,
                       fpr_error *error);

/* ---- palette.c: how many different bit patterns so many elements have; 0: more than 256 */
fpr_status pack_colours(const void *bytes, fpr_dtype dtype, uint64_t count, unsigned threads, unsigned *colours,
                        fpr_error *error);

/* ---- pool.c: many small tensors in one blob, which costs them neither a head nor an entry in a header each */

#define PACK_POOL_BYTES (512u << 10)        /* what a pool restores to at most */
#define PACK_POOL_STORED_MOST (2u << 20)    /* a larger blob is none */
#define PACK_POOL_MEMBER_BYTES (40u << 10)  /* a larger tensor is better off alone */

typedef struct pack_member {
    const char *name;      /* no NUL in it */
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    const uint64_t *shape;
    uint64_t bytes;        /* dense */
    const void *dense;     /* when encoded */
    uint64_t offset;       /* when read: in what the pool restores to */
    uint64_t place;        /* among all tensors of the restored file, in data order */
    uint64_t header_place; /* among them in the order of the header */
} pack_member;

typedef struct pack_pool_wish {
    bool reordered; /* some tensor of the file has another place in the header than in the data */
    int level;
    uint64_t adaptive_values; /* as in pack_input */
    unsigned threads;
} pack_pool_wish;

/* Sorts the members. They are of at most 15 dtypes, and restore to PACK_POOL_BYTES at most. */
fpr_status pack_pool_encode(pack_member *members, size_t count, const pack_pool_wish *wish, pack_blob **blob,
                            fpr_error *error);

/* The list of a pool, which is checked in itself: names are UTF-8, sizes follow from shapes and fill the pool exactly.
 * Not whether names or places come twice, in the pool or outside of it: that is for who knows the file. */
typedef struct pack_pool {
    pack_member *members;
    size_t count;
    uint64_t bytes; /* restored, by pack_decode */
    bool reordered;
    uint64_t *shapes;
    uint8_t *listing;
} pack_pool;
fpr_status pack_pool_open(const uint8_t *blob, uint64_t stored_bytes, pack_pool *pool, fpr_error *error);
void pack_pool_close(pack_pool *pool);
bool pack_is_pool(const pack_info *info);
/* How many of the stored bytes of a pool are said to be a member's: all members together take all of them. */
uint64_t pack_pool_share(uint64_t stored, uint64_t bytes, const pack_member *member);

/* ---- header.c */

/* The original header as text for the JSON index: "canonical" when `like` (what a reader can rebuild from names,
 * dtypes, shapes and metadata) is the header itself; else a zstd frame of it with `like` as prefix, in base64. Owned by
 * the caller (base_free). */
fpr_status pack_header_encode(const char *header, size_t header_bytes, const char *like, size_t like_bytes, char **text,
                              fpr_error *error);
fpr_status pack_header_decode(const char *text, const char *like, size_t like_bytes, char **header,
                              size_t *header_bytes, fpr_error *error);

#endif

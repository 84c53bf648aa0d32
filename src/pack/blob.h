/* What the files of this room share: the head and the sections of a blob, streams of values, the entropy coder.
 *
 * Nobody outside src/pack/ includes it. FORMAT.md is the specification; the numbers here are its numbers. */
#ifndef FPR_PACK_BLOB_H
#define FPR_PACK_BLOB_H

#include "pack/lattice_code.h"
#include "pack/pack.h"

#define PACK_CHUNK 262144u /* raw bytes of a section that one zstd frame or one rans chunk holds; elements of a task */
static inline uint64_t pack_chunk_count(uint64_t n) { return n / PACK_CHUNK + (n % PACK_CHUNK != 0); }
/* How many of n are in chunk i. */
static inline size_t pack_chunk_size(uint64_t n, uint64_t i)
{
    return n - i * PACK_CHUNK < PACK_CHUNK ? (size_t)(n - i * PACK_CHUNK) : PACK_CHUNK;
}

/* How many threads are of use for so many tasks (at least one): scratch memory is made for each of them. */
static inline unsigned pack_threads(unsigned threads, uint64_t tasks)
{
    return threads < 1 ? 1 : threads > tasks ? (unsigned)tasks : threads;
}

#define PACK_SECTIONS 16u
#define PACK_RANK_MAX 64u

enum { PACK_PLANES = 1, PACK_PALETTE = 2, PACK_KERNELS = 3, PACK_LATTICE = 4, PACK_POOL = 5, PACK_CODECS };

enum {
    PACK_KEYS = 1,    /* one symbol an element: exponent and leading mantissa bits, less the scale */
    PACK_LOW = 2,     /* the bits between the key and the next whole byte */
    PACK_PLANE = 3,   /* a byte of every element; the most significant plane first */
    PACK_COLOURS = 4, /* the distinct bit patterns of a palette, ascending */
    PACK_INDEX = 5,   /* which of them, 1, 2, 4 or 8 bits an element */
    PACK_CLASSES = 6, /* 2 bits a kernel: dead, two-level, dense */
    PACK_LEVELS = 7,  /* level pairs */
    PACK_SIGNS = 8,   /* 1 bit a weight of two-level kernels: its upper level? */
    PACK_ADAPTIVE = 9, /* sign, exponent and two mantissa bits of every value, each foretold from those before */
    PACK_LATTICE_SECTION = 10, /* a step, and an index for every weight, each foretold from those before */
    PACK_MEMBERS = 11,   /* what tensors a pool holds */
    PACK_PART_BLOB = 12, /* all members of one dtype, one after the other, as a blob */
    PACK_PART_BYTES = 13 /* or as bytes */
};

enum { PACK_RAW = 0, PACK_ZSTD = 1, PACK_RANS = 2 };

enum { PACK_DEAD = 0, PACK_TWO_LEVEL = 1, PACK_DENSE = 2 };

/* ---- blob.c: dtypes, layers, the head */

/* How a tensor is cut into elements: width bytes each; exponent_bits > 0 for floats, which are rotated left by one. */
typedef struct pack_element { unsigned width, exponent_bits; } pack_element;
pack_element pack_element_of(fpr_dtype dtype);
unsigned pack_dtype_bits(fpr_dtype dtype);
/* The bits of an element of 2, 4 or 8 bytes. */
static inline uint64_t pack_pattern(const uint8_t *p, unsigned width)
{
    return width == 4 ? base_load_le32(p) : width == 2 ? base_load_le16(p) : base_load_le64(p);
}

/* A layer as the kernels codec sees it. The weight s of kernel (filter, channel) is element
 * ((filter * channels + channel) * k + s) of the tensor, or with hwio ((s * channels + channel) * filters + filter).
 * Kernels of one weight are not kernels: then (flat) a filter is one kernel of as many weights as it has channels. */
typedef struct pack_layer { uint64_t filters, channels, k; bool hwio, flat; } pack_layer;
/* false when the shape has no such layer. */
bool pack_layer_of(unsigned rank, const uint64_t *shape, bool hwio, pack_layer *layer);
/* n weights of a kernel, from its place-th on; `bytes` is the tensor. */
void pack_kernel_copy(const pack_layer *layer, unsigned width, const uint8_t *bytes, uint64_t kernel, uint64_t place,
                      uint64_t n, uint8_t *dst);
void pack_kernel_put(const pack_layer *layer, unsigned width, uint8_t *bytes, uint64_t kernel, uint64_t place,
                     uint64_t n, const uint8_t *src);

typedef struct pack_section {
    uint8_t kind, encoding;
    uint64_t stored, raw;
    uint32_t check;
    uint64_t at; /* offset in the blob; not stored */
} pack_section;

typedef struct pack_head {
    pack_info info;
    uint8_t codec;
    bool hwio, symmetric; /* kernels only; hwio of a lattice too */
    uint8_t scope;        /* fpr_scope, kernels only */
    unsigned section_count;
    pack_section sections[PACK_SECTIONS];
    size_t bytes;
} pack_head;

/* Writes the head into dst[PACK_HEAD_MAX] and sets head->bytes, and the name and reader of its codec. */
void pack_head_write(pack_head *head, uint8_t *dst);
fpr_status pack_head_read(const uint8_t *src, uint64_t n, uint64_t stored_bytes, pack_head *head, fpr_error *error);
bool pack_has_check(unsigned kind, unsigned encoding);
/* Whether a section's bytes are those that were written, as far as its own checksum says. */
fpr_status pack_section_verify(const uint8_t *blob, const pack_section *section, fpr_error *error);
/* Bytes of a dense tensor; false when they overflow, or are no whole number. */
bool pack_dense_bytes(fpr_dtype dtype, unsigned rank, const uint64_t *shape, uint64_t *bytes);
fpr_status pack_bad(fpr_error *error, const char *what); /* FPR_BAD_PACKED */

/* Base-128 integers, least significant group first. */
size_t pack_put_varint(uint8_t *dst, uint64_t value);
bool pack_get_varint(const uint8_t **at, const uint8_t *end, uint64_t *value);
size_t pack_varint_bytes(uint64_t value);

/* ---- building: sections of pieces, in order */

typedef struct pack_piece { uint8_t *bytes; uint64_t count; } pack_piece;
typedef struct pack_build_section {
    uint8_t kind, encoding;
    uint64_t raw;
    uint64_t piece_count;
    pack_piece *pieces; /* owned, bytes too */
} pack_build_section;
struct pack_blob {
    const uint8_t *bytes; /* the tensor, while it is encoded */
    uint64_t size;
    bool hashed;          /* head.info.hash is known */
    pack_head head;
    uint8_t head_bytes[PACK_HEAD_MAX];
    uint64_t total;
    unsigned section_count;
    pack_build_section sections[PACK_SECTIONS];
};
void pack_blob_hash(pack_blob *blob); /* in blob.c */
/* A new section with room for `pieces` empty pieces; NULL: out of memory. The pointer stays valid. */
pack_build_section *pack_add_section(pack_blob *blob, unsigned kind, unsigned encoding, uint64_t raw, uint64_t pieces);
/* A section of one piece, copied. */
bool pack_add_bytes(pack_blob *blob, unsigned kind, const void *bytes, uint64_t count);
bool pack_copy_piece(pack_piece *piece, const void *bytes, uint64_t count);
void pack_drop_last_section(pack_blob *blob);
uint64_t pack_last_section_bytes(const pack_blob *blob);
/* Head and sizes, when all sections are there; the tensor is still at blob->bytes unless it was hashed. false: out of
 * memory. */
bool pack_blob_finish(pack_blob *blob);

/* ---- rans.c: the entropy coder. A chunk codes up to PACK_CHUNK symbols of one byte. */

#define RANS_BITS 12u
#define RANS_CHUNK_BOUND(n) (2 * (uint64_t)(n) + 2048) /* bytes that rans_encode may write, without escapes */
/* In keyed chunks: */
#define RANS_ZERO 0u   /* key 0 */
#define RANS_ESCAPE 1u /* a key that no symbol stands for, listed apart */
#define RANS_FIRST 2u  /* then the extra keys, if any, and after them the window */

typedef struct rans_scratch rans_scratch; /* tables for either direction, about 48 KiB */
rans_scratch *rans_scratch_new(void);

/* What the symbols of keyed chunks stand for: symbol first + i is key top - i. */
typedef struct rans_keys { unsigned first, mantissa_bits; uint16_t top; } rans_keys;

/* rans_table.c: a table as it is stored, a code for each of `count` entries. An entry is a symbol, or with grain > 0
 * and keys a group of them. */
typedef struct rans_table {
    uint8_t codes[256];
    unsigned count, rice;
} rans_table;
bool rans_grain_allowed(const rans_keys *keys, unsigned grain);
/* Fits the tables of n symbols, with the grain that makes the chunk shortest; returns it. */
unsigned rans_tables_fit(const uint32_t counts[2][256], unsigned tables, const rans_keys *keys, size_t n,
                         rans_table fit[2]);
size_t rans_tables_write(const rans_table *fit, unsigned tables, const rans_keys *keys, unsigned grain, uint8_t *dst);
bool rans_tables_read(const uint8_t **at, const uint8_t *end, unsigned tables, const rans_keys *keys, unsigned grain,
                      rans_table *fit);
/* Frequencies that sum to 2^12; false when no symbol is present, or a hostile table leaves nothing to share. */
bool rans_frequencies(const rans_table *fit, const rans_keys *keys, unsigned grain, uint16_t frequency[256]);

/* Encodes n <= PACK_CHUNK symbols. classes NULL: one table; else classes[i] & 1 chooses between two. counts[2][256] are
 * the symbols' frequencies by table. keys NULL: plain bytes. escapes lists the keys of the symbols 1. Returns the bytes
 * written to dst. The last chunk of a section has no length before it. */
size_t rans_encode(rans_scratch *scratch, const uint8_t *symbols, const int8_t *classes, size_t n,
                   const uint32_t counts[2][256], const rans_keys *keys, const uint16_t *escapes, size_t escape_count,
                   bool last, uint8_t *dst);
/* The bytes of the chunk that begins at src (length included), or 0 when it does not fit in n. Not for the last one. */
uint64_t rans_chunk_bytes(const uint8_t *src, uint64_t n);
/* Decodes a chunk of exactly `bytes` bytes into n symbols. classes NULL when there are none: then two tables are an
 * error. *escapes points into src (uint16 little-endian). Returns NULL, or what is wrong. */
const char *rans_decode(rans_scratch *scratch, const uint8_t *src, size_t bytes, bool last, uint8_t *symbols,
                        const int8_t *classes, size_t n, const rans_keys *keys, const uint8_t **escapes,
                        size_t *escape_count);

/* Inner loops. `words` is the end of the space when encoding (it moves down), the first word when decoding. */
/* limit: the largest state that takes the symbol without giving up a word first. */
typedef struct rans_encode_entry { uint64_t reciprocal; uint32_t limit; uint16_t start, complement; } rans_encode_entry;
typedef struct rans_decode_job {
    const uint32_t *slots; /* [tables << RANS_BITS] symbol | (frequency - 1) << 8 | (slot - start) << 20 */
    const uint8_t *words, *end;
    uint32_t *states;
    unsigned lanes;
    uint8_t *symbols;
    const int8_t *classes; /* NULL: one table */
    size_t n;
} rans_decode_job;
/* Each decodes whole groups of lanes while it can be sure not to read past the end, and returns the symbols done. */
size_t rans_decode_avx2(rans_decode_job *job);
size_t rans_decode_avx512(rans_decode_job *job);
/* n a multiple of lanes, 16 or 32. ranges[tables][256]: start | frequency << 16. */
uint8_t *rans_encode_avx512(const uint32_t *ranges, const uint8_t *symbols, const int8_t *classes, size_t n,
                            unsigned lanes, uint32_t *states, uint8_t *words);
/* 8 lanes, too. Stops while it can be sure not to write below floor; *n receives the symbols left. */
uint8_t *rans_encode_avx2(const uint32_t *ranges, const uint8_t *symbols, const int8_t *classes, size_t *n,
                          unsigned lanes, uint32_t *states, uint8_t *words, const uint8_t *floor);

/* ---- frames.c: zstd */

typedef struct pack_zstd pack_zstd; /* contexts of one worker, made when first needed; zero-initialise */
struct pack_zstd { void *compress, *decompress; };
void pack_zstd_free(pack_zstd *zstd);
/* One frame with content size and checksum. 0: out of memory or dst too small. */
size_t pack_zstd_frame(pack_zstd *zstd, int level, const void *src, size_t n, void *dst, size_t capacity);
size_t pack_zstd_bound(size_t n);
/* The bytes of the frame that begins at src, or 0. */
uint64_t pack_zstd_frame_bytes(const uint8_t *src, uint64_t n);
/* NULL, or what is wrong. "out of memory" is told apart by *no_memory. */
const char *pack_zstd_restore(pack_zstd *zstd, const uint8_t *src, size_t bytes, void *dst, size_t n, bool *no_memory);

/* ---- sections cut into chunks of PACK_CHUNK raw bytes, for reading */

typedef struct pack_chunks {
    const pack_section *section;
    const uint8_t *bytes;   /* the section */
    uint64_t prefix;        /* bytes before the first chunk */
    uint64_t *begin;        /* [count + 1] offsets in the section; NULL when raw */
    uint64_t count;
} pack_chunks;
fpr_status pack_chunks_open(const uint8_t *blob, const pack_section *section, uint64_t prefix, pack_chunks *chunks,
                            fpr_error *error);
void pack_chunks_close(pack_chunks *chunks);
/* Raw bytes of chunk i: *at is where they are, dst when they had to be restored. NULL or what is wrong. */
const char *pack_chunk_read(const pack_chunks *chunks, uint64_t i, rans_scratch *rans, pack_zstd *zstd, uint8_t *dst,
                            const uint8_t **at, bool *no_memory);
/* Encodes one chunk of plain bytes into a piece. false: out of memory. */
bool pack_chunk_write(unsigned encoding, int level, rans_scratch *rans, pack_zstd *zstd, const uint8_t *src, size_t n,
                      bool last, uint8_t *scratch, size_t capacity, pack_piece *piece);
/* A whole small section, cut into chunks, by the encoding that is smallest. */
fpr_status pack_add_coded(pack_blob *blob, unsigned kind, const uint8_t *bytes, uint64_t count, int level,
                          fpr_error *error);
/* Restores a whole section into memory of its own (base_free). Its raw bytes are at most `most`. */
fpr_status pack_section_restore(const uint8_t *blob, const pack_section *section, uint64_t most, uint8_t **bytes,
                                fpr_error *error);

/* ---- scales.c: class(i) = sum over axes of value[(i / stride) % count], in half octaves */

#define SCALES_AXES 2u
#define SCALES_PATTERN PACK_CHUNK /* largest stride */

typedef struct pack_axis { uint64_t stride, count; int8_t *values; } pack_axis;
typedef struct pack_scales {
    unsigned axis_count;
    pack_axis axes[SCALES_AXES];
    int8_t *pattern; /* [axes[0].stride] what the axes after the first add */
} pack_scales;
void pack_scales_free(pack_scales *scales);
/* Classes of the elements first .. first + n - 1. */
void pack_scales_fill(const pack_scales *scales, uint64_t first, size_t n, int8_t *classes);
uint64_t pack_scales_bytes(const pack_scales *scales);
void pack_scales_write(const pack_scales *scales, uint8_t *dst);
/* Reads so many axes over `elements` elements and moves *at past them. */
fpr_status pack_scales_read(const uint8_t **at, const uint8_t *end, unsigned axes, uint64_t elements,
                            pack_scales *scales, fpr_error *error);

/* ---- stream.c: a stream of elements */

#define VALUES_INDEX 16384u /* every so many values of a gathered stream, the kernel that holds it is noted */

typedef struct pack_values {
    uint8_t *bytes;           /* the tensor: read when encoding, written when decoding */
    pack_element element;
    uint64_t count;           /* elements of the stream */
    pack_layer layer;         /* filters 0: none */
    const uint8_t *map;       /* 2 bits a kernel, or NULL: the stream is the tensor in its own order */
    uint64_t *index;          /* [(count - 1) / VALUES_INDEX + 1] kernel of the value i * VALUES_INDEX; with map */
} pack_values;
bool pack_values_index(pack_values *values); /* makes index from map; false: out of memory */
/* Walks over a layer's stream kernel by kernel. The values from c->place of c->kernel on, at most `most` of them, are
 * the next ones; the caller moves c->place past what it took. */
typedef struct pack_cursor { uint64_t kernel, place; } pack_cursor;
pack_cursor pack_values_seek(const pack_values *values, uint64_t first);
uint64_t pack_values_run(const pack_values *values, pack_cursor *c, uint64_t most);
static inline unsigned pack_map_get(const uint8_t *map, uint64_t kernel)
{
    return map[kernel / 4] >> kernel % 4 * 2 & 3;
}
/* n elements from `first` on: where they are, or copied into dst. */
const uint8_t *pack_values_fetch(const pack_values *values, uint64_t first, size_t n, uint8_t *dst);
/* The same of a layer, always copied: without map, all kernels in their order, whatever the layout. */
void pack_values_gather(const pack_values *values, uint64_t first, size_t n, uint8_t *dst);
void pack_values_put(const pack_values *values, uint64_t first, size_t n, const uint8_t *src);
void pack_values_classes(const pack_values *values, const pack_scales *scales, uint64_t first, size_t n, int8_t *out);

/* ---- estimate.c and values.c: a stream is planned, coded and restored chunk by chunk */

#define EXTRA_KEYS 16u

typedef struct pack_plan {
    unsigned mantissa_bits;     /* of a key */
    uint16_t top;               /* key of the window's first symbol; the keys fall from there */
    unsigned extra_count;
    uint16_t extras[EXTRA_KEYS]; /* keys outside the window with symbols of their own, not shifted by the scale */
    bool keyed, two_tables;
    unsigned planes;            /* PACK_PLANE sections */
    uint8_t encoding[8];        /* theirs, the most significant first */
    bool scaled;
    pack_scales scales;
    double bits;                /* estimate for the whole stream, side information included */
} pack_plan;
/* scales.c: fits the classes to the magnitudes; axis_count 0 when there is nothing to fit. */
fpr_status pack_scales_fit(const pack_values *values, pack_scales *scales, fpr_error *error);

/* eager: match finding is tried on everything, and every byte that it may save counts. */
fpr_status pack_values_plan(const pack_values *values, int level, bool eager, pack_plan *plan, fpr_error *error);
void pack_plan_free(pack_plan *plan);
/* Adds the stream's sections to the blob. */
fpr_status pack_values_encode(const pack_values *values, const pack_plan *plan, int level, unsigned threads,
                              pack_blob *blob, fpr_error *error);
/* Restores the stream from the sections [*section ..) of the blob and moves *section past them. */
fpr_status pack_values_decode(const pack_values *values, const uint8_t *blob, const pack_head *head, unsigned *section,
                              unsigned threads, fpr_error *error);

/* ---- adaptive_stream.c: a stream of floats under the adaptive code, whose heads cost time and save bytes */

/* Adds the sections. When they would have must_beat bytes or more, *added is false and the blob is of no use. */
fpr_status pack_adaptive_encode(const pack_values *values, uint64_t must_beat, unsigned threads, pack_blob *blob,
                                bool *added, fpr_error *error);
fpr_status pack_adaptive_decode(const pack_values *values, const uint8_t *blob, const pack_head *head,
                                unsigned *section, unsigned threads, fpr_error *error);

/* ---- restore.c */

/* Restores head->info.bytes bytes; counts in *section the sections that were needed. */
typedef fpr_status (*pack_decoder)(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                                   fpr_error *error);
fpr_status pack_decode_planes(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                              fpr_error *error);
fpr_status pack_decode_palette(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                               fpr_error *error);
/* A blob of a codec that has a decoder here. */
fpr_status pack_restore(const uint8_t *blob, uint64_t stored_bytes, const pack_decoder decoders[PACK_CODECS], unsigned threads,
                        void *dst, uint64_t dst_bytes, fpr_error *error);
/* A blob of a part of a pool: planes or a palette. */
fpr_status pack_decode_vector(const uint8_t *blob, uint64_t stored_bytes, unsigned threads, void *dst, uint64_t dst_bytes,
                              fpr_error *error);

/* ---- lattice.c */

/* The only section. *added is false when the weights are not on input->lattice: the blob is of no use. */
fpr_status pack_lattice_encode(const pack_input *input, lattice_way way, bool signs, unsigned threads, pack_blob *blob,
                               bool *added, fpr_error *error);
fpr_status pack_lattice_decode(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads,
                               void *dst, fpr_error *error);

/* ---- pool.c */

#define PACK_LISTING_BYTES (1u << 20) /* raw, of MEMBERS */
#define PACK_PLACE_MOST UINT32_MAX    /* tensors of a file */

fpr_status pack_pool_decode(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                            fpr_error *error);

/* ---- split.c: elements to symbols and planes, and back */

typedef struct split_job {
    unsigned width, exponent_bits, mantissa_bits; /* exponent_bits 0: no rotation, planes only */
    bool keyed;
    uint16_t top;
    unsigned extra_count;
    const uint16_t *extras;
    size_t n;
    uint8_t *elements;
    const int8_t *classes;  /* NULL: all 0 */
    uint8_t *symbols;       /* [n] when keyed */
    uint8_t *low;           /* packed bits when keyed, (n * low_bits + 7) / 8 bytes */
    uint8_t *planes[8];     /* the most significant first; merge only reads them */
} split_job;
unsigned split_low_bits(unsigned width, unsigned exponent_bits, unsigned mantissa_bits);
unsigned split_planes(unsigned width, unsigned exponent_bits, unsigned mantissa_bits, bool keyed);
void split_elements(const split_job *job);
void split_keys(const split_job *job, uint16_t *keys); /* of all elements */
uint32_t split_key(const split_job *job, size_t i); /* the key of one element, 0 .. 2^16 - 1 */
/* Escapes take their keys from `escapes` in order. NULL, or what is wrong. */
const char *split_merge(const split_job *job, const uint8_t *escapes, size_t escape_count);

/* ---- palette.c */

/* Distinct bit patterns of the values, ascending, when they are at most 256: *colours (base_free) and *count. More:
 * *count is 0. */
fpr_status pack_palette_find(const pack_values *values, unsigned threads, uint8_t **colours, unsigned *count, fpr_error *error);
/* Estimated bits. */
fpr_status pack_palette_plan(const pack_values *values, const uint8_t *colours, unsigned count, int level,
                             unsigned *encoding, double *bits, fpr_error *error);
fpr_status pack_palette_encode(const pack_values *values, const uint8_t *colours, unsigned count, unsigned encoding,
                               int level, unsigned threads, pack_blob *blob, fpr_error *error);
fpr_status pack_palette_decode(const pack_values *values, const uint8_t *blob, const pack_head *head, unsigned *section,
                               unsigned threads, fpr_error *error);

/* ---- kernelmap.c */

typedef struct pack_kernels {
    pack_layer layer;
    fpr_scope scope;
    bool symmetric;
    uint8_t *map;             /* classes, 2 bits a kernel */
    uint64_t dense, two_level; /* kernels */
    uint64_t level_pairs;
    uint8_t *levels;          /* [level_pairs][2] elements, lower then upper; on reading as stored */
} pack_kernels;
/* Classifies exactly; *useful is false when no kernel is dead or two-level. */
fpr_status pack_kernels_find(const uint8_t *bytes, pack_element element, const pack_layer *layer, pack_kernels *kernels,
                             bool *useful, fpr_error *error);
void pack_kernels_free(pack_kernels *kernels);
double pack_kernels_bits(const pack_kernels *kernels, pack_element element); /* without the dense ones */
/* CLASSES, LEVELS and SIGNS. */
fpr_status pack_kernels_encode(const pack_kernels *kernels, const uint8_t *bytes, pack_element element, int level,
                               unsigned threads, pack_blob *blob, fpr_error *error);
fpr_status pack_kernels_decode(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads,
                               void *dst, fpr_error *error);

/* log2, to about 1e-4, the same on every machine. */
double pack_log2(double x);
/* Bits of n symbols at their order-0 entropy. */
double pack_entropy_bits(const uint32_t *counts, unsigned n);

#endif

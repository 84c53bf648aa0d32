/* Sections as chunks: zstd frames, rans chunks, or raw bytes, each restored on its own and in any order. */
#include "pack/blob.h"

#include <zstd.h>
#include <zstd_errors.h>

#define FAST_LEVEL 3

/* ---- zstd */

void pack_zstd_free(pack_zstd *zstd)
{
    ZSTD_freeCCtx(zstd->compress);
    ZSTD_freeDCtx(zstd->decompress);
    zstd->compress = zstd->decompress = NULL;
}

size_t pack_zstd_bound(size_t n) { return ZSTD_compressBound(n); }

size_t pack_zstd_frame(pack_zstd *zstd, int level, const void *src, size_t n, void *dst, size_t capacity)
{
    if (!zstd->compress) {
        zstd->compress = ZSTD_createCCtx();
        if (!zstd->compress) return 0;
    }
    ZSTD_CCtx *context = zstd->compress;
    ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
    if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)))
        return 0;
    size_t bytes = ZSTD_compress2(context, dst, capacity, src, n);
    return ZSTD_isError(bytes) ? 0 : bytes;
}

uint64_t pack_zstd_frame_bytes(const uint8_t *src, uint64_t n)
{
    size_t bytes = ZSTD_findFrameCompressedSize(src, (size_t)n);
    return ZSTD_isError(bytes) || bytes > n ? 0 : bytes;
}

const char *pack_zstd_restore(pack_zstd *zstd, const uint8_t *src, size_t bytes, void *dst, size_t n, bool *no_memory)
{
    if (!zstd->decompress) {
        zstd->decompress = ZSTD_createDCtx();
        if (!zstd->decompress) {
            *no_memory = true;
            return "out of memory";
        }
    }
    /* The content size is compared first: a frame that would yield more is never started. */
    if (ZSTD_getFrameContentSize(src, bytes) != n) return "a zstd frame of another size than its section needs";
    size_t got = ZSTD_decompressDCtx(zstd->decompress, dst, n, src, bytes);
    if (ZSTD_isError(got)) {
        *no_memory = ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation;
        return "a zstd frame does not decode";
    }
    return got == n ? NULL : "a zstd frame yields fewer bytes than it says";
}

/* ---- writing */

static void count_bytes(const uint8_t *bytes, size_t n, uint32_t counts[256])
{
    uint32_t part[4][256] = {{0}};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        part[0][bytes[i]]++;
        part[1][bytes[i + 1]]++;
        part[2][bytes[i + 2]]++;
        part[3][bytes[i + 3]]++;
    }
    for (; i < n; i++) part[0][bytes[i]]++;
    for (unsigned s = 0; s < 256; s++) counts[s] = part[0][s] + part[1][s] + part[2][s] + part[3][s];
}

/* A frame as a piece. made: bytes of the one that is in scratch already; 0: it is yet to be made. */
static bool write_frame(int level, pack_zstd *zstd, const uint8_t *src, size_t n, size_t made, uint8_t *scratch, size_t capacity,
                        pack_piece *piece)
{
    size_t bytes = made ? made : pack_zstd_frame(zstd, level, src, n, scratch, capacity);
    if (!bytes || !pack_copy_piece(piece, scratch, bytes)) return false;
    if (level <= FAST_LEVEL) return true;
    /* On long runs a fast level may well win over a slow one. */
    bytes = pack_zstd_frame(zstd, FAST_LEVEL, src, n, scratch, capacity);
    if (!bytes) return false;
    if (bytes < piece->count) {
        memcpy(piece->bytes, scratch, bytes);
        piece->count = bytes;
    }
    return true;
}

bool pack_chunk_write(unsigned encoding, int level, rans_scratch *rans, pack_zstd *zstd, const uint8_t *src, size_t n,
                      bool last, uint8_t *scratch, size_t capacity, pack_piece *piece)
{
    if (encoding == PACK_RAW) return pack_copy_piece(piece, src, n);
    if (encoding == PACK_ZSTD) return write_frame(level, zstd, src, n, 0, scratch, capacity, piece);
    uint32_t counts[2][256];
    count_bytes(src, n, counts[0]);
    size_t bytes = rans_encode(rans, src, NULL, n, (const uint32_t(*)[256])counts, NULL, NULL, 0, last, scratch);
    return pack_copy_piece(piece, scratch, bytes);
}

void pack_drop_last_section(pack_blob *blob)
{
    pack_build_section *s = &blob->sections[--blob->section_count];
    for (uint64_t i = 0; i < s->piece_count; i++) base_free(s->pieces[i].bytes);
    base_free(s->pieces);
    memset(s, 0, sizeof *s);
}

uint64_t pack_last_section_bytes(const pack_blob *blob)
{
    const pack_build_section *s = &blob->sections[blob->section_count - 1];
    uint64_t sum = 0;
    for (uint64_t i = 0; i < s->piece_count; i++) sum += s->pieces[i].count;
    return sum;
}

/* The chunk is at most PACK_CHUNK bytes, so trying all three encodings on the first chunk costs little. Returns the bytes of
 * its frame, which is left in scratch. 0: no memory; the others would do, but what is written must not depend on that. */
static size_t best_encoding(const uint8_t *bytes, size_t n, int level, rans_scratch *rans, pack_zstd *zstd,
                            uint8_t *scratch, size_t capacity, unsigned *best)
{
    uint32_t counts[2][256];
    size_t least = n, got;
    *best = PACK_RAW;
    count_bytes(bytes, n, counts[0]);
    got = rans_encode(rans, bytes, NULL, n, (const uint32_t(*)[256])counts, NULL, NULL, 0, true, scratch);
    if (got < least) {
        least = got;
        *best = PACK_RANS;
    }
    got = pack_zstd_frame(zstd, level, bytes, n, scratch, capacity);
    if (got && got < least) *best = PACK_ZSTD;
    return got;
}

fpr_status pack_add_coded(pack_blob *blob, unsigned kind, const uint8_t *bytes, uint64_t count, int level,
                          fpr_error *error)
{
    if (count < 32) return pack_add_bytes(blob, kind, bytes, count) ? FPR_OK : base_no_memory(error, count);
    size_t part = pack_chunk_size(count, 0);
    size_t capacity = RANS_CHUNK_BOUND(part) > pack_zstd_bound(part) ? RANS_CHUNK_BOUND(part) : pack_zstd_bound(part);
    pack_zstd zstd = {0};
    fpr_status status = FPR_OK;
    rans_scratch *rans = rans_scratch_new();
    uint8_t *scratch = base_alloc(capacity, 1);
    if (!rans || !scratch) {
        status = base_no_memory(error, capacity);
        goto out;
    }
    unsigned encoding;
    const size_t frame = best_encoding(bytes, part, level, rans, &zstd, scratch, capacity, &encoding);
    if (!frame) {
        status = base_no_memory(error, capacity);
        goto out;
    }
    uint64_t chunks = pack_chunk_count(count);
    pack_build_section *s = pack_add_section(blob, kind, encoding, count, chunks);
    for (uint64_t i = 0; s && i < chunks; i++) {
        const uint8_t *chunk = bytes + i * PACK_CHUNK;
        const size_t n = pack_chunk_size(count, i);
        const bool made = !i && encoding == PACK_ZSTD;
        if (made ? !write_frame(level, &zstd, chunk, n, frame, scratch, capacity, &s->pieces[i])
                 : !pack_chunk_write(encoding, level, rans, &zstd, chunk, n, i + 1 == chunks, scratch, capacity, &s->pieces[i]))
            s = NULL;
    }
    if (!s) {
        status = base_no_memory(error, count);
    } else if (encoding != PACK_RAW && pack_last_section_bytes(blob) >= count) {
        pack_drop_last_section(blob);
        if (!pack_add_bytes(blob, kind, bytes, count)) status = base_no_memory(error, count);
    }
out:
    base_free(rans);
    base_free(scratch);
    pack_zstd_free(&zstd);
    return status;
}

/* ---- reading */

fpr_status pack_chunks_open(const uint8_t *blob, const pack_section *section, uint64_t prefix, pack_chunks *chunks,
                            fpr_error *error)
{
    memset(chunks, 0, sizeof *chunks);
    chunks->section = section;
    chunks->bytes = blob + section->at;
    chunks->prefix = prefix;
    chunks->count = pack_chunk_count(section->raw);
    if (section->encoding == PACK_RAW) return FPR_OK;
    /* A chunk takes at least four bytes, so this is an allocation that the stored bytes justify. */
    if (prefix > section->stored || chunks->count > (section->stored - prefix) / 4)
        return pack_bad(error, "a section is too short for its chunks");
    chunks->begin = base_alloc(chunks->count + 1, sizeof *chunks->begin);
    if (!chunks->begin) return base_no_memory(error, chunks->count * 8);
    uint64_t at = prefix;
    for (uint64_t i = 0; i < chunks->count; i++) {
        chunks->begin[i] = at;
        const uint8_t *src = chunks->bytes + at;
        uint64_t left = section->stored - at;
        uint64_t n = section->encoding == PACK_ZSTD ? pack_zstd_frame_bytes(src, left)
                     : i + 1 < chunks->count        ? rans_chunk_bytes(src, left)
                                                    : left;
        if (!n) {
            pack_chunks_close(chunks);
            return pack_bad(error, "a chunk does not fit in its section");
        }
        at += n;
    }
    chunks->begin[chunks->count] = at;
    if (at == section->stored) return FPR_OK;
    pack_chunks_close(chunks);
    return pack_bad(error, "bytes after the last chunk of a section");
}

void pack_chunks_close(pack_chunks *chunks)
{
    base_free(chunks->begin);
    chunks->begin = NULL;
}

const char *pack_chunk_read(const pack_chunks *chunks, uint64_t i, rans_scratch *rans, pack_zstd *zstd, uint8_t *dst,
                            const uint8_t **at, bool *no_memory)
{
    const size_t n = pack_chunk_size(chunks->section->raw, i);
    if (chunks->section->encoding == PACK_RAW) {
        *at = chunks->bytes + i * PACK_CHUNK;
        return NULL;
    }
    const uint8_t *src = chunks->bytes + chunks->begin[i];
    size_t bytes = (size_t)(chunks->begin[i + 1] - chunks->begin[i]);
    *at = dst;
    if (chunks->section->encoding == PACK_ZSTD) return pack_zstd_restore(zstd, src, bytes, dst, n, no_memory);
    return rans_decode(rans, src, bytes, i + 1 == chunks->count, dst, NULL, n, NULL, NULL, NULL);
}

fpr_status pack_section_restore(const uint8_t *blob, const pack_section *section, uint64_t most, uint8_t **bytes,
                                fpr_error *error)
{
    *bytes = NULL;
    if (section->raw > most) return pack_bad(error, "a section claims more bytes than the tensor can need");
    pack_chunks chunks;
    fpr_status status = pack_chunks_open(blob, section, 0, &chunks, error);
    if (status) return status;
    pack_zstd zstd = {0};
    bool no_memory = false;
    const char *wrong = NULL;
    rans_scratch *rans = rans_scratch_new();
    uint8_t *all = base_alloc(section->raw, 1);
    if (!rans || !all) {
        status = base_no_memory(error, section->raw);
    } else if (!chunks.begin) { /* raw */
        memcpy(all, chunks.bytes, (size_t)section->raw);
    } else {
        for (uint64_t i = 0; i < chunks.count && !wrong; i++) {
            const uint8_t *at;
            wrong = pack_chunk_read(&chunks, i, rans, &zstd, all + i * PACK_CHUNK, &at, &no_memory);
        }
        if (wrong) status = no_memory ? base_no_memory(error, section->raw) : pack_bad(error, wrong);
    }
    base_free(rans);
    pack_zstd_free(&zstd);
    pack_chunks_close(&chunks);
    if (status)
        base_free(all);
    else
        *bytes = all;
    return status;
}

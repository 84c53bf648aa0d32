/* The original header of a checkpoint, as text for the index: nothing when it can be rebuilt, else what differs. */
#include "pack/pack.h"

#include <zstd.h>
#include <zstd_errors.h>

#define HEADER_LEVEL 9
#define HEADER_MOST 100000000u /* the format's own bound on a header */

static const char prefix[] = "zstd:";
static const char canonical[] = "canonical";
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* ---- base64, RFC 4648, with padding */

static void base64_write(const uint8_t *src, size_t n, char *dst)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v =
            (uint32_t)src[i] << 16 | (i + 1 < n ? (uint32_t)src[i + 1] << 8 : 0) | (i + 2 < n ? src[i + 2] : 0);
        *dst++ = digits[v >> 18];
        *dst++ = digits[v >> 12 & 63];
        *dst++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *dst++ = i + 2 < n ? digits[v & 63] : '=';
    }
    *dst = 0;
}

static int base64_digit(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The number of bytes, or SIZE_MAX when the text is not base64 in its one canonical spelling. */
static size_t base64_read(const char *text, size_t n, uint8_t *dst)
{
    uint8_t *to = dst;
    if (n % 4) return SIZE_MAX;
    for (size_t i = 0; i < n; i += 4) {
        unsigned pad = text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        if (pad && i + 4 != n) return SIZE_MAX;
        uint32_t v = 0;
        for (unsigned j = 0; j < 4; j++) {
            int d = j >= 4 - pad ? 0 : base64_digit(text[i + j]);
            if (d < 0) return SIZE_MAX;
            v = v << 6 | (uint32_t)d;
        }
        if (v & ((1u << 8 * pad) - 1)) return SIZE_MAX;
        for (unsigned j = 0; j < 3 - pad; j++) *to++ = (uint8_t)(v >> (16 - 8 * j));
    }
    return (size_t)(to - dst);
}

/* ---- the frame: content size and checksum on, `like` as raw-content prefix */

fpr_status pack_header_encode(const char *header, size_t header_bytes, const char *like, size_t like_bytes, char **text,
                              fpr_error *error)
{
    *text = NULL;
    if (header_bytes == like_bytes && memcmp(header, like, header_bytes) == 0) {
        *text = base_copy_text(canonical, sizeof canonical - 1);
        return *text ? FPR_OK : base_no_memory(error, sizeof canonical);
    }
    size_t capacity = ZSTD_compressBound(header_bytes), n = 0;
    ZSTD_CCtx *context = ZSTD_createCCtx();
    uint8_t *frame = base_alloc(capacity, 1);
    bool done = context && frame;
    done = done && !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, HEADER_LEVEL)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_enableLongDistanceMatching, header_bytes > 1u << 20)) &&
           !ZSTD_isError(
               ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, header_bytes + like_bytes > 1u << 22 ? 27 : 23)) &&
           !ZSTD_isError(ZSTD_CCtx_refPrefix(context, like, like_bytes));
    if (done) {
        n = ZSTD_compress2(context, frame, capacity, header, header_bytes);
        done = !ZSTD_isError(n);
    }
    if (done) {
        *text = base_alloc(sizeof prefix + (n + 2) / 3 * 4, 1);
        if (*text) {
            memcpy(*text, prefix, sizeof prefix - 1);
            base64_write(frame, n, *text + sizeof prefix - 1);
        }
    }
    ZSTD_freeCCtx(context);
    base_free(frame);
    return *text ? FPR_OK : base_no_memory(error, capacity);
}

static fpr_status bad(fpr_error *error, const char *what)
{
    return base_fail(error, FPR_BAD_PACKED, "index: the original header %s", what);
}

static fpr_status read_frame(const uint8_t *frame, size_t n, const char *like, size_t like_bytes, char **header,
                             size_t *header_bytes, fpr_error *error)
{
    unsigned long long bytes = ZSTD_getFrameContentSize(frame, n);
    if (bytes == ZSTD_CONTENTSIZE_ERROR || bytes == ZSTD_CONTENTSIZE_UNKNOWN || bytes > HEADER_MOST)
        return bad(error, "is no zstd frame of known size");
    if (ZSTD_findFrameCompressedSize(frame, n) != n) return bad(error, "is not one zstd frame");
    /* A frame cannot yield more than its blocks allow, 128 KiB for every four bytes: no allocation beyond that. */
    if (bytes / (128 << 10) > n / 4 + 1) return bad(error, "claims more bytes than its frame can hold");
    char *text = base_alloc(bytes + 1, 1);
    ZSTD_DCtx *context = ZSTD_createDCtx();
    fpr_status status = FPR_OK;
    size_t got = context ? ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27) : 0;
    if (context && !ZSTD_isError(got)) got = ZSTD_DCtx_refPrefix(context, like, like_bytes);
    if (context && text && !ZSTD_isError(got)) got = ZSTD_decompressDCtx(context, text, (size_t)bytes, frame, n);
    if (!text || !context || ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation) {
        status = base_no_memory(error, bytes + 1);
    } else if (got != bytes) {
        status = bad(error, "does not decode");
    } else {
        text[bytes] = 0;
        *header = text;
        *header_bytes = (size_t)bytes;
    }
    ZSTD_freeDCtx(context);
    if (status) base_free(text);
    return status;
}

fpr_status pack_header_decode(const char *text, const char *like, size_t like_bytes, char **header,
                              size_t *header_bytes, fpr_error *error)
{
    *header = NULL;
    *header_bytes = 0;
    if (strcmp(text, canonical) == 0) {
        *header = base_copy_text(like, like_bytes);
        *header_bytes = like_bytes;
        return *header ? FPR_OK : base_no_memory(error, like_bytes);
    }
    if (strncmp(text, prefix, sizeof prefix - 1) != 0) return bad(error, "is neither canonical nor zstd");
    text += sizeof prefix - 1;
    size_t n = strlen(text);
    uint8_t *frame = base_alloc((uint64_t)n / 4 * 3 + 3, 1);
    if (!frame) return base_no_memory(error, n);
    size_t bytes = base64_read(text, n, frame);
    fpr_status status = bytes == SIZE_MAX ? bad(error, "is not base64")
                                          : read_frame(frame, bytes, like, like_bytes, header, header_bytes, error);
    base_free(frame);
    return status;
}

/* The head of a blob, and what its numbers mean: dtypes, layers, sections, checks. Codes nothing. */
#include "base/xxh.h"
#include "pack/blob.h"

#define HEAD_CHECK_AT 12
#define HEAD_FIXED 24 /* bytes before the shape */

_Static_assert(FPR_BOOL == 0 && FPR_U8 == 4 && FPR_F8_E8M0 == 8 && FPR_I16 == 11 && FPR_BF16 == 14 && FPR_F32 == 17 &&
                   FPR_C64 == 18 && FPR_U64 == 21 && FPR_DTYPE_COUNT == 22,
               "dtype codes are part of the format, see FORMAT.md");

/* Name in the index of a file and in reports, and the oldest reader that knows it; decode.c has the rest. */
static const struct {
    const char *name;
    uint8_t reader;
} codecs[PACK_CODECS] = {
    {"", 1},
    [PACK_PLANES] = {"planes", 1}, [PACK_PALETTE] = {"palette", 1}, [PACK_KERNELS] = {"kernels", 1},
    [PACK_LATTICE] = {"lattice", 3}, [PACK_POOL] = {"pool", 3},
};

static const struct {
    uint8_t bits, width, exponent_bits;
} dtypes[FPR_DTYPE_COUNT] = {
    [FPR_BOOL] = {8, 1, 0},    [FPR_F4] = {4, 1, 0},          [FPR_F6_E2M3] = {6, 1, 0},     [FPR_F6_E3M2] = {6, 1, 0},
    [FPR_U8] = {8, 1, 0},      [FPR_I8] = {8, 1, 0},          [FPR_F8_E5M2] = {8, 1, 0},     [FPR_F8_E4M3] = {8, 1, 0},
    [FPR_F8_E8M0] = {8, 1, 0}, [FPR_F8_E4M3FNUZ] = {8, 1, 0}, [FPR_F8_E5M2FNUZ] = {8, 1, 0}, [FPR_I16] = {16, 2, 0},
    [FPR_U16] = {16, 2, 0},    [FPR_F16] = {16, 2, 5},        [FPR_BF16] = {16, 2, 8},       [FPR_I32] = {32, 4, 0},
    [FPR_U32] = {32, 4, 0},    [FPR_F32] = {32, 4, 8},        [FPR_C64] = {64, 4, 8},        [FPR_F64] = {64, 8, 11},
    [FPR_I64] = {64, 8, 0},    [FPR_U64] = {64, 8, 0},
};

fpr_status pack_bad(fpr_error *error, const char *what)
{
    return base_fail(error, FPR_BAD_PACKED, "packed tensor: %s", what);
}

pack_element pack_element_of(fpr_dtype dtype)
{
    return (pack_element){dtypes[dtype].width, dtypes[dtype].exponent_bits};
}

unsigned pack_dtype_bits(fpr_dtype dtype) { return dtypes[dtype].bits; }

bool pack_layer_of(unsigned rank, const uint64_t *shape, bool hwio, pack_layer *layer)
{
    if (rank < 2 || (rank == 2 && hwio)) return false;
    pack_layer l = {.k = 1, .hwio = hwio};
    l.filters = hwio ? shape[rank - 1] : shape[0];
    l.channels = hwio ? shape[rank - 2] : shape[1];
    for (unsigned i = 2; i < rank; i++)
        if (!base_multiply(l.k, shape[hwio ? i - 2 : i], &l.k)) return false;
    if (l.k == 1) {
        l.k = l.channels;
        l.channels = 1;
        l.flat = true;
    }
    *layer = l;
    return l.filters && l.channels && l.k;
}

void pack_kernel_copy(const pack_layer *l, unsigned width, const uint8_t *bytes, uint64_t kernel, uint64_t place,
                      uint64_t n, uint8_t *dst)
{
    if (!l->hwio) {
        memcpy(dst, bytes + (kernel * l->k + place) * width, (size_t)n * width);
        return;
    }
    uint64_t stride = l->channels * l->filters, column = kernel % l->channels * l->filters + kernel / l->channels;
    for (uint64_t s = 0; s < n; s++) memcpy(dst + s * width, bytes + ((place + s) * stride + column) * width, width);
}

void pack_kernel_put(const pack_layer *l, unsigned width, uint8_t *bytes, uint64_t kernel, uint64_t place, uint64_t n,
                     const uint8_t *src)
{
    if (!l->hwio) {
        memcpy(bytes + (kernel * l->k + place) * width, src, (size_t)n * width);
        return;
    }
    uint64_t stride = l->channels * l->filters, column = kernel % l->channels * l->filters + kernel / l->channels;
    for (uint64_t s = 0; s < n; s++) memcpy(bytes + ((place + s) * stride + column) * width, src + s * width, width);
}

/* ---- integers */

size_t pack_put_varint(uint8_t *dst, uint64_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7) dst[n++] = (uint8_t)(value | 128);
    dst[n++] = (uint8_t)value;
    return n;
}

size_t pack_varint_bytes(uint64_t value)
{
    size_t n = 1;
    for (; value >= 128; value >>= 7) n++;
    return n;
}

/* Only the shortest form is accepted, so that a value has one spelling. */
bool pack_get_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    const uint8_t *p = *at;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (p == end) return false;
        uint64_t group = *p & 127;
        if (shift == 63 && group > 1) return false;
        v |= group << shift;
        if (!(*p++ & 128)) {
            if (!group && shift) return false;
            *at = p;
            *value = v;
            return true;
        }
    }
    return false;
}

/* ---- the head */

/* Sections whose every bit shows in the restored bytes need no check of their own: the hash covers them. */
bool pack_has_check(unsigned kind, unsigned encoding)
{
    return !(encoding == PACK_RAW && (kind == PACK_LOW || kind == PACK_PLANE || kind == PACK_SIGNS));
}

fpr_status pack_section_verify(const uint8_t *blob, const pack_section *s, fpr_error *error)
{
    if (!pack_has_check(s->kind, s->encoding) || (uint32_t)XXH3_64bits(blob + s->at, (size_t)s->stored) == s->check)
        return FPR_OK;
    return pack_bad(error, "a section does not match its checksum");
}

static uint32_t head_check(uint8_t *head, size_t n)
{
    uint8_t kept[4];
    memcpy(kept, head + HEAD_CHECK_AT, 4);
    memset(head + HEAD_CHECK_AT, 0, 4);
    uint32_t check = (uint32_t)XXH3_64bits(head, n);
    memcpy(head + HEAD_CHECK_AT, kept, 4);
    return check;
}

void pack_head_write(pack_head *head, uint8_t *dst)
{
    memcpy(dst, "FPZ1", 4);
    dst[4] = PACK_FORMAT;
    const unsigned codec = head->codec < PACK_CODECS ? head->codec : 0;
    head->info.codec = codecs[codec].name;
    if (head->info.reader < codecs[codec].reader) head->info.reader = codecs[codec].reader;
    dst[5] = (uint8_t)head->info.reader;
    dst[6] = head->codec;
    dst[7] = (uint8_t)head->info.dtype;
    dst[8] = head->info.lossless;
    dst[9] = (uint8_t)head->info.rank;
    dst[10] = (uint8_t)head->section_count;
    dst[11] = (uint8_t)(head->hwio | head->symmetric << 1 | head->scope << 2);
    memset(dst + 12, 0, 4);
    base_store_le64(dst + 16, head->info.hash);
    size_t n = HEAD_FIXED;
    for (unsigned i = 0; i < head->info.rank; i++) n += pack_put_varint(dst + n, head->info.shape[i]);
    n += pack_put_varint(dst + n, head->info.bytes);
    for (unsigned i = 0; i < head->section_count; i++) {
        const pack_section *s = &head->sections[i];
        dst[n++] = (uint8_t)(s->kind | s->encoding << 4);
        n += pack_put_varint(dst + n, s->raw);
        if (s->encoding != PACK_RAW) n += pack_put_varint(dst + n, s->stored);
        if (pack_has_check(s->kind, s->encoding)) {
            base_store_le32(dst + n, s->check);
            n += 4;
        }
    }
    base_store_le32(dst + HEAD_CHECK_AT, (uint32_t)XXH3_64bits(dst, n));
    head->bytes = n;
}

bool pack_dense_bytes(fpr_dtype dtype, unsigned rank, const uint64_t *shape, uint64_t *bytes)
{
    uint64_t elements = 1, bits;
    bool empty = false;
    for (unsigned i = 0; i < rank; i++) {
        if (!shape[i]) empty = true;
        else if (!base_multiply(elements, shape[i], &elements)) return false;
    }
    if (!base_multiply(empty ? 0 : elements, dtypes[dtype].bits, &bits)) return false;
    *bytes = bits / 8;
    return bits % 8 == 0;
}

static fpr_status read_shape(const uint8_t **at, const uint8_t *end, pack_info *info, fpr_error *error)
{
    uint64_t bytes;
    for (unsigned i = 0; i < info->rank; i++)
        if (!pack_get_varint(at, end, &info->shape[i])) return pack_bad(error, "the head is cut short in the shape");
    if (!pack_get_varint(at, end, &info->bytes)) return pack_bad(error, "the head is cut short at the byte count");
    if (!pack_dense_bytes(info->dtype, info->rank, info->shape, &bytes)) return pack_bad(error, "the shape overflows");
    return bytes == info->bytes ? FPR_OK : pack_bad(error, "the shape and the byte count disagree");
}

static fpr_status read_section(const uint8_t **at, const uint8_t *end, pack_section *s, fpr_error *error)
{
    if (*at == end) return pack_bad(error, "the head is cut short in the section table");
    uint8_t type = *(*at)++;
    s->kind = type & 15;
    s->encoding = type >> 4;
    if (!pack_get_varint(at, end, &s->raw)) return pack_bad(error, "the head is cut short in the section table");
    s->stored = s->raw;
    if (s->encoding != PACK_RAW && !pack_get_varint(at, end, &s->stored))
        return pack_bad(error, "the head is cut short in the section table");
    if (s->kind < PACK_KEYS || s->kind > PACK_PART_BYTES || s->encoding > PACK_RANS)
        return pack_bad(error, "a section of unknown kind or encoding");
    if (pack_has_check(s->kind, s->encoding)) {
        if (end - *at < 4) return pack_bad(error, "the head is cut short in the section table");
        s->check = base_load_le32(*at);
        *at += 4;
    }
    return FPR_OK;
}

static fpr_status read_fixed(const uint8_t *src, uint64_t n, pack_head *head, fpr_error *error)
{
    if (n < HEAD_FIXED) return pack_bad(error, "shorter than a head");
    if (memcmp(src, "FPZ1", 4) != 0) return pack_bad(error, "does not begin with FPZ1");
    if (src[5] > PACK_READER)
        return base_fail(error, FPR_TOO_NEW, "packed for reader version %u, this is version %u", src[5], PACK_READER);
    if (!src[4] || !src[5]) return pack_bad(error, "version 0");
    head->info.reader = src[5];
    head->codec = src[6];
    if (src[7] >= FPR_DTYPE_COUNT) return pack_bad(error, "unknown dtype");
    head->info.dtype = (fpr_dtype)src[7];
    if (src[8] > 1) return pack_bad(error, "unknown flags");
    head->info.lossless = src[8];
    head->info.rank = src[9];
    head->section_count = src[10];
    head->hwio = src[11] & 1;
    head->symmetric = src[11] >> 1 & 1;
    head->scope = src[11] >> 2;
    head->info.hash = base_load_le64(src + 16);
    if (head->info.rank > PACK_RANK_MAX) return pack_bad(error, "a rank above 64");
    if (head->section_count > PACK_SECTIONS) return pack_bad(error, "more than 16 sections");
    return FPR_OK;
}

fpr_status pack_head_read(const uint8_t *src, uint64_t n, uint64_t stored_bytes, pack_head *head, fpr_error *error)
{
    memset(head, 0, sizeof *head);
    if (n > stored_bytes) n = stored_bytes;
    if (n > PACK_HEAD_MAX) n = PACK_HEAD_MAX;
    fpr_status status = read_fixed(src, n, head, error);
    if (status) return status;
    const uint8_t *at = src + HEAD_FIXED, *end = src + n;
    if ((status = read_shape(&at, end, &head->info, error)) != FPR_OK) return status;
    uint64_t total = 0;
    for (unsigned i = 0; i < head->section_count; i++) {
        if ((status = read_section(&at, end, &head->sections[i], error)) != FPR_OK) return status;
        head->sections[i].at = total;
        if (!base_add(total, head->sections[i].stored, &total)) return pack_bad(error, "the sections overflow");
    }
    head->bytes = (size_t)(at - src);
    uint8_t copy[PACK_HEAD_MAX];
    memcpy(copy, src, head->bytes);
    if (head_check(copy, head->bytes) != base_load_le32(src + HEAD_CHECK_AT))
        return pack_bad(error, "the head does not match its checksum");
    /* Only a head that is what was written can tell a codec of the future from damage. */
    if (head->codec < PACK_PLANES || head->codec >= PACK_CODECS)
        return base_fail(error, FPR_TOO_NEW, "packed with codec %u, which this version does not know", head->codec);
    if (head->codec != PACK_KERNELS && ((head->hwio && head->codec != PACK_LATTICE) || head->symmetric || head->scope))
        return pack_bad(error, "kernel fields on another codec");
    if (head->scope > FPR_SCOPE_KERNEL) return pack_bad(error, "unknown scope of levels");
    head->info.codec = codecs[head->codec].name;
    uint64_t whole;
    if (!base_add(total, head->bytes + 7, &whole) || (whole & ~UINT64_C(7)) != stored_bytes)
        return pack_bad(error, "the sections do not fill it exactly");
    for (unsigned i = 0; i < head->section_count; i++) head->sections[i].at += head->bytes;
    return FPR_OK;
}

bool pack_is_blob(const uint8_t *head, size_t n) { return n >= HEAD_FIXED && memcmp(head, "FPZ1", 4) == 0; }

fpr_status pack_peek(const uint8_t *head, size_t n, uint64_t stored_bytes, pack_info *info, fpr_error *error)
{
    pack_head whole;
    fpr_status status = pack_head_read(head, n, stored_bytes, &whole, error);
    if (status == FPR_OK) *info = whole.info;
    return status;
}

/* ---- building */

pack_build_section *pack_add_section(pack_blob *blob, unsigned kind, unsigned encoding, uint64_t raw, uint64_t pieces)
{
    pack_build_section *s = &blob->sections[blob->section_count];
    s->pieces = base_calloc(pieces, sizeof *s->pieces);
    if (!s->pieces) return NULL;
    s->kind = (uint8_t)kind;
    s->encoding = (uint8_t)encoding;
    s->raw = raw;
    s->piece_count = pieces;
    blob->section_count++;
    return s;
}

bool pack_copy_piece(pack_piece *piece, const void *bytes, uint64_t count)
{
    piece->bytes = base_alloc(count, 1);
    if (!piece->bytes) return false;
    memcpy(piece->bytes, bytes, (size_t)count);
    piece->count = count;
    return true;
}

bool pack_add_bytes(pack_blob *blob, unsigned kind, const void *bytes, uint64_t count)
{
    pack_build_section *s = pack_add_section(blob, kind, PACK_RAW, count, 1);
    return s && pack_copy_piece(&s->pieces[0], bytes, count);
}

/* ---- logarithms */

/* log2 of the mantissa by the series 2/ln 2 (t + t^3/3 + t^5/5 + t^7/7), t = (m-1)/(m+1), m in [sqrt 1/2, sqrt 2):
 * |t| < 0.172, so the first term left out is below 1e-7. */
double pack_log2(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, 8);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double t = (m - 1) / (m + 1), t2 = t * t;
    return exponent + 2.8853900817779268 * t * (1 + t2 * (1.0 / 3 + t2 * (1.0 / 5 + t2 * (1.0 / 7))));
}

double pack_entropy_bits(const uint32_t *counts, unsigned n)
{
    uint64_t total = 0;
    double sum = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!counts[i]) continue;
        total += counts[i];
        sum += counts[i] * pack_log2(counts[i]);
    }
    return total ? (double)total * pack_log2((double)total) - sum : 0;
}

void pack_blob_hash(pack_blob *blob)
{
    blob->head.info.hash = XXH3_64bits(blob->bytes, (size_t)blob->size);
    blob->hashed = true;
}

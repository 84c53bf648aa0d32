/* Elements to symbols, low bits and byte planes, and back.
 *
 * One template for every width; the same C compiled for several instruction sets is the vector code, so the plain
 * build is the definition and the others cannot differ from it but by a compiler's fault (tests compare them). */
#include "base/simd.h"
#include "pack/blob.h"

#define BLOCK 1024u /* elements at a time: their low bits fill whole bytes */
#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define TARGETS 3
#define AVX2 __attribute__((target("avx2,bmi,bmi2")))
#define AVX512 __attribute__((target("avx2,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq")))
#else
#define TARGETS 1
#endif

unsigned split_low_bits(unsigned width, unsigned exponent_bits, unsigned mantissa_bits)
{
    return (8 * width - exponent_bits - mantissa_bits) % 8;
}

unsigned split_planes(unsigned width, unsigned exponent_bits, unsigned mantissa_bits, bool keyed)
{
    return keyed ? (8 * width - exponent_bits - mantissa_bits) / 8 : width;
}

/* ---- one element: loads, stores and rotations by width */

INLINE uint64_t load(const uint8_t *p, unsigned width)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint16_t v2;
    uint32_t v4;
    uint64_t v8;
    switch (width) {
    case 1:
        return *p;
    case 2:
        memcpy(&v2, p, 2);
        return v2;
    case 4:
        memcpy(&v4, p, 4);
        return v4;
    default:
        memcpy(&v8, p, 8);
        return v8;
    }
#else
    return width == 1 ? *p : width == 2 ? base_load_le16(p) : width == 4 ? base_load_le32(p) : base_load_le64(p);
#endif
}

INLINE void store(uint8_t *p, unsigned width, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint16_t v2 = (uint16_t)v;
    uint32_t v4 = (uint32_t)v;
    switch (width) {
    case 1:
        *p = (uint8_t)v;
        break;
    case 2:
        memcpy(p, &v2, 2);
        break;
    case 4:
        memcpy(p, &v4, 4);
        break;
    default:
        memcpy(p, &v, 8);
        break;
    }
#else
    for (unsigned i = 0; i < width; i++) p[i] = (uint8_t)(v >> 8 * i);
#endif
}

/* ---- low bits: `bits` of every value, least significant first */

/* n: at most BLOCK. Six bits, which floats have, go eight at a time: neighbours move together, then pairs, then fours. */
#define SIX_1 UINT64_C(0x003f003f003f003f)
#define SIX_2 UINT64_C(0x00000fff00000fff)
#define SIX_4 UINT64_C(0x0000000000ffffff)

INLINE void pack_bits(const uint8_t *values, size_t n, unsigned bits, uint8_t *dst)
{
    size_t i = 0;
    if (bits == 6) {
        uint64_t eights[BLOCK / 8];
        const size_t count = n / 8;
        for (size_t j = 0; j < count; j++) {
            uint64_t v = load(values + 8 * j, 8);
            v = (v & SIX_1) | (v >> 2 & SIX_1 << 6);
            v = (v & SIX_2) | (v >> 4 & SIX_2 << 12);
            eights[j] = (v & SIX_4) | (v >> 8 & SIX_4 << 24);
        }
        /* eight bytes of which the next six replace two */
        for (size_t j = 0; j + 1 < count; j++, dst += 6) store(dst, 8, eights[j]);
        if (count) {
            base_store_le32(dst, (uint32_t)eights[count - 1]);
            base_store_le16(dst + 4, (uint16_t)(eights[count - 1] >> 32));
            dst += 6;
        }
        i = 8 * count;
    }
    unsigned held = 0, count = 0;
    for (; i < n; i++) {
        held |= (unsigned)values[i] << count;
        for (count += bits; count >= 8; count -= 8, held >>= 8) *dst++ = (uint8_t)held;
    }
    if (count) *dst = (uint8_t)held;
}

INLINE void unpack_bits(const uint8_t *src, size_t n, unsigned bits, uint8_t *values)
{
    size_t i = 0;
    if (bits == 6) {
        uint64_t eights[BLOCK / 8];
        const size_t count = n / 8;
        for (size_t j = 0; j + 1 < count; j++, src += 6) eights[j] = load(src, 8);
        if (count) {
            eights[count - 1] = base_load_le32(src) | (uint64_t)base_load_le16(src + 4) << 32;
            src += 6;
        }
        for (size_t j = 0; j < count; j++) {
            uint64_t v = eights[j];
            v = (v & SIX_4) | (v << 8 & SIX_4 << 32);
            v = (v & SIX_2) | (v << 4 & SIX_2 << 16);
            v = (v & SIX_1) | (v << 2 & SIX_1 << 8);
            store(values + 8 * j, 8, v);
        }
        i = 8 * count;
    }
    unsigned held = 0, count = 0;
    for (; i < n; i++) {
        if (count < bits) {
            held |= (unsigned)*src++ << count;
            count += 8;
        }
        values[i] = (uint8_t)(held & ((1u << bits) - 1));
        held >>= bits;
        count -= bits;
    }
}

/* ---- the templates; width, exponent, mantissa and keyed are constants wherever it matters */

/* One block: symbols and low values (a byte each), and the planes. Elements are of type word, which is as narrow as they
 * allow: vectors of wider ones hold fewer. */
#define BLOCKS(name, word)                                                                                             \
    INLINE word name##_left(word v, unsigned width)                                                                    \
    {                                                                                                                  \
        return width == 2 ? (uint16_t)(v << 1 | v >> 15) : (word)(v << 1 | v >> (8 * sizeof(word) - 1));               \
    }                                                                                                                  \
    INLINE word name##_right(word v, unsigned width)                                                                   \
    {                                                                                                                  \
        return width == 2 ? (uint16_t)(v >> 1 | v << 15) : (word)(v >> 1 | v << (8 * sizeof(word) - 1));               \
    }                                                                                                                  \
    INLINE void name##_split(const split_job *job, size_t first, size_t n, unsigned width, unsigned exponent,          \
                             unsigned mantissa, bool keyed, bool classed, uint8_t *restrict low)                       \
    {                                                                                                                  \
        const uint8_t *restrict elements = job->elements + first * width;                                              \
        const unsigned rest = 8 * width - exponent - mantissa;                                                         \
        const unsigned planes = keyed ? rest / 8 : width, low_bits = rest % 8;                                         \
        word turned[BLOCK];                                                                                            \
        for (size_t i = 0; i < n; i++) {                                                                               \
            const word v = (word)load(elements + i * width, width);                                                    \
            turned[i] = exponent ? name##_left(v, width) : v;                                                          \
        }                                                                                                              \
        if (keyed) {                                                                                                   \
            uint8_t *restrict symbols = job->symbols + first;                                                          \
            const int8_t *restrict classes = classed ? job->classes + first : NULL;                                    \
            const uint32_t mask = (1u << (exponent + mantissa)) - 1, top = job->top,                                   \
                           first_symbol = RANS_FIRST + job->extra_count;                                               \
            for (size_t i = 0; i < n; i++) {                                                                           \
                uint32_t key = (uint32_t)(turned[i] >> rest);                                                          \
                uint32_t shift = classed ? (uint32_t)(classes[i] >> 1) << mantissa : 0;                                \
                uint32_t symbol = ((top + shift - key) & mask) + first_symbol;                                         \
                symbol = symbol < 256 ? symbol : RANS_ESCAPE;                                                          \
                symbols[i] = (uint8_t)(key ? symbol : RANS_ZERO);                                                      \
            }                                                                                                          \
            for (size_t i = 0; low_bits && i < n; i++)                                                                 \
                low[i] = (uint8_t)(turned[i] >> 8 * planes & ((1u << low_bits) - 1));                                  \
        }                                                                                                              \
        for (unsigned p = 0; p < planes; p++) {                                                                        \
            uint8_t *restrict plane = job->planes[p] + first;                                                          \
            for (size_t i = 0; i < n; i++) plane[i] = (uint8_t)(turned[i] >> 8 * (planes - 1 - p));                    \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void name##_merge(const split_job *job, size_t first, size_t n, unsigned width, unsigned exponent,          \
                             unsigned mantissa, bool keyed, bool classed, const uint8_t *restrict low)                 \
    {                                                                                                                  \
        uint8_t *restrict elements = job->elements + first * width;                                                    \
        const unsigned key_bits = exponent + mantissa, rest = 8 * width - key_bits;                                    \
        const unsigned planes = keyed ? rest / 8 : width, low_bits = rest % 8;                                         \
        const uint32_t mask = (1u << key_bits) - 1, first_symbol = RANS_FIRST + job->extra_count;                      \
        const uint32_t base = job->top + first_symbol;                                                                 \
        const uint8_t *restrict symbols = keyed ? job->symbols + first : NULL;                                         \
        const int8_t *restrict classes = classed ? job->classes + first : NULL;                                        \
        const uint8_t *restrict plane[8];                                                                              \
        for (unsigned p = 0; p < planes; p++) plane[p] = job->planes[p] + first;                                       \
        for (size_t i = 0; i < n; i++) {                                                                               \
            word r = 0;                                                                                                \
            if (keyed) {                                                                                               \
                uint32_t shift = classed ? (uint32_t)(classes[i] >> 1) << mantissa : 0;                                \
                uint32_t key = (base + shift - symbols[i]) & mask;                                                     \
                r = symbols[i] < first_symbol ? 0 : key;                                                               \
                if (low_bits) r = r << low_bits | low[i];                                                              \
            }                                                                                                          \
            for (unsigned p = 0; p < planes; p++) r = (word)(r << 8 | plane[p][i]);                                    \
            store(elements + i * width, width, exponent ? name##_right(r, width) : r);                                 \
        }                                                                                                              \
    }
BLOCKS(narrow, uint32_t)
BLOCKS(wide, uint64_t)

INLINE void split_all(const split_job *job, unsigned width, unsigned exponent, unsigned mantissa, bool keyed,
                      bool classed)
{
    uint8_t low[BLOCK];
    const unsigned low_bits = (8 * width - exponent - mantissa) % 8;
    for (size_t first = 0; first < job->n; first += BLOCK) {
        size_t n = job->n - first < BLOCK ? job->n - first : BLOCK;
        if (width < 8) narrow_split(job, first, n, width, exponent, mantissa, keyed, classed, low);
        else wide_split(job, first, n, width, exponent, mantissa, keyed, classed, low);
        if (keyed && low_bits) pack_bits(low, n, low_bits, job->low + first / 8 * low_bits);
    }
}

INLINE void merge_all(const split_job *job, unsigned width, unsigned exponent, unsigned mantissa, bool keyed,
                      bool classed)
{
    uint8_t low[BLOCK] = {0};
    const unsigned low_bits = (8 * width - exponent - mantissa) % 8;
    for (size_t first = 0; first < job->n; first += BLOCK) {
        size_t n = job->n - first < BLOCK ? job->n - first : BLOCK;
        if (keyed && low_bits) unpack_bits(job->low + first / 8 * low_bits, n, low_bits, low);
        if (width < 8) narrow_merge(job, first, n, width, exponent, mantissa, keyed, classed, low);
        else wide_merge(job, first, n, width, exponent, mantissa, keyed, classed, low);
    }
}

/* The combinations that the encoder writes are compiled as constants; any other takes the general line at the end. */
#define EACH_SHAPE(job, all)                                                                                           \
    do {                                                                                                               \
        const bool classed = (job)->classes != NULL;                                                                   \
        const unsigned w = (job)->width, e = (job)->exponent_bits, m = (job)->mantissa_bits;                           \
        if (!(job)->keyed && w == 4 && e)                                                                              \
            all(job, 4, 8, 0, false, false);                                                                           \
        else if (!(job)->keyed && w == 4)                                                                              \
            all(job, 4, 0, 0, false, false);                                                                           \
        else if (!(job)->keyed && w == 2 && e)                                                                         \
            all(job, 2, 8, 0, false, false);                                                                           \
        else if (!(job)->keyed && w == 8 && !e)                                                                        \
            all(job, 8, 0, 0, false, false);                                                                           \
        else if ((job)->keyed && w == 4 && m == 2 && classed)                                                          \
            all(job, 4, 8, 2, true, true);                                                                             \
        else if ((job)->keyed && w == 4 && m == 2)                                                                     \
            all(job, 4, 8, 2, true, false);                                                                            \
        else if ((job)->keyed && w == 4 && m == 0 && classed)                                                          \
            all(job, 4, 8, 0, true, true);                                                                             \
        else if ((job)->keyed && w == 4 && m == 0)                                                                     \
            all(job, 4, 8, 0, true, false);                                                                            \
        else if ((job)->keyed && w == 2 && e == 5 && m == 3 && classed)                                                \
            all(job, 2, 5, 3, true, true);                                                                             \
        else if ((job)->keyed && w == 2 && e == 5 && m == 3)                                                           \
            all(job, 2, 5, 3, true, false);                                                                            \
        else if ((job)->keyed && w == 2 && e == 8 && m == 2 && classed)                                                \
            all(job, 2, 8, 2, true, true);                                                                             \
        else                                                                                                           \
            all(job, w, e, m, (job)->keyed, classed);                                                                  \
    } while (0)

static void split_plain(const split_job *job) { EACH_SHAPE(job, split_all); }
static void merge_plain(const split_job *job) { EACH_SHAPE(job, merge_all); }
#if TARGETS > 1
AVX2 static void split_avx2(const split_job *job) { EACH_SHAPE(job, split_all); }
AVX2 static void merge_avx2(const split_job *job) { EACH_SHAPE(job, merge_all); }
AVX512 static void split_avx512(const split_job *job) { EACH_SHAPE(job, split_all); }
AVX512 static void merge_avx512(const split_job *job) { EACH_SHAPE(job, merge_all); }
#endif

void split_elements(const split_job *job)
{
    if (job->width == 1) { /* a byte is its own plane */
        memcpy(job->planes[0], job->elements, job->n);
        return;
    }
#if TARGETS > 1
    if (base_simd_level() == BASE_SIMD_AVX512)
        split_avx512(job);
    else if (base_simd_level() == BASE_SIMD_AVX2)
        split_avx2(job);
    else
#endif
        split_plain(job);
}

/* An element with its sign behind its other bits, and back. */
INLINE uint64_t rotate_left(uint64_t v, unsigned width)
{
    return width < 8 ? narrow_left((uint32_t)v, width) : wide_left(v, width);
}

INLINE uint64_t rotate_right(uint64_t v, unsigned width)
{
    return width < 8 ? narrow_right((uint32_t)v, width) : wide_right(v, width);
}

INLINE void keys_all(const split_job *job, unsigned width, uint16_t *restrict keys)
{
    const uint8_t *restrict elements = job->elements;
    const unsigned rest = 8 * width - job->exponent_bits - job->mantissa_bits;
    for (size_t i = 0; i < job->n; i++)
        keys[i] = (uint16_t)(rotate_left(load(elements + i * width, width), width) >> rest);
}

void split_keys(const split_job *job, uint16_t *keys)
{
    if (job->width == 4)
        keys_all(job, 4, keys);
    else if (job->width == 2)
        keys_all(job, 2, keys);
    else
        keys_all(job, 8, keys);
}

uint32_t split_key(const split_job *job, size_t i)
{
    unsigned width = job->width, rest = 8 * width - job->exponent_bits - job->mantissa_bits;
    return (uint32_t)(rotate_left(load(job->elements + i * width, width), width) >> rest);
}

/* Extra keys and keys that were listed apart: their symbols were merged as key 0. */
static const char *merge_escapes(const split_job *job, const uint8_t *escapes, size_t count)
{
    const unsigned width = job->width, key_bits = job->exponent_bits + job->mantissa_bits, rest = 8 * width - key_bits;
    size_t used = 0;
    if (!job->extra_count && !count && !memchr(job->symbols, RANS_ESCAPE, job->n)) return NULL;
    for (size_t i = 0; i < job->n; i++) {
        unsigned symbol = job->symbols[i];
        if (symbol - RANS_ESCAPE > job->extra_count) continue; /* as unsigned: the zero symbol too */
        uint64_t key;
        if (symbol == RANS_ESCAPE) {
            if (used == count) return "fewer escapes than symbols that need one";
            key = base_load_le16(escapes + 2 * used++);
        } else {
            key = job->extras[symbol - RANS_FIRST];
        }
        if (key >> key_bits) return "an escaped key out of range";
        uint8_t *element = job->elements + i * width;
        uint64_t r = rotate_left(load(element, width), width);
        store(element, width, rotate_right(r | key << rest, width));
    }
    return used == count ? NULL : "more escapes than symbols that need one";
}

const char *split_merge(const split_job *job, const uint8_t *escapes, size_t escape_count)
{
    if (job->width == 1) {
        memcpy(job->elements, job->planes[0], job->n);
        return NULL;
    }
#if TARGETS > 1
    if (base_simd_level() == BASE_SIMD_AVX512)
        merge_avx512(job);
    else if (base_simd_level() == BASE_SIMD_AVX2)
        merge_avx2(job);
    else
#endif
        merge_plain(job);
    return job->keyed ? merge_escapes(job, escapes, escape_count) : NULL;
}

/* Fuzzing: the blob of a packed tensor. The input is a blob; it is decoded as it is, and once more with its checksums
 * put right, so that mutations get past them.
 *
 * Whatever decodes must be what its head says, and nothing may be written outside of the tensor. */
#include "pack/blob.h"

#include <stdlib.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TENSOR_MOST (1u << 20) /* larger claims cost time and find nothing new */

static void require(bool condition)
{
    if (!condition) abort();
}

/* Of a pool, the list alone: whatever opens holds members that fill it. */
static void open_pool(const uint8_t *blob, size_t size)
{
    pack_pool pool;
    if (pack_pool_open(blob, size, &pool, NULL) != FPR_OK) return;
    uint64_t bytes = 0;
    for (size_t i = 0; i < pool.count; bytes += pool.members[i++].bytes)
        require(pool.members[i].offset == bytes && strlen(pool.members[i].name) == pool.members[i].name_bytes);
    require(bytes == pool.bytes && bytes <= PACK_POOL_BYTES);
    pack_pool_close(&pool);
}

static void decode(const uint8_t *blob, size_t size)
{
    pack_info info;
    fpr_error error = {0};
    const long alive = base_allocations_alive();
    fpr_status status = pack_peek(blob, size < PACK_HEAD_MAX ? size : PACK_HEAD_MAX, size, &info, &error);
    require(status == FPR_OK || status == FPR_BAD_PACKED || status == FPR_TOO_NEW);
    require(status == FPR_OK || error.message[0]);
    open_pool(blob, size);
    require(base_allocations_alive() == alive);
    if (status != FPR_OK || info.bytes > TENSOR_MOST) return;
    uint8_t *dst = aligned_alloc(64, (size_t)(info.bytes + 127) / 64 * 64);
    require(dst);
    memset(dst + info.bytes, 0xa5, 64);
    status = pack_decode(blob, size, 1, dst, info.bytes, &error);
    require(status == FPR_OK || status == FPR_BAD_PACKED);
    for (unsigned i = 0; i < 64; i++) require(dst[info.bytes + i] == 0xa5);
    if (status == FPR_OK) require(XXH3_64bits(dst, (size_t)info.bytes) == info.hash);
    free(dst);
    require(base_allocations_alive() == alive);
}

/* The same sections under a head whose checks hold and whose lengths fill the blob. */
static void decode_repaired(const uint8_t *data, size_t size)
{
    pack_head head;
    pack_head_read(data, size, size, &head, NULL);
    if (!head.bytes) return; /* not even the table could be read */
    uint64_t at = head.bytes, left = size - head.bytes;
    for (unsigned i = 0; i < head.section_count; i++) {
        pack_section *s = &head.sections[i];
        if (s->stored > left) return;
        s->check = (uint32_t)XXH3_64bits(data + at, (size_t)s->stored);
        at += s->stored;
        left -= s->stored;
    }
    uint8_t *blob = calloc(1, PACK_HEAD_MAX + size + 8);
    require(blob);
    uint64_t body = at - head.bytes, begin = head.bytes;
    pack_head_write(&head, blob);
    memcpy(blob + head.bytes, data + begin, (size_t)body);
    size_t total = (size_t)(head.bytes + body + 7) & ~(size_t)7;
    uint8_t *exact = malloc(total); /* its own block, so that a sanitizer sees every byte past the end */
    require(exact);
    memcpy(exact, blob, total);
    free(blob);
    decode(exact, total);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(data, size);
    decode_repaired(data, size);
    return 0;
}

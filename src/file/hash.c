/* XXH3 over a stream of bytes, 64 bits of it or 128. */
#define XXH_STATIC_LINKING_ONLY /* the size of the state, so that base/ can allocate it */

#include "base/xxh.h"
#include "file/file.h"

struct file_hash {
    XXH3_state_t state; /* wants 64-byte alignment */
};

file_hash *file_hash_new(void)
{
    file_hash *hash = base_alloc_aligned(1, sizeof *hash);
    if (hash) {
        XXH3_INITSTATE(&hash->state);
        XXH3_64bits_reset(&hash->state);
    }
    return hash;
}

void file_hash_add(file_hash *hash, const void *bytes, uint64_t count)
{
    if (count) XXH3_64bits_update(&hash->state, bytes, (size_t)count);
}

void file_hash_long(const file_hash *hash, uint64_t value[2])
{
    /* One state serves both: only the last step differs. */
    const XXH128_hash_t digest = XXH3_128bits_digest(&hash->state);
    value[0] = digest.high64;
    value[1] = digest.low64;
}

uint64_t file_hash_end(file_hash *hash)
{
    uint64_t value = XXH3_64bits_digest(&hash->state);
    base_free(hash);
    return value;
}

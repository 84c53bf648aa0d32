/* The only place that calls malloc: sizes are checked, and tests can make any allocation fail. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_long fail_in = -1; /* allocations until one fails; negative: never */
static atomic_long alive;

long base_fail_allocation(long n) { return atomic_exchange(&fail_in, n); }

long base_allocations_alive(void) { return atomic_load(&alive); }

bool base_multiply(uint64_t a, uint64_t b, uint64_t *product) { return !__builtin_mul_overflow(a, b, product); }

bool base_add(uint64_t a, uint64_t b, uint64_t *sum) { return !__builtin_add_overflow(a, b, sum); }

/* Bytes to ask for, at least 1 so that NULL always means failure. */
static bool wanted(uint64_t count, uint64_t size, size_t *bytes)
{
    uint64_t product;
    if (!base_multiply(count, size, &product) || product > SIZE_MAX / 2) return false;
    long left = atomic_load_explicit(&fail_in, memory_order_relaxed);
    if (left >= 0 && atomic_fetch_sub(&fail_in, 1) == 0) return false;
    *bytes = product ? (size_t)product : 1;
    return true;
}

/* Large blocks are worth large pages: a fault for every 4 KiB costs more than the work on them, above all in virtual
 * machines. Advice only; where the kernel does not take it nothing changes. */
#define LARGE_BYTES (2u << 20)

static void *large(void *block, size_t bytes)
{
    const size_t page = 4096;
    if (!block || bytes < LARGE_BYTES) return block;
    uintptr_t begin = ((uintptr_t)block + page - 1) / page * page, end = ((uintptr_t)block + bytes) / page * page;
    if (end > begin) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    return block;
}

static void *counted(void *block)
{
    if (block) atomic_fetch_add_explicit(&alive, 1, memory_order_relaxed);
    return block;
}

void *base_alloc(uint64_t count, uint64_t size)
{
    size_t bytes;
    return wanted(count, size, &bytes) ? counted(large(malloc(bytes), bytes)) : NULL;
}

void *base_calloc(uint64_t count, uint64_t size)
{
    size_t bytes;
    return wanted(count, size, &bytes) ? counted(large(calloc(1, bytes), bytes)) : NULL;
}

void *base_grow(void *block, uint64_t count, uint64_t size)
{
    size_t bytes;
    if (!wanted(count, size, &bytes)) return NULL;
    if (!block) return counted(malloc(bytes));
    return realloc(block, bytes);
}

void *base_alloc_aligned(uint64_t count, uint64_t size)
{
    size_t bytes;
    if (!wanted(count, size, &bytes)) return NULL;
    bytes = (bytes + 63) / 64 * 64;
    return counted(large(aligned_alloc(64, bytes), bytes));
}

char *base_copy_text(const char *text, size_t bytes)
{
    char *copy = base_alloc((uint64_t)bytes + 1, 1);
    if (copy) {
        memcpy(copy, text, bytes);
        copy[bytes] = 0;
    }
    return copy;
}

char *base_join_path(const char *folder, const char *name)
{
    const size_t n = strlen(folder), m = strlen(name);
    char *path = base_alloc((uint64_t)n + m + 2, 1);
    if (!path) return NULL;
    memcpy(path, folder, n);
    path[n] = '/';
    memcpy(path + n + 1, name, m + 1);
    return path;
}

void base_free(void *block)
{
    if (block) atomic_fetch_sub_explicit(&alive, 1, memory_order_relaxed);
    free(block);
}

/* The ground of every room: errors, memory, little-endian bytes, one parallel loop.
 *
 * Refuses to know tensors, files or statistics. Everybody may include it. */
#ifndef FPR_BASE_H
#define FPR_BASE_H

#include "filterprune.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define BASE_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define BASE_PRINTF(text, first)
#endif

/* ---- errors: the first one wins. All return the status they were given: `return base_fail(...)` reads well. */

fpr_status base_fail(fpr_error *error, fpr_status status, const char *format, ...) BASE_PRINTF(3, 4);
/* errno's text is appended. */
fpr_status base_fail_errno(fpr_error *error, fpr_status status, int errnum, const char *format, ...) BASE_PRINTF(4, 5);
fpr_status base_no_memory(fpr_error *error, uint64_t bytes);
/* The first of the errors of tasks, copied to *error; FPR_OK when none of them has one. */
fpr_status base_first_error(const fpr_error *errors, size_t count, fpr_error *error);
/* Adds where it happened to an error already made, unless it says so already; error may be NULL. */
void base_error_in_file(fpr_error *error, const char *path);
void base_error_in_tensor(fpr_error *error, const char *name);
void base_error_at(fpr_error *error, uint64_t offset);

/* ---- memory: only base/memory.c calls malloc. A size that overflows is an allocation that fails. */

void *base_alloc(uint64_t count, uint64_t size);                 /* uninitialised; NULL only when out of memory */
void *base_calloc(uint64_t count, uint64_t size);
void *base_grow(void *block, uint64_t count, uint64_t size);     /* realloc; block stays valid when NULL is returned */
void *base_alloc_aligned(uint64_t count, uint64_t size);         /* 64-byte aligned, for vector code */
char *base_copy_text(const char *text, size_t bytes);            /* NUL added */
char *base_join_path(const char *folder, const char *name);      /* folder/name */
void base_free(void *block);                                     /* for all of the above; NULL allowed */
bool base_multiply(uint64_t a, uint64_t b, uint64_t *product);   /* false on overflow */
bool base_add(uint64_t a, uint64_t b, uint64_t *sum);            /* false on overflow */
/* Tests only: the n-th allocation from now fails (0: the next one); a negative n switches it off. Returns what was left
 * until then: negative when it has failed. */
long base_fail_allocation(long n);
/* Tests only: allocations alive now. */
long base_allocations_alive(void);

/* ---- dtypes */

static inline bool base_is_float(fpr_dtype d) { return d == FPR_F64 || d == FPR_F32 || d == FPR_F16 || d == FPR_BF16; }

/* ---- little-endian loads and stores, from any address */

static inline uint16_t base_load_le16(const void *p) { const uint8_t *b = p; return (uint16_t)(b[0] | b[1] << 8); }
static inline uint32_t base_load_le32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t base_load_le64(const void *p)
{
    return base_load_le32(p) | (uint64_t)base_load_le32((const uint8_t *)p + 4) << 32;
}
static inline void base_store_le16(void *p, uint16_t v) { uint8_t *b = p; b[0] = (uint8_t)v; b[1] = (uint8_t)(v >> 8); }
static inline void base_store_le32(void *p, uint32_t v)
{
    uint8_t *b = p;
    for (int i = 0; i < 4; i++) b[i] = (uint8_t)(v >> 8 * i);
}
static inline void base_store_le64(void *p, uint64_t v)
{
    base_store_le32(p, (uint32_t)v);
    base_store_le32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

/* ---- the one parallel loop */

typedef void (*base_task)(void *context, size_t index, unsigned worker);

/* Runs task(context, i, worker) for every i < count on up to `threads` threads (0 counts as 1), in any order, and
 * returns when all are done. worker < threads names the running thread, for scratch memory of this call. May be called
 * inside a task; then threads without work join the loop inside, so that it need not be known beforehand which tasks
 * are large. Task i must write only what belongs to i (or to worker); whoever needs a sum or the first error takes it
 * afterwards, in index order: that is what makes results independent of the thread count. */
void base_parallel(unsigned threads, size_t count, base_task task, void *context);
/* One task aside of what follows: taken by a thread that has nothing else to do, or else done by base_end_aside, which
 * returns when it is done, and frees. NULL: no memory, nothing is done (and nothing to end). */
typedef struct base_aside base_aside;
base_aside *base_start_aside(unsigned threads, base_task task, void *context);
void base_end_aside(base_aside *aside);
/* ---- stopping: a flag that some signal handler may set, seen wherever work takes long */

/* From now on the calling thread, and whoever works in loops that it begins, looks at this flag; NULL: at none. Returns
 * the flag of before, which the caller restores when its job is done. */
const volatile int *base_watch(const volatile int *cancel);
/* Whether the flag that this thread looks at is set. It stays set: a loop of which some tasks have left early is
 * followed by base_check_cancelled, and its results are not looked at. */
bool base_cancelled(void);
fpr_status base_check_cancelled(fpr_error *error); /* the same as a status */

/* Cores this process may use (affinity and cgroup quota), at least 1. */
unsigned base_cores(void);

#endif

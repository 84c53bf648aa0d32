/* What every fuzz target of a format asks of a file that is a checkpoint: what source.h promises. */
#ifndef FPR_TESTS_CHECK_SOURCE_H
#define FPR_TESTS_CHECK_SOURCE_H

#include "memory_file.h"
#include "source/source.h"

#include <stdio.h>
#include <stdlib.h>

#define TENSOR_MOST (1u << 20) /* larger ones cost time and find nothing new */

static void require(bool condition)
{
    if (!condition) abort();
}

/* Read whole and in parts, the bytes are the same. */
static void check_tensor(const source *s, size_t i, uint64_t file_bytes)
{
    const source_tensor *t = &s->tensors[i];
    uint64_t elements = 1;
    for (unsigned d = 0; d < t->rank; d++) require(base_multiply(elements, t->shape[d], &elements));
    require(elements == t->elements && t->bytes == elements * fpr_dtype_bits(t->dtype) / 8);
    require(t->name[t->name_bytes] == 0);
    require(!t->plain || (t->offset <= file_bytes && t->bytes <= file_bytes - t->offset));
    if (t->bytes > TENSOR_MOST || !s->format->read) return;
    uint8_t *whole = base_alloc(t->bytes, 1), part[7];
    require(whole);
    if (s->format->read(s, i, 0, t->bytes, whole, NULL) == FPR_OK)
        for (uint64_t at = 0; at < t->bytes && at < 30; at += 5) {
            uint64_t count = t->bytes - at < sizeof part ? t->bytes - at : sizeof part;
            require(s->format->read(s, i, at, count, part, NULL) == FPR_OK && !memcmp(part, whole + at, count));
        }
    base_free(whole);
}

static inline fpr_status check_file(const uint8_t *data, size_t size, const char *key)
{
    static bool ready;
    fpr_error error = {0};
    source_options options = {.key = key};
    source *s = NULL;
    if (!ready) require(setenv("FILTERPRUNE_HDF5", "/nowhere", 1) == 0); /* its helper: fuzz_listing.c */
    ready = true;
    const fpr_status status = source_open(memory_path(0, data, size), &options, &s, &error);
    if (status) {
        require(status == FPR_BAD_HEADER || status == FPR_USAGE || (status == FPR_IO && strstr(error.message, "is HDF5")));
        require(error.status == status && error.message[0] && !s);
    } else {
        require(s->format->read || s->format == &source_safetensors);
        for (size_t i = 0; i < s->tensor_count && i < 100; i++) check_tensor(s, i, size);
        for (size_t i = 0; i < s->skipped_count; i++) require(s->skipped[i].name && s->skipped[i].why);
        source_close(s);
    }
    require(base_allocations_alive() == 0);
    return status;
}

#endif

/* Fuzzing: an ONNX model. The input is a whole file. Whatever is accepted can be read, in one piece and in parts, and
 * is what source.h promises. */
#include "memory_file.h"
#include "source/source.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

static void check_tensor(const source *s, size_t i)
{
    const source_tensor *t = &s->tensors[i];
    uint64_t elements = 1;
    for (unsigned d = 0; d < t->rank; d++) require(base_multiply(elements, t->shape[d], &elements));
    require(elements == t->elements && t->bytes == elements * fpr_dtype_bits(t->dtype) / 8);
    require(t->name[t->name_bytes] == 0);
    require(t->bytes <= UINT64_C(1) << 32); /* nothing is larger than what the file has, decoded */
    uint8_t *whole = base_alloc(t->bytes, 1), part[7];
    require(whole);
    if (s->format->read(s, i, 0, t->bytes, whole, NULL) == FPR_OK)
        for (uint64_t at = 0; at < t->bytes && at < 100; at += 5) {
            uint64_t count = t->bytes - at < sizeof part ? t->bytes - at : sizeof part;
            require(s->format->read(s, i, at, count, part, NULL) == FPR_OK && !memcmp(part, whole + at, count));
        }
    base_free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fpr_error e = {0};
    source_options options = {0};
    source *s = NULL;
    file_source *file = NULL;
    require(file_source_open(memory_path(0, data, size), &file, &e) == FPR_OK);
    source_onnx.probe(data, size < 64 ? size : 64);
    fpr_status status = source_onnx.open(file, &options, &s, &e);
    if (status) {
        require((status == FPR_BAD_HEADER || status == FPR_IO) && e.status == status && e.message[0] && !s);
    } else {
        for (size_t i = 0; i < s->tensor_count; i++) check_tensor(s, i);
        for (size_t i = 0; i < s->skipped_count; i++) require(s->skipped[i].name && s->skipped[i].why);
        s->format->close(s);
    }
    require(base_allocations_alive() == 0);
    return 0;
}

/* Fuzzing: the header of a safetensors file. The input is a whole file; where its length prefix does not fit, all the
 * rest is taken as header and the prefix as the size of the data, so that mutations reach the parser.
 *
 * Whatever is accepted must be what the contract of file.h promises, and must survive being written and read again. */
#include "file/file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

static void check_tensors(const file_header *h)
{
    uint64_t end = 0;
    for (size_t i = 0; i < h->tensor_count; i++) {
        const file_tensor *t = &h->tensors[i];
        uint64_t elements = 1, bits;
        for (unsigned d = 0; d < t->rank; d++) require(base_multiply(elements, t->shape[d], &elements));
        require(elements == t->elements);
        require(base_multiply(elements, fpr_dtype_bits(t->dtype), &bits));
        require(bits % 8 == 0 && t->end - t->begin == bits / 8);
        require(t->begin == end && t->end >= t->begin);
        require(t->name[t->name_bytes] == 0);
        end = t->end;
    }
    require(end == h->data_bytes);
    uint8_t *seen = base_calloc(h->tensor_count, 1);
    require(seen);
    for (size_t i = 0; i < h->tensor_count; i++) {
        require(h->header_order[i] < h->tensor_count && !seen[h->header_order[i]]);
        seen[h->header_order[i]] = 1;
    }
    base_free(seen);
}

static bool same_bytes(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
}

static void check_round_trip(const file_header *h)
{
    file_text text = {0};
    file_header again;
    require(file_header_write(h, &text, NULL) == FPR_OK);
    require(text.count % 8 == 0);
    require(file_header_parse(text.bytes, text.count, h->data_bytes, &again, NULL) == FPR_OK);
    require(again.tensor_count == h->tensor_count && again.metadata_count == h->metadata_count);
    for (size_t i = 0; i < h->tensor_count; i++) {
        const file_tensor *a = &h->tensors[i], *b = &again.tensors[i];
        require(same_bytes(a->name, a->name_bytes, b->name, b->name_bytes));
        require(a->dtype == b->dtype && a->begin == b->begin && a->end == b->end && a->rank == b->rank);
        for (unsigned d = 0; d < a->rank; d++) require(a->shape[d] == b->shape[d]);
        require(h->header_order[i] == again.header_order[i]);
    }
    for (size_t i = 0; i < h->metadata_count; i++) {
        const file_metadata *a = &h->metadata[i], *b = &again.metadata[i];
        require(same_bytes(a->key, a->key_bytes, b->key, b->key_bytes));
        require(same_bytes(a->value, a->value_bytes, b->value, b->value_bytes));
    }
    file_text_free(&text);
    file_header_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8) return 0;
    uint64_t n = base_load_le64(data), data_bytes;
    if (n <= size - 8) {
        data_bytes = size - 8 - n;
    } else {
        data_bytes = n >> 1; /* no file has 2^63 bytes */
        n = size - 8;
    }
    file_header h;
    fpr_error e;
    fpr_status status = file_header_parse((const char *)data + 8, n, data_bytes, &h, &e);
    if (status) {
        require(status == FPR_BAD_HEADER && e.status == status && e.message[0] && !h.memory);
        require(e.offset >= 8 && e.offset <= 8 + n + data_bytes);
    } else {
        check_tensors(&h);
        check_round_trip(&h);
        file_header_free(&h);
    }
    require(base_allocations_alive() == 0);
    return 0;
}

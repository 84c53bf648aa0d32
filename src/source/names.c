/* What all formats of named arrays ask of names. */
#include "source/names.h"

#include "base/utf8.h"

#include <stdlib.h>

fpr_status source_check_name(const char *name, size_t bytes, fpr_error *error)
{
    if (!base_is_utf8(name, bytes))
        return base_fail(error, FPR_BAD_HEADER, "has a tensor whose name is no UTF-8");
    if (bytes == 12 && !memcmp(name, "__metadata__", 12))
        return base_fail(error, FPR_BAD_HEADER, "has a tensor named __metadata__, which a safetensors file cannot hold");
    return FPR_OK;
}

static int compare(const source_tensor *a, const source_tensor *b)
{
    const size_t n = a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes;
    const int c = memcmp(a->name, b->name, n);
    return c ? c : (a->name_bytes > b->name_bytes) - (a->name_bytes < b->name_bytes);
}

static int by_name(const void *a, const void *b)
{
    return compare(*(const source_tensor *const *)a, *(const source_tensor *const *)b);
}

fpr_status source_check_unique(const source *s, fpr_error *error)
{
    const source_tensor **order = base_alloc(s->tensor_count, sizeof *order);
    if (!order) return base_no_memory(error, s->tensor_count * sizeof *order);
    for (size_t i = 0; i < s->tensor_count; i++) order[i] = &s->tensors[i];
    qsort(order, s->tensor_count, sizeof *order, by_name);
    fpr_status status = FPR_OK;
    for (size_t i = 1; !status && i < s->tensor_count; i++)
        if (!compare(order[i - 1], order[i])) {
            status = base_fail(error, FPR_BAD_HEADER, "has two tensors of one name");
            base_error_in_tensor(error, order[i]->name);
        }
    base_free(order);
    return status;
}

/* The lists of what a file of PyTorch holds, while they grow: tensors, what is left out, names, shapes. */
#include "source/torch.h"

#include "source/names.h"

/* Names are kept by their place until all are known: the text moves while it grows. */
static fpr_status add_name(torch_file *t, const char *name, size_t bytes, size_t *at, fpr_error *error)
{
    if (t->names.count + bytes + 1 > TORCH_NAMES_MOST)
        return base_fail(error, FPR_BAD_HEADER, "names of tensors take more than 16 MiB: more than its bytes can hold");
    if (t->names.count + bytes + 1 > t->names.room) {
        const size_t room = (t->names.count + bytes + 1) * 2;
        char *grown = base_grow(t->names.bytes, room, 1);
        if (!grown) return base_no_memory(error, room);
        t->names.bytes = grown;
        t->names.room = room;
    }
    *at = t->names.count;
    memcpy(t->names.bytes + *at, name, bytes);
    t->names.bytes[*at + bytes] = 0;
    t->names.count += bytes + 1;
    return FPR_OK;
}

static fpr_status add_numbers(torch_file *t, const torch_tensor *x, size_t *at, fpr_error *error)
{
    const size_t n = 2 * (size_t)x->view.rank;
    if (t->numbers.count + n > t->numbers.room) {
        const size_t room = (t->numbers.count + n) * 2;
        uint64_t *grown = base_grow(t->numbers.numbers, room, sizeof *grown);
        if (!grown) return base_no_memory(error, room * sizeof *grown);
        t->numbers.numbers = grown;
        t->numbers.room = room;
    }
    *at = t->numbers.count;
    for (unsigned d = 0; d < x->view.rank; d++) {
        t->numbers.numbers[*at + d] = x->view.shape[d];
        t->numbers.numbers[*at + x->view.rank + d] = x->view.stride[d];
    }
    t->numbers.count += n;
    return FPR_OK;
}

fpr_status torch_add_skipped(torch_file *t, const char *name, size_t name_bytes, const char *why, fpr_error *error)
{
    if (t->base.skipped_count == t->skipped_room) {
        const size_t room = t->skipped_room ? t->skipped_room * 2 : 16;
        source_skipped *grown = base_grow(t->base.skipped, room, sizeof *grown);
        if (!grown) return base_no_memory(error, room * sizeof *grown);
        t->base.skipped = grown;
        t->skipped_room = room;
    }
    size_t at = 0, reason = 0;
    fpr_status status = source_check_name(name, name_bytes, error);
    if (!status) status = add_name(t, name, name_bytes, &at, error);
    if (!status) status = add_name(t, why, strlen(why), &reason, error);
    if (status) return status;
    t->base.skipped[t->base.skipped_count++] = (source_skipped){(const char *)(uintptr_t)at, (const char *)(uintptr_t)reason};
    return FPR_OK;
}

static fpr_status make_room(torch_file *t, fpr_error *error)
{
    if (t->base.tensor_count < t->tensor_room) return FPR_OK;
    const size_t room = t->tensor_room ? t->tensor_room * 2 : 64;
    torch_tensor *tensors = base_grow(t->tensors, room, sizeof *tensors);
    if (tensors) t->tensors = tensors;
    source_tensor *all = base_grow(t->base.tensors, room, sizeof *all);
    if (all) t->base.tensors = all;
    if (!tensors || !all) return base_no_memory(error, room * sizeof *all);
    t->tensor_room = room;
    return FPR_OK;
}

fpr_status torch_add_tensor(torch_file *t, const char *name, size_t name_bytes, pickle_ref v, source_kind kind,
                            uint64_t groups, fpr_error *error)
{
    torch_tensor x;
    uint64_t shape[DENSE_RANK_MOST], stride[DENSE_RANK_MOST];
    size_t name_at = 0, numbers_at = 0;
    fpr_status status = torch_describe(t, v, &x, shape, stride, error);
    if (status) return status;
    if (x.why) return torch_add_skipped(t, name, name_bytes, x.why, error);
    status = source_check_name(name, name_bytes, error);
    if (!status) status = make_room(t, error);
    if (!status) status = add_name(t, name, name_bytes, &name_at, error);
    if (!status) status = add_numbers(t, &x, &numbers_at, error);
    if (status) return status;
    const bool plain = dense_is_plain(&x.view) && (!x.storage.member || !x.storage.member->deflated);
    x.view.shape = (const uint64_t *)(uintptr_t)numbers_at;
    t->tensors[t->base.tensor_count] = x;
    t->base.tensors[t->base.tensor_count++] = (source_tensor){
        .name = (const char *)(uintptr_t)name_at,
        .name_bytes = name_bytes,
        .dtype = x.dtype,
        .rank = x.view.rank,
        .elements = x.elements,
        .bytes = x.bytes,
        .stored_bytes = x.bytes < x.storage.bytes ? x.bytes : x.storage.bytes,
        .kind = x.view.rank >= 3 ? kind : SOURCE_KIND_UNKNOWN,
        .groups = x.view.rank >= 3 ? groups : 0,
        .depth = SOURCE_NO_DEPTH,
        .plain = plain,
        .offset = plain ? x.storage.offset + x.view.offset : 0};
    return FPR_OK;
}

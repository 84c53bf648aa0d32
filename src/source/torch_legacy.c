/* PyTorch's format before 1.4, still written on request: pickles of a magic number, the protocol, sizes of the machine's
 * types, the object and the list of storage keys; behind them each storage in that order, a count of elements and their
 * bytes, little-endian. */
#include "source/torch.h"

#include <stdlib.h>

static const uint8_t magic[] = {0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
static const char magic_line[] = "L119547037146038801333356L\n.";

bool torch_legacy_probe(const uint8_t *head, size_t n)
{
    if (n >= sizeof magic_line - 1 && !memcmp(head, magic_line, sizeof magic_line - 1)) return true;
    /* PROTO, then from protocol 4 on FRAME with its length. */
    return (n >= 2 + sizeof magic && head[0] == 0x80 && !memcmp(head + 2, magic, sizeof magic)) ||
           (n >= 11 + sizeof magic && head[0] == 0x80 && head[2] == 0x95 && !memcmp(head + 11, magic, sizeof magic));
}

static fpr_status read_bytes(void *context, uint64_t at, uint64_t count, void *dst, fpr_error *error)
{
    return file_source_read(context, at, dst, count, error);
}

static fpr_status check_protocol(pickle_input *in, fpr_error *error)
{
    pickle p;
    int64_t version;
    fpr_status status = pickle_read(in, &p, error); /* the magic number */
    if (status) return status;
    pickle_free(&p);
    status = pickle_read(in, &p, error);
    if (status) return status;
    const bool known = pickle_integer(&p, p.root, &version) && version == 1001;
    pickle_free(&p);
    if (!known) return base_fail(error, FPR_BAD_HEADER, "is a PyTorch file of a protocol other than 1001");
    status = pickle_read(in, &p, error); /* the machine */
    if (!status) pickle_free(&p);
    return status;
}

/* Every storage that the object names, once: the same key always has the same type and size. */
static fpr_status collect_storages(torch_file *t, fpr_error *error)
{
    const pickle *p = &t->pickle;
    size_t n = 0;
    for (size_t i = 0; i < p->node_count; i++) n += p->nodes[i].kind == PICKLE_PERSISTENT;
    t->storages = base_calloc(n, sizeof *t->storages);
    if (!t->storages) return base_no_memory(error, n * sizeof *t->storages);
    for (size_t i = 0; i < p->node_count; i++) {
        if (p->nodes[i].kind != PICKLE_PERSISTENT) continue;
        torch_legacy_storage *s = &t->storages[t->storage_count];
        fpr_dtype dtype;
        const char *why;
        const fpr_status status = torch_storage_type(p, (pickle_ref)i, &s->element, &dtype, &why, &s->count, error);
        if (status) return status;
        s->key = pickle_text(p, pickle_item(p, p->nodes[i].a, 2), &s->key_bytes);
        t->storage_count++;
    }
    qsort(t->storages, t->storage_count, sizeof *t->storages, torch_legacy_order);
    size_t kept = 0;
    for (size_t i = 0; i < t->storage_count; i++) {
        const torch_legacy_storage *s = &t->storages[i];
        if (!kept || torch_legacy_order(&t->storages[kept - 1], s)) {
            t->storages[kept++] = *s;
        } else if (t->storages[kept - 1].element != s->element || t->storages[kept - 1].count != s->count) {
            return base_fail(error, FPR_BAD_HEADER, "the storage \"%.100s\" has two types or sizes", s->key);
        }
    }
    t->storage_count = kept;
    return FPR_OK;
}

/* The storage of the next key in the list: *at is that of its count, then that behind its bytes. */
static fpr_status place_storage(torch_file *t, const pickle *keys, pickle_ref key, uint64_t *at, fpr_error *error)
{
    size_t bytes;
    const char *text = pickle_text(keys, key, &bytes);
    torch_legacy_storage *s = text ? (torch_legacy_storage *)(uintptr_t)torch_legacy_find(t, text, bytes) : NULL;
    if (!s) return base_fail(error, FPR_BAD_HEADER, "the file holds a storage that no tensor names");
    if (s->found) return base_fail(error, FPR_BAD_HEADER, "the file holds the storage \"%.100s\" twice", text);
    const uint64_t size = file_source_size(t->file);
    uint8_t count[8];
    uint64_t length;
    if (size - *at < sizeof count)
        return base_fail(error, FPR_BAD_HEADER, "is cut short: the storage \"%.100s\" is not there", text);
    const fpr_status status = file_source_read(t->file, *at, count, sizeof count, error);
    if (status) return status;
    *at += sizeof count;
    if (base_load_le64(count) != s->count || !base_multiply(s->count, s->element, &length))
        return base_fail(error, FPR_BAD_HEADER, "the storage \"%.100s\" has another size than its tensors say", text);
    if (length > size - *at)
        return base_fail(error, FPR_BAD_HEADER, "is cut short: it has %llu bytes, the storage \"%.100s\" ends at %llu",
                         (unsigned long long)size, text, (unsigned long long)(*at + length));
    s->offset = *at;
    s->found = true;
    *at += length;
    return FPR_OK;
}

fpr_status torch_legacy_read(torch_file *t, fpr_error *error)
{
    pickle_input *in = base_calloc(1, sizeof *in);
    if (!in) return base_no_memory(error, sizeof *in);
    in->read = read_bytes;
    in->context = t->file;
    in->size = file_source_size(t->file);
    in->cancel = t->options->cancel;
    pickle keys = {0};
    fpr_status status = check_protocol(in, error);
    if (!status) status = pickle_read(in, &t->pickle, error);
    if (!status) status = pickle_read(in, &keys, error);
    if (!status) status = collect_storages(t, error);
    if (!status && pickle_kind_of(&keys, keys.root) != PICKLE_LIST)
        status = base_fail(error, FPR_BAD_HEADER, "the file has no list of its storages");
    uint64_t at = in->at;
    for (uint32_t cell = status ? 0 : pickle_first(&keys, keys.root); !status && cell; cell = keys.cells[cell].next)
        status = place_storage(t, &keys, keys.cells[cell].value, &at, error);
    pickle_free(&keys);
    base_free(in);
    return status;
}

/* PyTorch's files as a source: .pt, .pth, .ckpt, .bin. */
#include "source/torch.h"

#include "source/names.h"

#include <stdlib.h>

typedef struct store {
    dense_store base;
    const torch_file *t;
    const torch_storage *storage;
} store;

static fpr_status read_store(const dense_store *base, uint64_t from, uint64_t count, void *dst, fpr_error *error)
{
    const store *s = (const store *)(const void *)base;
    const torch_storage *x = s->storage;
    if (from > x->bytes || count > x->bytes - from)
        return base_fail(error, FPR_BAD_HEADER, "a tensor reaches beyond its storage");
    if (!x->member || !x->member->deflated) return file_source_read(s->t->file, x->offset + from, dst, count, error);
    return zip_read(s->t->zip, x->member, from, count, dst, error);
}

static fpr_status read_tensor(const source *base, size_t tensor, uint64_t from, uint64_t count, void *dst,
                              fpr_error *error)
{
    const torch_file *t = (const torch_file *)(const void *)base;
    const torch_tensor *x = &t->tensors[tensor];
    const store s = {{read_store, t->options->cancel}, t, &x->storage};
    fpr_status status = dense_read(&x->view, &s.base, from, count, dst, error);
    if (status) base_error_in_tensor(error, base->tensors[tensor].name);
    return status;
}

static void close_file(source *base)
{
    torch_file *t = (torch_file *)(void *)base;
    pickle_free(&t->pickle);
    zip_close(t->zip);
    torch_script_free(&t->script);
    file_source_close(t->file);
    base_free((char *)(uintptr_t)t->base.key);
    base_free(t->base.tensors);
    base_free(t->base.skipped);
    base_free(t->base.files);
    base_free((source_options *)(uintptr_t)t->options);
    base_free(t->storages);
    base_free(t->tensors);
    base_free(t->names.bytes);
    base_free(t->numbers.numbers);
    base_free(t->marks);
    base_free(t);
}

/* ---------------------------------------------------------------- when all is known */

static void settle_places(torch_file *t)
{
    static const uint64_t none[1]; /* of scalars alone */
    const uint64_t *numbers = t->numbers.numbers ? t->numbers.numbers : none;
    for (size_t i = 0; i < t->base.tensor_count; i++) {
        source_tensor *s = &t->base.tensors[i];
        dense_view *v = &t->tensors[i].view;
        s->name = t->names.bytes + (uintptr_t)s->name;
        v->shape = numbers + (uintptr_t)v->shape;
        v->stride = v->shape + v->rank;
        s->shape = v->shape;
    }
    for (size_t i = 0; i < t->base.skipped_count; i++) {
        source_skipped *s = &t->base.skipped[i];
        s->name = t->names.bytes + (uintptr_t)s->name;
        s->why = t->names.bytes + (uintptr_t)s->why;
    }
}

/* Stride 0 makes much of little: fine while it stays below what the file has, and so are a few tensors on one storage. */
static fpr_status check_expansion(const torch_file *t, fpr_error *error)
{
    const uint64_t size = file_source_size(t->file);
    uint64_t expanded = 0, all = 0;
    if (t->options->allow_expand) return FPR_OK;
    for (size_t i = 0; i < t->base.tensor_count; i++) {
        const source_tensor *s = &t->base.tensors[i];
        if (s->bytes > t->tensors[i].storage.bytes && !base_add(expanded, s->bytes, &expanded)) expanded = UINT64_MAX;
        if (!base_add(all, s->bytes, &all)) all = UINT64_MAX;
        if (expanded > size || all > 8 * size + (UINT64_C(64) << 20)) {
            base_fail(error, FPR_BAD_HEADER, "tensors are far larger than what is stored of them (%llu bytes of a file of "
                      "%llu); convert --allow-expand takes them", (unsigned long long)(expanded > size ? expanded : all),
                      (unsigned long long)size);
            base_error_in_tensor(error, s->name);
            return FPR_BAD_HEADER;
        }
    }
    return FPR_OK;
}

static fpr_status new_file(file_source *file, const source_options *options, const char *variant, torch_file **out,
                           fpr_error *error)
{
    torch_file *t = *out = base_calloc(1, sizeof *t);
    source_options *own = base_alloc(1, sizeof *own);
    file_source **files = base_alloc(1, sizeof *files);
    if (!t || !own || !files) {
        base_free(t);
        base_free(own);
        base_free(files);
        file_source_close(file);
        return base_no_memory(error, sizeof *t);
    }
    *own = *options;
    files[0] = t->file = file;
    t->options = own;
    t->base.format = &source_torch;
    t->base.variant = variant;
    t->base.files = files;
    t->base.file_count = 1;
    return FPR_OK;
}

/* The pickle is read: lists what it holds. */
static fpr_status finish(torch_file *t, fpr_status status, source **out, fpr_error *error)
{
    if (!status) status = torch_list(t, error);
    if (!status) settle_places(t);
    if (!status) status = source_check_unique(&t->base, error);
    if (!status) status = check_expansion(t, error);
    pickle_free(&t->pickle);
    torch_script_free(&t->script);
    base_free(t->marks);
    t->marks = NULL;
    if (status) close_file(&t->base);
    else *out = &t->base;
    return status;
}

/* ---------------------------------------------------------------- archives */

typedef struct member_input {
    zip_archive *zip;
    const zip_member *member;
} member_input;

static fpr_status read_member(void *context, uint64_t at, uint64_t count, void *dst, fpr_error *error)
{
    const member_input *m = context;
    return zip_read(m->zip, m->member, at, count, dst, error);
}

static const zip_member *find_member(const torch_file *t, const char *name)
{
    char text[300];
    const size_t n = strlen(name);
    if (t->prefix_bytes + n > sizeof text) return NULL;
    memcpy(text, t->prefix, t->prefix_bytes);
    memcpy(text + t->prefix_bytes, name, n);
    return zip_find(t->zip, text, t->prefix_bytes + n);
}

static bool has_folder(const torch_file *t, const char *folder)
{
    const size_t n = strlen(folder);
    for (size_t i = 0; i < zip_count(t->zip); i++) {
        const zip_member *m = zip_at(t->zip, i);
        if (m->name_bytes > t->prefix_bytes + n && !memcmp(m->name, t->prefix, t->prefix_bytes) &&
            !memcmp(m->name + t->prefix_bytes, folder, n))
            return true;
    }
    return false;
}

/* The order of bytes is a member of its own, since 1.13. */
static fpr_status read_byte_order(torch_file *t, fpr_error *error)
{
    const zip_member *m = find_member(t, "byteorder");
    char text[8] = {0};
    if (!m) return FPR_OK;
    if (m->size >= sizeof text) return base_fail(error, FPR_BAD_HEADER, "has a byte order that is not known");
    const fpr_status status = zip_read(t->zip, m, 0, m->size, text, error);
    if (status) return status;
    t->big_endian = !strcmp(text, "big");
    if (!t->big_endian && strcmp(text, "little") != 0)
        return base_fail(error, FPR_BAD_HEADER, "has a byte order that is not known");
    return FPR_OK;
}

static fpr_status read_archive(torch_file *t, fpr_error *error)
{
    const zip_member *first = zip_at(t->zip, 0);
    const char *slash = memchr(first->name, '/', first->name_bytes);
    t->prefix = first->name;
    t->prefix_bytes = slash ? (size_t)(slash - first->name) + 1 : 0;
    const zip_member *m = find_member(t, "data.pkl");
    if (!m) return base_fail(error, FPR_BAD_HEADER, "is a zip archive without data.pkl, thus none of PyTorch");
    t->folder = has_folder(t, "tensors/") ? "tensors/" : "data/";
    t->scripted = has_folder(t, "code/");
    if (t->scripted) t->base.variant = "torchscript";
    fpr_status status = read_byte_order(t, error);
    if (!status && t->scripted) status = torch_script_read(t, error);
    pickle_input *in = status ? NULL : base_calloc(1, sizeof *in);
    if (!in) return status ? status : base_no_memory(error, sizeof *in);
    member_input context = {t->zip, m};
    in->read = read_member;
    in->context = &context;
    in->size = m->size;
    in->cancel = t->options->cancel;
    status = pickle_read(in, &t->pickle, error);
    base_free(in);
    return status;
}

fpr_status torch_open_zip(file_source *file, zip_archive *zip, const source_options *options, source **out,
                          fpr_error *error)
{
    torch_file *t;
    *out = NULL;
    fpr_status status = new_file(file, options, "torch-zip", &t, error);
    if (status) {
        zip_close(zip);
        return status;
    }
    t->zip = zip;
    status = read_archive(t, error);
    return finish(t, status, out, error);
}

/* ---------------------------------------------------------------- the older format */

static fpr_status open_legacy(file_source *file, const source_options *options, source **out, fpr_error *error)
{
    torch_file *t;
    *out = NULL;
    fpr_status status = new_file(file, options, "torch-legacy", &t, error);
    if (status) return status;
    status = torch_legacy_read(t, error);
    return finish(t, status, out, error);
}

const source_format source_torch = {
    .name = "torch", .probe = torch_legacy_probe, .open = open_legacy, .read = read_tensor, .close = close_file};

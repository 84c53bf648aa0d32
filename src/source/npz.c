/* numpy's arrays as a source. */
#include "source/npz.h"

#include "source/names.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
/* Larger headers of numpy's are refused by numpy itself, too, unless asked. */
#define HEADER_MOST (1u << 20)

/* An array: a member of an archive, or all of a file. */
typedef struct array {
    const zip_member *member; /* NULL: the file */
    dense_view view;
    uint64_t *numbers;        /* shape, then strides */
    uint64_t bytes;           /* of the member or file */
    char *name;
} array;

typedef struct npz_file {
    source base;
    zip_archive *zip; /* NULL: one array */
    array *arrays;    /* of base.tensors */
    const volatile int *cancel;
} npz_file;

typedef struct store {
    dense_store base;
    const npz_file *f;
    const array *a;
} store;

static fpr_status read_array(const npz_file *f, const zip_member *m, uint64_t from, uint64_t count, void *dst,
                             fpr_error *error)
{
    return m ? zip_read(f->zip, m, from, count, dst, error) : file_source_read(f->base.files[0], from, dst, count, error);
}

static fpr_status read_store(const dense_store *base, uint64_t from, uint64_t count, void *dst, fpr_error *error)
{
    const store *s = (const store *)(const void *)base;
    return read_array(s->f, s->a->member, from, count, dst, error);
}

static fpr_status read_tensor(const source *base, size_t tensor, uint64_t from, uint64_t count, void *dst,
                              fpr_error *error)
{
    const npz_file *f = (const npz_file *)(const void *)base;
    const store s = {{read_store, f->cancel}, f, &f->arrays[tensor]};
    const fpr_status status = dense_read(&s.a->view, &s.base, from, count, dst, error);
    if (status) base_error_in_tensor(error, base->tensors[tensor].name);
    return status;
}

static void close_file(source *base)
{
    npz_file *f = (npz_file *)(void *)base;
    for (size_t i = 0; f->arrays && i < base->tensor_count; i++) {
        base_free(f->arrays[i].numbers);
        base_free(f->arrays[i].name);
    }
    for (size_t i = 0; i < base->skipped_count; i++) {
        base_free((char *)(uintptr_t)base->skipped[i].name);
        base_free((char *)(uintptr_t)base->skipped[i].why);
    }
    zip_close(f->zip);
    if (base->files) file_source_close(base->files[0]);
    base_free(base->files);
    base_free(base->tensors);
    base_free(base->skipped);
    base_free(f->arrays);
    base_free(f);
}

/* ---------------------------------------------------------------- one array */

static fpr_status read_header(const npz_file *f, const zip_member *m, uint64_t size, npy_header *h, fpr_error *error)
{
    uint8_t head[12];
    memset(h, 0, sizeof *h);
    fpr_status status = size >= 10 ? read_array(f, m, 0, size < sizeof head ? 10 : sizeof head, head, error) : FPR_OK;
    if (status) return status;
    if (size < sizeof head || memcmp(head, MAGIC, MAGIC_BYTES) != 0)
        return base_fail(error, FPR_BAD_HEADER, "an array has no header");
    if (head[6] < 1 || head[6] > 3) return base_fail(error, FPR_BAD_HEADER, "an array is of a version that is not known");
    const uint64_t front = head[6] == 1 ? 10 : 12, n = head[6] == 1 ? base_load_le16(head + 8) : base_load_le32(head + 8);
    if (n > size - front) return base_fail(error, FPR_BAD_HEADER, "the header of an array is cut short");
    if (n > HEADER_MOST) return base_fail(error, FPR_BAD_HEADER, "the header of an array has more than 1 MiB");
    char *text = base_alloc(n, 1);
    if (!text) return base_no_memory(error, n);
    status = read_array(f, m, front, n, text, error);
    if (!status) status = npy_header_parse(text, (size_t)n, h, error);
    base_free(text);
    h->data = front + n;
    return status;
}

static fpr_status skip(npz_file *f, const char *name, size_t bytes, const char *why, fpr_error *error)
{
    source_skipped *s = &f->base.skipped[f->base.skipped_count];
    s->name = base_copy_text(name, bytes);
    s->why = base_copy_text(why, strlen(why));
    if (s->name && s->why) {
        f->base.skipped_count++;
        return FPR_OK;
    }
    base_free((char *)(uintptr_t)s->name);
    base_free((char *)(uintptr_t)s->why);
    return base_no_memory(error, bytes);
}

static fpr_status take(array *a, const npy_header *h, source_tensor *s, size_t name_bytes,
                       fpr_error *error)
{
    uint64_t elements = 1, bytes;
    for (unsigned d = 0; d < h->rank; d++)
        if (!base_multiply(elements, h->shape[d], &elements))
            return base_fail(error, FPR_BAD_HEADER, "an array has sizes that overflow");
    if (!base_multiply(elements, h->element, &bytes) || bytes > a->bytes - h->data)
        return base_fail(error, FPR_BAD_HEADER, "an array has fewer bytes than its shape says");
    a->numbers = base_alloc(2 * (uint64_t)h->rank, sizeof *a->numbers);
    if (!a->numbers) return base_no_memory(error, 2 * h->rank * sizeof *a->numbers);
    uint64_t step = 1;
    for (unsigned i = 0; i < h->rank; i++) {
        const unsigned d = h->fortran ? i : h->rank - 1 - i;
        a->numbers[d] = h->shape[d];
        a->numbers[h->rank + d] = step;
        step *= h->shape[d];
    }
    a->view = (dense_view){.rank = h->rank, .element = h->element, .unit = h->dtype == FPR_C64 ? 4 : h->element,
                           .swap = h->swap, .offset = h->data, .shape = a->numbers, .stride = a->numbers + h->rank};
    const bool plain = dense_is_plain(&a->view) && (!a->member || !a->member->deflated);
    *s = (source_tensor){.name = a->name, .name_bytes = name_bytes, .dtype = h->dtype, .rank = h->rank,
                         .shape = a->numbers, .elements = elements, .bytes = bytes, .stored_bytes = bytes,
                         .depth = SOURCE_NO_DEPTH, .plain = plain,
                         .offset = plain ? h->data + (a->member ? a->member->data : 0) : 0};
    return FPR_OK;
}

static fpr_status add(npz_file *f, const zip_member *m, uint64_t size, const char *name, size_t name_bytes,
                      fpr_error *error)
{
    npy_header *h = base_alloc(1, sizeof *h);
    if (!h) return base_no_memory(error, sizeof *h);
    fpr_status status = source_check_name(name, name_bytes, error);
    if (!status) status = read_header(f, m, size, h, error);
    if (!status && *h->why) {
        status = skip(f, name, name_bytes, h->why, error);
    } else if (!status) {
        array *a = &f->arrays[f->base.tensor_count];
        *a = (array){.member = m, .bytes = size, .name = base_copy_text(name, name_bytes)};
        f->base.tensor_count++; /* close_file frees what it has */
        status = a->name ? take(a, h, &f->base.tensors[f->base.tensor_count - 1], name_bytes, error)
                         : base_no_memory(error, name_bytes);
    }
    base_free(h);
    return status;
}

/* ---------------------------------------------------------------- files */

static fpr_status new_file(file_source *file, size_t arrays, const source_options *options, npz_file **out,
                           fpr_error *error)
{
    npz_file *f = *out = base_calloc(1, sizeof *f);
    file_source **files = base_alloc(1, sizeof *files);
    if (!f || !files) {
        base_free(f);
        base_free(files);
        file_source_close(file);
        *out = NULL;
        return base_no_memory(error, sizeof *f);
    }
    files[0] = file;
    f->base = (source){.format = &source_npz, .variant = "npz", .key = "", .files = files, .file_count = 1};
    f->cancel = options->cancel;
    f->arrays = base_calloc(arrays, sizeof *f->arrays);
    f->base.tensors = base_calloc(arrays, sizeof *f->base.tensors);
    f->base.skipped = base_calloc(arrays, sizeof *f->base.skipped);
    return f->arrays && f->base.tensors && f->base.skipped ? FPR_OK : base_no_memory(error, arrays * sizeof *f->arrays);
}

static fpr_status refuse_key(const source_options *options, fpr_error *error)
{
    return options->key && *options->key ? base_fail(error, FPR_USAGE, "--key: arrays of numpy have no dictionaries in them")
                                         : FPR_OK;
}

static fpr_status finish(npz_file *f, fpr_status status, source **out, fpr_error *error)
{
    if (!status) status = source_check_unique(&f->base, error);
    if (status) close_file(&f->base);
    else *out = &f->base;
    return status;
}

fpr_status npz_open_zip(file_source *file, zip_archive *zip, const source_options *options, source **out,
                        fpr_error *error)
{
    npz_file *f;
    *out = NULL;
    fpr_status status = new_file(file, zip_count(zip), options, &f, error);
    if (!f) {
        zip_close(zip);
        return status;
    }
    f->zip = zip;
    if (!status) status = refuse_key(options, error);
    for (size_t i = 0; !status && i < zip_count(zip); i++) {
        const zip_member *m = zip_at(zip, i);
        if (options->cancel && *options->cancel) status = base_fail(error, FPR_CANCELLED, "cancelled");
        else if (m->name_bytes >= 4 && !memcmp(m->name + m->name_bytes - 4, ".npy", 4))
            status = add(f, m, m->size, m->name, m->name_bytes - 4, error);
        else if (m->name_bytes && m->name[m->name_bytes - 1] != '/')
            status = skip(f, m->name, m->name_bytes, "no array", error);
    }
    return finish(f, status, out, error);
}

static bool probe(const uint8_t *head, size_t n) { return n >= MAGIC_BYTES && !memcmp(head, MAGIC, MAGIC_BYTES); }

/* A single array has no name: that of its file. */
static fpr_status open_npy(file_source *file, const source_options *options, source **out, fpr_error *error)
{
    npz_file *f;
    const char *path = file_source_path(file), *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 4 && !memcmp(name + n - 4, ".npy", 4)) n -= 4;
    *out = NULL;
    fpr_status status = new_file(file, 1, options, &f, error);
    if (!f) return status;
    f->base.variant = "npy";
    if (!status) status = refuse_key(options, error);
    if (!status) status = add(f, NULL, file_source_size(file), name, n, error);
    return finish(f, status, out, error);
}

const source_format source_npz = {
    .name = "npz", .probe = probe, .open = open_npy, .read = read_tensor, .close = close_file};

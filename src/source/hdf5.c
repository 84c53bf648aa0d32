/* Keras and other HDF5 files as a source. The library that reads the format runs in a helper process; from it come names,
 * types, shapes, and where dense bytes stand in the file, which are then read from there. What stands nowhere as it is
 * (chunks, other byte order, fill values) comes through the pipe once, into a temporary file without a name. */
#include "source/hdf5.h"

#include "hdf5/wire.h"
#include "source/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define LISTING_MOST (64u << 20) /* bytes of names and shapes */
#define COPY_BYTES (1u << 20)

typedef struct hdf5_file {
    source base;
    char **texts; /* what names, shapes and layers point into, one block a record */
    size_t text_count, text_capacity, text_bytes;
    size_t tensor_capacity, skipped_capacity;
    file_source *files[3]; /* INPUT; what a .keras file holds deflated; what came through the pipe */
    unsigned data_file;    /* which of them is HDF5 */
    uint64_t data_offset, data_bytes; /* where in it, when it is not all of it */
    int extracted, spool;  /* descriptors of the latter two; -1: none */
    uint64_t spooled;
    hdf5_classes classes;
} hdf5_file;

static void close_file(source *base)
{
    hdf5_file *f = (hdf5_file *)(void *)base;
    for (size_t i = 0; i < f->text_count; i++) base_free(f->texts[i]);
    for (size_t i = 0; i < sizeof f->files / sizeof *f->files; i++) file_source_close(f->files[i]);
    if (f->spool >= 0) close(f->spool);
    if (f->extracted >= 0) close(f->extracted);
    hdf5_classes_free(&f->classes);
    base_free(f->texts);
    base_free(f->base.tensors);
    base_free(f->base.skipped);
    base_free(f);
}

static fpr_status read_tensor(const source *base, size_t tensor, uint64_t from, uint64_t count, void *dst, fpr_error *error)
{
    const hdf5_file *f = (const hdf5_file *)(const void *)base;
    const source_tensor *t = &base->tensors[tensor];
    if (!count) return FPR_OK;
    return file_source_read(f->files[t->file], t->offset + from, dst, count, error);
}

/* ---------------------------------------------------------------- temporary files */

static int open_unnamed(void)
{
    const char *folder = secure_getenv("TMPDIR");
    int fd = open(folder && folder[0] ? folder : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) fd = memfd_create("filterprune", MFD_CLOEXEC);
    return fd;
}

static fpr_status append(int fd, const uint8_t *bytes, size_t n, fpr_error *error)
{
    while (n) {
        const ssize_t done = write(fd, bytes, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return base_fail_errno(error, FPR_IO, errno, "cannot write a temporary file");
        bytes += done, n -= (size_t)done;
    }
    return FPR_OK;
}

/* A file without a name, through the name that its descriptor has. */
static fpr_status as_source(int fd, file_source **out, fpr_error *error)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return file_source_open(path, out, error);
}

/* ---------------------------------------------------------------- records */

static fpr_status keep_text(hdf5_file *f, const uint8_t *payload, size_t bytes, char **out, fpr_error *error)
{
    if (bytes > LISTING_MOST - f->text_bytes) return base_fail(error, FPR_BAD_HEADER, "has more than 64 MiB of names");
    if (f->text_count == f->text_capacity) {
        const size_t more = f->text_capacity ? 2 * f->text_capacity : 64;
        char **texts = base_grow(f->texts, more, sizeof *texts);
        if (!texts) return base_no_memory(error, more * sizeof *texts);
        f->texts = texts, f->text_capacity = more;
    }
    *out = base_copy_text((const char *)payload, bytes);
    if (!*out) return base_no_memory(error, bytes);
    f->texts[f->text_count++] = *out;
    f->text_bytes += bytes;
    return FPR_OK;
}

static fpr_status broken(fpr_error *error) { return base_fail(error, FPR_BAD_HEADER, "has a dataset that is not told whole"); }

/* The text that a length leads, as a block of its own with a NUL behind it. */
static fpr_status take_text(hdf5_file *f, const uint8_t **p, const uint8_t *end, char **out, size_t *bytes, fpr_error *error)
{
    if (end - *p < 4) return broken(error);
    *bytes = base_load_le32(*p);
    if (*bytes > (size_t)(end - *p) - 4) return broken(error);
    const fpr_status status = keep_text(f, *p + 4, *bytes, out, error);
    *p += 4 + *bytes;
    return status;
}

/* The layer that a path names: of the parts between its ends, the last that the model knows, else the first of them. */
static fpr_status name_layer(hdf5_file *f, source_tensor *t, fpr_error *error)
{
    static const char model[] = "model_weights/";
    const size_t begin = t->name_bytes > sizeof model && !memcmp(t->name, model, sizeof model - 1) ? sizeof model - 1 : 0;
    if (!begin) return FPR_OK;
    const char *found = NULL;
    size_t found_bytes = 0;
    for (const char *part = t->name + begin, *slash; (slash = strchr(part, '/')); part = slash + 1) {
        const size_t n = (size_t)(slash - part);
        if (found && !hdf5_class_of(&f->classes, part, n)) continue;
        found = part, found_bytes = n;
    }
    char *text = NULL;
    const fpr_status status = found ? keep_text(f, (const uint8_t *)found, found_bytes, &text, error) : FPR_OK;
    t->layer = text;
    return status;
}

/* By the class of its layer; where no model is told, by the group, which Keras names by the class. */
static void tell_kind(const hdf5_file *f, source_tensor *t)
{
    const char *class_name = t->layer ? hdf5_class_of(&f->classes, t->layer, strlen(t->layer)) : NULL;
    if (class_name) {
        t->kind = hdf5_kind_of_class(class_name, strlen(class_name));
    } else {
        const char *vars = strstr(t->name, "/vars/"), *group = vars;
        while (group && group > t->name && group[-1] != '/') group--;
        if (group && (vars - group != 5 || memcmp(group, "layer", 5))) /* of a wrapper: it can be any */
            t->kind = hdf5_kind_of_class(group, (size_t)(vars - group));
    }
    const bool kernel = t->kind != SOURCE_KIND_OTHER && t->kind != SOURCE_KIND_UNKNOWN && t->rank >= 3;
    if (kernel) t->layout = FPR_LAYOUT_HWIO;
    else if (t->kind != SOURCE_KIND_UNKNOWN) t->layer_kind = t->kind, t->kind = SOURCE_KIND_OTHER; /* a bias, a dense layer */
}

static fpr_status take_tensor(hdf5_file *f, const uint8_t *p, size_t bytes, fpr_error *error)
{
    const uint8_t *end = p + bytes;
    const unsigned dtype = bytes > 1 ? p[0] : FPR_DTYPE_COUNT, rank = bytes > 1 ? p[1] : 0;
    if (dtype >= FPR_DTYPE_COUNT || fpr_dtype_bits((fpr_dtype)dtype) % 8) return broken(error); /* HDF5 has no half bytes */
    if (rank > HDF5_RANK_MOST || bytes < 10 + 8 * (size_t)rank) return broken(error);
    if (f->base.tensor_count == f->tensor_capacity) {
        const size_t more = f->tensor_capacity ? 2 * f->tensor_capacity : 64;
        source_tensor *tensors = base_grow(f->base.tensors, more, sizeof *tensors);
        if (!tensors) return base_no_memory(error, more * sizeof *tensors);
        f->base.tensors = tensors, f->tensor_capacity = more;
    }
    source_tensor *t = &f->base.tensors[f->base.tensor_count];
    *t = (source_tensor){.dtype = (fpr_dtype)dtype, .rank = rank, .elements = 1, .depth = SOURCE_NO_DEPTH};
    const uint64_t offset = base_load_le64(p + 2);
    char *shape = NULL, *name = NULL, *layer = NULL;
    size_t layer_bytes = 0;
    p += 10;
    fpr_status status = keep_text(f, p, 8 * (size_t)rank, &shape, error);
    uint64_t *sizes = (uint64_t *)(void *)shape; /* a block of its own is aligned for anything */
    for (unsigned d = 0; !status && d < rank; d++, p += 8) {
        sizes[d] = base_load_le64(p);
        if (!base_multiply(t->elements, sizes[d], &t->elements)) status = broken(error);
    }
    if (!status && !base_multiply(t->elements, fpr_dtype_bits(t->dtype) / 8, &t->bytes)) status = broken(error);
    if (!status) status = take_text(f, &p, end, &name, &t->name_bytes, error);
    if (!status) status = take_text(f, &p, end, &layer, &layer_bytes, error);
    if (status) return status;
    t->name = name, t->shape = sizes;
    t->layer = layer_bytes && strlen(layer) == layer_bytes ? layer : NULL;
    t->stored_bytes = t->bytes;
    t->file = offset == HDF5_NO_OFFSET ? 2 : f->data_file;
    t->offset = offset == HDF5_NO_OFFSET ? f->spooled : f->data_offset + offset;
    t->plain = t->file == 0;
    if (offset != HDF5_NO_OFFSET) {
        const uint64_t size = file_source_size(f->files[f->data_file]);
        if (t->offset > size || t->bytes > size - t->offset || t->offset < offset)
            return base_fail(error, FPR_BAD_HEADER, "has a dataset past the end of the file");
    }
    status = source_check_name(t->name, t->name_bytes, error);
    if (!status && !t->layer) status = name_layer(f, t, error);
    if (!status) tell_kind(f, t);
    f->base.tensor_count++;
    return status;
}

static fpr_status take_skipped(hdf5_file *f, const uint8_t *p, size_t bytes, fpr_error *error)
{
    const uint8_t *end = p + bytes;
    char *name = NULL, *why = NULL;
    size_t n;
    if (f->base.skipped_count == f->skipped_capacity) {
        const size_t more = f->skipped_capacity ? 2 * f->skipped_capacity : 64;
        source_skipped *skipped = base_grow(f->base.skipped, more, sizeof *skipped);
        if (!skipped) return base_no_memory(error, more * sizeof *skipped);
        f->base.skipped = skipped, f->skipped_capacity = more;
    }
    fpr_status status = take_text(f, &p, end, &name, &n, error);
    if (!status) status = keep_text(f, p, (size_t)(end - p), &why, error);
    if (!status) f->base.skipped[f->base.skipped_count++] = (source_skipped){name, why};
    return status;
}

/* The bytes of the last tensor told, no more of them than it has. */
static fpr_status take_data(hdf5_file *f, const uint8_t *payload, size_t bytes, fpr_error *error)
{
    const source_tensor *t = f->base.tensor_count ? &f->base.tensors[f->base.tensor_count - 1] : NULL;
    if (!t || t->file != 2 || f->spooled - t->offset > t->bytes || bytes > t->bytes - (f->spooled - t->offset))
        return broken(error);
    if (f->spool < 0 && (f->spool = open_unnamed()) < 0)
        return base_fail_errno(error, FPR_IO, errno, "cannot make a temporary file");
    const fpr_status status = append(f->spool, payload, bytes, error);
    if (!status) f->spooled += bytes;
    return status;
}

static fpr_status take_all(hdf5_file *f, hdf5_process *p, const volatile int *cancel, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (char kind = 0; !status && kind != HDF5_END;) {
        const uint8_t *payload;
        size_t bytes;
        status = hdf5_next(p, cancel, &kind, &payload, &bytes, error);
        if (status) break;
        /* All of a tensor's bytes are there before anything else is told. */
        const source_tensor *t = f->base.tensor_count ? &f->base.tensors[f->base.tensor_count - 1] : NULL;
        if (kind != HDF5_DATA && t && t->file == 2 && f->spooled != t->offset + t->bytes) return broken(error);
        switch (kind) {
        case HDF5_TENSOR: status = take_tensor(f, payload, bytes, error); break;
        case HDF5_DATA: status = take_data(f, payload, bytes, error); break;
        case HDF5_SKIPPED: status = take_skipped(f, payload, bytes, error); break;
        case HDF5_CONFIG:
            if (!f->classes.list) status = hdf5_classes_read((const char *)payload, bytes, &f->classes, error);
            break;
        case HDF5_END: break;
        default: return broken(error);
        }
    }
    return status;
}

/* ---------------------------------------------------------------- opening */

static const char *variant_of(const hdf5_file *f)
{
    for (size_t i = 0; i < f->base.tensor_count; i++)
        if (!strncmp(f->base.tensors[i].name, "model_weights/", 14)) return "keras-h5";
    for (size_t i = 0; i < f->base.skipped_count; i++)
        if (!strncmp(f->base.skipped[i].name, "model_weights/", 14)) return "keras-h5";
    for (size_t i = 0; i < f->base.tensor_count; i++)
        if (strstr(f->base.tensors[i].name, "/vars/")) return "keras-weights-h5";
    return "hdf5";
}

static fpr_status open_whole(hdf5_file *f, const char *variant, const source_options *options, source **out,
                             fpr_error *error)
{
    hdf5_process *p = NULL;
    const volatile int *cancel = options ? options->cancel : NULL;
    const file_source *data = f->files[f->data_file];
    const uint64_t size = f->data_bytes ? f->data_bytes : file_source_size(data);
    fpr_status status = hdf5_start(data, f->data_offset, size, options && options->allow_expand, &p, error);
    if (!status) status = take_all(f, p, cancel, error);
    hdf5_stop(p);
    if (!status && f->spool >= 0) status = as_source(f->spool, &f->files[2], error);
    if (!status && !f->base.tensor_count && !f->base.skipped_count)
        status = base_fail(error, FPR_BAD_HEADER, "is HDF5 without any dataset");
    if (!status) status = source_check_unique(&f->base, error);
    if (status) {
        close_file(&f->base);
        return status;
    }
    f->base.variant = variant ? variant : variant_of(f);
    f->base.key = strcmp(f->base.variant, "keras-h5") ? "" : "model_weights";
    f->base.files = f->files; /* temporary files are nobody else's business */
    f->base.file_count = 1;
    *out = &f->base;
    return FPR_OK;
}

static hdf5_file *new_file(file_source *file, fpr_error *error)
{
    hdf5_file *f = base_calloc(1, sizeof *f);
    if (!f) {
        file_source_close(file);
        base_no_memory(error, sizeof *f);
        return NULL;
    }
    f->base.format = &source_hdf5;
    f->files[0] = file;
    f->extracted = f->spool = -1;
    return f;
}

static fpr_status open_hdf5(file_source *file, const source_options *options, source **out, fpr_error *error)
{
    *out = NULL;
    hdf5_file *f = new_file(file, error);
    return f ? open_whole(f, NULL, options, out, error) : FPR_NO_MEMORY;
}

/* What a deflated member of the archive holds, in a file of its own. */
static fpr_status extract(hdf5_file *f, zip_archive *zip, const zip_member *m, const volatile int *cancel, fpr_error *error)
{
    const int fd = f->extracted = open_unnamed();
    uint8_t *buffer = base_alloc(COPY_BYTES, 1);
    fpr_status status = !buffer ? base_no_memory(error, COPY_BYTES) : FPR_OK;
    if (!status && fd < 0) status = base_fail_errno(error, FPR_IO, errno, "cannot make a temporary file");
    for (uint64_t at = 0; !status && at < m->size;) {
        const uint64_t n = m->size - at < COPY_BYTES ? m->size - at : COPY_BYTES;
        if (cancel && *cancel) status = base_fail(error, FPR_CANCELLED, "cancelled");
        if (!status) status = zip_read(zip, m, at, n, buffer, error);
        if (!status) status = append(fd, buffer, (size_t)n, error);
        at += n;
    }
    if (!status) status = as_source(fd, &f->files[1], error);
    base_free(buffer);
    f->data_file = 1;
    return status;
}

static fpr_status read_config(hdf5_file *f, zip_archive *zip, fpr_error *error)
{
    const zip_member *m = zip_find(zip, "config.json", 11);
    if (!m || m->size > HDF5_RECORD_MOST) return FPR_OK;
    char *text = base_alloc(m->size, 1);
    if (!text) return base_no_memory(error, m->size);
    fpr_status status = zip_read(zip, m, 0, m->size, text, error);
    if (!status) status = hdf5_classes_read(text, (size_t)m->size, &f->classes, error);
    base_free(text);
    return status;
}

fpr_status hdf5_open_keras(file_source *file, zip_archive *zip, const source_options *options, source **out,
                           fpr_error *error)
{
    *out = NULL;
    const zip_member *m = zip_find(zip, "model.weights.h5", 16);
    hdf5_file *f = new_file(file, error);
    fpr_status status = f ? FPR_OK : FPR_NO_MEMORY;
    if (!status) status = read_config(f, zip, error);
    if (!status && m->deflated) status = extract(f, zip, m, options ? options->cancel : NULL, error);
    if (!status && !m->deflated) f->data_offset = m->data, f->data_bytes = m->size;
    zip_close(zip);
    if (status) {
        if (f) close_file(&f->base);
        return status;
    }
    return open_whole(f, "keras", options, out, error);
}

static bool probe(const uint8_t *head, size_t n) { return n >= 8 && !memcmp(head, "\x89HDF\r\n\x1a\n", 8); }

bool hdf5_has_user_block(const file_source *file)
{
    uint8_t head[8];
    const uint64_t size = file_source_size(file);
    for (uint64_t at = 512; at < size && size - at >= sizeof head && at <= size / 2; at *= 2)
        if (!file_source_read(file, at, head, sizeof head, NULL) && probe(head, sizeof head)) return true;
    return false;
}

const source_format source_hdf5 = {.name = "hdf5", .probe = probe, .open = open_hdf5, .read = read_tensor,
                                   .close = close_file};

/* Which format a file has, and the bytes of its tensors. */
#include "source/archive.h"
#include "source/foreign.h"
#include "source/hdf5.h"

#include <stdio.h>

#define READ_CHUNK (1u << 20)
#define HEAD_BYTES 64

/* A new format is a row here. What none of them knows is read as safetensors, which begins with a number. */
static const source_format *const formats[] = {
    &source_archive,
    &source_hdf5,
    &source_torch,
    &source_npz,
    &source_safetensors, &source_onnx,
};

/* Says first what the file was taken for: such a file has no signature of its own. */
static void name_format(fpr_error *error, const char *name)
{
    if (!error) return;
    char found[sizeof error->message];
    memcpy(found, error->message, sizeof found);
    snprintf(error->message, sizeof error->message, "%s: %.200s", name, found);
}

fpr_status source_open(const char *path, const source_options *options, source **out, fpr_error *error)
{
    *out = NULL;
    file_source *file = NULL;
    uint8_t head[HEAD_BYTES];
    fpr_status status = file_source_open(path, &file, error);
    uint64_t n = status ? 0 : file_source_size(file);
    if (n > sizeof head) n = sizeof head;
    if (!status) status = file_source_read(file, 0, head, n, error);
    if (status) {
        file_source_close(file);
        return status;
    }
    const source_format *format = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (formats[i]->probe && formats[i]->probe(head, (size_t)n)) {
            format = formats[i];
            break;
        }
    if (!format && (n < 9 || head[8] != '{') && hdf5_has_user_block(file)) format = &source_hdf5;
    if (!format) {
        status = foreign_refuse(file, error);
        format = &source_safetensors;
    }
    if (!status) {
        status = format->open(file, options, out, error);
        if (status == FPR_BAD_HEADER && format == &source_onnx) name_format(error, "no readable ONNX model");
        return status;
    }
    file_source_close(file);
    return status;
}

void source_close(source *s)
{
    if (s) s->format->close(s);
}

/* ---------------------------------------------------------------- bytes that stand in a file as they are */

typedef struct read_context {
    const file_source *file;
    uint64_t offset, bytes;
    uint8_t *dst;
    fpr_error *errors;
} read_context;

static void read_chunk(void *context, size_t i, unsigned worker)
{
    (void)worker;
    const read_context *c = context;
    if (base_check_cancelled(&c->errors[i])) return;
    uint64_t begin = (uint64_t)i * READ_CHUNK, n = c->bytes - begin < READ_CHUNK ? c->bytes - begin : READ_CHUNK;
    file_source_read(c->file, c->offset + begin, c->dst + begin, n, &c->errors[i]);
}

fpr_status source_read_file(const file_source *file, uint64_t offset, uint64_t bytes, unsigned threads, uint8_t *dst,
                            fpr_error *error)
{
    size_t chunks = (size_t)((bytes + READ_CHUNK - 1) / READ_CHUNK);
    if (chunks <= 1) return file_source_read(file, offset, dst, bytes, error);
    read_context c = {file, offset, bytes, dst, base_calloc(chunks, sizeof *c.errors)};
    if (!c.errors) return base_no_memory(error, chunks * sizeof *c.errors);
    base_parallel(threads, chunks, read_chunk, &c);
    const fpr_status status = base_first_error(c.errors, chunks, error);
    base_free(c.errors);
    return status;
}

fpr_status source_read(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error)
{
    const source_tensor *t = &s->tensors[tensor];
    if (t->plain) return source_read_file(s->files[t->file], t->offset, t->bytes, threads, dst, error);
    if (t->packed) return s->format->decode(s, tensor, threads, dst, error);
    return s->format->read(s, tensor, 0, t->bytes, dst, error);
}

bool source_is_digits(const file_value *text)
{
    return file_value_is(text, FILE_STRING) && text->bytes == SOURCE_SET_DIGITS &&
           strspn(text->text, "0123456789abcdef") == SOURCE_SET_DIGITS;
}

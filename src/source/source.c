/* Which format a file has, and the bytes of its tensors. */
#include "source/archive.h"
#include "source/foreign.h"
#include "source/hdf5.h"

#include <stdio.h>

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

fpr_status source_read(const source *s, size_t tensor, unsigned threads, void *dst, fpr_error *error)
{
    const source_tensor *t = &s->tensors[tensor];
    if (t->plain) return source_read_file(s->files[t->file], t->offset, t->bytes, threads, dst, error);
    if (t->packed) return s->format->decode(s, tensor, threads, dst, error);
    return s->format->read(s, tensor, 0, t->bytes, dst, error);
}

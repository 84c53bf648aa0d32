/* What a source holds, one JSON object a line on standard output, and every tensor's bytes, one after the other, on
 * descriptor 3 where it is open: tool_source FILE. For scripts that compare with a format's own library. */
#include "source/source.h"

#include <stdio.h>
#include <unistd.h>

static const source_format *const formats[] = {&source_onnx};
static const char *const kinds[] = {"unknown", "conv", "depthwise", "transpose", "separable", "other"};

static void print_tensor(const source_tensor *t, file_text *line)
{
    line->count = 0;
    file_text_format(line, "{\"name\":");
    file_text_string(line, t->name, t->name_bytes);
    file_text_format(line, ",\"dtype\":\"%s\",\"shape\":[", fpr_dtype_name(t->dtype));
    for (unsigned i = 0; i < t->rank; i++) file_text_format(line, "%s%llu", i ? "," : "", (unsigned long long)t->shape[i]);
    file_text_format(line, "],\"bytes\":%llu,\"kind\":\"%s\",\"group\":%llu,\"depth\":%lld}", (unsigned long long)t->bytes,
                     kinds[t->kind], (unsigned long long)t->groups, (long long)t->depth);
    printf("%.*s\n", (int)line->count, line->bytes);
}

static fpr_status copy_bytes(const source *s, size_t tensor, fpr_error *error)
{
    static uint8_t block[1u << 16];
    uint64_t bytes = s->tensors[tensor].bytes;
    fpr_status status = FPR_OK;
    for (uint64_t at = 0; at < bytes && !status; at += sizeof block) {
        uint64_t count = bytes - at < sizeof block ? bytes - at : sizeof block;
        status = s->format->read(s, tensor, at, count, block, error);
        if (!status && write(3, block, (size_t)count) != (ssize_t)count) break;
    }
    return status;
}

int main(int argc, char **argv)
{
    fpr_error error = {0};
    source_options options = {0};
    source *s = NULL;
    file_source *file = NULL;
    uint8_t head[64];
    fpr_status status = argc > 1 ? file_source_open(argv[1], &file, &error) : FPR_USAGE;
    size_t n = file && file_source_size(file) < sizeof head ? (size_t)file_source_size(file) : sizeof head;
    if (!status) status = file_source_read(file, 0, head, n, &error);
    const source_format *format = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && !status; i++)
        if (formats[i]->probe(head, n)) format = formats[i];
    if (!status && !format) status = base_fail(&error, FPR_BAD_HEADER, "no format that is known");
    if (!format) file_source_close(file);
    else if (!status) status = format->open(file, &options, &s, &error);
    file_text line = {0};
    for (size_t i = 0; s && i < s->tensor_count; i++) print_tensor(&s->tensors[i], &line);
    for (size_t i = 0; s && i < s->skipped_count; i++) printf("{\"skipped\":\"%s\",\"why\":\"%s\"}\n", s->skipped[i].name, s->skipped[i].why);
    file_text_free(&line);
    for (size_t i = 0; s && i < s->tensor_count && !status; i++) status = copy_bytes(s, i, &error);
    if (s) s->format->close(s);
    if (status) fprintf(stderr, "%s: %s (%s)\n", error.file, error.message, error.where);
    if (base_allocations_alive()) fprintf(stderr, "%ld allocations alive\n", base_allocations_alive());
    return base_allocations_alive() ? 99 : fpr_exit_status(status);
}

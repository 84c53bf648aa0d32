/* What formats read with: bytes that stand in a file as they are, and 16 digits. */
#include "source/source.h"

#define READ_CHUNK (1u << 20)

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

bool source_is_digits(const file_value *text)
{
    return file_value_is(text, FILE_STRING) && text->bytes == SOURCE_SET_DIGITS &&
           strspn(text->text, "0123456789abcdef") == SOURCE_SET_DIGITS;
}

/* The verdict on the safetensors files whose paths stand on standard input, one a line: "ok TENSORS METADATA" or
 * "STATUS OFFSET MESSAGE TENSOR", the tensor as a JSON string. With --rewrite, also whether the writer reproduces the header. For
 * tests/header_differential.py. */
#include "file/file.h"

#include <stdio.h>

static const char *rewritten(const file_header *header, const char *raw)
{
    file_text text = {0};
    bool same = file_header_write(header, &text, NULL) == FPR_OK && text.count == header->header_bytes &&
                memcmp(text.bytes, raw, text.count) == 0;
    file_text_free(&text);
    return same ? " same" : " other";
}

static void judge(const char *path, bool rewrite)
{
    file_source *source;
    file_header header;
    char *raw = NULL;
    fpr_error error;
    fpr_status status = file_source_open(path, &source, &error);
    if (!status) status = file_header_read(source, &header, &raw, &error);
    if (status) {
        file_text name = {0};
        file_text_string(&name, error.where, strlen(error.where)); /* it may hold a new line */
        printf("%d %lld %s %.*s\n", (int)status, (long long)error.offset, error.message, (int)name.count, name.bytes);
        file_text_free(&name);
    } else {
        printf("ok %zu %zu%s\n", header.tensor_count, header.metadata_count, rewrite ? rewritten(&header, raw) : "");
        base_free(raw);
        file_header_free(&header);
    }
    file_source_close(source);
}

int main(int argc, char **argv)
{
    char line[4096];
    bool rewrite = argc > 1 && strcmp(argv[1], "--rewrite") == 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        judge(line, rewrite);
    }
    return base_allocations_alive() != 0;
}

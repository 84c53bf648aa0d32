/* Buffered output through the caller's write function, and the reading of UTF-8 that both renderers need. */
#include "report/report.h"

fpr_status report_open(report_out *out, fpr_write write, void *context, fpr_error *error)
{
    *out = (report_out){.write = write, .context = context, .bytes = base_alloc(REPORT_BUFFER, 1)};
    return out->bytes ? FPR_OK : base_no_memory(error, REPORT_BUFFER);
}

static void flush(report_out *out)
{
    if (out->used && !out->failed && out->write(out->context, out->bytes, out->used) != 0) out->failed = FPR_IO;
    out->used = 0;
}

fpr_status report_close(report_out *out, fpr_error *error)
{
    flush(out);
    base_free(out->bytes);
    out->bytes = NULL;
    if (out->failed == FPR_IO) return base_fail(error, FPR_IO, "the report could not be written");
    return out->failed ? base_fail(error, out->failed, "out of memory while making the report") : FPR_OK;
}

char *report_reserve(report_out *out, size_t count)
{
    if (out->used + count > REPORT_BUFFER) flush(out);
    return out->failed ? NULL : out->bytes + out->used;
}

void report_bytes(report_out *out, const char *bytes, size_t count)
{
    while (count && !out->failed) {
        if (out->used == REPORT_BUFFER) flush(out);
        size_t part = REPORT_BUFFER - out->used < count ? REPORT_BUFFER - out->used : count;
        memcpy(out->bytes + out->used, bytes, part);
        out->used += part;
        bytes += part;
        count -= part;
    }
}

void report_text(report_out *out, const char *text) { report_bytes(out, text, strlen(text)); }

unsigned report_utf8(const char *text, size_t count, uint32_t *code)
{
    const unsigned char *b = (const unsigned char *)text;
    if (!count) return 0;
    if (b[0] < 0x80) return *code = b[0], 1;
    unsigned length = b[0] >= 0xF0 ? 4 : b[0] >= 0xE0 ? 3 : 2;
    if (b[0] < 0xC2 || b[0] > 0xF4 || length > count) return 0;
    uint32_t value = b[0] & (0xFFu >> (length + 1));
    for (unsigned i = 1; i < length; i++) {
        if ((b[i] & 0xC0) != 0x80) return 0;
        value = value << 6 | (b[i] & 0x3F);
    }
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return 0;
    return *code = value, length;
}

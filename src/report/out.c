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

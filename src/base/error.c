/* Errors: the first one wins, later ones only add where it happened. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

FPR_API const char *fpr_version(void) { return FPR_VERSION_STRING; }

FPR_API int fpr_exit_status(fpr_status status) { return (int)status / 10; }

/* Keeps the tail of a long text: the end of a path or tensor name tells more than its beginning. */
static void keep_tail(char *dst, size_t size, const char *text)
{
    size_t n = strlen(text);
    if (n >= size) {
        text += n - (size - 1);
        n = size - 1;
        while ((*text & 0xc0) == 0x80) { /* the rest of a UTF-8 character that was cut */
            text++;
            n--;
        }
    }
    memcpy(dst, text, n + 1);
}

static void begin(fpr_error *error, fpr_status status)
{
    memset(error, 0, sizeof *error);
    error->status = status;
    error->offset = FPR_NO_OFFSET;
}

fpr_status base_fail(fpr_error *error, fpr_status status, const char *format, ...)
{
    if (error) {
        begin(error, status);
        va_list list;
        va_start(list, format);
        vsnprintf(error->message, sizeof error->message, format, list);
        va_end(list);
    }
    return status;
}

fpr_status base_fail_errno(fpr_error *error, fpr_status status, int errnum, const char *format, ...)
{
    if (error) {
        begin(error, status);
        va_list list;
        va_start(list, format);
        int n = vsnprintf(error->message, sizeof error->message, format, list);
        va_end(list);
        if (n >= 0 && (size_t)n + 3 < sizeof error->message) {
            char text[128];
            /* GNU strerror_r: thread-safe, may return static text instead of filling the buffer. */
            snprintf(error->message + n, sizeof error->message - (size_t)n, ": %s",
                     strerror_r(errnum, text, sizeof text));
        }
    }
    return status;
}

fpr_status base_no_memory(fpr_error *error, uint64_t bytes)
{
    return base_fail(error, FPR_NO_MEMORY, "out of memory (%llu bytes wanted)", (unsigned long long)bytes);
}

fpr_status base_first_error(const fpr_error *errors, size_t count, fpr_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (!errors[i].status) continue;
        if (error) *error = errors[i];
        return errors[i].status;
    }
    return FPR_OK;
}

void base_error_in_file(fpr_error *error, const char *path)
{
    if (error && !error->file[0]) keep_tail(error->file, sizeof error->file, path);
}

void base_error_in_tensor(fpr_error *error, const char *name)
{
    if (error && !error->where[0]) keep_tail(error->where, sizeof error->where, name);
}

void base_error_at(fpr_error *error, uint64_t offset)
{
    if (error && error->offset == FPR_NO_OFFSET) error->offset = offset;
}

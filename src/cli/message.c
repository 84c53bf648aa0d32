/* The one line that every failure prints, and standard output, which may fail too. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* Every line begins with the program's name and, where one is at fault, the file's. */
static void begin_line(const char *file)
{
    char name[SAFE_NAME];
    fflush(stdout);
    fputs("filterprune: ", stderr);
    if (file && file[0]) fprintf(stderr, "%s: ", safe_name(name, file));
}

int fail(const fpr_error *error, const char *file)
{
    char text[SAFE_NAME], where[SAFE_NAME];
    if (error->status == FPR_CANCELLED) {
        begin_line(file);
        fputs("interrupted, nothing was written\n", stderr);
        return EXIT_MACHINE;
    }
    begin_line(error->file[0] ? error->file : error->status == FPR_USAGE ? NULL : file);
    fputs(safe_name(text, error->message[0] ? error->message : "failed"), stderr);
    const char *between = " (";
    if (error->where[0]) {
        fprintf(stderr, "%stensor %s", between, safe_name(where, error->where));
        between = ", ";
    }
    if (error->offset != FPR_NO_OFFSET) {
        fprintf(stderr, "%sbyte %llu", between, (unsigned long long)error->offset);
        between = ", ";
    }
    fputs(between[0] == ',' ? ")\n" : "\n", stderr);
    int status = fpr_exit_status(error->status);
    return status ? status : EXIT_MACHINE;
}

int fail_text(int exit_status, const char *file, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    begin_line(file);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return exit_status;
}

int fail_usage(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    begin_line(NULL);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

int fail_memory(void) { return fail_text(EXIT_MACHINE, NULL, "out of memory"); }

void warn(const char *file, const char *text)
{
    char safe[SAFE_NAME];
    fflush(stdout);
    fputs("filterprune: warning: ", stderr);
    if (file) fprintf(stderr, "%s: ", safe_name(safe, file));
    fprintf(stderr, "%s\n", safe_name(safe, text));
}

/* Why the first write that failed did; ferror() alone would not tell. */
static int write_problem;

int finish_stdout(int exit_status)
{
    if (fflush(stdout) != 0 && !write_problem) write_problem = errno;
    if (!write_problem && !ferror(stdout)) return exit_status;
    if (!write_problem) write_problem = EIO;
    /* Whoever reads has seen enough, as `| head` has. */
    if (write_problem == EPIPE) return exit_status;
    return fail_text(EXIT_MACHINE, "standard output", "cannot write: %s", strerror(write_problem));
}

int write_to_stream(void *stream, const void *bytes, size_t count)
{
    if (fwrite(bytes, 1, count, stream) == count) return 0;
    if (stream == stdout && !write_problem) write_problem = errno;
    return -1;
}

/* Report files and pages: refused before the work begins, written whole or not at all. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int page_check(const char *path, const char *input, bool force)
{
    struct stat is, in;
    if (ends_with(path, ".safetensors")) return fail_text(EXIT_REFUSED, path, "this is the name of a checkpoint");
    if (stat(path, &is) != 0) {
        /* A link to nothing is in the way as well. */
        if (errno == ENOENT && lstat(path, &is) != 0) return EXIT_DONE;
        return fail_text(errno == ENOENT ? EXIT_REFUSED : EXIT_MACHINE, path, "cannot be written: %s", strerror(errno));
    }
    if (!S_ISREG(is.st_mode)) return fail_text(EXIT_REFUSED, path, "exists and is not a regular file");
    if (input && stat(input, &in) == 0 && in.st_dev == is.st_dev && in.st_ino == is.st_ino)
        return fail_text(EXIT_REFUSED, path, "this is the input");
    if (!force) return fail_text(EXIT_REFUSED, path, "exists (--force overwrites it)");
    return EXIT_DONE;
}

int page_open(page *p, const char *path, const char *input, bool force)
{
    memset(p, 0, sizeof *p);
    int status = page_check(path, input, force);
    if (status) return status;
    p->force = force;
    /* Through a link, the file itself is replaced and the link stays. */
    p->path = realpath(path, NULL);
    if (!p->path) p->path = join_text(path, "", "");
    if (p->path) p->temporary = join_text(p->path, ".XXXXXX", "");
    if (!p->temporary) {
        page_abandon(p);
        return fail_memory();
    }
    int fd = mkostemp(p->temporary, O_CLOEXEC);
    if (fd < 0) {
        int problem = errno;
        free(p->temporary);
        p->temporary = NULL;
        page_abandon(p);
        return fail_text(EXIT_MACHINE, path, "cannot be written: %s", strerror(problem));
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask);
    p->stream = fdopen(fd, "w");
    if (!p->stream) {
        close(fd);
        page_abandon(p);
        return fail_memory();
    }
    return EXIT_DONE;
}

void page_abandon(page *p)
{
    if (p->stream) fclose(p->stream);
    if (p->temporary) unlink(p->temporary);
    free(p->temporary);
    free(p->path);
    memset(p, 0, sizeof *p);
}

static void sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(directory);
}

int page_commit(page *p)
{
    /* Errors of buffered writes show here. */
    bool written = fflush(p->stream) == 0 && !ferror(p->stream) && fsync(fileno(p->stream)) == 0;
    int problem = errno;
    if (fclose(p->stream) != 0 && written) written = false, problem = errno;
    p->stream = NULL;
    if (written && !p->force && renameat2(AT_FDCWD, p->temporary, AT_FDCWD, p->path, RENAME_NOREPLACE) != 0) {
        if (errno == EEXIST) {
            int status = fail_text(EXIT_REFUSED, p->path, "exists (--force overwrites it)");
            page_abandon(p);
            return status;
        }
        /* A file system that cannot promise it: the check at the beginning must do. */
        if (errno == EINVAL || errno == ENOSYS) p->force = true;
        else written = false, problem = errno;
    }
    if (written && p->force && rename(p->temporary, p->path) != 0) written = false, problem = errno;
    if (!written) {
        int status = fail_text(EXIT_MACHINE, p->path, "cannot be written: %s", strerror(problem));
        page_abandon(p);
        return status;
    }
    sync_directory(p->path);
    free(p->temporary);
    p->temporary = NULL;
    page_abandon(p);
    return EXIT_DONE;
}

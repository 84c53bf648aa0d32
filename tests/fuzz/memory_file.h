/* Files that are nothing but bytes in memory. What a target hands over is read through file_source as any file is, but a
 * system call takes longer than most inputs do: open, stat, fstat, pread and close are answered here for the paths of
 * memory_path, and go to the kernel for every other. The bytes are not copied, so that AddressSanitizer sees a read past
 * their end. Included once in a program. */
#ifndef FPR_TESTS_MEMORY_FILE_H
#define FPR_TESTS_MEMORY_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEMORY_FILES 2
#define MEMORY_FD 1000000000 /* and above: no process has as many */
/* No file lies beside it: a model that asks for external data is answered as by the kernel. */
#define MEMORY_FOLDER "/proc/self/fd/memory"

static struct {
    const uint8_t *bytes;
    size_t size;
} memory_files[MEMORY_FILES];

/* The path under which these bytes are read, until others take their place. */
static inline const char *memory_path(unsigned which, const void *bytes, size_t size)
{
    static const char *const paths[MEMORY_FILES] = {MEMORY_FOLDER "0", MEMORY_FOLDER "1"};
    memory_files[which].bytes = bytes;
    memory_files[which].size = size;
    return paths[which];
}

static int memory_fd(const char *path)
{
    const size_t n = sizeof MEMORY_FOLDER - 1;
    if (strncmp(path, MEMORY_FOLDER, n) != 0 || path[n] < '0' || path[n] >= '0' + MEMORY_FILES || path[n + 1]) return -1;
    return MEMORY_FD + path[n] - '0';
}

static int memory_stat(int fd, struct stat *st)
{
    *st = (struct stat){.st_mode = S_IFREG | 0600, .st_nlink = 1, .st_ino = (ino_t)fd, .st_blksize = 4096,
                        .st_size = (off_t)memory_files[fd - MEMORY_FD].size};
    return 0;
}

int open(const char *path, int flags, ...)
{
    unsigned mode = 0;
    const int fd = memory_fd(path);
    if (fd >= 0) return fd;
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, unsigned);
        va_end(list);
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int stat(const char *path, struct stat *st)
{
    const int fd = memory_fd(path);
    return fd >= 0 ? memory_stat(fd, st) : (int)syscall(SYS_newfstatat, AT_FDCWD, path, st, 0);
}

int fstat(int fd, struct stat *st)
{
    return fd >= MEMORY_FD ? memory_stat(fd, st) : (int)syscall(SYS_fstat, fd, st);
}

int posix_fadvise(int fd, off_t from, off_t count, int advice)
{
    return fd >= MEMORY_FD || syscall(SYS_fadvise64, fd, from, count, advice) == 0 ? 0 : errno;
}

ssize_t pread(int fd, void *to, size_t count, off_t from)
{
    if (fd < MEMORY_FD) return syscall(SYS_pread64, fd, to, count, from);
    const size_t size = memory_files[fd - MEMORY_FD].size, at = (size_t)from;
    if (at >= size) return 0;
    if (count > size - at) count = size - at;
    memcpy(to, memory_files[fd - MEMORY_FD].bytes + at, count);
    return (ssize_t)count;
}

int close(int fd) { return fd >= MEMORY_FD ? 0 : (int)syscall(SYS_close, fd); }

#endif

/* Makes the n-th call of a function of the C library fail: a library for LD_PRELOAD, driven by faults.py and races.py.
 *
 *   FAULT_CALL   open read write fsync rename link stat close random mkdir chmod readlink unlink, or malloc
 *   FAULT_N      which call of that kind, counted from 1
 *   FAULT_ERRNO  what it fails with; 0: a read or write moves only one byte (after a thousand: half of what is asked)
 *   FAULT_KEEP   set: all later calls of that kind fail as well (a full disk stays full)
 *   FAULT_STOP   set: the process stops (SIGSTOP) before that call instead, which then succeeds
 *   FAULT_HIT    a file that is created when the call was reached
 *   FAULT_ROOT   only calls on files below this folder count; for malloc: only calls made by the program itself and by
 *                the library it links for its own work (zstd)
 *
 * Standard streams that the program opens with fdopen go through write() here, because the C library's own calls
 * inside stdio cannot be replaced. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *call, *root, *hit_file;
static size_t root_bytes;
static long wanted;
static int error_number;
static bool keep, stop;
static atomic_long seen;
static atomic_bool ready;

#define RANGES 16
static struct { uintptr_t begin, end; } ranges[RANGES];
static int range_count;

static int add_ranges(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    bool ours = !info->dlpi_name[0] || strstr(info->dlpi_name, "libzstd");
    for (int i = 0; ours && i < info->dlpi_phnum && range_count < RANGES; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
        ranges[range_count].begin = info->dlpi_addr + p->p_vaddr;
        ranges[range_count++].end = info->dlpi_addr + p->p_vaddr + p->p_memsz;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *n = getenv("FAULT_N"), *number = getenv("FAULT_ERRNO");
    call = getenv("FAULT_CALL");
    root = getenv("FAULT_ROOT");
    hit_file = getenv("FAULT_HIT");
    root_bytes = root ? strlen(root) : 0;
    wanted = n ? atol(n) : 0;
    error_number = number ? atoi(number) : 0;
    keep = getenv("FAULT_KEEP") != NULL;
    stop = getenv("FAULT_STOP") != NULL;
    dl_iterate_phdr(add_ranges, NULL);
    if (call && wanted > 0) atomic_store(&ready, true);
}

/* ---- deciding */

static void tell_hit(void)
{
    if (!hit_file) return;
    long fd = syscall(SYS_openat, AT_FDCWD, hit_file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) syscall(SYS_close, fd);
}

/* Counts a call of this kind; true when it must fail. */
static bool fails(const char *kind)
{
    if (!atomic_load_explicit(&ready, memory_order_relaxed) || strcmp(kind, call)) return false;
    long n = atomic_fetch_add(&seen, 1) + 1;
    if (n < wanted || (n > wanted && !keep)) return false;
    if (n == wanted) tell_hit();
    if (stop) {
        raise(SIGSTOP);
        return false;
    }
    errno = error_number;
    return true;
}

static bool is_below(const char *path) { return root && !strncmp(path, root, root_bytes); }

static bool is_fd_below(int fd)
{
    char name[40], path[PATH_MAX];
    if (!atomic_load_explicit(&ready, memory_order_relaxed)) return false;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, name, path, sizeof path - 1);
    if (n < 0) return false;
    path[n] = 0;
    return is_below(path);
}

/* Where a descriptor leads costs a system call, which other kinds of call are spared. */
static bool fails_on(const char *kind, int fd)
{
    return atomic_load_explicit(&ready, memory_order_relaxed) && !strcmp(kind, call) && is_fd_below(fd) && fails(kind);
}

static bool is_path_below(int dir, const char *path)
{
    return path && (path[0] == '/' || dir == AT_FDCWD ? is_below(path) : is_fd_below(dir));
}

/* The real function. */
#define NEXT(name) ((__typeof__(&name))next(#name))
static void *next(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);
    if (!p) abort();
    return p;
}

/* ---- files */

#define MODE_OF(flags, mode)                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode = va_arg(list, mode_t);                                                                                   \
        va_end(list);                                                                                                  \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    if (is_path_below(AT_FDCWD, path) && fails("open")) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    if (is_path_below(AT_FDCWD, path) && fails("open")) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* What a fortified program calls where the flags show that nothing is created. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open(path, flags); }

int openat(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    if (is_path_below(dir, path) && fails("open")) return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    if (is_path_below(dir, path) && fails("open")) return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int mkostemp(char *path, int flags)
{
    if (is_path_below(AT_FDCWD, path) && fails("open")) return -1;
    return NEXT(mkostemp)(path, flags);
}

int mkostemp64(char *path, int flags)
{
    if (is_path_below(AT_FDCWD, path) && fails("open")) return -1;
    return NEXT(mkostemp)(path, flags);
}

/* A short transfer: one byte of what was asked; where thousands have been short, half of it. */
static size_t cut(size_t count, bool failing)
{
    if (!failing || count < 2) return count;
    return atomic_load(&seen) - wanted < 1000 ? 1 : count / 2;
}

ssize_t read(int fd, void *dst, size_t count)
{
    bool failing = fails_on("read", fd);
    if (failing && error_number) return -1;
    return syscall(SYS_read, fd, dst, cut(count, failing));
}

ssize_t pread(int fd, void *dst, size_t count, off_t offset)
{
    bool failing = fails_on("read", fd);
    if (failing && error_number) return -1;
    return syscall(SYS_pread64, fd, dst, cut(count, failing), offset);
}

ssize_t pread64(int fd, void *dst, size_t count, off64_t offset) { return pread(fd, dst, count, offset); }

ssize_t write(int fd, const void *src, size_t count)
{
    bool failing = fails_on("write", fd);
    if (failing && error_number) return -1;
    return syscall(SYS_write, fd, src, cut(count, failing));
}

ssize_t pwrite(int fd, const void *src, size_t count, off_t offset)
{
    bool failing = fails_on("write", fd);
    if (failing && error_number) return -1;
    return syscall(SYS_pwrite64, fd, src, cut(count, failing), offset);
}

ssize_t pwrite64(int fd, const void *src, size_t count, off64_t offset) { return pwrite(fd, src, count, offset); }

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    bool failing = fails_on("write", fd);
    if (failing && error_number) return -1;
    for (int i = 0; failing && i < count; i++)
        if (parts[i].iov_len) return syscall(SYS_write, fd, parts[i].iov_base, cut(parts[i].iov_len, true));
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    bool failing = fails_on("write", fd);
    if (failing && error_number) return -1;
    for (int i = 0; failing && i < count; i++)
        if (parts[i].iov_len) return syscall(SYS_pwrite64, fd, parts[i].iov_base, cut(parts[i].iov_len, true), offset);
    return NEXT(pwritev)(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    return pwritev(fd, parts, count, offset);
}

int fsync(int fd) { return fails_on("fsync", fd) ? -1 : (int)syscall(SYS_fsync, fd); }

int close(int fd)
{
    bool failing = fails_on("close", fd);
    int result = (int)syscall(SYS_close, fd); /* closed even when it fails, as on Linux */
    if (failing) errno = error_number;
    return failing ? -1 : result;
}

int rename(const char *from, const char *to)
{
    if (is_path_below(AT_FDCWD, to) && fails("rename")) return -1;
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_dir, const char *from, int dir, const char *to)
{
    if (is_path_below(dir, to) && fails("rename")) return -1;
    return (int)syscall(SYS_renameat2, from_dir, from, dir, to, 0);
}

int renameat2(int from_dir, const char *from, int dir, const char *to, unsigned flags)
{
    if (is_path_below(dir, to) && fails("rename")) return -1;
    return (int)syscall(SYS_renameat2, from_dir, from, dir, to, flags);
}

int linkat(int from_dir, const char *from, int dir, const char *to, int flags)
{
    if (is_path_below(dir, to) && fails("link")) return -1;
    return (int)syscall(SYS_linkat, from_dir, from, dir, to, flags);
}

int unlink(const char *path)
{
    if (is_path_below(AT_FDCWD, path) && fails("unlink")) return -1;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int mkdir(const char *path, mode_t mode)
{
    if (is_path_below(AT_FDCWD, path) && fails("mkdir")) return -1;
    return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int fchmod(int fd, mode_t mode) { return fails_on("chmod", fd) ? -1 : (int)syscall(SYS_fchmod, fd, mode); }

ssize_t readlink(const char *path, char *dst, size_t size)
{
    if (is_path_below(AT_FDCWD, path) && fails("readlink")) return -1;
    return syscall(SYS_readlinkat, AT_FDCWD, path, dst, size);
}

int stat(const char *path, struct stat *st)
{
    return is_path_below(AT_FDCWD, path) && fails("stat") ? -1 : NEXT(fstatat)(AT_FDCWD, path, st, 0);
}
int stat64(const char *path, struct stat64 *st)
{
    return is_path_below(AT_FDCWD, path) && fails("stat") ? -1 : NEXT(fstatat64)(AT_FDCWD, path, st, 0);
}
int lstat(const char *path, struct stat *st)
{
    return is_path_below(AT_FDCWD, path) && fails("stat") ? -1
                                                          : NEXT(fstatat)(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
int lstat64(const char *path, struct stat64 *st)
{
    return is_path_below(AT_FDCWD, path) && fails("stat") ? -1
                                                          : NEXT(fstatat64)(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
int fstat(int fd, struct stat *st) { return fails_on("stat", fd) ? -1 : NEXT(fstat)(fd, st); }
int fstat64(int fd, struct stat64 *st) { return fails_on("stat", fd) ? -1 : NEXT(fstat64)(fd, st); }
int fstatat(int dir, const char *path, struct stat *st, int flags)
{
    return is_path_below(dir, path) && fails("stat") ? -1 : NEXT(fstatat)(dir, path, st, flags);
}
int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
    return is_path_below(dir, path) && fails("stat") ? -1 : NEXT(fstatat64)(dir, path, st, flags);
}

ssize_t getrandom(void *dst, size_t count, unsigned flags)
{
    return fails("random") ? -1 : syscall(SYS_getrandom, dst, count, flags);
}

/* ---- streams */

#define STREAMS 8
static struct { FILE *stream; int fd; } streams[STREAMS];

static ssize_t stream_write(void *cookie, const char *bytes, size_t count)
{
    /* As stdio does: all of it or an error. */
    size_t done = 0;
    while (done < count) {
        ssize_t n = write((int)(intptr_t)cookie, bytes + done, count - done);
        if (n <= 0) return 0;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int stream_close(void *cookie)
{
    for (int i = 0; i < STREAMS; i++)
        if (streams[i].stream && streams[i].fd == (int)(intptr_t)cookie) streams[i].stream = NULL;
    return close((int)(intptr_t)cookie);
}

FILE *fdopen(int fd, const char *mode)
{
    if (!is_fd_below(fd)) return NEXT(fdopen)(fd, mode);
    FILE *stream = fopencookie((void *)(intptr_t)fd, mode, (cookie_io_functions_t){.write = stream_write,
                                                                                   .close = stream_close});
    for (int i = 0; stream && i < STREAMS; i++) {
        if (streams[i].stream) continue;
        streams[i].stream = stream;
        streams[i].fd = fd;
        break;
    }
    return stream;
}

int fileno(FILE *stream)
{
    for (int i = 0; i < STREAMS; i++)
        if (streams[i].stream && streams[i].stream == stream) return streams[i].fd;
    return NEXT(fileno)(stream);
}

/* ---- memory; not under a sanitizer, which has its own allocator (its build does not define FAULTY_MEMORY) */

#ifdef FAULTY_MEMORY
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static bool no_memory(const void *caller)
{
    if (!atomic_load_explicit(&ready, memory_order_relaxed) || strcmp(call, "malloc")) return false;
    for (int i = 0; i < range_count; i++)
        if ((uintptr_t)caller >= ranges[i].begin && (uintptr_t)caller < ranges[i].end) return fails("malloc");
    return false;
}

void *malloc(size_t size) { return no_memory(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return no_memory(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size); }
void *realloc(void *old, size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    return no_memory(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}
#endif

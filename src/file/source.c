/* A regular file, read-only, by positioned reads.
 *
 * Not mapped: a file that another process truncates would raise SIGBUS, and no error could be reported. A positioned
 * read costs one copy out of the page cache and says how much it got.
 *
 * A checkpoint may have more shards than a process may have open files: only those read last stay open, others are opened
 * again when they are read, and are then still the same file or an error. */
#include "base/xxh.h"
#include "file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef SYS_openat2
#include <linux/openat2.h>
#endif

/* What changes while a source is read. Of those with a place in the pool the least recently used is closed first. */
typedef struct handle {
    int fd;          /* -1: closed for now */
    unsigned users;  /* who read from it at this moment */
    bool pooled;     /* can be opened again by its path */
    struct handle *older, *newer;
} handle;

#define OPEN_MOST 48u /* files of the pool that stay open */

static struct {
    pthread_mutex_t lock;
    handle *oldest, *newest;
    unsigned open;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct file_source {
    handle own, *handle; /* &own: it changes while the rest of the source does not */
    uint64_t size;
    struct stat opened; /* as it was at the opening */
    char *path;
};

/* The kernel transfers at most 0x7ffff000 bytes a call; a round figure below that. */
#define READ_MAX (UINT64_C(1) << 30)

static fpr_status refuse_kind(mode_t mode, fpr_error *error)
{
    const char *kind = S_ISDIR(mode)    ? "a directory"
                       : S_ISFIFO(mode) ? "a pipe"
                       : S_ISSOCK(mode) ? "a socket"
                       : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
                                                        : "no regular file";
    return base_fail(error, FPR_IO, "is %s, not a checkpoint", kind);
}

/* Looks before it opens: opening a pipe would already disturb whoever writes to it. What was opened is looked at
 * again, because the name may have changed hands in between; O_NONBLOCK keeps even that from hanging. */
static fpr_status open_regular(const char *path, file_source *source, fpr_error *error)
{
    struct stat *st = &source->opened;
    if (stat(path, st) != 0) return base_fail_errno(error, FPR_IO, errno, "cannot open");
    if (!S_ISREG(st->st_mode)) return refuse_kind(st->st_mode, error);
    do source->handle->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (source->handle->fd < 0 && errno == EINTR);
    if (source->handle->fd < 0) return base_fail_errno(error, FPR_IO, errno, "cannot open");
    if (fstat(source->handle->fd, st) != 0) return base_fail_errno(error, FPR_IO, errno, "cannot look at the open file");
    if (!S_ISREG(st->st_mode)) return refuse_kind(st->st_mode, error);
    source->size = (uint64_t)st->st_size;
    return FPR_OK;
}

/* ---- the pool; its lock is held */

static void take_out(handle *h)
{
    *(h->older ? &h->older->newer : &pool.oldest) = h->newer;
    *(h->newer ? &h->newer->older : &pool.newest) = h->older;
    h->older = h->newer = NULL;
    pool.open--;
}

/* As the one used last; of too many open ones, those not read now are closed, the oldest first. */
static void append(handle *h)
{
    h->older = pool.newest;
    *(h->older ? &h->older->newer : &pool.oldest) = h;
    pool.newest = h;
    pool.open++;
    for (handle *old = pool.oldest, *next; old && pool.open > OPEN_MOST; old = next) {
        next = old->newer;
        if (old->users || old == h) continue;
        take_out(old);
        close(old->fd);
        old->fd = -1;
    }
}

/* Opens what was closed; it must be the file that it was. */
static fpr_status open_again(const file_source *source, fpr_error *error)
{
    struct stat now;
    const struct stat *then = &source->opened;
    int fd;
    do fd = open(source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return base_fail_errno(error, errno == ENOENT ? FPR_CHANGED : FPR_IO, errno, "cannot open again");
    if (fstat(fd, &now) != 0 || now.st_dev != then->st_dev || now.st_ino != then->st_ino) {
        close(fd);
        return base_fail(error, FPR_CHANGED, "was replaced while it was read");
    }
    source->handle->fd = fd;
    return FPR_OK;
}

/* The source's open file, until it is given back. */
static fpr_status borrow(const file_source *source, int *fd, fpr_error *error)
{
    handle *h = source->handle;
    fpr_status status = FPR_OK;
    if (h->pooled) {
        pthread_mutex_lock(&pool.lock);
        if (h->fd >= 0) take_out(h);
        else status = open_again(source, error);
        if (!status) {
            h->users++;
            append(h);
        }
        pthread_mutex_unlock(&pool.lock);
    }
    *fd = h->fd;
    if (status) base_error_in_file(error, source->path);
    return status;
}

static void give_back(const file_source *source)
{
    if (!source->handle->pooled) return;
    pthread_mutex_lock(&pool.lock);
    source->handle->users--;
    pthread_mutex_unlock(&pool.lock);
}

fpr_status file_source_open(const char *path, file_source **source, fpr_error *error)
{
    *source = NULL;
    size_t length = strlen(path);
    file_source *s = base_calloc(1, sizeof *s);
    fpr_status status = FPR_OK;
    if (s) {
        s->handle = &s->own;
        s->handle->fd = -1;
        s->path = base_copy_text(path, length);
    }
    if (!s || !s->path)
        status = base_no_memory(error, length + sizeof *s);
    else
        status = open_regular(path, s, error);
    if (status) {
        base_error_in_file(error, path);
        file_source_close(s);
        return status;
    }
    /* Reads run mostly forward; this doubles the kernel's read-ahead. Advice only, its result does not matter. */
    (void)posix_fadvise(s->handle->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    s->handle->pooled = true;
    pthread_mutex_lock(&pool.lock);
    append(s->handle);
    pthread_mutex_unlock(&pool.lock);
    *source = s;
    return FPR_OK;
}

/* ---- a file below a folder */

/* One part of the path after the other, no link followed. */
static int walk_below(int folder, char *location)
{
    int at = dup(folder);
    for (char *part = location; at >= 0 && *part;) {
        size_t n = strcspn(part, "/");
        bool last = !part[n + strspn(part + n, "/")];
        char slash = part[n];
        part[n] = 0;
        int next = n ? openat(at, part, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW |
                                        (last ? 0 : O_DIRECTORY)) : dup(at);
        int problem = errno;
        part[n] = slash;
        close(at);
        errno = problem;
        at = next;
        part += n + strspn(part + n, "/");
    }
    return at;
}

static int open_below(int folder, char *location)
{
#ifdef SYS_openat2
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd;
    do fd = syscall(SYS_openat2, folder, location, &how, sizeof how);
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != E2BIG)) return (int)fd;
#endif
    return walk_below(folder, location);
}

static fpr_status look_below(file_source *s, char *folder, char *location, fpr_error *error)
{
    int at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0) return base_fail_errno(error, FPR_IO, errno, "cannot open the folder of external data");
    s->handle->fd = open_below(at, location);
    int problem = errno;
    close(at);
    if (s->handle->fd < 0 && (problem == EXDEV || problem == ELOOP))
        return base_fail(error, FPR_BAD_HEADER, "external data leads out of the model's folder by a link");
    if (s->handle->fd < 0 && (problem == ENOENT || problem == ENOTDIR))
        return base_fail(error, FPR_BAD_HEADER, "external data is missing: the file belongs beside the model");
    if (s->handle->fd < 0) return base_fail_errno(error, FPR_IO, problem, "cannot open external data");
    if (fstat(s->handle->fd, &s->opened) != 0) return base_fail_errno(error, FPR_IO, errno, "cannot look at the open file");
    if (!S_ISREG(s->opened.st_mode)) return base_fail(error, FPR_BAD_HEADER, "external data is no regular file");
    s->size = (uint64_t)s->opened.st_size;
    return FPR_OK;
}

fpr_status file_source_open_below(const char *path, size_t folder_bytes, const char *location, file_source **source,
                                  fpr_error *error)
{
    *source = NULL;
    size_t length = strlen(location), skip = folder_bytes || *path == '/' ? folder_bytes + 1 : 0;
    file_source *s = base_calloc(1, sizeof *s);
    char *name = base_alloc((uint64_t)skip + length + 1, 1), *own = base_copy_text(location, length);
    char *folder = skip ? base_copy_text(path, folder_bytes ? folder_bytes : 1) : base_copy_text(".", 1);
    fpr_status status = FPR_OK;
    if (!s || !name || !own || !folder) {
        status = base_no_memory(error, length + sizeof *s);
        base_free(name);
    } else {
        memcpy(name, path, skip);
        memcpy(name + skip, location, length + 1);
        s->handle = &s->own;
        s->handle->fd = -1;
        s->path = name;
        status = look_below(s, folder, own, error);
        if (status) base_error_in_file(error, name);
    }
    base_free(own);
    base_free(folder);
    if (s) s->handle = &s->own;
    if (status && s && !s->path) s->handle->fd = -1;
    if (status) file_source_close(s);
    if (!status) *source = s;
    return status;
}

void file_source_close(file_source *source)
{
    if (!source) return;
    if (source->handle) {
        pthread_mutex_lock(&pool.lock); /* whoever opens another one may close it */
        const int fd = source->handle->fd;
        if (fd >= 0 && source->handle->pooled) take_out(source->handle);
        pthread_mutex_unlock(&pool.lock);
        if (fd >= 0) close(fd);
    }
    base_free(source->path);
    base_free(source);
}

uint64_t file_source_size(const file_source *source) { return source->size; }

const char *file_source_path(const file_source *source) { return source->path; }

static fpr_status read_all(const file_source *source, int fd, uint64_t offset, uint8_t *p, uint64_t count,
                           fpr_error *error)
{
    while (count) {
        ssize_t got = pread(fd, p, count < READ_MAX ? (size_t)count : READ_MAX, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        fpr_status status = FPR_OK;
        if (got < 0) status = base_fail_errno(error, FPR_IO, errno, "cannot read");
        if (got == 0)
            status = base_fail(error, FPR_CHANGED, "became shorter while it was read: %llu bytes at first, now it ends",
                               (unsigned long long)source->size);
        if (status) {
            base_error_at(error, offset);
            base_error_in_file(error, source->path);
            return status;
        }
        p += got;
        offset += (uint64_t)got;
        count -= (uint64_t)got;
    }
    return FPR_OK;
}

fpr_status file_source_read(const file_source *source, uint64_t offset, void *dst, uint64_t count, fpr_error *error)
{
    int fd;
    fpr_status status = borrow(source, &fd, error);
    if (status) return status;
    status = read_all(source, fd, offset, dst, count, error);
    give_back(source);
    return status;
}

fpr_status file_source_send(const file_source *source, uint64_t from, uint64_t count, int to_fd, uint64_t to, int64_t *sent,
                            int *problem, fpr_error *error)
{
    int fd;
    const fpr_status status = borrow(source, &fd, error);
    if (status) return status;
    off_t in = (off_t)from, place = (off_t)to;
    *sent = copy_file_range(fd, &in, to_fd, &place, (size_t)count, 0);
    *problem = errno;
    give_back(source);
    return FPR_OK;
}

fpr_status file_source_check(const file_source *source, fpr_error *error)
{
    struct stat now;
    const struct stat *then = &source->opened;
    int fd;
    fpr_status status = borrow(source, &fd, error);
    if (status) return status;
    if (fstat(fd, &now) != 0)
        status = base_fail_errno(error, FPR_IO, errno, "cannot look at the open file");
    else if (now.st_size != then->st_size)
        status = base_fail(error, FPR_CHANGED, "changed while it was read: %lld bytes at first, now %lld",
                           (long long)then->st_size, (long long)now.st_size);
    else if (now.st_mtim.tv_sec != then->st_mtim.tv_sec || now.st_mtim.tv_nsec != then->st_mtim.tv_nsec)
        status = base_fail(error, FPR_CHANGED, "was written to while it was read");
    give_back(source);
    if (status) base_error_in_file(error, source->path);
    return status;
}

uint64_t file_source_stamp(const file_source *source)
{
    const struct stat *st = &source->opened;
    const uint64_t what[] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino, (uint64_t)st->st_size,
                             (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec};
    return XXH3_64bits(what, sizeof what);
}

bool file_source_is(const file_source *source, const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_dev == source->opened.st_dev && st.st_ino == source->opened.st_ino;
}

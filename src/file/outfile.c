/* Atomic output: a file that nobody sees before it is whole and on disk.
 *
 * The bytes go into a file without a name (O_TMPFILE) in the directory of the final one, so that even a killed process
 * leaves nothing behind; where the file system cannot do that, into one with a name nobody can guess. Committing
 * flushes it to disk, gives it its name and flushes the directory. */
#include "file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define BUFFER_BYTES (UINT64_C(1) << 20)
#define READ_BYTES (UINT64_C(1) << 17) /* read back at a time: stays in the second cache level */
#define PIECES 4u                      /* so many of them are half a buffer */
#define WRITE_BYTES (UINT64_C(8) << 20) /* written at a time: between two writes the cancel flag is looked at */
#define COPY_BYTES (UINT64_C(1) << 20)  /* copied at a time where the kernel does not copy */
#define LINKS_MAX 40 /* symbolic links followed before it counts as a loop, as the kernel does */
#define TEMPORARY_NAME 32

struct file_out {
    int fd, directory;
    bool force, replaces;
    bool failed;      /* a write went wrong: the contents are not what the caller thinks */
    struct stat old;  /* what is replaced */
    char temporary[TEMPORARY_NAME]; /* name of the temporary in the directory; "" while it has none */
    char *path;       /* as given, for messages */
    char *target;     /* with symbolic links followed */
    const char *leaf; /* last part of target */
    uint64_t written; /* bytes in the file; the rest of size is in the buffer */
    uint64_t buffered;
    uint8_t *buffer;
};

static fpr_status in_file(fpr_status status, const file_out *out, fpr_error *error)
{
    base_error_in_file(error, out->path);
    return status;
}

/* ---- where to */

/* The target of a link at `here`, or NULL with errno. */
static char *next_link(const char *here, const char *link, size_t n)
{
    const char *slash = strrchr(here, '/');
    size_t folder = slash && link[0] != '/' ? (size_t)(slash - here) + 1 : 0;
    errno = folder + n >= PATH_MAX ? ENAMETOOLONG : ENOMEM;
    char *next = folder + n >= PATH_MAX ? NULL : base_alloc(folder + n + 1, 1);
    if (next) {
        memcpy(next, here, folder);
        memcpy(next + folder, link, n);
        next[folder + n] = 0;
    }
    return next;
}

/* Follows symbolic links by hand, because the last one may point to a file that does not exist yet. */
static fpr_status follow_links(file_out *out, fpr_error *error)
{
    out->target = base_copy_text(out->path, strlen(out->path));
    if (!out->target) return base_no_memory(error, PATH_MAX);
    for (int links = 0;; links++) {
        char link[PATH_MAX];
        ssize_t n = readlink(out->target, link, sizeof link);
        if (n < 0) return FPR_OK; /* no link, or nothing there: whatever is wrong shows when it is used */
        errno = ELOOP;
        char *next = links == LINKS_MAX ? NULL : next_link(out->target, link, (size_t)n);
        if (!next && errno == ENOMEM) return base_no_memory(error, PATH_MAX);
        if (!next) return base_fail_errno(error, FPR_IO, errno, "cannot follow the symbolic link");
        base_free(out->target);
        out->target = next;
    }
}

/* Opens the directory of the target and looks at what has the name now. */
static fpr_status look_at_target(file_out *out, fpr_error *error)
{
    char *slash = strrchr(out->target, '/');
    out->leaf = slash ? slash + 1 : out->target;
    if (!*out->leaf) return base_fail(error, FPR_EXISTS, "names a directory, not a file to write");
    const char *folder = slash ? out->target : ".";
    if (slash == out->target) folder = "/";
    if (slash) *slash = 0;
    do out->directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (out->directory < 0 && errno == EINTR);
    int problem = errno;
    if (slash) *slash = '/';
    if (out->directory < 0) return base_fail_errno(error, FPR_IO, problem, "cannot open the directory to write into");
    if (fstatat(out->directory, out->leaf, &out->old, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? FPR_OK : base_fail_errno(error, FPR_IO, errno, "cannot be created");
    if (S_ISDIR(out->old.st_mode)) return base_fail(error, FPR_EXISTS, "is a directory, it is not overwritten");
    if (!S_ISREG(out->old.st_mode)) return base_fail(error, FPR_EXISTS, "is no regular file, it is not overwritten");
    if (!out->force) return base_fail(error, FPR_EXISTS, "exists already");
    out->replaces = true;
    return FPR_OK;
}

/* ---- the temporary */

static bool random_name(char name[TEMPORARY_NAME])
{
    uint64_t random;
    ssize_t got;
    do got = getrandom(&random, sizeof random, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof random) return false;
    snprintf(name, TEMPORARY_NAME, ".filterprune-%016llx", (unsigned long long)random);
    return true;
}

/* The path under which the kernel lets an open file be linked. */
static void own_path(int fd, char path[TEMPORARY_NAME]) { snprintf(path, TEMPORARY_NAME, "/proc/self/fd/%d", fd); }

static fpr_status open_temporary(file_out *out, fpr_error *error)
{
    /* A file that replaces a private one must not be readable to others for a moment; its mode is set at the end. */
    mode_t mode = out->replaces ? 0600 : 0666;
    char path[TEMPORARY_NAME];
    do out->fd = openat(out->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
    while (out->fd < 0 && errno == EINTR);
    if (out->fd >= 0) {
        own_path(out->fd, path);
        if (access(path, F_OK) == 0) return FPR_OK;
        close(out->fd); /* without /proc it could never get a name */
    } else if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT) {
        return base_fail_errno(error, FPR_IO, errno, "cannot be created");
    }
    for (;;) {
        if (!random_name(out->temporary)) return base_fail_errno(error, FPR_IO, errno, "no random name to be had");
        out->fd = openat(out->directory, out->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, mode);
        if (out->fd >= 0) return FPR_OK;
        out->temporary[0] = 0; /* not ours: never remove it */
        if (errno != EEXIST && errno != EINTR) return base_fail_errno(error, FPR_IO, errno, "cannot be created");
    }
}

fpr_status file_out_create(const char *path, bool force, file_out **result, fpr_error *error)
{
    *result = NULL;
    size_t length = strlen(path);
    file_out *out = base_calloc(1, sizeof *out);
    fpr_status status = FPR_OK;
    if (out) {
        out->fd = out->directory = -1;
        out->force = force;
        out->path = base_copy_text(path, length);
        out->buffer = base_alloc(BUFFER_BYTES, 1);
    }
    if (!out || !out->path || !out->buffer) status = base_no_memory(error, BUFFER_BYTES);
    if (!status) status = follow_links(out, error);
    if (!status) status = look_at_target(out, error);
    if (!status) status = open_temporary(out, error);
    if (status) {
        base_error_in_file(error, path);
        file_out_abandon(out);
        return status;
    }
    *result = out;
    return FPR_OK;
}

/* ---- writing */

/* Writes at most two parts at the file's end; on return they are consumed. */
static fpr_status write_parts(file_out *out, struct iovec *parts, int count, fpr_error *error)
{
    while (count) {
        if (!parts->iov_len) {
            parts++;
            count--;
            continue;
        }
        if (base_cancelled()) {
            out->failed = true;
            return base_check_cancelled(error);
        }
        struct iovec now[2];
        int n = 0;
        for (uint64_t left = WRITE_BYTES; n < count && left; left -= now[n++].iov_len) {
            now[n] = parts[n];
            if (now[n].iov_len > left) now[n].iov_len = left;
        }
        ssize_t done = writev(out->fd, now, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            out->failed = true;
            return in_file(base_fail_errno(error, FPR_IO, done ? errno : ENOSPC, "cannot write"), out, error);
        }
        out->written += (uint64_t)done;
        for (int i = 0; done && i < count; i++) {
            size_t part = (size_t)done < parts[i].iov_len ? (size_t)done : parts[i].iov_len;
            parts[i].iov_base = (uint8_t *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            done -= (ssize_t)part;
        }
    }
    return FPR_OK;
}

/* The buffer and then these bytes, in one call where the kernel takes it: a large write is never copied. */
static fpr_status flush_with(file_out *out, const void *bytes, uint64_t count, fpr_error *error)
{
    struct iovec parts[2] = {{out->buffer, out->buffered}, {NULL, count}};
    memcpy(&parts[1].iov_base, &bytes, sizeof bytes); /* iov_base is not const; writev only reads */
    out->buffered = 0;
    return write_parts(out, parts, 2, error);
}

fpr_status file_out_write(file_out *out, const void *bytes, uint64_t count, fpr_error *error)
{
    if (count > BUFFER_BYTES - out->buffered) return flush_with(out, bytes, count, error);
    if (count) memcpy(out->buffer + out->buffered, bytes, count);
    out->buffered += count;
    return FPR_OK;
}

/* ---- writing at a place */

#define VECTOR_PARTS 64

/* Passes over count bytes of the parts from *part on, *skip of whose bytes are done, and over empty parts. */
static size_t pass_over(const file_part *parts, size_t part, size_t part_count, uint64_t *skip, uint64_t count)
{
    *skip += count;
    while (part < part_count && *skip >= parts[part].count) *skip -= parts[part++].count;
    return part;
}

fpr_status file_out_place(file_out *out, uint64_t offset, const file_part *parts, size_t count, fpr_error *error)
{
    uint64_t skip = 0;
    for (size_t part = pass_over(parts, 0, count, &skip, 0); part < count;) {
        struct iovec vector[VECTOR_PARTS];
        int n = 0;
        uint64_t left = WRITE_BYTES;
        if (base_cancelled()) {
            out->failed = true;
            return base_check_cancelled(error);
        }
        for (size_t i = part; i < count && n < VECTOR_PARTS && left; i++) {
            const uint64_t from = i == part ? skip : 0, bytes_left = parts[i].count - from;
            const uint8_t *bytes = (const uint8_t *)parts[i].bytes + from;
            memcpy(&vector[n].iov_base, &bytes, sizeof bytes); /* iov_base is not const; pwritev only reads */
            vector[n].iov_len = bytes_left < left ? bytes_left : left;
            left -= vector[n++].iov_len;
        }
        ssize_t done = pwritev(out->fd, vector, n, (off_t)offset);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            out->failed = true;
            return in_file(base_fail_errno(error, FPR_IO, done ? errno : ENOSPC, "cannot write"), out, error);
        }
        offset += (uint64_t)done;
        part = pass_over(parts, part, count, &skip, (uint64_t)done);
    }
    return FPR_OK;
}

fpr_status file_out_reserve(file_out *out, uint64_t count, uint64_t *offset, fpr_error *error)
{
    fpr_status status = out->buffered ? flush_with(out, NULL, 0, error) : FPR_OK;
    *offset = out->written;
    /* Appending goes by the file offset, placing does not move it. */
    if (!status && lseek(out->fd, (off_t)(out->written + count), SEEK_SET) < 0)
        status = in_file(base_fail_errno(error, FPR_IO, errno, "cannot write"), out, error);
    if (!status) out->written += count;
    return status;
}

/* Through memory, for what the kernel does not copy itself: other file systems, old kernels, a source that has shrunk. */
static fpr_status copy_by_hand(file_out *out, const file_source *source, uint64_t from, uint64_t count, uint64_t to,
                               fpr_error *error)
{
    const uint64_t room = count < COPY_BYTES ? count : COPY_BYTES;
    uint8_t *bytes = base_alloc(room, 1);
    fpr_status status = bytes ? FPR_OK : base_no_memory(error, room);
    for (uint64_t done = 0, n; !status && done < count; done += n) {
        n = count - done < room ? count - done : room;
        status = file_source_read(source, from + done, bytes, n, error);
        const file_part part = {bytes, n};
        if (!status) status = file_out_place(out, to + done, &part, 1, error);
    }
    base_free(bytes);
    return status;
}

fpr_status file_out_copy(file_out *out, const file_source *source, uint64_t from, uint64_t count, fpr_error *error)
{
    uint64_t to;
    fpr_status status = file_out_reserve(out, count, &to, error);
    while (!status && count) {
        int64_t n = 0;
        int problem = 0;
        if (base_cancelled()) {
            out->failed = true;
            return base_check_cancelled(error);
        }
        status = file_source_send(source, from, count < WRITE_BYTES ? count : WRITE_BYTES, out->fd, to, &n, &problem, error);
        if (status) return status;
        if (n < 0 && problem == EINTR) continue;
        if (n < 0 && (problem == ENOSPC || problem == EDQUOT || problem == EFBIG || problem == EIO)) {
            out->failed = true;
            return in_file(base_fail_errno(error, FPR_IO, problem, "cannot write"), out, error);
        }
        if (n <= 0) return copy_by_hand(out, source, from, count, to, error);
        from += (uint64_t)n;
        to += (uint64_t)n;
        count -= (uint64_t)n;
    }
    return status;
}

fpr_status file_out_patch(file_out *out, uint64_t offset, const void *bytes, uint64_t count, fpr_error *error)
{
    uint64_t size = file_out_size(out), part = 0;
    if (offset > size || count > size - offset)
        return in_file(base_fail(error, FPR_USAGE, "a patch of %llu bytes at %llu does not fit %llu bytes written",
                                 (unsigned long long)count, (unsigned long long)offset, (unsigned long long)size),
                       out, error);
    if (offset < out->written) {
        part = out->written - offset < count ? out->written - offset : count;
        fpr_status status = file_out_place(out, offset, &(file_part){bytes, part}, 1, error);
        if (status) return status;
    }
    if (count > part) memcpy(out->buffer + (offset + part - out->written), (const uint8_t *)bytes + part, count - part);
    return FPR_OK;
}

uint64_t file_out_size(const file_out *out) { return out->written + out->buffered; }

/* Reading back: one half of the buffer is filled piece by piece while the other is hashed. */
typedef struct reading {
    const file_out *out;
    file_hash *hash;
    const uint8_t *ready;  /* read before */
    uint64_t ready_bytes;
    uint8_t *filling;
    uint64_t offset, bytes; /* what is read now: from where in the file, how much */
    int errors[PIECES];     /* errno of each piece, 0: it was read */
} reading;

static int read_back(const file_out *out, uint8_t *to, uint64_t offset, uint64_t bytes)
{
    while (bytes) {
        ssize_t got = pread(out->fd, to, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got ? errno : EIO;
        to += got;
        offset += (uint64_t)got;
        bytes -= (uint64_t)got;
    }
    return 0;
}

static void read_or_hash(void *context, size_t index, unsigned worker)
{
    (void)worker;
    reading *r = context;
    if (index == 0) {
        if (r->ready_bytes) file_hash_add(r->hash, r->ready, r->ready_bytes);
        return;
    }
    const uint64_t begin = (index - 1) * READ_BYTES;
    const uint64_t left = r->bytes > begin ? r->bytes - begin : 0, n = left < READ_BYTES ? left : READ_BYTES;
    r->errors[index - 1] = read_back(r->out, r->filling + begin, r->offset + begin, n);
}

fpr_status file_out_hash(file_out *out, file_hash *hash, unsigned threads, fpr_error *error)
{
    fpr_status status = flush_with(out, NULL, 0, error);
    /* All bytes are in the file now, so that the buffer is free to read them back. */
    reading r = {.out = out, .hash = hash};
    for (unsigned turn = 0; !status && (r.offset < out->written || r.ready_bytes); turn = !turn) {
        if ((status = base_check_cancelled(error))) break;
        const uint64_t left = out->written - r.offset, half = PIECES * READ_BYTES;
        r.bytes = left < half ? left : half;
        r.filling = out->buffer + turn * half;
        base_parallel(threads, 1 + (size_t)((r.bytes + READ_BYTES - 1) / READ_BYTES), read_or_hash, &r);
        for (unsigned i = 0; i < PIECES && i * READ_BYTES < r.bytes && !status; i++)
            if (r.errors[i])
                status = in_file(base_fail_errno(error, FPR_IO, r.errors[i], "cannot read back what was written"), out,
                                 error);
        r.ready = r.filling;
        r.ready_bytes = r.bytes;
        r.offset += r.bytes;
    }
    return status;
}

/* ---- the end */

/* Owner and mode of the file that is replaced. Where its group cannot be kept, ours must not inherit the rights. */
static bool keep_mode(file_out *out)
{
    struct stat now;
    mode_t mode = out->old.st_mode & 0777;
    if (fstat(out->fd, &now) != 0) return false;
    if ((now.st_uid != out->old.st_uid || now.st_gid != out->old.st_gid) &&
        fchown(out->fd, out->old.st_uid, out->old.st_gid) != 0 &&
        fchown(out->fd, (uid_t)-1, out->old.st_gid) != 0)
        mode &= (mode_t)~070;
    return fchmod(out->fd, mode) == 0;
}

/* Links the nameless temporary; EEXIST when the name is taken. */
static bool link_as(const file_out *out, const char *name)
{
    char path[TEMPORARY_NAME];
    own_path(out->fd, path);
    return linkat(AT_FDCWD, path, out->directory, name, AT_SYMLINK_FOLLOW) == 0;
}

/* A rename that does not overwrite, also where the file system knows no RENAME_NOREPLACE. */
static bool rename_new(file_out *out)
{
    if (renameat2(out->directory, out->temporary, out->directory, out->leaf, RENAME_NOREPLACE) == 0) {
        out->temporary[0] = 0;
        return true;
    }
    /* The temporary stays behind as a second name, which the clean-up removes. */
    return errno != EEXIST && linkat(out->directory, out->temporary, out->directory, out->leaf, 0) == 0;
}

/* Gives the file its name. false with errno. */
static bool give_name(file_out *out)
{
    if (!out->force) return out->temporary[0] ? rename_new(out) : link_as(out, out->leaf);
    if (!out->temporary[0]) {
        if (link_as(out, out->leaf)) return true;
        if (errno != EEXIST) return false;
        char name[TEMPORARY_NAME];
        for (;;) {
            if (!random_name(name)) return false;
            if (link_as(out, name)) break;
            if (errno != EEXIST) return false;
        }
        memcpy(out->temporary, name, sizeof name);
    }
    if (renameat(out->directory, out->temporary, out->directory, out->leaf) != 0) return false;
    out->temporary[0] = 0;
    return true;
}

static int sync_fd(int fd)
{
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

static fpr_status commit(file_out *out, bool flush_folder, fpr_error *error)
{
    if (out->failed) return base_fail(error, FPR_IO, "an earlier write failed");
    fpr_status status = flush_with(out, NULL, 0, error);
    if (status) return status;
    if (out->replaces && !keep_mode(out)) return base_fail_errno(error, FPR_IO, errno, "cannot set the permissions");
    if (sync_fd(out->fd) != 0) return base_fail_errno(error, FPR_IO, errno, "cannot flush to disk");
    if (!give_name(out)) {
        if (errno == EEXIST && !out->force) return base_fail(error, FPR_EXISTS, "was created by somebody else");
        return base_fail_errno(error, FPR_IO, errno, "cannot give the finished file its name");
    }
    /* Some network file systems cannot flush a directory and say EINVAL; there is nothing more to do then. */
    if (flush_folder && sync_fd(out->directory) != 0 && errno != EINVAL)
        return base_fail_errno(error, FPR_IO, errno, "is written, but the directory cannot be flushed to disk");
    return FPR_OK;
}

static fpr_status commit_and_free(file_out *out, bool flush_folder, fpr_error *error)
{
    fpr_status status = commit(out, flush_folder, error);
    if (status) in_file(status, out, error);
    file_out_abandon(out);
    return status;
}

fpr_status file_out_finish(file_out *out, fpr_error *error) { return commit_and_free(out, false, error); }

fpr_status file_out_commit(file_out *out, fpr_error *error) { return commit_and_free(out, true, error); }

void file_out_abandon(file_out *out)
{
    if (!out) return;
    if (out->temporary[0]) unlinkat(out->directory, out->temporary, 0);
    if (out->fd >= 0) close(out->fd);
    if (out->directory >= 0) close(out->directory);
    base_free(out->buffer);
    base_free(out->target);
    base_free(out->path);
    base_free(out);
}

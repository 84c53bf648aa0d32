/* Files: reading that notices change, output that is whole or absent, whichever system call fails.
 *
 * The system calls that the room makes are defined here over those of the C library, so that any one of them can be
 * made to fail, to be interrupted, or to do less than asked. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "file/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- faults */

static struct {
    const char *only; /* this call, or any when NULL */
    long in;          /* calls until the fault; negative: none */
    long times;       /* how often, from then on */
    int errnum;
    size_t at_most;    /* transfers are cut to this; 0: not */
    bool no_tmpfile;   /* a file system without O_TMPFILE, */
    bool no_noreplace; /* without RENAME_NOREPLACE */
    bool lie;          /* stat says that everything is a regular file */
    long calls;
} fault = {.in = -1};

static void no_faults(void) { fault = (__typeof__(fault)){.in = -1}; }

/* The kind of file system stays. */
static void fail_call(const char *only, long in, long times, int errnum)
{
    fault.only = only;
    fault.in = in;
    fault.times = times;
    fault.errnum = errnum;
    fault.calls = 0;
}

static bool is_due(const char *call)
{
    if (fault.only && strcmp(fault.only, call) != 0) return false;
    fault.calls++;
    if (fault.in < 0 || fault.in-- > 0) return false;
    if (fault.times-- <= 0) return false;
    fault.in = 0;
    return true;
}

/* Several threads may write at once. */
static bool strikes(const char *call)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    const bool due = is_due(call);
    pthread_mutex_unlock(&lock);
    if (due) errno = fault.errnum;
    return due;
}

static size_t cut(size_t count) { return fault.at_most && count > fault.at_most ? fault.at_most : count; }

int open(const char *path, int flags, ...)
{
    if (strikes("open")) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}

int openat(int directory, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    unsigned mode = va_arg(list, unsigned);
    va_end(list);
    if (strikes("openat")) return -1;
    if (fault.no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, directory, path, flags, mode);
}

int stat(const char *path, struct stat *st)
{
    if (strikes("stat")) return -1;
    int result = (int)syscall(SYS_newfstatat, AT_FDCWD, path, st, 0);
    if (fault.lie) st->st_mode = S_IFREG | 0644;
    return result;
}

int fstat(int fd, struct stat *st) { return strikes("fstat") ? -1 : (int)syscall(SYS_fstat, fd, st); }

int fstatat(int directory, const char *path, struct stat *st, int flags)
{
    return strikes("fstatat") ? -1 : (int)syscall(SYS_newfstatat, directory, path, st, flags);
}

int access(const char *path, int mode)
{
    return strikes("access") ? -1 : (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

ssize_t readlink(const char *path, char *target, size_t size)
{
    return strikes("readlink") ? -1 : syscall(SYS_readlinkat, AT_FDCWD, path, target, size);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t offset)
{
    return strikes("pread") ? -1 : syscall(SYS_pread64, fd, bytes, cut(count), offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    return strikes("pwrite") ? -1 : syscall(SYS_pwrite64, fd, bytes, cut(count), offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (strikes("pwrite")) return -1;
    if (!fault.at_most) return syscall(SYS_pwritev, fd, parts, count, offset, 0);
    return syscall(SYS_pwrite64, fd, parts->iov_base, cut(parts->iov_len), offset);
}

off_t lseek(int fd, off_t offset, int from) { return strikes("lseek") ? -1 : syscall(SYS_lseek, fd, offset, from); }

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (strikes("writev")) return -1;
    if (!fault.at_most) return syscall(SYS_writev, fd, parts, count);
    struct iovec part = {parts->iov_base, cut(parts->iov_len)};
    return syscall(SYS_writev, fd, &part, 1);
}

int fsync(int fd) { return strikes("fsync") ? -1 : (int)syscall(SYS_fsync, fd); }

int fchmod(int fd, mode_t mode) { return strikes("fchmod") ? -1 : (int)syscall(SYS_fchmod, fd, mode); }

int fchown(int fd, uid_t user, gid_t group)
{
    return strikes("fchown") ? -1 : (int)syscall(SYS_fchown, fd, user, group);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    return strikes("linkat") ? -1 : (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
}

int renameat2(int from_directory, const char *from, int to_directory, const char *to, unsigned flags)
{
    if (strikes("renameat2")) return -1;
    if (fault.no_noreplace) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, flags);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    return strikes("renameat") ? -1 : (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
}

ssize_t getrandom(void *bytes, size_t count, unsigned flags)
{
    return strikes("getrandom") ? -1 : syscall(SYS_getrandom, bytes, count, flags);
}

/* ---- a directory to work in */

static char folder[256];

static int enter_folder(void **state)
{
    (void)state;
    no_faults();
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/test_files.XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(folder) ? chdir(folder) : -1;
}

/* Names in the directory, "." and ".." apart. */
static size_t names(const char *path)
{
    size_t count = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return count;
}

static void empty(const char *path)
{
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        char name[600];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (unlink(name) != 0) {
            empty(name);
            rmdir(name);
        }
    }
    closedir(d);
}

static int leave_folder(void **state)
{
    (void)state;
    no_faults();
    empty(folder);
    return chdir("/") || rmdir(folder);
}

static void put(const char *path, const char *bytes, size_t count)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static bool holds(const char *path, const void *bytes, size_t count)
{
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    char *got = malloc(count + 1);
    size_t n = fread(got, 1, count + 1, f);
    fclose(f);
    bool same = n == count && memcmp(got, bytes, count) == 0;
    free(got);
    return same;
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* ---- source */

static void a_file_is_read_at_any_place(void **state)
{
    (void)state;
    put("f", "0123456789", 10);
    file_source *s;
    fpr_error e;
    char got[10];
    assert_int_equal(file_source_open("f", &s, &e), FPR_OK);
    assert_int_equal(file_source_size(s), 10);
    assert_string_equal(file_source_path(s), "f");
    assert_int_equal(file_source_read(s, 7, got, 3, &e), FPR_OK);
    assert_memory_equal(got, "789", 3);
    assert_int_equal(file_source_read(s, 0, got, 10, &e), FPR_OK);
    assert_memory_equal(got, "0123456789", 10);
    assert_int_equal(file_source_read(s, 10, got, 0, &e), FPR_OK);
    assert_int_equal(file_source_check(s, &e), FPR_OK);
    file_source_close(s);
    file_source_close(NULL);
}

static void refused(const char *path, fpr_status status, const char *says)
{
    file_source *s;
    fpr_error e;
    assert_int_equal(file_source_open(path, &s, &e), status);
    assert_null(s);
    if (!strstr(e.message, says)) fail_msg("\"%s\" does not say \"%s\"", e.message, says);
    assert_string_equal(e.file, path);
    assert_int_equal(file_source_open(path, &s, NULL), status);
}

static void what_is_no_file_is_refused_without_waiting(void **state)
{
    (void)state;
    alarm(20); /* opening a pipe that nobody writes to would wait for ever */
    assert_int_equal(mkdir("d", 0700), 0);
    assert_int_equal(mkfifo("p", 0600), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    refused("d", FPR_IO, "is a directory, not a checkpoint");
    refused("p", FPR_IO, "is a pipe");
    refused("s", FPR_IO, "is a socket");
    refused("/dev/null", FPR_IO, "is a device");
    refused("absent", FPR_IO, "No such file");
    refused("dangling", FPR_IO, "No such file");
    refused("", FPR_IO, "No such file");
    /* A name that becomes a pipe between looking and opening. */
    fault.lie = true;
    refused("p", FPR_IO, "is a pipe");
    refused("d", FPR_IO, "is a directory");
    alarm(0);
}

static void links_lead_to_the_file(void **state)
{
    (void)state;
    put("f", "abc", 3);
    put("other", "abc", 3);
    assert_int_equal(symlink("f", "soft"), 0);
    assert_int_equal(link("f", "hard"), 0);
    file_source *s;
    assert_int_equal(file_source_open("soft", &s, NULL), FPR_OK);
    assert_true(file_source_is(s, "f"));
    assert_true(file_source_is(s, "soft"));
    assert_true(file_source_is(s, "hard"));
    assert_true(file_source_is(s, "./f"));
    assert_false(file_source_is(s, "other"));
    assert_false(file_source_is(s, "absent"));
    file_source_close(s);
}

static uint64_t stamp(const char *path)
{
    file_source *s;
    assert_int_equal(file_source_open(path, &s, NULL), FPR_OK);
    uint64_t value = file_source_stamp(s);
    file_source_close(s);
    return value;
}

static void a_stamp_tells_files_and_versions_apart(void **state)
{
    (void)state;
    put("f", "abc", 3);
    put("g", "abc", 3);
    struct timespec times[2] = {{1, 1}, {1, 1}}, later[2] = {{1, 1}, {1, 2}};
    assert_int_equal(utimensat(AT_FDCWD, "f", times, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, "g", times, 0), 0);
    uint64_t first = stamp("f");
    assert_true(stamp("./f") == first);
    assert_true(stamp("g") != first);
    assert_int_equal(utimensat(AT_FDCWD, "f", later, 0), 0);
    assert_true(stamp("f") != first);
    assert_int_equal(truncate("f", 2), 0);
    assert_int_equal(utimensat(AT_FDCWD, "f", times, 0), 0);
    assert_true(stamp("f") != first);
}

static void interruptions_and_short_reads_do_not_show(void **state)
{
    (void)state;
    put("f", "0123456789", 10);
    file_source *s;
    char got[10] = {0};
    fail_call("open", 0, 3, EINTR);
    assert_int_equal(file_source_open("f", &s, NULL), FPR_OK);
    fail_call("pread", 1, 3, EINTR);
    fault.at_most = 3;
    assert_int_equal(file_source_read(s, 0, got, 10, NULL), FPR_OK);
    assert_int_equal(fault.times, -1); /* the fault has been there, and is over */
    assert_memory_equal(got, "0123456789", 10);
    file_source_close(s);
}

static void a_failing_disk_is_reported(void **state)
{
    (void)state;
    put("f", "0123456789", 10);
    file_source *s;
    fpr_error e;
    char got[10];
    assert_int_equal(file_source_open("f", &s, NULL), FPR_OK);
    fail_call("pread", 1, 1, EIO);
    fault.at_most = 4;
    assert_int_equal(file_source_read(s, 2, got, 8, &e), FPR_IO);
    assert_true(e.offset == 6); /* after four good bytes */
    assert_string_equal(e.file, "f");
    assert_non_null(strstr(e.message, "Input/output error"));
    no_faults();
    fail_call("fstat", 0, 1, EIO);
    assert_int_equal(file_source_check(s, &e), FPR_IO);
    file_source_close(s);
    static const char *const calls[] = {"stat", "open", "fstat"};
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        no_faults();
        fail_call(calls[i], 0, 9, EMFILE);
        refused("f", FPR_IO, "Too many open files");
    }
}

static void change_while_reading_is_noticed(void **state)
{
    (void)state;
    put("f", "0123456789", 10);
    file_source *s;
    fpr_error e;
    char got[10];
    assert_int_equal(file_source_open("f", &s, NULL), FPR_OK);
    struct timespec times[2] = {{0, UTIME_OMIT}, {1, 1}};
    assert_int_equal(utimensat(AT_FDCWD, "f", times, 0), 0);
    assert_int_equal(file_source_check(s, &e), FPR_CHANGED);
    assert_string_equal(e.file, "f");
    assert_int_equal(truncate("f", 6), 0);
    assert_int_equal(file_source_check(s, &e), FPR_CHANGED);
    assert_non_null(strstr(e.message, "10 bytes at first, now 6"));
    assert_int_equal(file_source_read(s, 0, got, 6, &e), FPR_OK);
    assert_int_equal(file_source_read(s, 4, got, 6, &e), FPR_CHANGED);
    assert_true(e.offset == 6);
    assert_string_equal(e.file, "f");
    file_source_close(s);
    /* The header, too, may go while it is read. */
    put("g", "\x0a\0\0\0\0\0\0\0{}        ", 18);
    file_header h;
    char *text;
    assert_int_equal(file_source_open("g", &s, NULL), FPR_OK);
    for (off_t size = 0; size < 18; size += 9) {
        assert_int_equal(truncate("g", 17 - size), 0);
        assert_int_equal(file_header_read(s, &h, &text, &e), FPR_CHANGED);
        assert_null(text);
        assert_null(h.memory);
        assert_string_equal(e.file, "g");
    }
    file_source_close(s);
}

static void opening_may_run_out_of_memory(void **state)
{
    (void)state;
    put("f", "abc", 3);
    long before = base_allocations_alive();
    for (long n = 0; n < 2; n++) {
        file_source *s;
        file_out *o;
        fpr_error e;
        base_fail_allocation(n);
        assert_int_equal(file_source_open("f", &s, &e), FPR_NO_MEMORY);
        assert_string_equal(e.file, "f");
        assert_null(s);
        base_fail_allocation(n);
        assert_int_equal(file_out_create("o", false, &o, &e), FPR_NO_MEMORY);
        base_fail_allocation(n + 2);
        assert_true(file_out_create("o", false, &o, &e) != FPR_OK);
        assert_null(o);
        assert_string_equal(e.file, "o");
        assert_int_equal(base_allocations_alive(), before);
    }
    base_fail_allocation(-1);
    assert_int_equal(symlink("f", "soft"), 0);
    file_out *o;
    base_fail_allocation(4); /* the link's target */
    assert_int_equal(file_out_create("soft", true, &o, NULL), FPR_NO_MEMORY);
    base_fail_allocation(0);
    assert_null(file_hash_new());
    base_fail_allocation(-1);
    assert_int_equal(base_allocations_alive(), before);
    assert_int_equal(names("."), 2);
}

/* ---- output */

#define BIG (3u << 20)

static uint8_t *pattern(size_t count, unsigned seed)
{
    uint8_t *bytes = malloc(count);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u; /* Numerical Recipes, section 7.1 */
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

static void nothing_shows_before_it_is_committed(void **state)
{
    (void)state;
    file_out *o;
    fpr_error e;
    assert_int_equal(file_out_create("out", false, &o, &e), FPR_OK);
    uint8_t *big = pattern(BIG, 1);
    assert_int_equal(file_out_write(o, big, BIG, &e), FPR_OK);
    assert_int_equal(file_out_write(o, "end", 3, &e), FPR_OK);
    assert_int_equal(file_out_size(o), BIG + 3);
    assert_int_equal(access("out", F_OK), -1);
    assert_int_equal(file_out_commit(o, &e), FPR_OK);
    assert_int_equal(names("."), 1);
    uint8_t *all = malloc(BIG + 3);
    memcpy(all, big, BIG);
    memcpy(all + BIG, "end", 3);
    assert_true(holds("out", all, BIG + 3));
    free(all);
    free(big);
}

static void writes_and_patches_in_any_mixture(void **state)
{
    (void)state;
    enum { ROOM = 8u << 20 };
    uint8_t *expected = calloc(ROOM, 1), *source = pattern(BIG, 2);
    unsigned seed = 3;
    for (int round = 0; round < 6; round++) {
        file_out *o;
        size_t size = 0;
        no_faults();
        if (round == 5) fault.at_most = 100001; /* writes that do less than asked */
        assert_int_equal(file_out_create("out", true, &o, NULL), FPR_OK);
        for (int i = 0; i < 60; i++) {
            static const size_t sizes[] = {0, 1, 9, 1000, 65536, 1 << 20, (1 << 20) + 1, 400000};
            seed = seed * 1664525u + 1013904223u;
            size_t count = sizes[seed >> 29], from = (seed >> 8) % (BIG - (1 << 20) - 1);
            bool patches = seed >> 28 & 1;
            if (patches && count <= size) {
                size_t at = (seed >> 4) % (size - count + 1);
                assert_int_equal(file_out_patch(o, at, source + from, count, NULL), FPR_OK);
                memcpy(expected + at, source + from, count);
            } else if (size + count <= ROOM) {
                assert_int_equal(file_out_write(o, source + from, count, NULL), FPR_OK);
                memcpy(expected + size, source + from, count);
                size += count;
            }
            assert_int_equal(file_out_size(o), size);
        }
        assert_int_equal(file_out_patch(o, size, "x", 1, NULL), FPR_USAGE);
        assert_int_equal(file_out_patch(o, UINT64_MAX, "x", 1, NULL), FPR_USAGE);
        assert_int_equal(file_out_patch(o, 0, "x", size + 1, NULL), FPR_USAGE);
        assert_int_equal(file_out_commit(o, NULL), FPR_OK);
        assert_true(holds("out", expected, size));
    }
    free(expected);
    free(source);
}

/* Places parts of all sizes into room that was reserved between two appended texts. */
static void parts_are_placed_one_after_the_other(void **state)
{
    (void)state;
    enum { PARTS = 400 };
    static const size_t sizes[] = {0, 1, 7, 1000, 4096, 100000, 1 << 20, (1 << 20) + 3};
    uint8_t *big = pattern(BIG, 13);
    uint8_t *expected = malloc((size_t)PARTS * ((1 << 20) + 3) + 20);
    unsigned seed = 14;
    for (int round = 0; round < 9; round++) {
        file_part parts[PARTS];
        size_t count = round == 8 ? 0 : PARTS, total = 0;
        file_out *o;
        uint64_t offset;
        no_faults();
        memcpy(expected, "before", 6);
        for (size_t i = 0; i < count; i++) {
            seed = seed * 1664525u + 1013904223u;
            /* mostly small ones; in one round nothing but empty ones between two */
            size_t size = round == 7 ? (i == 5 || i == 300) * 3 : sizes[seed >> (i % 40 ? 30 : 29)];
            parts[i] = (file_part){big + (seed >> 8) % (BIG - (1 << 20) - 3), size};
            memcpy(expected + 6 + total, parts[i].bytes, size);
            total += size;
        }
        memcpy(expected + 6 + total, "after", 5);
        if (round >= 3) fault.at_most = 77777;
        if (round >= 5) fail_call("pwrite", 3, 2, EINTR);
        assert_int_equal(file_out_create("out", true, &o, NULL), FPR_OK);
        assert_int_equal(file_out_write(o, "before", 6, NULL), FPR_OK);
        assert_int_equal(file_out_reserve(o, total, &offset, NULL), FPR_OK);
        assert_int_equal(offset, 6);
        assert_int_equal(file_out_size(o), 6 + total);
        if (round % 2) assert_int_equal(file_out_write(o, "after", 5, NULL), FPR_OK);
        assert_int_equal(file_out_place(o, offset, parts, count, NULL), FPR_OK);
        if (round % 2 == 0) assert_int_equal(file_out_write(o, "after", 5, NULL), FPR_OK);
        assert_int_equal(file_out_commit(o, NULL), FPR_OK);
        assert_true(holds("out", expected, total + 11));
    }
    free(expected);
    free(big);
}

static void a_failure_of_one_part_fails_the_file(void **state)
{
    (void)state;
    uint8_t *big = pattern(BIG, 15);
    static const char *const calls[] = {"pwrite", "lseek", "writev"};
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        file_part parts[] = {{big, BIG}, {big, 5}, {big, BIG}};
        file_out *o;
        fpr_error e;
        uint64_t offset;
        no_faults();
        assert_int_equal(file_out_create("out", false, &o, &e), FPR_OK);
        assert_int_equal(file_out_write(o, "x", 1, &e), FPR_OK);
        fail_call(calls[i], i ? 0 : 1, 1, ENOSPC);
        if (!i) fault.at_most = 100000;
        fpr_status status = file_out_reserve(o, 2 * BIG + 5, &offset, &e);
        assert_int_equal(status, i ? FPR_IO : FPR_OK);
        if (!status) status = file_out_place(o, offset, parts, COUNT_OF(parts), &e);
        assert_int_equal(status, FPR_IO);
        assert_string_equal(e.file, "out");
        assert_non_null(strstr(e.message, "No space left on device"));
        if (i == 1)
            file_out_abandon(o);
        else
            assert_int_equal(file_out_commit(o, &e), FPR_IO);
        assert_int_equal(names("."), 0);
    }
    free(big);
}

static void output_is_hashed_as_it_will_be_read(void **state)
{
    (void)state;
    uint8_t *big = pattern(BIG, 12);
    file_out *o;
    fpr_error e;
    assert_int_equal(file_out_create("out", false, &o, &e), FPR_OK);
    assert_int_equal(file_out_write(o, big, BIG - 100, &e), FPR_OK);
    assert_int_equal(file_out_write(o, big + BIG - 100, 100, &e), FPR_OK);
    big[5] ^= 1;
    big[BIG - 5] ^= 1;
    assert_int_equal(file_out_patch(o, 5, big + 5, 1, &e), FPR_OK);
    assert_int_equal(file_out_patch(o, BIG - 5, big + BIG - 5, 1, &e), FPR_OK);
    fault.at_most = 100000; /* short reads, interrupted once */
    fail_call("pread", 2, 1, EINTR);
    file_hash *of_file = file_hash_new(), *of_bytes = file_hash_new();
    assert_int_equal(file_out_hash(o, of_file, 2, &e), FPR_OK);
    file_hash_add(of_bytes, big, BIG);
    assert_true(file_hash_end(of_file) == file_hash_end(of_bytes));
    fail_call("pread", 1, 1, EIO);
    of_file = file_hash_new();
    assert_int_equal(file_out_hash(o, of_file, 2, &e), FPR_IO);
    assert_string_equal(e.file, "out");
    file_hash_end(of_file);
    assert_int_equal(file_out_write(o, "more", 4, &e), FPR_OK); /* reading back disturbs nothing */
    assert_int_equal(file_out_commit(o, &e), FPR_OK);
    uint8_t *all = malloc(BIG + 4);
    memcpy(all, big, BIG);
    memcpy(all + BIG, "more", 4);
    assert_true(holds("out", all, BIG + 4));
    free(all);
    free(big);
}

static void small_writes_are_gathered_and_large_ones_are_not_copied(void **state)
{
    (void)state;
    file_out *o;
    uint8_t *big = pattern(BIG, 4);
    assert_int_equal(file_out_create("out", false, &o, NULL), FPR_OK);
    fail_call("writev", -1, 0, 0); /* only to count */
    for (int i = 0; i < 1000; i++) assert_int_equal(file_out_write(o, big, 1000, NULL), FPR_OK);
    assert_int_equal(fault.calls, 0);
    assert_int_equal(file_out_write(o, big, BIG, NULL), FPR_OK);
    assert_int_equal(fault.calls, 1);
    assert_int_equal(file_out_write(o, big, BIG, NULL), FPR_OK);
    assert_int_equal(fault.calls, 2);
    assert_int_equal(file_out_commit(o, NULL), FPR_OK);
    assert_int_equal(fault.calls, 2); /* nothing was left */
    free(big);
}

static fpr_status write_file(const char *path, bool force, const char *text, fpr_error *error)
{
    file_out *o;
    fpr_status status = file_out_create(path, force, &o, error);
    if (status) {
        assert_null(o);
        return status;
    }
    status = file_out_write(o, text, strlen(text), error);
    if (!status) return file_out_commit(o, error);
    file_out_abandon(o);
    return status;
}

static void permissions_are_the_users_or_the_old_files(void **state)
{
    (void)state;
    mode_t old = umask(027);
    assert_int_equal(write_file("new", false, "a", NULL), FPR_OK);
    fault.no_tmpfile = true;
    assert_int_equal(write_file("named", false, "a", NULL), FPR_OK);
    umask(0);
    assert_int_equal(write_file("open", false, "a", NULL), FPR_OK);
    umask(077);
    assert_int_equal(mode_of("new"), 0640);
    assert_int_equal(mode_of("named"), 0640);
    assert_int_equal(mode_of("open"), 0666);
    for (int named = 0; named < 2; named++) {
        fault.no_tmpfile = named;
        put("kept", "old", 3);
        assert_int_equal(chmod("kept", 0754), 0);
        assert_int_equal(write_file("kept", true, "new", NULL), FPR_OK);
        assert_true(holds("kept", "new", 3));
        assert_int_equal(mode_of("kept"), 0754);
        unlink("kept");
    }
    umask(old);
}

/* Where the old file's group cannot be given, the new file must not open itself to another group. */
static void a_group_that_cannot_be_kept_loses_its_rights(void **state)
{
    (void)state;
    if (geteuid() != 0) skip();
    put("kept", "old", 3);
    assert_int_equal(chmod("kept", 0664), 0);
    assert_int_equal(chown("kept", 12345, 23456), 0);
    assert_int_equal(write_file("kept", true, "new", NULL), FPR_OK);
    struct stat st;
    stat("kept", &st);
    assert_int_equal(st.st_uid, 12345);
    assert_int_equal(st.st_gid, 23456);
    assert_int_equal(st.st_mode & 07777, 0664);
    fail_call("fchown", 0, 9, EPERM);
    assert_int_equal(write_file("kept", true, "newer", NULL), FPR_OK);
    assert_int_equal(mode_of("kept"), 0604);
}

static void an_existing_file_is_only_replaced_by_force(void **state)
{
    (void)state;
    fpr_error e;
    put("out", "old", 3);
    assert_int_equal(write_file("out", false, "new", &e), FPR_EXISTS);
    assert_string_equal(e.file, "out");
    assert_true(holds("out", "old", 3));
    assert_int_equal(write_file("out", true, "new", &e), FPR_OK);
    assert_true(holds("out", "new", 3));
    assert_int_equal(names("."), 1);
}

static void a_file_that_appears_meanwhile_is_respected(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        for (int force = 0; force < 2; force++) {
            no_faults();
            fault.no_tmpfile = kind > 0;
            fault.no_noreplace = kind > 1;
            file_out *o;
            fpr_error e;
            assert_int_equal(file_out_create("out", force, &o, &e), FPR_OK);
            assert_int_equal(file_out_write(o, "mine", 4, &e), FPR_OK);
            put("out", "theirs", 6);
            if (force) {
                assert_int_equal(file_out_commit(o, &e), FPR_OK);
                assert_true(holds("out", "mine", 4));
            } else {
                assert_int_equal(file_out_commit(o, &e), FPR_EXISTS);
                assert_string_equal(e.file, "out");
                assert_true(holds("out", "theirs", 6));
            }
            assert_int_equal(names("."), 1);
            unlink("out");
        }
    }
}

static void links_stay_and_what_they_lead_to_is_written(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0700), 0);
    put("d/real", "old", 3);
    assert_int_equal(symlink("d/real", "one"), 0);
    assert_int_equal(symlink("one", "two"), 0);
    assert_int_equal(write_file("two", false, "new", NULL), FPR_EXISTS);
    assert_int_equal(write_file("two", true, "new", NULL), FPR_OK);
    assert_true(holds("d/real", "new", 3));
    /* a relative link counts from where it lies; an absolute one from the root */
    char absolute[600];
    snprintf(absolute, sizeof absolute, "%s/d/absolute", folder);
    assert_int_equal(symlink("fresh", "d/relative"), 0);
    assert_int_equal(symlink(absolute, "far"), 0);
    assert_int_equal(write_file("d/relative", false, "x", NULL), FPR_OK);
    assert_true(holds("d/fresh", "x", 1));
    assert_int_equal(write_file("far", false, "y", NULL), FPR_OK);
    assert_true(holds("d/absolute", "y", 1));
    static const char *const links[] = {"one", "two", "far", "d/relative"};
    for (size_t i = 0; i < COUNT_OF(links); i++) {
        struct stat st;
        assert_int_equal(lstat(links[i], &st), 0);
        assert_true(S_ISLNK(st.st_mode));
    }
    fpr_error e;
    assert_int_equal(symlink("ring", "ring"), 0);
    assert_int_equal(write_file("ring", true, "x", &e), FPR_IO);
    assert_non_null(strstr(e.message, "Too many levels of symbolic links"));
    assert_string_equal(e.file, "ring");
}

static void what_is_no_file_is_never_replaced(void **state)
{
    (void)state;
    fpr_error e;
    assert_int_equal(mkdir("d", 0700), 0);
    assert_int_equal(mkfifo("p", 0600), 0);
    assert_int_equal(symlink("d", "soft"), 0);
    static const struct { const char *path; fpr_status status; } cases[] = {
        {"d", FPR_EXISTS}, {"d/", FPR_EXISTS}, {"p", FPR_EXISTS}, {"soft", FPR_EXISTS}, {"/dev/null", FPR_EXISTS},
        {"", FPR_EXISTS}, {"/", FPR_EXISTS}, {".", FPR_EXISTS}, {"..", FPR_EXISTS},
        {"absent/file", FPR_IO}, {"p/file", FPR_IO}, {"/proc/version_new", FPR_IO},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fpr_status status = write_file(cases[i].path, true, "x", &e);
        if (status != cases[i].status) fail_msg("%s: %d %s", cases[i].path, status, e.message);
        assert_string_equal(e.file, cases[i].path);
    }
    char name[300];
    memset(name, 'n', sizeof name);
    name[299] = 0;
    assert_int_equal(write_file(name, true, "x", &e), FPR_IO);
    assert_non_null(strstr(e.message, "File name too long"));
    assert_int_equal(names("."), 3);
    assert_int_equal(names("d"), 0);
}

static void abandoned_output_leaves_nothing(void **state)
{
    (void)state;
    for (int named = 0; named < 2; named++) {
        file_out *o;
        fault.no_tmpfile = named;
        assert_int_equal(file_out_create("out", false, &o, NULL), FPR_OK);
        assert_int_equal(file_out_write(o, "x", 1, NULL), FPR_OK);
        assert_int_equal(names("."), named);
        file_out_abandon(o);
        assert_int_equal(names("."), 0);
    }
    file_out_abandon(NULL);
}

static void a_temporarys_name_cannot_be_guessed(void **state)
{
    (void)state;
    char first[300] = "";
    fault.no_tmpfile = true;
    for (int i = 0; i < 2; i++) {
        file_out *o;
        assert_int_equal(file_out_create("out", false, &o, NULL), FPR_OK);
        DIR *d = opendir(".");
        for (struct dirent *e; (e = readdir(d));)
            if (strncmp(e->d_name, ".filterprune-", 13) == 0) {
                assert_int_equal(strlen(e->d_name), 13 + 16); /* 64 random bits */
                assert_string_not_equal(e->d_name, first);
                strcpy(first, e->d_name);
            }
        closedir(d);
        assert_string_not_equal(first, "");
        file_out_abandon(o);
    }
    fail_call("getrandom", 0, 1, ENOSYS);
    fpr_error e;
    assert_int_equal(write_file("out", false, "x", &e), FPR_IO);
    assert_int_equal(names("."), 0);
}

static void after_a_failed_write_nothing_can_be_committed(void **state)
{
    (void)state;
    uint8_t *big = pattern(BIG, 5);
    static const char *const calls[] = {"writev", "pwrite"};
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        file_out *o;
        fpr_error e;
        no_faults();
        assert_int_equal(file_out_create("out", false, &o, &e), FPR_OK);
        assert_int_equal(file_out_write(o, big, BIG, &e), FPR_OK);
        fail_call(calls[i], 0, 1, ENOSPC);
        if (i)
            assert_int_equal(file_out_patch(o, 5, "x", 1, &e), FPR_IO);
        else
            assert_int_equal(file_out_write(o, big, BIG, &e), FPR_IO);
        assert_string_equal(e.file, "out");
        assert_non_null(strstr(e.message, "No space left on device"));
        assert_int_equal(file_out_commit(o, &e), FPR_IO);
        assert_int_equal(names("."), 0);
    }
    free(big);
}

/* The limit on file sizes stands in for a full disk: the kernel really takes a part and then refuses. */
static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 1 << 20;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    file_out *o;
    fpr_error e;
    uint8_t *big = pattern(BIG, 6);
    put("out", "old", 3);
    assert_int_equal(file_out_create("out", true, &o, &e), FPR_OK);
    assert_int_equal(file_out_write(o, big, BIG, &e), FPR_IO);
    assert_non_null(strstr(e.message, "File too large"));
    file_out_abandon(o);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_true(holds("out", "old", 3));
    assert_int_equal(names("."), 1);
    free(big);
}

/* ---- every system call in turn */

/* Makes the file of BIG + 8 bytes: 4 bytes "head" (patched), the pattern, 4 bytes "tail". */
static fpr_status whole_job(bool force, const uint8_t *big, fpr_error *error)
{
    file_out *o;
    fpr_status status = file_out_create("out", force, &o, error);
    if (status) return status;
    status = file_out_write(o, "????", 4, error);
    if (!status) status = file_out_write(o, big, BIG, error);
    if (!status) status = file_out_write(o, "tail", 4, error);
    if (!status) status = file_out_patch(o, 0, "head", 4, error);
    if (!status) return file_out_commit(o, error);
    file_out_abandon(o);
    return status;
}

/* errnum strikes once at the n-th call, for every n. Returns how many faults the job lived through. */
static long fail_each_call(int kind, bool replaces, int errnum, const uint8_t *big, const uint8_t *whole)
{
    long survived = 0;
    for (long n = 0;; n++) {
        fpr_error e = {0};
        unlink("out");
        if (replaces) put("out", "old", 3);
        no_faults();
        fault.no_tmpfile = kind > 0;
        fault.no_noreplace = kind > 1;
        fail_call(NULL, n, 1, errnum);
        fpr_status status = whole_job(replaces, big, &e);
        bool struck = fault.in <= 0 && fault.times <= 0;
        no_faults();
        bool is_whole = holds("out", whole, BIG + 8);
        if (status == FPR_OK) {
            assert_true(is_whole);
            survived += struck;
        } else {
            assert_true(status == FPR_IO);
            assert_string_equal(e.file, "out");
            assert_true(e.message[0]);
            /* The old file, or none, or (the last flush failed) the whole new one, which the message says. */
            if (is_whole)
                assert_non_null(strstr(e.message, "is written"));
            else if (replaces)
                assert_true(holds("out", "old", 3));
            else
                assert_int_equal(access("out", F_OK), -1);
        }
        size_t expected = access("out", F_OK) == 0;
        assert_int_equal(names("."), expected);
        if (!struck) {
            assert_int_equal(status, FPR_OK);
            assert_true(n >= 8);
            return survived;
        }
    }
}

static void whichever_call_fails_the_output_is_whole_or_absent(void **state)
{
    (void)state;
    uint8_t *big = pattern(BIG, 7), *whole = malloc(BIG + 8);
    memcpy(whole, "head", 4);
    memcpy(whole + 4, big, BIG);
    memcpy(whole + 4 + BIG, "tail", 4);
    static const int errnums[] = {EIO, ENOSPC, EACCES, ENOMEM, EINVAL};
    for (int kind = 0; kind < 3; kind++)
        for (int replaces = 0; replaces < 2; replaces++)
            for (size_t i = 0; i < COUNT_OF(errnums); i++) fail_each_call(kind, replaces, errnums[i], big, whole);
    free(big);
    free(whole);
}

static void interruptions_do_not_stop_a_job(void **state)
{
    (void)state;
    uint8_t *big = pattern(BIG, 8);
    static const char *const calls[] = {"open", "openat", "writev", "pwrite", "fsync", "getrandom"};
    for (int kind = 0; kind < 2; kind++)
        for (size_t i = 0; i < COUNT_OF(calls); i++)
            for (long n = 0; n < 2; n++) {
                no_faults();
                unlink("out");
                fault.no_tmpfile = kind;
                fail_call(calls[i], n, 3, EINTR);
                assert_int_equal(whole_job(false, big, NULL), FPR_OK);
            }
    free(big);
}

static void without_proc_a_named_temporary_serves(void **state)
{
    (void)state;
    fail_call("access", 0, 1, ENOENT);
    file_out *o;
    assert_int_equal(file_out_create("out", false, &o, NULL), FPR_OK);
    assert_int_equal(names("."), 1);
    assert_int_equal(file_out_write(o, "x", 1, NULL), FPR_OK);
    assert_int_equal(file_out_commit(o, NULL), FPR_OK);
    assert_true(holds("out", "x", 1));
    assert_int_equal(names("."), 1);
}

/* A child replaces a file again and again and is killed at some moment: the file is always one of the whole ones. */
static void killed_at_any_moment_the_file_is_whole(void **state)
{
    (void)state;
    enum { SIZE = 1500000, KILLS = 60 };
    uint8_t *a = pattern(SIZE, 9), *b = pattern(SIZE, 10);
    put("out", (const char *)a, SIZE);
    unsigned seed = 11;
    int seen_b = 0;
    for (int i = 0; i < KILLS; i++) {
        int done[2];
        assert_int_equal(pipe(done), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (int round = 1;; round++) {
                file_out *o;
                if (file_out_create("out", true, &o, NULL)) _exit(1);
                if (file_out_write(o, round & 1 ? b : a, SIZE / 2, NULL)) _exit(1);
                if (file_out_write(o, (round & 1 ? b : a) + SIZE / 2, SIZE - SIZE / 2, NULL)) _exit(1);
                if (file_out_commit(o, NULL)) _exit(1);
                if (write(done[1], "", 1) < 0) _exit(1);
            }
        }
        /* Every third one is let through its first round, however slow the machine. */
        close(done[1]);
        char byte;
        if (i % 3 == 0) assert_int_equal(read(done[0], &byte, 1), 1);
        seed = seed * 1664525u + 1013904223u;
        usleep(seed >> 17); /* up to 33 ms */
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        close(done[0]);
        assert_true(WIFSIGNALED(status));
        bool is_b = holds("out", b, SIZE);
        assert_true(is_b || holds("out", a, SIZE));
        seen_b += is_b;
    }
    assert_true(seen_b > 0); /* the child got somewhere */
    free(a);
    free(b);
}

/* ---- hash */

/* xxHash's own check: its sanity buffer, and the values of XXH3_64bits without a seed (xxHash,
 * tests/sanity_test_vectors.h). */
static void hashes_are_xxh3(void **state)
{
    (void)state;
    static const struct { size_t count; uint64_t hash; } expected[] = {
        {0, 0x2D06800538D394C2u},   {1, 0xC44BDFF4074EECDBu},    {6, 0x27B56A84CD2D7325u},   {12, 0xA713DAF0DFBB77E7u},
        {24, 0xA3FE70BF9D3510EBu},  {48, 0x397DA259ECBA1F11u},   {80, 0xBCDEFBBB2C47C90Au},  {195, 0xCD94217EE362EC3Au},
        {403, 0xCDEB804D65C6DEA4u}, {512, 0x617E49599013CB6Bu},  {2048, 0xDD59E2C3A5F038E0u},
        {2367, 0xCB37AEB9E5D361EDu},
    };
    uint8_t buffer[2367];
    uint64_t generator = 2654435761u;
    for (size_t i = 0; i < sizeof buffer; i++) {
        buffer[i] = (uint8_t)(generator >> 56);
        generator *= 11400714785074694797u;
    }
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        for (size_t step = 1; step < 4000; step = step * 3 + 1) {
            file_hash *h = file_hash_new();
            for (size_t at = 0; at < expected[i].count; at += step) {
                size_t left = expected[i].count - at;
                file_hash_add(h, buffer + at, left < step ? left : step);
            }
            file_hash_add(h, NULL, 0);
            assert_true(file_hash_end(h) == expected[i].hash);
        }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_file_is_read_at_any_place),
        IN_FOLDER(what_is_no_file_is_refused_without_waiting),
        IN_FOLDER(links_lead_to_the_file),
        IN_FOLDER(a_stamp_tells_files_and_versions_apart),
        IN_FOLDER(interruptions_and_short_reads_do_not_show),
        IN_FOLDER(a_failing_disk_is_reported),
        IN_FOLDER(change_while_reading_is_noticed),
        IN_FOLDER(opening_may_run_out_of_memory),
        IN_FOLDER(nothing_shows_before_it_is_committed),
        IN_FOLDER(writes_and_patches_in_any_mixture),
        IN_FOLDER(parts_are_placed_one_after_the_other),
        IN_FOLDER(a_failure_of_one_part_fails_the_file),
        IN_FOLDER(output_is_hashed_as_it_will_be_read),
        IN_FOLDER(small_writes_are_gathered_and_large_ones_are_not_copied),
        IN_FOLDER(permissions_are_the_users_or_the_old_files),
        IN_FOLDER(a_group_that_cannot_be_kept_loses_its_rights),
        IN_FOLDER(an_existing_file_is_only_replaced_by_force),
        IN_FOLDER(a_file_that_appears_meanwhile_is_respected),
        IN_FOLDER(links_stay_and_what_they_lead_to_is_written),
        IN_FOLDER(what_is_no_file_is_never_replaced),
        IN_FOLDER(abandoned_output_leaves_nothing),
        IN_FOLDER(a_temporarys_name_cannot_be_guessed),
        IN_FOLDER(after_a_failed_write_nothing_can_be_committed),
        IN_FOLDER(a_full_disk_leaves_nothing),
        IN_FOLDER(whichever_call_fails_the_output_is_whole_or_absent),
        IN_FOLDER(interruptions_do_not_stop_a_job),
        IN_FOLDER(without_proc_a_named_temporary_serves),
        IN_FOLDER(killed_at_any_moment_the_file_is_whole),
        cmocka_unit_test(hashes_are_xxh3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The helper that reads HDF5, as a child: started on one open file, heard through a pipe, ended with the source. */
#include "source/hdf5.h"

#include "hdf5/wire.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER "filterprune-hdf5"
#define WAIT_MS 100 /* between looks at the cancel flag */

struct hdf5_process {
    pid_t child; /* 0: gone */
    int pipe;
    uint8_t *payload;
    size_t capacity;
};

/* ---------------------------------------------------------------- where the helper is */

static bool beside(const char *program, char path[PATH_MAX])
{
    const char *slash = strrchr(program, '/');
    if (!slash || (size_t)(slash - program) + sizeof "/" HELPER > PATH_MAX) return false;
    memcpy(path, program, (size_t)(slash - program));
    strcpy(path + (slash - program), "/" HELPER);
    return access(path, X_OK) == 0;
}

/* Named by the environment, beside the program, beside the library, or where it is installed. */
static bool find_helper(char path[PATH_MAX])
{
    const char *named = secure_getenv("FILTERPRUNE_HDF5");
    if (named) return snprintf(path, PATH_MAX, "%s", named) < PATH_MAX && access(path, X_OK) == 0;
    char own[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n > 0) {
        own[n] = 0;
        if (beside(own, path)) return true;
    }
    Dl_info library;
    static const char anchor = 0;
    if (dladdr(&anchor, &library) && library.dli_fname && realpath(library.dli_fname, own) && beside(own, path)) return true;
    return snprintf(path, PATH_MAX, "%s", FPR_HDF5_HELPER) < PATH_MAX && access(path, X_OK) == 0;
}

/* ---------------------------------------------------------------- start and end */

static fpr_status spawn(const char *helper, int input, int output, char *const arguments[], pid_t *child, fpr_error *error)
{
    char *const nothing[] = {NULL};
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions)) return base_no_memory(error, sizeof actions);
    /* dup2 onto itself leaves the close-on-exec flag: both go through numbers that nobody has. */
    int wrong = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (!wrong) wrong = posix_spawn_file_actions_adddup2(&actions, input, HDF5_INPUT_FD);
    if (!wrong) wrong = posix_spawn(child, helper, &actions, NULL, arguments, nothing);
    posix_spawn_file_actions_destroy(&actions);
    return wrong ? base_fail_errno(error, FPR_IO, wrong, "cannot start %s", helper) : FPR_OK;
}

/* A copy of a descriptor with a number that the helper's own do not take. */
static int high_copy(int fd)
{
    const int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (fd >= 0) close(fd);
    return copy;
}

fpr_status hdf5_start(const file_source *file, uint64_t begin, uint64_t size, bool allow_expand, hdf5_process **out,
                      fpr_error *error)
{
    char helper[PATH_MAX];
    *out = NULL;
    if (!find_helper(helper))
        return base_fail(error, FPR_IO, "is HDF5, which the program " HELPER " reads, and that is missing: it is built "
                                        "where libhdf5-dev is installed (Debian: apt install libhdf5-dev)");
    hdf5_process *p = base_calloc(1, sizeof *p);
    if (!p) return base_no_memory(error, sizeof *p);
    int ends[2] = {-1, -1};
    const int input = high_copy(open(file_source_path(file), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    fpr_status status = FPR_OK;
    if (input < 0 || pipe2(ends, O_CLOEXEC))
        status = base_fail_errno(error, FPR_IO, errno, "cannot open it for " HELPER);
    const int output = high_copy(ends[1]);
    p->pipe = ends[0];
    if (!status && output < 0) status = base_fail_errno(error, FPR_IO, errno, "cannot start " HELPER);
    char name[] = HELPER, expand[] = HDF5_EXPAND, from[24], bytes[24];
    snprintf(from, sizeof from, "%llu", (unsigned long long)begin);
    snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)size);
    char *const arguments[] = {name, from, bytes, allow_expand ? expand : NULL, NULL};
    if (!status) status = spawn(helper, input, output, arguments, &p->child, error);
    if (input >= 0) close(input);
    if (output >= 0) close(output);
    if (status) {
        p->child = 0;
        hdf5_stop(p);
        return status;
    }
    *out = p;
    return FPR_OK;
}

static int wait_for(pid_t child)
{
    int how = 0;
    while (waitpid(child, &how, 0) < 0 && errno == EINTR) continue;
    return how;
}

void hdf5_stop(hdf5_process *p)
{
    if (!p) return;
    if (p->pipe >= 0) close(p->pipe);
    if (p->child) {
        kill(p->child, SIGKILL);
        wait_for(p->child);
    }
    base_free(p->payload);
    base_free(p);
}

/* ---------------------------------------------------------------- records */

/* The pipe is at its end too early: whether the helper broke or gave up. */
static fpr_status ended(hdf5_process *p, fpr_error *error)
{
    const int how = wait_for(p->child);
    p->child = 0;
    if (WIFSIGNALED(how))
        return base_fail(error, FPR_BAD_HEADER, "breaks the library that reads HDF5 (" HELPER " ended by signal %d)",
                         WTERMSIG(how));
    return base_fail(error, FPR_BAD_HEADER, "cannot be read by " HELPER " (status %d)", WEXITSTATUS(how));
}

static fpr_status read_all(hdf5_process *p, const volatile int *cancel, void *dst, size_t n, fpr_error *error)
{
    for (uint8_t *to = dst; n;) {
        struct pollfd wait = {.fd = p->pipe, .events = POLLIN};
        if (cancel && *cancel) return base_fail(error, FPR_CANCELLED, "cancelled");
        const int ready = poll(&wait, 1, WAIT_MS);
        if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
        const ssize_t got = read(p->pipe, to, n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return ended(p, error);
        to += got, n -= (size_t)got;
    }
    return FPR_OK;
}

fpr_status hdf5_next(hdf5_process *p, const volatile int *cancel, char *kind, const uint8_t **payload, size_t *bytes,
                     fpr_error *error)
{
    uint8_t head[HDF5_RECORD_HEAD];
    fpr_status status = read_all(p, cancel, head, sizeof head, error);
    if (status) return status;
    const uint64_t n = base_load_le64(head + 1);
    if (n > HDF5_RECORD_MOST) return base_fail(error, FPR_BAD_HEADER, "makes " HELPER " say what it never says");
    if (n > p->capacity || !p->payload) {
        uint8_t *more = base_grow(p->payload, n + 1, 1); /* of an empty one too there is a place */
        if (!more) return base_no_memory(error, n);
        p->payload = more, p->capacity = (size_t)n;
    }
    status = read_all(p, cancel, p->payload, (size_t)n, error);
    *kind = (char)head[0], *payload = p->payload, *bytes = (size_t)n;
    if (!status && *kind == HDF5_ERROR) {
        const size_t said = strnlen((const char *)p->payload, n < 200 ? (size_t)n : 200);
        return said ? base_fail(error, FPR_BAD_HEADER, "%.*s", (int)said, p->payload)
                    : base_fail(error, FPR_BAD_HEADER, "cannot be read by " HELPER);
    }
    return status;
}

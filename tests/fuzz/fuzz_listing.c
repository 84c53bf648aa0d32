/* Fuzzing: what the helper that reads HDF5 says through its pipe (src/hdf5/wire.h). The input is that, from a helper taken
 * over by the reader of a stranger's file; the file it speaks of has 1 KiB and is always the same. No process is started:
 * here the place of posix_spawn and of the pipe is taken by functions that hand out the input.
 *
 * What is accepted lies in the file, or came through the pipe, and is what source.h promises. */
#include "check_source.h"

#include "source/hdf5.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_BYTES 1024

#define PIPE_FD (MEMORY_FD + 100) /* and any other of its kind: both ends, and the copies that the helper would get */
#define CHILD INT32_MAX            /* no process has it */

static const uint8_t *said;
static size_t said_bytes;

int pipe2(int ends[2], int flags)
{
    (void)flags;
    ends[0] = PIPE_FD, ends[1] = PIPE_FD + 1;
    return 0;
}

/* Nobody else waits for anything. */
int poll(struct pollfd *of, nfds_t count, int wait)
{
    (void)wait;
    for (nfds_t i = 0; i < count; i++) of[i].revents = POLLIN;
    return (int)count;
}

ssize_t read(int fd, void *to, size_t count)
{
    if (fd != PIPE_FD) return syscall(SYS_read, fd, to, count);
    if (count > said_bytes) count = said_bytes;
    if (count) memcpy(to, said, count);
    said += count, said_bytes -= count;
    return (ssize_t)count;
}

int fcntl(int fd, int what, ...)
{
    if (fd >= MEMORY_FD) return fd;
    va_list list;
    va_start(list, what);
    void *argument = va_arg(list, void *);
    va_end(list);
    return (int)syscall(SYS_fcntl, fd, what, argument);
}

int kill(pid_t child, int signal) { return child == CHILD ? 0 : (int)syscall(SYS_kill, child, signal); }

pid_t waitpid(pid_t child, int *how, int options)
{
    if (child != CHILD) return (pid_t)syscall(SYS_wait4, child, how, options, NULL);
    *how = 0;
    return child;
}

int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int as)
{
    (void)actions, (void)fd, (void)as;
    return 0;
}

int posix_spawn(pid_t *child, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *how,
                char *const arguments[], char *const environment[])
{
    (void)path, (void)actions, (void)how, (void)arguments, (void)environment;
    *child = CHILD;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char file[FILE_BYTES] = "\x89HDF\r\n\x1a\n";
    static bool ready;
    fpr_error error = {0};
    const source_options options = {0};
    source *s = NULL;
    if (!ready) {
        require(setenv("FILTERPRUNE_HDF5", "/proc/self/exe", 1) == 0);
        if (access("/dev/shm", W_OK) == 0) require(setenv("TMPDIR", "/dev/shm", 1) == 0);
        ready = true;
    }
    said = data, said_bytes = size;
    const fpr_status status = source_open(memory_path(0, file, sizeof file), &options, &s, &error);
    if (status) {
        require(status == FPR_BAD_HEADER && error.status == status && error.message[0] && !s);
    } else {
        require(s->format == &source_hdf5 && s->tensor_count + s->skipped_count);
        for (size_t i = 0; i < s->tensor_count && i < 100; i++) check_tensor(s, i, FILE_BYTES);
        for (size_t i = 0; i < s->skipped_count; i++) require(s->skipped[i].name && s->skipped[i].why);
        source_close(s);
    }
    require(base_allocations_alive() == 0);
    return 0;
}

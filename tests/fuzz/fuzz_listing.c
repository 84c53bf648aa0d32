/* Fuzzing: what the helper that reads HDF5 says through its pipe (src/hdf5/wire.h). The input is that, from a helper taken
 * over by the reader of a stranger's file; the file it speaks of has 1 KiB and is always the same. No process is started:
 * here the place of posix_spawn is taken by a function that puts the input into the pipe.
 *
 * What is accepted lies in the file, or came through the pipe, and is what source.h promises. */
#include "check_source.h"

#include "source/hdf5.h"

#include <fcntl.h>
#include <spawn.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_BYTES 1024

static const uint8_t *said;
static size_t said_bytes;
static int pipe_end;

int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int fd, int as)
{
    (void)actions;
    if (as == STDOUT_FILENO) pipe_end = fd;
    return 0;
}

/* The child is a number that no process has: nobody waits for it, or ends it. What a pipe does not hold at once is lost, as when the helper breaks. */
int posix_spawn(pid_t *child, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *how,
                char *const arguments[], char *const environment[])
{
    (void)path, (void)actions, (void)how, (void)arguments, (void)environment;
    *child = INT32_MAX;
    require(fcntl(pipe_end, F_SETFL, O_NONBLOCK) == 0);
    require(!said_bytes || write(pipe_end, said, said_bytes) > 0);
    return 0;
}

static void open_file(char path[40])
{
    static int fd = -1;
    static const char signature[FILE_BYTES] = "\x89HDF\r\n\x1a\n";
    if (fd < 0) {
        fd = memfd_create("hdf5", MFD_CLOEXEC);
        require(fd >= 0 && write(fd, signature, sizeof signature) == (ssize_t)sizeof signature);
        require(setenv("FILTERPRUNE_HDF5", "/proc/self/exe", 1) == 0);
        if (access("/dev/shm", W_OK) == 0) require(setenv("TMPDIR", "/dev/shm", 1) == 0);
    }
    snprintf(path, 40, "/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[40];
    fpr_error error = {0};
    const source_options options = {0};
    source *s = NULL;
    open_file(path);
    said = data, said_bytes = size;
    const fpr_status status = source_open(path, &options, &s, &error);
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

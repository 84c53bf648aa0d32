/* rlimits, and a seccomp filter written out as its few instructions. */
#include "hdf5/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define MEMORY_MOST (UINT64_C(1) << 30)
#define SECONDS_MOST 600

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

static bool limit(int resource, rlim_t most)
{
    const struct rlimit r = {most, most};
    return setrlimit(resource, &r) == 0;
}

static bool limits(void)
{
#if defined(__SANITIZE_ADDRESS__)
    const bool memory = true; /* its shadow takes terabytes of addresses */
#else
    const bool memory = limit(RLIMIT_AS, MEMORY_MOST);
#endif
    return memory && limit(RLIMIT_CPU, SECONDS_MOST) && limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, 0);
}

#ifdef ARCHITECTURE
#define FIELD(f) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, f))
#define ANSWER(a) BPF_STMT(BPF_RET | BPF_K, (a))
#define ON(call, a) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), ANSWER(a)
#define ALLOW(call) ON(call, SECCOMP_RET_ALLOW)
#define REFUSE(call) ON(call, SECCOMP_RET_ERRNO | EACCES)

static bool filter_calls(void)
{
    struct sock_filter program[] = {
        FIELD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        FIELD(nr),
        ALLOW(read), ALLOW(pread64), ALLOW(readv), ALLOW(write), ALLOW(writev), ALLOW(lseek), ALLOW(close), ALLOW(fstat),
        ALLOW(brk), ALLOW(mmap), ALLOW(munmap), ALLOW(mremap), ALLOW(mprotect), ALLOW(madvise), ALLOW(futex),
        ALLOW(exit), ALLOW(exit_group), ALLOW(rt_sigreturn), ALLOW(rt_sigprocmask), ALLOW(rt_sigaction),
        ALLOW(clock_gettime), ALLOW(gettimeofday), ALLOW(getpid), ALLOW(getrandom), ALLOW(fcntl),
        ALLOW(sigaltstack), ALLOW(sched_yield), ALLOW(flock),
#ifdef __NR_newfstatat
        REFUSE(newfstatat),
#endif
#ifdef __NR_open
        REFUSE(open), REFUSE(stat), REFUSE(access), REFUSE(readlink),
#endif
        REFUSE(openat), REFUSE(ioctl), REFUSE(getcwd),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog whole = {sizeof program / sizeof *program, program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) == 0;
}
#else
static bool filter_calls(void) { return false; }
#endif

bool hdf5_confine(void) { return limits() && filter_calls(); }

/* The one place with OpenMP in it. */
#include "base/base.h"

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

void base_parallel(unsigned threads, size_t count, base_task task, void *context)
{
    if (threads <= 1 || count <= 1 || omp_in_parallel()) {
        for (size_t i = 0; i < count; i++) task(context, i, 0);
        return;
    }
    if (threads > count) threads = (unsigned)count;
#pragma omp parallel for schedule(dynamic, 1) num_threads((int)threads)
    for (size_t i = 0; i < count; i++) task(context, i, (unsigned)omp_get_thread_num());
}

/* A cgroup v2 quota "MAX PERIOD" in microseconds; 0 when there is none. */
static unsigned quota_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    unsigned long long max, period;
    unsigned cores = 0;
    if (fscanf(f, "%llu %llu", &max, &period) == 2 && period) {
        unsigned long long n = (max + period - 1) / period;
        cores = n > 1024 ? 0 : (unsigned)n;
    }
    fclose(f);
    return cores;
}

unsigned base_cores(void)
{
    cpu_set_t set;
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* for machines with more cores than a cpu_set_t holds */
    unsigned cores = online > 0 && online < 65536 ? (unsigned)online : 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = (unsigned)CPU_COUNT(&set);
    unsigned quota = quota_cores();
    if (quota && quota < cores) cores = quota;
    return cores ? cores : 1;
}

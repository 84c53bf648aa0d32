/* The one parallel loop: a pool of threads that take the next index until there is none.
 *
 * Not OpenMP, whose waiting threads spin for milliseconds: on a busy machine that took more time than the work itself
 * (2.7 times the processor time at a load of 15). These spin for some microseconds, long enough for the next loop
 * of a job to come, and then sleep. */
#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define WORKERS_MAX 255
#define SPINS 400 /* pauses, 10 to 20 microseconds */

static struct {
    pthread_mutex_t caller; /* held by the loop that has the pool */
    pthread_mutex_t mutex;  /* guards what follows, but for the atomics */
    pthread_cond_t work, done;
    pthread_t threads[WORKERS_MAX];
    unsigned created;
    pid_t owner;            /* a forked child has none of the threads */
    bool quit, open;        /* open: workers may join the loop */
    unsigned wanted;        /* workers that may join */
    atomic_uint round;      /* counts loops */
    atomic_uint active;     /* workers inside the loop */
    base_task task;
    void *context;
    size_t count;
    atomic_size_t next;
} pool = {.caller = PTHREAD_MUTEX_INITIALIZER,
          .mutex = PTHREAD_MUTEX_INITIALIZER,
          .work = PTHREAD_COND_INITIALIZER,
          .done = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside; /* a task of a loop */

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    sched_yield();
#endif
}

static void take_indices(base_task task, void *context, size_t count, unsigned worker)
{
    inside = true;
    for (size_t i; (i = atomic_fetch_add_explicit(&pool.next, 1, memory_order_relaxed)) < count;)
        task(context, i, worker);
    inside = false;
}

static void *worker_main(void *argument)
{
    unsigned id = (unsigned)(uintptr_t)argument, seen = 0;
    pthread_mutex_lock(&pool.mutex);
    while (!pool.quit) {
        unsigned round = atomic_load(&pool.round);
        if (round == seen || !pool.open || id > pool.wanted) {
            pthread_mutex_unlock(&pool.mutex);
            for (int i = 0; i < SPINS && atomic_load_explicit(&pool.round, memory_order_relaxed) == round; i++)
                pause_briefly();
            pthread_mutex_lock(&pool.mutex);
            while (!pool.quit && atomic_load(&pool.round) == round) pthread_cond_wait(&pool.work, &pool.mutex);
            continue;
        }
        seen = round;
        atomic_fetch_add(&pool.active, 1);
        base_task task = pool.task;
        void *context = pool.context;
        size_t count = pool.count;
        pthread_mutex_unlock(&pool.mutex);
        take_indices(task, context, count, id);
        pthread_mutex_lock(&pool.mutex);
        if (atomic_fetch_sub(&pool.active, 1) == 1) pthread_cond_signal(&pool.done);
    }
    pthread_mutex_unlock(&pool.mutex);
    return NULL;
}

/* Signals belong to the threads of the program. Fewer threads than wanted are no error. */
static void create_workers(unsigned wanted)
{
    sigset_t all, old;
    sigfillset(&all);
    if (pool.created >= wanted || pthread_sigmask(SIG_SETMASK, &all, &old) != 0) return;
    for (; pool.created < wanted; pool.created++)
        if (pthread_create(&pool.threads[pool.created], NULL, worker_main, (void *)(uintptr_t)(pool.created + 1)) != 0)
            break;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* In a forked child: its parent's threads are not there, but lock and conditions may still count them, and waking those
 * would wait for ever. */
static void start_afresh(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    memcpy(&pool.mutex, &mutex, sizeof mutex);
    memcpy(&pool.work, &condition, sizeof condition);
    memcpy(&pool.done, &condition, sizeof condition);
    atomic_store(&pool.active, 0);
    pool.created = 0;
    pool.owner = getpid();
}

static void run_on_pool(unsigned workers, size_t count, base_task task, void *context)
{
    if (pool.owner != getpid()) start_afresh();
    pthread_mutex_lock(&pool.mutex);
    create_workers(workers);
    pool.task = task;
    pool.context = context;
    pool.count = count;
    pool.wanted = workers;
    pool.open = true;
    atomic_store(&pool.next, 0);
    atomic_fetch_add(&pool.round, 1);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
    take_indices(task, context, count, 0);
    for (int i = 0; i < SPINS && atomic_load(&pool.active); i++) pause_briefly();
    pthread_mutex_lock(&pool.mutex);
    pool.open = false;
    while (atomic_load(&pool.active)) pthread_cond_wait(&pool.done, &pool.mutex);
    pthread_mutex_unlock(&pool.mutex);
}

void base_parallel(unsigned threads, size_t count, base_task task, void *context)
{
    unsigned workers = threads < count ? threads : (unsigned)count;
    workers = workers > WORKERS_MAX ? WORKERS_MAX : workers;
    /* Somebody else's loop has the pool: this one does not wait for it. */
    if (workers > 1 && !inside && pthread_mutex_trylock(&pool.caller) == 0) {
        run_on_pool(workers - 1, count, task, context);
        pthread_mutex_unlock(&pool.caller);
        return;
    }
    for (size_t i = 0; i < count; i++) task(context, i, 0);
}

/* The library may be unloaded: no thread may be left in it. */
__attribute__((destructor)) static void stop_workers(void)
{
    if (pool.owner != getpid()) return;
    pthread_mutex_lock(&pool.mutex);
    pool.quit = true;
    atomic_fetch_add(&pool.round, 1);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
    for (unsigned i = 0; i < pool.created; i++) pthread_join(pool.threads[i], NULL);
    pool.created = 0;
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
    unsigned cores = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = (unsigned)CPU_COUNT(&set);
    unsigned quota = quota_cores();
    if (quota && quota < cores) cores = quota;
    return cores ? cores : 1;
}

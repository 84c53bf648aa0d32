/* The one parallel loop: threads that take the next index until there is none.
 *
 * Loops nest. A loop is published while it has indices left, and whoever has nothing to do joins the newest: workers that
 * wait for work, and callers that wait for the last tasks of their own loop. So one large task among small ones, cut
 * into a loop inside, does not leave the other threads idle.
 *
 * Not OpenMP, whose waiting threads spin for milliseconds: on a busy machine that took more time than the work itself
 * (2.7 times the processor time at a load of 15). These spin for a tenth of one, long enough for the next loop of a
 * job to come, and then sleep. */
#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define WORKERS_MAX 255
#define SPINS 6000 /* pauses, some 80 microseconds: longer than it takes to wake a thread of a virtual machine */

typedef struct loop {
    base_task task;
    void *context;
    size_t count;
    unsigned threads;    /* threads numbered below this may join */
    unsigned joined;     /* others than the caller that are inside; guarded by the pool's mutex */
    const volatile int *cancel; /* what the caller watches */
    atomic_size_t next;
    struct loop *older;
} loop;

static struct {
    pthread_mutex_t caller; /* held by the outermost loop that has the pool */
    pthread_mutex_t mutex;  /* guards what follows, but for the atomics */
    pthread_cond_t change;  /* a loop was published, or left by the last who had joined it */
    pthread_t threads[WORKERS_MAX];
    unsigned created, sleeping;
    pid_t owner;            /* a forked child has none of the threads */
    bool quit;
    loop *newest;
    atomic_uint changes;
} pool = {.caller = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

/* The number of this thread, plus one, while it runs tasks of the pool; 0 outside. */
static _Thread_local unsigned inside;
static _Thread_local const volatile int *watched;

const volatile int *base_watch(const volatile int *cancel)
{
    const volatile int *before = watched;
    watched = cancel;
    return before;
}

/* From any thread; whoever sets it may be a signal handler or another thread. */
bool base_cancelled(void) { return watched && __atomic_load_n(watched, __ATOMIC_RELAXED); }

fpr_status base_check_cancelled(fpr_error *error)
{
    return base_cancelled() ? base_fail(error, FPR_CANCELLED, "interrupted") : FPR_OK;
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    sched_yield();
#endif
}

static bool has_left(loop *l) { return atomic_load_explicit(&l->next, memory_order_relaxed) < l->count; }

static void take_indices(loop *l, unsigned worker)
{
    const unsigned before = inside;
    const volatile int *watched_before = base_watch(l->cancel);
    inside = worker + 1;
    for (size_t i; (i = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed)) < l->count;)
        l->task(l->context, i, worker);
    inside = before;
    base_watch(watched_before);
}

/* Tells the threads that wait. The mutex is held. */
static void tell(void)
{
    atomic_fetch_add(&pool.changes, 1);
    if (pool.sleeping) pthread_cond_broadcast(&pool.change);
}

/* Joins the newest loop that has indices left, and stays until it has none; only loops newer than `than`, if given: in
 * a task of an older one this very thread may be, and its scratch memory is taken. The mutex is held, but not meanwhile. */
static bool help(unsigned worker, const loop *than)
{
    loop *l = pool.newest;
    while (l != than && !(worker < l->threads && has_left(l))) l = l->older;
    if (l == than) return false;
    l->joined++;
    pthread_mutex_unlock(&pool.mutex);
    take_indices(l, worker);
    pthread_mutex_lock(&pool.mutex);
    if (--l->joined == 0) tell();
    return true;
}

/* Waits for a change, awake for a while, then asleep. The mutex is held, but not meanwhile. */
static void wait_for_change(void)
{
    const unsigned seen = atomic_load(&pool.changes);
    pthread_mutex_unlock(&pool.mutex);
    for (int i = 0; i < SPINS && atomic_load_explicit(&pool.changes, memory_order_relaxed) == seen; i++) pause_briefly();
    pthread_mutex_lock(&pool.mutex);
    pool.sleeping++;
    while (atomic_load(&pool.changes) == seen) pthread_cond_wait(&pool.change, &pool.mutex);
    pool.sleeping--;
}

static void *worker_main(void *argument)
{
    const unsigned worker = (unsigned)(uintptr_t)argument;
    pthread_mutex_lock(&pool.mutex);
    while (!pool.quit)
        if (!help(worker, NULL)) wait_for_change();
    pthread_mutex_unlock(&pool.mutex);
    return NULL;
}

/* Signals belong to the threads of the program. Fewer threads than wanted are no error. The mutex is held. */
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

/* In a forked child: its parent's threads are not there, but lock and condition may still count them, and waking those
 * would wait for ever. */
static void start_afresh(void)
{
    static const pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static const pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    memcpy(&pool.mutex, &mutex, sizeof mutex);
    memcpy(&pool.change, &condition, sizeof condition);
    pool.created = pool.sleeping = 0;
    pool.newest = NULL;
    pool.owner = getpid();
}

static void publish(loop *l)
{
    pthread_mutex_lock(&pool.mutex);
    create_workers(l->threads - 1);
    l->older = pool.newest;
    pool.newest = l;
    tell();
    pthread_mutex_unlock(&pool.mutex);
}

/* The caller's part in a loop that it has published, and its end. Only who has the pool may help meanwhile: nobody else
 * has a number in it. */
static void finish(loop *l, unsigned worker, bool has_pool)
{
    take_indices(l, worker);
    pthread_mutex_lock(&pool.mutex);
    while (l->joined)
        if (!has_pool || !help(worker, l)) wait_for_change();
    loop **place = &pool.newest;
    while (*place != l) place = &(*place)->older;
    *place = l->older;
    pthread_mutex_unlock(&pool.mutex);
}

void base_parallel(unsigned threads, size_t count, base_task task, void *context)
{
    loop l = {.task = task, .context = context, .count = count, .threads = threads > WORKERS_MAX ? WORKERS_MAX : threads,
              .cancel = watched};
    const bool alone = threads < 2 || count < 2;
    if (!alone && inside && inside <= l.threads) {
        publish(&l);
        finish(&l, inside - 1, true);
    } else if (!alone && !inside && pthread_mutex_trylock(&pool.caller) == 0) {
        if (pool.owner != getpid()) start_afresh();
        publish(&l);
        finish(&l, 0, true);
        pthread_mutex_unlock(&pool.caller);
    } else { /* or somebody else has the pool: this one does not wait for it */
        for (size_t i = 0; i < count; i++) task(context, i, 0);
    }
}

struct base_aside { loop loop; bool published; };

base_aside *base_start_aside(unsigned threads, base_task task, void *context)
{
    base_aside *aside = base_calloc(1, sizeof *aside);
    if (!aside) return NULL;
    aside->loop.task = task;
    aside->loop.context = context;
    aside->loop.count = 1;
    aside->loop.cancel = watched;
    aside->loop.threads = threads > WORKERS_MAX ? WORKERS_MAX : threads;
    if (threads > 1 && !inside && pthread_mutex_trylock(&pool.caller) == 0) {
        if (pool.owner != getpid()) start_afresh();
        publish(&aside->loop);
        pthread_mutex_unlock(&pool.caller);
        aside->published = true;
    }
    return aside;
}

void base_end_aside(base_aside *aside)
{
    if (!aside) return;
    if (aside->published) finish(&aside->loop, 0, false);
    else aside->loop.task(aside->loop.context, 0, 0);
    base_free(aside);
}

/* The library may be unloaded: no thread may be left in it. */
__attribute__((destructor)) static void stop_workers(void)
{
    if (pool.owner != getpid()) return;
    pthread_mutex_lock(&pool.mutex);
    pool.quit = true;
    tell();
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

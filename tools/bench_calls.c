/* Times of fpr_prune and fpr_unpack, as a library is called, without the start of a program: for tools/bench_error.py, whose peer
 * is a library too.
 *
 *     bench_calls CHECKPOINT PACKED RESTORED LEVEL MAX_ERROR THREADS
 *
 * prints the least seconds of ten calls each: processor time of packing and of unpacking, and by the clock. Files are read and
 * written in each. */
#include <filterprune.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CALLS 10

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Processor time, and by the clock: the least so far, or since when. */
typedef struct times { double processor, clock; } times;

static times now(void) { return (times){seconds(CLOCK_PROCESS_CPUTIME_ID), seconds(CLOCK_MONOTONIC)}; }

static void note(times *least, times begin, times end, bool first)
{
    const double processor = end.processor - begin.processor, clock = end.clock - begin.clock;
    if (first || processor < least->processor) least->processor = processor;
    if (first || clock < least->clock) least->clock = clock;
}

static int stop(const fpr_error *error)
{
    fprintf(stderr, "bench_calls: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("usage: bench_calls CHECKPOINT PACKED RESTORED LEVEL MAX_ERROR THREADS\n", stderr);
        return 1;
    }
    fpr_options options;
    fpr_error error = {.status = FPR_OK};
    fpr_options_init(&options);
    options.force = true;
    options.prune = false;
    options.level = atoi(argv[4]);
    options.max_error = atof(argv[5]);
    options.threads = (unsigned)atoi(argv[6]);
    times packing = {0}, unpacking = {0};
    for (int call = 0; call < CALLS; call++) {
        const times begin = now();
        if (fpr_prune(argv[1], argv[2], &options, NULL, &error)) return stop(&error);
        const times middle = now();
        if (fpr_unpack(argv[2], argv[3], &options, &error)) return stop(&error);
        note(&packing, begin, middle, !call);
        note(&unpacking, middle, now(), !call);
    }
    printf("%.9f %.9f %.9f %.9f\n", packing.processor, unpacking.processor, packing.clock, unpacking.clock);
    return 0;
}

/* Processor time of fpr_prune and fpr_unpack on one thread, as a library is called, without the start of a program: for
 * tools/bench_error.py, whose peer is a library too.
 *
 *     bench_calls CHECKPOINT PACKED RESTORED LEVEL MAX_ERROR
 *
 * prints the least seconds of ten calls each, packing and unpacking; files are read and written in each. */
#include <filterprune.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CALLS 10

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int stop(const fpr_error *error)
{
    fprintf(stderr, "bench_calls: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: bench_calls CHECKPOINT PACKED RESTORED LEVEL MAX_ERROR\n", stderr);
        return 1;
    }
    fpr_options options;
    fpr_error error = {.status = FPR_OK};
    fpr_options_init(&options);
    options.threads = 1;
    options.force = true;
    options.prune = false;
    options.level = atoi(argv[4]);
    options.max_error = atof(argv[5]);
    double packing = 0, unpacking = 0;
    for (int call = 0; call < CALLS; call++) {
        const double begin = seconds();
        if (fpr_prune(argv[1], argv[2], &options, NULL, &error)) return stop(&error);
        const double middle = seconds();
        if (fpr_unpack(argv[2], argv[3], &options, &error)) return stop(&error);
        const double end = seconds();
        if (!call || middle - begin < packing) packing = middle - begin;
        if (!call || end - middle < unpacking) unpacking = end - middle;
    }
    printf("%.9f %.9f\n", packing, unpacking);
    return 0;
}

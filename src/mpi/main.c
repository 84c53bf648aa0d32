/* filterprune-mpi: the program, whose corpus divides its work among the processes that mpirun or the cluster's scheduler
 * has started. Built with -DFILTERPRUNE_MPI=ON; the build renames the program's own main. DIR of the corpus, and its
 * inputs, must be seen by all processes. */
#include "cli/cli.h"

#include <limits.h>
#include <mpi.h>
#include <time.h>

#undef main

static int gather(void *context, const void *bytes, size_t count, void *all)
{
    (void)context;
    if (count > INT_MAX) return -1;
    return MPI_Gather(bytes, (int)count, MPI_BYTE, all, (int)count, MPI_BYTE, 0, MPI_COMM_WORLD) == MPI_SUCCESS ? 0 : -1;
}

static int broadcast(void *context, void *bytes, size_t count)
{
    (void)context;
    return count <= INT_MAX && MPI_Bcast(bytes, (int)count, MPI_BYTE, 0, MPI_COMM_WORLD) == MPI_SUCCESS ? 0 : -1;
}

#define FAREWELL_SECONDS 5

/* Waits until all have come to their end, whatever it is: who ends the others at once (MPI_Abort) takes their words away
 * with them, so that nobody reads what was the matter. False: after some seconds, when this one has failed and others do
 * not come, because they wait for it elsewhere. */
static bool all_come(MPI_Comm farewell, bool failed)
{
    MPI_Request request;
    int done = 0;
    if (MPI_Ibarrier(farewell, &request) != MPI_SUCCESS) return false;
    for (unsigned ms = 0; !done && !(failed && ms > 1000 * FAREWELL_SECONDS); ms++) {
        if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
        if (!done) nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return done;
}

int main(int argc, char **argv)
{
    int rank, size;
    MPI_Comm farewell;
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS || MPI_Comm_dup(MPI_COMM_WORLD, &farewell) != MPI_SUCCESS) return EXIT_MACHINE;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const fpr_exchange exchange = { NULL, (unsigned)rank, (unsigned)size, gather, broadcast };
    corpus_exchange = &exchange;
    const int status = filterprune_main(argc, argv);
    fflush(stderr);
    if (!all_come(farewell, status != 0)) MPI_Abort(MPI_COMM_WORLD, status ? status : EXIT_MACHINE);
    MPI_Finalize();
    return status;
}

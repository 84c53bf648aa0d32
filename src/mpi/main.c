/* filterprune-mpi: the program, whose corpus divides its work among the processes that mpirun or the cluster's scheduler
 * has started. Built with -DFILTERPRUNE_MPI=ON; the build renames the program's own main. DIR of the corpus, and its
 * inputs, must be seen by all processes. */
#include "cli/cli.h"

#include <limits.h>
#include <mpi.h>

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

int main(int argc, char **argv)
{
    int rank, size;
    if (MPI_Init(&argc, &argv) != MPI_SUCCESS) return EXIT_MACHINE;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const fpr_exchange exchange = { NULL, (unsigned)rank, (unsigned)size, gather, broadcast };
    corpus_exchange = &exchange;
    const int status = filterprune_main(argc, argv);
    /* Who failed before the others could be told must not let them wait. */
    if (status) MPI_Abort(MPI_COMM_WORLD, status);
    MPI_Finalize();
    return status;
}

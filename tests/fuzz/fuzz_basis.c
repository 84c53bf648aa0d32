/* Fuzzing: a basis file. The input is its text, read as a basis of 9 weights and as one of 2. What is accepted must be
 * finite and orthonormal. */
#include "study/study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

static void try_basis(const char *path, unsigned k)
{
    fpr_basis basis;
    fpr_error error;
    fpr_status status = basis_load(path, k, &basis, &error);
    if (status) {
        require(status == FPR_BAD_BASIS && error.status == status && error.message[0]);
        return;
    }
    for (unsigned i = 0; i < k; i++) {
        double length = 0;
        for (unsigned j = 0; j < k; j++) length += basis.components[i * k + j] * basis.components[i * k + j];
        require(fabs(length - 1) < 1e-3 && isfinite(basis.mean[i]) && isfinite(basis.singular_values[i]));
        require(basis.explained_variance_ratio[i] >= 0 && isfinite(basis.explained_variance_ratio[i]));
    }
    study_basis_free(&basis);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    char path[40];
    if (fd < 0) fd = memfd_create("basis", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    try_basis(path, 9);
    try_basis(path, 2);
    require(base_allocations_alive() == 0);
    return 0;
}

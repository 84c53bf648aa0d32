/* OpenBLAS, loaded when first needed, for the one LAPACK routine that is used.
 *
 * Loaded rather than linked: its start-up is longer than that of the whole program, and unpack, verify and info need
 * none of it. LAPACK's dsyev is taken from the same library: OpenBLAS carries LAPACK itself, and LAPACKE would add 12
 * ms of loading (its own copies of BLAS and LAPACK behind it) for a wrapper that transposes nothing here.
 *
 * Threads: LAPACK runs inside our own threads, so OpenBLAS gets one. The program exports OPENBLAS_NUM_THREADS=1 before
 * anything else, because a pool, once made, spins for a tenth of a second; here it is said again for other callers. */
#include "num/num.h"

#include <dlfcn.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static num_blas blas;
static bool loaded;
static char problem[160];

/* ISO C has no cast between object and function pointers; POSIX says that their bytes agree. */
static bool find(void *library, const char *name, void *function, size_t bytes)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, bytes);
    return symbol != NULL;
}

static void load(void)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++)
        library = dlopen(names[i], RTLD_LAZY | RTLD_LOCAL);
    if (!library) {
        const char *text = dlerror();
        strncpy(problem, text ? text : "libopenblas.so.0 not found", sizeof problem - 1);
        return;
    }
    void (*set_threads)(int);
    if (!find(library, "dsyev_", &blas.dsyev, sizeof blas.dsyev) ||
        !find(library, "openblas_set_num_threads", &set_threads, sizeof set_threads)) {
        strncpy(problem, "libopenblas.so.0 lacks LAPACK", sizeof problem - 1);
        return;
    }
    set_threads(1);
    loaded = true;
}

const num_blas *num_blas_get(fpr_error *error)
{
    pthread_once(&once, load);
    if (loaded) return &blas;
    base_fail(error, FPR_IO, "OpenBLAS cannot be loaded (on Debian: apt install libopenblas0): %s", problem);
    return NULL;
}

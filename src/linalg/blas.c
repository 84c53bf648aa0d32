/* OpenBLAS and LAPACKE, loaded at run time by the names that Debian gives them. */
#include "linalg/linalg.h"

#include <dlfcn.h>
#include <pthread.h>

/* The interfaces of CBLAS and LAPACKE, with 32-bit integers. */
enum { ROW_MAJOR = 101, COLUMN_MAJOR = 102, PLAIN = 111, TRANSPOSED = 112, LOWER = 122 };

static struct {
    void (*gemm)(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a, int lda, const double *b,
                 int ldb, double beta, double *c, int ldc);
    void (*syrk)(int order, int uplo, int trans, int n, int k, double alpha, const double *a, int lda, double beta, double *c,
                 int ldc);
    int (*get_threads)(void);
    void (*set_threads)(int);
    int (*syevd)(int order, char job, char uplo, int n, double *a, int lda, double *w, double *work, int lwork, int *iwork,
                 int liwork);
    int (*geqrf)(int order, int m, int n, double *a, int lda, double *tau, double *work, int lwork);
    int (*gesdd)(int order, char job, int m, int n, double *a, int lda, double *s, double *u, int ldu, double *vt, int ldvt,
                 double *work, int lwork, int *iwork);
} blas;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;    /* under the lock */
static int threads_before;
static bool loaded;

/* POSIX lets an object pointer of dlsym be a function; ISO C has no cast for it. */
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static fpr_status load(fpr_error *error)
{
    if (loaded) return FPR_OK;
    void *openblas = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_GLOBAL);
    void *lapacke = openblas ? dlopen("liblapacke.so.3", RTLD_NOW | RTLD_LOCAL) : NULL;
    loaded = openblas && lapacke && find(openblas, "cblas_dgemm", &blas.gemm) && find(openblas, "cblas_dsyrk", &blas.syrk) &&
             find(openblas, "openblas_get_num_threads", &blas.get_threads) &&
             find(openblas, "openblas_set_num_threads", &blas.set_threads) &&
             find(lapacke, "LAPACKE_dsyevd_work", &blas.syevd) && find(lapacke, "LAPACKE_dgeqrf_work", &blas.geqrf) &&
             find(lapacke, "LAPACKE_dgesdd_work", &blas.gesdd);
    if (loaded) return FPR_OK;
    return base_fail(error, FPR_IO, "spectra need OpenBLAS and LAPACKE, and %s is missing. On Debian: apt install %s",
                     openblas ? "liblapacke.so.3" : "libopenblas.so.0", openblas ? "liblapacke" : "libopenblas0");
}

fpr_status linalg_begin(fpr_error *error)
{
    pthread_mutex_lock(&lock);
    const fpr_status status = load(error);
    if (!status && users++ == 0) {
        threads_before = blas.get_threads();
        blas.set_threads(1);
    }
    pthread_mutex_unlock(&lock);
    return status;
}

void linalg_end(void)
{
    pthread_mutex_lock(&lock);
    if (--users == 0) blas.set_threads(threads_before);
    pthread_mutex_unlock(&lock);
}

void linalg_add_abt(int m, int n, int k, const double *a, int lda, const double *b, int ldb, double *c, int ldc)
{
    blas.gemm(ROW_MAJOR, PLAIN, TRANSPOSED, m, n, k, 1, a, lda, b, ldb, 1, c, ldc);
}

void linalg_add_atb(int m, int n, int k, const double *a, int lda, const double *b, int ldb, double *c, int ldc)
{
    blas.gemm(ROW_MAJOR, TRANSPOSED, PLAIN, m, n, k, 1, a, lda, b, ldb, 1, c, ldc);
}

void linalg_add_aat(int n, int k, const double *a, int lda, double *c, int ldc)
{
    blas.syrk(ROW_MAJOR, LOWER, PLAIN, n, k, 1, a, lda, 1, c, ldc);
}

void linalg_add_ata(int n, int k, const double *a, int lda, double *c, int ldc)
{
    blas.syrk(ROW_MAJOR, LOWER, TRANSPOSED, n, k, 1, a, lda, 1, c, ldc);
}

static fpr_status failed(const char *what, int info, fpr_error *error)
{
    return base_fail(error, FPR_IO, "LAPACK's %s failed with %d", what, info);
}

/* A routine asked for the size of its workspace answers in work[0]. */
fpr_status linalg_eigenvalues(int n, double *a, double *values, fpr_error *error)
{
    double want = 0;
    int iwork[1] = {0};
    /* The lower triangle by rows is the upper one by columns. */
    int info = blas.syevd(COLUMN_MAJOR, 'N', 'U', n, a, n, values, &want, -1, iwork, -1);
    if (info) return failed("dsyevd", info, error);
    double *work = base_alloc((uint64_t)want, sizeof *work);
    if (!work) return base_no_memory(error, (uint64_t)want * sizeof *work);
    info = blas.syevd(COLUMN_MAJOR, 'N', 'U', n, a, n, values, work, (int)want, iwork, 1);
    base_free(work);
    return info ? failed("dsyevd", info, error) : FPR_OK;
}

fpr_status linalg_lq(int rows, int columns, double *a, int lda, fpr_error *error)
{
    double want = 0;
    /* Rows of ours are columns of LAPACK's: its QR is our LQ. */
    int info = blas.geqrf(COLUMN_MAJOR, columns, rows, a, lda, &want, &want, -1);
    if (info) return failed("dgeqrf", info, error);
    double *work = base_alloc((uint64_t)want + (uint64_t)rows, sizeof *work);
    if (!work) return base_no_memory(error, ((uint64_t)want + (uint64_t)rows) * sizeof *work);
    info = blas.geqrf(COLUMN_MAJOR, columns, rows, a, lda, work, work + rows, (int)want);
    base_free(work);
    return info ? failed("dgeqrf", info, error) : FPR_OK;
}

fpr_status linalg_square_values(int n, double *a, double *values, fpr_error *error)
{
    double want = 0, none = 0;
    int *iwork = base_alloc(8 * (uint64_t)n, sizeof *iwork);
    if (!iwork) return base_no_memory(error, 8 * (uint64_t)n * sizeof *iwork);
    int info = blas.gesdd(COLUMN_MAJOR, 'N', n, n, a, n, values, &none, 1, &none, 1, &want, -1, iwork);
    double *work = info ? NULL : base_alloc((uint64_t)want, sizeof *work);
    if (work) info = blas.gesdd(COLUMN_MAJOR, 'N', n, n, a, n, values, &none, 1, &none, 1, work, (int)want, iwork);
    const bool memory = work != NULL || info;
    base_free(work);
    base_free(iwork);
    if (!memory) return base_no_memory(error, (uint64_t)want * sizeof *work);
    return info ? failed("dgesdd", info, error) : FPR_OK;
}

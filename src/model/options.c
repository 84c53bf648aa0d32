/* What everybody who works on a model asks of its options. */
#include "model/model.h"

#include <time.h>

unsigned job_threads(const fpr_options *o)
{
    return o->threads ? o->threads : base_cores();
}

fpr_status job_cancelled(const fpr_options *o, fpr_error *error)
{
    return o->cancel && __atomic_load_n(o->cancel, __ATOMIC_RELAXED) ? base_fail(error, FPR_CANCELLED, "interrupted") : base_check_cancelled(error);
}

double job_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

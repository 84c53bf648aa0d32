/* For clang-tidy only, read before each file of the library: an analyzer that looks at one file does not know that a
 * failure is never FPR_OK, and would follow paths that do not exist. */
#include "base/base.h"

#define base_fail(error, status, ...) (base_fail(error, status, __VA_ARGS__), static_failure(status))
#define base_fail_errno(error, status, ...) (base_fail_errno(error, status, __VA_ARGS__), static_failure(status))
#define base_no_memory(error, bytes) (base_no_memory(error, bytes), FPR_NO_MEMORY)

static inline fpr_status static_failure(fpr_status status)
{
    if (status == FPR_OK) __builtin_unreachable();
    return status;
}

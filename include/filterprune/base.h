/* Linkage, status and errors, dtypes. Part of filterprune.h. */
#ifndef FILTERPRUNE_BASE_H
#define FILTERPRUNE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ linkage */

#if defined(__GNUC__)
#define FPR_API __attribute__((visibility("default")))
#else
#define FPR_API
#endif

/* "0.1.0": the version of the library that was loaded. FPR_VERSION_* is the one compiled against. */
FPR_API const char *fpr_version(void);

/* The instruction sets whose vector code runs: "base", "avx2", "avx512" or "neon"; by default the best that the processor
 * has. Results are the same bytes at every level. */
FPR_API const char *fpr_simd(void);

/* ------------------------------------------------------------------ status and errors */

/* The values are pinned; gaps leave room. The program's exit status is the tens digit's meaning, see fpr_exit_status. */
typedef enum fpr_status {
    FPR_OK = 0,
    FPR_IO = 10,         /* the machine failed: read, write, disk full */
    FPR_NO_MEMORY = 11,
    FPR_CANCELLED = 12,  /* fpr_options.cancel became non-zero */
    FPR_CHANGED = 13,    /* the input was truncated or rewritten while it was read */
    FPR_USAGE = 20,      /* an option or argument makes no sense */
    FPR_BAD_HEADER = 30, /* the file breaks a rule of safetensors */
    FPR_BAD_INDEX = 31,  /* a shard index breaks a rule */
    FPR_BAD_PACKED = 32, /* a packed tensor does not decode: damaged, or its checksum differs */
    FPR_TOO_NEW = 33,    /* packed by a later format than this library reads */
    FPR_BAD_BASIS = 34,  /* a basis file does not hold a basis */
    FPR_BAD_PROFILE = 35, /* a profile or a table of a collection breaks its rules */
    FPR_EXISTS = 40,     /* the output exists and force was not given */
    FPR_SAME_FILE = 41,  /* the output is the input */
    FPR_DIFFERS = 50     /* verify found a difference */
} fpr_status;

#define FPR_NO_OFFSET UINT64_MAX

typedef struct fpr_error {
    fpr_status status;
    uint64_t offset;   /* byte in the file, or FPR_NO_OFFSET */
    char file[256];    /* path as given; the tail is kept when longer; "" when no file is at fault */
    char where[96];    /* tensor name, as in the file; the tail is kept when longer; "" when none */
    char message[256]; /* what was expected and what was found; no newline */
} fpr_error;

/* Runs no vector code above that level in this process from now on; what the processor lacks falls back to the level below
 * it. FPR_USAGE for any other name. */
FPR_API fpr_status fpr_limit_simd(const char *level, fpr_error *error);

/* Process exit status for a status: 0 done, 1 machine, 2 usage, 3 invalid input, 4 refused, 5 difference. */
FPR_API int fpr_exit_status(fpr_status status);

/* ------------------------------------------------------------------ dtypes */

/* All dtypes of the safetensors reference. Only F64, F32, F16 and BF16 tensors can be convolution layers. */
typedef enum fpr_dtype {
    FPR_BOOL, FPR_F4, FPR_F6_E2M3, FPR_F6_E3M2, FPR_U8, FPR_I8, FPR_F8_E5M2, FPR_F8_E4M3, FPR_F8_E8M0,
    FPR_F8_E4M3FNUZ, FPR_F8_E5M2FNUZ, FPR_I16, FPR_U16, FPR_F16, FPR_BF16, FPR_I32, FPR_U32, FPR_F32,
    FPR_C64, FPR_F64, FPR_I64, FPR_U64,
    FPR_DTYPE_COUNT
} fpr_dtype;

FPR_API const char *fpr_dtype_name(fpr_dtype dtype); /* "F32" */
FPR_API unsigned fpr_dtype_bits(fpr_dtype dtype);    /* bits of one element: 4, 6, 8, 16, 32 or 64 */

#ifdef __cplusplus
}
#endif
#endif

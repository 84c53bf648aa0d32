/* Jobs: prune, inspect, unpack, convert, verify, diff, export. Part of filterprune.h. */
#ifndef FILTERPRUNE_JOBS_H
#define FILTERPRUNE_JOBS_H

#include "report.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The main job: diagnose, prune, quantize, write. An output named *.onnx, of an ONNX input: the same model with the
 * pruned weights and without the channels that nobody needs any more (fpr_removal); neither packed nor cast.
 * output may be NULL with dry_run. report may be NULL, and what only a report says is not computed then; else it receives
 * one that the caller frees. On failure nothing is written and *report is NULL. For a sharded input, output is a
 * directory. */
FPR_API fpr_status fpr_prune(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                             fpr_error *error);

/* Diagnostics only: the report's "after" parts are absent. */
FPR_API fpr_status fpr_inspect(const char *input, const fpr_options *options, fpr_report **report, fpr_error *error);

/* Adds to the report of an inspection what other values of eps and max_error would give, each by a dry run of
 * fpr_prune with these options. */
FPR_API fpr_status fpr_sweep(const char *input, const fpr_options *options, fpr_report *report, fpr_error *error);

/* Restores a dense checkpoint. Byte for byte the input of the main job when that ran losslessly. Of the options:
 * force, threads, progress, cancel. */
FPR_API fpr_status fpr_unpack(const char *packed, const char *output, const fpr_options *options, fpr_error *error);
/* Writes the tensors of a checkpoint of any format, bit for bit, as a safetensors file as the reference implementation
 * would write it; what cannot be one is left out (fpr_model_skipped). A safetensors file keeps its header. Of the options:
 * key, allow_expand, force, threads, progress, cancel. */
FPR_API fpr_status fpr_convert(const char *input, const char *output, const fpr_options *options, fpr_error *error);

typedef struct fpr_verified {
    char *name;
    size_t name_bytes;
    bool ok;             /* decodes, checksum holds, and (against an original) within what the file states */
    bool exact;          /* same bits as the original; without one: stored losslessly */
    double max_abs, relative_l2; /* against the original; NaN without one */
    char *problem;       /* NULL when ok */
} fpr_verified;

typedef struct fpr_verification {
    bool ok;
    char *verdict;       /* what the file says of its making (fpr_statement_verdict); NULL when it says nothing */
    char *suspicion;     /* why it may differ as a whole: a wrong original, swapped arguments, fewer channels; NULL: no idea */
    fpr_verified *tensors;
    size_t tensor_count;
} fpr_verification;

/* Decodes every tensor and checks every checksum; against original (may be NULL) compares each tensor: lossless ones
 * must be equal bit for bit, pruned and quantized ones may differ only as their codec states. Returns FPR_DIFFERS
 * (with *verification filled) when something is wrong.
 * Two files named *.onnx are compared by what they compute: in double precision, on random inputs of two sizes. Then
 * an entry is an output; max_abs is relative to the output's largest magnitude, ok up to 1e-5 (weights are stored in
 * single precision), exact up to 1e-12. The same bytes need no evaluation, and verdict says so; what cannot be evaluated
 * is FPR_USAGE. */
FPR_API fpr_status fpr_verify(const char *packed, const char *original, const fpr_options *options,
                              fpr_verification **verification, fpr_error *error);
FPR_API void fpr_verification_free(fpr_verification *verification);
FPR_API fpr_status fpr_verification_json(const fpr_verification *verification, fpr_write write, void *context,
                                         fpr_error *error);

/* ---- two checkpoints, tensor by tensor */

typedef enum fpr_relation { FPR_EQUAL, FPR_CHANGED_VALUES, FPR_ONLY_IN_A, FPR_ONLY_IN_B } fpr_relation;

typedef struct fpr_difference {  /* one name */
    char *name;                  /* as in the file that has it, A's when both do */
    size_t name_bytes;
    fpr_relation relation;       /* EQUAL: same dtype, shape and bits */
    fpr_dtype dtype_a, dtype_b;  /* of the files that have it */
    bool other_shape;            /* then nothing below is known */
    double max_abs, relative_l2; /* B against A; NaN where they cannot be compared */
    uint64_t kernels, kernels_zeroed; /* of a convolution layer: all, and those that are zero in B only */
} fpr_difference;

typedef struct fpr_differences {
    fpr_difference *tensors;     /* A's order, then what only B has */
    size_t tensor_count;
    size_t count[4];             /* by relation */
} fpr_differences;

/* Compares any two checkpoints. strip: what is taken off the beginning of names that begin so, in both; may be empty.
 * Of the options: layout, threads, progress, cancel. FPR_DIFFERS, with *differences filled, unless all is equal. */
FPR_API fpr_status fpr_diff(const char *a, const char *b, const char *const *strip, size_t strip_count,
                            const fpr_options *options, fpr_differences **differences, fpr_error *error);
FPR_API void fpr_differences_free(fpr_differences *differences);
/* Schema "filterprune-diff-1". */
FPR_API fpr_status fpr_differences_json(const fpr_differences *differences, const char *a, const char *b,
                                        fpr_write write, void *context, fpr_error *error);

typedef struct fpr_exported {
    size_t layers;       /* written */
    char **left_out;     /* names of binary-like layers whose filters are not +-alpha */
    size_t left_out_count;
} fpr_exported;

/* Writes the binary layers in the bit order of Larq Compute Engine, as a safetensors file: for a layer NAME of shape
 * [O, I, H, W] a tensor NAME, I32 [O, H, W, ceil(I / 32)], channel c in bit c % 32 of word c / 32, bit 1 = negative; and
 * NAME.scale, F32 [O]. Of the options: binary_tol, binary_share, layout, force, threads. */
FPR_API fpr_status fpr_export_lce(const char *input, const char *output, const fpr_options *options,
                                  fpr_exported *result, fpr_error *error);
FPR_API void fpr_exported_free(fpr_exported *result);

/* Names, dtypes, shapes, codecs, sizes and metadata as JSON, schema "filterprune-info-1". */
FPR_API fpr_status fpr_info_json(const fpr_model *model, fpr_layout layout, fpr_write write, void *context,
                                 fpr_error *error);

#ifdef __cplusplus
}
#endif
#endif

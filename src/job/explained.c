/* An ordinary dense file that is too small to say what was done to it: whether what differs from the original can only have
 * come from pruning and a cast. Kernels are zero or as they were, and all numbers are what the cast makes of those of the
 * original; lengths of weight normalization fit the kernels that are left. */
#include "job/explained.h"

#include <math.h>

#define CHUNK 1024u /* elements that are cast at a time */

enum { DIFFERS = 1, NOT_ZERO = 2 };

/* The kernel that an element of a layer belongs to. */
static uint64_t kernel_of(const fpr_layer_shape *s, uint64_t element)
{
    switch (s->layout) {
    case FPR_LAYOUT_HWIO: return element % s->kernels;
    case FPR_LAYOUT_OHWI: return element / (s->k * s->channels) * s->channels + element % s->channels;
    default: return element / s->k;
    }
}

/* The layer that a tensor is, or the one that a mask belongs to. */
static bool shape_of(const fpr_model *m, size_t tensor, fpr_layout layout, fpr_layer_shape *shape)
{
    const conv_role *role = model_role(m, tensor);
    return fpr_model_layer(m, role->part == CONV_PART_MASK ? role->partner : tensor, layout, shape);
}

static fpr_status kernels_explain(const fpr_layer_shape *s, const fpr_tensor *t, const uint8_t *bytes, fpr_dtype was,
                                  const uint8_t *other, bool *explained, fpr_error *error)
{
    uint8_t cast[CHUNK * 8], *flags = base_calloc(s ? s->kernels : 1, 1);
    if (!flags) return base_no_memory(error, s ? s->kernels : 1);
    const size_t size = fpr_dtype_bits(t->dtype) / 8, size_was = fpr_dtype_bits(was) / 8;
    static const uint8_t zero[8] = {0};
    *explained = true;
    for (uint64_t i = 0; i < t->elements && !base_cancelled(); i += CHUNK) {
        const uint64_t n = t->elements - i < CHUNK ? t->elements - i : CHUNK;
        shrink_cast(was, other + i * size_was, t->dtype, cast, n);
        for (uint64_t j = 0; j < n; j++) {
            const uint8_t *element = bytes + (i + j) * size;
            uint8_t *flag = &flags[s ? kernel_of(s, i + j) : 0];
            if (memcmp(element, cast + j * size, size)) *flag |= DIFFERS;
            if (memcmp(element, zero, size)) *flag |= NOT_ZERO;
            if (*flag == (DIFFERS | NOT_ZERO) || (!s && *flag & DIFFERS)) *explained = false;
        }
    }
    base_free(flags);
    return base_check_cancelled(error);
}

/* Where rounding to the dtype may fall the other way. */
static double rounding(fpr_dtype dtype) { return dtype == FPR_BF16 ? 8e-3 : dtype == FPR_F16 ? 1e-3 : 1e-6; }

/* Lengths of weight normalization: as they were, 0, or what is left of them by the kernels that v has lost. */
static fpr_status lengths_explain(const fpr_model *packed, const fpr_model *original, size_t direction, const fpr_tensor *g,
                                  const void *bytes, const void *other, bool *explained, fpr_error *error)
{
    const fpr_tensor *was = model_tensor(original, direction), *is = model_find(packed, was->name, was->name_bytes);
    fpr_layer_shape s;
    if (!fpr_model_layer(original, direction, FPR_LAYOUT_OIHW, &s) || !is || is->dtype != was->dtype || is->elements != was->elements)
        return FPR_OK;
    void *before = base_alloc_aligned(was->bytes, 1), *after = base_alloc_aligned(is->bytes, 1);
    double *expected = base_alloc(g->elements, sizeof *expected), *found = base_alloc(g->elements, sizeof *found);
    shrink_plan plan = {.action = base_calloc(s.kernels, 1), .changes = true};
    fpr_status status = before && after && expected && found && plan.action ? FPR_OK : base_no_memory(error, 2 * was->bytes);
    if (!status) status = model_read(original, direction, 1, before, error);
    if (!status) status = model_read(packed, model_number(packed, is), 1, after, error);
    const size_t bytes_of_kernel = (size_t)(s.k * (fpr_dtype_bits(was->dtype) / 8));
    for (uint64_t j = 0; !status && j < s.kernels; j++)
        if (memcmp((uint8_t *)before + j * bytes_of_kernel, (uint8_t *)after + j * bytes_of_kernel, bytes_of_kernel))
            plan.action[j] = CONV_ACTION_ZERO;
    if (!status) {
        shrink_cast(g->dtype, other, FPR_F64, expected, g->elements);
        shrink_cast(g->dtype, bytes, FPR_F64, found, g->elements);
        shrink_norm_length(&s, was->dtype, before, &plan, FPR_F64, expected);
        *explained = true;
        for (uint64_t i = 0; i < g->elements; i++)
            *explained &= found[i] == 0 || fabs(found[i] - expected[i]) <= rounding(g->dtype) * fabs(expected[i]);
    }
    base_free(before);
    base_free(after);
    base_free(expected);
    base_free(found);
    base_free(plan.action);
    return status;
}

fpr_status job_is_explained(const fpr_model *packed, const fpr_model *original, size_t tensor, const fpr_tensor *t, const void *bytes,
                            const void *other, bool *explained, fpr_error *error)
{
    static const fpr_layout layouts[] = {FPR_LAYOUT_AUTO, FPR_LAYOUT_OIHW, FPR_LAYOUT_HWIO, FPR_LAYOUT_OHWI};
    const fpr_dtype was = model_tensor(original, tensor)->dtype;
    *explained = false;
    if (!base_is_float(was) || !base_is_float(t->dtype)) return FPR_OK;
    fpr_status status = kernels_explain(NULL, t, bytes, was, other, explained, error);
    for (size_t l = 0; !status && !*explained && l < sizeof layouts / sizeof *layouts; l++) {
        fpr_layer_shape s;
        if (shape_of(original, tensor, layouts[l], &s)) status = kernels_explain(&s, t, bytes, was, other, explained, error);
    }
    const conv_role *role = model_role(original, tensor);
    if (!status && !*explained && role->part == CONV_PART_LENGTH && was == t->dtype)
        status = lengths_explain(packed, original, role->partner, t, bytes, other, explained, error);
    return status;
}

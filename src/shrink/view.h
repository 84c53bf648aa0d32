/* The weights that the network computes with, where the file does not hold them as such: in place to look at, plan and
 * prune; and what was decided on them, carried back to what the file holds.
 *
 * OHWI            read as OIHW, then put back
 * weight norm     w = g v / |v|, by rows of the first axis. v keeps its direction: pruning clears kernels of v, never a
 *                 whole row, and g takes the length that is left, so that other kernels keep their values; a filter that
 *                 goes whole has g = 0.
 * masked weights  w = original * mask. Pruning clears kernels of both. */
#ifndef FPR_SHRINK_VIEW_H
#define FPR_SHRINK_VIEW_H

#include "shrink/shrink.h"

/* s as the sweeps read it: OIHW. src and dst may not overlap. */
void shrink_ohwi_to_oihw(const fpr_layer_shape *s, fpr_dtype dtype, const void *src, void *dst);
void shrink_oihw_to_ohwi(const fpr_layer_shape *s, fpr_dtype dtype, const void *src, void *dst);

/* v becomes w. g: [filters]. */
void shrink_norm_weights(const fpr_layer_shape *s, fpr_dtype dtype, void *v, fpr_dtype g_dtype, const void *g);
/* Carries a plan made for w out on v. */
void shrink_norm_direction(const fpr_layer_shape *s, fpr_dtype dtype, void *v, const shrink_plan *plan);
/* And on g; w as it was. */
void shrink_norm_length(const fpr_layer_shape *s, fpr_dtype dtype, const void *w, const shrink_plan *plan,
                        fpr_dtype g_dtype, void *g);

/* weights becomes weights * mask, 0 where the mask is 0; the mask has a float dtype, BOOL or U8. */
void shrink_mask_weights(fpr_dtype dtype, void *weights, fpr_dtype mask_dtype, const void *mask, uint64_t count);
/* Clears the kernels that go; of weights or of their mask, whatever its dtype. */
void shrink_clear_kernels(const fpr_layer_shape *s, fpr_dtype dtype, void *tensor, const shrink_plan *plan);

#endif

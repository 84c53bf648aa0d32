/* What the name of a tensor says of it. Names are paths, their parts between dots, slashes or colons; the last part, the
 * leaf, says what the tensor is, the one before it which layer it belongs to. */
#ifndef FPR_CONV_NAMES_H
#define FPR_CONV_NAMES_H

#include "base/base.h"

#define CONV_NAME_MAX 512 /* of the names of neighbours; longer ones have none */

/* Borrowed text; not terminated. */
typedef struct conv_text {
    const char *at;
    size_t n;
} conv_text;

/* Without the output number of TensorFlow, ":0". */
conv_text conv_name(const char *name, size_t bytes);
conv_text conv_leaf(conv_text name);
/* Whether a part, case not minded, begins or ends with a word, or is it. */
bool conv_text_begins(conv_text text, const char *word);
bool conv_text_ends(conv_text text, const char *word);
bool conv_text_is(conv_text text, const char *word);

/* Weights, as a rank-3 tensor has to be called to count as such. */
bool conv_names_weight(conv_text name);
/* Anchors, tables, means, constants, blur filters: buffers that have the shapes of weights. */
bool conv_names_buffer(conv_text name);
/* The state of an optimizer. */
bool conv_names_optimizer(conv_text name);
bool conv_names_depthwise(conv_text name);
bool conv_names_transposed(conv_text name); /* "transpose" or "deconv" in some part */
/* up.weight, upconv2.weight: the layer's own part begins with "up"; ups.0.weight: that of the list it stands in. */
typedef enum conv_up { CONV_UP_NOT, CONV_UP_OWN, CONV_UP_LISTED } conv_up;
conv_up conv_names_up(conv_text name);

/* Names of neighbours, into dst; their length, 0: this name has no such neighbour. */
size_t conv_name_of_length(const char *name, size_t bytes, char dst[CONV_NAME_MAX]); /* X_v -> X_g, original1 -> original0 */
size_t conv_name_of_mask(const char *name, size_t bytes, char dst[CONV_NAME_MAX]);   /* X_orig -> X_mask */
size_t conv_name_of_bias(const char *name, size_t bytes, char dst[CONV_NAME_MAX]);   /* X.weight, X/kernel:0, w_0 */

#endif

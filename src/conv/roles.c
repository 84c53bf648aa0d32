/* What each tensor of a checkpoint is. */
#include "conv/roles.h"

#include "conv/names.h"

#include <string.h>

/* ---------------------------------------------------------------- neighbours */

typedef struct names {
    const conv_tensor *tensors;
    const size_t *by_name;
    size_t count;
} names;

static size_t find(const names *all, const char *name, size_t bytes)
{
    size_t low = 0, high = bytes ? all->count : 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const conv_tensor *t = &all->tensors[all->by_name[middle]];
        int order = memcmp(t->name, name, t->name_bytes < bytes ? t->name_bytes : bytes);
        if (!order) order = (t->name_bytes > bytes) - (t->name_bytes < bytes);
        if (!order) return all->by_name[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return CONV_NO_PARTNER;
}

static bool is_float(fpr_dtype dtype)
{
    return dtype == FPR_F64 || dtype == FPR_F32 || dtype == FPR_F16 || dtype == FPR_BF16;
}

/* Elements of the bias beside a tensor: all along one axis. */
static uint64_t bias_of(const names *all, const conv_tensor *t)
{
    char name[CONV_NAME_MAX];
    const size_t at = find(all, name, conv_name_of_bias(t->name, t->name_bytes, name));
    if (at == CONV_NO_PARTNER) return 0;
    const conv_tensor *bias = &all->tensors[at];
    unsigned long_axes = 0;
    for (unsigned d = 0; d < bias->rank; d++) long_axes += bias->shape[d] != 1;
    return long_axes > 1 ? 0 : bias->elements;
}

/* Whether g has one length for each row of v: [o, 1, ..] beside [o, ..]. */
static bool is_length_of(const conv_tensor *g, const conv_tensor *v)
{
    if (g->rank != v->rank || g->shape[0] != v->shape[0]) return false;
    for (unsigned d = 1; d < g->rank; d++)
        if (g->shape[d] != 1) return false;
    return true;
}

/* Whether g has lengths of v along some of its axes, or one of all. */
static bool is_along(const conv_tensor *g, const conv_tensor *v)
{
    if (g->rank > v->rank || g->elements >= v->elements) return false;
    for (unsigned d = 0; d < g->rank; d++)
        if (g->shape[d] != 1 && g->shape[d] != v->shape[v->rank - g->rank + d]) return false;
    return true;
}

static bool same_shape(const conv_tensor *a, const conv_tensor *b)
{
    return a->rank == b->rank && !memcmp(a->shape, b->shape, a->rank * sizeof *a->shape);
}

static void pair(conv_role *roles, size_t a, conv_part part, size_t b, conv_part other)
{
    roles[a].part = part;
    roles[b].part = other;
    roles[a].partner = b;
    roles[b].partner = a;
}

/* What a tensor is together with one beside it. */
static void find_pair(const names *all, size_t i, conv_role *roles)
{
    char name[CONV_NAME_MAX];
    const conv_tensor *t = &all->tensors[i];
    if (t->rank < 2 || !is_float(t->dtype)) return;
    size_t at = find(all, name, conv_name_of_length(t->name, t->name_bytes, name));
    if (at != CONV_NO_PARTNER && is_float(all->tensors[at].dtype)) {
        if (is_length_of(&all->tensors[at], t)) pair(roles, i, CONV_PART_DIRECTION, at, CONV_PART_LENGTH);
        else if (t->rank > 2 || is_along(&all->tensors[at], t)) roles[i].part = roles[at].part = CONV_PART_NORMED;
        return;
    }
    at = find(all, name, conv_name_of_mask(t->name, t->name_bytes, name));
    if (at == CONV_NO_PARTNER || !same_shape(t, &all->tensors[at])) return;
    const fpr_dtype mask = all->tensors[at].dtype;
    if (is_float(mask) || mask == FPR_BOOL || mask == FPR_U8) pair(roles, i, CONV_PART_ORIGINAL, at, CONV_PART_MASK);
}

/* ---------------------------------------------------------------- roles */

/* [1, n, 1, 1]: a number for each channel more often than a layer of one filter. */
static bool is_line(const conv_tensor *t)
{
    unsigned long_axes = 0;
    for (unsigned d = 0; d < t->rank; d++) long_axes += t->shape[d] != 1;
    return long_axes <= 1;
}

static conv_part part_of(const conv_tensor *t)
{
    const conv_text name = conv_name(t->name, t->name_bytes);
    if (conv_names_optimizer(name)) return CONV_PART_OPTIMIZER;
    if (t->kind == FPR_KIND_OTHER) return CONV_PART_OTHER;
    if (t->kind != FPR_KIND_UNKNOWN) return CONV_PART_WEIGHT;
    if (conv_names_buffer(name)) return CONV_PART_BUFFER;
    if ((t->rank == 3 || is_line(t)) && !conv_names_weight(name)) return CONV_PART_BUFFER;
    return CONV_PART_WEIGHT;
}

void conv_roles(const conv_tensor *tensors, const size_t *by_name, size_t count, conv_role *roles)
{
    const names all = {tensors, by_name, count};
    for (size_t i = 0; i < count; i++) {
        const conv_tensor *t = &tensors[i];
        roles[i] = (conv_role){.part = CONV_PART_OTHER, .kind = t->kind, .layout = t->layout, .partner = CONV_NO_PARTNER};
        if (t->rank < 3 || t->rank > 5 || !is_float(t->dtype)) continue;
        const conv_text name = conv_name(t->name, t->name_bytes);
        roles[i].part = part_of(t);
        roles[i].bias = bias_of(&all, t);
        roles[i].depthwise_name = conv_names_depthwise(name);
        roles[i].transposed_name = conv_names_transposed(name);
        roles[i].up_name = conv_names_up(name);
    }
    for (size_t i = 0; i < count; i++)
        if (roles[i].part != CONV_PART_OPTIMIZER) find_pair(&all, i, roles);
}

static bool may_be_weights(const conv_role *role)
{
    return role->part == CONV_PART_WEIGHT || role->part == CONV_PART_DIRECTION || role->part == CONV_PART_ORIGINAL;
}

enum { CERTAIN = 1000, LIKELY = 10 }; /* as in layers.c */

/* A vote that leads by less than this factor is close. */
#define CLEAR_LEAD 3

fpr_layout conv_roles_layout(const conv_tensor *tensors, const conv_role *roles, size_t count, conv_evidence *evidence)
{
    int64_t votes[FPR_LAYOUT_OHWI + 1] = {0};
    *evidence = CONV_TOLD;
    for (size_t i = 0; i < count; i++) {
        const conv_tensor *t = &tensors[i];
        if (t->rank < 3 || !may_be_weights(&roles[i])) continue;
        if (t->layout != FPR_LAYOUT_AUTO) {
            votes[t->layout] += LIKELY;
            continue;
        }
        *evidence = CONV_BY_SHAPE;
        const int ohwi = conv_layout_vote_ohwi(t->dtype, t->rank, t->shape);
        int vote = ohwi ? 0 : conv_layout_vote(t->dtype, t->rank, t->shape);
        /* [64, 3, 3, 3], [3, 3, 3, 64]: the first or the last layer of an image network, in two orders; [12, 1, 1, 6]:
         * a row of six for each of 12 channels, or twelve 1x1 filters. */
        const bool either = conv_fits_ohwi(t->dtype, t->rank, t->shape);
        if (either && vote) vote = vote > 0 ? LIKELY : -LIKELY;
        votes[FPR_LAYOUT_OHWI] += ohwi;
        votes[FPR_LAYOUT_HWIO] += vote > 0 ? vote : 0;
        votes[FPR_LAYOUT_OIHW] -= vote < 0 ? vote : 0;
    }
    fpr_layout best = FPR_LAYOUT_OIHW;
    for (int l = FPR_LAYOUT_HWIO; l <= FPR_LAYOUT_OHWI; l++)
        if (votes[l] > votes[best]) best = (fpr_layout)l;
    for (int l = FPR_LAYOUT_OIHW; l <= FPR_LAYOUT_OHWI; l++)
        if (l != (int)best && votes[l] && votes[best] < CLEAR_LEAD * votes[l]) *evidence = CONV_CLOSE;
    return best;
}

/* ---------------------------------------------------------------- layers */

/* What a bias says: a convolution has one number for each filter, a transposed one for each of shape[1] * groups. */
static int bias_vote(const conv_role *role, const fpr_layer_shape *s)
{
    if (!role->bias) return 0;
    if (role->bias == s->filters) return s->filters == s->channels ? 0 : -1;
    return role->bias % s->channels == 0 && s->filters % (role->bias / s->channels) == 0;
}

/* Called up... are convolutions after an upsampling as well: those have no more filters than channels. And in a list
 * called so those before a rearrangement of channels to pixels: 4 times as many in two dimensions, or 1x1. */
static bool may_be_up(const conv_role *role, const fpr_layer_shape *s)
{
    if (role->up_name == CONV_UP_OWN) return s->filters >= s->channels;
    return role->up_name == CONV_UP_LISTED && s->filters > s->channels && s->k > 1 &&
           (s->kernel_rank == 1 || s->filters >> s->kernel_rank != s->channels);
}

static bool is_transposed(const conv_role *role, bool named_by_option, const fpr_layer_shape *s, fpr_known *known)
{
    if (role->kind != FPR_KIND_UNKNOWN) {
        *known = FPR_KNOWN_FORMAT;
        /* In this order the first axis is that of the outputs, of either kind. */
        return role->kind == FPR_KIND_TRANSPOSED && s->layout != FPR_LAYOUT_OHWI;
    }
    *known = FPR_KNOWN_OPTION;
    if (named_by_option) return true;
    *known = FPR_KNOWN_SHAPE;
    if (s->layout == FPR_LAYOUT_OHWI) return false;
    const int bias = bias_vote(role, s);
    if (bias > 0) *known = FPR_KNOWN_BIAS;
    if (bias) return bias > 0;
    if (!role->transposed_name && !may_be_up(role, s)) return false;
    if (!role->transposed_name && s->channels == 1) return false;
    *known = FPR_KNOWN_NAME;
    return true;
}

static bool is_depthwise(const conv_role *role, const fpr_layer_shape *s, fpr_known *known)
{
    if (role->kind == FPR_KIND_DEPTHWISE) return true;
    /* [c, 1, k, k]; transposed, it may also be many inputs of one output: then the bias has one number. */
    if (s->channels == 1 && s->filters > 1) return !s->transposed || role->bias == s->filters;
    if (s->transposed || s->layout == FPR_LAYOUT_OIHW || !role->depthwise_name) return false;
    if (role->kind != FPR_KIND_UNKNOWN && role->kind != FPR_KIND_SEPARABLE) return false;
    if (s->layout == FPR_LAYOUT_OHWI && s->filters != 1) return false;
    if (*known == FPR_KNOWN_SHAPE) *known = FPR_KNOWN_NAME;
    return true;
}

bool conv_role_layer(const conv_tensor *t, const conv_role *role, const conv_reading *reading, fpr_layer_shape *shape,
                     fpr_known *known)
{
    const bool taken = reading->taken && role->part == CONV_PART_BUFFER;
    const fpr_layout layout = role->layout != FPR_LAYOUT_AUTO ? role->layout : reading->layout;
    fpr_layer_shape s;
    if (!taken && !may_be_weights(role)) return false;
    /* Weights that are computed are computed along the first axis of PyTorch. */
    if (role->part != CONV_PART_WEIGHT && role->part != CONV_PART_BUFFER && layout != FPR_LAYOUT_OIHW) return false;
    const bool certain = taken || reading->taken || role->kind != FPR_KIND_UNKNOWN;
    if (!(certain ? conv_read_shape : conv_layer_shape)(t->dtype, t->rank, t->shape, layout, &s)) return false;
    fpr_known how;
    s.transposed = is_transposed(role, reading->transposed, &s, &how);
    s.depthwise = is_depthwise(role, &s, &how);
    *shape = s;
    *known = how;
    return true;
}

/* Kernels longer than those of any layer that is recognized by its shape, but not as long as tables. */
#define LONG_LINE 256

const char *conv_role_lookalike(const conv_tensor *t, const conv_role *role, fpr_layout layout)
{
    fpr_layer_shape s;
    if (role->layout != FPR_LAYOUT_AUTO) layout = role->layout;
    const bool fits = conv_layer_shape(t->dtype, t->rank, t->shape, layout, &s);
    switch (role->part) {
    case CONV_PART_BUFFER:
        if (fits) return t->rank == 3 ? "by its name no weights" : "by its name a buffer";
        return NULL;
    case CONV_PART_OPTIMIZER: return fits ? "state of an optimizer" : NULL;
    case CONV_PART_NORMED: return fits ? "weight normalization along other axes than the first" : NULL;
    case CONV_PART_DIRECTION:
    case CONV_PART_ORIGINAL: return layout != FPR_LAYOUT_OIHW && fits ? "computed weights in an order other than OIHW" : NULL;
    case CONV_PART_WEIGHT: break;
    default: return NULL;
    }
    if (fits || role->kind != FPR_KIND_UNKNOWN || !conv_read_shape(t->dtype, t->rank, t->shape, layout, &s)) return NULL;
    if (t->rank == 3 && s.k > 16 && s.k <= LONG_LINE && s.filters > 1) return "a kernel of that length may be a table";
    if (t->rank == 5 && layout == FPR_LAYOUT_OIHW && t->shape[0] == 1 && t->shape[3] == t->shape[4] && t->shape[4] <= 11)
        return "one axis more than a two-dimensional kernel has";
    return NULL;
}

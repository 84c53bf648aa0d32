/* What a whole job changed: the sums over the rows of its report, made once, for everybody who states them. */
#include "base/norm.h"
#include "study/study.h"

#include <math.h>
#include <stdio.h>

/* The difference and the norm of all tensors that changed, together. */
typedef struct norms {
    double l2, norm;
} norms;

static void add_tensor(fpr_changes *c, norms *all, const char *name, size_t name_bytes, const fpr_stored *stored,
                       const fpr_change *change, bool cast, double relative)
{
    if (stored->codec && !strcmp(stored->codec, "dropped")) {
        c->tensors_dropped++;
        return;
    }
    c->cast_tensors += cast;
    c->cast_to_inf += change->to_inf;
    c->cast_to_zero += change->to_zero;
    if (!change->weights) return;
    c->tensors_changed++;
    c->weights_changed += change->weights;
    all->l2 = base_norm(all->l2, change->l2);
    all->norm = base_norm(all->norm, change->norm);
    c->large_layers += relative > FPR_LARGE_ERROR || isnan(relative);
    /* NaN and infinity: the norm was 0 or a value left its range. */
    if (!c->worst_name || relative > c->worst_relative_l2 || (isnan(relative) && !isnan(c->worst_relative_l2))) {
        c->worst_name = name;
        c->worst_name_bytes = name_bytes;
        c->worst_relative_l2 = relative;
    }
}

/* Its own weights alone: biases, and what reads a filter or feeds a channel, only a graph knows. */
static void add_removable(fpr_changes *c, fpr_layer *l)
{
    const uint64_t filters = l->dead_filter_count, channels = l->dead_channel_count;
    const uint64_t outputs = l->conv.transposed ? l->conv.channels : l->conv.filters;
    const uint64_t inputs = l->conv.transposed ? l->conv.filters : l->conv.channels;
    /* Depthwise, a dead filter is one kernel, and a dead channel so many of them. */
    const uint64_t kernels = l->conv.depthwise ? filters : filters * inputs + channels * (outputs - filters);
    l->removable_weights = l->conv.k * kernels;
    c->removable_filters += filters;
    c->removable_channels += channels;
    c->removable_weights += l->removable_weights;
    c->removable_bytes += l->removable_weights * (fpr_dtype_bits(l->dtype) / 8);
}

static void add_layer(fpr_changes *c, norms *all, fpr_layer *l)
{
    add_removable(c, l);
    add_tensor(c, all, l->name, l->name_bytes, &l->stored, &l->change, l->cast, l->error_relative_l2);
    if (!l->finite) return;
    c->kernels += l->conv.kernels;
    if (l->conv.k == 1) c->pointwise_kernels += l->conv.kernels;
    c->kernels_zeroed += l->pruned_kernels;
    c->live_before += l->live_before;
    c->live_after += l->live_after;
    c->binary_kernels += l->binary.scope != FPR_SCOPE_NONE ? l->binary.kernels : 0;
    c->binary_layers += l->binary.scope != FPR_SCOPE_NONE;
}

static fpr_status list_wholly_zero(fpr_report *r, fpr_error *error)
{
    fpr_changes *c = &r->changes;
    size_t count = 0;
    for (uint64_t i = 0; i < r->layer_count; i++) count += r->layers[i].wholly_zero;
    c->wholly_zero = base_alloc(count, sizeof *c->wholly_zero);
    if (!c->wholly_zero) return base_no_memory(error, count * sizeof *c->wholly_zero);
    fpr_status status = FPR_OK;
    for (uint64_t i = 0; !status && i < r->layer_count; i++) {
        if (!r->layers[i].wholly_zero) continue;
        c->wholly_zero[c->wholly_zero_count++] = i;
        status = rows_warn_layer(r, (size_t)i, error, "had weights and is wholly zero now: nothing passes through it");
    }
    return status;
}

/* What no longer is a number, or is one less, under a name each. */
static fpr_status warn_of_cast(fpr_report *r, const char *name, unsigned rank, const uint64_t *shape,
                               const fpr_change *change, fpr_error *error)
{
    static const char *const dtypes[] = {"", "F32", "F16", "BF16"};
    char parts[2][64] = {"", ""};
    uint64_t elements = 1;
    if (!change->to_inf && !change->to_zero) return FPR_OK;
    for (unsigned d = 0; d < rank; d++) elements *= shape[d];
    if (change->to_inf) snprintf(parts[0], sizeof parts[0], " %llu infinite", (unsigned long long)change->to_inf);
    if (change->to_zero)
        snprintf(parts[1], sizeof parts[1], "%s %llu zero", change->to_inf ? " and" : "", (unsigned long long)change->to_zero);
    return rows_warn(&r->warnings, &r->warning_count, error, "%.300s: of %llu values the cast to %s made%s%s", name,
                     (unsigned long long)elements, dtypes[r->options.cast], parts[0], parts[1]);
}

static fpr_status warn_of_casts(fpr_report *r, fpr_error *error)
{
    fpr_status status = FPR_OK;
    for (uint64_t i = 0; !status && i < r->layer_count; i++)
        status = warn_of_cast(r, r->layers[i].name, r->layers[i].rank, r->layers[i].shape, &r->layers[i].change, error);
    for (size_t i = 0; !status && i < r->other_count; i++)
        status = warn_of_cast(r, r->others[i].name, r->others[i].rank, r->others[i].shape, &r->others[i].change, error);
    return status;
}

/* One line for all: with --amount it can be every layer. */
static fpr_status warn_of_large(fpr_report *r, fpr_error *error)
{
    const fpr_changes *c = &r->changes;
    if (!c->large_layers) return FPR_OK;
    char worst[40] = "";
    if (isfinite(c->worst_relative_l2)) snprintf(worst, sizeof worst, " (%.3g %%)", 100 * c->worst_relative_l2);
    return rows_warn(&r->warnings, &r->warning_count, error,
                     "%llu tensor%s changed by more than %g %%, most of all %.200s%s: test the network before it is used",
                     (unsigned long long)c->large_layers, c->large_layers == 1 ? "" : "s", 100 * FPR_LARGE_ERROR,
                     c->worst_name, worst);
}

fpr_status rows_changes(fpr_report *r, fpr_error *error)
{
    fpr_changes *c = &r->changes;
    norms all = {0};
    base_free(c->wholly_zero);
    *c = (fpr_changes){0};
    for (uint64_t i = 0; i < r->layer_count; i++) add_layer(c, &all, &r->layers[i]);
    for (size_t i = 0; i < r->other_count; i++) {
        const fpr_other *o = &r->others[i];
        add_tensor(c, &all, o->name, o->name_bytes, &o->stored, &o->change, o->cast, o->error_relative_l2);
    }
    c->relative_l2 = all.l2 > 0 ? all.l2 / all.norm : 0;
    fpr_status status = list_wholly_zero(r, error);
    if (!status) status = warn_of_casts(r, error);
    return status ? status : warn_of_large(r, error);
}

/* What became of the kernels of a layer where weights were rounded or cast after the plan was carried out: a kernel whose
 * weights are all nearer to zero than to anything else goes, too, planned or not. */
#include "shrink/inner.h"

fpr_status shrink_kinds(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, double max_abs, double eps,
                        uint8_t **kinds, fpr_error *error)
{
    const shrink_view view = {.shape = s, .dtype = dtype, .weights = weights};
    const uint64_t limit = shrink_sparse_limit(dtype, max_abs, eps);
    uint64_t magnitudes[MAGNITUDES];
    *kinds = base_alloc(s->kernels, 1);
    if (!*kinds) return base_no_memory(error, s->kernels);
    for (uint64_t j = 0; j < s->kernels; j += MAGNITUDES) {
        const size_t n = s->kernels - j < MAGNITUDES ? (size_t)(s->kernels - j) : MAGNITUDES;
        if (base_cancelled()) break; /* the caller's next step says so */
        shrink_magnitudes(&view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            const uint64_t size = shrink_size(magnitudes[i]);
            (*kinds)[j + i] = size == 0 ? SHRINK_KIND_ZERO : size < limit ? SHRINK_KIND_SPARSE : SHRINK_KIND_LIVE;
        }
    }
    return base_check_cancelled(error);
}

/* Dead outputs and inputs, numbered as apply.c does. */
static fpr_status list_dead(const fpr_layer_shape *s, const uint8_t *kinds, shrink_outcome *o, fpr_error *error)
{
    const bool each = s->depthwise && s->channels > 1; /* [h, w, channels, multiplier]: a kernel is an output */
    const uint64_t filters = each ? s->kernels : s->filters;
    live_flag *live = base_calloc(filters + s->channels, sizeof *live);
    if (!live) return base_no_memory(error, (filters + s->channels) * sizeof *live);
    live_flag *live_channels = live + filters;
    for (uint64_t j = 0; j < s->kernels; j++) {
        if (kinds[j] != SHRINK_KIND_LIVE) continue;
        const uint64_t filter = j / s->channels, channel = j % s->channels;
        shrink_set_live(&live[each ? channel * s->filters + filter : filter]);
        shrink_set_live(&live_channels[channel]);
    }
    const bool turned = s->transposed && !each;
    fpr_status status = shrink_list_dead(turned ? live_channels : live, turned ? s->channels : filters, &o->dead_filters,
                                         &o->dead_filter_count, error);
    if (!status)
        status = shrink_list_dead(turned ? live : live_channels, turned ? s->filters : s->channels, &o->dead_channels,
                                  &o->dead_channel_count, error);
    base_free(live);
    return status;
}

fpr_status shrink_became(const fpr_layer_shape *s, fpr_dtype dtype, const void *weights, uint8_t *kinds, shrink_plan *plan,
                         shrink_outcome *outcome, fpr_error *error)
{
    const shrink_view view = {.shape = s, .dtype = dtype, .weights = weights};
    uint64_t magnitudes[MAGNITUDES], zeroed = 0, live_zeroed = 0, left = 0;
    for (uint64_t j = 0; j < s->kernels; j += MAGNITUDES) {
        const size_t n = s->kernels - j < MAGNITUDES ? (size_t)(s->kernels - j) : MAGNITUDES;
        if (base_cancelled()) return base_check_cancelled(error);
        shrink_magnitudes(&view, j, n, magnitudes);
        for (size_t i = 0; i < n; i++) {
            const bool planned = plan->changes && plan->action[j + i] == CONV_ACTION_ZERO; /* where g is 0, v is not */
            if (shrink_size(magnitudes[i]) && !planned) {
                left++;
                continue;
            }
            zeroed += kinds[j + i] != SHRINK_KIND_ZERO;
            live_zeroed += kinds[j + i] == SHRINK_KIND_LIVE;
            kinds[j + i] = SHRINK_KIND_ZERO;
        }
    }
    if (zeroed == plan->zeroed && live_zeroed == outcome->live_zeroed) return FPR_OK;
    plan->zeroed = zeroed;
    outcome->live_zeroed = live_zeroed;
    outcome->wholly_zero = zeroed > 0 && left == 0;
    return list_dead(s, kinds, outcome, error);
}

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

static fpr_status list_dead(const fpr_layer_shape *s, const uint8_t *kinds, shrink_outcome *o, fpr_error *error)
{
    const uint64_t outputs = shrink_output_count(s), inputs = shrink_input_count(s);
    live_flag *live = base_calloc(outputs + inputs, sizeof *live);
    if (!live) return base_no_memory(error, (outputs + inputs) * sizeof *live);
    for (uint64_t j = 0; j < s->kernels; j++) {
        if (kinds[j] != SHRINK_KIND_LIVE) continue;
        shrink_set_live(&live[shrink_output(s, j)]);
        shrink_set_live(&live[outputs + shrink_input(s, j)]);
    }
    fpr_status status = shrink_list_dead(live, outputs, &o->dead_filters, &o->dead_filter_count, error);
    if (!status) status = shrink_list_dead(live + outputs, inputs, &o->dead_channels, &o->dead_channel_count, error);
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

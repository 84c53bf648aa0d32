/* The presets that count as the papers did; src/collect/PAPERS.md says where each choice comes from. */
#include "job/paper.h"

#include <math.h>

fpr_options paper_options(const fpr_options *given)
{
    fpr_options o = *given;
    switch (o.paper) {
    case FPR_PAPER_NONE: break;
    case FPR_PAPER_CVPR22:
        o.half = true;
        o.bins = 70;
        o.weights = FPR_WEIGHTS_EXPLAINED;
        o.range[0] = o.range[1] = NAN;
        break;
    case FPR_PAPER_MED22:
        o.half = false;
        o.bins = 70;
        o.weights = FPR_WEIGHTS_UNIFORM;
        o.range[0] = -3;
        o.range[1] = 3;
        o.order = FPR_ORDER_GIVEN;
        break;
    }
    return o;
}

void paper_weights(const fpr_options *options, const fpr_basis *basis, unsigned k, double *weights)
{
    for (unsigned i = 0; i < k; i++)
        weights[i] = options->weights == FPR_WEIGHTS_UNIFORM ? 1.0 / k : basis->explained_variance_ratio[i];
}

bool paper_has_range(const fpr_options *options) { return options->range[0] < options->range[1]; }

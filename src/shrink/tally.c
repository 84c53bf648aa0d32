/* How well kernels do at two levels, counted. */
#include "shrink/tally.h"

#include <math.h>

const tally tally_none = {
    .low_range = {INFINITY, -INFINITY}, .high_range = {INFINITY, -INFINITY}, .alpha_range = {INFINITY, -INFINITY}};

static inline kernel_kind kind_of_k(const double *w, size_t k, double reach, double *low, double *high)
{
    double lo = w[0], hi = w[0], apart = 0;
    for (size_t i = 1; i < k; i++) {
        lo = w[i] < lo ? w[i] : lo;
        hi = w[i] > hi ? w[i] : hi;
    }
    *low = lo;
    *high = hi;
    double limit = reach * (-lo > hi ? -lo : hi) * (1 + 1e-9);
    for (size_t i = 0; i < k; i++) {
        double nearer = w[i] - lo < hi - w[i] ? w[i] - lo : hi - w[i];
        if (nearer > limit) return KIND_DENSE;
        apart = nearer > apart ? nearer : apart;
    }
    return apart == 0 ? KIND_EXACT : KIND_NEARLY;
}

/* Straight code for the commonest size. */
kernel_kind tally_kind(const double *w, size_t k, double reach, double *low, double *high)
{
    return k == 9 ? kind_of_k(w, 9, reach, low, high) : kind_of_k(w, k, reach, low, high);
}

static inline verdict judge(double error, double norm, bool exact, double tolerance)
{
    bool defined = norm > 1e-290 && norm < 1e290;
    return (verdict){
        .met = exact || (defined && error <= tolerance * norm), .exact = exact, .error = exact ? 0 : error / norm};
}

verdict tally_try(const double *w, size_t k, double low, double high, double tolerance)
{
    double error = 0, norm = 0;
    bool exact = true;
    uint64_t at_low = 0;
    for (size_t i = 0; i < k; i++) {
        double a = fabs(w[i] - low), b = fabs(w[i] - high), d = a <= b ? a : b;
        at_low += a <= b;
        exact &= d == 0;
        error += d * d;
        norm += w[i] * w[i];
    }
    verdict v = judge(error, norm, exact, tolerance);
    v.low = at_low;
    return v;
}

/* Levels that lie within the tolerance of each other are one. */
static bool is_one_level(const levels *l, double tolerance)
{
    double peak = fabs(l->low) > fabs(l->high) ? fabs(l->low) : fabs(l->high);
    return l->high - l->low <= 2 * sqrt(tolerance) * peak;
}

static void widen(double range[2], double from, double to)
{
    if (from < range[0]) range[0] = from;
    if (to > range[1]) range[1] = to;
}

bool tally_kernel(tally *t, const double *w, size_t k, const levels *l, double tolerance)
{
    verdict free = tally_try(w, k, l->low, l->high, tolerance);
    if (!free.met) return false;
    verdict symmetric = tally_try(w, k, -l->alpha, l->alpha, tolerance);
    t->met++;
    t->exact += free.exact;
    t->exact_symmetric += symmetric.exact;
    t->broken += !symmetric.met || (free.exact && !symmetric.exact);
    t->low += free.low;
    t->high += k - free.low;
    t->low_symmetric += symmetric.low;
    t->high_symmetric += k - symmetric.low;
    if (free.error > t->worst) t->worst = free.error;
    if (symmetric.met && symmetric.error > t->worst_symmetric) t->worst_symmetric = symmetric.error;
    return true;
}

void tally_unit(tally *t, const levels *l, uint64_t low, uint64_t high, double tolerance)
{
    t->units++;
    t->proven += low > 1 && high > 1 && !is_one_level(l, tolerance);
    widen(t->low_range, l->low, l->low);
    widen(t->high_range, l->high, l->high);
    widen(t->alpha_range, l->alpha, l->alpha);
}

void tally_add(tally *sum, const tally *t)
{
    sum->met += t->met;
    sum->exact += t->exact;
    sum->exact_symmetric += t->exact_symmetric;
    sum->broken += t->broken;
    sum->units += t->units;
    sum->proven += t->proven;
    sum->low += t->low;
    sum->high += t->high;
    sum->low_symmetric += t->low_symmetric;
    sum->high_symmetric += t->high_symmetric;
    if (t->worst > sum->worst) sum->worst = t->worst;
    if (t->worst_symmetric > sum->worst_symmetric) sum->worst_symmetric = t->worst_symmetric;
    widen(sum->low_range, t->low_range[0], t->low_range[1]);
    widen(sum->high_range, t->high_range[0], t->high_range[1]);
    widen(sum->alpha_range, t->alpha_range[0], t->alpha_range[1]);
}

void tally_exact(tally *t, uint64_t kernels, const shrink_pair *pair, double tolerance)
{
    bool one = !pair->high_count, symmetric = one || pair->low == -pair->high;
    uint64_t all = pair->low_count + pair->high_count;
    levels l = {pair->low, one ? pair->low : pair->high, fabs(pair->low)};
    t->met += kernels;
    t->exact += kernels;
    t->exact_symmetric += symmetric ? kernels : 0;
    t->broken += symmetric ? 0 : kernels;
    t->low += pair->low_count;
    t->high += pair->high_count;
    t->low_symmetric += one && pair->low >= 0 ? 0 : pair->low_count;
    t->high_symmetric += one && pair->low >= 0 ? all : pair->high_count;
    tally_unit(t, &l, pair->low_count, pair->high_count, tolerance);
}

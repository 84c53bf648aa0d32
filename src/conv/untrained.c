/* Whether a layer looks as an initialiser left it: independent weights, of a distribution that initialisers draw from.
 *
 * Two signs, both scale-free:
 *
 *   no direction   The kernels vary alike along every direction. Of n kernels of k independent weights the largest
 *                  eigenvalue of the covariance stays below the edge of Marchenko and Pastur, (sqrt n + sqrt k)^2 / n
 *                  times the variance, plus some units of Tracy and Widom's fluctuation (Johnstone 2001, "On the
 *                  distribution of the largest eigenvalue in principal components analysis"). In CNN Filter DB (Gavrikov
 *                  & Keuper 2022) the same is read from the variance entropy of 3x3 kernels, against T(n).
 *   no tails       The largest |w|, in units of the root mean square, is that of so many uniform, normal or (at two
 *                  standard deviations, as TensorFlow does it) truncated normal draws. Training makes tails longer.
 *
 * Then the root mean square tells which of the usual rules it was: LeCun 1998, Glorot & Bengio 2010, He et al. 2015. */
#include "conv/conv.h"

#include <math.h>

/* Deviations of an estimate that are still chance. */
#define DEVIATIONS 4.0
/* Weights are stored rounded: bfloat16 keeps 8 bits. */
#define ROUNDING 0.004
/* Share of kernels that chance makes sparse, of two weights; training and weight decay make more. */
#define SPARSE 0.01

typedef enum drawn { DRAWN_UNIFORM, DRAWN_TRUNCATED, DRAWN_NORMAL, DRAWN_OTHERWISE } drawn;

static const char *const drawn_names[] = {"uniform", "truncated normal", "normal"};

/* k times the largest variance ratio that chance gives. */
static double edge(double n, double k)
{
    const double sum = sqrt(n) + sqrt(k);
    return (sum * sum + DEVIATIONS * sum * cbrt(1 / sqrt(n) + 1 / sqrt(k))) / n;
}

/* The relative error of the root mean square of n draws: sqrt(kurtosis - 1) / 2 over sqrt n. */
static double rms_error(drawn d, double n)
{
    static const double unit[] = {0.447, 0.6, 0.707}; /* of kurtosis 1.8, 2.4 and 3 */
    return unit[d] / sqrt(n);
}

/* Which draws have their largest at `peak` root mean squares. */
static drawn distribution(double peak, double n)
{
    static const double ends[] = {1.7320508075688772, 2.2737}; /* of the bounded ones */
    for (drawn d = DRAWN_UNIFORM; d <= DRAWN_TRUNCATED; d++) {
        const double off = peak / ends[d] - 1, most = DEVIATIONS * rms_error(d, n) + ROUNDING;
        if (off < most && off > -most - 12 / n) return d; /* the largest of n uniform draws is 1/n below the end */
    }
    /* How many normal draws are expected beyond it: of chance 1e-5 to be so few, or so many. */
    const double beyond = n * erfc(peak / 1.4142135623730951);
    return beyond > 1e-5 && beyond < 12 ? DRAWN_NORMAL : DRAWN_OTHERWISE;
}

/* The rule that comes nearest, of those that chance allows. The end of uniform draws tells their width far better than their
 * root mean square does: Glorot's and He's are often but few per cent apart. */
static const char *rule(drawn d, double rms, double peak, double n, double in, double out)
{
    enum { ALL = 1 << DRAWN_UNIFORM | 1 << DRAWN_TRUNCATED | 1 << DRAWN_NORMAL };
    /* Of two that are the same, the more usual one first. TensorFlow's, which are truncated, go by fan-in or by both. */
    const struct { const char *name; double deviation; unsigned drawn; } rules[] = {
        {"the default of torch.nn.Conv", sqrt(1 / (3 * in)), 1 << DRAWN_UNIFORM},
        {"Glorot", sqrt(2 / (in + out)), ALL},
        {"He by fan-in", sqrt(2 / in), ALL},
        {"He by fan-out", sqrt(2 / out), 1 << DRAWN_UNIFORM | 1 << DRAWN_NORMAL},
        {"LeCun", sqrt(1 / in), ALL},
        {"a width of 0.02", 0.02, 1 << DRAWN_TRUNCATED | 1 << DRAWN_NORMAL},
        {"a width of 0.01", 0.01, 1 << DRAWN_NORMAL},
    };
    const double width = d == DRAWN_UNIFORM ? peak / 1.7320508075688772 : rms;
    const char *name = NULL;
    double nearest = (d == DRAWN_UNIFORM ? 12 / n : DEVIATIONS * rms_error(d, n)) + ROUNDING;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const double off = fabs(width / rules[i].deviation - 1);
        if (!(rules[i].drawn >> d & 1) || !(off < nearest)) continue;
        nearest = off;
        name = rules[i].name;
    }
    return name;
}

bool conv_looks_untrained(const fpr_layer_shape *shape, const conv_measure *measured, const double *ratio,
                          conv_untrained *found)
{
    const double kernels = (double)shape->kernels, k = (double)shape->k, weights = kernels * k;
    *found = (conv_untrained){0};
    const double rms = measured->rms;
    if (!conv_has_basis(shape) || !ratio || !(rms > 0) || kernels < 2 * k) return false;
    if ((double)measured->sparse > SPARSE * kernels) return false;
    const double limit = edge(kernels, k);
    double largest = 0;
    for (unsigned i = 0; i < shape->k; i++) largest = ratio[i] > largest ? ratio[i] : largest;
    if (!(k * largest < limit)) return false;
    const drawn d = distribution(measured->max_abs / rms, weights);
    if (d == DRAWN_OTHERWISE) return false;
    const char *by = rule(d, rms, measured->max_abs, weights, (double)shape->channels * k,
                          (double)shape->filters * k);
    /* Normal weights are many; and where a direction of half as much variance again would not show, only sharp ends of a
     * known width are a sign. */
    if ((d == DRAWN_NORMAL && (!by || limit > 1.5)) || (limit > 1.5 && !by)) return false;
    *found = (conv_untrained){.distribution = drawn_names[d], .rule = by};
    return true;
}

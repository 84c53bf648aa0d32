/* Collections: what can be said of many distributions of kernels at once.
 *
 * noise.c   how far apart two samples of one distribution come out by chance alone; deal.h deals them out
 * order.c   an order in which alike stands beside alike
 * names.c   the shortest names by which paths differ
 *
 * Works on histograms, matrices and names; refuses to know tensors, checkpoints or pages. Called by the jobs. */
#ifndef FPR_COLLECT_H
#define FPR_COLLECT_H

#include "base/base.h"

/* ---- noise.c: the noise floor of a divergence
 *
 * Had both samples been drawn from one distribution, their divergence would still not be 0: the fewer kernels, the
 * farther apart. How far is found by dealing: the kernels of both, component by component, are dealt out anew to two
 * samples of the same sizes COLLECT_DRAWS times, and the same weighted divergence is taken of each two.
 *
 * Dealt without putting back (each bin hypergeometric), not drawn from the pooled histogram as from a distribution
 * (multinomial): drawing loses a third of the kernels that are alone in their bin, which are what this divergence lives
 * on, and comes out a tenth too low where the two are of a size. Of two samples of 2,048 random kernels each, one in
 * five was then called different; dealt out, one in twenty.
 *
 * A lower bound all the same: kernels of one layer are not independent of each other, and were dealt as if they were. */

#define COLLECT_DRAWS 64

/* The generator: splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). */
typedef struct collect_random { uint64_t state; } collect_random;
uint64_t collect_random_bits(collect_random *random);
/* In (0, 1), never 0 or 1. */
double collect_random_uniform(collect_random *random);

/* The chances of all draws, for as many bins in all (k times bins) as a distribution has; the same in every run. */
typedef struct collect_dice collect_dice;
fpr_status collect_dice_new(size_t bins, collect_dice **dice, fpr_error *error);
void collect_dice_free(collect_dice *dice);

typedef struct collect_noise { double median, q95; } collect_noise;

/* Of two samples p and q, counts [k][bins] over one range with bins of this width; weights: [k]. The same numbers for p
 * and q exchanged, in every run, thread and processor. q95: a further draw would lie above it in one of twenty cases. */
collect_noise collect_noise_floor(const collect_dice *dice, const uint64_t *p, const uint64_t *q, unsigned k, unsigned bins,
                                  double width, const double *weights);

/* The noise floor of every pair of n distributions, counts[i] of [k][bins] over one range (one of no width is widened as
 * histograms are): median and q95 are [n][n], symmetric, 0 on the
 * diagonal, and the same for any number of threads. Stops early, with what it has, when *cancel becomes non-zero. */
fpr_status collect_noise_matrix(const uint64_t *const *counts, size_t n, unsigned k, unsigned bins,
                                const double range[2], const double *weights, unsigned threads, const volatile int *cancel, double *median,
                                double *q95, fpr_error *error);

/* ---- order.c */

/* order[0 .. n-1]: the leaves of average linkage (Sokal & Michener 1958, UPGMA) over a symmetric matrix [n][n] of
 * distances, by nearest-neighbour chains (Murtagh 1983) in time and memory n^2. At each joint the two branches are turned
 * so that the leaves that meet are the more alike ones; the branch with the lower number first where that leaves a choice.
 * Distances that are not finite count as larger than all others. */
fpr_status collect_similarity_order(const double *distance, size_t n, size_t *order, fpr_error *error);

/* ---- names.c */

/* One name for each path, all different where the paths are: of the path's components, those at its end that are needed,
 * without those that are alike in all, and without the ending that says what kind of file it is. names[i] is
 * allocated; on failure none is. */
fpr_status collect_short_names(const char *const *paths, size_t n, char **names, fpr_error *error);

#endif

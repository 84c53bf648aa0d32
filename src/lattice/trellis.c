/* Trellis-coded quantization (Marcellin and Fischer 1990), with eight states after Ungerboeck's code of parity checks 13
 * and 04 (1982): the points of step 1 are shared out over four sets, of which a state offers two, so that the points of
 * a set lie four apart while an index costs what one of step two costs. Found by Viterbi's algorithm. */
#include "lattice/lattice.h"

#include <math.h>

#define STATES 8u

struct lattice_path {
    uint8_t came[LATTICE_CHUNK]; /* bit s: the highest bit of the state before state s */
};

lattice_path *lattice_path_new(void) { return base_alloc(1, sizeof(lattice_path)); }

/* The nearest point to x for an index of each parity: [0] even. Of quantizer 0: ... -4 0 4 ... and -2 2 6 ...; of
 * quantizer 1, whose sets are alike on both sides of zero: 0 3 7 ... and 1 5 9 ... and their negatives. */
static inline void nearest_even(double x, double point[2])
{
    point[0] = 4 * lattice_nearest(x * 0.25);
    point[1] = 4 * lattice_nearest((x - 2) * 0.25) + 2;
}

static inline void nearest_odd(double x, double point[2])
{
    const double a = fabs(x), sign = x < 0 ? -1 : 1;
    const double far = 4 * lattice_nearest((a - 3) * 0.25) + 3, near = 4 * lattice_nearest((a - 1) * 0.25) + 1;
    point[0] = a < 1.5 ? 0 : sign * (far < 3 ? 3 : far);
    point[1] = sign * (near < 1 ? 1 : near);
}

static inline void nearest(double x, double points[2][2])
{
    nearest_even(x, points[0]);
    nearest_odd(x, points[1]);
}

/* State t is reached from two states, which differ in their highest bit c; the parity of the index is then
 * c xor bit 1 of t. */
static inline unsigned before(unsigned t, unsigned c)
{
    const unsigned low = t >> 2, second = (t ^ t >> 2) & 1;
    return low | second << 1 | c << 2;
}

double lattice_path_find(lattice_path *path, const double *x, size_t n, int32_t *points)
{
    double cost[STATES] = {0}, next[STATES], p[2][2], square[2][2];
    for (unsigned s = 1; s < STATES; s++) cost[s] = HUGE_VAL;
    for (size_t i = 0; i < n; i++) {
        nearest(x[i], p);
        for (unsigned q = 0; q < 2; q++)
            for (unsigned parity = 0; parity < 2; parity++)
                square[q][parity] = (x[i] - p[q][parity]) * (x[i] - p[q][parity]);
        unsigned came = 0;
        for (unsigned t = 0; t < STATES; t++) {
            const unsigned parity = t >> 1 & 1, s0 = before(t, 0), s1 = before(t, 1);
            const double c0 = cost[s0] + square[s0 & 1][parity], c1 = cost[s1] + square[s1 & 1][parity ^ 1];
            came |= (unsigned)(c1 < c0) << t;
            next[t] = c1 < c0 ? c1 : c0;
        }
        path->came[i] = (uint8_t)came;
        memcpy(cost, next, sizeof cost);
    }
    unsigned state = 0;
    for (unsigned s = 1; s < STATES; s++)
        if (cost[s] < cost[state]) state = s;
    const double least = cost[state];
    for (size_t i = n; i-- > 0;) {
        const unsigned c = path->came[i] >> state & 1, from = before(state, c), parity = c ^ (state >> 1 & 1);
        nearest(x[i], p);
        points[i] = (int32_t)p[from & 1][parity];
        state = from;
    }
    return least;
}

/* Cells under numpy's bins, and what can be read off a sorted list of them. The rule that puts a number into its cell
 * is the inner loop `cells` of kernels_body.h. */
#include "num/num.h"

void num_widen(double range[2])
{
    if (range[0] == range[1]) {
        range[0] -= 0.5;
        range[1] += 0.5;
    }
}

double num_cell_position(const num_cells_view *view, int64_t cell, double fraction)
{
    const double step = (view->hi - view->lo) / view->bins, fine = (double)(UINT64_C(1) << view->zoom);
    const int64_t bin = cell >> view->zoom;
    const double within = (double)(cell - (int64_t)((uint64_t)bin << view->zoom)) + fraction;
    return view->lo + (double)bin * step + within / fine * step;
}

/* Where the i-th of the numbers of one mass lies, when they are spread evenly. */
static double member(const num_mass *mass, double i)
{
    if (mass->count < 2) return mass->x;
    return mass->x + mass->spread * (2 * (i + 0.5) / (double)mass->count - 1);
}

double num_rank_value(const num_mass *masses, size_t count, double rank)
{
    const double whole = (double)(uint64_t)rank, part = rank - whole;
    double before = 0;
    for (size_t i = 0; i < count; i++) {
        const double n = (double)masses[i].count;
        if (whole < before + n) {
            const double low = member(&masses[i], whole - before);
            if (part == 0) return low;
            const double high = whole + 1 < before + n || i + 1 == count ? member(&masses[i], whole + 1 - before)
                                                                         : member(&masses[i + 1], 0);
            return low + part * (high - low);
        }
        before += n;
    }
    return count ? masses[count - 1].x : 0;
}

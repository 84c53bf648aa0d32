/* The best two levels of a set of numbers.
 *
 * In one dimension the optimal two clusters are separated by a threshold, so sorting and trying every split is exact.
 * A split of n = n1 + n2 points with means m1, m2 leaves the squared error  sum (w - m)^2 - n1 n2 / n (m1 - m2)^2,
 * m the mean of all: the best split maximises the second term, which is a sum of squares and cancels nothing. */
#include "shrink/inner.h"

static void move(double *values, uint64_t *counts, size_t to, size_t from)
{
    values[to] = values[from];
    if (counts) counts[to] = counts[from];
}

/* Lets (value, count) sink from root to its place in the heap of n. */
static void sink(double *values, uint64_t *counts, size_t root, size_t n, double value, uint64_t count)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && values[child + 1] > values[child]) child++;
        if (!(values[child] > value)) break;
        move(values, counts, root, child);
    }
    values[root] = value;
    if (counts) counts[root] = count;
}

/* Insertion sort for a kernel, heapsort beyond: no memory, no bad case. Long arrays are rare, a filter that is already
 * known to be nearly two-level. */
static void sort_points(double *values, uint64_t *counts, size_t n)
{
    for (size_t i = 1; n <= 32 && i < n; i++) {
        double value = values[i];
        uint64_t count = counts ? counts[i] : 1;
        size_t at = i;
        for (; at > 0 && values[at - 1] > value; at--) move(values, counts, at, at - 1);
        values[at] = value;
        if (counts) counts[at] = count;
    }
    if (n <= 32) return;
    for (size_t i = n / 2; i-- > 0;) sink(values, counts, i, n, values[i], counts ? counts[i] : 1);
    for (size_t i = n - 1; i > 0; i--) {
        double value = values[i];
        uint64_t count = counts ? counts[i] : 1;
        move(values, counts, i, 0);
        sink(values, counts, 0, i, value, count);
    }
}

/* The mean of sorted points; exactly their value when they are all equal, which sum / n need not be. */
static double mean_of(const double *values, const uint64_t *counts, size_t n, uint64_t *total)
{
    double sum = 0;
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t count = counts ? counts[i] : 1;
        *total += count;
        sum += (values[i] - values[0]) * (double)count;
    }
    return values[0] + sum / (double)*total;
}

/* The count of sorted points, not all equal, that belong to the lower level. */
static size_t best_split(const double *values, const uint64_t *counts, size_t n)
{
    /* Relative to the middle and the width, so that sums neither cancel nor leave the range. */
    double middle = values[0] / 2 + values[n - 1] / 2, width = values[n - 1] / 2 - values[0] / 2;
    if (!(width > 0)) width = values[n - 1] - values[0]; /* neighbouring subnormals */
    double total = 0, weight = 0, sum = 0, left = 0, best = -1;
    for (size_t i = 0; i < n; i++) {
        double count = counts ? (double)counts[i] : 1;
        total += (values[i] - middle) / width * count;
        weight += count;
    }
    size_t split = 1;
    for (size_t i = 0; i + 1 < n; i++) {
        double count = counts ? (double)counts[i] : 1;
        sum += (values[i] - middle) / width * count;
        left += count;
        double apart = sum / left - (total - sum) / (weight - left);
        double between = left * (weight - left) * apart * apart;
        if (between > best && values[i] < values[i + 1]) {
            best = between;
            split = i + 1;
        }
    }
    return split;
}

shrink_pair shrink_two_means(double *values, uint64_t *counts, size_t n)
{
    shrink_pair pair = {0};
    if (!n) return pair;
    sort_points(values, counts, n);
    if (values[0] == values[n - 1]) {
        pair.low = pair.high = mean_of(values, counts, n, &pair.low_count);
        return pair;
    }
    size_t split = best_split(values, counts, n);
    pair.low = mean_of(values, counts, split, &pair.low_count);
    pair.high = mean_of(values + split, counts ? counts + split : NULL, n - split, &pair.high_count);
    return pair;
}

double shrink_two_levels(double *values, size_t n, double *low, double *high, size_t *split)
{
    shrink_pair pair = shrink_two_means(values, NULL, n);
    double error = 0;
    *low = pair.low;
    *high = pair.high;
    *split = (size_t)pair.low_count;
    for (size_t i = 0; i < n; i++) {
        double d = values[i] - (i < *split ? pair.low : pair.high);
        error += d * d;
    }
    return error;
}

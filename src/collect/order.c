/* An order in which alike stands beside alike: average linkage, its tree laid flat. */
#include "collect/collect.h"

#include <math.h>

/* A cluster stands under the number of one of its members; its leaves are a list from first to last. */
typedef struct cluster {
    size_t size;
    size_t first, last;
    bool alive;
} cluster;

typedef struct linkage {
    size_t n;
    const double *given; /* [n][n] */
    double *distance;    /* [n][n], between clusters that are alive */
    cluster *clusters;   /* [n] */
    size_t *next;        /* [n] the leaf that follows; n: none */
    size_t *chain;       /* [n] */
} linkage;

static double at(const double *matrix, size_t n, size_t i, size_t j)
{
    const double v = matrix[i * n + j];
    return isfinite(v) ? v : 1e300;
}

static size_t nearest(const linkage *l, size_t i, size_t before)
{
    /* The link before is kept on a tie: that is what ends a chain. */
    size_t best = before;
    for (size_t j = 0; j < l->n; j++)
        if (j != i && l->clusters[j].alive && (best == l->n || l->distance[i * l->n + j] < l->distance[i * l->n + best]))
            best = j;
    return best;
}

static void reverse(linkage *l, cluster *c)
{
    size_t before = l->n;
    for (size_t i = c->first; i != l->n;) {
        const size_t next = l->next[i];
        l->next[i] = before;
        before = i;
        i = next;
    }
    const size_t first = c->first;
    c->first = c->last;
    c->last = first;
}

/* Puts the leaves of b behind those of a, both turned so that the nearest of their four ends meet. */
static void join_leaves(linkage *l, cluster *a, cluster *b)
{
    const size_t ends_a[2] = {a->last, a->first}, ends_b[2] = {b->first, b->last};
    unsigned best = 0;
    for (unsigned turn = 1; turn < 4; turn++)
        if (at(l->given, l->n, ends_a[turn >> 1], ends_b[turn & 1]) <
            at(l->given, l->n, ends_a[best >> 1], ends_b[best & 1]))
            best = turn;
    if (best >> 1) reverse(l, a);
    if (best & 1) reverse(l, b);
    l->next[a->last] = b->first;
    a->last = b->last;
}

static void merge(linkage *l, size_t i, size_t j)
{
    if (j < i) {
        const size_t swap = i;
        i = j;
        j = swap;
    }
    cluster *a = &l->clusters[i], *b = &l->clusters[j];
    const double total = (double)(a->size + b->size), of_a = (double)a->size / total, of_b = (double)b->size / total;
    for (size_t m = 0; m < l->n; m++)
        if (l->clusters[m].alive && m != i && m != j)
            l->distance[i * l->n + m] = l->distance[m * l->n + i] =
                of_a * l->distance[i * l->n + m] + of_b * l->distance[j * l->n + m];
    join_leaves(l, a, b);
    a->size += b->size;
    b->alive = false;
}

static void link_all(linkage *l)
{
    size_t length = 0, lowest = 0;
    for (size_t merges = 0; merges + 1 < l->n;) {
        if (length == 0) {
            while (!l->clusters[lowest].alive) lowest++;
            l->chain[length++] = lowest;
        }
        const size_t end = l->chain[length - 1], before = length > 1 ? l->chain[length - 2] : l->n;
        const size_t near = nearest(l, end, before);
        if (near == before) {
            merge(l, end, before);
            length -= 2;
            merges++;
        } else {
            l->chain[length++] = near;
        }
    }
}

fpr_status collect_similarity_order(const double *distance, size_t n, size_t *order, fpr_error *error)
{
    uint64_t cells = 0;
    linkage l = {.n = n, .given = distance};
    if (n == 0) return FPR_OK;
    l.distance = base_multiply(n, n, &cells) ? base_alloc(cells, sizeof *l.distance) : NULL;
    l.clusters = base_alloc(n, sizeof *l.clusters);
    l.next = base_alloc(n, sizeof *l.next);
    l.chain = base_alloc(n, sizeof *l.chain);
    fpr_status status = FPR_OK;
    if (l.distance && l.clusters && l.next && l.chain) {
        for (size_t i = 0; i < n; i++) {
            l.clusters[i] = (cluster){1, i, i, true};
            l.next[i] = n;
            for (size_t j = 0; j < n; j++) l.distance[i * n + j] = at(distance, n, i, j);
        }
        link_all(&l);
        /* The cluster that is left has the lowest number. */
        size_t leaf = l.clusters[0].first;
        for (size_t i = 0; i < n; i++, leaf = l.next[leaf]) order[i] = leaf;
    } else {
        status = base_no_memory(error, cells * sizeof *l.distance);
    }
    base_free(l.distance);
    base_free(l.clusters);
    base_free(l.next);
    base_free(l.chain);
    return status;
}

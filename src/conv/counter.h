/* Private to conv/: what the third sweep counts into; filled by count.c and column.c, read by distribution.c. */
#ifndef FPR_CONV_COUNTER_H
#define FPR_CONV_COUNTER_H

#include "conv/tile.h"

#define COUNT_SHIFT 37 /* a cell's count is above, the sum of positions below */
#define COUNT_MASK ((UINT64_C(1) << COUNT_SHIFT) - 1)

/* Kinds of kernel that are counted apart: each distribution is a sum of some. Zero kernels are counted all at once. */
enum { KEPT_LIVE, KEPT_SPARSE, GONE_LIVE, GONE_SPARSE, NEW_LIVE, NEW_SPARSE, KINDS };
/* By conv_which. */
static const uint8_t conv_kinds_of[4] = {
    [CONV_BEFORE] = 1 << KEPT_LIVE | 1 << KEPT_SPARSE | 1 << GONE_LIVE | 1 << GONE_SPARSE,
    [CONV_AFTER] = 1 << KEPT_LIVE | 1 << KEPT_SPARSE | 1 << NEW_LIVE | 1 << NEW_SPARSE,
    [CONV_LIVE_BEFORE] = 1 << KEPT_LIVE | 1 << GONE_LIVE,
    [CONV_LIVE_AFTER] = 1 << KEPT_LIVE | 1 << NEW_LIVE,
};

typedef struct wide_cell { uint64_t count, positions; } wide_cell;

/* One component's cells: fine ones where its coefficients lie densest, coarse ones to the left and to the right of these.
 * In a table the fine ones come first, then the left ones, then the right ones. */
typedef struct window {
    num_cells_view fine, coarse; /* the first and the last fine cell are empty: what falls there is outside */
    uint32_t count;              /* fine.count + 2 * coarse.count */
} window;

/* One kind of kernel, one component, one worker. */
typedef struct table {
    double *numbers;  /* [capacity] the coefficients themselves, of a kind of which few are expected */
    uint64_t capacity;
    uint64_t *cells;  /* [window.count], of any other */
    wide_cell *wide;  /* [window.count] what was emptied from cells; NULL in any but enormous groups */
    uint64_t counted; /* in cells, since they were last emptied */
    uint64_t total;
    double range[2];
} table;

typedef struct tile { uint32_t count[KINDS]; } tile;

/* What one worker has counted, and the tiles that it is counting: coefficients [tile][k][stride], within a tile grouped
 * by kind. */
typedef struct counting {
    table *tables;       /* [k][KINDS] */
    uint64_t zeros[4];   /* by conv_which */
    double *coefficients;
    double *scratch;     /* two tiles, one row of peaks */
} counting;

/* Density estimates already made, for distributions that turn out to be the same. */
typedef struct estimate { fpr_kde *kde; unsigned kinds; uint64_t zeros; } estimate;

struct conv_counter {
    unsigned k;
    uint64_t cells_max;     /* numbers that cells take before they are emptied into wide ones; tests make it small */
    bool many[KINDS];       /* more are expected than are kept as they are */
    double range[2];
    conv_settings settings;
    const num_kernels *kernels;
    double *memory, *mean, *components, *origin; /* origin: coefficients of the zero kernel */
    window *windows;        /* [k] */
    unsigned workers, task_tiles;
    counting *counting;     /* [workers] */
    estimate estimates[4];
    /* of the call that runs */
    const conv_block *blocks;
    size_t count;
    uint64_t *parts;
    bool changed;
    bool no_memory;
};

/* ---- column.c */

/* Coefficients that are kept as they are, of each kind and component: sorting more takes longer than counting. */
uint64_t conv_numbers_max(unsigned k);
/* Chooses the window of a component of standard deviation sd (not finite: unknown) within the range. */
void conv_window_choose(window *w, const double range[2], unsigned bins, unsigned k, uint64_t kernels, double sd,
                        double reach);
/* Adds n coefficients to a table. false without memory. */
bool conv_table_add(const conv_counter *c, const window *w, unsigned kind, table *t, const double *x, size_t n);

#endif

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

typedef struct table {
    double *numbers;  /* [numbers_max] the coefficients themselves, while they are few */
    uint64_t *cells;  /* [view.count], once they are many */
    wide_cell *wide;  /* what was emptied from cells; NULL in any but enormous groups */
    uint64_t kernels; /* in cells, since they were last emptied */
    uint64_t total;
    double range[2];
} table;

/* One component. */
typedef struct column {
    num_cells_view view;
    bool seen;
    double range[2]; /* of all kinds */
    table tables[KINDS];
} column;

typedef struct tile { uint32_t count[KINDS]; uint64_t zeros[4]; /* by conv_which */ } tile;

/* Coefficients of some tiles: [tile][k][stride], within a tile grouped by kind. */
typedef struct chunk {
    uint64_t first_tile;
    size_t tile_count;
    tile *tiles;
    double *coefficients;
} chunk;

/* Density estimates already made, for distributions that turn out to be the same. */
typedef struct estimate { fpr_kde *kde; unsigned kinds; uint64_t zeros; } estimate;

struct conv_counter {
    unsigned k;
    /* Limits, which tests make small: coefficients that a table keeps as they are, before it turns to cells; that cells
     * take before they are emptied into wide ones. */
    uint64_t numbers_max, cells_max;
    bool many[KINDS];            /* more are expected than a table keeps as they are */
    unsigned cells_zoom;         /* a table has bins << cells_zoom cells */
    double range[2];
    conv_settings settings;
    const num_kernels *kernels;
    double *memory, *mean, *components, *origin; /* origin: coefficients of the zero kernel */
    uint64_t zeros[4];
    column *columns;
    chunk chunks[2];
    size_t chunk_tiles;          /* room in each */
    double *scratch; /* per worker: two tiles, one row of peaks */
    estimate estimates[4];
    /* of the call that runs */
    const conv_block *blocks;
    size_t count;
    uint64_t *parts;
    bool changed;
    chunk *filling, *counting;
    bool no_memory;
};

/* column.c: adds a component's coefficients in counter->counting to its tables. false without memory. */
bool conv_column_add(conv_counter *counter, size_t component);

#endif

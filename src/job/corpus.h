/* The parts of a corpus: corpus.c sees that every model has a profile in one basis and range, corpus_items.c what the models
 * are, corpus_groups.c makes the sums over them. */
#ifndef FPR_JOB_CORPUS_H
#define FPR_JOB_CORPUS_H

#include "job/profile.h"
#include "collect/sum.h"
#include "collect/table.h"

typedef struct corpus_item {
    const char *path;     /* of the checkpoint, or of the profile that was given */
    char *name, *stored;  /* of the model; where its profile is kept */
    bool given;           /* path is a profile */
    profile_rows *rows;   /* of a dataset of rows; else NULL */
    size_t row_count;
    /* What its profile says, once it has one. */
    bool ranged, counted;
    double extent[2];
    collect_grid grid;
} corpus_item;

typedef struct corpus_run {
    const fpr_corpus_request *request;
    fpr_options options;  /* as the preset says */
    corpus_item *items;   /* by name: the order of all sums */
    size_t item_count;
    collect_table table, layers;
    size_t tensor_column, depth_column; /* of layers; SIZE_MAX: none */
    fpr_layer_shape shape;
    collect_grid grid;
    fpr_corpus *result;
} corpus_run;

/* ---- corpus_items.c */
fpr_status corpus_items(corpus_run *run, fpr_error *error);
void corpus_items_free(corpus_run *run);
/* What a --by means: parts of depth or, where parts is 0, a column of the table. */
fpr_status corpus_read_by(const corpus_run *run, const char *by, unsigned *parts, size_t *column, fpr_error *error);
profile_source corpus_source(const corpus_item *item);
const char *corpus_profile_path(const corpus_item *item);
/* conv_depth_norm of a layer, NaN where it is not known; rows: a list of corpus_depth_rows. */
typedef struct corpus_depths { const corpus_run *run; size_t *rows, count; } corpus_depths;
fpr_status corpus_depths_of(const corpus_run *run, const char *model, corpus_depths *depths, fpr_error *error);
double corpus_depth(const corpus_depths *depths, const char *tensor);

/* ---- corpus_groups.c: fills models, layers and by of the result. */
fpr_status corpus_group_all(corpus_run *run, fpr_error *error);

#endif

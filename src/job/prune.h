/* The main job, by the files that carry it out, each of which calls only those below it:
 *
 * main_job.c  whether channels leave (remove.c) or weights alone
 * prune.c     the whole job: study, amount, outputs, report
 * amount.c    the ranking over all layers, and the amount that reaches a size
 * shards.c    all shards, or one: its tensors through the pipe (model/pipe.c) and into the writer
 * pool.c      small tensors of a shard that share a blob
 * items.c     what happens to one tensor, step by step
 * round.c     of these, rounding to a lattice
 * input.c     what the output says of the input
 * pictures.c  kernels of a layer as the report shows them */
#ifndef FPR_JOB_PRUNE_H
#define FPR_JOB_PRUNE_H

#include "job/job.h"
#include "pack/pack.h"

typedef struct input_sum input_sum;

/* What is settled before tensors pass. They leave their marks in the report, the counters of the study, and `tensors`. */
typedef struct prune_job {
    const fpr_model *model;
    const fpr_options *options;
    study *study;
    fpr_report *report;       /* NULL: a trial, of which only the size is wanted; nothing is counted */
    bool reported;            /* somebody reads it */
    bool counting;            /* fill the distributions */
    bool dense, plain;        /* plain: dense, and the file says nothing of its making */
    bool unrounded;           /* dense after all: to round weights for --max-error would cost precision and save nothing */
    input_sum *sum;           /* of the input: needed when a header is written */
    double amount;            /* see shrink_budget */
    uint64_t *units;          /* [layers] from a ranking, or NULL */
    uint64_t adaptive_values; /* see pack_input */
    writer_tensor *tensors;   /* [tensors of the model] */
} prune_job;

/* A tensor on its way. */
typedef struct item {
    size_t id;                /* in the model */
    const fpr_tensor *tensor;
    const study_layer *layer; /* NULL: no convolution */
    writer_tensor *out;       /* what is decided of it */
    void *bytes;              /* dense, of the batch: changed in place */
    void *seen;               /* the weights that the network computes, where they are not bytes; NULL: they are */
    double own_max_abs, own_relative_l2; /* what bytes lost then: outcome is of what is seen */
    void *converted;          /* after --cast; NULL: bytes hold */
    bool exact;               /* restored as in the input */
    shrink_plan plan;
    shrink_outcome outcome;
    /* --max-error: */
    bool rounds, rounded;     /* is to be rounded; has been, to lattice */
    bool thinned;             /* on a lattice in the input, which stays, but for kernels that become zero */
    bool unpruned;            /* pruning would have cost more than the error allowed */
    double norm;              /* in the input */
    lattice lattice;
    uint8_t *kinds;             /* [kernels] as they were, where weights may become zero after the plan; else NULL */
    uint8_t *actions;           /* [kernels] of the layer, for the distributions: all that are left change */
    void *own;                /* the bits before, of a small tensor, and what was known of it */
    shrink_outcome own_outcome;
    bool own_exact;
    pack_blob *blob;          /* NULL: stored as it is */
} item;

/* The layer that a tensor is, or NULL. */
static inline const study_layer *prune_layer(const prune_job *job, size_t tensor)
{
    const size_t l = job->study->layer_of[tensor];
    return l == SIZE_MAX ? NULL : &job->study->layers[l];
}

/* ---- prune.c */

/* fpr_prune, of a checkpoint whose channels stay. */
fpr_status prune_weights(const char *input, const char *output, const fpr_options *options, fpr_report **report,
                         fpr_error *error);

/* ---- input.c */

/* *sum is to be ended whatever is returned. */
fpr_status input_new(const fpr_model *model, input_sum **sum, fpr_error *error);
job_checksum *input_checksum(input_sum *sum); /* takes what a sweep reads */
fpr_status input_start(input_sum *sum, unsigned threads, fpr_error *error); /* the rest, aside */
/* What writers say of the input; its hash is there once input_settle has waited for it. */
out_input *input_said(input_sum *sum);
fpr_status input_settle(input_sum *sum, fpr_error *error);
/* Frees; after an error nothing of it is wanted, else the report gets the checksums. NULL allowed. */
fpr_status input_end(input_sum *sum, fpr_status status, fpr_report *report, fpr_error *error);

/* ---- items.c. The steps come in this order; each but the first two may run for many items at once. */

/* A layer without NaN or Inf: only such are planned. */
static inline bool prune_is_planned(const study_layer *layer) { return layer && layer->measure.finite; }
/* Chosen by --only, --skip and --pointwise. */
bool prune_allowed(const prune_job *job, const study_layer *layer);

item item_of(const prune_job *job, size_t id, void *bytes);
void item_free(item *it);
/* Which of its kernels go, and which become two-level. */
fpr_status item_plan(const prune_job *job, item *it, fpr_error *error);
/* What the plan of its layer makes of a length or a mask: plans that layer, and carries it out on this one. */
fpr_status item_follow(const prune_job *job, item *it, fpr_error *error);
/* Carries the plan out. */
fpr_status item_change(const prune_job *job, item *it, fpr_error *error);
/* --cast. */
fpr_status item_cast(const prune_job *job, item *it, fpr_error *error);
/* Packs it, where that gains, and decides what the output says of it. */
fpr_status item_encode(const prune_job *job, item *it, fpr_error *error);
/* Before item_change, and after item_encode: counts kernels that rounding or a cast made zero; it->seen is what was written. */
fpr_status item_before(const prune_job *job, item *it, fpr_error *error);
fpr_status item_became(const prune_job *job, item *it, fpr_error *error);
/* Adds the kernels of the items to the distributions: as they were, or those that have changed. */
fpr_status items_count(const prune_job *job, const item *items, size_t count, bool changed, fpr_error *error);
/* Moves what is known of it into its row of the report. */
void item_report(const prune_job *job, item *it);

/* ---- round.c */

/* Whether --max-error lets a layer be as it is: the tensors that weights are computed from (weight norm, masks) have no error
 * of their own that says anything about the weights. */
bool round_leaves(const prune_job *job, const study_layer *layer);
/* Whether --max-error is for this tensor, as far as its name and shape say. */
bool round_allowed(const prune_job *job, size_t tensor);
/* After item_plan: whether it is to be rounded; takes pruning back where that would cost too much. */
fpr_status round_plan(const prune_job *job, item *it, fpr_error *error);
/* After item_cast: rounds it. */
fpr_status round_item(const prune_job *job, item *it, fpr_error *error);
/* After item_encode found no gain: a small tensor is as it was. */
void round_undo(item *it);

/* ---- pictures.c */

/* What the layer is, and what goes of it: after its plan, side by side with other items. */
fpr_status pictures_sample(const prune_job *job, const item *it, fpr_error *error);

/* The first kernels of binary-like layers, before or after the change. */
fpr_status pictures_take(const prune_job *job, const item *items, size_t count, bool before, fpr_error *error);

/* ---- pool.c */

/* Marks those tensors of a shard that will share a blob, if any; all others are not. After it is known which are lossless. */
void pool_choose(prune_job *job, size_t begin, size_t count);
/* Makes the blob, of the bytes of the tensor of that number in the model, and decides what of it is said to be whose. */
fpr_status pool_make(prune_job *job, size_t shard, const void *(*bytes)(void *context, size_t tensor), void *context,
                     writer_pool *pool, fpr_error *error);

/* ---- shards.c */

/* Encodes and writes all shards, into place; *total are their bytes, *hash is XXH3-64 of all of them in order, for a report
 * that is read. place NULL: counts bytes only. */
fpr_status shards_write(prune_job *job, out_place *place, uint64_t *total, uint64_t *hash, fpr_error *error);

/* ---- amount.c */

/* Settles job->amount and job->units: the ranking of --global, the search of --target-size. */
fpr_status amount_settle(prune_job *job, fpr_error *error);

#endif

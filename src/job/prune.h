/* The state of one main job, shared by the files that carry it out:
 *
 * prune.c        the whole job, shards, outputs
 * prune_batch.c  the one way of a batch of tensors: plan, count, change, encode, put; a batch is written while the one
 *                after it is encoded
 * prune_amount.c ranking over all layers, and the amount that reaches a size */
#ifndef FPR_JOB_PRUNE_H
#define FPR_JOB_PRUNE_H

#include "job/job.h"

typedef struct slot {
    pack_blob *blob;
    void *bytes; /* dense, when there is no blob */
} slot;

typedef struct prune_run {
    const fpr_model *model;
    const fpr_options *options;
    study *study;
    fpr_report *report;       /* rows are filled when not NULL */
    bool counting;            /* fill the distributions */
    bool dense;
    uint64_t *units;          /* [layers] from a ranking, or NULL */
    writer_tensor *tensors;   /* [tensor_count] */
    slot *slots;              /* [tensor_count] encoded ahead */
    uint64_t adaptive_values; /* see pack_input */
    size_t shard, put;        /* the shard being written, its next tensor to put */
    job_writer *writer;
    const size_t *ids;
    bool ahead;               /* this pass keeps its outcome in slots */
    pack_blob **waiting;      /* what the writer has listed, but not written; and slots, up to `put` */
    size_t waiting_count, waiting_slots;
} prune_run;

/* The layer that a tensor is, or NULL. */
study_layer *prune_layer(const prune_run *run, size_t tensor);
/* A layer without NaN or Inf: only such are planned. */
static inline bool prune_is_planned(const study_layer *layer) { return layer && layer->measure.finite; }
/* Chosen by --only, --skip and --pointwise. */
bool prune_allowed(const prune_run *run, const study_layer *layer);

/* A job_visit for run->ids: everything that happens to a batch; its tensors go to the writer or, ahead, to the slots. */
fpr_status prune_batch(void *run, size_t first, size_t count, void *const *bytes, fpr_error *error);
/* Puts all tensors of the shard before `end` that were encoded ahead. */
fpr_status prune_put_ahead(prune_run *run, size_t end, fpr_error *error);
void prune_free_slot(slot *s);
/* Lets go of what waited to be written. */
void prune_forget_waiting(prune_run *run);

/* Encodes and writes all shards; on success *writers are finished but not committed. output NULL: counts bytes only. */
fpr_status prune_write_all(prune_run *run, const char *output, job_writer **writers, uint64_t *total, fpr_error *error);
void prune_abandon_all(job_writer **writers, size_t count);

/* Settles options->amount and run->units: the ranking of --global, the search of --target-size. */
fpr_status prune_settle_amount(prune_run *run, fpr_options *options, job_writer **writers, fpr_error *error);

#endif

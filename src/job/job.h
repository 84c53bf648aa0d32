/* The jobs: open, study, shrink, pack, report. The only room that sees all the others.
 *
 * options.c  defaults, and the checks that every job makes first
 * prune.c prune_batch.c prune_amount.c   the main job, see prune.h
 * inspect.c compare.c unpack.c verify.c info.c export.c   one job each
 * spectra.c  singular values of whole layers, for inspect and the main job
 * conclude.c  what follows from the matrix of a comparison, see compare.h */
#ifndef FPR_JOB_H
#define FPR_JOB_H

#include "out/out.h"
#include "study/study.h"

/* ---- samples.c */

/* Keeps kernels of a layer in its row: those that go are those of action ZERO or, where the block has none, those that are
 * not zero and have no weight of sparse_limit. */
fpr_status job_samples(const conv_block *block, double sparse_limit, fpr_layer *row, fpr_error *error);

/* ---- spectra.c */

#define JOB_SPECTRA_PHASE "spectra" /* as progress calls it; nothing is written while it lasts */

/* For options.spectra: fills the rows of report, made of that study. FPR_IO where the libraries are missing. */
fpr_status job_spectra(const study *s, const fpr_options *options, fpr_report *report, fpr_error *error);

/* FPR_USAGE where a pattern of --only, --skip, --drop or --transposed names no tensor, with the names that are nearest. */
fpr_status job_check_patterns(const fpr_model *model, const fpr_options *options, fpr_error *error);
/* suspicion.c: why an output differs from its original as a whole, or NULL. base_free. */
char *verify_suspicion(const fpr_model *packed, const fpr_model *original, const fpr_statement *statement);

#endif

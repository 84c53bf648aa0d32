/* The jobs: open, study, shrink, pack, report. The only room that sees all the others.
 *
 * options.c  defaults, and the checks that every job makes first
 * prune.c prune_batch.c prune_amount.c   the main job, see prune.h
 * inspect.c compare.c unpack.c verify.c info.c export.c   one job each
 * conclude.c  what follows from the matrix of a comparison, see compare.h */
#ifndef FPR_JOB_H
#define FPR_JOB_H

#include "out/out.h"
#include "study/study.h"

#endif

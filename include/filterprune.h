/* filterprune: understand the convolution kernels of a checkpoint, and make the checkpoint smaller.
 *
 * This header and its parts are the whole public interface, in the order of use:
 *
 *   filterprune/base.h         linkage, status and errors, dtypes
 *   filterprune/checkpoint.h   checkpoints: open, look, read one tensor
 *   filterprune/options.h      what a job is told
 *   filterprune/report.h       the data that JSON and HTML are made from
 *   filterprune/jobs.h         prune, inspect, unpack, convert, verify, diff, export
 *   filterprune/compare.h      comparisons of many checkpoints, profiles, collections
 *   filterprune/moments.h      mergeable moments of kernels
 *
 * Words. A checkpoint is a safetensors file, or the shards that a *.safetensors.index.json names. A tensor is one
 * entry of it. A convolution layer is a floating-point tensor [out, in/groups, k...]. A kernel is the k spatial
 * weights that one filter applies to one channel; a filter is all kernels of one output channel; a channel is all
 * kernels of a layer that read one input channel. A kernel is sparse when max|w| < eps * max|w| over its layer,
 * and live when it is not.
 *
 * Every fallible function returns an fpr_status and takes, last, an optional fpr_error that receives the detail.
 * The library never prints, exits, installs signal handlers or changes process-wide settings. Results do not depend on
 * the number of threads. */
#ifndef FILTERPRUNE_H
#define FILTERPRUNE_H

#define FPR_VERSION_MAJOR 0
#define FPR_VERSION_MINOR 1
#define FPR_VERSION_PATCH 0
#define FPR_VERSION_STRING "0.1.0"
#define FPR_PACKED_FORMAT 1 /* version of the packed checkpoint that is written; src/pack/FORMAT.md */

#include "filterprune/base.h"
#include "filterprune/checkpoint.h"
#include "filterprune/options.h"
#include "filterprune/report.h"
#include "filterprune/jobs.h"
#include "filterprune/compare.h"
#include "filterprune/moments.h"

#endif

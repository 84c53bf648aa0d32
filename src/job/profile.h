/* From a checkpoint to its profile (src/collect/profile.h), one sweep over the weights at a time. */
#ifndef FPR_JOB_PROFILE_H
#define FPR_JOB_PROFILE_H

#include "job/job.h"
#include "collect/profile.h"

/* One layer that is a run of rows of a tensor, as CNN Filter DB has all layers of all models in one. */
typedef struct profile_rows {
    const char *name;
    uint64_t first, count;
} profile_rows;

/* What a profile is made of: all layers of a checkpoint or, where rows is given, runs of rows of its one tensor [N, k...]. */
typedef struct profile_source {
    const char *path, *name; /* name: of the model */
    const profile_rows *rows;
    size_t row_count;
} profile_source;

/* The first sweep: moments and quality of every layer that has a basis. farthest: takes the scaled kernels of layers of that
 * shape; NULL with a shape of rank 0. The profile is made here. */
fpr_status profile_measure(const profile_source *from, const fpr_options *options, const fpr_layer_shape *far_shape,
                           conv_farthest *farthest, collect_profile *profile, fpr_error *error);
/* The second: the extent of all coefficients of layers of the grid's shape, in that basis. */
fpr_status profile_extent(const profile_source *from, const fpr_options *options, const fpr_basis *basis,
                          const collect_grid *grid, collect_profile *profile, fpr_error *error);
/* The third: counts in the cells of the grid, and the extent. */
fpr_status profile_count(const profile_source *from, const fpr_options *options, const fpr_basis *basis,
                         const collect_grid *grid, collect_profile *profile, fpr_error *error);

/* A profile from and to a file; written like any output, whole or not at all. */
fpr_status profile_load(const char *path, bool with_counts, collect_profile *profile, fpr_error *error);
fpr_status profile_store(const collect_profile *profile, const char *path, bool force, fpr_error *error);
/* All of a file, with a NUL behind it that does not count; base_free. */
fpr_status profile_read_file(const char *path, uint64_t most, char **text, size_t *count, fpr_error *error);
/* Without folders and without the ending that says what kind of file it is; base_free; NULL: no memory. */
char *profile_stem(const char *path);

#endif

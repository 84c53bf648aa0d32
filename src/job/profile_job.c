/* profile: one checkpoint's profile, for a corpus that is put together elsewhere. */
#include "job/compare.h"
#include "job/paper.h"
#include "job/profile.h"

/* In a basis that was given: counts where the range is fixed, else the extent of the coefficients. */
static fpr_status project(const profile_source *from, const fpr_options *options, const char *kernel, const char *basis_source,
                          collect_profile *p, fpr_error *error)
{
    fpr_layer_shape shape = {.kernel_rank = 2, .kernel_shape = {3, 3}, .k = 9};
    fpr_basis basis = {0};
    fpr_status status = kernel ? compare_kernel_shape(kernel, &shape, error) : FPR_OK;
    if (!status) status = basis_load(basis_source, (unsigned)shape.k, &basis, error);
    if (status) return status;
    collect_grid grid = {.kernel_rank = shape.kernel_rank, .k = (unsigned)shape.k, .bins = options->bins,
                         .basis = collect_basis_number(&basis, (unsigned)shape.k)};
    memcpy(grid.kernel_shape, shape.kernel_shape, sizeof grid.kernel_shape);
    if (paper_has_range(options)) {
        memcpy(grid.range, options->range, sizeof grid.range);
        status = profile_count(from, options, &basis, &grid, p, error);
    } else {
        status = profile_extent(from, options, &basis, &grid, p, error);
    }
    study_basis_free(&basis);
    return status;
}

FPR_API fpr_status fpr_profile(const char *input, const char *output, const char *kernel, const char *basis,
                               const fpr_options *options, fpr_error *error)
{
    fpr_status status = fpr_options_check(options, error);
    if (status) return status;
    const fpr_options as_asked = paper_options(options);
    char *name = profile_stem(input);
    if (!name) return base_no_memory(error, strlen(input));
    const profile_source from = {.path = input, .name = name};
    collect_profile p = {0};
    status = profile_measure(&from, &as_asked, NULL, NULL, &p, error);
    if (!status && basis) status = project(&from, &as_asked, kernel, basis, &p, error);
    if (!status) status = profile_store(&p, output, options->force, error);
    collect_profile_free(&p);
    base_free(name);
    return status;
}

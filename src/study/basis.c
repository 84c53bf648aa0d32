/* Bases from outside: the published one, and JSON files. */
#include "study/study.h"

#include <math.h>
#include <stdlib.h>

/* PCA over the 789,401,767 non-sparse 3x3 kernels, each scaled by its own max|w|, of the 118 CNNs paired in Gavrikov &
 * Keuper, "Adversarial Robustness Through the Lens of Convolutional Filters" (CVPRW 2022), as published with it. */
static const struct {
    double mean[9], components[81], singular_values[9], explained_variance_ratio[9];
} robustness = {
    {
        -0.04880553868185276, -0.04564069593034178, -0.050878254267137935, -0.04545880387223561,
        -0.04017981247274795, -0.0478632594185357, -0.049800874123183736, -0.046638805079412385,
        -0.05064954945440707,
    },
    {
        0.29810030523965875, 0.3393100592962799, 0.3033333258737896, 0.34869712346013954, 0.3936331695750918,
        0.35427628698921043, 0.3015929937477805, 0.34251652086890605, 0.3060546364995391, 0.3817516997927009,
        0.45866224802694266, 0.3819231814461703, 0.00432938013906789, 0.0032343808453630385,
        -0.0012828059807592357, -0.3763661163162615, -0.45571604250948705, -0.3855772946631737,
        0.3680745516466358, 0.0012649399110120745, -0.37292417628132707, 0.475105647632504,
        0.007724406508646239, -0.4734991080414289, 0.3733053568438, 0.0067562775644780595, -0.36886054028995596,
        -0.307667957443884, -0.127287983356203, -0.30706981392795035, 0.277131025441378, 0.6581369231638108,
        0.28551337684142825, -0.3072037188814021, -0.12411864514806378, -0.30594617241045213, 0.501588878955371,
        0.005348595276740198, -0.5001330956760092, -0.002099072099052454, 0.0010003017878524034,
        -0.0006206360840566721, -0.5002099635246864, -0.0018573647605638136, 0.49802372065663464,
        -0.13386619896504537, 0.4878971921120449, -0.12482589708251762, -0.426049833718103, 0.30860508175736245,
        -0.4231267748590579, -0.13025689337700935, 0.48926925614017175, -0.1277167880306736,
        -0.3327295191637728, -0.005995831360029097, 0.3360927928566829, 0.5245743839962591,
        0.004522009027091024, -0.5242081610271695, -0.33771368393852164, -0.0011635182541561602,
        0.33504020143992086, -0.327061878949999, 0.5399514143700631, -0.3212590268521126, 0.0029478241806491223,
        -5.066239508955128e-05, -0.0017962358872165296, 0.3222280196368006, -0.5388358650814231,
        0.3226278510745114, 0.2192565433722065, -0.3586614527645506, 0.21651540197046962, -0.3451879921961218,
        0.5626544608202458, -0.3390181379689063, 0.2204561258582896, -0.3603067277901548, 0.21753087038475646,
    },
    {
        35322.13988570481, 21501.196502381237, 17460.484308681265, 13990.807643315764, 11163.81291782816,
        10901.160158376533, 6824.622987536293, 6750.918153173985, 4781.551376191329,
    },
    {
        0.48564861817261273, 0.1799506425286911, 0.11866993830824514, 0.07619276186306011, 0.048512454131984815,
        0.04625658700910205, 0.018129485294391578, 0.017740008784296556, 0.008899503907615878,
    },
};

/* A basis file is some kilobytes, 128 rows of 128 numbers well below this. */
#define BASIS_BYTES_MAX (1u << 20)

static fpr_status bad_basis(fpr_error *error, const char *what)
{
    return base_fail(error, FPR_BAD_BASIS, "no basis of kernels: %s", what);
}

static bool read_numbers(const file_value *array, size_t count, double *out)
{
    if (!file_value_is(array, FILE_ARRAY) || array->count != count) return false;
    for (const file_value *v = array->first; v; v = v->next) {
        if (v->kind != FILE_INTEGER && v->kind != FILE_REAL) return false;
        out[v->place] = file_value_number(v);
    }
    return true;
}

/* Rows of unit length, orthogonal to each other: what makes the divergences comparable. */
#define ORTHONORMAL_TOLERANCE 1e-4

static bool is_orthonormal(const double *components, unsigned k)
{
    for (unsigned i = 0; i < k; i++)
        for (unsigned j = 0; j <= i; j++) {
            double dot = 0;
            for (unsigned d = 0; d < k; d++) dot += components[i * k + d] * components[j * k + d];
            if (fabs(dot - (i == j)) > ORTHONORMAL_TOLERANCE) return false;
        }
    return true;
}

static fpr_status read_basis(const file_value *root, unsigned k, fpr_basis *basis, fpr_error *error)
{
    const file_value *rows = file_value_get(root, "components");
    const file_value *singular = file_value_get(root, "singular_values");
    if (!file_value_is(root, FILE_OBJECT)) return bad_basis(error, "the file holds no JSON object");
    if (!read_numbers(file_value_get(root, "mean"), k, basis->mean))
        return base_fail(error, FPR_BAD_BASIS, "no basis of kernels of %u weights: \"mean\" is not that many numbers", k);
    if (!file_value_is(rows, FILE_ARRAY) || rows->count != k) return bad_basis(error, "\"components\" is not k rows");
    for (const file_value *row = rows->first; row; row = row->next)
        if (!read_numbers(row, k, basis->components + (size_t)row->place * k))
            return bad_basis(error, "a row of \"components\" is not k numbers");
    if (!read_numbers(file_value_get(root, "explained_variance_ratio"), k, basis->explained_variance_ratio))
        return bad_basis(error, "\"explained_variance_ratio\" is not k numbers");
    if (singular && !read_numbers(singular, k, basis->singular_values))
        return bad_basis(error, "\"singular_values\" is not k numbers");
    for (unsigned i = 0; i < k; i++)
        if (basis->explained_variance_ratio[i] < 0) return bad_basis(error, "an explained variance is negative");
    if (!is_orthonormal(basis->components, k)) return bad_basis(error, "\"components\" are not orthonormal");
    return FPR_OK;
}

static fpr_status read_file(const char *path, unsigned k, fpr_basis *basis, fpr_error *error)
{
    file_source *source = NULL;
    char *text = NULL;
    fpr_status status = file_source_open(path, &source, error);
    uint64_t n = status ? 0 : file_source_size(source);
    if (!status && n > BASIS_BYTES_MAX) status = bad_basis(error, "the file is too large");
    if (!status && !(text = base_alloc(n, 1))) status = base_no_memory(error, n);
    if (!status) status = file_source_read(source, 0, text, n, error);
    file_tree tree = {0};
    if (!status) status = file_tree_read(text, n, true, FPR_BAD_BASIS, &tree, error);
    if (!status) status = read_basis(tree.root, k, basis, error);
    file_tree_free(&tree);
    base_free(text);
    file_source_close(source);
    if (status) base_error_in_file(error, path);
    return status;
}

fpr_status basis_load(const char *source, unsigned k, fpr_basis *basis, fpr_error *error)
{
    fpr_status status = study_basis_new(basis, k, error);
    if (status) return status;
    if (strcmp(source, "robustness")) {
        status = read_file(source, k, basis, error);
    } else if (k != 9) {
        status = base_fail(error, FPR_BAD_BASIS, "the published basis is of 3x3 kernels, not of kernels of %u weights", k);
    } else {
        memcpy(basis->mean, robustness.mean, sizeof robustness.mean);
        memcpy(basis->components, robustness.components, sizeof robustness.components);
        memcpy(basis->singular_values, robustness.singular_values, sizeof robustness.singular_values);
        memcpy(basis->explained_variance_ratio, robustness.explained_variance_ratio,
               sizeof robustness.explained_variance_ratio);
    }
    if (status) study_basis_free(basis);
    return status;
}

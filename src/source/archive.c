/* What a zip archive is, by the names of its members. */
#include "source/archive.h"

#include "source/hdf5.h"
#include "source/npz.h"
#include "source/torch.h"

static bool ends_with(const zip_member *m, const char *end)
{
    const size_t n = strlen(end);
    return m->name_bytes >= n && !memcmp(m->name + m->name_bytes - n, end, n);
}

static bool has_member(const zip_archive *zip, const char *end)
{
    for (size_t i = 0; i < zip_count(zip); i++)
        if (ends_with(zip_at(zip, i), end)) return true;
    return false;
}

static fpr_status open_archive(file_source *file, const source_options *options, source **out, fpr_error *error)
{
    zip_archive *zip;
    *out = NULL;
    fpr_status status = zip_open(file, &zip, error);
    if (!status && zip_find(zip, "model.weights.h5", 16)) return hdf5_open_keras(file, zip, options, out, error);
    if (!status && has_member(zip, "data.pkl")) return torch_open_zip(file, zip, options, out, error);
    if (!status && has_member(zip, ".npy")) return npz_open_zip(file, zip, options, out, error);
    if (!status && has_member(zip, "model_weights_config.json"))
        status = base_fail(error, FPR_BAD_HEADER, "is a program that torch.export saved; load it with torch.export.load and save its state_dict");
    if (!status && has_member(zip, ".safetensors"))
        status = base_fail(error, FPR_BAD_HEADER, "is a zip archive around a safetensors file; unpack it (unzip)");
    if (!status)
        status = base_fail(error, FPR_BAD_HEADER, "is a zip archive with neither data.pkl (PyTorch) nor .npy members (numpy) in it");
    if (zip) zip_close(zip);
    file_source_close(file);
    return status;
}

const source_format source_archive = {.name = "zip", .probe = zip_probe, .open = open_archive};

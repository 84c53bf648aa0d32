/* A folder in place of a checkpoint: the one in it. */
#include "model/inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

/* By their names, the likeliest first: of a folder with an index and its shards the index is meant, of one with the same
 * weights twice the safetensors file, and of its variants the one without a name. */
enum { TIER_INDEX, TIER_VARIANT, TIER_OTHER_INDEX, TIER_SAFETENSORS, TIER_BIN_INDEX, TIER_FOREIGN, TIERS };

/* What trainers put beside a model. */
static const char *const beside[] = {"optimizer", "scheduler", "rng_state", "training_args", "scaler"};

typedef struct folder {
    char *best;        /* the first by name of the best tier */
    unsigned tier;
    size_t candidates; /* in that tier */
    const char *named; /* what a folder of others is, by one of its files */
    char list[180];    /* their names, or, while there are none, those of all files */
    bool more;         /* than are in the list */
} folder;

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && !strcasecmp(text + n - m, end);
}

static unsigned tier_of(const char *name)
{
    static const char *const foreign[] = {".pth", ".pt", ".ckpt", ".bin", ".onnx", ".npz", ".h5", ".hdf5", ".keras", ".pth.tar"};
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
        if (!strncasecmp(name, beside[i], strlen(beside[i]))) return TIERS;
    if (ends_with(name, ".safetensors.index.json")) return TIER_INDEX;
    if (ends_with(name, ".bin.index.json")) return TIER_BIN_INDEX;
    if (ends_with(name, ".h5.index.json") || ends_with(name, ".msgpack.index.json")) return TIERS;
    if (fpr_is_index(name)) return ends_with(name, ".index.json") ? TIER_OTHER_INDEX : TIER_VARIANT;
    if (ends_with(name, ".safetensors")) return TIER_SAFETENSORS;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (ends_with(name, foreign[i])) return TIER_FOREIGN;
    return TIERS;
}

FPR_API bool fpr_is_checkpoint(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const unsigned tier = tier_of(name);
    if (ends_with(name, ".bin") && !strstr(name, "pytorch_model")) return false; /* data beside an ONNX model, and others' */
    return tier != TIERS && tier != TIER_OTHER_INDEX;
}

static void list_name(folder *f, const char *name)
{
    const size_t used = strlen(f->list), n = strlen(name);
    if (f->more || used + n + 2 >= sizeof f->list) f->more = true;
    else snprintf(f->list + used, sizeof f->list - used, "%s%s", used ? ", " : "", name);
}

static const char *named_by(const char *name)
{
    if (ends_with(name, ".distcp"))
        return "a distributed checkpoint of PyTorch; torch.distributed.checkpoint.format_utils.dcp_to_torch_save makes one file of it";
    if (!strcmp(name, "saved_model.pb")) return "a SavedModel of TensorFlow; save the model's weights with Keras as .weights.h5";
    return NULL;
}

static fpr_status meet(folder *f, const char *name, fpr_error *error)
{
    if (!f->named) f->named = named_by(name);
    const unsigned tier = tier_of(name);
    if (tier > f->tier) return FPR_OK;
    if (tier < f->tier) {
        f->tier = tier;
        f->candidates = 0;
        f->list[0] = 0;
        f->more = false;
    }
    list_name(f, name);
    if (tier == TIERS) return FPR_OK;
    f->candidates++;
    if (f->candidates > 1 && strcmp(name, f->best) > 0) return FPR_OK;
    base_free(f->best);
    f->best = base_copy_text(name, strlen(name));
    return f->best ? FPR_OK : base_no_memory(error, strlen(name));
}

static fpr_status read_folder(const char *path, folder *f, fpr_error *error)
{
    DIR *d = opendir(path);
    if (!d) return base_fail_errno(error, FPR_IO, errno, "cannot open the folder");
    fpr_status status = FPR_OK;
    for (struct dirent *e; !status && (e = readdir(d));)
        if (e->d_name[0] != '.') status = meet(f, e->d_name, error);
    closedir(d);
    return status;
}

fpr_status model_find_in_folder(const char *path, char **found, fpr_error *error)
{
    struct stat st;
    *found = NULL;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return FPR_OK; /* whoever opens it tells what is wrong */
    folder f = {.tier = TIERS};
    fpr_status status = read_folder(path, &f, error);
    if (!status && !f.candidates && f.named)
        status = base_fail(error, FPR_BAD_HEADER, "is a folder without a checkpoint in it, but %s", f.named);
    else if (!status && !f.candidates)
        status = base_fail(error, FPR_BAD_HEADER, "is a folder without a checkpoint in it; there is: %s%s",
                           *f.list ? f.list : "nothing", f.more ? ", ..." : "");
    else if (!status && f.candidates > 1)
        status = base_fail(error, FPR_USAGE, "is a folder with %zu checkpoints in it, name one of them: %s%s", f.candidates,
                           f.list, f.more ? ", ..." : "");
    const size_t n = strlen(path);
    if (!status && (*found = base_alloc(n + strlen(f.best) + 2, 1)))
        sprintf(*found, "%s%s%s", path, n && path[n - 1] == '/' ? "" : "/", f.best);
    else if (!status)
        status = base_no_memory(error, n);
    base_free(f.best);
    return status;
}

/* The inputs of a batch: operands, folders taken whole, lines of a file; and where their outputs go. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Takes over path. */
static int add_input(batch_inputs *in, char *path)
{
    if (path && in->count == in->room) {
        size_t room = in->room ? 2 * in->room : 64;
        batch_input *longer = realloc(in->list, room * sizeof *longer);
        if (longer) in->list = longer, in->room = room;
    }
    if (!path || in->count == in->room) {
        free(path);
        return fail_memory();
    }
    in->list[in->count++] = (batch_input){ path, NULL };
    return EXIT_DONE;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The names in a folder, sorted: the same order everywhere. */
static int list_folder(const char *folder, char ***names, size_t *count)
{
    DIR *d = opendir(folder);
    size_t room = 0;
    int status = EXIT_DONE;
    *names = NULL;
    *count = 0;
    if (!d) return fail_text(EXIT_MACHINE, folder, "cannot be read: %s", strerror(errno));
    for (struct dirent *e; !status && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        if (*count == room) {
            char **longer = realloc(*names, (room = room ? 2 * room : 64) * sizeof *longer);
            if (!longer) status = fail_memory();
            else *names = longer;
        }
        if (!status && !((*names)[*count] = strdup(e->d_name))) status = fail_memory();
        if (!status) ++*count;
    }
    closedir(d);
    if (*count) qsort(*names, *count, sizeof **names, by_name);
    return status;
}

/* model-00001-of-00002.safetensors: asked where an index does not say which shards are its own. */
static bool is_called_shard(const char *name)
{
    const char *of = strstr(name, "-of-");
    return of && of - name >= 5 && strspn(of + 4, "0123456789") >= 2 && strspn(of - 5, "0123456789") == 5;
}

/* Its index speaks for a shard. *read: false where the index cannot be read. */
static int note_shards(batch_inputs *in, const char *index, bool *read)
{
    fpr_model *model;
    fpr_error error;
    int status = EXIT_DONE;
    *read = fpr_model_open(index, &model, &error) == FPR_OK;
    if (!*read) return EXIT_DONE; /* an input like any other: what is wrong with it is said then */
    for (size_t i = 0; !status && i < fpr_model_shard_count(model); i++) {
        if (in->shard_count == in->shard_room) {
            const size_t room = in->shard_room ? 2 * in->shard_room : 64;
            char **longer = realloc(in->shards, room * sizeof *longer);
            if (longer) in->shards = longer, in->shard_room = room;
        }
        char *path = in->shard_count < in->shard_room ? strdup(fpr_model_shard_path(model, i)) : NULL;
        if (path) in->shards[in->shard_count++] = path;
        else status = fail_memory();
    }
    fpr_model_close(model);
    return status;
}

static int note_indices(batch_inputs *in, const char *folder, char *const *names, size_t count, bool *by_names)
{
    int status = EXIT_DONE;
    *by_names = false;
    for (size_t i = 0; !status && i < count; i++) {
        if (!fpr_is_index(names[i]) || !fpr_is_checkpoint(names[i])) continue;
        bool read = false;
        char *path = join_path(folder, names[i]);
        status = path ? note_shards(in, path, &read) : fail_memory();
        *by_names |= !read;
        free(path);
    }
    if (in->shard_count) qsort(in->shards, in->shard_count, sizeof *in->shards, by_name);
    return status;
}

static bool is_shard(const batch_inputs *in, const char *path)
{
    return in->shard_count && bsearch(&path, in->shards, in->shard_count, sizeof *in->shards, by_name);
}

enum { DEEPEST = 32 };

/* Every checkpoint below a folder; links to folders are not followed. */
static int add_folder(batch_inputs *in, const char *folder, unsigned depth)
{
    char **names;
    size_t count;
    bool by_names = false;
    int status = list_folder(folder, &names, &count);
    if (!status) status = note_indices(in, folder, names, count, &by_names);
    for (size_t i = 0; !status && i < count; i++) {
        struct stat is;
        char *path = join_path(folder, names[i]);
        const bool there = path && lstat(path, &is) == 0;
        if (!path) status = fail_memory();
        else if (there && S_ISDIR(is.st_mode) && depth < DEEPEST) status = add_folder(in, path, depth + 1);
        else if (there && !S_ISDIR(is.st_mode) && fpr_is_checkpoint(names[i]) && !is_shard(in, path) &&
                 !(by_names && is_called_shard(names[i])))
            status = add_input(in, path), path = NULL;
        free(path);
    }
    for (size_t i = 0; i < count; i++) free(names[i]);
    free(names);
    return status;
}

static int add_operand(batch_inputs *in, const char *path)
{
    struct stat is;
    const size_t before = in->count;
    if (stat(path, &is) != 0 || !S_ISDIR(is.st_mode)) return add_input(in, strdup(path));
    int status = add_folder(in, path, 0);
    if (!status && in->count == before) status = fail_text(EXIT_INVALID, path, "holds no checkpoint");
    return status;
}

static int add_lines(batch_inputs *in, const char *list)
{
    FILE *file = !strcmp(list, "-") ? stdin : fopen(list, "re");
    char *line = NULL;
    size_t room = 0;
    int status = EXIT_DONE;
    if (!file) return fail_text(EXIT_MACHINE, list, "cannot be read: %s", strerror(errno));
    for (ssize_t n; !status && (n = getline(&line, &room, file)) >= 0;) {
        while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = 0;
        if (n) status = add_operand(in, line);
    }
    free(line);
    if (file != stdin) fclose(file);
    return status;
}

/* ---- where outputs go */

/* The folder of a file without links, dots and doubled slashes; where it does not exist, as it was written. */
static char *whole_path(const char *path)
{
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL, *real, *whole;
    if (!folder) return NULL;
    if (slash) slash[slash == folder] = 0;
    real = realpath(slash ? folder : ".", NULL);
    whole = join_path(real ? real : slash ? folder : ".", base_name(path));
    free(real);
    free(folder);
    return whole;
}

/* Bytes that all begin with, up to and with a slash. */
static size_t shared_folder(char *const *whole, size_t count)
{
    size_t shared = (size_t)(base_name(whole[0]) - whole[0]);
    for (size_t i = 1; i < count; i++) {
        size_t n = 0;
        while (n < shared && whole[i][n] == whole[0][n]) n++;
        shared = n;
    }
    while (shared && whole[0][shared - 1] != '/') shared--;
    return shared;
}

static int name_outputs(const settings *set, batch_inputs *in, char **whole)
{
    const size_t shared = in->count ? shared_folder(whole, in->count) : 0;
    for (size_t i = 0; i < in->count; i++) {
        char *output = in->list[i].output = join_path(set->out_dir, whole[i] + shared);
        if (!output) return fail_memory();
        /* A sharded checkpoint becomes a directory named after its index; an ONNX model stays one; all others become
         * safetensors, and are called so. */
        if (strip_index(output) || ends_with(output, ".safetensors") || ends_with(output, ".onnx")) continue;
        static const char ending[] = ".safetensors";
        const size_t n = strlen(output);
        char *longer = realloc(output, n + sizeof ending);
        if (!longer) return fail_memory();
        memcpy(longer + n, ending, sizeof ending);
        in->list[i].output = longer;
    }
    for (size_t i = 0; i < in->count; i++) {
        for (size_t j = 0; j < i; j++) {
            char a[SAFE_NAME], b[SAFE_NAME], c[SAFE_NAME];
            if (strcmp(in->list[i].output, in->list[j].output)) continue;
            return fail_usage("%s and %s would both become %s", safe_name(a, in->list[j].path),
                              safe_name(b, in->list[i].path), safe_name(c, in->list[i].output));
        }
    }
    return EXIT_DONE;
}

int collect_inputs(const settings *set, batch_inputs *in)
{
    int status = EXIT_DONE;
    memset(in, 0, sizeof *in);
    for (int i = 0; !status && i < set->operand_count; i++) status = add_operand(in, set->operands[i]);
    if (!status && set->files_from) status = add_lines(in, set->files_from);
    if (!status && !in->count) status = fail_usage("--out-dir wants at least one INPUT");
    char **whole = status ? NULL : calloc(in->count, sizeof *whole);
    if (!status && !whole) status = fail_memory();
    for (size_t i = 0; !status && i < in->count; i++)
        if (!(whole[i] = whole_path(in->list[i].path))) status = fail_memory();
    if (!status) status = name_outputs(set, in, whole);
    for (size_t i = 0; whole && i < in->count; i++) free(whole[i]);
    free(whole);
    return status;
}

void free_inputs(batch_inputs *in)
{
    for (size_t i = 0; i < in->count; i++) {
        free(in->list[i].path);
        free(in->list[i].output);
    }
    for (size_t i = 0; i < in->shard_count; i++) free(in->shards[i]);
    free(in->shards);
    free(in->list);
    memset(in, 0, sizeof *in);
}

int make_folders(const char *path)
{
    char *folder = strdup(path);
    int status = folder ? EXIT_DONE : fail_memory();
    for (char *s = folder; !status && (s = strchr(s + 1, '/'));) {
        *s = 0;
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            status = fail_text(EXIT_MACHINE, folder, "cannot be made: %s", strerror(errno));
        *s = '/';
    }
    free(folder);
    return status;
}

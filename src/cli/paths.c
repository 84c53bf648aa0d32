/* Names of files, taken apart and put together. */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char *join_text(const char *a, const char *b, const char *c)
{
    size_t size = strlen(a) + strlen(b) + strlen(c) + 1;
    char *joined = malloc(size);
    if (joined) snprintf(joined, size, "%s%s%s", a, b, c);
    return joined;
}

char *join_path(const char *directory, const char *name)
{
    return join_text(directory, ends_with(directory, "/") ? "" : "/", name);
}

const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static bool stat_folder(const char *path, struct stat *is)
{
    const size_t n = (size_t)(base_name(path) - path);
    char *folder = n ? strndup(path, n) : strdup(".");
    const bool fine = folder && stat(folder, is) == 0;
    free(folder);
    return fine;
}

bool is_same_place(const char *a, const char *b)
{
    struct stat x, y;
    const bool a_exists = stat(a, &x) == 0, b_exists = stat(b, &y) == 0;
    if (!a_exists && !b_exists && (strcmp(base_name(a), base_name(b)) || !stat_folder(a, &x) || !stat_folder(b, &y)))
        return false;
    return a_exists == b_exists && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool strip_index(char *path)
{
    static const char mark[] = ".safetensors.index.";
    if (!fpr_is_index(path)) return false;
    if (strip_end(path, ".index.json")) {
        strip_end(path, ".safetensors");
        return true;
    }
    char *at = strstr(path + (base_name(path) - path), mark), *variant = at + sizeof mark - 1;
    strip_end(variant, ".json");
    memmove(at + 1, variant, strlen(variant) + 1); /* NAME.VARIANT */
    *at = '.';
    return true;
}

bool strip_end(char *text, const char *end)
{
    if (strlen(text) == strlen(end) || !ends_with(text, end)) return false;
    text[strlen(text) - strlen(end)] = 0;
    return true;
}

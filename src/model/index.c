/* Which names are those of an index of shards. */
#include "model/inside.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

FPR_API bool fpr_is_index(const char *path)
{
    static const char mark[] = ".safetensors.index.";
    if (ends_with(path, ".index.json")) return true;
    const char *slash = strrchr(path, '/'), *at = strstr(slash ? slash + 1 : path, mark);
    if (!at || !ends_with(at, ".json")) return false;
    return strlen(at) - (sizeof mark - 1) > strlen(".json");
}

/* The shortest names by which paths differ. */
#include "collect/collect.h"

#include <stdlib.h>

#define DEEPEST 64u /* components of a path that are looked at, from its end */

/* The components of a path from its end: 0 is the file. Empty ones and "." are none. */
typedef struct part { const char *text; size_t length; } part;

static bool ends(const char *text, size_t length, const char *end)
{
    const size_t n = strlen(end);
    return length > n && !memcmp(text + length - n, end, n);
}

static part component(const char *path, unsigned which)
{
    static const char *const kinds[] = {".safetensors.index.json", ".safetensors", ".fpp"};
    size_t end = strlen(path);
    for (unsigned seen = 0;;) {
        while (end && path[end - 1] == '/') end--;
        size_t begin = end;
        while (begin && path[begin - 1] != '/') begin--;
        part p = {path + begin, end - begin};
        if (!end) return (part){path, 0};
        end = begin;
        if (p.length == 1 && *p.text == '.') continue;
        if (seen++ < which) continue;
        for (unsigned i = 0; which == 0 && i < sizeof kinds / sizeof *kinds; i++)
            if (ends(p.text, p.length, kinds[i])) {
                p.length -= strlen(kinds[i]);
                break;
            }
        return p;
    }
}

static int by_part(part a, part b)
{
    const int order = memcmp(a.text, b.text, a.length < b.length ? a.length : b.length);
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

typedef struct naming {
    const char *const *paths;
    unsigned depth; /* components compared */
} naming;

static int by_end(const void *a, const void *b, void *context)
{
    const naming *how = context;
    int order = 0;
    for (unsigned d = 0; !order && d < how->depth; d++)
        order = by_part(component(how->paths[*(const size_t *)a], d), component(how->paths[*(const size_t *)b], d));
    return order;
}

/* The fewest components from the end that tell all paths apart; 1 where nothing does. */
static unsigned find_depth(naming *how, size_t n, size_t *order)
{
    for (how->depth = 1; how->depth < DEEPEST; how->depth++) {
        bool distinct = true;
        qsort_r(order, n, sizeof *order, by_end, how);
        for (size_t i = 1; distinct && i < n; i++) distinct = by_end(&order[i - 1], &order[i], how) != 0;
        if (distinct) return how->depth;
    }
    return 1;
}

static char *name_of(const char *path, unsigned depth, uint64_t wanted)
{
    size_t length = 1;
    for (unsigned d = 0; d < depth; d++)
        if (wanted >> d & 1) length += component(path, d).length + 1;
    char *name = base_alloc(length, 1), *to = name;
    for (unsigned d = depth; name && d-- > 0;) {
        const part p = component(path, d);
        if (!(wanted >> d & 1) || !p.length) continue;
        if (to > name) *to++ = '/';
        memcpy(to, p.text, p.length);
        to += p.length;
    }
    if (name) *to = 0;
    return name;
}

fpr_status collect_short_names(const char *const *paths, size_t n, char **names, fpr_error *error)
{
    naming how = {.paths = paths};
    size_t *order = base_alloc(n, sizeof *order);
    if (!order) return base_no_memory(error, n * sizeof *order);
    for (size_t i = 0; i < n; i++) order[i] = i;
    const unsigned depth = find_depth(&how, n, order);
    base_free(order);
    uint64_t wanted = 0;
    for (unsigned d = 0; d < depth; d++) {
        bool alike = n > 1;
        for (size_t i = 1; alike && i < n; i++) alike = !by_part(component(paths[0], d), component(paths[i], d));
        wanted |= (uint64_t)!alike << d;
    }
    if (!wanted) wanted = 1;
    for (size_t i = 0; i < n; i++) {
        names[i] = name_of(paths[i], depth, wanted);
        if (names[i]) continue;
        while (i) base_free(names[--i]);
        return base_no_memory(error, strlen(paths[i]));
    }
    return FPR_OK;
}

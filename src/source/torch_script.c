/* TorchScript: the members code/....py hold each class as text, with the names of its parameters and buffers:
 *
 *     class Conv2d(Module):
 *       __parameters__ = ["weight", "bias", ]
 *       __buffers__ = []
 *
 * Only these lines are read. */
#include "source/torch.h"

#include <stdlib.h>

#define CODE_MOST (16u << 20)      /* bytes of one member */
#define ALL_CODE_MOST (64u << 20)

static fpr_status add_text(torch_script *s, const char *text, size_t bytes, fpr_error *error)
{
    if (s->text_bytes + bytes > s->text_room) {
        const size_t room = (s->text_bytes + bytes) * 2;
        char *grown = base_grow(s->texts, room, 1);
        if (!grown) return base_no_memory(error, room);
        s->texts = grown;
        s->text_room = room;
    }
    memcpy(s->texts + s->text_bytes, text, bytes);
    s->text_bytes += bytes;
    return FPR_OK;
}

/* "__torch__.nets" of "code/__torch__/nets.py", a dot, the name of the class. */
static fpr_status add_class(torch_script *s, const char *path, size_t path_bytes, const char *name, size_t name_bytes,
                            fpr_error *error)
{
    if (s->count == s->room) {
        const size_t room = s->room ? s->room * 2 : 16;
        torch_script_class *grown = base_grow(s->classes, room, sizeof *grown);
        if (!grown) return base_no_memory(error, room * sizeof *grown);
        s->classes = grown;
        s->room = room;
    }
    const size_t at = s->text_bytes;
    fpr_status status = add_text(s, path, path_bytes, error);
    for (size_t i = at; !status && i < s->text_bytes; i++)
        if (s->texts[i] == '/') s->texts[i] = '.';
    if (!status) status = add_text(s, ".", 1, error);
    if (!status) status = add_text(s, name, name_bytes, error);
    if (!status) status = add_text(s, "", 1, error);
    if (!status) s->classes[s->count++] = (torch_script_class){at, s->text_bytes};
    return status;
}

static bool begins(const char **line, const char *end, const char *with)
{
    const size_t n = strlen(with);
    if ((size_t)(end - *line) < n || memcmp(*line, with, n) != 0) return false;
    *line += n;
    return true;
}

/* The quoted names of a list, as far as the line goes. */
static fpr_status add_names(torch_script *s, const char *line, const char *end, fpr_error *error)
{
    fpr_status status = FPR_OK;
    while (!status && line < end && *line != ']') {
        if (*line++ != '"') continue;
        const char *from = line;
        while (line < end && *line != '"') line += 1 + (*line == '\\' && end - line > 1);
        if (line > from) status = add_text(s, from, (size_t)(line - from), error);
        if (!status && line > from) status = add_text(s, "", 1, error);
        if (line < end) line++;
    }
    return status;
}

static fpr_status read_code(torch_script *s, const char *path, size_t path_bytes, const char *code, size_t bytes,
                            fpr_error *error)
{
    const char *line = code, *const last = code + bytes;
    fpr_status status = FPR_OK;
    bool open = false; /* a class's list of names is not yet ended */
    while (!status && line < last) {
        const char *newline = memchr(line, '\n', (size_t)(last - line)), *end = newline ? newline : last, *at = line;
        if (begins(&at, end, "class ")) {
            const char *bracket = memchr(at, '(', (size_t)(end - at));
            if (open) status = add_text(s, "", 1, error);
            open = false;
            if (!status && bracket && end - bracket >= 8 && !memcmp(bracket, "(Module)", 8)) {
                status = add_class(s, path, path_bytes, at, (size_t)(bracket - at), error);
                open = true;
            }
        } else if (open && (begins(&at, end, "  __parameters__ = [") || begins(&at, end, "  __buffers__ = ["))) {
            status = add_names(s, at, end, error);
        }
        line = end + 1;
    }
    return open && !status ? add_text(s, "", 1, error) : status;
}

static int by_name(const void *a, const void *b, void *texts)
{
    const char *all = texts;
    return strcmp(all + ((const torch_script_class *)a)->name, all + ((const torch_script_class *)b)->name);
}

fpr_status torch_script_read(torch_file *t, fpr_error *error)
{
    torch_script *s = &t->script;
    fpr_status status = FPR_OK;
    uint64_t all = 0;
    for (size_t i = 0; !status && i < zip_count(t->zip); i++) {
        const zip_member *m = zip_at(t->zip, i);
        const size_t front = t->prefix_bytes + 5;
        if (m->name_bytes < front + 4 || memcmp(m->name, t->prefix, t->prefix_bytes) != 0 ||
            memcmp(m->name + t->prefix_bytes, "code/", 5) != 0 || memcmp(m->name + m->name_bytes - 3, ".py", 3) != 0)
            continue;
        all += m->size < ALL_CODE_MOST ? m->size : ALL_CODE_MOST;
        if (m->size > CODE_MOST || all > ALL_CODE_MOST)
            return base_fail(error, FPR_BAD_HEADER, "has more than 64 MiB of TorchScript code, or 16 in one member");
        char *code = base_alloc(m->size, 1);
        if (!code) return base_no_memory(error, m->size);
        status = zip_read(t->zip, m, 0, m->size, code, error);
        if (!status) status = read_code(s, m->name + front, m->name_bytes - front - 3, code, (size_t)m->size, error);
        base_free(code);
    }
    if (!status && s->count) qsort_r(s->classes, s->count, sizeof *s->classes, by_name, s->texts);
    return status;
}

const char *torch_script_tensors(const torch_script *s, const char *module, const char *name)
{
    const size_t n = strlen(module);
    size_t low = 0, high = s->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const char *own = s->texts + s->classes[middle].name;
        int c = strncmp(own, module, n);
        if (!c) c = own[n] != '.' ? (own[n] < '.' ? -1 : 1) : strcmp(own + n + 1, name);
        if (!c) return s->texts + s->classes[middle].tensors;
        if (c < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

void torch_script_free(torch_script *s)
{
    base_free(s->classes);
    base_free(s->texts);
    memset(s, 0, sizeof *s);
}

/* The arguments of a pickle's opcodes: numbers, texts, lines. */
#include "source/pickle_input.h"

#include "base/utf8.h"

fpr_status pickle_bad(const pickle_input *in, fpr_error *error, const char *what)
{
    base_fail(error, FPR_BAD_HEADER, "the pickle %s", what);
    base_error_at(error, in->at);
    return FPR_BAD_HEADER;
}

static fpr_status fill(pickle_input *in, fpr_error *error)
{
    if (in->at >= in->size) return pickle_bad(in, error, "ends without its last opcode");
    if (in->cancel && *in->cancel) return base_fail(error, FPR_CANCELLED, "cancelled");
    const uint64_t left = in->size - in->at;
    const size_t n = left < sizeof in->window ? (size_t)left : sizeof in->window;
    const fpr_status status = in->read(in->context, in->at, n, in->window, error);
    in->window_at = in->at;
    in->window_bytes = status ? 0 : n;
    return status;
}

fpr_status pickle_bytes(pickle_input *in, void *dst, size_t n, fpr_error *error)
{
    uint8_t *to = dst;
    if (n > in->size - in->at) return pickle_bad(in, error, "is cut short");
    while (n) {
        if (in->at - in->window_at >= in->window_bytes) { /* also when it lies in front of the window */
            const fpr_status status = fill(in, error);
            if (status) return status;
        }
        const size_t begin = (size_t)(in->at - in->window_at), have = in->window_bytes - begin, take = n < have ? n : have;
        memcpy(to, in->window + begin, take);
        to += take;
        in->at += take;
        n -= take;
    }
    return FPR_OK;
}

fpr_status pickle_skip(pickle_input *in, uint64_t n, fpr_error *error)
{
    if (n > in->size - in->at) return pickle_bad(in, error, "holds something longer than itself");
    in->at += n;
    return FPR_OK;
}

fpr_status pickle_number(pickle_input *in, unsigned bytes, uint64_t *n, fpr_error *error)
{
    uint8_t b[8] = {0};
    const fpr_status status = pickle_bytes(in, b, bytes, error);
    *n = base_load_le64(b);
    return status;
}

fpr_status pickle_node_new(pickle *p, pickle_kind kind, pickle_ref *v, const pickle_input *in, fpr_error *error)
{
    if (p->node_count == p->node_room) {
        if (p->node_room >= PICKLE_NODES_MOST) return pickle_bad(in, error, "builds more than 1,048,576 values");
        const size_t room = p->node_room ? p->node_room * 2 : 1024;
        pickle_node *grown = base_grow(p->nodes, room, sizeof *grown);
        if (!grown) return base_no_memory(error, room * sizeof *grown);
        p->nodes = grown;
        p->node_room = room;
    }
    *v = (pickle_ref)p->node_count++;
    p->nodes[*v] = (pickle_node){.kind = (uint32_t)kind};
    return FPR_OK;
}

/* ---------------------------------------------------------------- texts */

static fpr_status make_room(pickle *p, size_t more, const pickle_input *in, fpr_error *error)
{
    if (more > PICKLE_TEXTS_MOST - p->text_bytes) return pickle_bad(in, error, "holds more than 16 MiB of text");
    if (p->text_room - p->text_bytes >= more) return FPR_OK;
    size_t room = p->text_room ? p->text_room * 2 : 4096;
    while (room - p->text_bytes < more) room *= 2;
    char *grown = base_grow(p->texts, room, 1);
    if (!grown) return base_no_memory(error, room);
    p->texts = grown;
    p->text_room = room;
    return FPR_OK;
}

static fpr_status long_text(pickle *p, pickle_input *in, pickle_ref *v, fpr_error *error)
{
    const fpr_status status = pickle_node_new(p, PICKLE_TEXT, v, in, error);
    if (!status) p->nodes[*v].a = UINT32_MAX;
    return status;
}

/* A node for the bytes that stand behind the last text. */
static fpr_status keep(pickle *p, size_t bytes, pickle_ref *v, const pickle_input *in, fpr_error *error)
{
    const fpr_status status = pickle_node_new(p, PICKLE_TEXT, v, in, error);
    if (status) return status;
    p->nodes[*v].a = (uint32_t)p->text_bytes;
    p->nodes[*v].b = (uint32_t)bytes;
    p->texts[p->text_bytes + bytes] = 0;
    p->text_bytes += bytes + 1;
    return FPR_OK;
}

fpr_status pickle_text_new(pickle *p, pickle_input *in, uint64_t n, pickle_ref *v, fpr_error *error)
{
    if (n > PICKLE_TEXT_MOST) {
        const fpr_status status = pickle_skip(in, n, error);
        return status ? status : long_text(p, in, v, error);
    }
    fpr_status status = make_room(p, (size_t)n + 1, in, error);
    if (!status) status = pickle_bytes(in, p->texts + p->text_bytes, (size_t)n, error);
    return status ? status : keep(p, (size_t)n, v, in, error);
}

/* ---------------------------------------------------------------- lines */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hexadecimal(const char *text, size_t n, uint32_t *c)
{
    *c = 0;
    for (size_t i = 0; i < n; i++) {
        if (digit(text[i]) < 0) return false;
        *c = *c << 4 | (uint32_t)digit(text[i]);
    }
    return true;
}

/* raw-unicode-escape: \uXXXX and \UXXXXXXXX, all else Latin-1. to has room for twice n. */
static bool raw_unicode(const char *from, size_t n, char *to, size_t *made)
{
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        const size_t digits = from[i] == '\\' && i + 1 < n ? (from[i + 1] == 'u' ? 4 : from[i + 1] == 'U' ? 8 : 0) : 0;
        uint32_t c = (uint8_t)from[i++];
        if (digits) {
            if (n - i - 1 < digits || !hexadecimal(from + i + 1, digits, &c) || c > 0x10ffff) return false;
            i += 1 + digits;
        }
        at += base_put_utf8(to + at, c);
    }
    *made = at;
    return true;
}

/* What repr() of a byte string makes: quotes around, escapes inside. to has room for n. */
static bool from_repr(const char *from, size_t n, char *to, size_t *made)
{
    static const char plain[] = "abfnrtv\\'\"", meant[] = "\a\b\f\n\r\t\v\\'\"";
    size_t at = 0;
    if (n < 2 || from[0] != from[n - 1] || (from[0] != '\'' && from[0] != '"')) return false;
    for (size_t i = 1; i < n - 1; i++) {
        uint32_t c = (uint8_t)from[i];
        if (c == '\\') {
            if (++i >= n - 1) return false;
            const char *known = from[i] ? strchr(plain, from[i]) : NULL;
            if (known) {
                c = (uint8_t)meant[known - plain];
            } else if (from[i] == 'x') {
                if (n - 1 - i < 3 || !hexadecimal(from + i + 1, 2, &c)) return false;
                i += 2;
            } else {
                return false;
            }
        }
        to[at++] = (char)c;
    }
    *made = at;
    return true;
}

fpr_status pickle_line_new(pickle *p, pickle_input *in, pickle_spelling spelling, pickle_ref *v, fpr_error *error)
{
    /* The line as it is, then, behind it, what it spells. */
    fpr_status status = make_room(p, 3 * (size_t)PICKLE_TEXT_MOST + 1, in, error);
    if (status) return status;
    char *line = p->texts + p->text_bytes;
    size_t n = 0;
    bool fits = true;
    for (char c;;) {
        status = pickle_bytes(in, &c, 1, error);
        if (status) return status;
        if (c == '\n') break;
        if (n < PICKLE_TEXT_MOST) line[n++] = c;
        else fits = false;
    }
    if (!fits) return long_text(p, in, v, error);
    if (n && spelling == PICKLE_REPR && line[n - 1] == '\r') n--;
    char *spelled = line + n;
    size_t made = n;
    if (spelling == PICKLE_PLAIN) return keep(p, n, v, in, error);
    if (spelling == PICKLE_RAW_UNICODE ? !raw_unicode(line, n, spelled, &made) : !from_repr(line, n, spelled, &made))
        return pickle_bad(in, error, "spells a text that cannot be read");
    memmove(line, spelled, made);
    return keep(p, made, v, in, error);
}

fpr_status pickle_line(pickle_input *in, char *line, size_t room, fpr_error *error)
{
    size_t n = 0;
    for (char c;;) {
        const fpr_status status = pickle_bytes(in, &c, 1, error);
        if (status) return status;
        if (c == '\n') break;
        if (n + 1 >= room) return pickle_bad(in, error, "spells a number that is too long");
        line[n++] = c;
    }
    line[n] = 0;
    return FPR_OK;
}

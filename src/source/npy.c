/* The header of numpy's .npy format, versions 1 to 3 (numpy.lib.format): a literal of Python, read as text. */
#include "source/npz.h"

#include <stdio.h>

typedef struct text {
    const char *at, *end;
    fpr_error *error;
} text;

static fpr_status bad(text *t, const char *what)
{
    return base_fail(t->error, FPR_BAD_HEADER, "the header of an array %s", what);
}

static void blanks(text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\t' || *t->at == '\r')) t->at++;
}

static bool sign(text *t, char c)
{
    blanks(t);
    if (t->at >= t->end || *t->at != c) return false;
    t->at++;
    return true;
}

static fpr_status string(text *t, const char **from, size_t *n)
{
    blanks(t);
    if (t->at >= t->end || (*t->at != '\'' && *t->at != '"')) return bad(t, "lacks a text");
    const char quote = *t->at++;
    *from = t->at;
    while (t->at < t->end && *t->at != quote && *t->at != '\\') t->at++;
    if (t->at >= t->end || *t->at != quote) return bad(t, "has a text without end");
    *n = (size_t)(t->at++ - *from);
    return FPR_OK;
}

static bool is(const char *s, size_t n, const char *word) { return strlen(word) == n && !memcmp(s, word, n); }

/* Digits, perhaps an L of Python 2. */
static fpr_status number(text *t, uint64_t *n)
{
    blanks(t);
    const char *from = t->at;
    *n = 0;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
        if (!base_multiply(*n, 10, n) || !base_add(*n, (uint64_t)(*t->at - '0'), n) || *n > INT64_MAX)
            return bad(t, "has a size that is too large");
    if (t->at == from) return bad(t, "has a size that is no number");
    if (t->at < t->end && *t->at == 'L') t->at++;
    return FPR_OK;
}

static fpr_status shape(text *t, npy_header *h)
{
    if (!sign(t, '(')) return bad(t, "has a shape that is no tuple");
    h->rank = 0;
    while (!sign(t, ')')) {
        if (h->rank == DENSE_RANK_MOST) return bad(t, "has more than 64 axes");
        const fpr_status status = number(t, &h->shape[h->rank]);
        if (status) return status;
        h->rank++;
        if (sign(t, ',')) continue;
        if (h->rank == 1 || !sign(t, ')')) return bad(t, "has a shape that is no tuple");
        break;
    }
    return FPR_OK;
}

/* A structured type is a list: passed over by its brackets, with the texts in it. */
static fpr_status structured(text *t)
{
    uint64_t depth = 0;
    do {
        blanks(t);
        if (t->at >= t->end) return bad(t, "has a list without end");
        const char c = *t->at;
        if (c == '\'' || c == '"') {
            const char *s;
            size_t n;
            const fpr_status status = string(t, &s, &n);
            if (status) return status;
            continue;
        }
        if (c == '[' || c == '(') depth++;
        if (c == ']' || c == ')') depth--;
        t->at++;
    } while (depth);
    return FPR_OK;
}

static const struct type {
    char kind;
    unsigned bytes;
    fpr_dtype as;
} types[] = {
    {'f', 2, FPR_F16}, {'f', 4, FPR_F32}, {'f', 8, FPR_F64}, {'i', 1, FPR_I8}, {'i', 2, FPR_I16}, {'i', 4, FPR_I32},
    {'i', 8, FPR_I64}, {'u', 1, FPR_U8}, {'u', 2, FPR_U16}, {'u', 4, FPR_U32}, {'u', 8, FPR_U64}, {'b', 1, FPR_BOOL},
    {'c', 8, FPR_C64},
};

/* '<f4': order, kind, bytes. */
static fpr_status type(text *t, npy_header *h)
{
    const char *s;
    size_t n;
    unsigned bytes = 0;
    fpr_status status = string(t, &s, &n);
    if (status) return status;
    const char order = n && strchr("<>=|", *s) && *s ? *s : '=';
    if (n && strchr("<>=|", *s) && *s) s++, n--;
    if (!n) return bad(t, "has no type");
    const char kind = *s;
    for (size_t i = 1; i < n && s[i] >= '0' && s[i] <= '9' && bytes < 1000000; i++) bytes = bytes * 10 + (unsigned)(s[i] - '0');
    h->swap = order == '>';
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].kind == kind && types[i].bytes == bytes && (n == 2)) {
            h->dtype = types[i].as;
            h->element = bytes;
            return FPR_OK;
        }
    const char *name = kind == 'S' || kind == 'a' ? "bytes" : kind == 'U' ? "text" : kind == 'M' || kind == 'm' ? "dates"
                     : kind == 'O' ? "objects" : kind == 'V' ? "void" : NULL;
    if (kind == 'c' && bytes == 16) name = "complex128";
    if (kind == 'c' && bytes == 32) name = "complex256";
    if (kind == 'f' && (bytes == 16 || bytes == 12)) name = "long double";
    /* What numpy.save makes of float8_e5m2 of ml_dtypes; numpy.load knows no such type either. */
    if (kind == 'f' && bytes == 1) name = "eight-bit floats that numpy cannot read";
    if (!name) return bad(t, "has a type that is none");
    snprintf(h->why, sizeof h->why, "%s", name);
    h->element = kind == 'c' || kind == 'f' ? bytes : 0;
    return FPR_OK;
}

static fpr_status entry(text *t, npy_header *h, unsigned *seen)
{
    const char *key;
    size_t n;
    fpr_status status = string(t, &key, &n);
    if (status) return status;
    if (!sign(t, ':')) return bad(t, "lacks a colon");
    blanks(t);
    const unsigned which = is(key, n, "descr") ? 1 : is(key, n, "fortran_order") ? 2 : is(key, n, "shape") ? 4 : 0;
    if (!which || *seen & which) return bad(t, "has a key that is unknown or there twice");
    *seen |= which;
    if (which == 4) return shape(t, h);
    if (which == 1 && t->at < t->end && *t->at == '[') {
        snprintf(h->why, sizeof h->why, "structured");
        return structured(t);
    }
    if (which == 1) return type(t, h);
    const bool yes = t->end - t->at >= 4 && !memcmp(t->at, "True", 4), no = t->end - t->at >= 5 && !memcmp(t->at, "False", 5);
    if (!yes && !no) return bad(t, "has an order that is neither True nor False");
    h->fortran = yes;
    t->at += yes ? 4 : 5;
    return FPR_OK;
}

fpr_status npy_header_parse(const char *bytes, size_t n, npy_header *out, fpr_error *error)
{
    text t = {bytes, bytes + n, error};
    unsigned seen = 0;
    if (!sign(&t, '{')) return bad(&t, "is no dictionary");
    while (!sign(&t, '}')) {
        const fpr_status status = entry(&t, out, &seen);
        if (status) return status;
        if (sign(&t, ',')) continue;
        if (!sign(&t, '}')) return bad(&t, "does not end");
        break;
    }
    blanks(&t);
    if (t.at != t.end) return bad(&t, "goes on behind its end");
    return seen == 7 ? FPR_OK : bad(&t, "lacks type, order or shape");
}

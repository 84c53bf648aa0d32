/* What the name of a tensor says of it. */
#include "conv/names.h"

#include <string.h>
#include <strings.h>

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))

static bool is_separator(char c) { return c == '.' || c == '/' || c == ':' || c == '|'; }

conv_text conv_name(const char *name, size_t bytes)
{
    size_t n = bytes;
    while (n && name[n - 1] >= '0' && name[n - 1] <= '9') n--;
    const bool numbered = n && n < bytes && name[n - 1] == ':';
    return (conv_text){name, numbered ? n - 1 : bytes};
}

/* The last part, and what comes before its separator. */
static conv_text last_part(conv_text name, conv_text *rest)
{
    size_t n = name.n;
    while (n && !is_separator(name.at[n - 1])) n--;
    *rest = (conv_text){name.at, n ? n - 1 : 0};
    return (conv_text){name.at + n, name.n - n};
}

conv_text conv_leaf(conv_text name)
{
    conv_text rest;
    return last_part(name, &rest);
}

bool conv_text_begins(conv_text text, const char *word)
{
    const size_t n = strlen(word);
    return text.n >= n && !strncasecmp(text.at, word, n);
}

bool conv_text_ends(conv_text text, const char *word)
{
    const size_t n = strlen(word);
    return text.n >= n && !strncasecmp(text.at + text.n - n, word, n);
}

bool conv_text_is(conv_text text, const char *word) { return text.n == strlen(word) && conv_text_begins(text, word); }

static bool holds(conv_text text, const char *word)
{
    const size_t n = strlen(word);
    for (size_t i = 0; i + n <= text.n; i++)
        if (!strncasecmp(text.at + i, word, n)) return true;
    return false;
}

typedef bool (*relation)(conv_text text, const char *word);

static bool any(conv_text text, relation is, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is(text, words[i])) return true;
    return false;
}

bool conv_names_weight(conv_text name)
{
    static const char *const ends[] = {"weight",   "weights",   "kernel",    "weight_v", "weight_orig",
                                       "original", "original0", "original1", "filter",   "filters"};
    return any(conv_leaf(name), conv_text_ends, ends, COUNT_OF(ends));
}

bool conv_names_buffer(conv_text name)
{
    static const char *const whole[] = {"const", "constant", "input",  "mean", "std",   "var",    "mask",        "table", "grid",
                                        "filt",  "noise",    "buffer", "bias", "beta",  "gamma",  "up_filter",   "b_0",
                                        "stride", "strides", "inv_std", "constant_input", "const_input", "down_filter"};
    static const char *const ends[] = {"_table", "_mask", "_grid", "_embed", "_embedding", "_embeddings", "_bias", "_mean",
                                       "_std", "_var", "_variance", "_buffer", "_const", "_noise", "_index", "_cache",
                                       "_anchors", "_anchor", "_priors", "_scale"};
    static const char *const begins[] = {"anchor", "prior", "noise_", "pos_embed", "pos_emb", "position", "relative_position",
                                         "relative_coords", "rel_pos", "resample_filter", "resample_kernel", "gaussian",
                                         "sobel", "laplacian"};
    conv_text rest, leaf = last_part(name, &rest);
    if (any(leaf, conv_text_is, whole, COUNT_OF(whole)) || any(leaf, conv_text_ends, ends, COUNT_OF(ends)) ||
        any(leaf, conv_text_begins, begins, COUNT_OF(begins)))
        return true;
    return conv_text_begins(leaf, "blur") || conv_text_begins(conv_leaf(rest), "blur");
}

bool conv_names_optimizer(conv_text name)
{
    static const char *const begins[] = {"optimizer", "optim_", "exp_avg", "max_exp_avg", "momentum"};
    static const char *const whole[] = {"optim", "square_avg", "grad_avg", "acc_delta", "adam", "adam_1", "rmsprop",
                                        "rmsprop_1", "adagrad", "ftrl", "ftrl_1", "velocity"};
    /* Momentum encoders are networks. */
    static const char *const networks[] = {"momentum_encoder", "momentum_model", "momentum_net", "momentum_backbone",
                                           "momentum_teacher", "momentum_branch"};
    static const char *const ends[] = {"_exp_avg", "_exp_avg_sq", "_momentum_buffer", "_momentum"};
    for (conv_text rest = name; rest.n;) {
        const conv_text part = last_part(rest, &rest);
        if (any(part, conv_text_begins, networks, COUNT_OF(networks))) continue;
        if (any(part, conv_text_begins, begins, COUNT_OF(begins)) || any(part, conv_text_is, whole, COUNT_OF(whole)) ||
            any(part, conv_text_ends, ends, COUNT_OF(ends)))
            return true;
    }
    return false;
}

bool conv_names_depthwise(conv_text name) { return holds(name, "depthwise"); }

bool conv_names_transposed(conv_text name) { return holds(name, "transpose") || holds(name, "deconv"); }

bool conv_names_up(conv_text name)
{
    conv_text layer, leaf = last_part(name, &layer);
    if (conv_text_begins(leaf, "original")) { /* up.parametrizations.weight.original1 */
        last_part(layer, &layer);
        last_part(layer, &layer);
    }
    const conv_text own = conv_leaf(layer);
    return own.n >= 2 && own.at[0] == 'u' && own.at[1] == 'p';
}

/* ---------------------------------------------------------------- neighbours */

/* name with its bytes from `from` to `from + n` replaced by a word. */
static size_t replace(const char *name, size_t bytes, size_t from, size_t n, const char *word, char *dst)
{
    const size_t length = strlen(word), rest = bytes - from - n;
    if (from + length + rest >= CONV_NAME_MAX) return 0;
    memcpy(dst, name, from);
    memcpy(dst + from, word, length);
    memcpy(dst + from + length, name + from + n, rest);
    return from + length + rest;
}

/* The end of a name replaced by another, where it has that end; case minded. */
static size_t with_end(const char *name, size_t bytes, const char *end, const char *other, char *dst)
{
    const size_t n = strlen(end);
    if (bytes < n || memcmp(name + bytes - n, end, n)) return 0;
    return replace(name, bytes, bytes - n, n, other, dst);
}

size_t conv_name_of_length(const char *name, size_t bytes, char dst[CONV_NAME_MAX])
{
    const size_t n = with_end(name, bytes, "_v", "_g", dst);
    if (n) return n;
    return holds((conv_text){name, bytes}, "parametrizations.") ? with_end(name, bytes, ".original1", ".original0", dst) : 0;
}

size_t conv_name_of_mask(const char *name, size_t bytes, char dst[CONV_NAME_MAX])
{
    return with_end(name, bytes, "_orig", "_mask", dst);
}

size_t conv_name_of_bias(const char *name, size_t bytes, char dst[CONV_NAME_MAX])
{
    static const char *const pairs[][2] = {{"weight", "bias"}, {"kernel", "bias"},   {"weights", "biases"}, {"w_0", "b_0"},
                                           {"_W", "_b"},       {"weight_v", "bias"}, {"weight_orig", "bias"},
                                           {"filters", "biases"}, {"filter", "bias"}, {"depthwise_kernel", "bias"}};
    static const char *const parametrized[] = {"parametrizations.weight.original", "parametrizations.weight.original1"};
    const conv_text base = conv_name(name, bytes);
    for (size_t i = 0; i < COUNT_OF(parametrized); i++) {
        const size_t n = with_end(name, bytes, parametrized[i], "bias", dst);
        if (n) return n;
    }
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        const size_t n = strlen(pairs[i][0]);
        if (base.n < n || memcmp(base.at + base.n - n, pairs[i][0], n)) continue;
        if (base.n > n && pairs[i][0][0] != '_' && !is_separator(base.at[base.n - n - 1])) continue;
        return replace(name, bytes, base.n - n, n, pairs[i][1], dst);
    }
    return 0;
}

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

static bool is_number(conv_text text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.at[i] < '0' || text.at[i] > '9') return false;
    return text.n > 0;
}

bool conv_names_buffer(conv_text name)
{
    static const char *const whole[] = {
        "const", "constant", "input", "constant_input", "const_input", "mask", "table", "lut", "grid", "meshgrid", "coord",
        "coords", "noise", "buffer", "bias", "b_0", "beta", "gamma", "alpha", "alphas", "scale", "scales", "shift", "mean",
        "std", "inv_std", "var", "temperature", "stride", "strides", "step", "steps", "offset", "offsets", "padding", "filt",
        "up_filter", "down_filter", "fir", "win", "window", "psf", "otf", "gauss", "haar", "dct", "idct", "dwt", "idwt",
        "wavelet", "pe", "pos", "ape", "cos", "sin", "freqs", "freqs_cis", "inv_freq", "alibi", "tril", "triu", "embed",
        "embedding", "embeddings", "latents", "codebook", "codebooks", "center", "centers", "prototypes", "queue", "memory",
        "memory_bank", "history", "cache", "state", "hidden", "dummy", "zeros", "qzeros", "zero_point", "dbox", "dboxes"};
    static const char *const ends[] = {
        "_table", "_mask", "_grid", "_embed", "_embedding", "_embeddings", "_bias", "_mean", "_std", "_var", "_variance",
        "_buffer", "_const", "_noise", "_index", "_cache", "_cached", "_anchors", "_anchor", "_priors", "_scale", "_token",
        "_tokens", "_pos", "_coords", "_window", "_boxes", "_basis", "_zero_point", "_freqs", "_amax", "_queue", "_lut"};
    static const char *const begins[] = {
        "anchor", "prior", "noise_", "pos_embed", "pos_emb", "pos_enc", "position", "relative_position", "relative_coords",
        "rel_pos", "resample_filter", "resample_kernel", "gaussian", "gauss_", "sobel", "laplac", "gabor", "hann_", "hamming_",
        "running_", "moving_", "default_box", "dct_", "dwt_", "rope_", "rotary_", "cell_anchors", "buffer"};
    conv_text rest, leaf = last_part(name, &rest);
    if (is_number(leaf) && rest.n) leaf = last_part(rest, &rest); /* one of a list */
    if (any(leaf, conv_text_is, whole, COUNT_OF(whole)) || any(leaf, conv_text_ends, ends, COUNT_OF(ends))) return true;
    /* position_conv_weight: a layer whose name is all in one part. */
    if (conv_text_ends(leaf, "_weight") || conv_text_ends(leaf, "_weights")) return false;
    if (any(leaf, conv_text_begins, begins, COUNT_OF(begins))) return true;
    return conv_text_begins(leaf, "blur") || conv_text_begins(conv_leaf(rest), "blur");
}

/* optim, optimG, g_optim, G_optimizer_state_dict; not optimal or optimized. */
static bool part_names_optimizer(conv_text part)
{
    static const char *const others[] = {"optima", "optimi", "optimu"};
    if (holds(part, "optimizer") || conv_text_ends(part, "optim")) return true;
    return conv_text_begins(part, "optim") && !any(part, conv_text_begins, others, COUNT_OF(others));
}

bool conv_names_optimizer(conv_text name)
{
    static const char *const begins[] = {"opt_state", "exp_avg", "max_exp_avg", "momentum", "adam_", "first_moment",
                                         "second_moment"};
    static const char *const whole[] = {"exp_inf", "square_avg", "grad_avg", "acc_delta", "adam", "adamw", "nadam", "radam",
                                        "adamax", "adadelta", "adafactor", "adagrad", "rmsprop", "rmsprop_1", "ftrl",
                                        "ftrl_1", "sgd", "velocity", "grad", "grads", "gradient", "gradients"};
    /* Momentum encoders are networks. */
    static const char *const networks[] = {"momentum_encoder", "momentum_model", "momentum_net", "momentum_backbone",
                                           "momentum_teacher", "momentum_branch"};
    static const char *const ends[] = {"_exp_avg", "_exp_avg_sq", "_momentum_buffer", "_momentum", "opt_state"};
    conv_text after = {NULL, 0};
    for (conv_text rest = name; rest.n;) {
        const conv_text part = last_part(rest, &rest), next = after;
        after = part;
        if (any(part, conv_text_begins, networks, COUNT_OF(networks))) continue;
        if (part_names_optimizer(part) || any(part, conv_text_begins, begins, COUNT_OF(begins)) ||
            any(part, conv_text_is, whole, COUNT_OF(whole)) || any(part, conv_text_ends, ends, COUNT_OF(ends)))
            return true;
        /* state.12.sum: PyTorch's optimizers number their parameters. */
        if (conv_text_is(part, "state") && is_number(next) && !conv_names_weight(name)) return true;
    }
    return false;
}

bool conv_names_depthwise(conv_text name) { return holds(name, "depthwise"); }

bool conv_names_transposed(conv_text name) { return holds(name, "transpose") || holds(name, "deconv"); }

conv_up conv_names_up(conv_text name)
{
    conv_text layer, leaf = last_part(name, &layer);
    if (conv_text_begins(leaf, "original")) { /* up.parametrizations.weight.original1 */
        last_part(layer, &layer);
        last_part(layer, &layer);
    }
    conv_text own = last_part(layer, &layer);
    const bool numbered = is_number(own) && layer.n;
    if (numbered) own = conv_leaf(layer);
    if (own.n < 2 || own.at[0] != 'u' || own.at[1] != 'p') return CONV_UP_NOT;
    return numbered ? CONV_UP_LISTED : CONV_UP_OWN;
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

/* Formulas in place of a study: bells whose width falls with the component, a spike where pruned kernels sit. */
#include "fake_report.h"

#include "base/base.h"

#include <math.h>
#include <stdio.h>

#define PI 3.14159265358979323846

static char *text(const char *t) { return base_copy_text(t, strlen(t)); }

static char **texts(const char *const *list, size_t count)
{
    char **copy = base_calloc(count + !count, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = text(list[i]);
    return copy;
}

static double bell(double x, double at, double sd)
{
    return exp(-0.5 * (x - at) * (x - at) / (sd * sd)) / (sd * sqrt(2 * PI));
}

/* ---- groups */

typedef struct shape {
    unsigned rank;
    uint64_t side[3];
} shape;

static unsigned weights(const shape *s)
{
    unsigned k = 1;
    for (unsigned i = 0; i < s->rank; i++) k *= (unsigned)s->side[i];
    return k;
}

/* A separable cosine basis: smooth components first, as trained kernels have them. */
static fpr_basis fake_basis(const shape *s, uint64_t kernels)
{
    unsigned k = weights(s);
    fpr_basis b = {base_alloc(k, 8), base_alloc((uint64_t)k * k, 8), base_alloc(k, 8), base_alloc(k, 8)};
    double sum = 0;
    for (unsigned i = 0; i < k; i++) sum += b.explained_variance_ratio[i] = pow(0.72, i);
    for (unsigned i = 0; i < k; i++) {
        b.mean[i] = -0.03 + 0.01 * sin(i);
        b.explained_variance_ratio[i] /= sum;
        b.singular_values[i] = sqrt(b.explained_variance_ratio[i] * ((double)kernels - 1));
        double norm = 0, *row = b.components + (size_t)i * k;
        for (unsigned j = 0; j < k; j++) {
            unsigned f = i, p = j;
            row[j] = 1;
            for (unsigned d = 0; d < s->rank; d++) {
                unsigned side = (unsigned)s->side[d];
                row[j] *= cos(PI * (f % side) * (p % side + 0.5) / side);
                f /= side, p /= side;
            }
            norm += row[j] * row[j];
        }
        for (unsigned j = 0; j < k; j++) row[j] /= sqrt(norm);
    }
    return b;
}

static fpr_distribution fake_distribution(unsigned k, unsigned bins, const double *range, uint64_t kernels, double wide,
                                          double spike, double shift)
{
    fpr_distribution d = {kernels, base_alloc((uint64_t)k * bins, sizeof *d.counts), base_calloc(k, sizeof *d.kde)};
    for (unsigned i = 0; i < k; i++) {
        double sd = 0.05 + 0.75 * pow(0.78, i), at = 0.3 * sin(1 + i) + shift,
               h = 0.9 * sd * pow((double)kernels + 1, -0.2);
        double lo = range[0] - 3 * h, step = (range[1] - range[0] + 6 * h) / (FPR_KDE_POINTS - 1);
        fpr_kde *kde = &d.kde[i];
        *kde = (fpr_kde){.bandwidth = h, .start = lo, .step = step};
        for (int j = 0; j < FPR_KDE_POINTS; j++) {
            double x = lo + j * step;
            kde->density[j] = (1 - wide - spike) * (0.7 * bell(x, at, sd) + 0.3 * bell(x, at + 1.6 * sd, 0.5 * sd)) +
                              wide * bell(x, 0, 1.4 * sd) + spike * bell(x, 0.05, 0.012);
        }
        double width = (range[1] - range[0]) / bins;
        for (unsigned j = 0; j < bins; j++) {
            double x = range[0] + (j + 0.5) * width;
            double share = width * ((1 - wide - spike) * bell(x, at, sd) + wide * bell(x, 0, 1.4 * sd));
            d.counts[(size_t)i * bins + j] =
                (uint64_t)(share * (double)kernels + (fabs(x) < width / 2 ? spike * (double)kernels : 0));
        }
    }
    return d;
}

static fpr_divergence fake_divergence(const fpr_basis *basis, unsigned k, double size)
{
    fpr_divergence d = {base_alloc(k, 8), 0};
    for (unsigned i = 0; i < k; i++) {
        d.per_component[i] = size * (1 + 0.3 * cos(i));
        d.weighted += basis->explained_variance_ratio[i] * d.per_component[i];
    }
    return d;
}

static fpr_group fake_group(shape s, uint64_t layers, uint64_t kernels, double sparse, bool after)
{
    fpr_group g = {.kernel_rank = s.rank, .k = weights(&s), .layers = layers, .kernels = kernels, .bins = 70};
    memcpy(g.kernel_shape, s.side, sizeof g.kernel_shape);
    g.sparse = (uint64_t)(sparse * (double)kernels);
    g.live = kernels - g.sparse;
    g.has_basis = g.k >= 2 && g.k <= 128;
    if (!g.has_basis) return g;
    g.range[0] = -2.7107908645900001, g.range[1] = 2.7659803153900001;
    g.basis = fake_basis(&s, kernels);
    g.before = fake_distribution(g.k, g.bins, g.range, kernels, sparse, 0, 0);
    g.live_before = fake_distribution(g.k, g.bins, g.range, g.live, 0, 0, 0);
    if (!after) return g;
    g.has_after = true;
    g.after = fake_distribution(g.k, g.bins, g.range, kernels, 0, sparse, 0);
    g.live_after = fake_distribution(g.k, g.bins, g.range, g.live, 0, 0, sparse > 0.3 ? 0.06 : 0);
    g.divergence = fake_divergence(&g.basis, g.k, sparse * 0.7);
    g.live_divergence = fake_divergence(&g.basis, g.k, sparse > 0.3 ? 0.013 : 0);
    return g;
}

/* ---- layers */

static fpr_layer fake_layer(const char *name, uint64_t depth, uint64_t out, uint64_t in, shape s, bool after)
{
    double t = (double)depth;
    unsigned k = weights(&s);
    fpr_layer l = {
        .name = text(name), .name_bytes = strlen(name), .dtype = FPR_F32, .rank = 2 + s.rank, .depth = depth};
    l.shape = base_alloc(5, sizeof *l.shape);
    l.shape[0] = out, l.shape[1] = in;
    memcpy(l.shape + 2, s.side, s.rank * sizeof *l.shape);
    l.conv = (fpr_layer_shape){
        .filters = out, .channels = in, .kernel_rank = s.rank, .k = k, .kernels = out * in, .layout = FPR_LAYOUT_OIHW};
    memcpy(l.conv.kernel_shape, s.side, sizeof l.conv.kernel_shape);
    l.finite = true;
    l.sparsity = floor(0.5 * (1 + sin(0.37 * t)) * 0.4 * (double)l.conv.kernels) / (double)l.conv.kernels;
    l.sparse = (uint64_t)(l.sparsity * (double)l.conv.kernels + 0.5);
    l.max_abs = 0.1 + 1 / (1 + t);
    l.variance_entropy = k > 1 ? 0.85 - 0.004 * t : NAN;
    l.variance_entropy_clean = k > 1 ? 0.88 - 0.004 * t : NAN;
    l.variance_entropy_normalized = k == 9 ? 0.98 - 0.01 * t * (t < 60) + 0.05 * cos(t) : NAN;
    l.variance_entropy_clean_normalized = k == 9 ? l.variance_entropy_normalized + 0.02 : NAN;
    l.orthogonality = out == 1 ? NAN : 0.93 + 0.05 * sin(0.2 * t);
    if (k > 1 && k <= 128) {
        l.explained_variance_ratio = base_alloc(k, 8);
        for (unsigned i = 0; i < k; i++) l.explained_variance_ratio[i] = 1.0 / k;
    }
    l.binary = (fpr_binary){.max_relative_error = NAN};
    uint64_t bytes = 4 * k * l.conv.kernels;
    if (after) l.stored = (fpr_stored){"kernels", bytes, (uint64_t)((double)bytes * (0.86 - 0.5 * l.sparsity))};
    if (after) l.pruned_kernels = l.sparse;
    l.error_max_abs = after ? 0.004 * l.sparsity : NAN;
    l.error_relative_l2 = after ? 0.003 * l.sparsity : NAN;
    return l;
}

static void make_binary(fpr_layer *l, bool after, fpr_scope scope)
{
    unsigned k = (unsigned)l->conv.k;
    l->binary = (fpr_binary){.kernels = l->conv.kernels - l->sparse,
                             .share = 0.994,
                             .scope = scope,
                             .symmetric = scope == FPR_SCOPE_FILTER,
                             .level_low = {-0.12, -0.05},
                             .level_high = {0.05, 0.12},
                             .max_relative_error = 0.0031};
    if (after) l->stored.bytes_after = l->stored.bytes_before / 29;
    l->picture_filters = 8, l->picture_channels = 8;
    size_t n = (size_t)64 * k;
    l->picture_before = base_alloc(n, sizeof(float));
    if (after) l->picture_after = base_alloc(n, sizeof(float));
    for (size_t i = 0; i < n; i++) {
        size_t filter = i / (8 * k);
        bool dead = (i / k) % 13 == 5;
        double level =
            sin(1.7 * (double)i * (double)i) > 0.1 ? 0.05 + 0.01 * (double)filter : -0.05 - 0.01 * (double)filter;
        l->picture_before[i] = (float)(dead ? 1e-5 * sin((double)i) : level * (1 + 0.02 * sin((double)i)));
        if (after) l->picture_after[i] = (float)(dead ? 0 : level);
    }
}

static void make_samples(fpr_layer *l)
{
    const size_t k = (size_t)l->conv.k;
    if (k < 2 || k > 49) return;
    for (unsigned kind = 0; kind < FPR_SAMPLE_KINDS; kind++) {
        l->sample_count[kind] = kind == FPR_SAMPLE_GONE ? 2 : FPR_SAMPLE_KERNELS;
        l->sample[kind] = base_alloc(l->sample_count[kind] * k, sizeof(float));
        for (size_t i = 0; i < l->sample_count[kind] * k; i++) l->sample[kind][i] = (float)sin(0.7 * (double)(i * (kind + 1)));
    }
}

static void make_dead(fpr_layer *l)
{
    static const uint64_t filters[] = {0, 3, 4, 5, 6, 11, 13, 63}, channels[] = {2};
    l->dead_filters = base_alloc(8, sizeof *filters);
    l->dead_channels = base_alloc(1, sizeof *channels);
    memcpy(l->dead_filters, filters, sizeof filters);
    memcpy(l->dead_channels, channels, sizeof channels);
    l->dead_filter_count = 8, l->dead_channel_count = 1;
}

/* ---- reports */

static fpr_report *blank(const char *input, const char *output)
{
    fpr_report *r = base_calloc(1, sizeof *r);
    r->input_path = text(input);
    r->input_bytes = 102469840, r->tensors = 320, r->parameters = 25610152, r->input_hash = 0x0123456789abcdefu;
    r->has_output = output != NULL;
    if (output) {
        r->output_path = text(output);
        r->output_bytes = 61520344, r->output_hash = 0xfedcba9876543210u;
    }
    r->options = (fpr_options){.layout = FPR_LAYOUT_OIHW,
                               .eps = 0.01,
                               .bins = 70,
                               .prune = true,
                               .amount = -1,
                               .binary = true,
                               .binary_tol = 0.01,
                               .binary_share = 0.9,
                               .level = 3,
                               .threads = 2};
    static const fpr_phase phases[] = {{"read", 0.012}, {"measure", 0.43}, {"pack", 0.31}, {"write", 0.05}};
    memcpy(r->phases, phases, sizeof phases);
    r->phase_count = 4, r->threads = 2, r->peak_rss_bytes = 83886080;
    r->others = base_calloc(3, sizeof *r->others);
    static const char *const names[] = {"fc.weight", "fc.bias", "bn1.num_batches_tracked"};
    for (size_t i = 0; i < 3; i++) {
        fpr_other *o = &r->others[r->other_count++];
        *o = (fpr_other){.name = text(names[i]),
                         .name_bytes = strlen(names[i]),
                         .dtype = i < 2 ? FPR_F32 : FPR_I64,
                         .rank = i < 2 ? 2 - (unsigned)i : 0,
                         .shape = base_alloc(2, 8)};
        o->shape[0] = 1000, o->shape[1] = 2048;
        uint64_t bytes = i == 0 ? 8192000 : i == 1 ? 4000 : 8;
        if (output) o->stored = (fpr_stored){i ? "raw" : "planes", bytes, i ? bytes : bytes / 10 * 9};
    }
    return r;
}

static fpr_layer *add_layer(fpr_report *r, const char *name, uint64_t out, uint64_t in, shape s)
{
    r->layers[r->layer_count] = fake_layer(name, r->layer_count, out, in, s, r->has_output);
    make_samples(&r->layers[r->layer_count]);
    return &r->layers[r->layer_count++];
}

static const shape s33 = {2, {3, 3, 0}}, s77 = {2, {7, 7, 0}}, s333 = {3, {3, 3, 3}}, s5 = {1, {5, 0, 0}},
                   s11 = {2, {1, 1, 0}}, s1616 = {2, {16, 16, 0}};

static fpr_report *rich(bool after)
{
    fpr_report *r = blank("models/retina <b>unet & co.safetensors", after ? "out/retina_unet.fp.safetensors" : NULL);
    r->layers = base_calloc(24, sizeof *r->layers);
    char name[64];
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "encoder.block%d.conv%d.weight", i / 2, i % 2 + 1);
        add_layer(r, name, 16u << i / 2, i ? 16u << (i - 1) / 2 : 3, s33);
    }
    make_dead(&r->layers[4]);
    make_binary(&r->layers[2], after, FPR_SCOPE_LAYER);
    make_binary(&r->layers[3], after, FPR_SCOPE_FILTER);
    make_binary(add_layer(r, "volume.conv.weight", 64, 64, s333), after, FPR_SCOPE_KERNEL);
    make_binary(add_layer(r, "line.weight", 64, 64, s5), after, FPR_SCOPE_LAYER);
    add_layer(r, "stem.weight", 64, 3, s77);
    add_layer(r, "head.weight", 1, 64, s11);
    add_layer(r, "patch_embed.proj.weight", 64, 3, s1616);
    fpr_layer *hostile = add_layer(r, FAKE_HOSTILE_NAME, 64, 64, s33);
    static const char *const layer_warnings[] = {"holds 3 NaN: left out of the distributions, stored losslessly"};
    hostile->finite = false;
    hostile->sparsity = hostile->max_abs = hostile->orthogonality = NAN;
    hostile->warnings = texts(layer_warnings, 1);
    hostile->warning_count = 1;
    r->groups = base_calloc(6, sizeof *r->groups);
    r->groups[r->group_count++] = fake_group(s33, 10, 96432, 0.41, after);
    r->groups[r->group_count++] = fake_group(s333, 1, 4096, 0, after);
    r->groups[r->group_count++] = fake_group(s5, 1, 4096, 0.1, after);
    r->groups[r->group_count++] = fake_group(s77, 1, 192, 0.02, after);
    r->groups[r->group_count++] = fake_group(s1616, 1, 192, 0, after);
    r->groups[r->group_count++] = fake_group(s11, 1, 64, 0, after);
    r->groups[0].binary = 18123;
    static const char *const warnings[] = {"1 layer holds NaN or Inf and is left out of the distributions",
                                           "layout resolved to OIHW by 13 of 15 layers </p>"};
    static const char *const skip[] = {"head.*", "<&>"};
    r->warnings = texts(warnings, 2);
    r->warning_count = 2;
    r->skip = texts(skip, 2);
    r->skip_count = 2;
    return r;
}

static fpr_report *resnet50(void)
{
    fpr_report *r = blank("resnet50.safetensors", "resnet50.fp.safetensors");
    r->layers = base_calloc(53, sizeof *r->layers);
    static const uint64_t blocks[4] = {3, 4, 6, 3};
    char name[64];
    add_layer(r, "conv1.weight", 64, 3, s77);
    uint64_t in = 64;
    for (uint64_t stage = 0; stage < 4; stage++) {
        for (uint64_t b = 0; b < blocks[stage]; b++) {
            uint64_t mid = (uint64_t)64 << stage;
            for (unsigned c = 1; c <= 4; c++) {
                if (c == 4 && b) continue;
                snprintf(name, sizeof name, c < 4 ? "layer%d.%d.conv%d.weight" : "layer%d.%d.downsample.0.weight",
                         (int)stage + 1, (int)b, (int)c);
                add_layer(r, name, c < 3 ? mid : 4 * mid, c == 1 || c == 4 ? in : mid, c == 2 ? s33 : s11);
            }
            in = 4 * mid;
        }
    }
    r->groups = base_calloc(3, sizeof *r->groups);
    r->groups[r->group_count++] = fake_group(s11, 36, 12048640, 0, true);
    r->groups[r->group_count++] = fake_group(s33, 16, 1257472, 0.022, true);
    r->groups[r->group_count++] = fake_group(s77, 1, 192, 0, true);
    return r;
}

static fpr_report *huge(void)
{
    fpr_report *r = blank("huge.safetensors", "huge.fp.safetensors");
    r->layers = base_calloc(3000, sizeof *r->layers);
    char name[64];
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "blocks.%d.attention.conv.weight", i);
        fpr_layer *l = add_layer(r, name, 64, 64, s33);
        if (i % 3 == 0) make_binary(l, true, FPR_SCOPE_FILTER);
        if (i % 2 == 0) make_dead(l);
    }
    r->groups = base_calloc(1, sizeof *r->groups);
    r->groups[r->group_count++] = fake_group(s33, 3000, 12288000, 0.2, true);
    return r;
}

static void make_spike(fpr_distribution *d, unsigned k)
{
    for (unsigned i = 0; i < k; i++) {
        d->kde[i] = (fpr_kde){.bandwidth = 1, .start = -3, .step = 6.0 / (FPR_KDE_POINTS - 1), .degenerate = true};
        for (int j = 0; j < 70; j++) d->counts[i * 70 + (unsigned)j] = j == 35 ? d->kernels : 0;
    }
}

static fpr_report *tiny(void)
{
    fpr_report *r = blank("tiny.safetensors", "tiny.fp.safetensors");
    r->input_bytes = 208, r->output_bytes = 208;
    r->layers = base_calloc(1, sizeof *r->layers);
    fpr_layer *l = add_layer(r, "conv.weight", 1, 3, s33);
    l->sparse = 3, l->sparsity = 1, l->max_abs = 0;
    r->groups = base_calloc(1, sizeof *r->groups);
    fpr_group g = fake_group(s33, 1, 3, 1, true);
    g.range[0] = -0.5, g.range[1] = 0.5;
    memset(g.basis.explained_variance_ratio, 0, 9 * sizeof(double));
    memset(g.basis.singular_values, 0, 9 * sizeof(double));
    make_spike(&g.before, 9);
    make_spike(&g.after, 9);
    make_spike(&g.live_before, 9);
    make_spike(&g.live_after, 9);
    r->groups[r->group_count++] = g;
    return r;
}

static fpr_report *of_kind(fake_kind kind)
{
    switch (kind) {
    case FAKE_RICH:
        return rich(true);
    case FAKE_INSPECT:
        return rich(false);
    case FAKE_RESNET50:
        return resnet50();
    case FAKE_HUGE:
        return huge();
    case FAKE_TINY:
        return tiny();
    default:
        return blank("empty.safetensors", NULL);
    }
}

/* What the sums over groups and layers are. */
fpr_report *fake_report(fake_kind kind)
{
    fpr_report *r = of_kind(kind);
    fpr_changes *c = &r->changes;
    for (size_t i = 0; i < r->group_count; i++) {
        c->kernels += r->groups[i].kernels;
        c->live_before += r->groups[i].live;
        c->live_after += r->groups[i].live;
    }
    return r;
}

/* ---- comparisons */

fpr_comparison *fake_comparison(size_t models, unsigned side)
{
    static const char *const stems[] = {"resnet20_cifar",   "brain_mri_unet", "vdsr_x4",      "mobileface",
                                        "retina_unet_fp16", "pneumonia_xray", "esrgan_thick", "xnor_vgg13"};
    shape s = {2, {side, side, 0}};
    fpr_comparison *c = base_calloc(1, sizeof *c);
    c->kernel_rank = 2, c->k = side * side, c->bins = 70;
    memcpy(c->kernel_shape, s.side, sizeof c->kernel_shape);
    c->basis_source = text("joint");
    c->basis = fake_basis(&s, 100000);
    c->range[0] = -2.5, c->range[1] = 2.75;
    c->models = base_calloc(models, sizeof *c->models);
    c->model_count = models;
    c->divergence = base_calloc(models * models, 8);
    c->per_component = base_calloc(models * models * c->k, 8);
    for (size_t i = 0; i < models; i++) {
        char path[96];
        snprintf(path, sizeof path, "zoo/%s%s%02d.safetensors", i == 1 ? "<i>" : "", stems[i * 5 % 8], (int)(i / 8));
        fpr_compared *m = &c->models[i];
        *m = (fpr_compared){.path = text(path),
                            .layers = 10 + i,
                            .kernels = 20000 + 977 * i,
                            .live = 19000 + 900 * i,
                            .binary_layers = i % 8 == 7 ? 12 : 0};
        m->distribution = fake_distribution(c->k, 70, c->range, m->kernels, 0.2 * (double)(i % 8) / 8,
                                            i % 8 == 7 ? 0.2 : 0, 0.1 * sin((double)i));
        for (size_t j = 0; j < models; j++) {
            double d = i == j ? 0
                              : fabs(sin((double)i * 0.9) - sin((double)j * 0.9)) * 2 + 0.02 +
                                    (i % 8 == 7 || j % 8 == 7 ? 3 : 0);
            c->divergence[i * models + j] = d;
            m->mean_shift += models > 1 ? d / (double)(models - 1) : 0;
            for (unsigned p = 0; p < c->k; p++) c->per_component[(i * models + j) * c->k + p] = d * (1 + 0.5 * cos(p));
        }
    }
    static const char *const left[] = {"zoo/vit <base>.safetensors"};
    c->left_out = texts(left, 1);
    c->left_out_count = 1;
    return c;
}

fpr_verification *fake_verification(void)
{
    fpr_verification *v = base_calloc(1, sizeof *v);
    v->tensors = base_calloc(2, sizeof *v->tensors);
    v->tensor_count = 2;
    v->tensors[0] = (fpr_verified){.name = text(FAKE_HOSTILE_NAME),
                                   .name_bytes = strlen(FAKE_HOSTILE_NAME),
                                   .ok = true,
                                   .exact = true,
                                   .max_abs = NAN,
                                   .relative_l2 = NAN};
    v->tensors[1] = (fpr_verified){
        .name = text("b"), .name_bytes = 1, .max_abs = 0.5, .relative_l2 = 1e-3, .problem = text("checksum differs")};
    return v;
}

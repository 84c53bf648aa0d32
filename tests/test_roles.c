/* roles: what each tensor of a checkpoint is; view: computed weights and the way back. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conv/roles.h"
#include "shrink/view.h"

#define COUNT_OF(list) (sizeof(list) / sizeof *(list))
#define MOST 24

typedef struct entry {
    const char *name;
    unsigned rank;
    uint64_t shape[5];
    fpr_kind kind;
    fpr_dtype dtype; /* BOOL, which is 0, stands for F32 */
} entry;

typedef struct checkpoint {
    conv_tensor tensors[MOST];
    conv_role roles[MOST];
    size_t by_name[MOST], count;
    fpr_layout layout;
    conv_evidence evidence;
} checkpoint;

static const checkpoint *sorted_for;

static int by_name(const void *a, const void *b)
{
    return strcmp(sorted_for->tensors[*(const size_t *)a].name, sorted_for->tensors[*(const size_t *)b].name);
}

static checkpoint open_entries(const entry *entries, size_t count)
{
    checkpoint c = {.count = count};
    for (size_t i = 0; i < count; i++) {
        uint64_t elements = 1;
        for (unsigned d = 0; d < entries[i].rank; d++) elements *= entries[i].shape[d];
        c.tensors[i] = (conv_tensor){.name = entries[i].name,
                                     .name_bytes = strlen(entries[i].name),
                                     .dtype = entries[i].dtype == FPR_BOOL ? FPR_F32 : entries[i].dtype,
                                     .rank = entries[i].rank,
                                     .shape = entries[i].shape,
                                     .elements = elements,
                                     .kind = entries[i].kind};
        c.by_name[i] = i;
    }
    sorted_for = &c;
    qsort(c.by_name, count, sizeof *c.by_name, by_name);
    conv_roles(c.tensors, c.by_name, count, c.roles);
    c.layout = conv_roles_layout(c.tensors, c.roles, count, &c.evidence);
    return c;
}

static bool is_layer(const checkpoint *c, size_t i, fpr_layer_shape *s, fpr_known *known)
{
    const conv_reading reading = {.layout = c->layout};
    return conv_role_layer(&c->tensors[i], &c->roles[i], &reading, s, known);
}

/* ---- names */

static void buffers_are_no_layers_and_are_listed(void **state)
{
    (void)state;
    static const entry entries[] = {
        {"model.24.anchors", 3, {3, 3, 2}, 0, 0},      {"anchor_grid", 5, {3, 1, 3, 2, 2}, 0, 0},
        {"relative_coords_table", 4, {3, 15, 15, 2}, 0, 0}, {"g.const", 4, {1, 512, 4, 4}, 0, 0},
        {"pos_embed", 3, {8, 6, 12}, 0, 0},            {"blur.kernel", 4, {64, 1, 3, 3}, 0, 0},
        {"down.filt", 4, {64, 1, 3, 3}, 0, 0},         {"optimizer.state.0.exp_avg", 4, {16, 4, 3, 3}, 0, 0},
        {"conv1.weight.momentum_buffer", 4, {16, 4, 3, 3}, 0, 0}, {"conv/kernel/Adam_1", 4, {16, 4, 3, 3}, 0, 0},
        {"resample_filter", 4, {8, 1, 4, 4}, 0, 0},    {"dboxes", 4, {8, 4, 3, 3}, 0, 0},
        {"cell_anchors.0", 4, {8, 4, 3, 3}, 0, 0},     {"loss.window", 4, {3, 1, 11, 11}, 0, 0},
        {"pe", 4, {8, 4, 3, 3}, 0, 0},                 {"normalize.shift", 4, {1, 16, 1, 1}, 0, 0},
        {"act.slope", 4, {1, 16, 1, 1}, 0, 0},         {"cos_cached", 4, {8, 1, 3, 3}, 0, 0},
    };
    const checkpoint c = open_entries(entries, COUNT_OF(entries));
    fpr_layer_shape s;
    fpr_known known;
    for (size_t i = 0; i < c.count; i++) {
        if (is_layer(&c, i, &s, &known)) fail_msg("%s", entries[i].name);
        if (conv_layer_shape(FPR_F32, entries[i].rank, entries[i].shape, FPR_LAYOUT_OIHW, &s) !=
            (conv_role_lookalike(&c.tensors[i], &c.roles[i], FPR_LAYOUT_OIHW) != NULL))
            fail_msg("%s", entries[i].name);
    }
    static const entry states[] = {
        {"opt_state.0.mu.conv.kernel", 4, {16, 4, 3, 3}, 0, 0}, {"G_optimizer.state.0.sum", 4, {16, 4, 3, 3}, 0, 0},
        {"optimG.state.3.sum", 4, {16, 4, 3, 3}, 0, 0},         {"state.0.exp_inf", 4, {16, 4, 3, 3}, 0, 0},
        {"state.12.prev", 4, {16, 4, 3, 3}, 0, 0},              {"AdamW/m/conv/kernel", 4, {16, 4, 3, 3}, 0, 0},
        {"grads.conv.weight", 4, {16, 4, 3, 3}, 0, 0},
    };
    const checkpoint o = open_entries(states, COUNT_OF(states));
    for (size_t i = 0; i < o.count; i++)
        if (o.roles[i].part != CONV_PART_OPTIMIZER || is_layer(&o, i, &s, &known)) fail_msg("%s", states[i].name);
    /* --only takes buffers in, but never the state of an optimizer. */
    const conv_reading taken = {.layout = FPR_LAYOUT_OIHW, .taken = true};
    assert_true(conv_role_layer(&c.tensors[0], &c.roles[0], &taken, &s, &known));
    assert_int_equal(s.kernels, 9);
    assert_false(conv_role_layer(&c.tensors[7], &c.roles[7], &taken, &s, &known));
}

static void weights_are_layers(void **state)
{
    (void)state;
    static const entry entries[] = {
        {"conv1d.weight", 3, {32, 16, 5}, 0, 0},       {"c/kernel:0", 3, {32, 16, 5}, 0, 0},
        {"n.weights", 3, {32, 16, 5}, 0, 0},           {"dw.filters", 3, {32, 16, 5}, 0, 0},
        {"momentum_encoder.conv1.weight", 4, {64, 3, 7, 7}, 0, 0}, {"deblur.conv.weight", 4, {64, 3, 7, 7}, 0, 0},
        {"optimal.weight", 4, {64, 3, 3, 3}, 0, 0},    {"stage1_conv1", 4, {64, 3, 3, 3}, 0, 0},
        {"noisenet.input.weight", 4, {64, 3, 3, 3}, 0, 0}, {"position_conv1_weight", 4, {64, 3, 3, 3}, 0, 0},
        {"optimized.weight", 4, {64, 3, 3, 3}, 0, 0},  {"state.0.weight", 4, {64, 3, 3, 3}, 0, 0},
        {"out.weight", 4, {1, 64, 1, 1}, 0, 0},        {"gradnet.weight", 4, {64, 3, 3, 3}, 0, 0},
    };
    const checkpoint c = open_entries(entries, COUNT_OF(entries));
    fpr_layer_shape s;
    fpr_known known;
    for (size_t i = 0; i < c.count; i++)
        if (!is_layer(&c, i, &s, &known)) fail_msg("%s", entries[i].name);
}

static void long_and_deep_kernels_are_listed(void **state)
{
    (void)state;
    static const entry entries[] = {
        {"sinc.weight", 3, {64, 8, 80}, 0, 0},    {"modulated.weight", 5, {1, 512, 256, 3, 3}, 0, 0},
        {"fc.weight", 2, {10, 512}, 0, 0},        {"experts.weight", 3, {8, 1024, 4096}, 0, 0},
        {"known.weight", 3, {64, 8, 80}, FPR_KIND_CONV, 0},
    };
    const checkpoint c = open_entries(entries, COUNT_OF(entries));
    const bool listed[] = {true, true, false, false, false};
    fpr_layer_shape s;
    fpr_known known;
    for (size_t i = 0; i < c.count; i++) {
        assert_int_equal(conv_role_lookalike(&c.tensors[i], &c.roles[i], c.layout) != NULL, listed[i]);
        assert_int_equal(is_layer(&c, i, &s, &known), i == 4);
    }
    assert_int_equal(known, FPR_KNOWN_FORMAT);
}

/* ---- neighbours */

static void pairs_are_found(void **state)
{
    (void)state;
    static const entry entries[] = {
        {"a.weight_g", 4, {16, 1, 1, 1}, 0, 0},  {"a.weight_v", 4, {16, 8, 3, 3}, 0, 0},
        {"b.parametrizations.weight.original0", 3, {16, 1, 1}, 0, 0},
        {"b.parametrizations.weight.original1", 3, {16, 8, 5}, 0, 0},
        {"c.weight_orig", 4, {8, 8, 3, 3}, 0, 0}, {"c.weight_mask", 4, {8, 8, 3, 3}, 0, 0},
        {"d.weight_g", 3, {1, 1, 5}, 0, 0},      {"d.weight_v", 3, {16, 8, 5}, 0, 0},
        {"e.weight_orig", 4, {8, 8, 3, 3}, 0, 0}, {"e.weight_u", 1, {8}, 0, 0}, {"e.weight_v", 1, {72}, 0, 0},
        {"f.weight_orig", 4, {8, 8, 3, 3}, 0, 0}, {"f.weight_mask", 4, {8, 8, 3, 1}, 0, 0},
    };
    static const conv_part parts[] = {
        CONV_PART_LENGTH, CONV_PART_DIRECTION, CONV_PART_LENGTH, CONV_PART_DIRECTION, CONV_PART_ORIGINAL, CONV_PART_MASK,
        CONV_PART_NORMED, CONV_PART_NORMED, CONV_PART_WEIGHT, CONV_PART_OTHER, CONV_PART_OTHER, CONV_PART_WEIGHT,
        CONV_PART_BUFFER,
    };
    static const bool layers[] = {false, true, false, true, true, false, false, false, true, false, false, true, false};
    const checkpoint c = open_entries(entries, COUNT_OF(entries));
    fpr_layer_shape s;
    fpr_known known;
    for (size_t i = 0; i < c.count; i++) {
        if (c.roles[i].part != parts[i] || is_layer(&c, i, &s, &known) != layers[i]) fail_msg("%s", entries[i].name);
        if (c.roles[i].partner != CONV_NO_PARTNER) assert_int_equal(c.roles[c.roles[i].partner].partner, i);
    }
    assert_int_equal(c.roles[1].partner, 0);
    assert_non_null(conv_role_lookalike(&c.tensors[7], &c.roles[7], c.layout));
}

static void transposed_convolutions_are_told(void **state)
{
    (void)state;
    static const struct {
        entry weight;
        uint64_t bias; /* 0: none */
        bool transposed;
        fpr_known known;
    } cases[] = {
        {{"up.weight", 4, {8, 4, 3, 3}, 0, 0}, 4, true, FPR_KNOWN_BIAS},
        {{"x.weight", 4, {8, 4, 3, 3}, 0, 0}, 4, true, FPR_KNOWN_BIAS},
        {{"up.weight", 4, {8, 4, 3, 3}, 0, 0}, 8, false, FPR_KNOWN_SHAPE},
        {{"up.weight", 4, {8, 4, 3, 3}, 0, 0}, 0, true, FPR_KNOWN_NAME},
        {{"up.weight", 4, {4, 8, 3, 3}, 0, 0}, 0, false, FPR_KNOWN_SHAPE}, /* after an upsampling, rather */
        {{"up1.conv.weight", 4, {8, 8, 3, 3}, 0, 0}, 8, false, FPR_KNOWN_SHAPE},
        {{"conv2d_transpose/kernel", 4, {8, 8, 3, 3}, 0, 0}, 8, true, FPR_KNOWN_NAME},
        {{"deconv3.weight", 4, {8, 2, 3, 3}, 0, 0}, 4, true, FPR_KNOWN_BIAS}, /* two groups */
        {{"a.weight", 4, {8, 2, 3, 3}, 0, 0}, 4, true, FPR_KNOWN_BIAS}, /* no convolution has a bias for half its filters */
        {{"a.weight", 4, {8, 8, 3, 3}, 0, 0}, 16, true, FPR_KNOWN_BIAS},
        {{"a.weight", 4, {8, 3, 3, 3}, 0, 0}, 5, false, FPR_KNOWN_SHAPE}, /* nobody's bias */
        {{"ups.0.weight", 3, {8, 4, 16}, 0, 0}, 0, true, FPR_KNOWN_NAME},
        {{"ups.0.weight", 3, {8, 8, 7}, 0, 0}, 0, false, FPR_KNOWN_SHAPE},
        {{"upsampler.0.weight", 4, {16, 4, 3, 3}, 0, 0}, 0, false, FPR_KNOWN_SHAPE}, /* before a pixel shuffle */
        {{"deconv.weight", 4, {24, 1, 2, 2}, 0, 0}, 1, true, FPR_KNOWN_BIAS},
        {{"a.weight", 4, {8, 4, 3, 3}, FPR_KIND_TRANSPOSED, 0}, 8, true, FPR_KNOWN_FORMAT},
        {{"up.weight", 4, {8, 4, 3, 3}, FPR_KIND_CONV, 0}, 0, false, FPR_KNOWN_FORMAT},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char name[64];
        const char *leaf = strrchr(cases[i].weight.name, cases[i].weight.name[4] == '2' ? '/' : '.');
        snprintf(name, sizeof name, "%.*sbias", (int)(leaf + 1 - cases[i].weight.name), cases[i].weight.name);
        const entry entries[] = {cases[i].weight, {name, 1, {cases[i].bias}, 0, 0}};
        const checkpoint c = open_entries(entries, cases[i].bias ? 2 : 1);
        fpr_layer_shape s;
        fpr_known known;
        if (!is_layer(&c, 0, &s, &known) || s.transposed != cases[i].transposed || known != cases[i].known)
            fail_msg("case %zu: %d %d", i, s.transposed, known);
        const conv_reading named = {.layout = FPR_LAYOUT_OIHW, .transposed = true};
        assert_true(conv_role_layer(&c.tensors[0], &c.roles[0], &named, &s, &known));
        if (cases[i].weight.kind == FPR_KIND_UNKNOWN) assert_true(s.transposed && known == FPR_KNOWN_OPTION);
    }
}

static void depthwise_layers_are_told(void **state)
{
    (void)state;
    static const entry torch[] = {{"0.weight", 4, {32, 1, 3, 3}, 0, 0}, {"1.weight", 4, {64, 32, 3, 3}, 0, 0}};
    static const entry keras[] = {{"dw/depthwise_kernel", 4, {3, 3, 32, 1}, 0, 0}, {"c/kernel", 4, {3, 3, 32, 64}, 0, 0},
                                  {"last/kernel", 4, {3, 3, 32, 1}, 0, 0}};
    fpr_layer_shape s;
    fpr_known known;
    const checkpoint a = open_entries(torch, 2), b = open_entries(keras, 3);
    assert_int_equal(b.layout, FPR_LAYOUT_HWIO);
    assert_true(is_layer(&a, 0, &s, &known) && s.depthwise && known == FPR_KNOWN_SHAPE);
    assert_true(is_layer(&a, 1, &s, &known) && !s.depthwise);
    assert_true(is_layer(&b, 0, &s, &known) && s.depthwise && known == FPR_KNOWN_NAME);
    assert_true(is_layer(&b, 1, &s, &known) && !s.depthwise);
    assert_true(is_layer(&b, 2, &s, &known) && !s.depthwise);
}

/* ---- layouts */

static void the_whole_file_decides_on_the_order(void **state)
{
    (void)state;
    static const entry mlx[] = {{"c.weight", 4, {64, 7, 7, 3}, 0, 0}, {"d.weight", 4, {64, 3, 3, 64}, 0, 0},
                                {"e.weight", 4, {64, 3, 3, 3}, 0, 0}, {"p.weight", 4, {64, 1, 1, 256}, 0, 0}};
    static const entry mnist[] = {{"c.weight", 4, {32, 3, 3, 1}, 0, 0}, {"d.weight", 4, {64, 3, 3, 32}, 0, 0}};
    static const entry torch[] = {{"c.weight", 4, {64, 3, 7, 7}, 0, 0}, {"d.weight", 4, {64, 64, 3, 3}, 0, 0},
                                  {"e.weight", 4, {32, 3, 3, 1}, 0, 0}};
    static const entry one[] = {{"c.weight", 4, {64, 3, 3, 3}, 0, 0}};
    static const entry table[] = {{"relative_coords_table", 4, {1, 15, 15, 2}, 0, 0}, {"a.anchors", 4, {3, 3, 2, 8}, 0, 0}};
    static const entry narrow[] = {{"c.weight", 4, {12, 7, 7, 3}, 0, 0}, {"p.weight", 4, {6, 1, 1, 12}, 0, 0},
                                   {"d.weight", 4, {6, 3, 3, 6}, 0, 0},  {"q.weight", 4, {12, 1, 1, 6}, 0, 0}};
    static const entry few[] = {{"c/kernel", 4, {7, 7, 3, 4}, 0, 0}, {"d/kernel", 4, {1, 3, 4, 4}, 0, 0},
                                {"e/kernel", 4, {3, 3, 4, 2}, 0, 0}};
    static const entry mixed[] = {{"a.weight", 4, {64, 64, 3, 3}, 0, 0}, {"b.weight", 4, {3, 3, 64, 64}, 0, 0}};
    assert_int_equal(open_entries(mlx, 4).layout, FPR_LAYOUT_OHWI);
    assert_int_equal(open_entries(mlx, 4).evidence, CONV_BY_SHAPE);
    assert_int_equal(open_entries(mnist, 2).layout, FPR_LAYOUT_OHWI);
    assert_int_equal(open_entries(torch, 3).layout, FPR_LAYOUT_OIHW);
    assert_int_equal(open_entries(torch, 3).evidence, CONV_BY_SHAPE);
    assert_int_equal(open_entries(one, 1).layout, FPR_LAYOUT_OIHW);
    assert_int_equal(open_entries(table, 2).layout, FPR_LAYOUT_OIHW);
    assert_int_equal(open_entries(narrow, 4).layout, FPR_LAYOUT_OHWI);
    assert_int_equal(open_entries(few, 3).layout, FPR_LAYOUT_HWIO);
    assert_int_equal(open_entries(mixed, 2).evidence, CONV_CLOSE);
}

/* ---- computed weights */

static const fpr_layer_shape two_by_two = {.filters = 2, .channels = 2, .kernel_rank = 1, .kernel_shape = {2}, .k = 2,
                                           .kernels = 4, .layout = FPR_LAYOUT_OIHW};

static void weight_norm_keeps_what_stays(void **state)
{
    (void)state;
    const float v[8] = {3, 0, 0, 4, 1e-20f, 1e-20f, 1e-20f, 1e-20f}, g[2] = {10, -2};
    float w[8], after[8], lengths[2] = {10, -2};
    memcpy(w, v, sizeof w);
    shrink_norm_weights(&two_by_two, FPR_F32, w, FPR_F32, g);
    const float expected[8] = {6, 0, 0, 8, -1, -1, -1, -1};
    for (size_t i = 0; i < 8; i++) assert_float_equal(w[i], expected[i], 1e-6);

    uint8_t action[4] = {CONV_ACTION_ZERO, CONV_ACTION_KEPT, CONV_ACTION_ZERO, CONV_ACTION_ZERO};
    const shrink_plan plan = {.action = action, .zeroed = 3, .changes = true};
    memcpy(after, v, sizeof after);
    shrink_norm_direction(&two_by_two, FPR_F32, after, &plan);
    shrink_norm_length(&two_by_two, FPR_F32, v, &plan, FPR_F32, lengths);
    const float kept[8] = {0, 0, 0, 4, 1e-20f, 1e-20f, 1e-20f, 1e-20f}; /* no whole row of v */
    assert_memory_equal(after, kept, sizeof kept);
    assert_true(lengths[1] == 0);
    shrink_norm_weights(&two_by_two, FPR_F32, after, FPR_F32, lengths);
    const float pruned[8] = {0, 0, 0, 8, 0, 0, 0, 0};
    for (size_t i = 0; i < 8; i++) assert_float_equal(after[i], pruned[i], 1e-6);
}

static void masked_weights_are_plus_zero(void **state)
{
    (void)state;
    float w[4] = {-3, 2, 5, -7};
    const float mask[4] = {0, 1, 1, 0};
    const uint8_t flags[4] = {1, 0, 1, 1};
    shrink_mask_weights(FPR_F32, w, FPR_F32, mask, 4);
    const float expected[4] = {0, 2, 5, 0};
    assert_memory_equal(w, expected, sizeof w);
    shrink_mask_weights(FPR_F32, w, FPR_BOOL, flags, 4);
    const float less[4] = {0, 0, 5, 0};
    assert_memory_equal(w, less, sizeof w);
}

static void ohwi_turns_and_turns_back(void **state)
{
    (void)state;
    const fpr_layer_shape s = {.filters = 2, .channels = 3, .kernel_rank = 2, .kernel_shape = {2, 2}, .k = 4, .kernels = 6};
    uint16_t ohwi[24], oihw[24], back[24];
    for (uint16_t i = 0; i < 24; i++) ohwi[i] = i;
    shrink_ohwi_to_oihw(&s, FPR_F16, ohwi, oihw);
    for (unsigned o = 0; o < 2; o++)
        for (unsigned i = 0; i < 3; i++)
            for (unsigned d = 0; d < 4; d++) assert_int_equal(oihw[(o * 3 + i) * 4 + d], (o * 4 + d) * 3 + i);
    shrink_oihw_to_ohwi(&s, FPR_F16, oihw, back);
    assert_memory_equal(back, ohwi, sizeof ohwi);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_are_no_layers_and_are_listed), cmocka_unit_test(weights_are_layers),
        cmocka_unit_test(long_and_deep_kernels_are_listed),     cmocka_unit_test(pairs_are_found),
        cmocka_unit_test(transposed_convolutions_are_told),     cmocka_unit_test(depthwise_layers_are_told),
        cmocka_unit_test(the_whole_file_decides_on_the_order),  cmocka_unit_test(weight_norm_keeps_what_stays),
        cmocka_unit_test(masked_weights_are_plus_zero),         cmocka_unit_test(ohwi_turns_and_turns_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

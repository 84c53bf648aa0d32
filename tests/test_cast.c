/* Conversions between float dtypes, against what IEEE 754 and the definition of bfloat16 say. */
#include "shrink_layers.h"

/* The value of a half by its definition: (-1)^s 2^(e-15) (1 + m/1024), subnormals 2^-14 m/1024. */
static double half_by_definition(unsigned bits)
{
    unsigned e = bits >> 10 & 31, m = bits & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
    return bits & 0x8000 ? -v : v;
}

static double bf16_by_definition(unsigned bits)
{
    unsigned e = bits >> 7 & 255, m = bits & 127;
    double v = e == 255 ? (m ? NAN : INFINITY) : e ? ldexp(128 + m, (int)e - 134) : ldexp(m, -133);
    return bits & 0x8000 ? -v : v;
}

typedef struct small_type {
    fpr_dtype dtype;
    double (*value)(unsigned bits);
    unsigned infinity;
} small_type;

static const small_type small_types[] = {{FPR_F16, half_by_definition, 0x7c00}, {FPR_BF16, bf16_by_definition, 0x7f80}};

static unsigned narrow(fpr_dtype from, fpr_dtype to, double value)
{
    uint8_t source[8], bits[2];
    shrink_cast(FPR_F64, &value, from, source, 1);
    shrink_cast(from, source, to, bits, 1);
    return base_load_le16(bits);
}

static void every_16_bit_number_widens_to_its_value_and_back(void **state)
{
    (void)state;
    for (size_t t = 0; t < 2; t++)
        for (unsigned bits = 0; bits < 65536; bits++) {
            uint8_t source[2], back[2];
            float f;
            double d, value = small_types[t].value(bits);
            base_store_le16(source, (uint16_t)bits);
            assert_true(shrink_cast(small_types[t].dtype, source, FPR_F64, &d, 1));
            assert_true(shrink_cast(small_types[t].dtype, source, FPR_F32, &f, 1));
            if (isnan(value)) {
                assert_true(isnan(d) && isnan(f));
            } else {
                assert_true(d == value && (double)f == value && !signbit(d) == !signbit(value));
            }
            assert_true(shrink_cast(FPR_F64, &d, small_types[t].dtype, back, 1));
            assert_int_equal(base_load_le16(back), bits);
            assert_true(shrink_cast(FPR_F32, &f, small_types[t].dtype, back, 1));
            assert_int_equal(base_load_le16(back), bits);
        }
}

/* Between each two neighbours: the middle goes to the even one, anything else to the nearer. Above the largest, the
 * neighbour is what the next number would be: that middle and beyond is infinite. */
static void narrowing_rounds_to_nearest_ties_to_even(void **state)
{
    (void)state;
    for (size_t t = 0; t < 2; t++) {
        const small_type *s = &small_types[t];
        for (unsigned low = 0; low < s->infinity; low++) {
            unsigned high = low + 1, even = low & 1 ? high : low;
            double a = s->value(low), b = high < s->infinity ? s->value(high) : 2 * a - s->value(low - 1);
            double middle = (a + b) / 2;
            for (unsigned sign = 0; sign < 2; sign++) {
                double turn = sign ? -1 : 1;
                unsigned flag = sign ? 0x8000 : 0;
                assert_int_equal(narrow(FPR_F64, s->dtype, turn * middle), even | flag);
                assert_int_equal(narrow(FPR_F64, s->dtype, turn * nextafter(middle, 0)), low | flag);
                assert_int_equal(narrow(FPR_F64, s->dtype, turn * nextafter(middle, INFINITY)), high | flag);
                assert_int_equal(narrow(FPR_F32, s->dtype, turn * middle), even | flag);
                assert_int_equal(narrow(FPR_F32, s->dtype, turn * (double)nextafterf((float)middle, 0)), low | flag);
                assert_int_equal(narrow(FPR_F32, s->dtype, turn * (double)nextafterf((float)middle, INFINITY)),
                                 high | flag);
            }
        }
    }
}

static void doubles_round_once(void **state)
{
    (void)state;
    /* Just above a middle of two halves: by way of float it would become the middle, then the even neighbour below. */
    assert_int_equal(narrow(FPR_F64, FPR_F16, 1 + 0x1p-11 + 0x1p-40), 0x3c01);
    assert_int_equal(narrow(FPR_F64, FPR_BF16, 1 + 0x1p-8 + 0x1p-40), 0x3f81);
    /* Beyond float's range, and below its smallest number. */
    assert_int_equal(narrow(FPR_F64, FPR_F16, 1e300), 0x7c00);
    assert_int_equal(narrow(FPR_F64, FPR_BF16, -1e300), 0xff80);
    assert_int_equal(narrow(FPR_F64, FPR_BF16, 3.4e38), 0x7f80);
    assert_int_equal(narrow(FPR_F64, FPR_BF16, -1e-300), 0x8000);
}

static void nan_stays_nan(void **state)
{
    (void)state;
    static const fpr_dtype types[] = {FPR_F64, FPR_F32, FPR_F16, FPR_BF16};
    /* The payload sits in the lowest bit, which narrower types do not have: still a NaN, not an infinity. */
    uint64_t signalling = UINT64_C(0xfff0000000000001);
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++) {
            uint8_t a[8], b[8];
            double d;
            shrink_cast(FPR_F64, &signalling, types[i], a, 1);
            shrink_cast(types[i], a, types[j], b, 1);
            shrink_cast(types[j], b, FPR_F64, &d, 1);
            assert_true(isnan(d) && signbit(d));
        }
    uint8_t narrow_bytes[4], wide[8];
    base_store_le32(narrow_bytes, 0x7f800001u);
    assert_true(shrink_cast(FPR_F32, narrow_bytes, FPR_F64, wide, 1));
    assert_true(shrink_cast(FPR_F64, wide, FPR_F32, narrow_bytes, 1));
    assert_int_equal(base_load_le32(narrow_bytes), 0x7f800001u);
}

static void exactness_is_told(void **state)
{
    (void)state;
    float exact[] = {1, -0.0f, INFINITY, 0.5f, 65504}, not_exact[] = {1, 1.0001f}, too_large = 65536;
    uint8_t out[16];
    assert_true(shrink_cast(FPR_F32, exact, FPR_F16, out, 5));
    assert_false(shrink_cast(FPR_F32, not_exact, FPR_F16, out, 2));
    assert_false(shrink_cast(FPR_F32, &too_large, FPR_F16, out, 1));
    assert_true(shrink_cast(FPR_F32, &too_large, FPR_BF16, out, 1));
    assert_true(shrink_cast(FPR_F32, not_exact, FPR_F32, out, 2));
    assert_memory_equal(out, not_exact, sizeof not_exact);
    assert_true(shrink_cast(FPR_F32, NULL, FPR_F16, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_16_bit_number_widens_to_its_value_and_back),
        cmocka_unit_test(narrowing_rounds_to_nearest_ties_to_even),
        cmocka_unit_test(doubles_round_once),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(exactness_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

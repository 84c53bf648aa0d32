/* The element types of safetensors: names and sizes, exactly those of the reference implementation. */
#include "file/file.h"

static const struct {
    const char *name;
    unsigned bits;
} dtypes[FPR_DTYPE_COUNT] = {
    [FPR_BOOL] = {"BOOL", 8},
    [FPR_F4] = {"F4", 4},
    [FPR_F6_E2M3] = {"F6_E2M3", 6},
    [FPR_F6_E3M2] = {"F6_E3M2", 6},
    [FPR_U8] = {"U8", 8},
    [FPR_I8] = {"I8", 8},
    [FPR_F8_E5M2] = {"F8_E5M2", 8},
    [FPR_F8_E4M3] = {"F8_E4M3", 8},
    [FPR_F8_E8M0] = {"F8_E8M0", 8},
    [FPR_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [FPR_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [FPR_I16] = {"I16", 16},
    [FPR_U16] = {"U16", 16},
    [FPR_F16] = {"F16", 16},
    [FPR_BF16] = {"BF16", 16},
    [FPR_I32] = {"I32", 32},
    [FPR_U32] = {"U32", 32},
    [FPR_F32] = {"F32", 32},
    [FPR_C64] = {"C64", 64},
    [FPR_F64] = {"F64", 64},
    [FPR_I64] = {"I64", 64},
    [FPR_U64] = {"U64", 64},
};

static bool is_known(fpr_dtype dtype) { return (unsigned)dtype < FPR_DTYPE_COUNT; }

FPR_API const char *fpr_dtype_name(fpr_dtype dtype) { return is_known(dtype) ? dtypes[dtype].name : "?"; }

FPR_API unsigned fpr_dtype_bits(fpr_dtype dtype) { return is_known(dtype) ? dtypes[dtype].bits : 0; }

bool file_dtype_find(const char *name, size_t bytes, fpr_dtype *dtype)
{
    for (unsigned i = 0; i < FPR_DTYPE_COUNT; i++)
        if (strlen(dtypes[i].name) == bytes && memcmp(dtypes[i].name, name, bytes) == 0) {
            *dtype = (fpr_dtype)i;
            return true;
        }
    return false;
}

FPR_API const char *fpr_layout_name(fpr_layout layout)
{
    static const char *const names[] = {"auto", "oihw", "hwio", "ohwi"};
    return names[layout];
}

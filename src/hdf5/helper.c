/* filterprune-hdf5: lists the datasets of an HDF5 file, for filterprune, which starts it.
 *
 * HDF5 is a format not ours to write again, and its library has a long history of faults in reading hostile files. So it
 * runs in a process of its own, which has one file open, may open no other, and can only write to a pipe. What goes wrong
 * here is one error line there. Standard input is not read; see wire.h for what is written. */
#include "hdf5/confine.h"
#include "hdf5/input.h"
#include "hdf5/wire.h"

#include "base/base.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK_BYTES (4u << 20)
#define ROW_MOST (256u << 20)       /* of a chunked dataset, along its first axis, in memory at once */
#define CONFIG_MOST (16u << 20)
#define GZIP_RATIO 1032u            /* deflate makes no more than that of a byte */
#define UNSTORED_MOST (1u << 20)    /* of a dataset whose chunks were never written: its fill value */

typedef struct listing {
    hid_t file;
    bool in_model;      /* model_weights is there: everything else is left out */
    bool allow_expand;
} listing;

/* ---------------------------------------------------------------- writing records */

static void put_all(const void *bytes, size_t n)
{
    for (const uint8_t *p = bytes; n;) {
        const ssize_t done = write(STDOUT_FILENO, p, n);
        if (done <= 0) _exit(1); /* whoever started us is gone */
        p += done, n -= (size_t)done;
    }
}

static void put_head(char kind, uint64_t bytes)
{
    uint8_t head[HDF5_RECORD_HEAD] = {(uint8_t)kind};
    base_store_le64(head + 1, bytes);
    put_all(head, sizeof head);
}

static void put_text(const char *text, size_t n)
{
    uint8_t length[4];
    base_store_le32(length, (uint32_t)n);
    put_all(length, sizeof length);
    put_all(text, n);
}

static _Noreturn void fail(const char *message)
{
    put_head(HDF5_ERROR, strlen(message));
    put_all(message, strlen(message));
    _exit(0);
}

static void skip(const char *name, const char *why)
{
    put_head(HDF5_SKIPPED, 4 + strlen(name) + strlen(why));
    put_text(name, strlen(name));
    put_all(why, strlen(why));
}

/* ---------------------------------------------------------------- attributes */

/* A scalar string, of fixed or variable length; NULL: there is none. free. */
static char *string_attribute(hid_t object, const char *name)
{
    if (H5Aexists(object, name) <= 0) return NULL;
    const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), type = attribute < 0 ? -1 : H5Aget_type(attribute);
    const hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    char *text = NULL;
    if (type >= 0 && H5Tget_class(type) == H5T_STRING && space >= 0 && H5Sget_simple_extent_npoints(space) == 1) {
        const size_t size = H5Tget_size(type);
        if (H5Tis_variable_str(type) > 0) {
            char *found = NULL;
            const hid_t memory = H5Tcopy(H5T_C_S1);
            H5Tset_size(memory, H5T_VARIABLE);
            H5Tset_cset(memory, H5Tget_cset(type));
            if (H5Aread(attribute, memory, &found) >= 0 && found) text = strdup(found);
            if (found) H5free_memory(found);
            H5Tclose(memory);
        } else if (size <= CONFIG_MOST && (text = calloc(1, size + 1)) && H5Aread(attribute, type, text) < 0) {
            free(text);
            text = NULL;
        }
    }
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return text;
}

/* ---------------------------------------------------------------- types */

/* Floats of 16 bits, which HDF5 1.10 has no names for: IEEE half, and bfloat16. */
static hid_t short_float(unsigned exponent_bits)
{
    const unsigned mantissa = 15 - exponent_bits;
    const hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, mantissa, exponent_bits, 0, mantissa);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, (1u << (exponent_bits - 1)) - 1);
    return t;
}

static bool same_but_for_order(hid_t type, hid_t le)
{
    const hid_t turned = H5Tcopy(type);
    if (turned < 0) return false;
    if (H5Tget_order(turned) == H5T_ORDER_BE) H5Tset_order(turned, H5T_ORDER_LE);
    const bool same = H5Tequal(turned, le) > 0;
    H5Tclose(turned);
    return same;
}

/* h5py's booleans: an enumeration over bytes of FALSE = 0 and TRUE = 1. */
static bool is_boolean(hid_t type)
{
    int8_t no = 1, yes = 0;
    return H5Tget_class(type) == H5T_ENUM && H5Tget_size(type) == 1 && H5Tget_nmembers(type) == 2 &&
           H5Tenum_valueof(type, "FALSE", &no) >= 0 && H5Tenum_valueof(type, "TRUE", &yes) >= 0 && no == 0 && yes == 1;
}

/* The dtype of a dataset, and the type its bytes have in memory; why not, where it has none. The type is the caller's. */
static const char *dtype_of(hid_t dataset, hid_t type, fpr_dtype *dtype, hid_t *memory)
{
    const struct { hid_t le; fpr_dtype dtype; } known[] = {
        {H5T_IEEE_F32LE, FPR_F32}, {H5T_IEEE_F64LE, FPR_F64}, {H5T_STD_I8LE, FPR_I8},   {H5T_STD_U8LE, FPR_U8},
        {H5T_STD_I16LE, FPR_I16},  {H5T_STD_U16LE, FPR_U16},  {H5T_STD_I32LE, FPR_I32}, {H5T_STD_U32LE, FPR_U32},
        {H5T_STD_I64LE, FPR_I64},  {H5T_STD_U64LE, FPR_U64},
    };
    *memory = -1;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (same_but_for_order(type, known[i].le)) {
            *dtype = known[i].dtype;
            *memory = H5Tcopy(known[i].le);
            return NULL;
        }
    for (unsigned exponent_bits = 5; exponent_bits <= 8; exponent_bits += 3) {
        const hid_t t = short_float(exponent_bits);
        if (same_but_for_order(type, t)) {
            *dtype = exponent_bits == 5 ? FPR_F16 : FPR_BF16;
            *memory = t;
            return NULL;
        }
        H5Tclose(t);
    }
    if (is_boolean(type)) {
        *dtype = FPR_BOOL;
        *memory = H5Tcopy(type);
        return NULL;
    }
    switch (H5Tget_class(type)) {
    case H5T_OPAQUE: {
        char *name = H5Tget_size(type) == 2 ? string_attribute(dataset, "dtype") : NULL;
        const bool bfloat = name && !strcmp(name, "bfloat16");
        free(name);
        if (!bfloat) return "opaque: its type is not told";
        *dtype = FPR_BF16;
        *memory = H5Tcopy(type);
        return NULL;
    }
    case H5T_STRING: return "text";
    case H5T_COMPOUND: return "compound";
    case H5T_FLOAT: return "floats of an unusual form";
    case H5T_INTEGER: return "integers of an unusual form";
    default: return "no array of numbers";
    }
}

/* ---------------------------------------------------------------- bytes */

/* Where dense bytes stand in the file as they are; HDF5_NO_OFFSET: nowhere. */
static uint64_t direct_offset(hid_t dataset, hid_t type, hid_t memory, uint64_t bytes)
{
    const hid_t plist = H5Dget_create_plist(dataset);
    const H5D_layout_t layout = plist < 0 ? H5D_LAYOUT_ERROR : H5Pget_layout(plist);
    const bool elsewhere = layout == H5D_VIRTUAL || (layout == H5D_CONTIGUOUS && H5Pget_external_count(plist) != 0);
    const bool contiguous = layout == H5D_CONTIGUOUS;
    if (plist >= 0) H5Pclose(plist);
    if (elsewhere) fail("has a dataset whose values stand in another file");
    if (!contiguous || !bytes || H5Tequal(type, memory) <= 0 || H5Dget_storage_size(dataset) != bytes) return HDF5_NO_OFFSET;
    const haddr_t at = H5Dget_offset(dataset);
    return at == HADDR_UNDEF ? HDF5_NO_OFFSET : at;
}

/* More than what is stored can explain would let a small file fill a disk. */
static void check_expansion(const listing *l, hid_t dataset, uint64_t bytes)
{
    const uint64_t stored = H5Dget_storage_size(dataset);
    if (l->allow_expand || bytes <= UNSTORED_MOST) return;
    if (bytes / GZIP_RATIO > stored) fail("has a dataset far larger than what is stored of it (--allow-expand takes it)");
}

/* In blocks along the first axis. */
static void put_data(hid_t dataset, hid_t memory, unsigned rank, const hsize_t *shape, uint64_t bytes)
{
    const uint64_t row = rank && shape[0] ? bytes / shape[0] : bytes;
    if (row > ROW_MOST) fail("has a chunked dataset with rows above 256 MiB");
    const uint64_t rows = rank ? shape[0] : 1, at_once = row >= BLOCK_BYTES ? 1 : BLOCK_BYTES / row;
    uint8_t *block = malloc((size_t)(row * at_once));
    if (!block) fail("needs more memory than the helper may take");
    const hid_t space = H5Dget_space(dataset);
    for (uint64_t r = 0; r < rows; r += at_once) {
        const uint64_t n = rows - r < at_once ? rows - r : at_once;
        hsize_t start[HDF5_RANK_MOST] = {r}, count[HDF5_RANK_MOST] = {n};
        for (unsigned d = 1; d < rank; d++) count[d] = shape[d];
        const hid_t part = H5Screate_simple((int)rank, count, NULL);
        if (rank) H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
        if (part < 0 || H5Dread(dataset, memory, part, space, H5P_DEFAULT, block) < 0)
            fail("has a dataset that cannot be read: damaged, or compressed by a filter that is not installed");
        H5Sclose(part);
        for (uint64_t done = 0; done < n * row; done += BLOCK_BYTES) {
            const uint64_t piece = n * row - done < BLOCK_BYTES ? n * row - done : BLOCK_BYTES;
            put_head(HDF5_DATA, piece);
            put_all(block + done, (size_t)piece);
        }
    }
    H5Sclose(space);
    free(block);
}

/* ---------------------------------------------------------------- datasets */

/* Keras: .../vars/0 belongs to the layer that the group's attribute names. */
static char *layer_of(const listing *l, const char *path)
{
    const char *last = strrchr(path, '/');
    const size_t n = last ? (size_t)(last - path) : 0;
    if (n < 4 || memcmp(path + n - 4, "vars", 4) || (n > 4 && path[n - 5] != '/')) return NULL;
    char *group = strndup(path, n), *name = NULL;
    const hid_t id = group ? H5Gopen2(l->file, group, H5P_DEFAULT) : -1;
    if (id >= 0) {
        name = string_attribute(id, "name");
        H5Gclose(id);
    }
    free(group);
    return name;
}

static bool numbers_of(hid_t dataset, unsigned *rank, hsize_t *shape, uint64_t *elements, const char **why)
{
    const hid_t space = H5Dget_space(dataset);
    const H5S_class_t kind = space < 0 ? H5S_NO_CLASS : H5Sget_simple_extent_type(space);
    const int dims = kind == H5S_NULL || kind == H5S_NO_CLASS ? -1 : H5Sget_simple_extent_ndims(space);
    *why = kind == H5S_NULL ? "has no space" : "its space is unknown";
    const bool good = dims >= 0 && dims <= HDF5_RANK_MOST && H5Sget_simple_extent_dims(space, shape, NULL) == dims;
    if (space >= 0) H5Sclose(space);
    *elements = 1;
    *rank = good ? (unsigned)dims : 0;
    for (unsigned d = 0; good && d < *rank; d++)
        if (shape[d] && *elements > (UINT64_C(1) << 60) / shape[d]) fail("has a dataset of more than 2^60 elements");
        else *elements *= shape[d];
    return good;
}

static void put_dataset(const listing *l, const char *path, hid_t dataset)
{
    hsize_t shape[HDF5_RANK_MOST];
    unsigned rank;
    uint64_t elements;
    const char *why;
    if (!numbers_of(dataset, &rank, shape, &elements, &why)) {
        skip(path, why);
        return;
    }
    fpr_dtype dtype = FPR_U8;
    hid_t memory;
    const hid_t type = H5Dget_type(dataset);
    why = dtype_of(dataset, type, &dtype, &memory);
    if (why) {
        skip(path, why);
        H5Tclose(type);
        return;
    }
    const uint64_t bytes = elements * H5Tget_size(memory), offset = direct_offset(dataset, type, memory, bytes);
    if (offset == HDF5_NO_OFFSET) check_expansion(l, dataset, bytes);
    char *layer = layer_of(l, path);
    const size_t layer_bytes = layer ? strlen(layer) : 0, name_bytes = strlen(path);
    uint8_t head[2] = {(uint8_t)dtype, (uint8_t)rank}, number[8];
    put_head(HDF5_TENSOR, sizeof head + 8 + 8 * (uint64_t)rank + 4 + name_bytes + 4 + layer_bytes);
    put_all(head, sizeof head);
    base_store_le64(number, offset);
    put_all(number, sizeof number);
    for (unsigned d = 0; d < rank; d++) {
        base_store_le64(number, shape[d]);
        put_all(number, sizeof number);
    }
    put_text(path, name_bytes);
    put_text(layer ? layer : "", layer_bytes);
    free(layer);
    if (offset == HDF5_NO_OFFSET && bytes) {
        put_data(dataset, memory, rank, shape, bytes);
    }
    H5Tclose(memory);
    H5Tclose(type);
}

static bool is_below(const char *path, const char *folder)
{
    const size_t n = strlen(folder);
    return !strncmp(path, folder, n) && (path[n] == '/' || !path[n]);
}

static herr_t visit(hid_t object, const char *path, const H5O_info_t *info, void *context)
{
    const listing *l = context;
    if (info->type != H5O_TYPE_DATASET) return 0;
    const bool optimizer = is_below(path, "optimizer") || is_below(path, "optimizer_weights") || is_below(path, "metrics");
    if (optimizer || (l->in_model && !is_below(path, "model_weights"))) {
        skip(path, optimizer ? "state of the optimizer or of metrics" : "outside of model_weights");
        return 0;
    }
    const hid_t dataset = H5Dopen2(object, path, H5P_DEFAULT);
    if (dataset < 0) fail("has a dataset that cannot be opened");
    put_dataset(l, path, dataset);
    H5Dclose(dataset);
    return 0;
}

int main(int argc, char **argv)
{
    listing l = {.allow_expand = argc > 3 && !strcmp(argv[3], HDF5_EXPAND)};
    if (argc < 3 || isatty(STDOUT_FILENO) || lseek(HDF5_INPUT_FD, 0, SEEK_CUR) < 0) {
        fputs("filterprune-hdf5 reads HDF5 files for filterprune, which starts it\n", stderr);
        return 2;
    }
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0); /* filters of strangers are not loaded */
    if (!hdf5_confine()) fail("cannot be read safely: this system has no seccomp filters");
    l.file = hdf5_open_input(HDF5_INPUT_FD, strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
    if (l.file < 0) fail("is no HDF5 file that the library can open");
    l.in_model = H5Lexists(l.file, "model_weights", H5P_DEFAULT) > 0;
    char *config = string_attribute(l.file, "model_config");
    if (config && strlen(config) <= CONFIG_MOST) {
        put_head(HDF5_CONFIG, strlen(config));
        put_all(config, strlen(config));
    }
    free(config);
    if (H5Ovisit2(l.file, H5_INDEX_NAME, H5_ITER_INC, visit, &l, H5O_INFO_BASIC) < 0)
        fail("has groups or datasets that cannot be read");
    put_head(HDF5_END, 0);
    _exit(0); /* nothing is left to be closed in order */
}

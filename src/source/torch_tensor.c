/* A tensor of a pickle: which call makes it, of which storage, with which sizes and strides. */
#include "source/torch.h"

#include <stdlib.h>

typedef enum call_kind {
    CALL_STRIDED,   /* storage, offset, sizes, strides, ... */
    CALL_AROUND,    /* the first argument is a tensor */
    CALL_BY_TYPE,   /* function, type, arguments, state: the function's call */
    CALL_SKIPPED
} call_kind;

/* The functions and classes of torch._utils, torch._tensor and torch.nn.parameter whose calls are tensors. */
static const struct call {
    const char *name;
    call_kind kind;
    uint8_t least;      /* arguments */
    uint8_t dtype;      /* which argument is the dtype; 0: the storage's */
    uint8_t flags;      /* which one may be a dictionary of pending flags; 0: none */
    const char *why;
} calls[] = {
    {"_rebuild_tensor", CALL_STRIDED, 4, 0, 0, NULL},
    {"_rebuild_tensor_v2", CALL_STRIDED, 6, 0, 6, NULL},
    {"_rebuild_tensor_v3", CALL_STRIDED, 7, 6, 7, NULL},
    {"_rebuild_parameter", CALL_AROUND, 1, 0, 0, NULL},
    {"_rebuild_parameter_with_state", CALL_AROUND, 1, 0, 0, NULL},
    {"_rebuild_device_tensor_from_cpu_tensor", CALL_AROUND, 1, 0, 0, NULL},
    {"Parameter", CALL_AROUND, 1, 0, 0, NULL},
    {"Variable", CALL_AROUND, 1, 0, 0, NULL},
    {"_rebuild_from_type", CALL_BY_TYPE, 3, 0, 0, NULL},
    {"_rebuild_from_type_v2", CALL_BY_TYPE, 3, 0, 0, NULL},
    {"_rebuild_sparse_tensor", CALL_SKIPPED, 0, 0, 0, "sparse"},
    {"_rebuild_sparse_csr_tensor", CALL_SKIPPED, 0, 0, 0, "sparse"},
    {"_rebuild_qtensor", CALL_SKIPPED, 0, 0, 0, "quantized"},
    {"_rebuild_nested_tensor", CALL_SKIPPED, 0, 0, 0, "nested"},
    {"_rebuild_meta_tensor_no_storage", CALL_SKIPPED, 0, 0, 0, "meta (no data)"},
    {"_rebuild_wrapper_subclass", CALL_SKIPPED, 0, 0, 0, "a tensor class of its own (no data)"},
    {"_rebuild_device_tensor_from_numpy", CALL_SKIPPED, 0, 0, 0, "kept as a numpy array"},
    {"_rebuild_xla_tensor", CALL_SKIPPED, 0, 0, 0, "kept as a numpy array"},
    {"UninitializedParameter", CALL_SKIPPED, 0, 0, 0, "not initialized (no data)"},
    {"UninitializedBuffer", CALL_SKIPPED, 0, 0, 0, "not initialized (no data)"},
};

/* Element types by PyTorch's two names for each: of a storage class and of a dtype. */
static const struct type {
    const char *storage, *dtype;
    unsigned bytes;
    fpr_dtype as;
    const char *why;
} types[] = {
    {"FloatStorage", "float32", 4, FPR_F32, NULL},
    {"DoubleStorage", "float64", 8, FPR_F64, NULL},
    {"HalfStorage", "float16", 2, FPR_F16, NULL},
    {"BFloat16Storage", "bfloat16", 2, FPR_BF16, NULL},
    {"LongStorage", "int64", 8, FPR_I64, NULL},
    {"IntStorage", "int32", 4, FPR_I32, NULL},
    {"ShortStorage", "int16", 2, FPR_I16, NULL},
    {"CharStorage", "int8", 1, FPR_I8, NULL},
    {"ByteStorage", "uint8", 1, FPR_U8, NULL},
    {"BoolStorage", "bool", 1, FPR_BOOL, NULL},
    {"ComplexFloatStorage", "complex64", 8, FPR_C64, NULL},
    {"ComplexDoubleStorage", "complex128", 16, FPR_U8, "complex128"},
    {"ComplexHalfStorage", "complex32", 4, FPR_U8, "complex32"},
    {"QInt8Storage", "qint8", 1, FPR_U8, "quantized"},
    {"QUInt8Storage", "quint8", 1, FPR_U8, "quantized"},
    {"QInt32Storage", "qint32", 4, FPR_U8, "quantized"},
    {"QUInt4x2Storage", "quint4x2", 1, FPR_U8, "quantized"},
    {"QUInt2x4Storage", "quint2x4", 1, FPR_U8, "quantized"},
    {"UntypedStorage", "", 1, FPR_U8, "bytes without a type"},
    {"_UntypedStorage", "", 1, FPR_U8, "bytes without a type"},
    {"", "uint16", 2, FPR_U16, NULL},
    {"", "uint32", 4, FPR_U32, NULL},
    {"", "uint64", 8, FPR_U64, NULL},
    {"", "float8_e4m3fn", 1, FPR_F8_E4M3, NULL},
    {"", "float8_e5m2", 1, FPR_F8_E5M2, NULL},
    {"", "float8_e4m3fnuz", 1, FPR_F8_E4M3FNUZ, NULL},
    {"", "float8_e5m2fnuz", 1, FPR_F8_E5M2FNUZ, NULL},
    {"", "float8_e8m0fnu", 1, FPR_F8_E8M0, NULL},
    {"", "float4_e2m1fn_x2", 1, FPR_U8, "of a 4-bit type"},
    {"", "float", 4, FPR_F32, NULL},
    {"", "double", 8, FPR_F64, NULL},
    {"", "half", 2, FPR_F16, NULL},
    {"", "long", 8, FPR_I64, NULL},
    {"", "int", 4, FPR_I32, NULL},
    {"", "short", 2, FPR_I16, NULL},
    {"", "cfloat", 8, FPR_C64, NULL},
    {"", "cdouble", 16, FPR_U8, "complex128"},
    {"", "chalf", 4, FPR_U8, "complex32"},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static fpr_status bad(fpr_error *error, const char *what) { return base_fail(error, FPR_BAD_HEADER, "a tensor %s", what); }

static const struct call *find_call(const pickle *p, pickle_ref v)
{
    const char *module, *name;
    if (!pickle_names(p, v, &module, &name) || strncmp(module, "torch", 5) != 0) return NULL;
    for (size_t i = 0; i < COUNT(calls); i++)
        if (!strcmp(calls[i].name, name)) return &calls[i];
    return NULL;
}

bool torch_is_tensor(const pickle *p, pickle_ref v)
{
    return pickle_kind_of(p, v) == PICKLE_OBJECT && find_call(p, v) != NULL;
}

static const struct type *find_type(const pickle *p, pickle_ref v, bool storage)
{
    const char *module, *name;
    if (pickle_kind_of(p, v) != PICKLE_CLASS || !pickle_names(p, v, &module, &name)) return NULL;
    if (strncmp(module, "torch", 5) != 0) return NULL;
    for (size_t i = 0; i < COUNT(types); i++)
        if (!strcmp(storage ? types[i].storage : types[i].dtype, name) && *name) return &types[i];
    return NULL;
}

/* ---------------------------------------------------------------- storages */

/* The parts of a persistent id. */
typedef struct id_parts {
    pickle_ref type, key, location, view;
    uint64_t count;
} id_parts;

static fpr_status read_id(const pickle *p, pickle_ref v, id_parts *id, fpr_error *error)
{
    if (pickle_kind_of(p, v) != PICKLE_PERSISTENT) return bad(error, "has a storage that is none");
    const pickle_ref parts = p->nodes[v].a;
    int64_t count;
    if (pickle_count(p, parts) < 5 || !pickle_text_is(p, pickle_item(p, parts, 0), "storage"))
        return bad(error, "has a storage without key and size");
    *id = (id_parts){pickle_item(p, parts, 1), pickle_item(p, parts, 2), pickle_item(p, parts, 3),
                     pickle_item(p, parts, 5), 0};
    if (pickle_kind_of(p, id->type) != PICKLE_CLASS) return bad(error, "has a storage of no type");
    if (!pickle_text(p, id->key, NULL)) return bad(error, "has a storage whose key is no text");
    if (!pickle_integer(p, pickle_item(p, parts, 4), &count) || count < 0)
        return bad(error, "has a storage of no size");
    id->count = (uint64_t)count;
    return FPR_OK;
}

static int compare_key(const torch_legacy_storage *s, const char *key, size_t bytes)
{
    const size_t n = s->key_bytes < bytes ? s->key_bytes : bytes;
    const int c = memcmp(s->key, key, n);
    return c ? c : (s->key_bytes > bytes) - (s->key_bytes < bytes);
}

int torch_legacy_order(const void *a, const void *b)
{
    const torch_legacy_storage *right = b;
    return compare_key(a, right->key, right->key_bytes);
}

const torch_legacy_storage *torch_legacy_find(const torch_file *t, const char *key, size_t bytes)
{
    const torch_legacy_storage wanted = {.key = key, .key_bytes = bytes};
    if (!t->storages) return NULL;
    return bsearch(&wanted, t->storages, t->storage_count, sizeof wanted, torch_legacy_order);
}

fpr_status torch_storage_type(const pickle *p, pickle_ref v, unsigned *element, fpr_dtype *dtype, const char **why,
                              uint64_t *count, fpr_error *error)
{
    id_parts id;
    const fpr_status status = read_id(p, v, &id, error);
    if (status) return status;
    const struct type *type = find_type(p, id.type, true);
    if (!type) return bad(error, "has a storage of a type that is not known");
    *element = type->bytes;
    *dtype = type->as;
    *why = pickle_text_is(p, id.location, "meta") ? "meta (no data)" : type->why;
    *count = id.count;
    return FPR_OK;
}

/* The storage by its key; a record that is longer than the id says is cut. */
static fpr_status find_storage(const torch_file *t, const id_parts *id, uint64_t bytes, torch_storage *out,
                               fpr_error *error)
{
    size_t key_bytes;
    const char *key = pickle_text(&t->pickle, id->key, &key_bytes);
    if (!t->zip) {
        const torch_legacy_storage *s = torch_legacy_find(t, key, key_bytes);
        if (!s || !s->found) return base_fail(error, FPR_BAD_HEADER, "the storage \"%.100s\" of a tensor is missing", key);
        *out = (torch_storage){NULL, s->offset, bytes};
        return FPR_OK;
    }
    const size_t folder = strlen(t->folder), n = t->prefix_bytes + folder + key_bytes;
    char *name = base_alloc(n, 1);
    if (!name) return base_no_memory(error, n);
    memcpy(name, t->prefix, t->prefix_bytes);
    memcpy(name + t->prefix_bytes, t->folder, folder);
    memcpy(name + t->prefix_bytes + folder, key, key_bytes);
    const zip_member *m = zip_find(t->zip, name, n);
    base_free(name);
    if (!m) return base_fail(error, FPR_BAD_HEADER, "the storage \"%.100s\" of a tensor is missing", key);
    if (m->size < bytes)
        return base_fail(error, FPR_BAD_HEADER, "the storage \"%.100s\" has %llu bytes, %llu are needed", key,
                         (unsigned long long)m->size, (unsigned long long)bytes);
    *out = (torch_storage){m, m->data, bytes};
    return FPR_OK;
}

/* A storage of the older format may be a part of another: (key, offset, size), in elements. */
static fpr_status narrow(const pickle *p, const id_parts *id, unsigned element, torch_storage *s, fpr_error *error)
{
    if (pickle_kind_of(p, id->view) == PICKLE_NONE) return FPR_OK;
    int64_t offset, size;
    uint64_t first, bytes;
    if (pickle_count(p, id->view) != 3 || !pickle_integer(p, pickle_item(p, id->view, 1), &offset) ||
        !pickle_integer(p, pickle_item(p, id->view, 2), &size) || offset < 0 || size < 0 ||
        !base_multiply((uint64_t)offset, element, &first) || !base_multiply((uint64_t)size, element, &bytes) ||
        first > s->bytes || bytes > s->bytes - first)
        return bad(error, "has a part of a storage that does not lie in it");
    s->offset += first;
    s->bytes = bytes;
    return FPR_OK;
}

/* ---------------------------------------------------------------- sizes */

/* Numbers of 0 and more. */
static fpr_status read_numbers(const pickle *p, pickle_ref v, uint64_t *numbers, unsigned *count, fpr_error *error)
{
    if (pickle_is_called(p, v, "torch", "Size")) v = pickle_item(p, pickle_arguments(p, v), 0);
    if (pickle_kind_of(p, v) != PICKLE_TUPLE && pickle_kind_of(p, v) != PICKLE_LIST)
        return bad(error, "has sizes or strides that are no tuple");
    if (pickle_count(p, v) > DENSE_RANK_MOST) return bad(error, "has more than 64 axes");
    *count = 0;
    for (uint32_t cell = pickle_first(p, v); cell; cell = p->cells[cell].next) {
        int64_t n;
        if (!pickle_integer(p, p->cells[cell].value, &n) || n < 0) return bad(error, "has a size or stride that is none");
        numbers[(*count)++] = (uint64_t)n;
    }
    return FPR_OK;
}

/* The tensor lies within its storage. */
static fpr_status check_place(torch_tensor *x, uint64_t offset, fpr_error *error)
{
    uint64_t span, end;
    x->elements = 1;
    for (unsigned d = 0; d < x->view.rank; d++)
        if (!base_multiply(x->elements, x->view.shape[d], &x->elements)) return bad(error, "has sizes that overflow");
    if (!base_multiply(x->elements, x->view.element, &x->bytes) || x->bytes > INT64_MAX ||
        !base_multiply(offset, x->view.element, &x->view.offset))
        return bad(error, "has sizes that overflow");
    if (!x->elements) {
        x->view.offset = 0;
        return FPR_OK;
    }
    if (!dense_span(&x->view, &span) || !base_add(span, offset, &end) || !base_multiply(end, x->view.element, &end) ||
        end > x->storage.bytes)
        return base_fail(error, FPR_BAD_HEADER, "a tensor reaches beyond its storage of %llu bytes",
                         (unsigned long long)x->storage.bytes);
    return FPR_OK;
}

/* ---------------------------------------------------------------- calls */

/* Stands for a class of tensors that is not PyTorch's own, or keeps its values elsewhere: jagged ones, those of torchao. */
static const struct call foreign = {"", CALL_SKIPPED, 0, 0, 0, "a tensor class of its own"};

static const struct call *inner_call(const pickle *p, pickle_ref v, bool is_function)
{
    const struct call *call = find_call(p, v);
    return call || pickle_kind_of(p, v) != (is_function ? PICKLE_CLASS : PICKLE_OBJECT) ? call : &foreign;
}

/* The call that counts, with its arguments: those around it are passed through. */
static fpr_status find_inner(const pickle *p, pickle_ref v, const struct call **call, pickle_ref *arguments,
                             fpr_error *error)
{
    *call = find_call(p, v);
    *arguments = pickle_arguments(p, v);
    for (unsigned depth = 0; depth < 16; depth++) {
        if (!*call) return bad(error, "is made of what is no tensor");
        if (pickle_count(p, *arguments) < (*call)->least) return bad(error, "is made with too few arguments");
        if ((*call)->kind == CALL_AROUND) {
            const pickle_ref inner = pickle_item(p, *arguments, 0);
            *call = inner_call(p, pickle_kind_of(p, inner) == PICKLE_OBJECT ? inner : PICKLE_ABSENT, false);
            *arguments = pickle_arguments(p, inner);
        } else if ((*call)->kind == CALL_BY_TYPE) {
            *call = inner_call(p, pickle_item(p, *arguments, 0), true);
            *arguments = pickle_item(p, *arguments, 2);
        } else {
            return FPR_OK;
        }
    }
    return bad(error, "is wrapped too often");
}

static bool is_whole(fpr_dtype dtype)
{
    return dtype == FPR_U8 || dtype == FPR_I8 || dtype == FPR_I16 || dtype == FPR_U16 || dtype == FPR_I32 ||
           dtype == FPR_U32 || dtype == FPR_I64 || dtype == FPR_U64 || dtype == FPR_BOOL;
}

static fpr_status describe(const torch_file *t, const struct call *call, pickle_ref arguments, torch_tensor *x,
                           uint64_t *shape, uint64_t *stride, fpr_error *error)
{
    const pickle *p = &t->pickle;
    const pickle_ref storage = pickle_item(p, arguments, 0);
    id_parts id;
    unsigned element;
    uint64_t count, bytes;
    fpr_status status = read_id(p, storage, &id, error);
    if (!status) status = torch_storage_type(p, storage, &element, &x->dtype, &x->why, &count, error);
    if (status) return status;
    if (!base_multiply(count, element, &bytes)) return bad(error, "has a storage whose size overflows");
    x->view.element = element;
    if (call->dtype) {
        const struct type *type = find_type(p, pickle_item(p, arguments, call->dtype), false);
        if (!type) {
            x->why = "of a type that is not known";
            return FPR_OK;
        }
        x->why = x->why && !strncmp(x->why, "meta", 4) ? x->why : type->why;
        x->view.element = type->bytes;
        x->dtype = type->as;
    }
    if (x->why && !strncmp(x->why, "meta", 4)) return FPR_OK;
    status = find_storage(t, &id, bytes, &x->storage, error);
    if (!status) status = narrow(p, &id, element, &x->storage, error);
    unsigned strides;
    if (!status) status = read_numbers(p, pickle_item(p, arguments, 2), shape, &x->view.rank, error);
    if (!status) status = read_numbers(p, pickle_item(p, arguments, 3), stride, &strides, error);
    if (status) return status;
    if (strides != x->view.rank) return bad(error, "has another number of strides than of sizes");
    int64_t offset;
    if (!pickle_integer(p, pickle_item(p, arguments, 1), &offset) || offset < 0) return bad(error, "has no offset");
    return check_place(x, (uint64_t)offset, error);
}

static void read_flags(const torch_file *t, const struct call *call, pickle_ref arguments, torch_tensor *x)
{
    const pickle *p = &t->pickle;
    const pickle_ref flags = call->flags ? pickle_item(p, arguments, call->flags) : PICKLE_ABSENT;
    const bool complex = x->dtype == FPR_C64;
    x->view.unit = complex ? 4 : x->view.element;
    x->view.whole = is_whole(x->dtype);
    x->view.swap = t->big_endian;
    x->view.negative = pickle_kind_of(p, pickle_get(p, flags, "neg")) == PICKLE_TRUE;
    x->view.conjugate = complex && pickle_kind_of(p, pickle_get(p, flags, "conj")) == PICKLE_TRUE;
}

fpr_status torch_describe(const torch_file *t, pickle_ref v, torch_tensor *out, uint64_t *shape, uint64_t *stride,
                          fpr_error *error)
{
    const struct call *call;
    pickle_ref arguments;
    *out = (torch_tensor){.view = {.shape = shape, .stride = stride}};
    fpr_status status = find_inner(&t->pickle, v, &call, &arguments, error);
    if (status) return status;
    if (call->kind == CALL_SKIPPED) {
        out->why = call->why;
        return FPR_OK;
    }
    status = describe(t, call, arguments, out, shape, stride, error);
    if (!status && !out->why) read_flags(t, call, arguments, out);
    return status;
}

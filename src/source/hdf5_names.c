/* What Keras calls the layers of a model, and what kinds they are. */
#include "source/hdf5.h"

#include <ctype.h>
#include <stdlib.h>

static int by_name(const void *a, const void *b)
{
    const struct hdf5_class *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The value after this one in the order of the text, without recursion. */
static const file_value *next_of(const file_value *v)
{
    if ((v->kind == FILE_OBJECT || v->kind == FILE_ARRAY) && v->first) return v->first;
    while (v && !v->next) v = v->parent;
    return v ? v->next : NULL;
}

fpr_status hdf5_classes_read(const char *json, size_t bytes, hdf5_classes *classes, fpr_error *error)
{
    *classes = (hdf5_classes){0};
    fpr_error wrong = {.status = FPR_OK};
    const fpr_status status = file_tree_read(json, bytes, false, FPR_BAD_HEADER, &classes->tree, &wrong);
    if (status == FPR_NO_MEMORY) return base_no_memory(error, bytes);
    if (status) return FPR_OK;
    size_t most = 0;
    for (const file_value *v = classes->tree.root; v; v = next_of(v)) most += v->kind == FILE_OBJECT;
    classes->list = base_alloc(most, sizeof *classes->list);
    if (!classes->list) return base_no_memory(error, most * sizeof *classes->list);
    for (const file_value *v = classes->tree.root; v; v = next_of(v)) {
        const char *class_name = file_value_text(file_value_get(v, "class_name"));
        const char *name = file_value_text(file_value_get(file_value_get(v, "config"), "name"));
        if (class_name && name) classes->list[classes->count++] = (struct hdf5_class){name, class_name};
    }
    qsort(classes->list, classes->count, sizeof *classes->list, by_name);
    return FPR_OK;
}

void hdf5_classes_free(hdf5_classes *classes)
{
    file_tree_free(&classes->tree);
    base_free(classes->list);
    *classes = (hdf5_classes){0};
}

const char *hdf5_class_of(const hdf5_classes *classes, const char *name, size_t bytes)
{
    size_t low = 0, high = classes->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strncmp(classes->list[middle].name, name, bytes);
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    const struct hdf5_class *c = low < classes->count ? &classes->list[low] : NULL;
    return c && !strncmp(c->name, name, bytes) && !c->name[bytes] ? c->class_name : NULL;
}

source_kind hdf5_kind_of_class(const char *name, size_t bytes)
{
    static const struct { const char *word; source_kind kind; } kinds[] = {
        {"conv1d", SOURCE_KIND_CONV}, {"conv2d", SOURCE_KIND_CONV}, {"conv3d", SOURCE_KIND_CONV},
        {"convolution1d", SOURCE_KIND_CONV}, {"convolution2d", SOURCE_KIND_CONV}, {"convolution3d", SOURCE_KIND_CONV},
        {"conv1dtranspose", SOURCE_KIND_TRANSPOSED}, {"conv2dtranspose", SOURCE_KIND_TRANSPOSED},
        {"conv3dtranspose", SOURCE_KIND_TRANSPOSED},
        {"depthwiseconv1d", SOURCE_KIND_DEPTHWISE}, {"depthwiseconv2d", SOURCE_KIND_DEPTHWISE},
        {"separableconv1d", SOURCE_KIND_SEPARABLE}, {"separableconv2d", SOURCE_KIND_SEPARABLE},
    };
    char word[32];
    size_t n = 0;
    /* The number that makes a group's name unique. */
    size_t end = bytes;
    while (end > 0 && isdigit((unsigned char)name[end - 1])) end--;
    if (end > 0 && end < bytes && name[end - 1] == '_') bytes = end - 1;
    for (size_t i = 0; i < bytes; i++) {
        if (name[i] == '_') continue;
        if (n + 1 >= sizeof word) return SOURCE_KIND_OTHER;
        word[n++] = (char)tolower((unsigned char)name[i]);
    }
    word[n] = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(word, kinds[i].word)) return kinds[i].kind;
    return SOURCE_KIND_OTHER;
}

/* Files that hold the data of tensors: only regular ones beside or below the model. */
#include "onnx/inner.h"

#include <limits.h>

/* A path that stays below its folder by its spelling alone; links on the way are refused where it is opened. */
static bool stays_below(const onnx_text *location)
{
    const char *p = location->text;
    if (!location->bytes || strlen(p) != location->bytes || *p == '/') return false;
    while (*p) {
        size_t part = strcspn(p, "/");
        if (part == 2 && p[0] == '.' && p[1] == '.') return false;
        p += part + (p[part] == '/');
    }
    return true;
}

bool onnx_open_external(onnx_building *b, onnx_name location, uint64_t at, uint32_t *index)
{
    const onnx_text *text = &b->names.list[location];
    const onnx_name *known = b->locations.items;
    /* Tensors of one file follow each other; the last one is looked at first. */
    for (size_t i = b->locations.count; i-- > 0;) {
        if (known[i] != location) continue;
        *index = (uint32_t)i + 1;
        return true;
    }
    if (!stays_below(text))
        return wire_fail(&b->w, at, "external data at \"%.80s\": not a path beside or below the model", text->text);
    const char *path = file_source_path(((file_source **)b->files.items)[0]), *slash = strrchr(path, '/');
    file_source *file;
    fpr_status status = file_source_open_below(path, slash ? (size_t)(slash - path) : 0, text->text, &file, b->error);
    if (status) {
        b->w.status = status;
        return false;
    }
    file_source **place = onnx_append(&b->files, sizeof file);
    onnx_name *name = place ? onnx_append(&b->locations, sizeof *name) : NULL;
    if (place) *place = file;
    if (!name) {
        if (!place) file_source_close(file);
        return onnx_building_failed(b);
    }
    *name = location;
    *index = (uint32_t)b->files.count - 1;
    return true;
}

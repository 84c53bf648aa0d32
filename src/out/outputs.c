/* What stands around the output of a job: where its files go, what is refused, the index of a sharded one, hashes. */
#include "out/out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where the shards of an output go: OUTPUT itself, or OUTPUT/NAME. */
char *output_shard_path(const fpr_model *model, size_t shard, const char *output)
{
    if (!output) return NULL;
    if (!model_is_index(model)) return base_copy_text(output, strlen(output));
    return base_join_path(output, model_shard_name(model, shard));
}

static char *index_path(const fpr_model *model, const char *output) { return base_join_path(output, model_index_name(model)); }

/* Refuses what must not be written before any work is done. */
fpr_status output_check(const fpr_model *model, const char *output, const fpr_options *o, fpr_error *error)
{
    if (!output) return o->dry_run ? FPR_OK : base_fail(error, FPR_USAGE, "an output is missing");
    fpr_status status = FPR_OK;
    struct stat info;
    for (size_t s = 0; !status && s < fpr_model_shard_count(model) + model_is_index(model); s++) {
        char *path = s < fpr_model_shard_count(model) ? output_shard_path(model, s, output) : index_path(model, output);
        if (!path) return base_no_memory(error, strlen(output));
        if (model_is_file(model, path))
            status = base_fail(error, FPR_SAME_FILE, "the output is the input");
        else if (!o->dry_run && !o->force && lstat(path, &info) == 0)
            status = base_fail(error, FPR_EXISTS, "exists (--force overwrites)");
        if (status) base_error_in_file(error, path);
        base_free(path);
    }
    return status;
}

/* ---------------------------------------------------------------- the index of a sharded output */

/* Takes the members out that are no strings any more. */
static void remove_dropped(file_value *map)
{
    file_value **link = &map->first;
    for (file_value *v = map->first; v; v = v->next) {
        if (v->kind != FILE_STRING) continue;
        *link = v;
        link = &v->next;
    }
    *link = NULL;
}

/* The member of that key; `fresh`, put at the end, where there is none. */
static file_value *member(file_value *object, const char *key, file_value *fresh)
{
    file_value *v = file_value_get(object, key), **link = &object->first;
    if (v) return v;
    while (*link) link = &(*link)->next;
    fresh->key = key;
    fresh->parent = object;
    return *link = fresh;
}

static void remove_member(file_value *object, const char *key)
{
    const file_value *v = file_value_get(object, key);
    file_value **link = &object->first;
    while (v && *link && *link != v) link = &(*link)->next;
    if (v && *link) *link = v->next;
}

/* The member that says which output the shards are of. */
static void put_set(file_value *metadata, const char *set, file_value *fresh)
{
    if (!set) {
        remove_member(metadata, SOURCE_INDEX_SET);
        return;
    }
    file_value *v = member(metadata, SOURCE_INDEX_SET, fresh);
    v->kind = FILE_STRING;
    v->text = set;
    v->bytes = strlen(set);
}

static void rename_shard(const fpr_model *model, size_t tensor, file_value *map)
{
    const fpr_tensor *t = model_tensor(model, tensor);
    file_value *v = file_value_get(map, t->name);
    v->text = model_shard_name(model, t->shard);
    v->bytes = strlen(v->text);
}

fpr_status output_index_text(const fpr_model *model, const writer_tensor *tensors, const char *set, file_text *text,
                             fpr_error *error)
{
    file_tree tree;
    size_t bytes;
    const char *index = model_index_text(model, &bytes);
    fpr_status status = file_tree_read(index, bytes, true, FPR_BAD_INDEX, &tree, error);
    if (status) return status;
    file_value fresh_metadata = {0}, fresh_size = {0}, fresh_set = {0};
    file_value *map = file_value_get(tree.root, "weight_map"); /* an object: that it is was seen at the opening */
    uint64_t total = 0;
    for (size_t i = 0; i < fpr_model_tensor_count(model); i++) {
        file_value *dropped = tensors && tensors[i].dropped ? file_value_get(map, tensors[i].source->name) : NULL;
        if (model_renames(model)) rename_shard(model, i, map);
        if (dropped) dropped->kind = FILE_NULL;
        else total += tensors ? tensors[i].stored : model_tensor(model, i)->bytes;
    }
    remove_dropped(map);
    file_value *metadata = member(tree.root, "metadata", &fresh_metadata);
    if (metadata->kind != FILE_OBJECT) {
        metadata->kind = FILE_OBJECT;
        metadata->first = NULL;
        metadata->count = 0;
    }
    file_value *size = member(metadata, "total_size", &fresh_size);
    char digits[24];
    size->kind = FILE_INTEGER;
    size->text = digits;
    size->bytes = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, total);
    put_set(metadata, set, &fresh_set);
    file_text_value(text, tree.root);
    file_text_add(text, "\n", 1);
    file_tree_free(&tree);
    return text->failed ? base_no_memory(error, text->capacity) : FPR_OK;
}

/* What only the files of this room see of a model. */
#ifndef FPR_MODEL_INSIDE_H
#define FPR_MODEL_INSIDE_H

#include "model/model.h"
#include "source/source.h"

typedef struct model_shard {
    char *path, *name;         /* name: as the index has it; NULL when the model is one file */
    char *output_name;         /* of what is made of it, where that is another; else NULL */
    source *source;
    size_t first;              /* its first tensor in the model */
    size_t first_file;         /* its first file in the model */
    size_t *number;            /* [tensors] the source's number of each tensor; NULL: the same */
    uint32_t *order;           /* [tensors] header order where the source has none */
    file_metadata *metadata;   /* of the source, without our own key */
    size_t metadata_count;
} model_shard;

/* Memory for batches, kept from sweep to sweep: fresh pages are dear. */
typedef struct model_buffer {
    uint8_t *bytes;
    uint64_t capacity;
} model_buffer;

struct fpr_model {
    char *path;
    model_shard *shards;
    size_t shard_count;
    bool is_index;
    file_source *index_file;   /* for is_index */
    char *index_text;          /* what it says */
    size_t index_bytes;
    char *output_index;        /* as output_name */
    fpr_tensor *tensors;       /* data order, shard after shard */
    size_t tensor_count;
    size_t *by_name;           /* tensor numbers sorted by name */
    uint64_t bytes;
    const file_source **files; /* shard after shard */
    size_t file_count;
    conv_role *roles;          /* [tensor_count] */
    fpr_layout layout;
    conv_evidence layout_by;
    model_buffer *buffers;     /* [2], of the job that owns the model */
};

/* folder.c. *found: the checkpoint in the folder at path, base_free; NULL: path is no folder. FPR_BAD_HEADER when none is in
 * it, FPR_USAGE when several are. */
fpr_status model_find_in_folder(const char *path, char **found, fpr_error *error);

static inline size_t model_source_number(const model_shard *shard, size_t in_shard)
{
    return shard->number ? shard->number[in_shard] : in_shard;
}

static inline const source_tensor *model_source_of(const fpr_model *m, size_t index)
{
    const model_shard *shard = &m->shards[m->tensors[index].shard];
    return &shard->source->tensors[model_source_number(shard, index - shard->first)];
}

#endif

/* Bytes in, bytes out, and the rules of safetensors.
 *
 * Refuses to know statistics, packing, or what a convolution is. Called by job/ (and by tests). */
#ifndef FPR_FILE_H
#define FPR_FILE_H

#include "base/base.h"

/* ---- dtype.c: names and sizes are in the public header */

/* The dtype of that name, exactly as the reference spells it; false when there is none. */
bool file_dtype_find(const char *name, size_t bytes, fpr_dtype *dtype);

/* ---- source.c: a regular file, read-only, by positioned reads (truncation of a mapping would raise SIGBUS) */

typedef struct file_source file_source;

/* Follows symbolic links; refuses whatever is not a regular file (FPR_IO), without blocking on a fifo. */
fpr_status file_source_open(const char *path, file_source **source, fpr_error *error);
/* The file `location` of a folder, the first folder_bytes of path (none: the folder that a bare name is in). No link is
 * followed that leads out of the folder; where the kernel cannot promise that, none at all. FPR_BAD_HEADER for what is
 * missing, leads out, or is not a regular file. location is relative and holds no "..". */
fpr_status file_source_open_below(const char *path, size_t folder_bytes, const char *location, file_source **source,
                                  fpr_error *error);
void file_source_close(file_source *source); /* NULL allowed */
uint64_t file_source_size(const file_source *source);
const char *file_source_path(const file_source *source);
/* All count bytes or an error: FPR_CHANGED when the file has become shorter. Threads may read at the same time. */
fpr_status file_source_read(const file_source *source, uint64_t offset, void *dst, uint64_t count, fpr_error *error);
/* copy_file_range(2) to another file: *sent as it returns, *problem is then errno. */
fpr_status file_source_send(const file_source *source, uint64_t from, uint64_t count, int to_fd, uint64_t to, int64_t *sent,
                            int *problem, fpr_error *error);
/* FPR_CHANGED when size or modification time are no longer those of the opening. */
fpr_status file_source_check(const file_source *source, fpr_error *error);
/* A number that is another one for another file, or for the same one at another size or modification time. */
uint64_t file_source_stamp(const file_source *source);
/* Whether path names the same file as the source (device and inode), also by link. false when path does not exist. */
bool file_source_is(const file_source *source, const char *path);

/* ---- safetensors_read.c: the header, strictly by the format
 * u64 length N (at most 100,000,000), N bytes of JSON that begin with '{', then the data, to the end of the file. */

#define FILE_HEADER_MAX 100000000u

typedef struct file_tensor {
    const char *name; /* decoded UTF-8, NUL-terminated, may hold NUL bytes */
    size_t name_bytes;
    fpr_dtype dtype;
    unsigned rank;
    const uint64_t *shape; /* [rank] */
    uint64_t elements;
    uint64_t begin, end; /* offsets in the data section */
} file_tensor;

typedef struct file_metadata {
    const char *key, *value; /* decoded, NUL-terminated */
    size_t key_bytes, value_bytes;
} file_metadata;

typedef struct file_header {
    file_tensor *tensors;   /* in the order of their data: by begin, then end, then place in the header */
    uint32_t *header_order; /* [tensor_count] header_order[i]: the tensor that the i-th entry of the header names */
    size_t tensor_count;
    file_metadata *metadata; /* in file order */
    size_t metadata_count;
    bool has_metadata;      /* __metadata__ was there (perhaps empty) */
    uint64_t header_bytes;  /* N */
    uint64_t data_begin;    /* 8 + N */
    uint64_t data_bytes;
    void *memory;           /* owns all of the above */
} file_header;

/* Validates everything once, so that later code needs no check of its own: JSON strictly (RFC 8259, depth bounded,
 * trailing white space only), no duplicate keys after unescaping, integers as integers, sizes without overflow, known
 * dtypes, sub-byte tensors that fill whole bytes, offsets without hole or overlap, exact end of file. Memory is bounded
 * by a small multiple of n, time is linear. data_bytes < 2^63, as of any file. The dimensions are multiplied in order:
 * after one of 0 the others may have any value. Errors carry the byte offset and the tensor's name. */
fpr_status file_header_parse(const char *text, uint64_t n, uint64_t data_bytes, file_header *header, fpr_error *error);
/* The same from a file; *text (may be NULL) receives the raw header, n bytes, owned by the caller (base_free). */
fpr_status file_header_read(const file_source *source, file_header *header, char **text, fpr_error *error);
void file_header_free(file_header *header);

/* ---- safetensors_write.c: growing text, JSON strings, headers */

/* Zero-initialise. A failure (out of memory) sticks. bytes is not NUL-terminated. */
typedef struct file_text {
    char *bytes;
    size_t count, capacity;
    bool failed;
} file_text;
void file_text_add(file_text *text, const void *bytes, size_t count);
/* A JSON string, quoted and escaped as serde_json does it; UTF-8 is kept as it is. */
void file_text_string(file_text *text, const char *bytes, size_t count);
void file_text_format(file_text *text, const char *format, ...) BASE_PRINTF(2, 3);
void file_text_free(file_text *text);

/* Appends  "NAME":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}  as the reference writes it. */
void file_text_tensor(file_text *text, const char *name, size_t name_bytes, fpr_dtype dtype, unsigned rank,
                      const uint64_t *shape, uint64_t begin, uint64_t end);
/* The header that the reference implementation would write for these tensors and this metadata, padded with spaces to
 * a multiple of 8: entries in header_order. Without the length prefix. */
fpr_status file_header_write(const file_header *header, file_text *text, fpr_error *error);

/* ---- tree.c: a JSON document as a tree */

typedef enum file_kind {
    FILE_NULL, FILE_FALSE, FILE_TRUE, FILE_INTEGER, FILE_REAL, FILE_STRING, FILE_ARRAY, FILE_OBJECT
} file_kind;

typedef struct file_value {
    file_kind kind;
    uint32_t place;                 /* among the values of the parent */
    const char *key;                /* of a member of an object, else NULL; NUL-terminated, holds none */
    struct file_value *parent, *next;
    union {
        struct {
            const char *text;       /* of a string, decoded, NUL added; of a number as it is spelled */
            size_t bytes;
            union { int64_t integer; double real; } number;
        };
        struct {
            struct file_value *first;
            size_t count;           /* of items, or of different keys */
            struct file_value **sorted; /* members by key */
        };
    };
} file_value;

/* Zero-initialise, or read. The tree may be changed: values may be taken out of their list or put into it. */
typedef struct file_tree {
    file_value *root;
    void *memory; /* owns it all */
} file_tree;

/* One object or array by RFC 8259, in UTF-8. No key holds a NUL character; integers fit int64_t, other numbers a
 * double. strict: no string holds a NUL character and no object a key twice; otherwise the last of them counts. Status
 * `invalid` with line and offset where the text is wrong or would take gigabytes of memory; FPR_NO_MEMORY. */
fpr_status file_tree_read(const char *text, uint64_t n, bool strict, fpr_status invalid, file_tree *tree,
                          fpr_error *error);
void file_tree_free(file_tree *tree);
/* All of these take NULL, and a value of another kind, for one that is not there. */
file_value *file_value_get(const file_value *object, const char *key); /* NULL: no such member */
bool file_value_is(const file_value *value, file_kind kind);
const char *file_value_text(const file_value *value);  /* NULL: no string */
int64_t file_value_integer(const file_value *value);   /* 0: no integer */
double file_value_number(const file_value *value);     /* 0: no number */
/* The value with all that is in it, indented by two spaces a level. */
void file_text_value(file_text *text, const file_value *value);

/* ---- hash.c: XXH3-64, streamed */

typedef struct file_hash file_hash;
file_hash *file_hash_new(void); /* NULL: out of memory */
void file_hash_add(file_hash *hash, const void *bytes, uint64_t count);
uint64_t file_hash_end(file_hash *hash); /* frees */
void file_hash_long(const file_hash *hash, uint64_t value[2]); /* XXH3-128 of the same bytes, the high half first */

/* ---- outfile.c: atomic output. Nothing is visible under the final name before file_out_commit. */

typedef struct file_out file_out;

/* The final name may be a symbolic link: what it points to is replaced, the link stays. Permissions: 0666 & ~umask, or
 * those of the file that is replaced. An existing file is refused (FPR_EXISTS) unless force. The temporary is an
 * O_TMPFILE where the file system has it, else a name nobody can guess, made with O_EXCL. */
fpr_status file_out_create(const char *path, bool force, file_out **out, fpr_error *error);
fpr_status file_out_write(file_out *out, const void *bytes, uint64_t count, fpr_error *error); /* appends, buffered */
/* Overwrites what was appended. */
fpr_status file_out_patch(file_out *out, uint64_t offset, const void *bytes, uint64_t count, fpr_error *error);
/* Makes room for the next count bytes, at *offset; file_out_place fills it. */
fpr_status file_out_reserve(file_out *out, uint64_t count, uint64_t *offset, fpr_error *error);

typedef struct file_part { const void *bytes; uint64_t count; } file_part;

/* Writes the parts one after the other from offset on, which was reserved. May run beside other calls for the same
 * output: a job goes on while what it has made is written. Not by several threads, because file systems let one write
 * to a file at a time. */
fpr_status file_out_place(file_out *out, uint64_t offset, const file_part *parts, size_t count, fpr_error *error);
/* Appends bytes of a file as they are, by the kernel where it can. */
fpr_status file_out_copy(file_out *out, const file_source *source, uint64_t from, uint64_t count, fpr_error *error);
uint64_t file_out_size(const file_out *out);
/* Adds all bytes written so far to a hash, as they are in the file. */
fpr_status file_out_hash(file_out *out, file_hash *hash, unsigned threads, fpr_error *error);
/* The same for a file in a folder that nobody knows yet: flushing the folder is left to the caller. */
fpr_status file_out_finish(file_out *out, fpr_error *error);
fpr_status file_out_commit(file_out *out, fpr_error *error); /* flush, fsync, rename, fsync the directory; frees out */
void file_out_abandon(file_out *out);                        /* removes the temporary; frees out; NULL allowed */

#endif

/* A strict reader for JSON (RFC 8259), for this room alone: the header of a safetensors file, and trees (tree.c).
 *
 * Not a library's: keys here may hold NUL, numbers need all 64 bits, every error a place, a hostile header of 100 MB
 * must cost time and memory in proportion, and an allocation that fails must not change what is read. Functions return
 * false after the first error, which is then in `status` and `error`. */
#ifndef FPR_FILE_JSON_H
#define FPR_FILE_JSON_H

#include "base/base.h"

/* Objects and arrays open at once, the outermost included; serde_json gives up at the next one. */
#define FILE_JSON_DEPTH 127

typedef struct file_json_chunk file_json_chunk;

typedef struct file_json {
    const char *text;
    size_t n, at;       /* at: the next byte */
    const char *tensor; /* name of the entry that is being read, for messages; NULL outside */
    fpr_status status;
    fpr_error *error;
    fpr_status invalid;   /* what a text that is wrong is called */
    const char *whole;    /* and the text: "the header" */
    uint64_t before;      /* bytes of the file before it, for the offsets of errors */
    bool lines;           /* errors name the line */
    file_json_chunk *chunks; /* arena, the newest chunk first */
    char *room;              /* free part of the newest chunk */
    size_t room_bytes;
    uint64_t *sizes; /* the list that file_json_sizes read last */
    size_t size_count, size_capacity;
} file_json;

/* Errors, at a place in the text; the offset that is reported counts the 8 bytes before it. All return false. */
bool file_json_bad(file_json *j, uint64_t at, const char *format, ...) BASE_PRINTF(3, 4);
/* The same at the next byte; ", found X" is appended. */
bool file_json_unexpected(file_json *j, const char *format, ...) BASE_PRINTF(2, 3);
bool file_json_no_memory(file_json *j, uint64_t bytes);

/* Memory that lives as long as j->chunks, 8-byte aligned; NULL after an error. */
void *file_json_keep(file_json *j, uint64_t count, uint64_t size);
/* Takes back what was kept since the mark was made, as far as that is cheap. */
typedef struct file_json_mark { const file_json_chunk *chunk; char *room; } file_json_mark;
static inline file_json_mark file_json_here(const file_json *j) { return (file_json_mark){j->chunks, j->room}; }
void file_json_release(file_json *j, file_json_mark mark);
void file_json_free_chunks(file_json_chunk *chunks);
/* Room for one more element in *list, which holds count. */
bool file_json_grow(file_json *j, void *list, size_t count, size_t *capacity, size_t size);

/* The next byte, or -1 at the end. */
static inline int file_json_peek(const file_json *j) { return j->at < j->n ? (unsigned char)j->text[j->at] : -1; }
int file_json_skip_space(file_json *j); /* and then the same */

/* Steps through an object or array that ends with `close`. On ITEM, j->at is where the item begins. */
typedef enum file_json_step { FILE_JSON_FAILED, FILE_JSON_END, FILE_JSON_ITEM } file_json_step;
file_json_step file_json_item(file_json *j, char close, bool first, const char *of);
/* The same for an object: reads the key and the colon too, and stops where the value begins. */
file_json_step file_json_key(file_json *j, bool first, const char *of, const char **key, size_t *bytes, size_t *key_at);

/* Reads a string, j->at at its opening quote: decoded UTF-8 in the arena, NUL added. */
bool file_json_string(file_json *j, const char **string, size_t *bytes);
/* Reads an array of whole numbers from 0 to 2^64 - 1 into j->sizes: no sign, fraction, exponent or leading zero. */
bool file_json_sizes(file_json *j, const char *field, const char *what);
bool file_json_word(file_json *j, const char *word); /* true, false or null */
/* Steps over a number; one past the range of a double is refused. Whole: without fraction and exponent. */
bool file_json_number(file_json *j, bool *is_whole);
/* Checks any value and passes over it; `open` objects and arrays are around it. */
bool file_json_skip(file_json *j, unsigned open);

#endif

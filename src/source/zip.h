/* The members of a zip archive, by its central directory: PyTorch's files, .npz and .keras are such archives.
 *
 * Strict where readers could disagree: one directory that ends where the end record begins, no name twice, a local header
 * under every entry that has the same name and method, members that lie one behind the other in front of the directory.
 * CRCs are not looked at: writers leave them wrong or out, and a tensor's bytes are whatever the member holds. */
#ifndef FPR_SOURCE_ZIP_H
#define FPR_SOURCE_ZIP_H

#include "file/file.h"

/* A larger directory is refused: it has to be in memory. Enough for some 200,000 members. */
#define ZIP_DIRECTORY_MOST (16u << 20)

typedef struct zip_member {
    const char *name;   /* as it stands in the directory; no NUL follows */
    uint32_t name_bytes;
    bool deflated;      /* else stored as it is */
    uint64_t size;      /* of what it holds */
    uint64_t stored;    /* in the file */
    uint64_t header;    /* of its local header, in the file */
    uint64_t data;      /* of its first byte, in the file */
} zip_member;

typedef struct zip_archive zip_archive;

/* Whether a file that begins so may be an archive. */
bool zip_probe(const uint8_t *head, size_t n);
/* Reads the directory and every local header; FPR_BAD_HEADER for what breaks a rule. The file stays the caller's and has
 * to live as long as the archive. */
fpr_status zip_open(const file_source *file, zip_archive **out, fpr_error *error);
void zip_close(zip_archive *zip); /* NULL allowed */
size_t zip_count(const zip_archive *zip);
const zip_member *zip_at(const zip_archive *zip, size_t i); /* in the order of the directory */
const zip_member *zip_find(const zip_archive *zip, const char *name, size_t name_bytes); /* NULL: not there */
/* Bytes [from, from + count) of what a member holds; threads may read at the same time. A deflated member is quick to
 * read from its beginning to its end, by a few readers at a time; going back begins anew. FPR_BAD_HEADER when it does not
 * inflate to exactly its size. */
fpr_status zip_read(zip_archive *zip, const zip_member *member, uint64_t from, uint64_t count, void *dst,
                    fpr_error *error);

#endif

/* numpy's arrays: .npy files, and .npz archives of them. */
#ifndef FPR_SOURCE_NPZ_H
#define FPR_SOURCE_NPZ_H

#include "source/dense.h"
#include "source/source.h"
#include "source/zip.h"

typedef struct npy_header {
    uint64_t data;       /* bytes in front of the data */
    fpr_dtype dtype;
    unsigned element;    /* bytes; 0: not known, the array is skipped */
    char why[40];        /* it cannot be a tensor; empty: it can */
    bool swap, fortran;
    unsigned rank;
    uint64_t shape[DENSE_RANK_MOST];
} npy_header;

/* Reads the text of a header, n bytes: a dictionary with 'descr', 'fortran_order' and 'shape', of literals alone. */
fpr_status npy_header_parse(const char *text, size_t n, npy_header *out, fpr_error *error);

/* Takes file and zip over, also on failure. */
fpr_status npz_open_zip(file_source *file, zip_archive *zip, const source_options *options, source **out,
                        fpr_error *error);

#endif

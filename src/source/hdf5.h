/* HDF5 from the inside: the helper process that reads it, and Keras' own zip around it. */
#ifndef FPR_SOURCE_HDF5_H
#define FPR_SOURCE_HDF5_H

#include "source/source.h"
#include "source/zip.h"

/* ---- hdf5_process.c: the helper, filterprune-hdf5 */

typedef struct hdf5_process hdf5_process;

/* Starts it on bytes [begin, begin + size) of a file. FPR_IO with a line that says what to install when there is none. */
fpr_status hdf5_start(const file_source *file, uint64_t begin, uint64_t size, bool allow_expand, hdf5_process **out, fpr_error *error);
/* The next record: *bytes of payload in memory of the process, valid until the next call. FPR_BAD_HEADER where the helper
 * says so, or ends before HDF5_END: a file that breaks it is at fault. */
fpr_status hdf5_next(hdf5_process *p, const volatile int *cancel, char *kind, const uint8_t **payload, size_t *bytes,
                     fpr_error *error);
void hdf5_stop(hdf5_process *p); /* NULL allowed; ends the helper, whatever it does */

/* ---- hdf5_names.c */

/* Names of layers and their classes, from the JSON in which Keras keeps a model. */
typedef struct hdf5_classes {
    file_tree tree;
    struct hdf5_class { const char *name, *class_name; } *list; /* by name */
    size_t count;
} hdf5_classes;

/* What is no such JSON gives none. FPR_NO_MEMORY. */
fpr_status hdf5_classes_read(const char *json, size_t bytes, hdf5_classes *classes, fpr_error *error);
void hdf5_classes_free(hdf5_classes *classes);
const char *hdf5_class_of(const hdf5_classes *classes, const char *name, size_t bytes); /* NULL: none */
/* By the name of a class, "DepthwiseConv2D", or of a group made from one, "depthwise_conv2d_3". */
source_kind hdf5_kind_of_class(const char *name, size_t bytes);

/* ---- hdf5.c */

/* Whether the signature stands behind a user block of 512, 1,024, 2,048 ... bytes, which may begin with anything. */
bool hdf5_has_user_block(const file_source *file);
/* A .keras file: zip takes config.json and model.weights.h5. Takes file and zip over, also on failure. */
fpr_status hdf5_open_keras(file_source *file, zip_archive *zip, const source_options *options, source **out,
                           fpr_error *error);

#endif

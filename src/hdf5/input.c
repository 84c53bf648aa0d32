/* libhdf5 asks a driver for bytes at addresses; this one has a descriptor and where the file begins in it. */
#include "hdf5/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<H5FDdevelop.h>)
#include <H5FDdevelop.h>
#endif

typedef struct input {
    H5FD_t base; /* the library's own part */
    int fd;
    uint64_t begin, size;
    haddr_t end_of_addresses;
} input;

static input wanted; /* by the one call of hdf5_open_input */

static H5FD_t *open_input(const char *name, unsigned flags, hid_t properties, haddr_t most)
{
    (void)name, (void)properties, (void)most;
    input *in = flags & H5F_ACC_RDWR ? NULL : malloc(sizeof *in);
    if (in) *in = wanted;
    return in ? &in->base : NULL;
}

static herr_t close_input(H5FD_t *file)
{
    free(file);
    return 0;
}

static herr_t query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE;
    return 0;
}

static haddr_t get_end(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const input *)(const void *)file)->end_of_addresses;
}

static herr_t set_end(H5FD_t *file, H5FD_mem_t type, haddr_t end)
{
    (void)type;
    ((input *)(void *)file)->end_of_addresses = end;
    return 0;
}

static haddr_t get_size(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const input *)(const void *)file)->size;
}

/* What lies past the end reads as zeros, as with the library's own drivers. */
static herr_t read_input(H5FD_t *file, H5FD_mem_t type, hid_t properties, haddr_t at, size_t n, void *dst)
{
    (void)type, (void)properties;
    const input *in = (const input *)(const void *)file;
    uint8_t *to = dst;
    const uint64_t there = at < in->size ? in->size - at : 0;
    if (n > there) {
        memset(to + there, 0, n - (size_t)there);
        n = (size_t)there;
    }
    while (n) {
        const ssize_t got = pread(in->fd, to, n, (off_t)(in->begin + at));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        to += got, at += (haddr_t)got, n -= (size_t)got;
    }
    return 0;
}

static herr_t write_nothing(H5FD_t *file, H5FD_mem_t type, hid_t properties, haddr_t at, size_t n, const void *src)
{
    (void)file, (void)type, (void)properties, (void)at, (void)n, (void)src;
    return -1;
}

hid_t hdf5_open_input(int fd, uint64_t begin, uint64_t size)
{
    static const H5FD_class_t driver = {
#if H5_VERSION_GE(1, 14, 0)
        .version = H5FD_CLASS_VERSION, .value = (H5FD_class_value_t)300,
#endif
        .name = "filterprune input", .maxaddr = INT64_MAX, .fc_degree = H5F_CLOSE_WEAK, .open = open_input,
        .close = close_input, .query = query, .get_eoa = get_end, .set_eoa = set_end, .get_eof = get_size,
        .read = read_input, .write = write_nothing, .fl_map = H5FD_FLMAP_DICHOTOMY};
    wanted = (input){.fd = fd, .begin = begin, .size = size};
    const hid_t id = H5FDregister(&driver), properties = H5Pcreate(H5P_FILE_ACCESS);
    const hid_t file = H5Pset_driver(properties, id, NULL) < 0 ? -1 : H5Fopen("input", H5F_ACC_RDONLY, properties);
    H5Pclose(properties);
    return file;
}

/* Fuzzing: the index of a sharded checkpoint. The input is the text of an index beside two shards, a.safetensors (conv,
 * bias) and b.safetensors (head). What is accepted must name exactly the tensors that the shards hold. */
#include "base/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], index_path[128];

static void require(bool condition)
{
    if (!condition) abort();
}

static void put(const char *path, const void *bytes, size_t count)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, bytes, count) == (ssize_t)count && close(fd) == 0);
}

static void put_shard(const char *name, const char *header, size_t data_bytes)
{
    char path[128];
    uint8_t file[1024] = {0};
    size_t n = strlen(header);
    base_store_le64(file, n);
    memcpy(file + 8, header, n);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    put(path, file, 8 + n + data_bytes);
}

static void remove_folder(void)
{
    static const char *const names[] = {"a.safetensors", "b.safetensors", "x.index.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "%s/filterprune-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    require(mkdtemp(folder) != NULL);
    atexit(remove_folder);
    snprintf(index_path, sizeof index_path, "%s/x.index.json", folder);
    put_shard("a.safetensors",
              "{\"conv\":{\"dtype\":\"F32\",\"shape\":[2,2,3,3],\"data_offsets\":[0,144]},"
              "\"bias\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[144,152]}}", 152);
    put_shard("b.safetensors", "{\"head\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder[0]) make_folder();
    put(index_path, data, size);
    fpr_model *model;
    fpr_error error;
    fpr_status status = fpr_model_open(index_path, &model, &error);
    if (status) {
        require(!model && error.status == status && error.message[0] && error.file[0]);
        require(status == FPR_BAD_INDEX || status == FPR_BAD_HEADER || status == FPR_IO);
    } else {
        size_t shards = fpr_model_shard_count(model), tensors = fpr_model_tensor_count(model);
        require(shards <= 2);
        for (size_t s = 0; s < shards; s++) require(!strncmp(fpr_model_shard_path(model, s), folder, strlen(folder)));
        size_t a = fpr_model_find(model, "conv") ? 2 : 0, b = fpr_model_find(model, "head") ? 1 : 0;
        require(tensors == a + b && (a == 0) == !fpr_model_find(model, "bias"));
        fpr_model_close(model);
    }
    require(base_allocations_alive() == 0);
    return 0;
}

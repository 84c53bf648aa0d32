/* Fuzzing: a file of PyTorch. The input is a whole file, zip archive or of the older format; one that is neither is taken
 * for the pickle of an archive with four storages of 256 bytes, so that mutations reach the pickle. */
#include "check_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct member {
    const char *name;
    const uint8_t *bytes;
    size_t size;
} member;

/* Stored members, local headers and directory, as APPNOTE.TXT has them. */
static size_t put_member(uint8_t *to, const member *m, size_t local)
{
    const size_t name = strlen(m->name), front = local == SIZE_MAX ? 30 : 46;
    memset(to, 0, front);
    base_store_le32(to, local == SIZE_MAX ? 0x04034b50 : 0x02014b50);
    uint8_t *rest = to + (local == SIZE_MAX ? 14 : 16); /* behind it: CRC, both sizes, bytes of the name */
    base_store_le32(rest + 4, (uint32_t)m->size);
    base_store_le32(rest + 8, (uint32_t)m->size);
    base_store_le16(rest + 12, (uint16_t)name);
    if (local != SIZE_MAX) base_store_le32(to + 42, (uint32_t)local);
    memcpy(to + front, m->name, name);
    if (local != SIZE_MAX) return front + name;
    memcpy(to + front + name, m->bytes, m->size);
    return front + name + m->size;
}

static void check_pickle(const uint8_t *data, size_t size)
{
    static const uint8_t storage[256] = {1, 2, 3};
    const member members[] = {{"a/data.pkl", data, size},
                              {"a/data/0", storage, sizeof storage},
                              {"a/data/1", storage, sizeof storage},
                              {"a/data/2", storage, sizeof storage},
                              {"a/data/3", storage, sizeof storage}};
    enum { COUNT = sizeof members / sizeof *members };
    size_t at = 0, places[COUNT];
    uint8_t *zip = base_alloc(size + 4096, 1);
    require(zip);
    for (size_t i = 0; i < COUNT; i++) {
        places[i] = at;
        at += put_member(zip + at, &members[i], SIZE_MAX);
    }
    const size_t directory = at;
    for (size_t i = 0; i < COUNT; i++) at += put_member(zip + at, &members[i], places[i]);
    uint8_t *end = zip + at;
    memset(end, 0, 22);
    base_store_le32(end, 0x06054b50);
    base_store_le16(end + 8, COUNT);
    base_store_le16(end + 10, COUNT);
    base_store_le32(end + 12, (uint32_t)(at - directory));
    base_store_le32(end + 16, (uint32_t)directory);
    uint8_t *exact = malloc(at + 22);
    require(exact);
    memcpy(exact, zip, at + 22);
    base_free(zip);
    check_file(exact, at + 22, NULL);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (check_file(data, size, NULL) != FPR_BAD_HEADER) check_file(data, size, "model.state_dict");
    if (size < (1u << 20) && (size < 2 || memcmp(data, "PK", 2) != 0)) check_pickle(data, size);
    return 0;
}

/* Packed files as hostile input, inside one process: hostile flips|cuts FILE [STEP] and hostile
 * mutants FILE [COUNT [SEED]]
 *
 *   flips     every byte of FILE (or every STEP-th) is changed in three ways: verify and unpack must both notice
 *   cuts      FILE ends early, at every length: the same
 *   mutants   COUNT files with changed fields: heads of blobs, sections, the index in __metadata__. All checksums that
 *             can be made again are made again, so that what stands behind them is reached. Nothing may crash, hang or
 *             leak; what is accepted must read the same twice.
 *
 * Prints what was tried; exit status 1 when something went unnoticed. */
#include "base/base.h"
#include "file/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>

static int memory_file = -1;
static char memory_path[40], out_path[64];
static unsigned long noticed, missed, accepted, by_status[64];

static void die(const char *what)
{
    fprintf(stderr, "hostile: %s\n", what);
    exit(2);
}

static void set_file(const uint8_t *bytes, size_t n)
{
    if (ftruncate(memory_file, 0) || pwrite(memory_file, bytes, n, 0) != (ssize_t)n) die("memfd");
}

static fpr_options options(void)
{
    fpr_options o;
    fpr_options_init(&o);
    o.threads = 1;
    o.force = false;
    return o;
}

/* Both must be kept from giving out what was changed. */
static void expect_notice(const char *what, size_t at)
{
    fpr_options o = options();
    fpr_verification *v = NULL;
    fpr_status verified = fpr_verify(memory_path, NULL, &o, &v, NULL);
    fpr_verification_free(v);
    fpr_status unpacked = fpr_unpack(memory_path, out_path, &o, NULL);
    if (verified && unpacked) {
        noticed++;
    } else {
        missed++;
        printf("%s %zu: verify %d, unpack %d\n", what, at, verified, unpacked);
    }
    if (unlink(out_path) == 0 && unpacked) printf("%s %zu: an output stays behind\n", what, at), missed++;
    if (base_allocations_alive()) die("memory leaks");
}

static void flips(uint8_t *file, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i += step) {
        const uint8_t masks[] = {1, 128, (uint8_t)(1 + (i * 37) % 255)};
        for (size_t m = 0; m < sizeof masks; m++) {
            file[i] ^= masks[m];
            set_file(file, n);
            expect_notice("byte", i);
            file[i] ^= masks[m];
        }
    }
}

static void cuts(uint8_t *file, size_t n, size_t step)
{
    for (size_t i = 0; i < n; i += step) {
        set_file(file, i);
        expect_notice("length", i);
    }
}

/* ---------------------------------------------------------------- mutants */

static uint64_t state;

static uint64_t dice(uint64_t below) /* splitmix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

/* A blob's head, field by field as FORMAT.md has it; false where it ends too early. */
typedef struct field { size_t at, bytes; } field; /* varints */
typedef struct shape {
    field numbers[128];
    size_t count, head_bytes;
    struct { size_t kind_at, check_at; uint64_t stored; bool has_check; } sections[255];
    size_t section_count;
} shape;

static bool varint(const uint8_t *b, size_t n, size_t *at, shape *s, uint64_t *value)
{
    field f = {*at, 0};
    *value = 0;
    for (;; f.bytes++) {
        if (*at >= n || f.bytes == 10) return false;
        if (f.bytes < 9) *value |= (uint64_t)(b[*at] & 127) << 7 * f.bytes;
        if (!(b[(*at)++] & 128)) break;
    }
    f.bytes++;
    if (s->count < 128) s->numbers[s->count++] = f;
    return true;
}

static bool look(const uint8_t *b, size_t n, shape *s)
{
    memset(s, 0, sizeof *s);
    if (n < 24 || memcmp(b, "FPZ1", 4)) return false;
    size_t at = 24;
    uint64_t value;
    for (unsigned i = 0; i < b[9] + 1u; i++)
        if (!varint(b, n, &at, s, &value)) return false;
    for (unsigned i = 0; i < b[10]; i++) {
        if (at >= n) return false;
        unsigned kind = b[at] & 15, encoding = b[at] >> 4;
        s->sections[i].kind_at = at++;
        if (!varint(b, n, &at, s, &value) || (encoding && !varint(b, n, &at, s, &value))) return false;
        bool has_check = encoding || (kind != 2 && kind != 3 && kind != 8);
        s->sections[i].has_check = has_check;
        s->sections[i].check_at = at;
        s->sections[i].stored = value; /* of a raw section, how long it is is said once */
        if (has_check) at += 4;
    }
    s->section_count = b[10];
    s->head_bytes = at;
    return at <= n;
}

static uint64_t number_at(const uint8_t *b, field f)
{
    uint64_t v = 0;
    for (size_t i = 0; i < f.bytes && i < 9; i++) v |= (uint64_t)(b[f.at + i] & 127) << 7 * i;
    return v;
}

/* The same number of bytes, so that nothing moves. */
static void set_number(uint8_t *b, field f, uint64_t v)
{
    for (size_t i = 0; i < f.bytes; i++, v >>= 7) b[f.at + i] = (uint8_t)((v & 127) | (i + 1 < f.bytes ? 128 : 0));
}

static void sign_blob(uint8_t *b, size_t n)
{
    shape s;
    if (!look(b, n, &s)) return;
    size_t at = s.head_bytes;
    for (size_t i = 0; i < s.section_count; i++) {
        const uint64_t stored = s.sections[i].stored;
        if (stored > n - at) break;
        if (s.sections[i].has_check && s.sections[i].check_at + 4 <= n)
            base_store_le32(b + s.sections[i].check_at, (uint32_t)XXH3_64bits(b + at, stored));
        at += stored;
    }
    memset(b + 12, 0, 4);
    base_store_le32(b + 12, (uint32_t)XXH3_64bits(b, s.head_bytes));
}

/* The digits of "check" in __metadata__, over the header and the tensors that the index does not call packed. */
static void sign_file(uint8_t *file, size_t n)
{
    static const char mark[] = "\\\"check\\\":\\\"";
    file_header h;
    uint64_t header = base_load_le64(file);
    if (header > n - 8 || file_header_parse((char *)file + 8, header, n - 8 - header, &h, NULL)) return;
    XXH3_state_t *raw = XXH3_createState(), *all = XXH3_createState();
    XXH3_64bits_reset(raw);
    XXH3_64bits_reset(all);
    for (size_t i = 0; i < h.tensor_count; i++) {
        const file_tensor *t = &h.tensors[i];
        const uint8_t *bytes = file + h.data_begin + t->begin;
        if (t->end - t->begin >= 24 && !memcmp(bytes, "FPZ1", 4)) continue;
        XXH3_64bits_update(raw, bytes, t->end - t->begin);
    }
    uint8_t digits[8];
    base_store_le64(digits, XXH3_64bits_digest(raw));
    uint8_t *at = memmem(file + 8, header, mark, sizeof mark - 1);
    if (at && at + sizeof mark - 1 + 16 <= file + 8 + header) {
        at += sizeof mark - 1;
        memset(at, '0', 16);
        XXH3_64bits_update(all, file + 8, header);
        XXH3_64bits_update(all, digits, 8);
        char text[17];
        snprintf(text, sizeof text, "%016" PRIx64, (uint64_t)XXH3_64bits_digest(all));
        memcpy(at, text, 16);
    }
    XXH3_freeState(raw);
    XXH3_freeState(all);
    file_header_free(&h);
}

static void mutate_blob(uint8_t *b, size_t n)
{
    static const uint64_t odd[] = {0, 1, 2, 127, 128, 255, 256, 65535, 65536, 1u << 20, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX};
    shape s;
    if (!look(b, n, &s)) return;
    switch (dice(5)) {
    case 0: b[4 + dice(8)] = (uint8_t)dice(dice(2) ? 256 : 8); break; /* versions, codec, dtype, rank, sections, flags */
    case 1:
    case 2: {
        field f = s.numbers[dice(s.count)];
        uint64_t v = number_at(b, f), other[] = {v + 1, v - 1, v * 2, v / 2, v ^ 1u << dice(20), odd[dice(13)], dice(1u << 20)};
        set_number(b, f, other[dice(7)]);
        break;
    }
    case 3: /* the kind or encoding of a section */
        if (s.section_count) b[s.sections[dice(s.section_count)].kind_at] = (uint8_t)dice(256);
        break;
    default: /* what the sections hold */
        for (uint64_t i = 0, times = 1 + dice(4); i < times && n > s.head_bytes; i++)
            b[s.head_bytes + dice(dice(2) ? n - s.head_bytes : 1 + (n - s.head_bytes) / 16)] = (uint8_t)dice(256);
    }
}

static void mutate(uint8_t *file, size_t n)
{
    file_header h;
    uint64_t header = base_load_le64(file);
    if (file_header_parse((char *)file + 8, header, n - 8 - header, &h, NULL)) die("the file is no checkpoint");
    if (dice(8) == 0) { /* the index: a digit or letter of the header's text becomes another */
        for (int tries = 0; tries < 50; tries++) {
            uint8_t *c = file + 8 + dice(header);
            if (*c >= '0' && *c <= '9') *c = (uint8_t)('0' + dice(10));
            else if (*c >= 'a' && *c <= 'z') *c = (uint8_t)('a' + dice(26));
            else continue;
            break;
        }
    } else {
        const file_tensor *blobs[64];
        size_t count = 0;
        for (size_t i = 0; i < h.tensor_count && count < 64; i++) {
            const file_tensor *t = &h.tensors[i];
            if (t->end - t->begin >= 24 && !memcmp(file + h.data_begin + t->begin, "FPZ1", 4)) blobs[count++] = t;
        }
        if (!count) die("the file has no packed tensor");
        const file_tensor *t = blobs[dice(count)], *u = blobs[dice(count)];
        uint8_t *b = file + h.data_begin + t->begin;
        size_t bytes = t->end - t->begin, other = u->end - u->begin;
        if (dice(10) == 0) memmove(b, file + h.data_begin + u->begin, bytes < other ? bytes : other); /* another's blob */
        for (uint64_t i = 0, times = 1 + dice(3); i < times; i++) mutate_blob(b, bytes);
        if (dice(8)) sign_blob(b, bytes);
    }
    file_header_free(&h);
    if (dice(8)) sign_file(file, n);
}

/* Reads all there is, twice. */
static void read_all(void)
{
    fpr_model *model;
    fpr_error error;
    fpr_status status = fpr_model_open(memory_path, &model, &error);
    if (status) {
        if (!error.message[0]) die("an error without a message");
        return;
    }
    for (size_t i = 0; i < fpr_model_tensor_count(model); i++) {
        const fpr_tensor *t = fpr_model_tensor(model, i);
        void *a = base_alloc_aligned(t->bytes, 1), *b = base_alloc_aligned(t->bytes, 1);
        if (a && b && !fpr_model_read(model, i, a, &error))
            if (fpr_model_read(model, i, b, &error) || memcmp(a, b, t->bytes)) die("a tensor reads otherwise the second time");
        base_free(a);
        base_free(b);
    }
    fpr_model_close(model);
}

static void mutants(const uint8_t *original, size_t n, uint64_t count)
{
    uint8_t *file = malloc(n);
    if (!file) die("memory");
    for (uint64_t i = 0; i < count; i++) {
        memcpy(file, original, n);
        mutate(file, n);
        set_file(file, n);
        alarm(20);
        fpr_options o = options();
        fpr_verification *v = NULL;
        fpr_error error = {0};
        fpr_status status = fpr_verify(memory_path, NULL, &o, &v, &error);
        fpr_verification_free(v);
        if (status && !error.message[0]) die("verify fails without a message");
        by_status[status]++;
        fpr_status unpacked = fpr_unpack(memory_path, out_path, &o, &error);
        accepted += !unpacked;
        if (unlink(out_path) == 0 && unpacked) die("an output stays behind");
        read_all();
        if (base_allocations_alive()) die("memory leaks");
        alarm(0);
    }
    free(file);
}

int main(int argc, char **argv)
{
    if (argc < 3) die("flips|cuts FILE [STEP], or mutants FILE [COUNT [SEED]]");
    FILE *f = fopen(argv[2], "rb");
    static uint8_t file[1 << 22];
    size_t n = f ? fread(file, 1, sizeof file, f) : 0;
    if (!n || n == sizeof file) die("cannot read the file");
    fclose(f);
    memory_file = memfd_create("hostile", MFD_CLOEXEC);
    if (memory_file < 0) die("memfd");
    snprintf(memory_path, sizeof memory_path, "/proc/self/fd/%d", memory_file);
    snprintf(out_path, sizeof out_path, "/tmp/filterprune-hostile-%d", (int)getpid());
    uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (!strcmp(argv[1], "flips")) flips(file, n, count ? count : 1);
    else if (!strcmp(argv[1], "cuts")) cuts(file, n, count ? count : 1);
    else {
        state = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
        mutants(file, n, count ? count : 1000);
        printf("verdicts of verify:");
        for (int i = 0; i < 64; i++)
            if (by_status[i]) printf(" %d: %lu", i, by_status[i]);
        printf("; %lu unpacked\n", accepted);
        return 0;
    }
    printf("%s: %lu noticed, %lu missed\n", argv[1], noticed, missed);
    return missed != 0;
}

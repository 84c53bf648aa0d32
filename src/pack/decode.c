/* Restores a blob: checks everything that a hostile one could lie about, then the bytes, then their hash. */
#include "base/xxh.h"
#include "pack/blob.h"

static fpr_status check_sections(const uint8_t *blob, uint64_t stored_bytes, const pack_head *head, fpr_error *error)
{
    uint64_t end = head->bytes;
    for (unsigned i = 0; i < head->section_count; i++) {
        const pack_section *s = &head->sections[i];
        const fpr_status status = pack_section_verify(blob, s, error);
        if (status) return status;
        end = s->at + s->stored;
    }
    for (uint64_t i = end; i < stored_bytes; i++)
        if (blob[i]) return pack_bad(error, "the padding is not zero");
    return FPR_OK;
}

fpr_status pack_decode(const uint8_t *blob, uint64_t stored_bytes, unsigned threads, void *dst, uint64_t dst_bytes,
                       fpr_error *error)
{
    pack_head head;
    fpr_status status = pack_head_read(blob, stored_bytes, stored_bytes, &head, error);
    if (status) return status;
    if (head.info.bytes != dst_bytes) return pack_bad(error, "another byte count than the tensor's");
    if ((status = check_sections(blob, stored_bytes, &head, error)) != FPR_OK) return status;
    const pack_element element = pack_element_of(head.info.dtype);
    pack_values values = {.bytes = dst, .element = element, .count = dst_bytes / element.width};
    unsigned section = 0;
    if (head.codec == PACK_KERNELS)
        status = pack_kernels_decode(blob, &head, &section, threads, dst, error);
    else if (head.codec == PACK_LATTICE)
        status = pack_lattice_decode(blob, &head, &section, threads, dst, error);
    else if (head.codec == PACK_POOL)
        status = pack_pool_decode(blob, &head, &section, threads, dst, error);
    else if (head.codec == PACK_PALETTE)
        status = pack_palette_decode(&values, blob, &head, &section, threads, error);
    else
        status = pack_values_decode(&values, blob, &head, &section, threads, error);
    if (status) return status;
    if (section != head.section_count) return pack_bad(error, "sections that nothing needs");
    if (XXH3_64bits(dst, (size_t)dst_bytes) != head.info.hash)
        return pack_bad(error, "the restored bytes do not match their checksum");
    return FPR_OK;
}

/* Restores a blob: checks everything that a hostile one could lie about, then the bytes, then their hash. Knows the codecs
 * that are one stream by itself; decode.c has the others. */
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

fpr_status pack_restore(const uint8_t *blob, uint64_t stored_bytes, const pack_decoder decoders[PACK_CODECS], unsigned threads,
                        void *dst, uint64_t dst_bytes, fpr_error *error)
{
    pack_head head;
    fpr_status status = pack_head_read(blob, stored_bytes, stored_bytes, &head, error);
    if (status) return status;
    if (head.info.bytes != dst_bytes) return pack_bad(error, "another byte count than the tensor's");
    if (!decoders[head.codec]) return pack_bad(error, "another codec than there may be here");
    if ((status = check_sections(blob, stored_bytes, &head, error)) != FPR_OK) return status;
    unsigned section = 0;
    status = decoders[head.codec](blob, &head, &section, threads, dst, error);
    if (status) return status;
    if (section != head.section_count) return pack_bad(error, "sections that nothing needs");
    if (XXH3_64bits(dst, (size_t)dst_bytes) != head.info.hash)
        return pack_bad(error, "the restored bytes do not match their checksum");
    return FPR_OK;
}

/* Those that hold every element in turn. */
static pack_values all_values(const pack_head *head, void *dst)
{
    const pack_element element = pack_element_of(head->info.dtype);
    return (pack_values){.bytes = dst, .element = element, .count = head->info.bytes / element.width};
}

fpr_status pack_decode_planes(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                              fpr_error *error)
{
    const pack_values values = all_values(head, dst);
    return pack_values_decode(&values, blob, head, section, threads, error);
}

fpr_status pack_decode_palette(const uint8_t *blob, const pack_head *head, unsigned *section, unsigned threads, void *dst,
                               fpr_error *error)
{
    const pack_values values = all_values(head, dst);
    return pack_palette_decode(&values, blob, head, section, threads, error);
}

fpr_status pack_decode_vector(const uint8_t *blob, uint64_t stored_bytes, unsigned threads, void *dst, uint64_t dst_bytes,
                              fpr_error *error)
{
    static const pack_decoder decoders[PACK_CODECS] = {[PACK_PLANES] = pack_decode_planes, [PACK_PALETTE] = pack_decode_palette};
    return pack_restore(blob, stored_bytes, decoders, threads, dst, dst_bytes, error);
}

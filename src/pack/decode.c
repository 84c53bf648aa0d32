/* A blob of any codec, restored. */
#include "pack/blob.h"

fpr_status pack_decode(const uint8_t *blob, uint64_t stored_bytes, unsigned threads, void *dst, uint64_t dst_bytes,
                       fpr_error *error)
{
    static const pack_decoder decoders[PACK_CODECS] = {
        [PACK_PLANES] = pack_decode_planes,   [PACK_PALETTE] = pack_decode_palette, [PACK_KERNELS] = pack_kernels_decode,
        [PACK_LATTICE] = pack_lattice_decode, [PACK_POOL] = pack_pool_decode,
    };
    return pack_restore(blob, stored_bytes, decoders, threads, dst, dst_bytes, error);
}

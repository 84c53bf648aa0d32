/* Fuzzing: arrays of numpy. The input is a whole file, .npz or .npy. */
#include "check_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_file(data, size, NULL);
    return 0;
}

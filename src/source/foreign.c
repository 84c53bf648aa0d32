/* What people often have in place of a checkpoint: named, with the next step. */
#include "source/foreign.h"

#include <ctype.h>

typedef struct sign {
    unsigned at;          /* of the bytes */
    const char *bytes;
    unsigned count;
    const char *what, *next;
} sign;

#define MAGIC(text) text, sizeof(text) - 1

static const sign signs[] = {
    {0, MAGIC("version https://git-lfs"), "a Git LFS pointer, not the file itself", "git lfs pull fetches it"},
    {0, MAGIC("\x1f\x8b"), "a gzip file", "unpack it (gunzip, or tar -xzf)"},
    {0, MAGIC("\x28\xb5\x2f\xfd"), "a zstd file", "unpack it (unzstd)"},
    {0, MAGIC("\xfd" "7zXZ"), "an xz file", "unpack it (unxz, or tar -xJf)"},
    {0, MAGIC("BZh"), "a bzip2 file", "unpack it (bunzip2, or tar -xjf)"},
    {0, MAGIC("\x04\x22\x4d\x18"), "an LZ4 file", "unpack it (lz4 -d); of joblib load it and save the weights with numpy.savez"},
    {0, MAGIC("7z\xbc\xaf\x27\x1c"), "a 7z archive", "unpack it (7z x)"},
    {0, MAGIC("Rar!"), "a RAR archive", "unpack it"},
    {257, MAGIC("ustar"), "a tar archive", "unpack it (tar -xf); of PyTorch 0.1 load and save it with PyTorch 0.4 to 1.13"},
    {0, MAGIC("GGUF"), "a GGUF file of llama.cpp", "take the safetensors or PyTorch file it was made from"},
    {0, MAGIC("lmgg"), "a GGML file of llama.cpp", "take the safetensors or PyTorch file it was made from"},
    {0, MAGIC("tjgg"), "a GGML file of llama.cpp", "take the safetensors or PyTorch file it was made from"},
    {64, MAGIC("\xef\xbe\xad\xde"), "the weights of a Core ML model", "take the model it was made from"},
    {0, MAGIC("7767517\n"), "the graph of an ncnn model", "take the model it was made from"},
    {0, MAGIC("\x47\x6b\x30\x01"), "the weights of an ncnn model", "take the model it was made from"},
    {4, MAGIC("loss_"), "a network of dlib", "save its weights with numpy.savez"},
    {4, MAGIC("TFL3"), "a TFLite model", "take the Keras or TensorFlow model it was made from"},
    {0, MAGIC("model_checkpoint_path:"), "the list of TensorFlow's checkpoints, not one of them",
     "save the model's weights with Keras as .weights.h5"},
    {0, MAGIC("\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras .h5)", "save the weights as safetensors"},
    {0, MAGIC("\x93NUMPY"), "a numpy file", "save it anew"},
    {0, MAGIC("CBOR"), "a CBOR file", "save the weights as safetensors"},
    {0, MAGIC("\x89PNG"), "a picture (PNG)", "take the checkpoint"},
    {0, MAGIC("\xff\xd8\xff"), "a picture (JPEG)", "take the checkpoint"},
    {0, MAGIC("%PDF"), "a PDF document", "take the checkpoint"},
    {0, MAGIC("PAR1"), "a Parquet table", "take the checkpoint"},
    {0, MAGIC("ARROW1"), "an Arrow file", "take the checkpoint"},
    {0, MAGIC("SQLite format 3"), "an SQLite database", "take the checkpoint"},
    {0, MAGIC("\0asm"), "a WebAssembly program", "take the checkpoint"},
    {0, MAGIC("MATLAB 5.0 MAT-file"), "a MATLAB file", "save the weights with numpy.savez"},
    {0, MAGIC("\x12\x01\0\0\0\0\0\0"), "a file of MXNet", "save the weights with numpy.savez"},
    {0, MAGIC("ptrt"), "an engine of TensorRT", "take the ONNX model it was made from"},
    {0, MAGIC("\x78\x01"), "a zlib stream, such as joblib writes", "save the weights with numpy.savez"},
    {0, MAGIC("\x78\x5e"), "a zlib stream, such as joblib writes", "save the weights with numpy.savez"},
    {0, MAGIC("\x78\x9c"), "a zlib stream, such as joblib writes", "save the weights with numpy.savez"},
    {0, MAGIC("\x78\xda"), "a zlib stream, such as joblib writes", "save the weights with numpy.savez"},
    {0, MAGIC("\xff\xfe"), "a text in UTF-16", "take the checkpoint itself"},
    {0, MAGIC("\xfe\xff"), "a text in UTF-16", "take the checkpoint itself"},
    {0, MAGIC("\x7f" "ELF"), "a program or library", "take the checkpoint"},
};

/* The last bytes of an index of TensorFlow's checkpoints (a table of LevelDB). */
static const uint8_t table_end[8] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};

static fpr_status refuse(fpr_error *error, const char *what, const char *next)
{
    base_fail(error, FPR_BAD_HEADER, "is no checkpoint but %s; %s", what, next);
    base_error_at(error, 0);
    return FPR_BAD_HEADER;
}

/* Words of HTML or XML at the beginning, behind white space and a mark of UTF-8. */
static bool is_page(const uint8_t *head, size_t n)
{
    static const char *const words[] = {"<!doctype html", "<html", "<head", "<?xml", "<error", "<!doctype"};
    size_t at = n >= 3 && !memcmp(head, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < n && isspace(head[at])) at++;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t m = strlen(words[i]);
        size_t k = 0;
        while (k < m && at + k < n && tolower(head[at + k]) == words[i][k]) k++;
        if (k == m) return true;
    }
    return false;
}

/* A MessagePack map whose first key is a word: what Flax and MLX's examples write. */
static bool is_messagepack(const uint8_t *head, size_t n)
{
    const size_t key = head[0] > 0x80 && head[0] <= 0x8f ? 1 : head[0] == 0xde ? 3 : 0;
    if (!key || n <= key || head[key] <= 0xa0 || head[key] > 0xbf) return false;
    const size_t bytes = head[key] & 31u;
    for (size_t i = 0; i < bytes; i++)
        if (key + 1 + i >= n || !isprint(head[key + 1 + i])) return false;
    return true;
}

static bool holds(const uint8_t *head, size_t n, const char *word)
{
    const size_t bytes = strlen(word);
    for (size_t i = 0; i + bytes <= n; i++)
        if (!memcmp(head + i, word, bytes)) return true;
    return false;
}

/* A SavedModel begins with its schema's version and a list of operators (AddV2, AssignVariableOp, ...); a frozen graph with the first node: its name, its operator. */
static bool is_tensorflow(const uint8_t *head, size_t n)
{
    if (n > 8 && !memcmp(head, "\x08\x01\x12", 3)) return holds(head, n, "Op");
    return n > 64 && head[0] == '\n' && (holds(head, 64, "\x12\x0bPlaceholder") || holds(head, 64, "\x12\x05""Const"));
}

static bool is_text(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((head[i] < ' ' && !isspace(head[i])) || head[i] == 0x7f) return false;
    return n > 0;
}

static bool is_zero(const uint8_t *head, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (head[i]) return false;
    return n > 0;
}

fpr_status foreign_refuse(const file_source *file, fpr_error *error)
{
    uint8_t head[512] = {0}, tail[8] = {0};
    const uint64_t size = file_source_size(file);
    const size_t n = size < sizeof head ? (size_t)size : sizeof head;
    fpr_status status = file_source_read(file, 0, head, n, error);
    if (!status && size > 48) status = file_source_read(file, size - sizeof tail, tail, sizeof tail, error);
    if (status) return status;
    if (!n) return refuse(error, "an empty file", "fetch or save it again");
    /* The first 8 bytes of safetensors are the length of what begins with '{'. */
    if (n >= 9 && head[8] == '{' && base_load_le64(head) <= FILE_HEADER_MAX) return FPR_OK;
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (signs[i].at + signs[i].count <= n && !memcmp(head + signs[i].at, signs[i].bytes, signs[i].count))
            return refuse(error, signs[i].what, signs[i].next);
    if (is_page(head, n) && holds(head, n, "<net "))
        return refuse(error, "the graph of an OpenVINO model", "take the model it was made from");
    if (is_page(head, n)) return refuse(error, "an HTML page, such as a server sends with an error", "download the file itself");
    if (is_messagepack(head, n)) return refuse(error, "a MessagePack file, such as Flax writes", "save the parameters as safetensors");
    if (is_tensorflow(head, n))
        return refuse(error, "a graph of TensorFlow (SavedModel or frozen)", "save the model's weights with Keras as .weights.h5");
    if (!memcmp(tail, table_end, sizeof tail))
        return refuse(error, "the index of a TensorFlow checkpoint", "save the model's weights with Keras as .weights.h5");
    if (n >= 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5)
        return refuse(error, "a pickle of Python, but none that torch.save wrote", "save the tensors with torch.save or as safetensors");
    if (is_zero(head, n) && n > 16) return refuse(error, "zeros from its first byte on, as an unfinished download has", "fetch it again");
    if (is_text(head, n) && (head[0] == '{' || head[0] == '['))
        return refuse(error, "a JSON text", "an index of shards is named *.index.json; of Keras' *.weights.json name the *.weights.h5 it lists");
    if (is_text(head, n)) return refuse(error, "a text", "take the checkpoint itself");
    return FPR_OK;
}

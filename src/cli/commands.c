/* The table of commands. */
#include "cli/cli.h"

#include <string.h>

const command commands[] = {
    { "", CMD_PRUNE, 1, 1000000, "INPUT and OUTPUT",
      "filterprune [OPTIONS] INPUT OUTPUT\n"
      "       filterprune [OPTIONS] --out-dir DIR INPUT...\n"
      "       filterprune inspect|compare|unpack|convert|verify|info|diff ...\n"
      "       filterprune export|profile|corpus|help ...",
      "Finds and prunes sparse convolution kernels, quantizes two-level filters, writes\n"
      "a smaller checkpoint and a report. INPUT is a file of safetensors, PyTorch,\n"
      "numpy, Keras or ONNX.",
      "filterprune model.safetensors small.safetensors\n"
      "filterprune --lossless -j2 model.safetensors same.safetensors",
      cmd_prune },
    { "inspect", CMD_INSPECT, 1, 1, "one INPUT",
      "filterprune inspect [OPTIONS] INPUT",
      "Diagnoses the convolution kernels of a checkpoint, dense or packed.",
      "filterprune inspect --html report.html model.safetensors\n"
      "filterprune inspect --json model.safetensors > report.json",
      cmd_inspect },
    { "compare", CMD_COMPARE, 2, 1000000, "at least two checkpoints",
      "filterprune compare [OPTIONS] A B ...",
      "How far kernel distributions are apart: the symmetric, variance-weighted\n"
      "Kullback-Leibler divergence of every pair of checkpoints in one common basis.",
      "filterprune compare --html shift.html old.safetensors new.safetensors",
      cmd_compare },
    { "unpack", CMD_UNPACK, 2, 2, "PACKED and OUTPUT",
      "filterprune unpack [OPTIONS] PACKED OUTPUT",
      "Restores a dense checkpoint: byte for byte the original after --lossless, else\n"
      "everything but the weights that were pruned or quantized.",
      "filterprune unpack small.safetensors model.safetensors",
      cmd_unpack },
    { "convert", CMD_CONVERT, 2, 2, "INPUT and OUTPUT",
      "filterprune convert [OPTIONS] INPUT OUTPUT",
      "Writes the tensors of a checkpoint of PyTorch, numpy, Keras or ONNX, bit for\n"
      "bit, as a safetensors file. Nothing in INPUT is executed.",
      "filterprune convert model.pth model.safetensors",
      cmd_convert },
    { "verify", CMD_VERIFY, 1, 2, "PACKED (and ORIGINAL, if you like)",
      "filterprune verify [OPTIONS] PACKED [ORIGINAL]",
      "Decodes every tensor and checks every checksum; with ORIGINAL, compares each\n"
      "tensor: the same bits, or within the error that PACKED states. Exit status 5\n"
      "tells of a difference.",
      "filterprune verify small.safetensors model.safetensors\n"
      "filterprune verify --json small.safetensors",
      cmd_verify },
    { "info", CMD_INFO, 1, 1, "one FILE",
      "filterprune info [OPTIONS] FILE",
      "Lists a checkpoint: names, dtypes, shapes, codecs and sizes of its tensors, what\n"
      "is taken for a convolution layer, and the metadata. Decodes nothing.",
      "filterprune info model.safetensors\n"
      "filterprune info --json model.safetensors",
      cmd_info },
    { "diff", CMD_DIFF, 2, 2, "A and B",
      "filterprune diff [OPTIONS] A B",
      "Compares two checkpoints of any format tensor by tensor: equal, changed and by\n"
      "how much, missing on either side. Exit status 0 when all is equal, else 5.",
      "filterprune diff model.safetensors dense.safetensors\n"
      "filterprune diff --strip module. trained.pth model.safetensors",
      cmd_diff },
    { "export", CMD_EXPORT, 2, 2, "FILE and OUTPUT",
      "filterprune export --bits lce [OPTIONS] FILE OUTPUT",
      "Writes the binary layers of a checkpoint for an engine that computes with bits:\n"
      "for each layer NAME, signs as NAME and scales as NAME.scale, in a safetensors\n"
      "file. Layers whose filters are not all +-alpha are left out, and named.",
      "filterprune export --bits lce model.safetensors bits.safetensors",
      cmd_export },
    { "profile", CMD_PROFILE, 2, 2, "INPUT and FILE.fpp",
      "filterprune profile [OPTIONS] INPUT FILE.fpp",
      "Writes what of a checkpoint's kernels adds up, for a corpus that is put together\n"
      "elsewhere: moments of every layer and, with --basis and --range, counts.",
      "filterprune profile model.safetensors model.fpp",
      cmd_profile },
    { "corpus", CMD_CORPUS, 1, 1000000, "checkpoints or profiles",
      "filterprune corpus --table CSV --by COLUMN --out DIR [OPTIONS] INPUT...",
      "Distributions of kernels of many checkpoints, grouped by what a table says of\n"
      "them: corpus.json, layers.csv, groups.csv, pages. Profiles are kept in\n"
      "DIR/profiles: what was ended goes on, and a regrouping reads no weights.",
      "filterprune corpus --table zoo.csv --by Task --out zoo *.safetensors",
      cmd_corpus },
    { NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL },
};

const command *find_command(const char *name)
{
    for (const command *c = commands; c->name; c++) {
        if (c->name[0] && !strcmp(c->name, name)) return c;
    }
    return NULL;
}

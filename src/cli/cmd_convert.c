/* convert: a checkpoint of any format as a safetensors file. */
#include "cli/cli.h"

#include <string.h>
#include <strings.h>

/* What is written is safetensors: a name that says otherwise would mislead. */
static bool misleads(const char *output)
{
    static const char *const others[] = { ".pt", ".pth", ".ckpt", ".bin", ".onnx", ".npz", ".npy", ".h5", ".hdf5", ".keras",
                                          ".gguf", ".tflite", ".pb", ".tar", ".pkl" };
    size_t n = strlen(output);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        size_t m = strlen(others[i]);
        if (n > m && !strcasecmp(output + n - m, others[i])) return true;
    }
    return false;
}

static void print_done(const settings *set, const fpr_model *model, double start)
{
    terminal term = terminal_for(stderr);
    char from[SAFE_NAME], to[SAFE_NAME], time[NUMBER_TEXT], count[NUMBER_TEXT], key[SAFE_NAME];
    const char *taken = fpr_model_key(model);
    fprintf(stderr, "%s%s %s %s%s, %s tensors of %s", style_on(&term, STYLE_BOLD), safe_name(from, set->operands[0]),
            arrow(&term), safe_name(to, set->operands[1]), style_off(&term),
            number_count(count, fpr_model_tensor_count(model)), fpr_model_format(model));
    if (taken && *taken) fprintf(stderr, ", key %s", safe_name(key, taken));
    fprintf(stderr, ", converted in %s\n", number_seconds(time, seconds_now() - start));
    print_left_out(model, false, &term);
}

int cmd_convert(const settings *set)
{
    const char *input = set->operands[0], *output = set->operands[1];
    fpr_options job = set->job;
    fpr_error error;
    fpr_model *model;
    progress bar;
    if (misleads(output)) return fail_usage("convert writes a safetensors file; OUTPUT should be named *.safetensors");
    progress_begin(&bar, set, &job, NULL);
    fpr_status done = fpr_convert(input, output, &job, &error);
    progress_end(&bar);
    if (done != FPR_OK) return fail(&error, input);
    if (!set->quiet && fpr_model_open_with(input, &set->job, &model, &error) == FPR_OK) {
        print_done(set, model, bar.start);
        fpr_model_close(model);
    }
    return EXIT_DONE;
}

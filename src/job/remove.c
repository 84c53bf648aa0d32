/* ONNX in, ONNX out: prunes by the main job's rules into a checkpoint of its own, then takes out of the graph what
 * nobody needs, until nothing more leaves, and compares the outputs before and after. The same of a checkpoint whose
 * graph another file holds: its tensors take the place of the graph's, and lose what leaves. */
#include "job/match.h"
#include "job/prune.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIDE 224              /* of open dimensions, for the multiply-adds, unless options->side says otherwise */
#define PASSES_MAX 8u
#define COMPARE_MACS_MAX 3e9  /* more are left to `verify`: the evaluator does some 1e9 a second */

typedef struct remove_run {
    const char *input, *output, *network; /* network: the ONNX file */
    const fpr_options *options;
    bool checkpoint;         /* what loses channels is a checkpoint */
    fpr_model *tensors;      /* the checkpoint as it was */
    graph *original;         /* the network as its file is; with it: */
    job_match match;
    char *folder, *weights, *model[2]; /* private files, gone at the end */
    fpr_model *pruned;
    fpr_report *report;
    fpr_error *error;
} remove_run;

bool job_is_onnx(const char *output)
{
    size_t n = output ? strlen(output) : 0;
    return n > 5 && !strcmp(output + n - 5, ".onnx");
}

/* ---- pruned weights, by name */

static const fpr_tensor *find_weight(void *context, const char *name, size_t name_bytes, uint64_t bytes)
{
    const remove_run *run = context;
    if (strlen(name) != name_bytes) return NULL;
    if (run->checkpoint) {
        const onnx_name known = onnx_find_name(run->match.graph, name);
        const uint32_t of = known ? run->match.of[known] : 0;
        name = of ? model_tensor(run->tensors, of - 1)->name : NULL;
    }
    const fpr_tensor *t = name ? fpr_model_find(run->pruned, name) : NULL;
    return t && t->bytes == bytes ? t : NULL;
}

static bool has_weight(void *context, const char *name, size_t name_bytes, uint64_t bytes)
{
    return find_weight(context, name, name_bytes, bytes) != NULL;
}

static fpr_status read_weight(void *context, const char *name, size_t name_bytes, void *dst, uint64_t bytes,
                              fpr_error *error)
{
    const remove_run *run = context;
    return fpr_model_read(run->pruned, model_number(run->pruned, find_weight(context, name, name_bytes, bytes)), dst, error);
}

/* What the graph has of its own, and the checkpoint has not. New biases are neither's. */
static bool is_frozen(void *context, const char *name, size_t name_bytes)
{
    const remove_run *run = context;
    const onnx_name known = strlen(name) == name_bytes ? onnx_find_name(run->match.graph, name) : 0;
    return known && !run->match.of[known];
}

/* ---- files */

static char *in_folder(const char *folder, const char *name)
{
    size_t n = strlen(folder) + strlen(name) + 2;
    char *path = base_alloc(n, 1);
    if (path) snprintf(path, n, "%s/%s", folder, name);
    return path;
}

/* Beside the output, where there is room for it; a dry run writes nothing there. */
static fpr_status make_folder(remove_run *run)
{
    const char *slash = run->output ? strrchr(run->output, '/') : NULL, *temporary = getenv("TMPDIR");
    size_t n = run->options->dry_run || !slash ? 0 : (size_t)(slash - run->output) + 1;
    char *beside = base_copy_text(n ? run->output : run->options->dry_run ? (temporary ? temporary : "/tmp") : ".",
                                  n ? n : run->options->dry_run ? strlen(temporary ? temporary : "/tmp") : 1);
    run->folder = beside ? in_folder(beside, ".filterprune-XXXXXX") : NULL;
    base_free(beside);
    if (!run->folder) return base_no_memory(run->error, PATH_MAX);
    if (!mkdtemp(run->folder)) {
        base_free(run->folder);
        run->folder = NULL;
        return base_fail(run->error, FPR_IO, "cannot make a folder beside OUTPUT to work in");
    }
    run->weights = in_folder(run->folder, "weights.safetensors");
    run->model[0] = in_folder(run->folder, "a.onnx");
    run->model[1] = in_folder(run->folder, "b.onnx");
    return run->weights && run->model[0] && run->model[1] ? FPR_OK : base_no_memory(run->error, strlen(run->folder));
}

static void remove_folder(remove_run *run)
{
    char *files[] = {run->weights, run->model[0], run->model[1]};
    for (size_t i = 0; i < 3; i++) {
        if (files[i]) unlink(files[i]);
        base_free(files[i]);
    }
    if (run->folder) rmdir(run->folder);
    base_free(run->folder);
}

static fpr_status to_file(void *context, const void *bytes, uint64_t count, fpr_error *error)
{
    return file_out_write(context, bytes, count, error);
}

static fpr_status write_graph(const graph *g, const graph_removal *removal, const char *path, fpr_error *error)
{
    file_out *out;
    fpr_status status = file_out_create(path, true, &out, error);
    if (status) return status;
    status = graph_write(g, removal, to_file, out, error);
    if (!status) return file_out_commit(out, error);
    file_out_abandon(out);
    return status;
}

static fpr_status copy_out(remove_run *run, const char *from)
{
    file_source *file;
    file_out *out = NULL;
    uint8_t *block = base_alloc(1u << 20, 1);
    file_hash *hash = file_hash_new();
    fpr_status status = file_source_open(from, &file, run->error);
    if (!status && (!block || !hash)) status = base_no_memory(run->error, 1u << 20);
    if (!status) status = file_out_create(run->output, run->options->force, &out, run->error);
    uint64_t size = status ? 0 : file_source_size(file);
    for (uint64_t at = 0; at < size && !status;) {
        uint64_t n = size - at < 1u << 20 ? size - at : 1u << 20;
        status = file_source_read(file, at, block, n, run->error);
        if (!status) status = file_out_write(out, block, n, run->error);
        if (!status) file_hash_add(hash, block, n);
        at += n;
    }
    uint64_t sum = hash ? file_hash_end(hash) : 0;
    if (!status) status = file_out_commit(out, run->error);
    else file_out_abandon(out);
    if (!status && run->report) run->report->output_hash = sum;
    file_source_close(file);
    base_free(block);
    return status;
}

/* ---- what is said */

static char *copy(const char *text) { return base_copy_text(text, strlen(text)); }

static bool take_layers(fpr_removal *to, const graph_removal *from)
{
    bool first = !to->layers;
    if (first) to->layers = base_calloc(from->layer_count, sizeof *to->layers);
    if (!to->layers) return false;
    for (size_t i = 0; i < from->layer_count && (first || i < to->layer_count); i++) {
        fpr_removed_layer *l = &to->layers[i];
        const graph_layer *g = &from->layers[i];
        if (first) {
            *l = (fpr_removed_layer){.in_before = g->in_before, .out_before = g->out_before,
                                     .parameters_before = g->parameters_before, .macs_before = g->macs_before};
            l->name = copy(g->name), l->weight = copy(g->weight), l->op = copy(g->op);
            to->layer_count = i + 1;
            if (!l->name || !l->weight || !l->op) return false;
        }
        l->in_after = g->in_after, l->out_after = g->out_after;
        l->parameters_after = g->parameters_after, l->macs_after = g->macs_after;
        l->dead += g->dead, l->constant += g->constant, l->unread += g->unread, l->merged += g->merged;
    }
    to->channels += from->channels;
    return true;
}

/* Of the last pass: what still stands there. */
static bool take_stops(fpr_removal *to, const graph_removal *from)
{
    to->stops = base_calloc(from->stop_count, sizeof *to->stops);
    for (size_t i = 0; to->stops && i < from->stop_count; i++) {
        to->stops[i] = (fpr_removal_stop){copy(from->stops[i].op), copy(from->stops[i].node), from->stops[i].channels};
        to->stop_count = i + 1;
        if (!to->stops[i].op || !to->stops[i].node) return false;
    }
    return to->stops != NULL;
}

static void sum_up(fpr_removal *r)
{
    r->parameters_before = r->parameters_after = r->macs_before = r->macs_after = 0;
    for (size_t i = 0; i < r->layer_count; i++) {
        r->parameters_before += r->layers[i].parameters_before;
        r->parameters_after += r->layers[i].parameters_after;
        r->macs_before += r->layers[i].macs_before;
        r->macs_after += r->layers[i].macs_after;
    }
}

/* ---- passes */

static int64_t side_of(const fpr_options *o) { return o->side ? o->side : SIDE; }

/* Until nothing more leaves; *last is the file of the last one. */
static fpr_status run_passes(remove_run *run, const graph_weights *weights, fpr_removal *result, const char **last)
{
    fpr_status status = FPR_OK;
    bool more = true;
    const char *from = run->network;
    const graph_weights later = {.frozen = weights->frozen, .context = run};
    for (unsigned pass = 0; more && pass < PASSES_MAX && !status; pass++) {
        graph *g;
        graph_removal removal = {0};
        status = job_open_graph(from, pass ? &later : weights, run->options->cancel, &g, run->error);
        if (!status) status = graph_remove(g, side_of(run->options), run->options->cancel, &removal, run->error);
        if (!status && graph_model(g)->inner_count && run->options->max_error > 0)
            status = base_fail(run->error, FPR_USAGE, "tensors of subgraphs stay as they are in an ONNX OUTPUT: --max-error cannot hold for them");
        result->side = g && graph_is_open(g) ? (uint64_t)side_of(run->options) : 0;
        more = removal.channels > 0;
        if (!status && (!take_layers(result, &removal) || (!more && !take_stops(result, &removal))))
            status = base_no_memory(run->error, removal.layer_count * sizeof(fpr_removed_layer));
        if (!status && (more || !pass)) {
            status = write_graph(g, &removal, run->model[pass % 2], run->error);
            from = *last = run->model[pass % 2];
        }
        graph_removal_free(&removal);
        graph_close(g);
    }
    sum_up(result);
    return status;
}

static double compare_macs(const graph *g, const fpr_removal *r, int64_t side)
{
    double scale = 1;
    for (size_t i = 0; i < graph_input_count(g); i++) {
        array a, b;
        if (graph_input_shape(g, i, 1, side, &a) && graph_input_shape(g, i, 2, JOB_COMPARE_SIDE, &b) && a.count)
            scale *= (double)b.count / (double)a.count;
    }
    return scale * (double)r->macs_before;
}

static fpr_status compare(remove_run *run, const graph_weights *weights, const char *small, fpr_removal *r)
{
    graph *before, *after = NULL;
    graph_difference d = {0};
    fpr_status status = job_open_graph(run->network, weights, run->options->cancel, &before, run->error);
    if (!status) status = job_open_graph(small, NULL, run->options->cancel, &after, run->error);
    r->difference = (double)NAN;
    if (!status && compare_macs(before, r, side_of(run->options)) > COMPARE_MACS_MAX) {
        r->not_compared = copy("more than 3e9 multiply-adds");
    } else if (!status) {
        fpr_error why;
        status = job_compare_graphs(before, after, run->options->cancel, &d, &why);
        if (status == FPR_USAGE) r->not_compared = copy(why.message), status = FPR_OK;
        else if (status && run->error) *run->error = why;
        else if (!status) r->difference = d.worst;
    }
    if (!status && !r->not_compared && r->difference > job_same(before))
        status = rows_warn(&run->report->warnings, &run->report->warning_count, run->error,
                           "what left changed the outputs by up to %.3g of their largest magnitude, more than rounding explains: "
                           "test the network", r->difference);
    graph_close(before);
    graph_close(after);
    return status;
}

static fpr_status check_options(const remove_run *run)
{
    const fpr_options *o = run->options;
    fpr_model *model;
    if (o->cast != FPR_CAST_NONE || o->drop.count || o->target_bytes > 0)
        return base_fail(run->error, FPR_USAGE,
                         run->checkpoint ? "what channels leave is neither cast, nor are tensors dropped, nor has it a target size"
                                         : "an ONNX OUTPUT is neither cast, nor are tensors dropped, nor has it a target size");
    fpr_status status = fpr_model_open_with(run->input, o, &model, run->error);
    if (status) return status;
    if (run->checkpoint && model_is_index(model))
        status = base_fail(run->error, FPR_USAGE, "a sharded INPUT keeps its channels: join it first with convert");
    if (!run->checkpoint && strcmp(fpr_model_format(model), "onnx") != 0)
        status = base_fail(run->error, FPR_USAGE, "only an ONNX INPUT can become an ONNX OUTPUT; this one is %s", fpr_model_format(model));
    if (!status) status = output_check(model, run->output, o, run->error);
    fpr_model_close(model);
    return status;
}

/* The report of the pruning becomes that of the whole. */
static fpr_status finish_report(remove_run *run, const char *small)
{
    file_source *file;
    fpr_report *r = run->report;
    fpr_status status = file_source_open(small, &file, run->error);
    if (status) return status;
    base_free(r->output_path);
    r->output_path = run->output ? copy(run->output) : NULL;
    r->output_bytes = file_source_size(file);
    r->output_dense = true;
    r->options.dry_run = run->options->dry_run;
    r->options.dense = run->options->dense;
    r->options.keep_channels = run->options->keep_channels;
    file_source_close(file);
    if (run->output && !r->output_path) return base_no_memory(run->error, PATH_MAX);
    if (!run->checkpoint && r->output_bytes > r->input_bytes)
        status = rows_warn_larger(r, r->output_bytes, r->input_bytes,
                                  "a tensor that several read is written once for each of them that loses other channels", run->error);
    if (status || !(run->options->max_error > 0)) return status;
    return rows_warn(&r->warnings, &r->warning_count, run->error,
                     "--max-error makes this file no smaller: rounded weights take fewer bytes in a packed file alone%s",
                     run->checkpoint ? " (--keep-channels)" : "");
}

/* The graph as its file is, and whose tensors it has. */
static fpr_status match_checkpoint(remove_run *run)
{
    if (!run->checkpoint) return FPR_OK;
    fpr_status status = fpr_model_open_with(run->input, run->options, &run->tensors, run->error);
    if (!status) status = job_open_graph(run->network, NULL, run->options->cancel, &run->original, run->error);
    return status ? status : job_match_new(graph_model(run->original), run->tensors, &run->match, run->error);
}

static fpr_status write_output(remove_run *run, const char *small, fpr_removal *result)
{
    if (!run->checkpoint) return run->options->dry_run ? FPR_OK : copy_out(run, small);
    graph *after;
    char *made = in_folder(run->folder, "small.safetensors");
    fpr_status status = made ? job_open_graph(small, NULL, run->options->cancel, &after, run->error) : base_no_memory(run->error, 1);
    if (!status) {
        status = job_write_shapes(&run->match, run->original, after, run->pruned, made, true, result, &result->shapes, run->error);
        graph_close(after);
    }
    if (!status) status = finish_report(run, made);
    if (!status && !run->options->dry_run) status = copy_out(run, made);
    if (made) unlink(made);
    base_free(made);
    return status;
}

fpr_status job_remove(const char *input, const char *output, const fpr_options *options, fpr_report **report, fpr_error *error)
{
    const bool onnx = job_is_onnx(output);
    remove_run run = {.input = input, .output = output, .network = onnx ? input : options->graph, .checkpoint = !onnx,
                      .options = options, .error = error};
    const graph_weights weights = {has_weight, read_weight, run.checkpoint ? is_frozen : NULL, &run};
    fpr_options own = *options;
    fpr_removal *result = NULL;
    const char *small = NULL;
    own.dense = own.force = true;
    own.keep_channels = run.checkpoint;
    own.dry_run = false;
    fpr_status status = fpr_options_check(options, error);
    if (!status && onnx && options->graph)
        status = base_fail(error, FPR_USAGE, "an ONNX INPUT is its own graph");
    if (!status) status = check_options(&run);
    if (!status) status = make_folder(&run);
    if (!status) status = match_checkpoint(&run);
    if (!status) status = prune_weights(input, run.weights, &own, &run.report, error);
    if (!status) status = fpr_model_open(run.weights, &run.pruned, error);
    if (!status && !(result = run.report->removal = base_calloc(1, sizeof *result))) status = base_no_memory(error, sizeof *result);
    if (!status) status = run_passes(&run, &weights, result, &small);
    if (!status) status = compare(&run, &weights, small, result);
    if (!status && onnx) status = finish_report(&run, small);
    if (!status) status = write_output(&run, small, result);
    job_match_free(&run.match);
    graph_close(run.original);
    fpr_model_close(run.tensors);
    fpr_model_close(run.pruned);
    remove_folder(&run);
    if (status) base_error_in_file(error, input);
    if (status || !report) fpr_report_free(run.report);
    else *report = run.report;
    return status;
}

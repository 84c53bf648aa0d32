/* Frees what the jobs hand out. Every pointer inside may be NULL, so that a job that failed half-way can use these. */
#include "report/report.h"

static void free_strings(char **strings, size_t count)
{
    for (size_t i = 0; strings && i < count; i++) base_free(strings[i]);
    base_free(strings);
}

static void free_basis(fpr_basis *basis)
{
    base_free(basis->mean);
    base_free(basis->components);
    base_free(basis->singular_values);
    base_free(basis->explained_variance_ratio);
}

static void free_distribution(fpr_distribution *distribution)
{
    base_free(distribution->counts);
    base_free(distribution->kde);
}

static void free_layer(fpr_layer *layer)
{
    base_free(layer->name);
    base_free(layer->shape);
    base_free(layer->explained_variance_ratio);
    base_free(layer->dead_filters);
    base_free(layer->dead_channels);
    for (unsigned kind = 0; kind < FPR_SAMPLE_KINDS; kind++) base_free(layer->sample[kind]);
    base_free(layer->picture_before);
    base_free(layer->picture_after);
    base_free(layer->spectrum.values);
    free_strings(layer->warnings, layer->warning_count);
}

static void free_removal(fpr_removal *r)
{
    if (!r) return;
    for (size_t i = 0; r->layers && i < r->layer_count; i++) {
        base_free(r->layers[i].name);
        base_free(r->layers[i].weight);
        base_free(r->layers[i].op);
    }
    for (size_t i = 0; r->stops && i < r->stop_count; i++) {
        base_free(r->stops[i].op);
        base_free(r->stops[i].node);
    }
    base_free(r->layers);
    base_free(r->stops);
    base_free(r->not_compared);
    base_free(r->shapes);
    base_free(r);
}

void fpr_report_free(fpr_report *report)
{
    if (!report) return;
    free_removal(report->removal);
    base_free(report->sweep);
    base_free(report->input_path);
    base_free(report->input_format);
    base_free(report->input_key);
    base_free(report->graph_path);
    for (size_t i = 0; report->left_out && i < report->left_out_count; i++) {
        base_free(report->left_out[i].name);
        base_free(report->left_out[i].why);
    }
    base_free(report->left_out);
    base_free(report->output_path);
    free_strings(report->only, report->only_count);
    free_strings(report->skip, report->skip_count);
    free_strings(report->drop, report->drop_count);
    free_strings(report->transposed, report->transposed_count);
    for (size_t i = 0; report->groups && i < report->group_count; i++) {
        fpr_group *group = &report->groups[i];
        free_basis(&group->basis);
        free_distribution(&group->before);
        free_distribution(&group->after);
        free_distribution(&group->live_before);
        free_distribution(&group->live_after);
        base_free(group->divergence.per_component);
        base_free(group->live_divergence.per_component);
    }
    base_free(report->groups);
    for (uint64_t i = 0; report->layers && i < report->layer_count; i++) free_layer(&report->layers[i]);
    base_free(report->layers);
    for (size_t i = 0; report->others && i < report->other_count; i++) {
        base_free(report->others[i].name);
        base_free(report->others[i].shape);
        base_free(report->others[i].spectrum.values);
    }
    base_free(report->others);
    for (size_t i = 0; report->lookalikes && i < report->lookalike_count; i++) {
        base_free(report->lookalikes[i].name);
        base_free(report->lookalikes[i].shape);
    }
    base_free(report->lookalikes);
    base_free(report->changes.wholly_zero);
    free_strings(report->warnings, report->warning_count);
    base_free(report);
}

void fpr_comparison_free(fpr_comparison *comparison)
{
    if (!comparison) return;
    base_free(comparison->basis_source);
    free_basis(&comparison->basis);
    for (size_t i = 0; comparison->models && i < comparison->model_count; i++) {
        base_free(comparison->models[i].path);
        base_free(comparison->models[i].name);
        free_distribution(&comparison->models[i].distribution);
    }
    base_free(comparison->models);
    base_free(comparison->divergence);
    base_free(comparison->per_component);
    base_free(comparison->noise_median);
    base_free(comparison->noise_q95);
    base_free(comparison->order);
    base_free(comparison->weights);
    free_strings(comparison->left_out, comparison->left_out_count);
    free_strings(comparison->warnings, comparison->warning_count);
    base_free(comparison);
}

void fpr_corpus_free(fpr_corpus *corpus)
{
    if (!corpus) return;
    for (size_t i = 0; corpus->models && i < corpus->model_count; i++) base_free(corpus->models[i].name);
    for (size_t i = 0; corpus->layers && i < corpus->layer_count; i++) {
        base_free(corpus->layers[i].model);
        base_free(corpus->layers[i].name);
    }
    for (size_t b = 0; corpus->by && b < corpus->by_count; b++) {
        fpr_corpus_by *by = &corpus->by[b];
        for (size_t i = 0; by->groups && by->more && i < by->groups->model_count; i++) {
            free_basis(&by->more[i].basis);
            base_free(by->more[i].plane);
        }
        fpr_comparison_free(by->groups);
        base_free(by->more);
        base_free(by->column);
    }
    base_free(corpus->models);
    base_free(corpus->layers);
    base_free(corpus->by);
    base_free(corpus->basis_source);
    base_free(corpus->weights);
    free_basis(&corpus->basis);
    free_strings(corpus->warnings, corpus->warning_count);
    base_free(corpus);
}

void fpr_verification_free(fpr_verification *verification)
{
    if (!verification) return;
    for (size_t i = 0; verification->tensors && i < verification->tensor_count; i++) {
        base_free(verification->tensors[i].name);
        base_free(verification->tensors[i].problem);
    }
    base_free(verification->tensors);
    base_free(verification->verdict);
    base_free(verification->suspicion);
    base_free(verification);
}

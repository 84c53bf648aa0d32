/* Where the files of an output are made, and how they get their names.
 *
 * One file is atomic by itself (file/outfile.c). The shards of a checkpoint and their index are one thing, too: they are
 * made in a folder of their own, .filterprune-*, each of them whole, on disk and closed again, before anything is seen
 * under its name. Then
 *
 *   OUTPUT is not there    the folder gets its name, unless somebody else has taken it meanwhile
 *   OUTPUT is ours alone   (an output and its reports, nothing else) old and new folder change places, in one step
 *   otherwise              the files go in one by one, under a lock, the index last; where files are replaced (--force),
 *                          the old index is taken away first, so that whoever finds it interrupted finds no index, and
 *                          each file changes places with its successor, so that all can be put back
 *
 * What is removed at the end is what this process has made, in a folder that nobody else knows. */
#include "out/out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGE_PREFIX ".filterprune-"
#define OLD_INDEX ".index-before" /* in the stage, while files go in one by one */

struct out_place {
    const fpr_model *model;
    bool force;
    char *output;     /* without slashes at its end */
    file_out *single; /* of one file, finished, not yet committed */
    char *stage;      /* path of the folder; NULL: one file */
    int stage_fd;     /* the same, open */
    const char **names; /* of the files in the stage: shards, at last the index; borrowed from the model */
    size_t count;
};

static char *without_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    return base_copy_text(path, n);
}

/* ---------------------------------------------------------------- the stage */

static fpr_status make_stage(out_place *p, const char *folder, fpr_error *error)
{
    for (;;) {
        uint64_t random;
        char name[40];
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random) {
            if (errno == EINTR) continue;
            return base_fail_errno(error, FPR_IO, errno, "no random name to be had");
        }
        snprintf(name, sizeof name, STAGE_PREFIX "%016llx", (unsigned long long)random);
        base_free(p->stage);
        p->stage = base_join_path(folder, name);
        if (!p->stage) return base_no_memory(error, strlen(folder));
        if (mkdir(p->stage, 0777) == 0) break;
        const int problem = errno;
        base_free(p->stage);
        p->stage = NULL; /* not ours */
        if (problem != EEXIST) return base_fail_errno(error, FPR_IO, problem, "cannot make the directory");
    }
    do p->stage_fd = open(p->stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (p->stage_fd < 0 && errno == EINTR);
    return p->stage_fd >= 0 ? FPR_OK : base_fail_errno(error, FPR_IO, errno, "cannot open the directory");
}

/* The folder that a folder lies in. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return base_copy_text(".", 1);
    return base_copy_text(path, slash == path ? 1 : (size_t)(slash - path));
}

static bool is_new_name(const out_place *p, const char *name)
{
    if (!strcmp(name, model_index_name(p->model))) return true;
    for (size_t s = 0; s < fpr_model_shard_count(p->model); s++)
        if (!strcmp(name, model_shard_name(p->model, s))) return true;
    return false;
}

static bool is_report(const char *name)
{
    static const char *const ends[] = {".report.json", ".report.html"};
    const size_t n = strlen(name);
    for (unsigned i = 0; i < 2; i++)
        if (n > strlen(ends[i]) && !strcmp(name + n - strlen(ends[i]), ends[i])) return true;
    return false;
}

typedef bool (*entry_visit)(const out_place *p, int folder, const char *name);

/* Whether all entries of a folder pass; nothing is said of one that cannot be read. */
static bool all_entries(const out_place *p, const char *path, entry_visit visit)
{
    DIR *folder = opendir(path);
    if (!folder) return false;
    bool fine = true;
    const struct dirent *e;
    while (fine && (e = readdir(folder)))
        fine = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || visit(p, dirfd(folder), e->d_name);
    closedir(folder);
    return fine;
}

static bool is_own(const out_place *p, int folder, const char *name)
{
    struct stat is;
    return fstatat(folder, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(is.st_mode) &&
           (is_new_name(p, name) || is_report(name));
}

static bool is_ours_alone(const out_place *p, const char *path) { return all_entries(p, path, is_own); }

/* Beside OUTPUT where the folder itself may get its name or change places, in it otherwise. */
static fpr_status choose_stage(out_place *p, fpr_error *error)
{
    struct stat is;
    const bool exists = stat(p->output, &is) == 0;
    if (!exists && (errno != ENOENT || lstat(p->output, &is) == 0))
        return base_fail_errno(error, FPR_IO, errno, "cannot make the directory");
    if (exists && !S_ISDIR(is.st_mode)) return base_fail_errno(error, FPR_IO, ENOTDIR, "cannot make the directory");
    if (exists && !(p->force && is_ours_alone(p, p->output))) return make_stage(p, p->output, error);
    char resolved[PATH_MAX]; /* beside the folder, not beside a link to it */
    char *parent = parent_of(exists && realpath(p->output, resolved) ? resolved : p->output);
    if (!parent) return base_no_memory(error, strlen(p->output));
    struct stat above;
    fpr_error refused = {0};
    fpr_status status = exists && (stat(parent, &above) != 0 || above.st_dev != is.st_dev)
                            ? FPR_IO
                            : make_stage(p, parent, exists ? &refused : error);
    if (exists && status == FPR_IO) status = make_stage(p, p->output, error); /* a mount, or no right to write above */
    base_free(parent);
    return status;
}

fpr_status place_new(const fpr_model *model, const char *output, const fpr_options *options, out_place **place,
                     fpr_error *error)
{
    out_place *p = *place = base_calloc(1, sizeof *p);
    if (!p) return base_no_memory(error, sizeof *p);
    p->model = model;
    p->force = options->force;
    p->stage_fd = -1;
    p->output = model_is_index(model) ? without_slashes(output) : base_copy_text(output, strlen(output));
    fpr_status status = p->output ? FPR_OK : base_no_memory(error, strlen(output));
    if (!status && model_is_index(model)) {
        p->names = base_alloc(fpr_model_shard_count(model) + 1, sizeof *p->names);
        status = p->names ? choose_stage(p, error) : base_no_memory(error, fpr_model_shard_count(model) * sizeof *p->names);
    }
    if (!status) return FPR_OK;
    base_error_in_file(error, output);
    place_free(p);
    *place = NULL;
    return status;
}

/* The folders that a name leads through; those that are there stay. */
static void make_parents(int folder, const char *name)
{
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        char *path = base_copy_text(name, (size_t)(slash - name));
        if (path) (void)!mkdirat(folder, path, 0777); /* what could not be made is told by the file in it */
        base_free(path);
    }
}

/* Those that are empty, the innermost first. */
static void remove_parents(int folder, const char *name)
{
    char *path = strchr(name, '/') ? base_copy_text(name, strlen(name)) : NULL;
    for (char *slash; path && (slash = strrchr(path, '/'));) {
        *slash = 0;
        if (unlinkat(folder, path, AT_REMOVEDIR) != 0) break;
    }
    base_free(path);
}

char *place_path(const out_place *p, size_t shard)
{
    if (p->stage) make_parents(p->stage_fd, model_shard_name(p->model, shard));
    return p->stage ? base_join_path(p->stage, model_shard_name(p->model, shard)) : base_copy_text(p->output, strlen(p->output));
}

/* An error in a file of the stage is one of the file that it is to be. */
static fpr_status named(const out_place *p, fpr_status status, const char *name, fpr_error *error)
{
    char *path = status && error && p->stage ? base_join_path(p->output, name) : NULL;
    if (path) {
        error->file[0] = 0;
        base_error_in_file(error, path);
        base_free(path);
    }
    return status;
}

fpr_status place_failed(const out_place *p, size_t shard, fpr_status status, fpr_error *error)
{
    return p->stage ? named(p, status, model_shard_name(p->model, shard), error) : status;
}

fpr_status place_add(out_place *p, size_t shard, file_out *out, fpr_error *error)
{
    if (!p->stage) {
        p->single = out;
        return FPR_OK;
    }
    p->names[p->count++] = model_shard_name(p->model, shard);
    return place_failed(p, shard, file_out_finish(out, error), error);
}

static void empty_stage(out_place *p)
{
    for (size_t i = 0; i < p->count; i++) unlinkat(p->stage_fd, p->names[i], 0);
    for (size_t s = 0; p->stage && s < fpr_model_shard_count(p->model); s++)
        remove_parents(p->stage_fd, model_shard_name(p->model, s));
    p->count = 0;
}

void place_again(out_place *p)
{
    file_out_abandon(p->single);
    p->single = NULL;
    empty_stage(p);
}

void place_free(out_place *p)
{
    if (!p) return;
    place_again(p);
    if (p->stage) rmdir(p->stage);
    if (p->stage_fd >= 0) close(p->stage_fd);
    base_free(p->names);
    base_free(p->stage);
    base_free(p->output);
    base_free(p);
}

/* ---------------------------------------------------------------- the index */

static fpr_status add_index(out_place *p, const writer_tensor *tensors, const char *set, fpr_error *error)
{
    char *path = base_join_path(p->stage, model_index_name(p->model));
    file_text text = {0};
    file_out *out = NULL;
    fpr_status status =
        path ? output_index_text(p->model, tensors, set, &text, error) : base_no_memory(error, strlen(p->stage));
    if (!status) status = file_out_create(path, false, &out, error);
    if (!status) status = file_out_write(out, text.bytes, text.count, error);
    if (status) file_out_abandon(out);
    else p->names[p->count++] = model_index_name(p->model);
    if (!status) status = file_out_finish(out, error);
    file_text_free(&text);
    base_free(path);
    return named(p, status, model_index_name(p->model), error);
}

/* ---------------------------------------------------------------- names */

static void sync_folder(int fd)
{
    /* Some network file systems cannot flush a directory; there is nothing more to do then. */
    while (fsync(fd) != 0 && errno == EINTR) {}
}

static void sync_path(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    sync_folder(fd);
    close(fd);
}

/* The folder has its new name: nothing of it is to be removed. */
static void let_go(out_place *p)
{
    p->count = 0;
    base_free(p->stage);
    p->stage = NULL;
}

static bool move_new(int from, const char *name, int to, const char *as)
{
    if (renameat2(from, name, to, as, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    return linkat(from, name, to, as, 0) == 0 && unlinkat(from, name, 0) == 0;
}

/* Two files change places; where the file system cannot do it in one step, in three. */
static bool swap(int a, const char *name, int b)
{
    static const char aside[] = ".aside";
    if (renameat2(a, name, b, name, RENAME_EXCHANGE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    if (renameat(b, name, a, aside) != 0) return false;
    if (renameat(a, name, b, name) == 0) return renameat(a, aside, a, name) == 0;
    const int problem = errno;
    if (renameat(a, aside, b, name) != 0) return false;
    errno = problem;
    return false;
}

/* Owner and mode of the file that is replaced; where its group cannot be kept, ours must not inherit the rights. */
static void keep_mode(int stage, int folder, const char *name)
{
    struct stat old, now;
    if (fstatat(folder, name, &old, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(old.st_mode)) return;
    if (fstatat(stage, name, &now, AT_SYMLINK_NOFOLLOW) != 0) return;
    mode_t mode = old.st_mode & 0777;
    if ((now.st_uid != old.st_uid || now.st_gid != old.st_gid) &&
        fchownat(stage, name, old.st_uid, old.st_gid, AT_SYMLINK_NOFOLLOW) != 0 &&
        fchownat(stage, name, (uid_t)-1, old.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
        mode &= (mode_t)~070;
    (void)!fchmodat(stage, name, mode, 0);
}

/* ---------------------------------------------------------------- file by file */

typedef struct switching {
    out_place *place;
    int folder;
    bool *swapped; /* [names] it has changed places with an older one, which is in the stage now */
    size_t done;   /* names that are in the folder */
    bool old_index; /* is in the stage */
} switching;

/* Still the file that was put there: nobody has replaced it since. */
static bool is_same(const switching *s, const char *name, const struct stat *put)
{
    struct stat now;
    return fstatat(s->folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_dev == put->st_dev && now.st_ino == put->st_ino;
}

static fpr_status put_one(switching *s, size_t i, fpr_error *error)
{
    const out_place *p = s->place;
    const char *name = p->names[i];
    struct stat old;
    s->swapped[i] = p->force && fstatat(s->folder, name, &old, AT_SYMLINK_NOFOLLOW) == 0;
    if (s->swapped[i] && !S_ISREG(old.st_mode) && !S_ISLNK(old.st_mode))
        return base_fail(error, FPR_EXISTS, "is no regular file, it is not overwritten");
    if (s->swapped[i]) keep_mode(p->stage_fd, s->folder, name);
    else make_parents(s->folder, name);
    if (s->swapped[i] ? swap(p->stage_fd, name, s->folder) : move_new(p->stage_fd, name, s->folder, name)) {
        s->done++;
        return FPR_OK;
    }
    if (errno == EEXIST) return base_fail(error, FPR_EXISTS, "was created by somebody else");
    return base_fail_errno(error, FPR_IO, errno, "cannot give the finished file its name");
}

/* Puts back what was there before. */
static void undo(switching *s, const struct stat *put)
{
    const out_place *p = s->place;
    for (size_t i = s->done; i-- > 0;) {
        if (!is_same(s, p->names[i], &put[i])) continue;
        if (s->swapped[i]) swap(p->stage_fd, p->names[i], s->folder);
        else unlinkat(s->folder, p->names[i], 0);
    }
    for (size_t i = 0; i <= s->done && i < p->count; i++) remove_parents(s->folder, p->names[i]);
    if (s->old_index) move_new(p->stage_fd, OLD_INDEX, s->folder, model_index_name(p->model));
}

static fpr_status put_all(switching *s, fpr_error *error)
{
    const out_place *p = s->place;
    struct stat *put = base_calloc(p->count, sizeof *put);
    fpr_status status = put && s->swapped ? FPR_OK : base_no_memory(error, p->count * sizeof *put);
    for (size_t i = 0; !status && i < p->count; i++)
        if (fstatat(p->stage_fd, p->names[i], &put[i], AT_SYMLINK_NOFOLLOW) != 0)
            status = base_fail_errno(error, FPR_IO, errno, "cannot look at the finished file");
    struct stat old;
    if (!status && p->force && fstatat(s->folder, model_index_name(p->model), &old, AT_SYMLINK_NOFOLLOW) == 0) {
        keep_mode(p->stage_fd, s->folder, model_index_name(p->model));
        s->old_index = renameat(s->folder, model_index_name(p->model), p->stage_fd, OLD_INDEX) == 0;
        if (!s->old_index) status = base_fail_errno(error, FPR_IO, errno, "cannot replace the index");
        else sync_folder(s->folder);
    }
    for (size_t i = 0; !status && i < p->count; i++) status = named(p, put_one(s, i, error), p->names[i], error);
    if (status && put) undo(s, put);
    if (!status) sync_folder(s->folder);
    if (s->old_index) unlinkat(p->stage_fd, OLD_INDEX, 0);
    base_free(put);
    return status;
}

static fpr_status switch_files(out_place *p, fpr_error *error)
{
    switching s = {.place = p, .folder = open(p->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                   .swapped = base_calloc(p->count, sizeof *s.swapped)};
    fpr_status status = s.folder >= 0 ? FPR_OK : base_fail_errno(error, FPR_IO, errno, "cannot open the directory");
    /* Of two processes one goes first; a file system without locks must do without. */
    while (!status && flock(s.folder, LOCK_EX) != 0 && errno == EINTR) {}
    if (!status) status = put_all(&s, error);
    if (s.folder >= 0) close(s.folder);
    base_free(s.swapped);
    return status;
}

/* ---------------------------------------------------------------- the folder as a whole */

static bool take_report(const out_place *p, int folder, const char *name)
{
    if (is_new_name(p, name)) keep_mode(p->stage_fd, folder, name);
    else (void)!linkat(folder, name, p->stage_fd, name, 0);
    return true;
}

/* Old and new folder change places; false: they cannot, and nothing has happened. */
static bool exchange(out_place *p)
{
    char old[PATH_MAX];
    struct stat is;
    if (!p->force || !is_ours_alone(p, p->output) || !realpath(p->output, old) || stat(old, &is) != 0) return false;
    all_entries(p, old, take_report);
    (void)!fchmod(p->stage_fd, is.st_mode & 07777);
    (void)!fchown(p->stage_fd, (uid_t)-1, is.st_gid);
    sync_folder(p->stage_fd);
    const int now = open(old, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (now < 0) return false;
    if (renameat2(AT_FDCWD, p->stage, AT_FDCWD, old, RENAME_EXCHANGE) != 0) {
        close(now);
        return false;
    }
    char *parent = parent_of(old);
    if (parent) sync_path(parent);
    base_free(parent);
    /* What is in the stage now is the old output. */
    close(p->stage_fd);
    p->stage_fd = now;
    return true;
}

static void remove_entry(int folder, const char *name)
{
    struct stat is;
    if (fstatat(folder, name, &is, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(is.st_mode)) unlinkat(folder, name, 0);
}

static bool remove_own(const out_place *p, int folder, const char *name)
{
    if (is_new_name(p, name) || is_report(name)) remove_entry(folder, name);
    return true;
}

static fpr_status switch_folder(out_place *p, fpr_error *error)
{
    sync_folder(p->stage_fd);
    if (renameat2(AT_FDCWD, p->stage, AT_FDCWD, p->output, RENAME_NOREPLACE) == 0) {
        char *parent = parent_of(p->output);
        if (parent) sync_path(parent);
        base_free(parent);
        let_go(p);
        return FPR_OK;
    }
    if (errno == EEXIST) {
        if (exchange(p)) {
            all_entries(p, p->stage, remove_own);
            return FPR_OK;
        }
        if (p->force) return switch_files(p, error);
        return base_fail(error, FPR_EXISTS, "was created by somebody else");
    }
    if (errno != EINVAL && errno != ENOSYS) return base_fail_errno(error, FPR_IO, errno, "cannot get its name");
    if (mkdir(p->output, 0777) != 0)
        return errno == EEXIST ? base_fail(error, FPR_EXISTS, "was created by somebody else")
                               : base_fail_errno(error, FPR_IO, errno, "cannot make the directory");
    fpr_status status = switch_files(p, error);
    if (status) rmdir(p->output);
    return status;
}

/* Whether the stage lies in OUTPUT. */
static bool is_inside(const out_place *p)
{
    const size_t n = strlen(p->output);
    return !strncmp(p->stage, p->output, n) && p->stage[n] == '/';
}

/* The folders in the stage are on disk, too. */
static void sync_below(const out_place *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const char *slash = strrchr(p->names[i], '/');
        char *below = slash ? base_copy_text(p->names[i], (size_t)(slash - p->names[i])) : NULL;
        char *path = below ? base_join_path(p->stage, below) : NULL;
        if (path) sync_path(path);
        base_free(path);
        base_free(below);
    }
}

fpr_status place_switch(out_place *p, const writer_tensor *tensors, const char *set, fpr_error *error)
{
    if (!p->stage) {
        file_out *out = p->single;
        p->single = NULL;
        return file_out_commit(out, error);
    }
    fpr_status status = add_index(p, tensors, set, error);
    if (!status) sync_below(p);
    if (!status) status = is_inside(p) ? switch_files(p, error) : switch_folder(p, error);
    if (status) base_error_in_file(error, p->output);
    return status;
}

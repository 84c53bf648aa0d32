/* Runs a fuzz target over files, without libFuzzer: replay_NAME FILE|DIRECTORY... Prints how many it ran; a target
 * aborts on what it does not like. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long inputs;

static int run_file(const char *path, size_t size)
{
    uint8_t *bytes = malloc(size ? size : 1); /* its own block, so that a sanitizer sees every byte past the end */
    FILE *f = fopen(path, "rb");
    int good = bytes && f && fread(bytes, 1, size, f) == size;
    if (f) fclose(f);
    if (good) {
        inputs++;
        dprintf(2, "%s\n", path); /* the last one named aborted; a target may have taken stderr */
        LLVMFuzzerTestOneInput(bytes, size);
    } else {
        dprintf(2, "%s: cannot be read\n", path);
    }
    free(bytes);
    return good;
}

static int run(const char *path);

static int run_directory(const char *path)
{
    DIR *d = opendir(path);
    int good = d != NULL;
    for (struct dirent *e; good && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        good = run(name);
    }
    if (d) closedir(d);
    return good;
}

static int run(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        dprintf(2, "%s: not there\n", path);
        return 0;
    }
    if (S_ISDIR(st.st_mode)) return run_directory(path);
    return run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    int good = argc > 1;
    for (int i = 1; i < argc && good; i++) good = run(argv[i]);
    printf("%lu inputs\n", inputs);
    return good && inputs ? 0 : 1;
}

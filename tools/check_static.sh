#!/bin/sh
# Static analysis of src/: clang-tidy by .clang-tidy, and cppcheck. check_static.sh [--quick] BUILD [FILE...], BUILD being a
# directory that CMake has configured. --quick: without clang's analyzer, which follows paths and takes nine tenths of the
# time. Prints each finding; exit status 1 when there is one, 77 when neither tool is there.
set -u
cd "$(dirname "$0")/.." || exit 1
checks=
[ "${1:-}" != --quick ] || { checks=--checks=-clang-analyzer-*; shift; }
[ $# -ge 1 ] || { echo "check_static.sh [--quick] BUILD [FILE...]" >&2; exit 2; }
build=$1
shift
# All but src/mpi, which is a page and needs MPI's headers.
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(ls src/*/*.c | grep -v '^src/mpi/')
log=$(mktemp)
trap 'rm -f "$log"' EXIT
wrong=0
ran=0

if command -v clang-tidy >/dev/null; then
    ran=1
    # A database of compile commands that clang understands, made without touching the build.
    python3 - "$build" >"$log" <<'PYTHON' || exit 1
import json, os, subprocess, sys
text = subprocess.run(["ninja", "-C", sys.argv[1], "-t", "compdb"], stdout=subprocess.PIPE, check=True).stdout
# A file that two programs are made of is looked at once.
wanted = list({c["file"]: c for c in json.loads(text) if "/src/" in c["file"] and c["file"].endswith(".c")}.values())
for c in wanted:
    if "/base/" not in c["file"] and "/cli/" not in c["file"]:
        c["command"] += " -include " + os.path.abspath("tools/static.h")
    c["command"] = " ".join(w for w in c["command"].split() if not w.startswith(("-mprefer", "-mno-stv", "-fno-math", "-fno-trapping", "-ffile-prefix")))
json.dump(wanted, sys.stdout)
PYTHON
    database=$(mktemp -d)
    mv "$log" "$database/compile_commands.json"
    # shellcheck disable=SC2086
    printf '%s\n' "$@" | xargs -P "$(nproc)" -n 4 clang-tidy --quiet $checks -p "$database" >"$log" 2>/dev/null
    # Less those that tools/static_known.txt explains.
    python3 - "$log" tools/static_known.txt <<'PYTHON' || wrong=1
import re, sys
known = {tuple(line.split()[:2]) for line in open(sys.argv[2]) if line.strip() and line[0] != "#"}
shown = set()
for line in open(sys.argv[1], errors="replace"):
    found = re.match(r"(?:.*/)?((?:src|include)/[^:]+):(\d+):\d+: (?:warning|error): .*\[([^],]+)", line)
    if found and (found[1], found[3]) not in known and line not in shown:
        shown.add(line)
        print(line, end="")
sys.exit(1 if shown else 0)
PYTHON
    rm -rf "$database"
fi

if command -v cppcheck >/dev/null; then
    ran=1
    # Looked at and wrong: a designated initializer taken for an assignment, an element read before any is there, and a
    # return whose value is known; scratch memory, which is aligned for any type; vectors, taken for numbers; room for
    # what is written to it; shifts of negative numbers, which both compilers promise. System headers are meant to be
    # missing.
    if ! cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr -j "$(nproc)" \
        -D_GNU_SOURCE -D__GNUC__ -D__x86_64__ -Iinclude -Isrc --suppress=missingIncludeSystem \
        --suppress=unknownEvaluationOrder:src/conv/distribution.c --suppress=uninitvar:src/pack/palette.c \
        --suppress=identicalConditionAfterEarlyExit:src/cli/cmd_prune.c --suppress=invalidPointerCast:src/conv/orthogonality.c \
        --suppress=bufferAccessOutOfBounds:src/num/kernels_body.h --suppress=uninitvar:src/num/kernels_body.h \
        --suppress=shiftNegativeLHS:src/pack/lattice_code.c \
        --suppress=uninitvar:src/graph/run.c --suppress=uninitvar:src/graph/write.c \
        --suppress=uninitvar:src/pack/rans_table.c --suppress=nullPointer:src/job/shapes.c \
        --suppress=legacyUninitvar:src/source/inflate.c --suppress=legacyUninitvar:src/source/pickle.c \
        --error-exitcode=1 "$@" >"$log" 2>&1; then
        cat "$log"
        wrong=1
    fi
fi

[ $ran -eq 1 ] || { echo "neither clang-tidy nor cppcheck is there"; exit 77; }
[ $wrong -eq 0 ] && echo "static analysis: ok"
exit $wrong

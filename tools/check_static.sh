#!/bin/sh
# Static analysis of src/: clang-tidy by .clang-tidy and cppcheck. check_static.sh BUILD [FILE...], BUILD being a directory
# that CMake has configured. Prints each finding; exit status 1 when there is one, 77 when neither tool is there.
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "check_static.sh BUILD [FILE...]" >&2; exit 2; }
build=$1
shift
[ $# -gt 0 ] || set -- src/*/*.c
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
wanted = [c for c in json.loads(text) if "/src/" in c["file"] and c["file"].endswith(".c")]
for c in wanted:
    if "/base/" not in c["file"] and "/cli/" not in c["file"]:
        c["command"] += " -include " + os.path.abspath("tools/static.h")
    c["command"] = " ".join(w for w in c["command"].split() if not w.startswith(("-mprefer", "-fno-math", "-fno-trapping", "-ffile-prefix")))
json.dump(wanted, sys.stdout)
PYTHON
    database=$(mktemp -d)
    mv "$log" "$database/compile_commands.json"
    printf '%s\n' "$@" | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$database" >"$log" 2>/dev/null
    if grep -qE '(warning|error):' "$log"; then
        grep -E -A4 '(warning|error):' "$log"
        wrong=1
    fi
    rm -rf "$database"
fi

if command -v cppcheck >/dev/null; then
    ran=1
    # unusedStructMember and the like are matters of taste; missing system headers are meant to be missing.
    if ! cppcheck --quiet --std=c11 --language=c --enable=warning,performance,portability --inline-suppr -j "$(nproc)" \
        -D_GNU_SOURCE -D__GNUC__ -D__x86_64__ -Iinclude -Isrc --suppress=missingIncludeSystem \
        --error-exitcode=1 "$@" >"$log" 2>&1; then
        cat "$log"
        wrong=1
    fi
fi

[ $ran -eq 1 ] || { echo "neither clang-tidy nor cppcheck is there"; exit 77; }
[ $wrong -eq 0 ] && echo "static analysis: ok"
exit $wrong

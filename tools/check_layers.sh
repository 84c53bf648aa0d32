#!/bin/sh
# Holds the rooms of src/ to their order: a room includes itself, the rooms below it that are named here, the public
# header and system headers, nothing else. Prints each line that breaks it; exit status 1 when there is one.
set -u
cd "$(dirname "$0")/.." || exit 1

may_include() {
    case $1 in
    base) echo base ;;
    file | num | lattice) echo "$1 base" ;;
    pack) echo "pack base lattice" ;;
    onnx) echo "onnx base file" ;;
    graph) echo "graph onnx base file" ;;
    linalg) echo "linalg base num" ;;
    hdf5) echo "hdf5 base" ;;
    source) echo "hdf5 source onnx base file pack" ;;
    conv) echo "conv base num" ;;
    shrink) echo "shrink base conv num" ;;
    collect) echo "collect base file num" ;;
    report) echo "report base file" ;;
    model) echo "model base file conv source" ;;
    study) echo "study base num conv shrink model" ;;
    out) echo "out base file pack source model" ;;
    job) echo "job base file lattice onnx graph linalg pack conv shrink collect source model study out report" ;;
    cli) echo cli ;;
    mpi) echo "mpi cli" ;;
    *) echo "" ;;
    esac
}

wrong=0
for path in src/*/; do
    room=$(basename "$path")
    allowed=$(may_include "$room")
    if [ -z "$allowed" ]; then
        echo "src/$room: a room that tools/check_layers.sh does not know"
        wrong=1
        continue
    fi
    pattern=$(echo "$allowed" | tr ' ' '|')
    # A header is named from src/, or is the public one.
    if grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$path"*.[ch] /dev/null |
        grep -vE "\"(($pattern)/[a-z0-9_]+\.h|filterprune\.h)\""; then
        echo "src/$room may include only: $allowed, and filterprune.h"
        wrong=1
    fi
    # The public header in angle brackets would be an installed one.
    if grep -nE '#[[:space:]]*include[[:space:]]*<filterprune' "$path"*.[ch] /dev/null; then
        echo "src/$room: the public header is included in quotes"
        wrong=1
    fi
done
# Its parts stand in a folder, and include each other by name: so they are found where they are installed.
if grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' include/*.h include/*/*.h |
    grep -vE '^include/(filterprune\.h:[0-9]+:#include "filterprune/[a-z]+\.h"|filterprune/[a-z]+\.h:[0-9]+:#include "[a-z]+\.h")$'; then
    echo "include/: the public header includes system headers and its parts only"
    wrong=1
fi
[ $wrong -eq 0 ] && echo "layers: ok"
exit $wrong

#!/bin/sh
# safetensors 0.8.0, safetensors.numpy.load.
# Guess: a header that begins with white space is refused: the format says "The header data MUST begin with a { character
#        (0x7B)" and names white space for its end alone.
# Seen:  it is read, with the tensor in it, and so are line feeds and tabs before the {. A strict reader, as the format
#        asks for, refuses a file that this one takes. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import struct
from safetensors import SafetensorError
from safetensors.numpy import load
header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
def reads(text):
    try:
        return load(struct.pack("<Q", len(text)) + text + b"\7")["a"].tolist() == [7]
    except SafetensorError as error:
        print(text[:4], error)
        return False
seen = [reads(before + header) for before in (b"", b" ", b"\n", b"\t\r\n  ")]
print("read with nothing, a space, a line feed, several before the {:", seen)
raise SystemExit(0 if all(seen) else 1)
PYTHON

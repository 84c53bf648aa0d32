#!/bin/sh
# safetensors 0.7.0 and 0.8.0 with torch 2.15.0: save_file of x.conj() and of its imaginary part, as networks for
# reconstruction from k-space hold them.
# Guess: they are stored as torch shows them, or refused until resolve_conj() or resolve_neg() was called, as torch refuses
#        tensor.numpy() of them.
# Seen:  torch only notes the sign that is due and leaves the memory as it is; save_file stores the memory. Both calls
#        succeed, and what is loaded has the other sign. torch.save keeps it right. Exit status 1 when that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q numpy==2.2.6 packaging==25.0 torch==2.15.0
cat >"$folder/look.py" <<'PYTHON'
import sys
import safetensors
import safetensors.torch
import torch
kernel = torch.complex(torch.arange(18.).reshape(1, 2, 3, 3), torch.arange(18.).reshape(1, 2, 3, 3) + 1)
noted = {"conjugate": kernel.conj(), "negative": torch.arange(6.)._neg_view()}
safetensors.torch.save_file(noted, sys.argv[1])
torch.save(noted, sys.argv[1] + ".pt")
stored, kept = safetensors.torch.load_file(sys.argv[1]), torch.load(sys.argv[1] + ".pt", weights_only=True)
wrong = 0
for name, sign in (("conjugate", lambda t: t.conj()), ("negative", lambda t: -t)):
    want = noted[name].resolve_conj().resolve_neg()
    flipped = torch.equal(stored[name], sign(want)) and not torch.equal(stored[name], want)
    right = torch.equal(kept[name], want)
    print(f"safetensors {safetensors.__version__}: {name}: the other sign {flipped}; torch.save right {right}")
    wrong += not (flipped and right)
sys.exit(wrong > 0)
PYTHON
for version in 0.7.0 0.8.0; do
    "$folder/venv/bin/pip" install -q --no-deps "safetensors==$version"
    "$folder/venv/bin/python" -W ignore "$folder/look.py" "$folder/kernel.safetensors"
done

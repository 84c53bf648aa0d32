"""The pages' markup: Debian's tidy finds nothing to say, axe-core finds no barrier, in light and dark, wide and narrow.

usage: test_markup.py FAKE_PAGES DIRECTORY [AXE_DIRECTORY]    axe-core is installed there by npm, once
       test_markup.py --page FILE.html [AXE_DIRECTORY]

Debian: apt install tidy chromium npm. Exit status 77: neither checker is at hand.
"""

import os
import shutil
import subprocess
import sys

from browser import Page, SKIP, find_chromium

failures = []


def fail(what):
    failures.append(what)
    print("FAILED:", what)


def check_tidy(path):
    answer = subprocess.run(["tidy", "-q", "-e", "-utf8", path], capture_output=True, text=True)
    if answer.returncode or answer.stderr.strip():
        fail(f"{path}: tidy: {answer.stderr.strip()[:600]}")


def find_axe(directory):
    """The script's text, or None: offline, no npm."""
    path = os.path.join(directory, "node_modules", "axe-core", "axe.min.js")
    if not os.path.exists(path) and shutil.which("npm"):
        subprocess.run(
            ["npm", "install", "--prefix", directory, "--no-audit", "--no-fund", "axe-core@4"],
            capture_output=True,
            timeout=120,
        )
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.read()


def check_axe(page, path, axe, dark, width):
    page.open(path, width, dark)
    page.run(axe + ";0")
    found = page.run(
        """axe.run(document, { resultTypes: ['violations'] }).then((r) =>
        r.violations.map((v) =>
            `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`))"""
    )
    for violation in found:
        fail(f"{path} ({'dark' if dark else 'light'}, {width}): {violation}")


def main():
    arguments = sys.argv[1:]
    if arguments[0] == "--page":
        pages, axe_directory = [arguments[1]], arguments[2:]
    else:
        directory = arguments[1]
        os.makedirs(directory, exist_ok=True)
        subprocess.run([arguments[0], directory], check=True)
        pages, axe_directory = (
            sorted(os.path.join(directory, f) for f in os.listdir(directory) if f.endswith(".html")),
            arguments[2:],
        )
    tidy = shutil.which("tidy")
    axe = find_axe(axe_directory[0]) if axe_directory and find_chromium() else None
    for path in pages if tidy else []:
        check_tidy(path)
    if axe:
        with Page() as page:
            for path in pages:
                if os.path.getsize(path) > 1_000_000:  # it walks every node: forty thousand cells take minutes
                    continue
                check_axe(page, path, axe, False, 1280)
                check_axe(page, path, axe, True, 400)
    print(f"tidy: {'yes' if tidy else 'missing'}, axe-core: {'yes' if axe else 'missing'}, {len(failures)} failures")
    if not tidy and not axe:
        return SKIP
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

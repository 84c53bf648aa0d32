#!/usr/bin/python3
"""No circle of files within a room: check_circles.py BUILD

A file of src/ROOM leads to another when its object of BUILD calls or reads what that one defines. Prints every circle with
the names that close it; exit status 1 when there is one, 77 without nm or objects."""
import collections
import glob
import os
import shutil
import subprocess
import sys

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "src")


def room_of(build, room):
    """{file: {file: names}} of a room."""
    objects = {}
    for path in glob.glob(f"{build}/CMakeFiles/*.dir/src/{room}/*.o"):
        name = os.path.basename(path).split(".")[0]
        if os.path.exists(os.path.join(SOURCE, room, name + ".c")):  # not what is left of one that is gone
            objects.setdefault(name, path)
    home, wanted, name = {}, {}, None
    command = ["nm", "-P", *objects.values()]
    out = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode() if objects else ""
    for line in out.splitlines():
        if line.endswith(".o:"):
            name = os.path.basename(line).split(".")[0]
            continue
        symbol, kind = line.split()[:2]
        if kind == "U":
            wanted.setdefault(name, []).append(symbol)
        elif kind in "TDBRVWC":
            home[symbol] = name
    graph = {name: collections.defaultdict(list) for name in objects}
    for name, symbols in wanted.items():
        for symbol in symbols:
            if home.get(symbol, name) != name:
                graph[name][home[symbol]].append(symbol)
    return graph


def reached(graph, start):
    seen, left = set(), [start]
    while left:
        for other in graph[left.pop()]:
            if other not in seen:
                seen.add(other)
                left.append(other)
    return seen


def main():
    build = sys.argv[1]
    wrong = found = 0
    if not shutil.which("nm"):
        print("nm is missing")
        return 77
    for room in sorted(os.listdir(SOURCE)):
        graph = room_of(build, room) if os.path.isdir(os.path.join(SOURCE, room)) else {}
        found += len(graph)
        behind = {name: reached(graph, name) for name in graph}
        circles = {frozenset(o for o in behind[name] if name in behind[o]) for name in graph if name in behind[name]}
        for circle in circles:
            print(f"src/{room}:", *sorted(circle))
            wrong += 1
            for a in sorted(circle):
                for b in sorted(circle & set(graph[a])):
                    print(f"    {a} leads to {b} by", *graph[a][b])
    print(f"{found} files, {wrong} circles")
    return 77 if not found else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

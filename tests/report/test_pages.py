"""The pages in a real browser: nothing logged, nothing fetched, readable without scripts, and what is drawn is what the
JSON says.

usage: test_pages.py FAKE_PAGES DIRECTORY    writes the made-up pages there, checks them, leaves screenshots beside them
       test_pages.py --page FILE.html        checks one page against FILE.json (of any model)

Debian: apt install chromium. Exit status 77: chromium is missing.
"""

import json
import math
import os
import re
import subprocess
import sys

from browser import Page

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)
        print("FAILED:", what)


def near(a, b, tolerance):
    return abs(a - b) <= tolerance


# ---- reading drawings back: pixels to data by the axes' own ticks

READ_PANEL = """(selector) => [...document.querySelectorAll(selector)].map((svg) => ({
    head: svg.querySelector('.head')?.textContent,
    x: [...svg.querySelectorAll('text.tick.mid')].map((t) => [Number(t.getAttribute('x')), t.textContent]),
    y: [...svg.querySelectorAll('text.tick.end')].map((t) => [Number(t.getAttribute('y')), t.textContent]),
    paths: [...svg.querySelectorAll('path')].map((p) => [p.getAttribute('class'), p.getAttribute('d')]),
    circles: [...svg.querySelectorAll('circle')].map((c) => [Number(c.getAttribute('cx')), Number(c.getAttribute('cy')),
                                                             c.querySelector('title').textContent]),
    bars: svg.querySelectorAll('rect.fillbar').length,
    texts: [...svg.querySelectorAll('text')].map((t) => t.textContent),
}))"""


def number(text):
    return float(text.replace("\u2212", "-").replace("\u00a0", "").rstrip("%").replace(",", ""))


def axis(ticks, offset=0.0):
    """Pixel -> value, from the two outermost ticks."""
    (p0, v0), (p1, v1) = [(p + offset, number(v)) for p, v in (ticks[0], ticks[-1])]
    return lambda pixel: v0 + (pixel - p0) * (v1 - v0) / (p1 - p0)


def strokes(d):
    """The strokes of a path as lists of points (M, L and l only, as curves are written)."""
    tokens = re.findall(r"[MLlz]|-?\d*\.?\d+", d)
    lines, i, x, y, command = [], 0, 0.0, 0.0, ""
    while i < len(tokens):
        if tokens[i] in "MLlz":
            command = tokens[i]
            i += 1
            if command == "z":
                continue
        dx, dy = float(tokens[i]), float(tokens[i + 1])
        i += 2
        if command == "l":
            x, y = x + dx, y + dy
        else:
            x, y = dx, dy
        if command == "M":
            lines.append([])
        lines[-1].append((x, y))
    return lines


def distance(line, x, y):
    """From a point to a polyline; None where the line has no part above x."""
    best = None
    for (x0, y0), (x1, y1) in zip(line, line[1:]):
        if not x0 - 1 <= x <= x1 + 1:
            continue
        dx, dy = x1 - x0, y1 - y0
        t = max(0.0, min(1.0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy or 1)))
        d = math.hypot(x - x0 - t * dx, y - y0 - t * dy)
        best = d if best is None else min(best, d)
    return best


def check_curve(panel, class_name, kde, what):
    """Every sample inside the panel lies on the drawn curve, to a third of a pixel."""
    x_of, y_of = axis(panel["x"]), axis(panel["y"], -3.5)
    drawn = [d for name, d in panel["paths"] if name == class_name]
    check(len(drawn) == 1, f"{what}: one {class_name} curve, found {len(drawn)}")
    if len(drawn) != 1 or kde["degenerate"]:
        return
    seen, worst = 0, 0.0
    x0, x1, y0, y1 = x_of(46), x_of(350), y_of(184), y_of(30)
    lines = strokes(drawn[0])
    for i, density in enumerate(kde["density"]):
        x = 46 + (kde["start"] + i * kde["step"] - x0) / (x1 - x0) * 304
        y = 184 + (density - y0) / (y1 - y0) * (30 - 184)
        if 47 < x < 349 and y > 31:  # the rest is cut off
            away = [d for d in (distance(line, x, y) for line in lines) if d is not None]
            seen += 1
            worst = max(worst, min(away) if away else 99)
    check(seen > 10, f"{what}: {class_name} has {seen} samples inside")
    check(worst < 0.34, f"{what}: {class_name} is off by {worst:.2f} pixels")


def check_spike(panel, class_name, counts, x_of, what):
    """A vertical line in the fullest bin, and its share."""
    lines = [strokes(d) for name, d in panel["paths"] if name == class_name]
    check(len(lines) == 1 and len(lines[0][0]) == 2, f"{what}: no spike but {lines} as {class_name}")
    if len(lines) != 1 or len(lines[0][0]) != 2:
        return
    (x1, _), (x2, _) = lines[0][0]
    lo, hi = x_of(46), x_of(350)
    place = (x_of(x1) - lo) / (hi - lo) * len(counts)
    check(x1 == x2 and counts[min(max(int(place), 0), len(counts) - 1)] == max(counts), f"{what}: spike at {x1}")
    share = f"spike {math.floor(100 * max(counts) / sum(counts) + 0.5)}"
    check(any(t.startswith(share) for t in panel["texts"]), f"{what}: no {share} in {panel['texts']}")


# ---- the report's page


def check_distributions(page, report):
    groups = [g for g in report["groups"] if g["basis"]][:8]
    for place, group in enumerate(groups):
        letter = "abcdefgh"[place]
        k = len(group["basis"]["mean"])
        panels = page.run(f"({READ_PANEL})('#figure-1{letter} svg.kde')")
        check(len(panels) == min(9, k), f"figure 1{letter}: {len(panels)} panels for {k} components")
        sparse = (group["sparse"] > 0 or group["zeroed"] > 0) and group["live"] > 0
        after = group["after"] is not None
        if sparse:
            curves = {"before-area": "live_before", "all-before": "before"}
            if after:
                curves |= {"after": "live_after", "all-after": "after"}
        else:
            curves = {"before-area": "before"} | ({"after": "after"} if after else {})
        for i, panel in enumerate(panels):
            what = f"figure 1{letter}, component {i + 1}"
            ratio = group["basis"]["explained_variance_ratio"][i]
            check(f"{100 * ratio:.1f}" in panel["head"], f"{what}: heading {panel['head']} for a ratio of {ratio}")
            lo, hi = group["range"]
            x_of = axis(panel["x"])
            check(
                near(x_of(46), lo, (hi - lo) * 1e-3) and near(x_of(350), hi, (hi - lo) * 1e-3),
                f"{what}: axis from {x_of(46)} to {x_of(350)}, range {lo} to {hi}",
            )
            for class_name, key in curves.items():
                distribution = group[key]
                if not distribution or not distribution["kernels"] or distribution["kde"][i]["degenerate"]:
                    continue
                live = sparse and class_name.startswith("all") and (group["live_" + key] if after or key == "before" else None)
                live = live and (live if live["kernels"] else group["live_before"])
                if live and not live["kde"][i]["degenerate"] and \
                        distribution["kde"][i]["bandwidth"] < 0.25 * live["kde"][i]["bandwidth"]:
                    check_spike(panel, class_name, distribution["histogram"]["counts"][i], x_of, what)
                else:
                    check_curve(panel, class_name, distribution["kde"][i], what)


def check_basis(page, basis, section):
    k = len(basis["mean"])
    cells = page.run(
        f"""[...document.querySelectorAll('{section} svg.kernel')].map((svg) =>
        [...svg.querySelectorAll('rect')].map((r) =>
            [r.querySelector('title').textContent, r.getAttribute('class')]))"""
    )
    drawn = k if k <= 27 else 9 if k > 49 else 18
    check(len(cells) == drawn + 1, f"{section}: {len(cells)} kernels drawn for {k}")
    limit = max(abs(v) for row in basis["components"][:drawn] for v in row)
    for kernel, row in zip(cells[:drawn], basis["components"]):
        for (text, shade), v in zip(kernel, row):
            check(near(number(text), v, 0.006 * abs(v) + 1e-9), f"{section}: cell {text} for {v}")
            check(near(int(shade[1:]), 7 + 7 * v / limit, 0.501), f"{section}: shade {shade} for {v} of {limit}")
    variance = page.run(f"({READ_PANEL})('{section} svg.variance')")[0]
    check(variance["bars"] == k, f"{section}: {variance['bars']} bars")
    if k <= 49:
        total = 0.0
        y_of = axis(variance["y"], -3.5)
        for (_, y, title), ratio in zip(variance["circles"], basis["explained_variance_ratio"]):
            total += ratio
            check(near(y_of(y) / 100, total, 0.004), f"{section}: cumulated {y_of(y)} for {total}")
            check(near(number(title.split(": ")[1]), 100 * total, 0.006), f"{section}: title {title} for {total}")


def check_binary(page, report):
    layers = [layer for layer in report["layers"] if layer["binary"]["scope"]]
    pictures = page.run(
        """[...document.querySelectorAll('#figure-2 .pair')].map((pair) =>
        [...pair.querySelectorAll('svg.filters')].map((svg) =>
            [...svg.querySelectorAll('path')].map((p) => p.getAttribute('d')).join(' ')))"""
    )
    check(
        len(pictures) <= min(18, len(layers)) and bool(pictures) == bool(layers),
        f"figure 2: {len(pictures)} pictures, {len(layers)} layers",
    )
    for pair, layer in zip(pictures, layers):
        check(len(pair) == (2 if report["output"] else 1), f"figure 2: {len(pair)} pictures of {layer['name']}")
        k = math.prod(layer["kernel_shape"])
        areas = [sum(float(run) for run in re.findall(r"h(\d+)v1", d)) for d in pair]
        check(
            all(a == areas[0] and a % k == 0 and 0 < a <= 64 * k for a in areas),
            f"figure 2: {areas} cells of {layer['name']}",
        )


def check_depth(page, report):
    panels = {p["head"]: p for p in page.run(f"({READ_PANEL})('#depth svg.depth')")}
    fields = {
        "Sparse kernels": "sparsity",
        "Variance entropy / T(n)": "variance_entropy_normalized",
        "Orthogonality": "orthogonality",
    }
    for head, field in fields.items():
        values = [(i, layer[field]) for i, layer in enumerate(report["layers"]) if layer[field] is not None]
        check((head in panels) == bool(values), f"depth: panel {head} with {len(values)} values")
        if not values or len(report["layers"]) > 400:
            continue
        panel = panels[head]
        check(len(panel["circles"]) == len(values), f"depth: {len(panel['circles'])} points for {len(values)} layers")
        y_of = axis(panel["y"], -3.5)
        scale = 100 if head == "Sparse kernels" else 1
        pixel = abs(y_of(0) - y_of(1))
        for (_, y, _), (_, v) in zip(panel["circles"], values):
            check(near(y_of(y), v * scale, 0.6 * pixel), f"depth, {head}: {y_of(y)} for {v}")


def check_tables(page, report):
    rows = page.run(
        "[...document.querySelectorAll('#layers tbody tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    check(len(rows) == min(600, len(report["layers"])), f"layers: {len(rows)} rows")
    headings = page.run("[...document.querySelectorAll('#layers thead th')].map((h) => h.textContent)")
    sparse = headings.index("Sparse")
    for row, layer in zip(rows, report["layers"]):
        if re.fullmatch(r"[ -~]{1,150}", layer["name"]):
            check(row[1].startswith(layer["name"]), f"layers: {row[1]} for {layer['name']}")
        check(number(row[0]) == layer["depth"], f"layers: depth {row[0]}")
        check("\u00d7".join(map(str, layer["shape"])) in row[1], f"layers: no shape in {row[1]}")
        check(("looks untrained" in row[1]) == bool(layer["untrained"]), f"layers: {row[1]}, {layer['untrained']}")
        if layer["sparsity"] is None:
            check(row[sparse] == "\u2013", f"layers: {row[sparse]} for nothing")
        elif 0.0005 < layer["sparsity"] < 0.9995:
            check(
                near(number(row[sparse]), 100 * layer["sparsity"], 0.051),
                f"layers: {row[sparse]} for {layer['sparsity']}",
            )
    if report["output"]:
        changed = [t for t in report["layers"] + report["tensors"] if t["error"]["weights_changed"]]
        errors = page.run("[...document.querySelectorAll('#changed tbody tr')].map((r) => r.cells[4].dataset.v)")
        check(len(errors) >= min(40, len(changed)), f"changed: {len(errors)} rows for {len(changed)}")
        told = [number(e) for e in errors if e != "\u2013"]
        check(told == sorted(told, reverse=True), "changed: the largest error first")
    dead = [layer for layer in report["layers"] if layer["dead_filters"] or layer["dead_channels"]]
    shown = page.run("document.querySelectorAll('#dead tbody tr').length")
    check(shown == min(600, len(dead)), f"dead: {shown} rows for {len(dead)}")
    others = page.run("document.querySelectorAll('#tensors tbody tr').length")
    check(others == min(600, len(report["tensors"])), f"tensors: {others} rows")


def check_first_screen(page, report):
    text = page.run("document.querySelector('header').innerText")
    check(text.count("\n") < 120, "first screen is long")
    if report["output"]:
        check(
            f"{report['input']['bytes']:,}" in text and f"{report['output']['bytes']:,}" in text,
            "first screen: exact sizes",
        )
    live = sum(g["live"] for g in report["groups"])
    kernels = sum(g["kernels"] for g in report["groups"])
    if kernels and 0.0005 < live / kernels < 0.9995:
        check(f"{100 * live / kernels:.1f}" in text, "first screen: live share")
    warnings = len(report["warnings"])  # a layer's own stand in its row, and are counted there
    check(page.run("document.querySelectorAll('#warnings li').length") == min(warnings, 80), "first screen: warnings")
    for side in ("input", "output"):
        if report[side] and report[side]["xxh3"]:
            check(
                report[side]["xxh3"] in page.run("document.querySelector('#audit').textContent"),
                f"audit: {side}'s checksum",
            )


def check_sorting(page, report):
    if len(report["layers"]) < 2:
        return
    sparse = page.run("[...document.querySelectorAll('#layers thead th')].findIndex((h) => h.textContent === 'Sparse')")
    page.run(f"document.querySelectorAll('#layers thead button')[{sparse}].click()")
    cells = page.run(
        f"[...document.querySelectorAll('#layers tbody tr')].map((r) => r.cells[{sparse}].dataset.v ?? null)"
    )
    numbers = [float(c) for c in cells if c is not None]
    check(numbers == sorted(numbers, reverse=True), "sorting: largest first")
    check(cells[: len(numbers)] == [c for c in cells if c is not None], "sorting: rows without a value last")
    check(
        page.run(f"document.querySelectorAll('#layers thead th')[{sparse}].getAttribute('aria-sort')") == "descending",
        "sorting: aria-sort",
    )
    page.run(f"document.querySelectorAll('#layers thead button')[{sparse}].focus()")
    check(page.run("document.activeElement.tagName") == "BUTTON", "sorting: buttons take the focus")


def check_report(page, report):
    check_first_screen(page, report)
    if report["layers"]:
        check_distributions(page, report)
        for i, group in enumerate(report["groups"]):
            if group["basis"] and page.run(f"!!document.querySelector('#group-{i + 1}')"):
                check_basis(page, group["basis"], f"#group-{i + 1}")
        check_binary(page, report)
        check_depth(page, report)
        check_tables(page, report)
        check_sorting(page, report)


# ---- the comparison's page


def check_comparison(page, c):
    n = len(c["models"])
    k = len(c["basis"]["mean"])
    drawn = min(n, 200)
    order = sorted(range(n), key=lambda i: (-c["models"][i]["mean_shift"], i))[:drawn]
    cells = page.run(
        """[...document.querySelectorAll('svg.heat g.row')].map((g) => [...g.querySelectorAll('rect')].map((r) =>
        [r.querySelector('title').textContent.split(': ').pop(), r.getAttribute('class')]))"""
    )
    check(
        len(cells) == drawn and all(len(row) == drawn for row in cells), f"heat map: {len(cells)} rows for {n} models"
    )
    shades = []
    for i, row in zip(order, cells):
        for j, (text, shade) in zip(order, row):
            v = c["divergence"][i][j]
            if i == j:
                check(shade == "same", f"heat map: {shade} on the diagonal")
                continue
            check(near(number(text), v, 0.006 * v), f"heat map: {text} for {v}")
            shades.append((v, int(shade[1:])))
    shades.sort()
    check(all(a[1] <= b[1] for a, b in zip(shades, shades[1:])), "heat map: a larger divergence in a lower colour")
    if shades and shades[-1][0] > 0:
        check(shades[-1][1] == 31, "heat map: the largest divergence has the last colour")
    ridges = page.run("[...document.querySelectorAll('svg.ridges path.ridge')].length")
    check(ridges == drawn * min(9, k), f"ridge plot: {ridges} curves")
    check_basis(page, c["basis"], "#basis")
    check(page.run("document.querySelectorAll('#pairs tbody tr').length") == min(200, n * (n - 1) // 2), "pairs: rows")
    shifts = page.run("[...document.querySelectorAll('#pairs tbody tr')].map((r) => Number(r.cells[2].dataset.v))")
    check(shifts == sorted(shifts, reverse=True), "pairs: largest first")
    check(page.run("document.querySelectorAll('#models tbody tr').length") == n, "models: rows")
    # By name, then back.
    tops = """[...document.querySelectorAll('svg.heat g.row')].map((g) =>
        Number(g.getAttribute('transform').match(/ ([0-9.]+)/)[1]))"""
    before = page.run(tops)
    page.run("document.querySelector('#order button[value=name]').click()")
    after = page.run(tops)
    check(sorted(before) == sorted(after), "order by name: the same places")
    names = page.run("document.querySelector('svg.heat').dataset.names.split('\\n')")
    by_height = [names[i] for i in sorted(range(drawn), key=lambda i: after[i])]
    in_order = page.run(f"{json.dumps(names)}.sort((a, b) => a.localeCompare(b, 'en', {{ numeric: true }}))")
    check(by_height == in_order, "order by name: sorted")
    page.run("document.querySelector('#order button[value=page]').click()")
    check(page.run(tops) == before, "order by mean shift: as at first")


# ---- every page


def check_page(page, path, screenshots=True):
    stem = path[: -len(".html")]
    name = os.path.basename(stem)
    with open(stem + ".json", encoding="utf-8") as file:
        document = json.load(file)
    page.open(path)
    check(not page.problems, f"{name}: {page.problems}")
    check(len(page.requests) == 1, f"{name}: asked for {page.requests}")
    check(page.run("document.querySelectorAll('script').length") == 1, f"{name}: one script")
    check(
        page.run("document.querySelectorAll('svg:not([aria-hidden]):not(:has(title))').length") == 0,
        f"{name}: drawings without a title",
    )
    check(
        page.run(
            "((all) => new Set(all.map((e) => e.id)).size === all.length)([...document.querySelectorAll('[id]')])"
        ),
        f"{name}: ids are unique",
    )
    levels = page.run("[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))")
    check(
        levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:])),
        f"{name}: headings {levels}",
    )
    check(
        page.run(
            "[...document.querySelectorAll('nav a')].every((a) => document.querySelector(a.getAttribute('href')))"
        ),
        f"{name}: links",
    )
    scripted = page.run("document.querySelector('main').innerText.replace(/\\s+/g, ' ')")
    if document["schema"] == "filterprune-report-1":
        check_report(page, document)
    else:
        check_comparison(page, document)
    check(not page.problems, f"{name}: after use: {page.problems}")
    page.open(path, scripts=False)
    check(not page.problems, f"{name}: without scripts: {page.problems}")
    plain = page.run("document.querySelector('main').innerText.replace(/\\s+/g, ' ')")
    check(plain == scripted.replace("Order by mean shift name ", "", 1), f"{name}: reads the same without scripts")
    sections = page.run("[...document.querySelectorAll('main > section')].map((s) => s.id)")
    order = [s for s in ("changed", "dead", "groups", "depth", "layers") if s in sections]
    check([s for s in sections if s in order] == order, f"{name}: sections {sections}")
    page.open(path, 1400)
    if page.run("!!document.querySelector('#layers')") and "hostile" not in name:
        check(
            page.run("((s) => s.scrollWidth <= s.clientWidth)(document.querySelector('#layers .scroll'))"),
            f"{name}: the table of layers does not fit 1400 pixels",
        )
        check(page.run("getComputedStyle(document.querySelector('.hint')).display") == "none", f"{name}: needless hint")
        page.open(path, 420)
        check(page.run("getComputedStyle(document.querySelector('.hint')).display") == "block", f"{name}: no hint at 420")
    for width in (1200, 420):
        page.open(path, width)
        over = page.run("[...document.querySelectorAll('.tiles p.big')].filter((p) => p.scrollWidth > p.clientWidth).map((p) => p.innerText)")
        check(not over, f"{name}: over the edges of their cards at {width} pixels: {over}")
    large = os.path.getsize(path) > 700_000
    for width, dark in (
        ((1280, False), (400, True)) if large else ((1280, False), (1280, True), (400, False), (400, True))
    ):
        page.open(path, width, dark)
        check(page.run("document.documentElement.scrollWidth") <= width, f"{name}: wider than {width} pixels")
        background = page.run("getComputedStyle(document.body).backgroundColor")
        light = sum(map(int, re.findall(r"\d+", background)[:3])) > 384
        check(light != dark, f"{name}: background {background} in {'dark' if dark else 'light'}")
        if screenshots:
            page.screenshot(f"{stem}-{width}-{'dark' if dark else 'light'}.png")


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--page":
        with Page() as page:
            check_page(page, sys.argv[2])
    else:
        fake_pages, directory = sys.argv[1:]
        os.makedirs(directory, exist_ok=True)
        subprocess.run([fake_pages, directory], check=True)
        pages = sorted(f for f in os.listdir(directory) if f.endswith(".html"))
        with Page() as page:
            for name in pages:
                check_page(
                    page,
                    os.path.join(directory, name),
                    screenshots=name in ("rich.html", "inspect.html", "compare8.html"),
                )
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

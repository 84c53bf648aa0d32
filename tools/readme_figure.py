#!/usr/bin/env python3
"""Makes the pictures of the README, src/report/figure1.svg, figure3.svg and figure_medical.svg, of pages that the
program wrote.

    tools/readme_figure.py PAGE.html FIGURE.svg

Of a report: the densities and eigen-kernels of the first three components; of a corpus or a comparison: the heat map and the ridges. As
they stand in the page, and with its colours.
"""
import re
import sys

COMPONENTS = 3
GAP, MARGIN, KERNEL_ROW = 12, 12, 96


def rules_for_drawings(style):
    """The page's variables, its dark ones, and the rules that dress what is inside of an svg."""
    style = re.sub(r"/\*.*?\*/", "", style, flags=re.S)
    variables = re.search(r":root\s*\{(.*?)\}", style, re.S).group(1)
    dark = re.search(r"@media[^{]*prefers-color-scheme: dark\)\s*\{\s*:root\s*\{(.*?)\}", style, re.S).group(1)
    plain = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", style)
    kept = [rule for rule in re.findall(r"[^{}]+\{[^{}]*\}", plain) if rule.lstrip().startswith(("svg ", ".v"))]
    keep_line = lambda text: " ".join(text.split())
    return "\n".join([":root { %s }" % keep_line(variables),
                      "@media (prefers-color-scheme: dark) { :root { %s } }" % keep_line(dark),
                      *map(keep_line, kept)])


def write_figure(path, width, height, title, style, parts):
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                  f'viewBox="0 0 {width} {height}">\n<title>{title}</title>\n<style>\n{style}\n</style>\n'
                  f'<rect width="100%" height="100%" style="fill: var(--paper)"/>\n' + "\n".join(parts) + "\n</svg>\n")


def corpus_figure(page, figure_path):
    heat = re.search(r'<svg role="img" class="heat" width="(\d+)" height="(\d+)"[^>]*>(.*?)</svg>', page, re.S)
    ridges = re.search(r'<svg role="img" class="ridges" width="(\d+)" height="(\d+)"[^>]*>(.*?)</svg>', page, re.S)
    style = rules_for_drawings(re.search(r"<style>(.*?)</style>", page, re.S).group(1))
    tall = 2 * MARGIN + int(heat[2]) + GAP + int(ridges[2])
    parts = [f'<g class="heat" transform="translate({MARGIN} {MARGIN})">{heat[3]}</g>',
             f'<g class="ridges" transform="translate({MARGIN} {MARGIN + int(heat[2]) + GAP})">{ridges[3]}</g>']
    write_figure(figure_path, 2 * MARGIN + max(int(heat[1]), int(ridges[1])), tall,
                 "Divergence of every pair of groups, and the density of their coefficients", style, parts)


def main(page_path, figure_path):
    page = open(page_path, encoding="utf-8").read()
    if 'class="heat"' in page:
        corpus_figure(page, figure_path)
        return
    densities = re.findall(r'<svg role="img" class="kde" width="(\d+)" height="(\d+)"[^>]*>(.*?)</svg>', page, re.S)
    kernels = re.findall(r'<svg role="img" class="kernel" width="(\d+)"[^>]*>(.*?)</svg>', page, re.S)
    style = rules_for_drawings(re.search(r"<style>(.*?)</style>", page, re.S).group(1))
    width, height = int(densities[0][0]), int(densities[0][1])
    total = MARGIN * 2 + COMPONENTS * width + (COMPONENTS - 1) * GAP
    parts = []
    for i in range(COMPONENTS):
        x = MARGIN + i * (width + GAP)
        parts.append(f'<g class="kde" transform="translate({x} {MARGIN})">{densities[i][2]}</g>')
        middle = x + (width - int(kernels[i][0])) // 2
        parts.append(f'<g class="kernel" transform="translate({middle} {MARGIN + height + GAP})">{kernels[i][1]}</g>')
    tall = 2 * MARGIN + height + KERNEL_ROW
    write_figure(figure_path, total, tall, f"Densities of the first {COMPONENTS} principal components before and after "
                 "pruning, and their eigen-kernels", style, parts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

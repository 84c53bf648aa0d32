#!/usr/bin/env python3
"""Makes src/report/figure1.svg, the picture of the README, of a page that the program wrote.

    tools/readme_figure.py REPORT.html FIGURE.svg

Takes the densities and eigen-kernels of the first three components as they stand in the page, and its colours.
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
    kept = [rule for rule in re.findall(r"[^{}]+\{[^{}]*\}", plain) if rule.lstrip().startswith("svg ")]
    keep_line = lambda text: " ".join(text.split())
    return "\n".join([":root { %s }" % keep_line(variables),
                      "@media (prefers-color-scheme: dark) { :root { %s } }" % keep_line(dark),
                      *map(keep_line, kept)])


def main(page_path, figure_path):
    page = open(page_path, encoding="utf-8").read()
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
    with open(figure_path, "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{tall}" '
                  f'viewBox="0 0 {total} {tall}">\n'
                  f'<title>Densities of the first {COMPONENTS} principal components before and after pruning, '
                  f'and their eigen-kernels</title>\n<style>\n{style}\n</style>\n'
                  f'<rect width="100%" height="100%" style="fill: var(--paper)"/>\n' + "\n".join(parts) + "\n</svg>\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

/* What a script adds to a page that reads well without one: tables sorted by a click on a heading, the heat map in
   another order, and its cell spelled out under the pointer. */
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const key = (row, column) => {
        const cell = row.cells[column];
        const text = cell.dataset.v ?? cell.textContent.trim();
        const number = Number(text.replace(/[,\u00a0%]/g, "").replace("\u2212", "-"));
        return text === "" || text === "\u2013" ? null : Number.isNaN(number) ? text : number;
    };
    const compare = (a, b) => typeof a === typeof b
        ? (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }))
        : typeof a === "number" ? -1 : 1;
    table.tHead.querySelectorAll("th").forEach((heading, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.append(...heading.childNodes);
        heading.append(button);
        button.addEventListener("click", () => {
            const down = heading.getAttribute("aria-sort") === "descending"
                || (!heading.hasAttribute("aria-sort") && heading.classList.contains("left"));
            const sign = down ? 1 : -1;
            const rows = [...body.rows].map((row) => [key(row, column), row]);
            rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
            body.append(...rows.map(([, row]) => row));
            for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
            heading.setAttribute("aria-sort", down ? "ascending" : "descending");
        });
    });
}

const heat = document.querySelector("svg.heat");
if (heat) {
    const cell = Number(heat.dataset.cell), left = Number(heat.dataset.left), top_ = Number(heat.dataset.top);
    const names = heat.dataset.names.split("\n");
    const rows = [...heat.querySelectorAll("g.row")];
    const cells = rows.map((row) => [...row.querySelectorAll("rect")]);
    const numbers = rows.map((row) => [...row.querySelectorAll("text.value")]);
    const row_labels = [...heat.querySelectorAll("text.row-name")];
    const column_labels = [...heat.querySelectorAll("text.column-name")];
    const on_page = names.map((_, i) => i);
    const by_name = [...on_page].sort((a, b) => names[a].localeCompare(names[b], "en", { numeric: true }));
    const arrange = (order) => order.forEach((model, place) => {
        rows[model].setAttribute("transform", `translate(${left} ${top_ + place * cell})`);
        const middle = (place + 0.5) * cell + 3.5;
        row_labels[model]?.setAttribute("y", top_ + middle);
        column_labels[model]?.setAttribute("transform", `translate(${left + middle} ${top_ - 7}) rotate(-60)`);
        for (const row of cells) row[model].setAttribute("x", place * cell);
        for (const row of numbers) row[model]?.setAttribute("x", (place + 0.5) * cell);
    });
    const tools = document.getElementById("order");
    tools.hidden = false;
    for (const button of tools.querySelectorAll("button")) {
        button.addEventListener("click", () => {
            arrange(button.value === "name" ? by_name : on_page);
            for (const other of tools.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
        });
    }
    const read = document.getElementById("read");
    rows.forEach((row, i) => cells[i].forEach((rect, j) => rect.addEventListener("pointerenter", () => {
        const value = rect.querySelector("title").textContent.split(": ").pop();
        read.textContent = i === j ? names[i] : `${names[i]} \u2194 ${names[j]}: ${value}`;
    })));
}

"use strict";
// The page is complete without this script: it adds sorting, marks the section in view, and opens all for printing.

/** Sort the rows of each group by a column; what has no figure comes last. */
function sortBy(table, column, descending) {
  const key = row => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : Number(value);
  };
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return descending ? -order : order;
  };
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter(row => !row.classList.contains("group"));
    body.append(...rows.sort(compare));
  }
}

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.title = "Sort by this column";
    head.append(button);
    button.addEventListener("click", () => {
      const descending = column === 0 ? head.ariaSort === "ascending" : head.ariaSort !== "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortBy(table, column, descending);
    });
  });
}

/** Show where an item stands in the other list while the pointer is on it. */
function linkItems(pair) {
  const mark = event => {
    const item = event.target.closest?.("[data-item]")?.dataset.item;
    for (const row of pair.querySelectorAll("[data-item]")) row.classList.toggle("same", row.dataset.item === item);
  };
  pair.addEventListener("pointerover", mark);
  pair.addEventListener("pointerleave", mark);
}

/** Mark the part in view in the contents, and open the list of its section alone. */
function followReader() {
  const contents = document.querySelector(".contents");
  const links = new Map([...contents.querySelectorAll("a")].map(a => [a.hash.slice(1), a]));
  const seen = new Set();
  contents.classList.add("follows");
  const watcher = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) seen[isIntersecting ? "add" : "delete"](target.id);
    const current = [...links.keys()].filter(id => seen.has(id)).at(-1);
    if (current === undefined) return;
    for (const [id, link] of links) {
      if (id === current) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    }
    const link = links.get(current);
    for (const item of contents.querySelectorAll("li")) item.classList.toggle("open", item.contains(link));
    // A link outside the visible part of long contents comes into it; the page itself stays where it is.
    const place = link.getBoundingClientRect().top - contents.getBoundingClientRect().top;
    contents.scrollTop += Math.min(0, place - 60) + Math.max(0, place + 90 - contents.clientHeight);
  }, { rootMargin: "-10% 0px -70% 0px" });
  for (const id of links.keys()) watcher.observe(document.getElementById(id));
}

document.querySelectorAll(".table table").forEach(makeSortable);
document.querySelectorAll(".pair").forEach(linkItems);
followReader();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));

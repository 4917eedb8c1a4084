"use strict";
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];
  const visible = (element) => element.offsetParent !== null;

  // Where one is: the stop with the focus while it is in view, else the last that begins above the window's upper third.
  const go = (stops, step) => {
    const top = 0.33 * window.innerHeight;
    const { top: above, bottom } = document.activeElement.getBoundingClientRect();
    let here = bottom > 0 && above < window.innerHeight ? stops.indexOf(document.activeElement) : -1;
    if (here < 0) here = stops.findLastIndex((stop) => stop.getBoundingClientRect().top < top);
    const next = stops[Math.min(Math.max(here + step, 0), stops.length - 1)];
    if (!next) return;
    next.focus({ preventScroll: true });
    // Instantly: the next key asks what is in view.
    next.scrollIntoView({ block: next.matches("h2") ? "start" : "nearest", behavior: "instant" });
  };
  const keys = {
    j: () => go(all(".stop").filter(visible), 1),
    k: () => go(all(".stop").filter(visible), -1),
    n: () => go(all("h2.stop"), 1),
    p: () => go(all("h2.stop"), -1),
    o: () => document.body.classList.toggle("no-outlines"),
  };
  keys.ArrowRight = keys.j;
  keys.ArrowLeft = keys.k;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches?.("input, select, textarea")) return;
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  // The table of contents says which section is in view.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const mark = () => {
    const above = all("section").filter((one) => one.getBoundingClientRect().top < 0.4 * window.innerHeight);
    const current = above.length ? above[above.length - 1].id : "";
    for (const [id, link] of links) link.toggleAttribute("aria-current", id === current);
  };
  document.addEventListener("scroll", mark, { passive: true });
  mark();

  // Cards: only those of an annotator, or of a reason.
  const filters = all("[data-filter]");
  const filter = () => {
    const cards = all("#doubt-cards .card");
    for (const card of cards) {
      card.hidden = !filters.every((one) => !one.value || card.dataset[one.dataset.filter].split("|").includes(one.value));
    }
    const shown = cards.filter((card) => !card.hidden).length;
    document.querySelector(".filters output").textContent = `${shown} of ${cards.length} shown`;
  };
  for (const one of filters) one.addEventListener("change", filter);

  for (const field of all("[data-find]")) {
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of document.getElementById(field.dataset.find).tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
  }

  // Tables: a click, or Enter, on a heading sorts by it.
  for (const heading of all(".sortable thead th")) {
    heading.tabIndex = 0;
    const sort = () => {
      const body = heading.closest("table").tBodies[0];
      const down = heading.getAttribute("aria-sort") === "ascending";
      const value = (row) => row.cells[heading.cellIndex].textContent.trim();
      const number = (text) => (text && text !== "–" ? Number(text.replaceAll(",", "")) : NaN);
      const compare = (a, b) => {
        const difference = number(value(a)) - number(value(b));
        return Number.isNaN(difference) ? value(a).localeCompare(value(b), "en", { numeric: true }) : difference;
      };
      const rows = [...body.rows].sort(down ? (a, b) => compare(b, a) : compare);
      for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows);
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  }
})();

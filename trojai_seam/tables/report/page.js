"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const search = document.getElementById("search");
  const kind = document.getElementById("kind");
  const status = document.getElementById("status");
  const shown = document.getElementById("shown");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, i) => {
      const keep =
        words.every((word) => texts[i].includes(word)) &&
        (!kind.value || row.cells[2].textContent === kind.value) &&
        (!status.value || row.cells[4].textContent === status.value);
      row.hidden = !keep;
      count += keep;
    });
    shown.value = `${count} of ${rows.length} models`;
  };
  for (const field of [search, kind, status]) {
    field.addEventListener("input", filter);
    field.addEventListener("change", filter);
  }
  const form = document.getElementById("filters");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter(); // browsers may have kept what was typed before a reload

  const order = new Map(rows.map((row, i) => [row, i]));
  const heads = Array.from(table.tHead.rows[0].cells);
  const sort = (column, direction) => {
    const numeric = heads[column].classList.contains("n");
    const keys = new Map(
      rows.map((row) => {
        const text = row.cells[column].textContent;
        return [row, numeric ? parseFloat(text) : text.toLowerCase()];
      }),
    );
    const compare = (a, b) => {
      const x = keys.get(a);
      const y = keys.get(b);
      if (numeric) {
        // what was not measured comes last, whichever way
        const missing = Number.isNaN(x) - Number.isNaN(y);
        if (missing) return missing;
        return direction * (x - y) || order.get(a) - order.get(b);
      }
      return direction * x.localeCompare(y, "en", { numeric: true }) || order.get(a) - order.get(b);
    };
    body.append(...rows.slice().sort(compare));
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sort(column, up ? 1 : -1);
    });
  });

  const open = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  };
  window.addEventListener("hashchange", open);
  open();
})();

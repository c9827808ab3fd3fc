"use strict";
(async () => {
  const PAGE = 100;
  const NOTHING = "-";
  const by = (id) => document.getElementById(id);
  const make = (tag, text = "", attributes = {}) => {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };

  let data;
  try {
    const packed = Uint8Array.from(atob(by("data").textContent), (c) => c.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    data = JSON.parse(await new Response(plain).text());
  } catch {
    by("unreadable").hidden = false;
    return;
  }

  const value = (name, row) => {
    const column = data.columns[name];
    if (!column) return null;
    const found = "same" in column ? column.same : column.values[row];
    return found === undefined ? null : found;
  };
  const fixed = (number, digits = 2) => {
    // As Python does it: what lies halfway goes to the even digit. Only eighths lie halfway at two digits.
    if (digits === 2 && Number.isInteger(number * 8) && !Number.isInteger(number * 4)) {
      const below = Math.floor(number * 100);
      return ((below % 2 ? below + 1 : below) / 100).toFixed(2);
    }
    const text = number.toFixed(digits);
    return Number(text) === 0 ? (0).toFixed(digits) : text;
  };
  const inSample = (name, row) =>
    value(name, row) === null && name in data.fallback && value("measured_on", row) === "in-sample";
  const number = (name, row) => value(inSample(name, row) ? data.fallback[name] : name, row);
  const cell = (name, kind, row) => {
    if (kind === "text") return String(value(name, row) ?? NOTHING);
    const found = number(name, row);
    if (found === null) return NOTHING;
    if (inSample(name, row)) return `${fixed(found)}†`;
    return fixed(found) + (kind === "ratio" && found > 1 + 1e-9 ? "!" : "");
  };
  const plain = (found) => (typeof found === "number" && !Number.isInteger(found) ? String(Number(found.toPrecision(4))) : String(found));

  const all = Array.from({ length: data.rows }, (_, row) => row);
  const words = all.map((row) => data.table.map(([name, , kind]) => cell(name, kind, row)).join(" ").toLowerCase());
  const collator = new Intl.Collator("en", { numeric: true });
  const state = { rows: all, start: 0, column: null, direction: 1, open: new Set() };

  // What may be chosen: the values of a few columns, where there are several.
  const selects = [];
  for (const name of data.choices) {
    const values = Array.from(new Set(all.map((row) => value(name, row) ?? NOTHING))).sort(collator.compare);
    if (values.length < 2) continue;
    const label = make("label", `${data.table.find((column) => column[0] === name)[1]} `);
    const select = make("select", "", { id: `only-${name}` });
    select.append(make("option", "all", { value: "" }), ...values.map((text) => make("option", text, { value: `=${text}` })));
    label.append(select);
    by("choices").append(label);
    selects.push([name, select]);
  }
  for (const [name, label, kind] of data.table) {
    if (kind !== "text") by("measure").append(make("option", label, { value: name }));
  }

  const filter = () => {
    const sought = by("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const [low, high] = [by("from").value, by("to").value].map((text) => (text === "" ? null : Number(text)));
    const measure = by("measure").value;
    state.rows = all.filter((row) => {
      if (!sought.every((word) => words[row].includes(word))) return false;
      if (!selects.every(([name, select]) => !select.value || select.value === `=${value(name, row) ?? NOTHING}`)) return false;
      if (low === null && high === null) return true;
      const found = number(measure, row);
      return found !== null && (low === null || found >= low) && (high === null || found <= high);
    });
    order();
    state.start = 0;
    draw();
  };

  const order = () => {
    if (state.column === null) return;
    const [name, , kind] = data.table[state.column];
    const keys = new Map(state.rows.map((row) => [row, kind === "text" ? value(name, row) : number(name, row)]));
    state.rows = state.rows.slice().sort((a, b) => {
      const x = keys.get(a);
      const y = keys.get(b);
      if (x === null || y === null) return (x === null) - (y === null) || a - b; // not measured: last, whichever way
      return state.direction * (kind === "text" ? collator.compare(x, y) : x - y) || a - b;
    });
  };

  const SVG = "http://www.w3.org/2000/svg";
  const drawn = (row) => {
    const curves = data.curves[row];
    if (!curves || !curves.length) return [];
    const svg = document.createElementNS(SVG, "svg");
    const set = (node, attributes) => {
      for (const [name, text] of Object.entries(attributes)) node.setAttribute(name, text);
      return node;
    };
    set(svg, { class: "plot", viewBox: by("frame").dataset.box, role: "img", "aria-label": "Fit accuracy over the epochs of every phase" });
    svg.append(set(document.createElementNS(SVG, "use"), { href: "#curve-frame" }));
    Object.entries(data.phases).forEach(([phase, [x0, dx, y0, dy]], i) => {
      const [last, ...points] = curves[i];
      if (!points.length) return;
      const step = points.length > 1 ? last / (points.length - 1) : 0;
      const path = points.map((p, k) => `${(x0 + Math.round(k * step) * dx).toFixed(1)} ${(y0 + (p / 1000) * dy).toFixed(1)}`);
      svg.append(set(document.createElementNS(SVG, "path"), { class: `curve ${phase}`, d: `M${path.join("L")}` }));
    });
    return [svg];
  };

  const measured = (row) => {
    const body = make("tbody");
    for (const [name, label] of data.measures) {
      const found = value(name, row);
      if (found === null) continue;
      const low = value(`${name}_low`, row);
      const high = value(`${name}_high`, row);
      const line = make("tr");
      line.append(
        make("th", label, { scope: "row" }),
        make("td", fixed(found), { class: "n" }),
        make("td", low === null || high === null ? NOTHING : `[${fixed(low)}, ${fixed(high)}]`),
        make("td", String(value(`n_${name}`, row) ?? ""), { class: "n" }),
      );
      body.append(line);
    }
    if (!body.rows.length) return [];
    const head = make("thead");
    const line = make("tr");
    line.append(...["measure", "value", "95 % interval", "examples"].map((text, i) => make("th", text, { scope: "col", class: i % 2 ? "n" : "" })));
    head.append(line);
    const table = make("table");
    table.append(head, body);
    return [table];
  };

  const detail = (row) => {
    const line = make("tr", "", { class: "detail" });
    const box = make("td", "", { colspan: data.table.length });
    const inner = make("div", "", { class: "inner" });
    for (const name of ["error", "doubts"]) {
      const text = value(name, row);
      if (text) inner.append(make("p", text, { class: "message" }));
    }
    const beside = make("div", "", { class: "beside" });
    beside.append(...drawn(row), ...measured(row));
    const facts = make("dl");
    for (const name of data.facts) {
      const found = value(name, row);
      if (found === null) continue;
      const text = plain(found);
      const pair = make("div", "", text.length > 40 ? { class: "wide" } : {});
      pair.append(make("dt", name), make("dd", text));
      facts.append(pair);
    }
    inner.append(beside, facts);
    box.append(inner);
    line.append(box);
    return line;
  };

  const body = by("table").tBodies[0];
  const draw = () => {
    const rows = state.rows.slice(state.start, state.start + PAGE);
    const lines = [];
    for (const row of rows) {
      const line = make("tr", "", { id: `m${row + 1}` });
      data.table.forEach(([name, , kind], i) => {
        const text = cell(name, kind, row);
        if (i) {
          line.append(make("td", text, kind === "text" ? { title: text } : { class: "n" }));
          return;
        }
        const head = make("th", "", { scope: "row" });
        const button = make("button", text, { type: "button", title: text, "aria-expanded": state.open.has(row) });
        button.addEventListener("click", () => {
          if (!state.open.delete(row)) state.open.add(row);
          draw();
          document.querySelector(`#m${row + 1} button`).focus({ preventScroll: true });
        });
        head.append(button);
        line.append(head);
      });
      lines.push(line);
      if (state.open.has(row)) lines.push(detail(row));
    }
    body.replaceChildren(...lines);
    const end = Math.min(state.start + PAGE, state.rows.length);
    const count = `${state.rows.length} of ${data.rows} models`;
    by("shown").value = state.rows.length > PAGE ? `${count}, ${state.start + 1} to ${end}` : count;
    by("previous").hidden = by("next").hidden = state.rows.length <= PAGE;
    by("previous").disabled = state.start === 0;
    by("next").disabled = end === state.rows.length;
  };

  const heads = data.table.map(([, label, kind], column) => {
    const head = make("th", "", { scope: "col", "aria-sort": "none", class: kind === "text" ? "" : "n" });
    const button = make("button", label, { type: "button" });
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      Object.assign(state, { column, direction: up ? 1 : -1, start: 0 });
      order();
      draw();
    });
    head.append(button);
    return head;
  });
  by("table").tHead.rows[0].append(...heads);

  const csv = () => {
    const names = Object.keys(data.columns);
    const quoted = (found) => {
      if (found === null) return "";
      // A spreadsheet would run what begins like a formula.
      const text = typeof found === "string" ? found.replace(/^[=+\-@\t\r]/, "'$&") : String(found);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const lines = state.rows.map((row) => names.map((name) => quoted(value(name, row))).join(","));
    return [names.join(","), ...lines, ""].join("\n");
  };
  by("download").addEventListener("click", () => {
    const link = make("a", "", { download: "models.csv", href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });

  for (const [button, step] of [["previous", -PAGE], ["next", PAGE]]) {
    by(button).addEventListener("click", () => {
      state.start += step;
      draw();
    });
  }
  for (const field of [by("search"), by("measure"), by("from"), by("to"), ...selects.map(([, select]) => select)]) {
    field.addEventListener("input", filter);
    field.addEventListener("change", filter);
  }
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["filters", "pages", "listing", "hint"]) by(id).hidden = false;
  filter(); // browsers may have kept what was typed before a reload

  const open = () => {
    const found = /^#m(\d+)$/.exec(location.hash);
    const row = found ? Number(found[1]) - 1 : -1;
    if (row < 0 || row >= data.rows) return;
    if (!state.rows.includes(row)) {
      by("filters").reset();
      filter();
    }
    state.start = Math.floor(state.rows.indexOf(row) / PAGE) * PAGE;
    state.open.add(row);
    draw();
    by(`m${row + 1}`).scrollIntoView();
    document.querySelector(`#m${row + 1} button`).focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", open);
  open();
})();

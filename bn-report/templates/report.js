"use strict";
(() => {
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));
  const make = (tag, attributes, text) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  document.documentElement.classList.add("js");

  // One legend: a box per arm hides and shows the arm in every chart.
  const boxes = all("input[data-toggle]");
  const hidden = new Set();
  const gone = (element) => element.dataset.arm.split(" ").every((arm) => hidden.has(arm));
  const show = (root) => all("[data-arm]", root).forEach((element) => element.classList.toggle("off", gone(element)));
  const toggle = () => {
    hidden.clear();
    boxes.filter((box) => !box.checked).forEach((box) => hidden.add(box.dataset.toggle));
    show();
  };
  boxes.forEach((box) => {
    box.hidden = false;
    box.checked = true;
    box.addEventListener("change", toggle);
  });
  all("[data-all]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      boxes.forEach((box) => { box.checked = button.dataset.all === "show"; });
      toggle();
    });
  });

  // Values under the pointer, or at the step that the arrow keys choose.
  const tip = make("div", { class: "tip", role: "status", "aria-live": "polite", hidden: "" });
  document.body.append(tip);
  const line = make("div", { class: "cursor", hidden: "" });
  document.body.append(line);
  const format = (value) => {
    const size = Math.abs(value);
    return value === 0 || (size >= 1e-3 && size < 1e5) ? String(Number(value.toPrecision(4))) : value.toExponential(2);
  };
  const hideTip = () => { tip.hidden = true; line.hidden = true; };
  const place = (x, y) => {
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const right = x + 16 + width < innerWidth;
    tip.style.left = Math.max(4, right ? x + 16 : x - 16 - width) + "px";
    tip.style.top = Math.max(4, Math.min(y + 12, innerHeight - height - 4)) + "px";
  };
  const data = new Map();
  const numbers = (figure) => {
    if (!data.has(figure)) data.set(figure, JSON.parse(figure.querySelector("script").textContent));
    return data.get(figure);
  };
  const visible = (figure) => all("svg.chart", figure).find((svg) => svg.getClientRects().length > 0);
  const tell = (figure, svg, index, y) => {
    const { steps, lines } = numbers(figure);
    tip.replaceChildren(make("b", {}, "step " + steps[index].toLocaleString("en")));
    for (const { arms, name, mean, low, high, n } of lines) {
      if (mean[index] === null || arms.every((arm) => hidden.has(String(arm)))) continue;
      const interval = low[index] === null ? "" : " [" + format(low[index]) + ", " + format(high[index]) + "]";
      const row = make("div", { class: "arm-" + arms[0] });
      row.append(make("i"), make("span", {}, name), make("span", {}, format(mean[index]) + interval + " (" + n[index] + ")"));
      tip.append(row);
    }
    const box = svg.getBoundingClientRect();
    const x = box.left + svg.dataset.places.split(" ")[index] / svg.viewBox.baseVal.width * box.width;
    line.hidden = false;
    Object.assign(line.style, { left: x + "px", top: box.top + "px", height: box.height + "px" });
    place(x, y === undefined ? box.top + 20 : y);
  };
  const nearest = (svg, x) => {
    const box = svg.getBoundingClientRect();
    const wanted = (x - box.left) / box.width * svg.viewBox.baseVal.width;
    const places = svg.dataset.places.split(" ").map(Number);
    let best = 0;
    places.forEach((place, index) => { if (Math.abs(place - wanted) < Math.abs(places[best] - wanted)) best = index; });
    return best;
  };
  const describe = (target, x, y) => {
    const group = target.closest("svg.chart g:has(> title)");
    if (!group) return hideTip();
    tip.replaceChildren(make("div", {}, group.querySelector("title").textContent));
    line.hidden = true;
    place(x, y);
  };

  for (const figure of all("figure.figure")) {
    const plot = figure.querySelector(".plot");
    let at = -1;
    plot.addEventListener("pointermove", (event) => {
      const svg = visible(figure);
      if (!svg) return;
      if (svg.dataset.places) { at = nearest(svg, event.clientX); tell(figure, svg, at, event.clientY); }
      else describe(event.target, event.clientX, event.clientY);
    });
    plot.addEventListener("pointerleave", hideTip);
    if (figure.querySelector("svg[data-places]")) {
      plot.tabIndex = 0;
      plot.setAttribute("role", "group");
      plot.setAttribute("aria-label", figure.querySelector("h3").textContent + ": arrow keys read values step by step");
      plot.addEventListener("keydown", (event) => {
        const last = numbers(figure).steps.length - 1;
        const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
        if (event.key === "Escape") return hideTip();
        if (!(event.key in moves)) return;
        event.preventDefault();
        at = Math.max(0, Math.min(last, moves[event.key]));
        tell(figure, visible(figure), at);
      });
      plot.addEventListener("blur", hideTip);
    }
    tools(figure, plot);
  }

  // Other axes are in templates beside the chart; its numbers become a file.
  function tools(figure, plot) {
    const bar = make("div", { class: "tools" });
    const forms = new Map();
    const key = (x, y) => x + " " + y;
    const add = (x, y, node) => forms.set(key(x, y), (forms.get(key(x, y)) || []).concat([node]));
    Array.from(plot.children).forEach((node) => add(figure.dataset.x, figure.dataset.y, node));
    all("template", figure).forEach((form) => add(form.dataset.x, form.dataset.y, form.content.firstElementChild));
    const axis = (name, words) => {
      const other = () => {
        const want = { x: figure.dataset.x, y: figure.dataset.y };
        want[name] = want[name] === "log" ? "linear" : "log";
        return want;
      };
      if (!forms.has(key(other().x, other().y))) return;
      const pressed = () => String(figure.dataset[name] === "log");
      const button = make("button", { type: "button", "data-axis": name, "aria-pressed": pressed() }, words);
      button.addEventListener("click", () => {
        const want = other();
        if (!forms.has(key(want.x, want.y))) return;
        Object.assign(figure.dataset, want);
        plot.replaceChildren(...forms.get(key(want.x, want.y)));
        button.setAttribute("aria-pressed", pressed());
        show(plot);
        hideTip();
      });
      bar.append(button);
    };
    axis("x", "log steps");
    axis("y", "log values");
    const save = make("button", { type: "button", "data-save": "" }, "CSV");
    save.addEventListener("click", () => {
      const link = make("a", { download: numbers(figure).file + ".csv" });
      link.href = URL.createObjectURL(new Blob([csv(numbers(figure))], { type: "text/csv" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    bar.append(save);
    figure.querySelector("h3").after(bar);
  }
  function csv(chart) {
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
    };
    let rows = [];
    if (chart.steps) {
      rows.push(["step", "arm", "mean", "low", "high", "runs"]);
      for (const arm of chart.lines) {
        chart.steps.forEach((step, index) => {
          if (arm.mean[index] !== null) rows.push([step, arm.name, arm.mean[index], arm.low[index], arm.high[index], arm.n[index]]);
        });
      }
    } else rows = [chart.columns].concat(chart.rows);
    return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }

  // Tables are sorted by the column whose heading is pressed.
  for (const table of all("table.sortable")) {
    const headings = all("thead th", table);
    headings.forEach((heading, column) => {
      const button = make("button", { type: "button" });
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") !== "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        const value = (row) => {
          const cell = row.cells[column];
          const text = cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
          const number = Number(text.replaceAll(",", ""));
          return text === "" || !Number.isFinite(number) ? text : number;
        };
        const absent = (value) => value === "" || value === "\u2013";
        const order = (a, b) => {
          if (absent(a) || absent(b)) return absent(a) - absent(b);
          const both = typeof a === "number" && typeof b === "number";
          const less = both ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
          return up ? less : -less;
        };
        const body = table.tBodies[0];
        const rows = Array.from(body.rows).map((row, index) => ({ row, index, value: value(row) }));
        rows.sort((a, b) => order(a.value, b.value) || a.index - b.index);
        body.append(...rows.map(({ row }) => row));
      });
    });
  }
})();

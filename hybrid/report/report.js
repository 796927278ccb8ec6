"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const percent = (value) => (100 * value).toFixed(1) + "\u00a0%";
  // One for every round of the colours.
  const SHAPES = ["circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "triangle-down"];
  const MOST = 120;

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function picture(row) {
    const code = data.thumbs[row];
    if (!code) return element("span", "no picture", "none");
    const image = element("img");
    image.src = "data:image/jpeg;base64," + code;
    image.width = image.height = 96;
    image.alt = data.classes[data.truth[row]];
    return image;
  }

  // What misled the model (orange), where that was drawn.
  function heat(row) {
    const code = data.heats[row];
    if (!code) return "";
    const image = element("img", undefined, "heat");
    image.src = "data:image/jpeg;base64," + code;
    image.width = image.height = 96;
    image.alt = "What speaks for " + data.classes[data.predicted[row]];
    return image;
  }

  function isWrong(row) {
    return data.predicted[row] >= 0 && data.predicted[row] !== data.truth[row];
  }

  function card(row) {
    const figure = element("figure"), caption = element("figcaption");
    caption.append(element("b", data.classes[data.truth[row]]));
    if (data.predicted[row] >= 0) {
      caption.append(isWrong(row) ? ", predicted " : " ");
      if (isWrong(row)) caption.append(element("b", data.classes[data.predicted[row]]), " ");
      caption.append(percent(data.probability[row]));
    }
    caption.append(element("span", data.names[row], "path"));
    figure.append(picture(row), heat(row), caption);
    return figure;
  }

  function fill(gallery, rows) {
    gallery.replaceChildren(...rows.slice(0, MOST).map(card));
    if (rows.length > MOST) gallery.append(element("p", `and ${rows.length - MOST} more`));
  }

  function openCells() {
    const panel = document.getElementById("cell");
    if (!panel) return;
    const buttons = all("button[data-true]");
    let opened = null;
    const close = () => {
      panel.hidden = true;
      if (opened) { opened.setAttribute("aria-expanded", "false"); opened.focus(); }
      opened = null;
    };
    for (const button of buttons) {
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-controls", "cell");
      button.addEventListener("click", () => {
        const [t, p] = [Number(button.dataset.true), Number(button.dataset.predicted)];
        const rows = data.names.map((_, row) => row).filter((row) => data.truth[row] === t && data.predicted[row] === p);
        rows.sort((a, b) => data.probability[b] - data.probability[a]);
        opened?.setAttribute("aria-expanded", "false");
        opened = button;
        button.setAttribute("aria-expanded", "true");
        const verdict = t === p ? "rightly predicted" : `predicted as ${data.classes[p]}`;
        document.getElementById("cell-title").textContent = `${data.classes[t]}, ${verdict}: ${rows.length}`;
        fill(panel.querySelector(".gallery"), rows);
        panel.hidden = false;
        panel.focus({ preventScroll: true });
        panel.scrollIntoView({ block: "nearest" });
      });
    }
    panel.querySelector(".close").addEventListener("click", close);
    panel.addEventListener("keydown", (event) => event.key === "Escape" && close());
  }

  function theme(extra) {
    const line = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 50, r: 15, t: 15, b: 45 },
      font: { color: css("--ink"), family: "system-ui, sans-serif", size: 13 }, showlegend: false,
      hoverlabel: { bgcolor: css("--panel"), font: { color: css("--ink") } },
    };
    const axes = {};
    for (const name of ["xaxis", "yaxis"]) axes[name] = { ...line, ...extra[name] };
    return { ...base, ...extra, ...axes };
  }

  function draw(id, traces, extra = {}, config = {}) {
    const place = document.getElementById(id);
    if (place) return Plotly.react(place, traces, theme(extra), { displayModeBar: false, responsive: true, ...config });
  }

  // A user's text must be no markup in Plotly's labels, which know <b> and the like.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // Each class's name in the midst of its images, where there are not too many to read.
  function titles(rows, xs, ys) {
    if (data.classes.length > 30) return [];
    const middle = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
    const kept = data.classes.map((_, k) => rows.filter((row) => data.truth[row] === k));
    const named = data.classes.map((_, k) => k).filter((k) => kept[k].length);
    return [{
      mode: "text", hoverinfo: "skip", textposition: "top center", text: named.map((k) => `<b>${plain(data.classes[k].slice(0, 24))}</b>`),
      x: named.map((k) => middle(kept[k].map((row) => xs[row]))), y: named.map((k) => middle(kept[k].map((row) => ys[row]))),
      textfont: { color: css("--ink"), size: 13, shadow: `0 0 4px ${css("--paper")}, 0 0 4px ${css("--paper")}` },
    }];
  }

  function drawMap() {
    const place = document.getElementById("chart-map");
    if (!place) return;
    const form = document.getElementById("filter");
    const wanted = form.elements.class.value, onlyErrors = form.elements.errors.checked;
    const rows = data.names.map((_, row) => row)
      .filter((row) => (wanted === "" || data.truth[row] === Number(wanted)) && (!onlyErrors || isWrong(row)));
    form.elements.count.textContent = `${rows.length} of ${data.names.length} images`;
    fill(document.querySelector("#listed .gallery"), rows);
    const type = data.names.length > 3000 ? "scattergl" : "scatter";
    const [xs, ys] = data.points;
    const trace = {
      type, mode: "markers", hoverinfo: "none", x: rows.map((row) => xs[row]), y: rows.map((row) => ys[row]), customdata: rows,
      marker: {
        size: innerWidth < 640 ? 6 : 9, color: rows.map((row) => data.colours[data.truth[row] % data.colours.length]), opacity: 0.85,
        symbol: rows.map((row) => SHAPES[Math.floor(data.truth[row] / data.colours.length) % SHAPES.length]),
      },
    };
    const wrong = rows.filter(isWrong);
    const rings = {
      type, mode: "markers", hoverinfo: "skip", x: wrong.map((row) => xs[row]), y: wrong.map((row) => ys[row]),
      marker: { size: innerWidth < 640 ? 11 : 15, color: css("--ink"), symbol: "circle-open", line: { width: 2 } },
    };
    const none = { visible: false };
    draw("chart-map", [trace, rings, ...titles(rows, xs, ys)], { xaxis: none, yaxis: none, margin: { l: 5, r: 5, t: 5, b: 5 }, hovermode: "closest", dragmode: "zoom" }, { scrollZoom: false });
    if (place.dataset.ready) return;
    place.dataset.ready = "yes";
    const show = (event) => document.getElementById("hovered").replaceChildren(card(event.points[0].customdata));
    place.on("plotly_hover", show);
    place.on("plotly_click", show);
    form.addEventListener("input", drawMap);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  function drawCalibration() {
    const blue = `rgb(${css("--blue")})`, bins = data.calibration || [];
    const most = Math.max(...bins.map((one) => one.images), 1);
    draw("chart-calibration", [
      { x: [0, 1], y: [0, 1], mode: "lines", hoverinfo: "skip", line: { color: css("--soft"), dash: "dot" } },
      { x: bins.map((one) => one.said), y: bins.map((one) => one.right), mode: "lines+markers", line: { color: blue },
        marker: { size: bins.map((one) => 7 + 15 * Math.sqrt(one.images / most)) }, text: bins.map((one) => `${one.images} images`),
        hovertemplate: "said %{x:.1%}, right %{y:.1%}<br>%{text}<extra></extra>" },
    ], { xaxis: { title: { text: "probability that was said" }, range: [0, 1.03] }, yaxis: { title: { text: "share that was right" }, range: [-0.04, 1.05] } });
  }

  function drawCurve() {
    const curve = data.curve;
    if (!curve || !curve.sizes || !curve.sizes.length) return;
    const blue = `rgb(${css("--blue")})`, last = curve.sizes.at(-1);
    const traces = [{ x: curve.sizes, y: curve.accuracy, mode: "lines+markers", line: { color: blue }, hovertemplate: "%{x:.0f} images: %{y:.3f}<extra></extra>" }];
    if (curve.then !== null) {
      const factor = data.factor, far = last * factor;
      traces.push({ x: [last, far], y: [curve.accuracy.at(-1), curve.then], mode: "lines+markers", line: { color: blue, dash: "dot" },
        error_y: { type: "data", symmetric: false, array: [0, curve.high - curve.then], arrayminus: [0, curve.then - curve.low] },
        hovertemplate: "forecast for %{x:.0f} images: %{y:.3f}<extra></extra>" });
    }
    // Else a curve that is flat would be drawn from 0.9999992 to 1.
    const ends = [...curve.accuracy, ...(curve.then === null ? [] : [curve.low, curve.high])];
    const [low, high] = [Math.min(...ends) - 0.05, Math.min(1.005, Math.max(...ends) + 0.05)];
    draw("chart-curve", traces, { xaxis: { title: { text: "training images" } }, yaxis: { title: { text: "accuracy" }, range: [low, high], tickformat: ".2f" } });
  }

  function drawSearch() {
    const found = data.search || [];
    if (!found.length || !document.getElementById("chart-search")) return;
    const joined = (value) => plain(Array.isArray(value) ? value.join(" + ") : value);
    const row = (one) => (one.layers ? `${joined(one.layers)}, ${joined(one.pooling)}` : "images");
    const column = (one) => Object.entries(one).filter(([key]) => !["layers", "pooling", "score", "chosen"].includes(key) && !(key === "scaler" && one.scaler === "normalizer"))
      .map(([key, value]) => (key === "model" ? joined(value) : `${key} ${joined(value)}`)).join("<br>");
    const ys = [...new Set(found.map(row))];
    const ordered = [...found].sort((a, b) => String(a.model).localeCompare(b.model) || a.C - b.C || a.gamma - b.gamma);
    const xs = [...new Set(ordered.map(column))];
    const cell = (what) => ys.map((y) => xs.map((x) => what(found.find((one) => row(one) === y && column(one) === x))));
    const blue = css("--blue"), best = Math.max(...found.map((one) => one.score));
    const place = document.getElementById("chart-search");
    place.style.height = `${Math.max(12, 6 + 2.2 * ys.length)}rem`;
    place.style.minWidth = `${8 + 5.5 * Math.min(xs.length, 16)}rem`;
    draw("chart-search", [{
      type: "heatmap", x: xs, y: ys, z: cell((one) => (one ? one.score : null)), text: cell((one) => (one ? one.score.toFixed(3) + (one.chosen ? ` (${one.chosen}x)` : "") : "")),
      texttemplate: xs.length * ys.length <= 80 ? "%{text}" : "", hovertemplate: "%{y}<br>%{x}<br>%{text}<extra></extra>", xgap: 2, ygap: 2, textfont: { color: css("--ink") },
      colorscale: [[0, `rgba(${blue}, 0.05)`], [1, `rgba(${blue}, 0.55)`]], showscale: false,
      // Differences of a thousandth shall not look like differences.
      zmax: best, zmin: Math.min(best - 0.05, ...found.map((one) => one.score)),
    }], { yaxis: { autorange: "reversed", type: "category", showgrid: false }, xaxis: { type: "category", tickangle: 0, showgrid: false } });
  }

  function drawModels() {
    const models = data.models || [];
    if (!models.length) return;
    draw("chart-models", [{
      x: models.map((one) => one.mean), y: models.map((one) => plain(one.model).replaceAll("raw_pixels", "raw pixels")), mode: "markers", marker: { size: 10, color: `rgb(${css("--blue")})` },
      error_x: { type: "data", symmetric: false, array: models.map((one) => one.high - one.mean), arrayminus: models.map((one) => one.mean - one.low) },
      hovertemplate: "%{y}: %{x:.3f}<extra></extra>",
    }], { yaxis: { autorange: "reversed", type: "category" }, xaxis: { title: { text: plain(data.score.replaceAll("_", " ")) } } });
  }

  function drawAll() {
    for (const one of [drawMap, drawCalibration, drawCurve, drawSearch, drawModels]) one();
  }

  async function plotly() {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = element("script", await new Response(stream).text());
    document.head.append(script);
  }

  function followSections() {
    const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    all("section").forEach((section) => watcher.observe(section));
  }

  for (const place of all(".picture")) {
    const row = Number(place.dataset.row);
    place.replaceChildren(picture(row), "heat" in place.dataset ? heat(row) : "");
  }
  openCells();
  followSections();
  plotly().then(() => {
    drawAll();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
    addEventListener("beforeprint", drawAll);
    addEventListener("afterprint", drawAll);
    document.documentElement.dataset.drawn = "yes";
  }).catch((error) => {
    for (const place of all(".chart")) place.replaceChildren(element("p", "This browser cannot draw the charts; the tables have the same numbers.", "note"));
    console.error(error);
  });
})();

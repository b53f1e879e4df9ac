"use strict";
// Draws the charts with BokehJS from the data embedded in the page, and handles the controls.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const state = { axis: data.axis, logCost: null, logError: true, hidden: new Set() };
  const views = new Map();
  const looks = new Map(data.methods.map((method) => [method.name, method]));
  const soft = "#5b6875", faint = "#e6ebef";
  // Names that are no method (a rule with several batch sizes) take the styles by position.
  const look = (name, place) => looks.get(name) ?? data.methods[place % data.methods.length];
  const visible = (name) => !state.hidden.has(name);

  const element = (kind, parent, text, name) => {
    const made = document.createElement(kind);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    parent.append(made);
    return made;
  };

  function figure(options) {
    const made = Bokeh.Plotting.figure({
      height: 300, sizing_mode: "stretch_width", tools: "pan,wheel_zoom,box_zoom,reset,save",
      output_backend: "canvas", border_fill_color: null, outline_line_color: null, ...options,
    });
    made.toolbar.autohide = true;
    made.toolbar.logo = null;
    made.toolbar.active_scroll = null;
    for (const axis of [made.xaxis, made.yaxis]) {
      axis.axis_label_text_font_style = "normal";
      axis.axis_label_text_color = soft;
      axis.axis_label_text_font_size = "12px";
      axis.major_label_text_color = soft;
      axis.major_label_text_font_size = "11px";
      axis.axis_line_color = "#9aa7b3";
      axis.major_tick_line_color = "#9aa7b3";
      axis.minor_tick_line_color = null;
    }
    made.xgrid.grid_line_color = faint;
    made.ygrid.grid_line_color = faint;
    return made;
  }

  // The library labels almost no tick of an axis of less than two decades.
  function logTicks(low, high) {
    const decades = Math.log10(high / low);
    const factors = decades > 2.5 ? [1] : decades > 1.2 ? [1, 3] : [1, 1.5, 2, 3, 4, 5, 7];
    const step = Math.max(1, Math.ceil(decades / 8));
    const ticks = [];
    for (let k = step * Math.floor(Math.log10(low) / step); k <= Math.log10(high); k += step) {
      for (const factor of factors) ticks.push(Number(`${factor}e${k}`));
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
  }

  function tickLogarithmically([axis, grid], extent) {
    const ticker = new Bokeh.FixedTicker({ ticks: logTicks(extent.start, extent.end) });
    extent.change.connect(() => { ticker.ticks = logTicks(extent.start, extent.end); });
    axis.ticker = ticker;
    grid.ticker = ticker;
  }

  function hover(chart, renderers, tooltips, more = {}) {
    if (renderers.length) chart.add_tools(new Bokeh.HoverTool({ renderers, tooltips, ...more }));
  }

  function frame(parent, title, remark) {
    const box = element("div", parent, undefined, "chart");
    const head = element("h3", box, title);
    if (remark) element("small", head, remark);
    return box;
  }

  async function show(chart, box) {
    const place = element("div", box, undefined, "plot");
    chart.height = Math.max(chart.height, Math.min(400, Math.round(innerWidth / 7)));
    views.set(place, await Bokeh.Plotting.show(chart, place));
  }

  const positive = (values) => values.filter((value) => value !== null && value > 0);

  // Methods that differ widely in cost need a logarithmic axis.
  function uneven(lines) {
    const ends = lines.map((line) => Math.max(...line.cost)).filter((end) => end > 0);
    return ends.length > 1 && Math.max(...ends) > 10 * Math.min(...ends);
  }

  function range(values, logarithmic) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    if (logarithmic) return new Bokeh.Range1d({ start: low / 1.25, end: high * 1.25 });
    const room = 0.05 * (high - low || Math.abs(high) || 1);
    return new Bokeh.Range1d({ start: low - room, end: high + room });
  }

  async function curve(one, parent) {
    const lines = one.curves[state.axis].filter((line) => visible(line.method));
    const ends = one.ends.filter((end) => visible(end.method) && end.cost[state.axis] !== null);
    const box = frame(parent, one.name, one.metric && `${one.metric}, test set`);
    box.dataset.case = one.name;
    if (one.lost.length) element("p", box, `No point: ${one.lost.join(", ")}`, "lost");
    const errors = lines.flatMap((line) => [...line.low, ...line.median, ...line.high]).concat(ends.map((end) => end.value)).filter((value) => value !== null);
    const why = one.left_out[state.axis];
    if (!errors.length) return void element("p", box, why ? `Left out: ${why}` : "Nothing to draw.", "lost");
    const logError = state.logError && errors.every((value) => value > 0);
    const costs = lines.flatMap((line) => line.cost).concat(ends.map((end) => end.cost[state.axis]));
    const logCost = (state.logCost ?? uneven(lines)) && positive(costs).length > 0;
    const least = logCost ? Math.min(...positive(costs)) : -Infinity;
    // A diverging method must not set the scale for the others.
    const start = Math.max(...lines.map((line) => line.median[0] ?? 0));
    const extent = range(start > 0 ? errors.map((value) => Math.min(value, 3 * start)) : errors, logError);
    const chart = figure({
      x_axis_type: logCost ? "log" : "linear", y_axis_type: logError ? "log" : "linear",
      x_range: range(logCost ? positive(costs) : costs, logCost), y_range: extent,
      x_axis_label: data.axes[state.axis], y_axis_label: one.metric, tags: [one.name],
    });
    if (one.target !== null && (!logError || one.target > 0)) {
      chart.add_layout(new Bokeh.Span({ location: one.target, dimension: "width", line_color: soft, line_dash: [1, 3] }));
    }
    if (logCost) tickLogarithmically([chart.xaxis, chart.xgrid], chart.x_range);
    if (logError) tickLogarithmically([chart.yaxis, chart.ygrid], extent);
    const drawn = [];
    lines.forEach((line) => {
      const { colour, dash } = look(line.method, 0);
      const keep = line.cost.map((cost, k) => k).filter((k) => line.cost[k] >= least);
      const pick = (values) => keep.map((k) => values[k]);
      const top = pick(line.high).map((value) => value ?? extent.end * 1e3);
      chart.varea({ x: pick(line.cost), y1: pick(line.low), y2: top, fill_color: colour, fill_alpha: 0.14 });
      const source = new Bokeh.ColumnDataSource({ data: {
        x: pick(line.cost), y: pick(line.median), low: pick(line.low),
        high: pick(line.high).map((value) => value ?? Infinity),
        method: keep.map(() => line.method), runs: keep.map(() => line.runs),
      } });
      drawn.push(chart.line({ field: "x" }, { field: "y" }, { source, line_color: colour, line_dash: dash, line_width: 2 }));
    });
    hover(chart, drawn, [["method", "@method"], [data.axes[state.axis].split(",")[0], "@x{0.[000]a}"], ["median", "@y{0.000e+0}"], ["quartiles", "@low{0.00e+0} to @high{0.00e+0}"], ["runs", "@runs"]], { line_policy: "nearest", attachment: "horizontal" });
    // Ends above the chart are marked just below its upper edge.
    const edge = logError ? extent.end * (extent.start / extent.end) ** 0.03 : extent.end - 0.03 * (extent.end - extent.start);
    const marks = ends.map((end) => {
      const source = new Bokeh.ColumnDataSource({ data: {
        x: [Math.max(end.cost[state.axis], least)], y: [Math.min(end.value, edge)], method: [end.method],
        status: [end.status], reason: [end.reason], seed: [end.seed ?? "?"],
      } });
      const { colour } = look(end.method, 0);
      return chart.scatter({ field: "x" }, { field: "y" }, { source, marker: end.mark, size: 10, line_color: colour, line_width: 2.5, fill_color: "white" });
    });
    hover(chart, marks, [["method", "@method"], ["seed", "@seed"], ["ended", "@status"], ["because", "@reason"]]);
    await show(chart, box);
  }

  async function profile(parent) {
    const { lines: all, left_out } = data.profiles[state.axis];
    const lines = all.filter((line) => visible(line.method));
    const box = element("div", parent, undefined, "chart");
    for (const sentence of left_out) element("p", box, `Left out: ${sentence}`, "lost");
    if (!all.length) return void element("p", box, "Nothing to draw.", "lost");
    const end = Math.max(2, ...lines.flatMap((line) => line.ratio)) * 1.15;
    const chart = figure({
      height: 380, x_axis_type: "log", x_range: new Bokeh.Range1d({ start: 1, end }), y_range: new Bokeh.Range1d({ start: 0, end: 1.02 }),
      x_axis_label: `factor to the fastest method in ${data.axes[state.axis]}`, y_axis_label: "share of targets reached",
    });
    tickLogarithmically([chart.xaxis, chart.xgrid], chart.x_range);
    const drawn = lines.map((line) => {
      const { colour, dash } = look(line.method, 0);
      const x = [], y = [];
      line.ratio.forEach((ratio, k) => {
        if (k) { x.push(ratio); y.push(line.fraction[k - 1]); }
        x.push(ratio); y.push(line.fraction[k]);
      });
      x.push(end); y.push(line.fraction.at(-1));
      const source = new Bokeh.ColumnDataSource({ data: { x, y, method: x.map(() => line.method) } });
      return chart.line({ field: "x" }, { field: "y" }, { source, line_color: colour, line_dash: dash, line_width: 2.2 });
    });
    hover(chart, drawn, [["method", "@method"], ["within a factor of", "@x{0.00}"], ["share of targets", "@y{0 %}"]], { line_policy: "prev" });
    await show(chart, box);
  }

  // Panels of throughput and of the cost of a target, against batch size or device.
  async function samples(parent) {
    for (const one of data.samples) {
      const lines = one.lines.filter((line) => visible(line.method) && positive(line.error).length);
      const box = frame(parent, one.name, `${one.metric} of a test sample`);
      if (!lines.length) { element("p", box, "Nothing to draw.", "lost"); continue; }
      const least = Math.min(...lines.flatMap((line) => line.share));
      const chart = figure({
        x_axis_type: "log", x_range: range(lines.flatMap((line) => positive(line.error)), true),
        y_axis_type: "log", y_range: new Bokeh.Range1d({ start: least / 1.25, end: 1.25 }),
        x_axis_label: one.metric, y_axis_label: "share with at least this error",
      });
      tickLogarithmically([chart.xaxis, chart.xgrid], chart.x_range);
      tickLogarithmically([chart.yaxis, chart.ygrid], chart.y_range);
      const drawn = lines.map((line) => {
        const { colour, dash } = look(line.method, 0);
        const keep = line.error.map((_, k) => k).filter((k) => line.error[k] > 0);
        const source = new Bokeh.ColumnDataSource({ data: {
          x: keep.map((k) => line.error[k]), y: keep.map((k) => line.share[k]),
          method: keep.map(() => line.method), runs: keep.map(() => line.runs),
        } });
        return chart.line({ field: "x" }, { field: "y" }, { source, line_color: colour, line_dash: dash, line_width: 2 });
      });
      hover(chart, drawn, [["method", "@method"], [one.metric, "@x{0.000e+0}"], ["share with at least this", "@y{0.0 %}"], ["of", "@runs"]], { line_policy: "nearest" });
      await show(chart, box);
    }
  }

  async function scaling(panels, parent, label, factors) {
    for (const panel of panels) {
      const kinds = [["throughput", "throughput (samples/s)", "throughput"], ["cost", "training time (s)", `time to reach ${panel.target}`]];
      for (const [column, name, remark] of kinds) {
        if (!panel.series.some((series) => positive(series[column]).length)) continue;
        const box = frame(parent, panel.name, remark);
        const xs = [...new Set(panel.series.flatMap((series) => series.x))];
        const chart = figure({
          y_axis_type: "log", y_axis_label: name, x_axis_label: label,
          y_range: range(positive(panel.series.flatMap((series) => series[column])), true),
          ...(factors ? { x_range: new Bokeh.FactorRange({ factors: xs.sort() }) } : { x_axis_type: "log", x_range: range(xs, true) }),
        });
        tickLogarithmically([chart.yaxis, chart.ygrid], chart.y_range);
        if (!factors) chart.xaxis.ticker = chart.xgrid.ticker = new Bokeh.FixedTicker({ ticks: xs });
        const key = element("p", box, undefined, "lost");
        const drawn = [];
        panel.series.forEach((series, place) => {
          const { colour, dash } = look(series.method, place);
          const keep = series.x.map((_, k) => k).filter((k) => series[column][k] !== null && series[column][k] > 0);
          if (!keep.length) return;
          key.append(swatch({ colour, dash }), ` ${series.method}  `);
          const source = new Bokeh.ColumnDataSource({ data: {
            x: keep.map((k) => series.x[k]), y: keep.map((k) => series[column][k]),
            method: keep.map(() => series.method), reached: keep.map((k) => series.reached[k]),
          } });
          chart.line({ field: "x" }, { field: "y" }, { source, line_color: colour, line_dash: dash, line_width: 2 });
          drawn.push(chart.scatter({ field: "x" }, { field: "y" }, { source, size: 8, line_color: colour, fill_color: colour }));
        });
        hover(chart, drawn, [["method", "@method"], [label, "@x"], [name, "@y{0.000a}"], ["target reached by", "@reached"]]);
        await show(chart, box);
      }
    }
  }

  function swatch({ colour, dash }) {
    const space = "http://www.w3.org/2000/svg";
    const picture = document.createElementNS(space, "svg");
    picture.setAttribute("width", "30");
    picture.setAttribute("height", "8");
    const line = document.createElementNS(space, "line");
    for (const [name, value] of Object.entries({ x1: 0, x2: 30, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") })) line.setAttribute(name, value);
    picture.append(line);
    return picture;
  }

  // Remove replaced charts from the library's list of documents, too.
  function discard(places) {
    for (const [place, view] of views) {
      if (!place.closest(places)) continue;
      view.model.document?.clear();
      views.delete(place);
    }
  }

  // A later selection cancels the drawing of an earlier one.
  let turn = 0;
  async function draw() {
    const mine = ++turn;
    const ids = ["curve-charts", "profile-chart", "sample-charts"];
    discard(ids.map((id) => `#${id}`).join());
    const fresh = ids.map((id) => {
      const place = document.getElementById(id), empty = place?.cloneNode(false);
      place?.replaceWith(empty);
      return empty;
    });
    document.body.dataset.drawn = "no";
    for (const one of data.cases) {
      if (mine !== turn) return;
      await curve(one, fresh[0]);
    }
    if (mine !== turn) return;
    await profile(fresh[1]);
    if (mine === turn && fresh[2]) await samples(fresh[2]);
    if (mine === turn) document.body.dataset.drawn = "yes";
  }

  function controls() {
    for (const input of document.querySelectorAll("#axis input")) {
      input.addEventListener("change", () => { state.axis = input.value; draw(); });
    }
    const [logCost, logError] = ["log-cost", "log-error"].map((id) => document.getElementById(id));
    // Until the box is used, each chart selects its own scale.
    logCost.indeterminate = true;
    logCost.checked = data.cases.some((one) => uneven(one.curves[state.axis]));
    logCost.addEventListener("change", () => { state.logCost = logCost.checked; draw(); });
    logError.addEventListener("change", () => { state.logError = logError.checked; draw(); });
    const methods = document.getElementById("methods");
    for (const method of data.methods) {
      const label = element("label", methods);
      const input = element("input", label);
      input.type = "checkbox";
      input.checked = true;
      input.value = method.name;
      const name = element("span", label);
      name.append(swatch(method), method.name);
      input.addEventListener("change", () => {
        if (input.checked) state.hidden.delete(method.name); else state.hidden.add(method.name);
        draw();
      });
    }
  }

  function table() {
    const [filter, shown] = ["filter", "shown"].map((id) => document.getElementById(id));
    const body = document.querySelector(".runs tbody");
    const rows = [...body.rows];
    const sieve = () => {
      const words = filter.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} runs`;
    };
    filter.addEventListener("input", sieve);
    sieve();
    document.querySelectorAll(".runs th").forEach((head, column) => {
      head.firstChild.addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") === "ascending";
        document.querySelectorAll(".runs th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        const value = (row) => row.cells[column].textContent;
        const numeric = rows.every((row) => /^(–|-?[\d.]+(e-?\d+)?( s)?)$/.test(value(row)));
        const number = (row) => (value(row) === "–" ? Infinity : parseFloat(value(row)));
        const order = (a, b) => (numeric ? number(a) - number(b) : value(a).localeCompare(value(b)));
        rows.sort((a, b) => (falling ? order(b, a) : order(a, b)));
        body.append(...rows);
      });
    });
  }

  // A canvas keeps its width on the screen; for print it is copied to an image that scales.
  function copyForPaper() {
    for (const [place, view] of views) {
      if (!place.isConnected) views.delete(place);
      else if (!place.querySelector(".paper")) {
        const picture = element("img", place, undefined, "paper");
        picture.src = view.export("png", true).canvas.toDataURL();
        picture.alt = "";
      }
    }
  }
  addEventListener("beforeprint", copyForPaper);
  addEventListener("afterprint", () => document.querySelectorAll(".paper").forEach((picture) => picture.remove()));

  controls();
  table();
  draw().then(async () => {
    const places = { batches: ["batch-charts", "batch size (samples)", false], devices: ["device-charts", "device", true] };
    for (const [name, [id, label, factors]] of Object.entries(places)) {
      const parent = document.getElementById(id);
      if (parent) await scaling(data[name], parent, label, factors);
    }
    document.body.dataset.complete = "yes";
  });
})();

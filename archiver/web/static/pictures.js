// Pictures over time, drawn by uPlot from what the page carries: each run a bar, or each day one.
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const span = (seconds) => {
    if (seconds == null) return "–";
    if (seconds < 60) return `${+seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
    const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
    const first = units.findIndex(([, size]) => seconds >= size);
    const [unit, size] = units[first];
    const rest = units[first + 1];
    const left = rest ? Math.floor((seconds % size) / rest[1]) : 0;
    return `${Math.floor(seconds / size)} ${unit}${left ? ` ${left} ${rest[0]}` : ""}`;
  };
  const RESULTS = [["good", "Success", "--good-bar"], ["bad", "Failed", "--bad"], ["empty", "Empty", "--idle-bar"],
    ["going", "In progress", "--going"], ["other", "Unknown", "--warn"]];

  // How far apart the marks are, how they read, and what stands below where the day or the year is another one.
  const DAY = "{YYYY}-{MM}-{DD}";
  const TIMES = [
    [365 * 86400, "{YYYY}", ""], [28 * 86400, "{MMM}", "{YYYY}"], [86400, "{MMM} {D}", "{YYYY}"],
    [60, "{HH}:{mm}", DAY], [0, "{HH}:{mm}:{ss}", DAY],
  ];
  const LETTER = 8; // pixels, with some air
  const inZone = (seconds) => new Date(seconds * 1000);
  const inUtc = (seconds) => uPlot.tzDate(inZone(seconds), "UTC");
  const marks = (date) => (plot, splits, _, __, apart) => {
    const [, above, below] = TIMES.find(([least]) => apart >= least);
    const at = splits.map(date);
    const days = at.map(uPlot.fmtDate(below));
    const isNew = days.map((day, place) => day !== days[place - 1]);
    // The first has no room where the next one stands close beside it.
    const next = isNew.indexOf(true, 1);
    const room = next > 0 ? plot.valToPos(splits[next], "x") - plot.valToPos(splits[0], "x") : Infinity;
    if (room < days[0]?.length * LETTER) isNew[0] = false;
    return at.map((one, place) => uPlot.fmtDate(above)(one) + (below && isNew[place] ? `\n${days[place]}` : ""));
  };
  const axes = (date, values, size) => [
    { stroke: style("--soft"), grid: { show: false }, ticks: { stroke: style("--line") }, values: marks(date) },
    { stroke: style("--soft"), grid: { stroke: style("--line"), width: 1 }, ticks: { show: false }, size, values },
  ];
  const bars = (label, colour, value, size) => ({
    label, value: (_, one) => value(one), stroke: style(colour), fill: style(colour), width: 0,
    points: { show: false }, paths: uPlot.paths.bars({ size }),
  });

  // A period is chosen by drawing over it; the page is asked for again.
  const choose = (plot) => {
    if (plot.select.width < 8) return;
    const at = (x) => new Date(plot.posToVal(x, "x") * 1000).toISOString().slice(0, 19) + "Z";
    const url = new URL(location.href);
    url.searchParams.set("since", at(plot.select.left));
    url.searchParams.set("until", at(plot.select.left + plot.select.width));
    url.searchParams.delete("behind");
    location.assign(url);
  };
  const frame = (element, height) => ({
    width: element.clientWidth, height, cursor: { drag: { x: true, y: false, setScale: false }, y: false },
    hooks: { setSelect: [choose] },
  });

  const runs = (element, told) => {
    // What failed at once is seen, too.
    const least = Math.max(...told.y) * 0.08;
    const height = (place) => (told.status[place] === "bad" ? Math.max(told.y[place], least) : told.y[place]);
    const some = RESULTS.filter(([kind]) => told.status.includes(kind));
    const series = some.map(([kind, label, colour]) => ({
      ...bars(label, colour, span, [0.8, 9, 2]),
      value: (plot, one, _, place) => span(one == null ? null : told.y[place]),
      data: told.y.map((_, place) => (told.status[place] === kind ? height(place) : null)),
    }));
    const [first, last] = [told.x[0], told.x.at(-1)];
    const edge = (last - first) * 0.008 || 3600;
    const x = { range: [first - edge, last + edge] };
    const plot = new uPlot({
      ...frame(element, 220), scales: { x, y: { range: (_, least, most) => [0, (most || 1) * 1.05] } },
      series: [{ label: "Run of", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" }, ...series], axes: axes(inZone, (_, ticks) => ticks.map(span), 64),
    }, [told.x, ...series.map((one) => one.data)], element);
    plot.over.addEventListener("click", () => {
      if (plot.select.width < 8 && plot.cursor.idx != null) location.assign(told.base + told.ids[plot.cursor.idx]);
    });
    return plot;
  };

  const wholeDays = (told) => ({ range: [told.x[0] - 43200, told.x.at(-1) + 43200] });
  const days = (element, told) => {
    // Stacked: each result stands on those below it, and is drawn before them.
    const sum = (...lists) => told.x.map((_, place) => lists.reduce((all, one) => all + (one[place] || 0), 0));
    const layers = [
      ["Empty", "--idle-bar", sum(told.bad, told.good, told.empty), told.empty],
      ["Success", "--good-bar", sum(told.bad, told.good), told.good],
      ["Failed", "--bad", told.bad, told.bad],
    ];
    const count = (list) => (plot, _, __, place) => (place == null ? "–" : list[place].toLocaleString());
    const line = (label, colour) => ({
      label, scale: "s", stroke: style(colour), width: 1.5, value: (_, one) => span(one), points: { show: false },
    });
    const frames = axes(inUtc, (_, ticks) => ticks.map((one) => one.toLocaleString()), 52);
    frames.push({
      scale: "s", side: 1, stroke: style("--soft"), grid: { show: false }, ticks: { show: false }, size: 64,
      values: (_, ticks) => ticks.map(span),
    });
    return new uPlot({
      ...frame(element, 240), tzDate: inUtc,
      scales: { x: wholeDays(told), y: { range: (_, least, most) => [0, (most || 1) * 1.05] }, s: { range: (_, least, most) => [0, (most || 1) * 1.05] } },
      series: [{ label: "Day", value: "{YYYY}-{MM}-{DD}" },
        ...layers.map(([label, colour, , own]) => ({ ...bars(label, colour, String, [0.85, 40, 1]), value: count(own) })),
        line("Median", "--ink"), line("95 %", "--warn")],
      axes: frames,
    }, [told.x, ...layers.map(([, , data]) => data), told.p50, told.p95], element);
  };

  const counts = (element, told) => new uPlot({
    ...frame(element, 160), tzDate: inUtc,
    hooks: {}, cursor: { drag: { x: false, y: false }, y: false },
    scales: { x: wholeDays(told), y: { range: (_, least, most) => [0, (most || 1) * 1.05] } },
    series: [{ label: "Day", value: "{YYYY}-{MM}-{DD}" }, bars("Failed", "--bad", (one) => (one == null ? "–" : one.toLocaleString()), [0.85, 40, 2])],
    axes: axes(inUtc, (_, ticks) => ticks.map((one) => one.toLocaleString()), 52),
  }, [told.x, told.n], element);

  const KINDS = { runs, days, counts };
  const drawn = new Map();
  const draw = (element) => {
    drawn.get(element)?.destroy();
    const told = JSON.parse(element.dataset.picture);
    if (told.x.length) drawn.set(element, KINDS[told.kind](element, told));
  };
  const all = () => {
    for (const [element, plot] of drawn) {
      if (!element.isConnected) { plot.destroy(); drawn.delete(element); }
    }
    document.querySelectorAll("[data-picture]").forEach(draw);
  };

  document.addEventListener("DOMContentLoaded", all);
  document.addEventListener("archiver:theme", all);
  document.addEventListener("htmx:afterSettle", all);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (width === innerWidth) return;
    width = innerWidth;
    for (const [element, plot] of drawn) plot.setSize({ width: element.clientWidth, height: plot.height });
  });
})();

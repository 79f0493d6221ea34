/* global uPlot */
// Draws what the server does, once a second. The page is whole without it, but for the charts.

const SHOWN = 180; // seconds
const figures = document.querySelectorAll("[data-figure]");
const why = document.getElementById("why");
const points = [];

const digits = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value ? 2 : 0));
const inMilliseconds = (seconds) => (seconds === null ? null : seconds * 1000);
const SHOW = {
  made: digits,
  refused: digits,
  reports: digits,
  p50: (value) => digits(value * 1000),
  p99: (value) => digits(value * 1000),
  waiting: (value) => value.toLocaleString("en"),
  sessions: (value) => value.toLocaleString("en"),
};

function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { accent: of("accent"), muted: of("muted"), line: of("line"), fail: of("fail") };
}

function chart(element, series) {
  const colour = colours();
  const axis = { stroke: colour.muted, grid: { stroke: colour.line, width: 1 }, ticks: { stroke: colour.line, width: 1 }, font: "11px system-ui, sans-serif" };
  return new uPlot(
    {
      width: element.clientWidth || 320,
      height: 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { live: false },
      cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.15)] } },
      axes: [{ ...axis, space: 80, values: (_, times) => times.map((time) => new Date(time * 1000).toISOString().slice(11, 19)) }, { ...axis, size: 48 }],
      series: [{}, ...series.map(([label, name, fill]) => ({ label, stroke: colour[name], width: 1.75, fill: fill ? `${colour[name]}22` : undefined, points: { show: false } }))],
    },
    [[], ...series.map(() => [])],
    element,
  );
}

let charts = [];
const areas = [
  [document.getElementById("rates"), [["registered", "accent", true], ["refused", "fail", false]], (p) => [p.made, p.refused]],
  [document.getElementById("latency"), [["median", "accent", true], ["99 %", "muted", false]], (p) => [inMilliseconds(p.p50), inMilliseconds(p.p99)]],
];

function build() {
  for (const one of charts) one.destroy();
  charts = areas.map(([element, series]) => chart(element, series));
  draw();
}

function draw() {
  areas.forEach(([, , values], place) => {
    const rows = points.map(values);
    charts[place].setData([points.map((p) => p.at), ...rows[0] ? rows[0].map((_, column) => rows.map((row) => row[column])) : [[], []]]);
  });
}

function show(told) {
  points.push(...told.points);
  while (points.length && points[points.length - 1].at - points[0].at > SHOWN) points.shift();
  why.hidden = !told.why;
  why.textContent = told.why ? `Latency and more come from the metrics, and there are none: ${told.why}. ${told.hint ? `To have them, ${told.hint}.` : ""} Rates are counted in the audit log.` : "";
  const last = points[points.length - 1];
  if (!last) return;
  for (const figure of figures) {
    const value = last[figure.dataset.figure];
    figure.textContent = value === null ? "–" : SHOW[figure.dataset.figure](value);
  }
  draw();
}

build();
new ResizeObserver(() => charts.forEach((one, place) => one.setSize({ width: areas[place][0].clientWidth, height: 220 }))).observe(document.getElementById("rates"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", build);

const source = new EventSource("/overview/stream");
source.addEventListener("message", (event) => show(JSON.parse(event.data)));
source.addEventListener("error", () => {
  why.hidden = false;
  why.textContent = "Not connected: these figures are not those of now. Reload the page.";
});
addEventListener("pagehide", () => source.close());

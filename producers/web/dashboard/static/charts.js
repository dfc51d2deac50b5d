// Draws what stands in `data-chart`: {"times": [seconds...], "series": [{"name": "...", "values": [...]}], "unit": "ms"}.
"use strict";

const colour = (name) => {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

// Times of the day in UTC; days where the chart spans more than two of them.
const labels = (chart, found) => {
  const days = chart.scales.x.max - chart.scales.x.min > 172800;
  return found.map((one) => new Date(one * 1000).toISOString().slice(...(days ? [5, 10] : [11, 16])));
};

const draw = (place) => {
  const { times, series, unit = "" } = JSON.parse(place.dataset.chart);
  const [ink, line] = [colour("--faint"), colour("--line")];
  const strokes = ["--accent", "--bad", "--warn", "--good"].map(colour);
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const width = () => Math.max(200, place.clientWidth);
  const chart = new uPlot(
    {
      width: width(),
      height: 210,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      cursor: { drag: { setScale: false } },
      axes: [{ ...axis, values: labels }, { ...axis, size: 60, values: (_, found) => found.map((one) => (one === null ? "" : one + unit)) }],
      scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1, high ?? 1) * 1.05] } },
      series: [
        { value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
        ...series.map(({ name }, place) => ({ label: name, stroke: strokes[place % strokes.length], width: 1.6, spanGaps: true })),
      ],
    },
    [times, ...series.map(({ values }) => values)],
    place,
  );
  new ResizeObserver(() => chart.setSize({ width: width(), height: 210 })).observe(place);
};

const drawAll = () => {
  for (const place of document.querySelectorAll(".chart[data-chart]:empty")) draw(place);
};
document.addEventListener("DOMContentLoaded", drawAll);
document.addEventListener("htmx:afterSettle", drawAll);

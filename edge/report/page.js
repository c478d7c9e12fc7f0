"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const text = { labelColor: "var(--muted)", titleColor: "var(--muted)", titleFontWeight: 500, labelFontSize: 11, titleFontSize: 11 };
  const config = {
    background: "transparent",
    font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
    autosize: { type: "fit-x", contains: "padding" },
    axis: { ...text, gridColor: "var(--grid)", domainColor: "var(--grid)", tickColor: "var(--grid)", labelOverlap: true },
    axisQuantitative: { tickCount: 6 },
    legend: { ...text, orient: "top", symbolType: "square", labelLimit: 150, columns: { expr: "max(1, floor(width / 110))" } },
    view: { stroke: null },
    point: { stroke: "var(--card)" },
  };
  const options = { actions: false, renderer: "svg", ast: true, mode: "vega-lite", config, logLevel: 1, tooltip: { theme: "page" } };
  const shown = new Map();

  async function show(place, name) {
    const before = shown.get(place);
    const result = await vegaEmbed(place, structuredClone(specs[place.dataset.chart][name]), options);
    shown.set(place, result);
    if (before) before.finalize();
  }

  async function all() {
    for (const place of document.querySelectorAll("[data-chart]")) {
      await show(place, Object.keys(specs[place.dataset.chart])[0]);
    }
    document.documentElement.dataset.charts = "ready";
  }

  document.addEventListener("change", (event) => {
    const of = event.target.dataset.of;
    if (of) show(document.getElementById("chart-" + of), event.target.value);
  });
  all();
})();

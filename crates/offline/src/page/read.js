// Shows the values of a chart's curves under the pointer. They are read off the drawing, so that the page holds them once.
"use strict";
const reading = document.getElementById("reading");
const axis = (svg, name) => svg.dataset[name].split(" ").map(Number);

function curves(svg) {
  svg.curves ??= [...svg.querySelectorAll(".curve[data-name]")].filter((path) => path.dataset.name).map((path) => ({
    name: path.dataset.name,
    points: [...path.getAttribute("d").matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)].map((found) => [+found[1], +found[2]]),
  }));
  return svg.curves;
}

// The nearest point of the curves of each name, at most 1 % of the width away.
function nearest(svg, x) {
  const best = new Map();
  for (const { name, points } of curves(svg)) {
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle + 1; else high = middle;
    }
    for (const point of [points[low - 1], points[low]]) {
      const far = point ? Math.abs(point[0] - x) : Infinity;
      if (far <= 10 && far <= (best.get(name)?.far ?? Infinity)) best.set(name, { far, y: point[1] });
    }
  }
  return best;
}

for (const svg of document.querySelectorAll(".plot svg")) {
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 1000;
    const [x0, x1] = axis(svg, "x"), [y0, y1] = axis(svg, "y");
    const [unitX, unitY] = svg.dataset.units.split("|");
    const lines = [`${(x0 + (x / 1000) * (x1 - x0)).toPrecision(5)} ${unitX}`];
    for (const [name, { y }] of nearest(svg, x)) lines.push(`${name}: ${(y1 - (y / 1000) * (y1 - y0)).toPrecision(4)} ${unitY}`);
    reading.textContent = lines.join("\n");
    reading.hidden = false;
    reading.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - reading.offsetWidth - 8))}px`;
    reading.style.top = `${Math.min(event.clientY + 14, innerHeight - reading.offsetHeight - 8)}px`;
  });
  svg.addEventListener("pointerleave", () => { reading.hidden = true; });
}

// Elements and charts, drawn as SVG: nothing is loaded from elsewhere.
const SVG = "http://www.w3.org/2000/svg";
const DECADES = 5; // of shares shown: from all down to one in a hundred thousand

export function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") element.setAttribute(key, value);
  element.append(...children.filter((one) => one !== ""));
  return element;
}

export function text(id, words) {
  document.getElementById(id).textContent = words;
}

function shape(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function drawSpark(svg, values) {
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => `${at},${(100 - (value / most) * 92).toFixed(1)}`);
  svg.setAttribute("viewBox", `0 0 ${values.length - 1} 100`);
  svg.replaceChildren(
    shape("path", { class: "area", d: `M0,100 L${points.join(" L")} L${values.length - 1},100 Z` }),
    shape("path", { class: "top", d: `M${points.join(" L")}` }));
}

export function drawBars(svg, shares, reference) {
  const [width, height, left, bottom] = [320, 130, 8, 18];
  const step = (width - left) / reference.length;
  const up = (share) => Math.max(0, 1 + Math.log10(Math.max(share, 1e-9)) / DECADES) * (height - bottom - 6);
  const base = height - bottom;
  const parts = [];
  for (let decade = 0; decade <= DECADES; decade += 1) {
    const y = base - up(10 ** -decade);
    parts.push(shape("line", { class: "grid", x1: left, x2: width, y1: y, y2: y }));
  }
  reference.forEach((expected, at) => {
    const x = left + at * step;
    const seen = shares ? up(shares[at]) : 0;
    parts.push(shape("rect", { class: "bar", x: x + 3, y: base - seen, width: step - 6, height: seen, rx: 2 },
      shape("title", {}, `scores ${at * 10} to ${at * 10 + 10}: ${shares ? (shares[at] * 100).toFixed(3) : "–"} %, reference ${(expected * 100).toFixed(3)} %`)));
    parts.push(shape("line", { class: "reference", x1: x + 2, x2: x + step - 2, y1: base - up(expected), y2: base - up(expected) }));
    if (at % 2 === 0) parts.push(shape("text", { x, y: height - 3 }, `${at * 10}`));
  });
  parts.push(shape("text", { x: width, y: height - 3, "text-anchor": "end" }, "100"));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(...parts);
}

export function drawTimeline(svg, verdicts, chosen, choose) {
  const [width, height] = window.innerWidth < 560 ? [350, 180] : [700, 170]; // letters keep their size
  const [left, right, bottom, top] = [46, 14, 24, 14];
  const times = verdicts.map((one) => Date.parse(one.timestamp));
  const amounts = verdicts.map((one) => Math.log10(Math.max(one.amount, 0.01)));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const [least, most] = [Math.floor(Math.min(...amounts)), Math.max(Math.ceil(Math.max(...amounts)), Math.floor(Math.min(...amounts)) + 1)];
  const x = (time) => left + (last === first ? 0.5 : (time - first) / (last - first)) * (width - left - right);
  const y = (amount) => height - bottom - ((amount - least) / (most - least)) * (height - bottom - top);
  const parts = [];
  for (let power = least; power <= most; power += 1) {
    parts.push(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(power), y2: y(power) }),
      shape("text", { x: left - 8, y: y(power) + 4, "text-anchor": "end" }, (10 ** power).toLocaleString("en-GB", { maximumFractionDigits: 2 })));
  }
  const day = (time) => new Date(time).toISOString().slice(0, 16).replace("T", " ");
  parts.push(shape("text", { x: left, y: height - 5 }, day(first)),
    shape("text", { x: width - right, y: height - 5, "text-anchor": "end" }, last === first ? "" : day(last)));
  verdicts.forEach((one, at) => {
    const place = { cx: x(times[at]), cy: y(amounts[at]) };
    const dot = shape("circle", { class: "dot", "data-severity": one.severity, r: one.severity === "LOW" ? 4.5 : 6, ...place },
      shape("title", {}, `${day(times[at])}: ${one.amount}, ${one.severity} ${one.risk_score}`));
    dot.addEventListener("click", () => choose(one));
    parts.push(dot);
    if (one.verdict_id === chosen) parts.push(shape("circle", { class: "this", r: 11, ...place }));
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("class", "chart");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Amounts of the user's last ${verdicts.length} payments over time`);
  svg.replaceChildren(...parts);
}

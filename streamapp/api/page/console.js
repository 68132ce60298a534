// The live console: reads /v1/stream, draws what it says, asks for one verdict when it is opened.
import { drawBars, drawSpark, drawTimeline, make, text } from "/console/draw.js";

const ROWS_MAX = 300; // kept and shown: more is a search, not a look
const SILENCE_MS = 6000; // the stream speaks every second
const RETRY_MS_MAX = 8000;
const SEVERITIES = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];
const $ = (id) => document.getElementById(id);
const state = { key: takeKey(), rows: new Map(), lastId: "", paused: false, filter: readFilter(), fresh: new Set() };

function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem("key", given);
    history.replaceState(null, "", location.pathname + location.search); // not into bookmarks
  }
  return given || sessionStorage.getItem("key");
}

async function ask(path, more = {}) {
  const headers = { Authorization: `Bearer ${state.key}`, ...more.headers };
  const answer = await fetch(path, { ...more, headers });
  if (answer.status === 401 || answer.status === 403) askForKey();
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer;
}

function askForKey() {
  state.key = null;
  sessionStorage.removeItem("key");
  $("main").hidden = true;
  $("key-form").hidden = false;
  connection("waiting", "key needed");
  $("key").focus();
}

function connection(kind, words) {
  if ($("connection").textContent !== words) $("connection").textContent = words;
  $("connection").dataset.state = kind;
}

// ---- the stream ----

async function listen() {
  let wait = 500;
  while (state.key) {
    const stop = new AbortController();
    let timer = setTimeout(() => stop.abort(), SILENCE_MS);
    try {
      const headers = state.lastId ? { "Last-Event-ID": state.lastId } : {};
      const answer = await ask("/v1/stream", { headers, signal: stop.signal });
      let rest = "";
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(() => stop.abort(), SILENCE_MS);
        wait = 500;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        parts.forEach(take);
      }
    } catch (error) { /* told below: whatever it was, the stream is away */ } finally {
      clearTimeout(timer);
    }
    if (!state.key) return;
    connection("lost", "connection lost, trying again");
    await new Promise((done) => setTimeout(done, wait));
    wait = Math.min(wait * 2, RETRY_MS_MAX);
  }
}

function take(event) {
  const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
  if (fields.id) state.lastId = fields.id;
  if (!fields.data) return;
  const data = JSON.parse(fields.data);
  if (fields.event === "anomalies") {
    const isFresh = state.rows.size > 0; // what was there before the page is no news
    for (const row of data.anomalies) keep(row, isFresh);
    drawRows();
  } else if (fields.event === "stats") {
    drawStats(data);
  }
}

// ---- anomalies ----

const keyOf = (row) => `${row.tx_id}\u0000${row.user_id}`;

function keep(row, isFresh) {
  const key = keyOf(row);
  if (state.rows.has(key)) return;
  state.rows.set(key, row);
  if (isFresh) state.fresh.add(key);
  if (state.rows.size > ROWS_MAX) state.rows.delete(state.rows.keys().next().value);
}

function isWanted(row) {
  const { severity, user_id, merchant_id } = state.filter;
  return (!severity || row.severity === severity) && (!user_id || row.user_id === user_id) &&
    (!merchant_id || row.merchant_id === merchant_id);
}

function drawRows() {
  if (state.paused) return;
  const wanted = [...state.rows.values()].filter(isWanted).reverse();
  const list = $("anomalies");
  const there = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = wanted.map((row) => there.get(keyOf(row)) || rowOf(row));
  const kept = new Set(items);
  for (const item of [...list.children]) if (!kept.has(item)) item.remove();
  let next = list.firstChild; // what is there already is not moved: focus and place stay
  for (const item of items) {
    if (item === next) next = next.nextSibling;
    else list.insertBefore(item, next);
  }
  $("empty").hidden = items.length > 0;
  $("empty").textContent = state.rows.size ? "None that fits the filter." : "No anomaly so far.";
  $("shown").textContent = items.length ? `${items.length} shown` : "";
  state.fresh.clear();
}

function rowOf(row) {
  const item = make("li", { "data-key": keyOf(row), class: state.fresh.has(keyOf(row)) ? "new" : "" });
  const button = make("button", { type: "button" },
    badge(row.severity, row.risk_score),
    make("span", { class: "why" }, row.reason || "unusual for this user"),
    make("span", { class: "amount" }, money(row)),
    make("span", { class: "who small" }, `user ${row.user_id}${row.merchant_id ? ` · merchant ${row.merchant_id}` : ""}`),
    make("time", { class: "when small", datetime: row.timestamp }, when(row.timestamp)));
  button.addEventListener("click", () => open(row.tx_id, row.user_id));
  item.append(button);
  return item;
}

const badge = (severity, score) =>
  make("span", { class: "badge", "data-severity": severity }, make("b", {}, score.toFixed(0)), severity);
const money = (row) => `${row.amount.toLocaleString("en-GB", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}${row.currency ? ` ${row.currency}` : ""}`;
const when = (stamp) => stamp.slice(0, 19).replace("T", " ");
const count = (n) => n.toLocaleString("en-GB");

// ---- figures ----

function drawStats(stats) {
  const rate = stats.verdicts_per_s["1"];
  text("rate", count(Math.round(rate)));
  drawSpark($("history"), stats.history_per_s);
  drawLatency(stats.latency_ms);
  const lag = stats.lag ? Object.entries(stats.lag) : null;
  const waiting = lag ? lag.reduce((sum, [, n]) => sum + n, 0) : null;
  text("lag", waiting === null ? "–" : count(waiting));
  drawPartitions(lag || []);
  text("workers", stats.workers === null ? "–" : count(stats.workers));
  text("letters", `${count(stats.dead_letters_last_minute)} refused in the last minute`);
  drawPresence(stats, waiting, rate);
  drawMix(stats.severity);
  drawBars($("scores"), stats.scores, stats.scores_reference);
  drawHealth(stats);
}

function drawLatency(latency) {
  $("latency").replaceChildren(latency ? `${latency.p99.toFixed(0)}` : "–", latency ? make("small", {}, "ms") : "");
  text("latency-more", latency ? `half within ${latency.p50.toFixed(0)} ms, sent to committed` : "sent to committed verdict");
}

function drawPresence(stats, waiting, rate) {
  const isAway = stats.workers === 0;
  const isStuck = waiting > 0 && stats.verdicts_per_s["10"] === 0;
  $("banner").hidden = !(isAway || isStuck);
  const words = isAway ? `No worker is running. ${count(waiting || 0)} transactions wait; nothing is lost.`
    : `No verdict for ten seconds while ${count(waiting || 0)} transactions wait.`;
  if (!$("banner").hidden && $("banner").textContent !== words) text("banner", words);
  connection("live", isAway ? "live, no worker" : rate > 0 ? "live" : "live, stream is quiet");
}

function drawPartitions(lag) {
  const most = Math.max(1, ...lag.map(([, n]) => n));
  $("partitions").replaceChildren(...lag.slice(0, 64).map(([partition, n]) => {
    const bar = make("li", { title: `partition ${partition}: ${count(n)}`, "aria-label": `partition ${partition}: ${n}` });
    bar.style.height = `${Math.round((n / most) * 100)}%`;
    return bar;
  }));
}

function drawMix(mix) {
  const total = SEVERITIES.reduce((sum, name) => sum + mix[name], 0);
  const share = (n) => (total ? `${((n / total) * 100).toFixed(2)} %` : "–");
  $("mix").replaceChildren(...SEVERITIES.map((name) => {
    const part = make("span", { "data-severity": name });
    part.style.flexGrow = mix[name];
    return part;
  }));
  $("mix").setAttribute("aria-label", SEVERITIES.map((name) => `${name} ${share(mix[name])}`).join(", "));
  $("mix-legend").replaceChildren(...SEVERITIES.toReversed().flatMap((name) => [
    make("dt", { "data-severity": name }, name.toLowerCase()), make("dd", {}, `${count(mix[name])} · ${share(mix[name])}`)]));
}

function drawHealth(stats) {
  const total = SEVERITIES.reduce((sum, name) => sum + stats.severity[name], 0);
  const flagged = total ? 1 - stats.severity.LOW / total : null;
  const times = flagged === null ? null : flagged / 0.02;
  const models = stats.models.filter((one) => one.last_verdict);
  const facts = [
    ["Model at work", models.map((one) => one.version).join(", ") || "none seen"],
    ["Trained on", models[0]?.trained_on_rows ? `${count(models[0].trained_on_rows)} payments` : "–"],
    ["Newest payment", models[0] ? when(models[0].last_verdict) : "–"],
    ["Flagged", times === null ? "–" : `${(flagged * 100).toFixed(1)} %, ${times.toFixed(1)}× the budget`],
    ["From new users", stats.cold_start_share === null ? "–" : `${(stats.cold_start_share * 100).toFixed(1)} %`],
  ];
  $("health").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// ---- one verdict ----

async function open(txId, userId) {
  const user = encodeURIComponent(userId);
  $("detail-body").replaceChildren(make("p", { class: "small" }, "loading"));
  if (!$("detail").open) $("detail").showModal();
  $("detail").scrollTop = 0;
  try {
    const [verdict, recent] = await Promise.all([
      ask(`/v1/verdicts/${encodeURIComponent(txId)}?user_id=${user}`).then((a) => a.json()),
      ask(`/v1/users/${user}/verdicts?limit=50`).then((a) => a.json()),
    ]);
    drawVerdict(verdict, recent.verdicts);
  } catch (error) {
    $("detail-body").replaceChildren(make("p", {}, "This verdict is not kept any more, or the API does not answer."));
  }
}

function drawVerdict(verdict, recent) {
  const features = verdict.features;
  const days = (n) => (n === undefined ? "–" : n.toLocaleString("en-GB", { maximumFractionDigits: 2 }));
  const profile = [
    ["Payments in 24 hours", days(features.count_24h)], ["Payments in 30 days", days(features.count_30d)],
    ["Spent in 24 hours", days(features.sum_24h)], ["Usual amount, 30 days", days(features.mean_30d)],
    ["Merchants in 24 hours", days(features.distinct_merchants_24h)], ["New user", features.is_new_user ? "yes" : "no"],
  ];
  const versions = [...Object.entries(verdict.versions).map(([name, value]) => [name[0].toUpperCase() + name.slice(1), value]),
    ["Mode", verdict.mode.replace("_", " ")], ["Verdict", verdict.verdict_id]];
  const timeline = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const known = recent.some((one) => one.verdict_id === verdict.verdict_id) ? recent : [...recent, verdict];
  drawTimeline(timeline, known, verdict.verdict_id, (one) => open(one.tx_id, one.user_id));
  $("detail-body").replaceChildren(
    make("div", { class: "verdict" }, badge(verdict.severity, verdict.risk_score),
      make("div", {}, make("p", {}, make("strong", {}, money(verdict)), verdict.merchant_id ? ` to merchant ${verdict.merchant_id}` : ""),
        make("p", { class: "small" }, `user ${verdict.user_id} · ${when(verdict.timestamp)} UTC · suggested: ${verdict.recommended_action}`))),
    make("h3", {}, "Why"), ...reasonsOf(verdict),
    make("h3", {}, `This user's last ${known.length} payments, this one ringed`), timeline,
    make("div", { class: "pair" },
      make("div", {}, make("h3", {}, "Profile before this payment"), factsOf(profile)),
      make("div", {}, make("h3", {}, "Made by"), factsOf(versions))));
}

function reasonsOf(verdict) {
  if (!verdict.reasons.length) return [make("p", { class: "small" }, "Nothing stands out: explained are anomalies only.")];
  const most = Math.max(...verdict.reasons.map((one) => Math.abs(one.contribution)), 1e-9);
  return verdict.reasons.map((one) => {
    const fill = make("span", { class: "fill", "data-severity": verdict.severity });
    fill.style.width = `${Math.max(2, (Math.abs(one.contribution) / most) * 100)}%`;
    return make("div", { class: "reason", title: `${one.feature}, contribution ${one.contribution}` },
      make("span", {}, one.text), make("span", { class: "track" }, fill));
  });
}

const factsOf = (pairs) => make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

// ---- what people do ----

function readFilter() {
  try { return JSON.parse(sessionStorage.getItem("filter")) || {}; } catch (error) { return {}; }
}

let searching;
function filterChanged() {
  state.filter = Object.fromEntries(new FormData($("filters")));
  sessionStorage.setItem("filter", JSON.stringify(state.filter));
  drawRows();
  clearTimeout(searching);
  searching = setTimeout(search, 300);
}

async function search() {
  const wanted = Object.entries(state.filter).filter(([, value]) => value);
  if (!wanted.length) return;
  try {
    const answer = await ask(`/v1/anomalies?${new URLSearchParams([...wanted, ["limit", "50"]])}`);
    const older = (await answer.json()).verdicts.filter((one) => !state.rows.has(keyOf(one))).reverse();
    const rows = [...older.map((one) => ({ ...one, reason: one.reasons[0]?.text })), ...state.rows.values()].slice(-ROWS_MAX);
    state.rows = new Map(rows.map((row) => [keyOf(row), row]));
    drawRows();
  } catch (error) { /* what is here is shown; the stream says whether the API is away */ }
}

function start() {
  $("key-form").hidden = true;
  $("main").hidden = false;
  listen();
}

const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
for (const [name, value] of Object.entries(state.filter)) {
  for (const input of $("filters").elements) {
    if (input.name === name) input.type === "radio" ? (input.checked = input.value === value) : (input.value = value);
  }
}
$("filters").addEventListener("input", filterChanged);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", state.paused);
  text("pause", state.paused ? "Go on" : "Pause");
  drawRows();
});
$("close").addEventListener("click", () => $("detail").close());
$("detail").addEventListener("click", (event) => { if (event.target === $("detail")) $("detail").close(); });
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = $("key").value.trim();
  sessionStorage.setItem("key", state.key);
  start();
});
window.addEventListener("hashchange", () => { const key = takeKey(); if (key !== state.key) location.reload(); });
state.key ? start() : askForKey();

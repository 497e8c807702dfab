"use strict";

// The page of `mergepost preview`. Whatever comes from list or letter is set as text, never as HTML.

const ROW_HEIGHT = 56;
const TALLEST = 16000000;
const KINDS_SHOWN = 50;
const $ = (id) => document.getElementById(id);

let state = null;
let list = { rows: [], to: [], names: [] };
let marks = { kinds: [], states: {}, problems: {} };
let shown = [];
let current = -1;
let letter = null;
let filter = { kind: -1, problems: false, words: "", found: null };
let asked = 0;
let searching = 0;
let versions = { rows: -1, letter: -1, finished: null };
let look = { width: window.innerWidth < 560 ? 375 : 600, dark: false, images: false, tab: "html" };

const number = (value) => value.toLocaleString("en");
const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;

function size(octets) {
  if (octets < 1000) return `${octets} bytes`;
  if (octets < 1e6) return `${(octets / 1e3).toFixed(1)} kB`;
  return `${(octets / 1e6).toFixed(1)} MB`;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, action] of Object.entries(value)) element.addEventListener(event, action);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

async function fetched(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${answer.status} ${path}`);
  return answer.json();
}

// The campaign as a whole

function listen() {
  const events = new EventSource("events");
  events.onmessage = (message) => follow(JSON.parse(message.data));
  events.onerror = () => {
    $("sum").textContent = "The preview has ended: run mergepost preview again";
    document.body.classList.add("ended");
  };
  events.onopen = () => document.body.classList.remove("ended");
}

async function follow(fresh) {
  const before = state;
  state = fresh;
  if (!state.finished) document.body.dataset.finished = "no";
  showState();
  if (state.list_version !== versions.rows && state.total !== undefined) {
    versions.rows = state.list_version;
    const place = current < 0 ? null : { row: list.rows[current], to: list.to[current] };
    list = await fetched("rows");
    current = placeOf(place);
    if (filter.words) await search(filter.words);
    choose();
  }
  const surveyed = `${state.version} ${(state.kinds || []).length} ${state.finished}`;
  if (surveyed !== versions.finished && state.total !== undefined) {
    const again = versions.finished !== null && state.version === (before || {}).version;
    versions.finished = surveyed;
    marks = await fetched("marks");
    showKinds();
    choose();
    if (again && letter && state.finished && current >= 0) await open(current, true);
  }
  if (state.version !== versions.letter && list.rows.length) {
    versions.letter = state.version;
    await open(current < 0 ? 0 : current, true);
  }
  document.body.dataset.version = `${state.version}`;
  document.body.dataset.finished = state.finished ? "yes" : "no";
}

function placeOf(place) {
  if (!place) return -1;
  const same = list.rows.findIndex((row, at) => row === place.row && list.to[at] === place.to);
  if (same >= 0) return same;
  const moved = list.to.indexOf(place.to);
  return moved >= 0 ? moved : Math.min(current, list.rows.length - 1);
}

const told = () => Boolean(state && (state.general || []).some((found) => found.severity === "error"));

function nothingYet() {
  if (state.error) return "Nothing can be shown yet. Mend what is wrong and save: the page follows.";
  if (state.total === 0) return `${state.list} has no rows under its header. Add one row for each person and save: the page follows.`;
  return "Reading the list and the letter";
}

function showState() {
  const trouble = $("trouble");
  trouble.replaceChildren();
  if (state.error) {
    trouble.append(...(state.error.problems.length ? state.error.problems.map(problem)
      : [problem({ severity: "error", message: state.error.message, hint: state.error.hint })]));
  }
  const general = state.general || [];
  if (!state.error) trouble.append(...general.map(problem));
  trouble.hidden = !trouble.childElementCount;
  $("stale").hidden = !letter || letter.headers === undefined || !(letter.broken || state.error);
  document.body.classList.toggle("behind", Boolean(state.error));
  document.body.classList.toggle("empty-page", !letter && (state.error || state.total === 0));
  document.body.classList.toggle("unsorted", !(state.kinds || []).length);
  if (!letter) $("sheet").replaceChildren(make("p", { class: "nothing" }, nothingYet()));
  if (state.total === undefined) {
    if (state.error) $("files").textContent = "Save it again, and the page follows";
    return;
  }
  document.title = `${state.title}: preview`;
  $("title").textContent = state.title;
  $("files").textContent = `${state.letter} + ${state.list}`;
  const parts = [];
  if (state.kinds.length) parts.push(`${count(state.kinds.length, "kind")} of letter`);
  parts.push(count(state.total, "row"));
  if (state.reading) parts.push("reading on");
  else if (state.failed) parts.push(state.failed);
  else if (!state.finished) parts.push(`checked ${number(state.done)}`);
  else if (!state.fingerprint) parts.push("the letter can't be sent as it is");
  else {
    const wrong = state.counts.invalid || 0;
    if (wrong) parts.push(`${number(wrong)} can't be sent`);
    if (state.counts.skipped) parts.push(`${number(state.counts.skipped)} skipped`);
    if (state.warnings) parts.push(count(state.warnings, "warning"));
    if (!wrong && !state.warnings && !state.errors) parts.push("no problems");
  }
  $("sum").textContent = parts.join(", ");
  $("progress").hidden = state.finished;
  $("progress").max = Math.max(1, state.total);
  $("progress").value = state.done;
  const chip = $("fingerprint");
  chip.hidden = !state.fingerprint;
  if (state.fingerprint && chip.dataset.is !== state.fingerprint) {
    chip.dataset.is = state.fingerprint;
    chip.replaceChildren(make("span", {}, "fingerprint "), make("code", {}, state.fingerprint));
    chip.title = `Copy: mergepost send --expect ${state.fingerprint}`;
  }
}

$("fingerprint").addEventListener("click", async () => {
  const chip = $("fingerprint");
  const words = `mergepost send --expect ${chip.dataset.is}`;
  try {
    await navigator.clipboard.writeText(words);
    chip.replaceChildren("copied: send --expect ", make("code", {}, chip.dataset.is));
  } catch {
    chip.replaceChildren(make("code", {}, words));
  }
});

// Problems, as the terminal shows them

function problem(found) {
  const box = make("div", { class: `problem ${found.severity}` });
  const kind = found.severity === "error" ? "Error" : "Warning";
  const words = [make("b", {}, `${kind}: `), make("span", { dir: "auto" }, found.message || "")];
  if (found.value && !found.source) words.push(" ", make("q", { dir: "auto" }, found.value));
  box.append(make("p", {}, ...words));
  const where = [];
  if (found.file) where.push(found.file + (found.line ? `:${found.line}` : "") + (found.line && found.column ? `:${found.column}` : ""));
  if (found.row) where.push(`row ${found.row}`);
  if (found.field) where.push(found.field);
  if (found.source) {
    const line = make("code", { class: "excerpt", dir: "ltr" });
    const start = (found.column || 0) - 1;
    if (start >= 0) {
      const letters = Array.from(found.source);
      const end = start + Math.max(1, found.width || 1);
      line.append(letters.slice(0, start).join(""), make("mark", {}, letters.slice(start, end).join("") || " "), letters.slice(end).join(""));
    } else line.append(found.source);
    box.append(make("p", { class: "where" }, where.join(", ")), line);
  } else if (where.length) box.append(make("p", { class: "where" }, where.join(", ")));
  for (const hint of (found.hint || "").split("\n").filter(Boolean)) box.append(make("p", { class: "hint", dir: "auto" }, hint));
  return box;
}

// Kinds of letter

function showKinds() {
  const items = state.kinds.slice(0, KINDS_SHOWN).map((kind, place) => {
    const words = kind.words.length ? kind.words : [state.kinds.length === 1 ? "all rows take the same way through the letter" : "no branch of its own"];
    return make("li", {}, make("button", {
      type: "button", class: "kind", "aria-pressed": `${filter.kind === place}`, "data-kind": place,
      on: { click: () => pick(place) },
    }, make("span", { class: "share" }, number(kind.rows)), make("span", { class: "words" },
      ...words.map((text) => make("span", { dir: "auto" }, text)))));
  });
  if (state.kinds.length > KINDS_SHOWN) items.push(make("li", { class: "note" }, `and ${number(state.kinds.length - KINDS_SHOWN)} rarer kinds`));
  for (const [name, words] of [["longest", "the longest value"], ["emptiest", "the most empty cells"]]) {
    const row = state.extremes[name];
    if (row !== undefined) items.push(make("li", {}, make("button", {
      type: "button", class: "kind extreme", on: { click: () => openRow(row) },
    }, make("span", { class: "share" }, `row ${row}`), make("span", { class: "words" }, words))));
  }
  const kept = document.activeElement && document.activeElement.dataset.kind;
  $("kinds").replaceChildren(...items);
  if (kept !== undefined) $("kinds").querySelector(`[data-kind="${kept}"]`)?.focus();
  $("kinds-title").textContent = state.kinds.length ? `${count(state.kinds.length, "kind")} of letter` : "Kinds of letter";
}

async function pick(kind) {
  filter.kind = filter.kind === kind ? -1 : kind;
  showKinds();
  choose();
  if (filter.kind >= 0) await openRow(state.kinds[kind].example);
}

async function openRow(row) {
  const place = list.rows.indexOf(row);
  if (place < 0) return;
  if (!shown.includes(place)) {
    filter = { kind: -1, problems: false, words: "", found: null };
    $("search").value = "";
    showKinds();
    choose();
  }
  await open(place);
}

// The list: only what is in sight is in the document

const rowsBox = $("rows");
const runway = make("div", { class: "runway", role: "presentation" });
rowsBox.append(runway);

function choose() {
  const found = filter.found && new Set(filter.found);
  shown = [];
  for (let place = 0; place < list.rows.length; place += 1) {
    if (found && !found.has(place)) continue;
    if (filter.kind >= 0 && marks.kinds[place] !== filter.kind) continue;
    if (filter.problems && !isMarked(list.rows[place])) continue;
    shown.push(place);
  }
  const narrowed = filter.found || filter.kind >= 0 || filter.problems;
  $("found").textContent = narrowed ? `${number(shown.length)} of ${number(list.rows.length)}` : number(list.rows.length);
  $("all").setAttribute("aria-pressed", `${!narrowed}`);
  $("problems").setAttribute("aria-pressed", `${filter.problems}`);
  const marked = list.rows.reduce((sum, row) => sum + (isMarked(row) ? 1 : 0), 0);
  $("problems").textContent = state.finished ? `With problems ${number(marked)}` : "With problems";
  drawRows(true);
  showPlace();
}

const isMarked = (row) => marks.problems[row] !== undefined || marks.states[row] !== undefined;

function drawRows(anew) {
  const total = shown.length * ROW_HEIGHT;
  const height = Math.min(total, TALLEST);
  runway.style.height = `${height}px`;
  const most = Math.max(1, height - rowsBox.clientHeight);
  const part = Math.min(1, rowsBox.scrollTop / most);
  const top = total > height ? part * (total - rowsBox.clientHeight) : rowsBox.scrollTop;
  const first = Math.max(0, Math.floor(top / ROW_HEIGHT) - 4);
  const last = Math.min(shown.length, Math.ceil((top + rowsBox.clientHeight) / ROW_HEIGHT) + 4);
  const key = `${first} ${last}`;
  if (!anew && runway.dataset.key === key && total <= height) return;
  runway.dataset.key = key;
  const items = [];
  for (let at = first; at < last; at += 1) items.push(rowItem(at, at * ROW_HEIGHT - top + rowsBox.scrollTop));
  runway.replaceChildren(...items);
  const at = shown.indexOf(current);
  if (at >= first && at < last) rowsBox.setAttribute("aria-activedescendant", `row-${list.rows[current]}`);
  else rowsBox.removeAttribute("aria-activedescendant");
}

function rowItem(at, top) {
  const place = shown[at];
  const row = list.rows[place];
  const worst = marks.problems[row];
  const [standing] = marks.states[row] || [];
  const badge = standing === "invalid" ? "can't be sent" : standing || (worst === "error" ? "error" : worst);
  const item = make("div", {
    role: "option", class: "row", id: `row-${row}`, "aria-selected": `${place === current}`,
    "aria-setsize": shown.length, "aria-posinset": at + 1, "data-place": place,
  }, make("span", { class: "number" }, `${row}`), make("span", { class: "person" },
    make("span", { class: "name", dir: "auto" }, list.names[place] || list.to[place] || "(no address)"),
    list.names[place] ? make("span", { class: "to", dir: "auto" }, list.to[place] || "(no address)") : null),
  badge ? make("span", { class: `badge ${standing || worst}` }, badge) : null);
  item.style.transform = `translateY(${Math.round(top)}px)`;
  return item;
}

function intoSight(place) {
  const at = shown.indexOf(place);
  if (at < 0) return;
  const total = shown.length * ROW_HEIGHT;
  const scale = total > TALLEST ? (TALLEST - rowsBox.clientHeight) / (total - rowsBox.clientHeight) : 1;
  const top = at * ROW_HEIGHT;
  const seen = rowsBox.scrollTop / scale;
  if (top < seen) rowsBox.scrollTop = top * scale;
  else if (top + ROW_HEIGHT > seen + rowsBox.clientHeight) rowsBox.scrollTop = (top + ROW_HEIGHT - rowsBox.clientHeight) * scale;
}

let drawing = false;
rowsBox.addEventListener("scroll", () => {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawRows(false);
  });
}, { passive: true });
new ResizeObserver(() => drawRows(true)).observe(rowsBox);
rowsBox.addEventListener("click", (event) => {
  const item = event.target.closest(".row");
  if (item) open(Number(item.dataset.place));
});
rowsBox.addEventListener("keydown", (event) => {
  const page = Math.max(1, Math.floor(rowsBox.clientHeight / ROW_HEIGHT) - 1);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (steps[event.key] === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  step(steps[event.key]);
});

function step(by) {
  if (!shown.length) return;
  const at = shown.indexOf(current);
  const next = at < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, at + by));
  if (shown[next] !== current) open(shown[next]);
}

function nextKind() {
  if (!state || !state.kinds.length) return;
  const kind = current >= 0 ? marks.kinds[current] ?? -1 : -1;
  openRow(state.kinds[(kind + 1) % state.kinds.length].example);
}

async function search(words) {
  filter.words = words;
  const turn = ++searching;
  const found = words.trim() ? await fetched(`search?q=${encodeURIComponent(words)}`) : null;
  if (turn !== searching) return false;
  filter.found = found;
  return true;
}

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    if (await search($("search").value)) {
      rowsBox.scrollTop = 0;
      choose();
    }
  }, 90);
});
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    if ($("search").value) {
      $("search").value = "";
      search("").then(choose);
    }
    rowsBox.focus();
    event.preventDefault();
  } else if (event.key === "Enter" && shown.length) {
    open(shown[0]);
    rowsBox.focus();
  } else if (event.key === "ArrowDown") {
    rowsBox.focus();
    event.preventDefault();
  }
});
$("all").addEventListener("click", () => {
  filter = { kind: -1, problems: false, words: "", found: null };
  $("search").value = "";
  showKinds();
  choose();
  intoSight(current);
});

function onlyProblems() {
  filter.problems = !filter.problems;
  rowsBox.scrollTop = 0;
  choose();
  if (filter.problems && shown.length && !shown.includes(current)) open(shown[0]);
  else intoSight(current);
}
$("problems").addEventListener("click", onlyProblems);

// One letter

async function open(place, again = false) {
  current = place;
  intoSight(place);
  drawRows(true);
  const turn = ++asked;
  const row = list.rows[place];
  if (row === undefined) return;
  let fresh;
  try {
    fresh = await fetched(`letter/${row}`);
  } catch {
    return;
  }
  if (turn !== asked) return;
  const same = again && letter && fresh.row === letter.row && fresh.digest !== undefined && fresh.digest === letter.digest;
  const before = letter;
  const kept = fresh.error && letter && letter.row === fresh.row && !letter.error ? letter : null;
  letter = kept ? { ...kept, problems: [...fresh.error, ...fresh.problems], broken: true } : fresh;
  showLetter(same, again && Boolean(before) && before.row === fresh.row);
  if (!again && document.body.classList.contains("listing")) toggleList(false);
}

function showLetter(sameFrame, samePlace) {
  const row = letter.row;
  $("name").textContent = letter.name || letter.to || letter.address || "(no address)";
  showPlace();
  const standing = $("standing");
  standing.textContent = letter.state === "invalid" ? "can't be sent" : letter.state ? `${letter.state}: ${letter.reason}` : "";
  standing.className = letter.state ? `badge ${letter.state}` : "";
  const place = (found) => `${found.file} ${found.line} ${found.column}`;
  const above = new Set(((state && state.general) || []).map(place));
  const own = [...(letter.error || []), ...letter.problems].filter((found) => !found.line || !above.has(place(found)));
  const unique = new Map(own.map((found) => [`${found.kind} ${found.message}`, found]));
  $("row-problems").replaceChildren(...[...unique.values()].map(problem));
  $("stage").classList.toggle("old", Boolean(letter.broken));
  const has = letter.headers !== undefined;
  $("stale").hidden = !has || !(letter.broken || (state && state.error));
  $("inbox").hidden = !has;
  if (has) {
    for (const line of document.querySelectorAll(".line")) {
      line.querySelector(".from").textContent = letter.from;
      line.querySelector(".subject").textContent = letter.subject;
      line.querySelector(".snippet").textContent = letter.snippet;
    }
  }
  $("text").textContent = has ? letter.text ?? "This letter has no text part." : "";
  $("source").textContent = has ? letter.source : "";
  $("eml").href = `eml/${row}`;
  const pairs = has ? [...letter.headers, ...letter.hidden.map((to) => ["Bcc (not in the message)", to])] : [];
  $("headers").replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)]));
  if (!samePlace) for (const name of ["text", "headers", "source"]) $(name).scrollTop = 0;
  if (!sameFrame) showFrame(samePlace);
  showFacts(has);
  showLooks();
  document.body.dataset.row = row;
}

function showPlace() {
  const at = shown.indexOf(current);
  const among = at < 0 ? "not among those listed" : `${number(at + 1)} of ${number(shown.length)}`;
  if (letter) $("place").textContent = `row ${letter.row}, ${among}`;
}

// The letter is drawn beside the old one and takes its place when it is there, at the same height of the page.
function showFrame(keepPlace = false) {
  const sheet = $("sheet");
  for (const early of sheet.querySelectorAll(".coming")) early.remove();
  const old = sheet.firstElementChild;
  const top = keepPlace && old ? (old.tagName === "IFRAME" ? placeIn(old).scrollTop : old.scrollTop) : 0;
  if (letter.headers === undefined) {
    sheet.replaceChildren(make("p", { class: "nothing" }, told() ? "No row has a letter until this is mended." : "There is no letter for this row."));
    return;
  }
  if (!letter.html) {
    const plain = make("pre", { class: "plain", dir: "auto", tabindex: "0" }, letter.text || "");
    sheet.replaceChildren(plain);
    plain.scrollTop = top;
    return;
  }
  const frame = make("iframe", {
    sandbox: "allow-same-origin", class: "coming", referrerpolicy: "no-referrer", title: `Letter of row ${letter.row}: ${letter.subject}`,
    src: `frame/${letter.row}?images=${look.images ? 1 : 0}&dark=${look.dark ? 1 : 0}&of=${encodeURIComponent(letter.digest.slice(0, 16))}`,
  });
  frame.style.colorScheme = look.dark ? "dark" : "light";
  frame.addEventListener("load", () => {
    if (!frame.isConnected) return;
    const focused = document.activeElement === old;
    placeIn(frame).scrollTop = top;
    frame.classList.remove("coming");
    for (const other of [...sheet.children]) if (other !== frame) other.remove();
    if (focused) frame.focus({ preventScroll: true });
    if (frame.contentDocument) frame.contentDocument.addEventListener("keydown", keyed);
    fit();
  });
  sheet.append(frame);
  fit();
}

function placeIn(frame) {
  const inside = frame.contentDocument;
  return (inside && (inside.scrollingElement || inside.documentElement)) || frame;
}

function showFacts(has) {
  const boxes = [];
  const box = (title, ...content) => boxes.push(make("section", {}, make("h3", {}, title), ...content));
  if (has && letter.advice.length) box(`Worth a look (${letter.advice.length})`, ...letter.advice.map(problem));
  const kind = marks.kinds[current];
  if (state && state.kinds[kind]) {
    const mine = state.kinds[kind];
    box("Its kind", make("p", {}, `${count(mine.rows, "row")} like this one`), make("ul", { class: "ways" }, ...mine.words.map((text) => make("li", { dir: "auto" }, text))));
  }
  if (has) {
    const clip = letter.html ? make("p", { class: "meter" },
      make("meter", { min: 0, max: 104448, high: 83558, value: letter.html_size, "aria-label": "HTML, of the 102 kB that Gmail shows" }),
      ` HTML ${size(letter.html_size)}; Gmail shows 102 kB`) : null;
    box("Size", make("p", {}, `${size(letter.size)} in all; most servers take 20 MB`), clip);
    box(`Attachments (${letter.files.length})`, letter.files.length ? make("ul", {}, ...letter.files.map((file) => make("li", {},
      make("a", { href: `file/${letter.row}/${file.number}/${encodeURIComponent(file.name)}`, target: file.opens ? "_blank" : false,
        rel: "noopener", download: file.opens ? false : file.name, dir: "auto" }, file.name),
      make("span", { class: "note" }, ` ${size(file.size)}, ${file.type}`)))) : make("p", { class: "note" }, "none"));
    const links = letter.links.map((link) => make("li", {}, make("span", { dir: "auto" }, link.text || "(no words)"), make("code", { dir: "ltr" }, link.href || "(nowhere)")));
    box(`Links (${letter.links.length})`, links.length ? make("ol", { class: "links" }, ...links) : make("p", { class: "note" }, "none"));
  }
  if (has && letter.html) {
    const programs = Object.entries(letter.left_out);
    box("Mail programs", programs.length ? make("dl", { class: "pairs" }, ...programs.flatMap(([name, what]) => [
      make("dt", {}, name), make("dd", {}, what.join(", "))])) : make("p", { class: "note" }, "all of them show everything in it"),
      make("p", { class: "note" }, `What they leave out, by caniemail.com of ${letter.as_of}`));
  }
  box("The row", make("dl", { class: "pairs" }, ...letter.cells.flatMap(([name, value]) => [
    make("dt", { dir: "auto" }, name), make("dd", { dir: "auto", class: value.trim() ? false : "empty" }, value.trim() ? value : "(empty)")])));
  $("facts").replaceChildren(...boxes);
}

// How it is looked at

function showLooks() {
  for (const button of document.querySelectorAll("[data-width]")) button.setAttribute("aria-pressed", `${Number(button.dataset.width) === look.width}`);
  $("inbox").dataset.as = look.width === 375 ? "phone" : "wide";
  $("dark").setAttribute("aria-pressed", `${look.dark}`);
  $("images").setAttribute("aria-pressed", `${look.images}`);
  $("images").hidden = !(letter && letter.remote);
  $("dark-note").hidden = !(look.dark && look.tab === "html");
  $("looks").hidden = look.tab !== "html" || !(letter && letter.html);
  for (const name of ["html", "text", "headers", "source"]) {
    const tab = $(`tab-${name}`);
    tab.setAttribute("aria-selected", `${look.tab === name}`);
    tab.tabIndex = look.tab === name ? 0 : -1;
    $(`view-${name}`).hidden = look.tab !== name;
  }
  fit();
}

function fit() {
  const sheet = $("sheet");
  const frames = sheet.querySelectorAll("iframe");
  if (!frames.length) {
    sheet.style.width = "";
    return;
  }
  const around = getComputedStyle($("view-html"));
  const room = $("view-html").clientWidth - parseFloat(around.paddingLeft) - parseFloat(around.paddingRight);
  if (room <= 0) return;
  const scale = Math.min(1, room / look.width);
  const height = sheet.clientHeight;
  sheet.style.width = `${Math.round(look.width * scale)}px`;
  for (const frame of frames) {
    frame.style.width = `${look.width}px`;
    frame.style.height = `${Math.round(height / scale)}px`;
    frame.style.transform = scale < 1 ? `scale(${scale})` : "";
  }
}
new ResizeObserver(fit).observe($("stage"));

function setTab(name) {
  look.tab = name;
  showLooks();
}

function setDark() {
  look.dark = !look.dark;
  showFrame(true);
  showLooks();
}

function setImages() {
  if (!(letter && letter.remote)) return;
  look.images = !look.images;
  showFrame(true);
  showLooks();
}

function nextWidth() {
  const widths = [375, 600, 1024];
  look.width = widths[(widths.indexOf(look.width) + 1) % widths.length];
  showLooks();
}

for (const button of document.querySelectorAll("[data-width]")) {
  button.addEventListener("click", () => {
    look.width = Number(button.dataset.width);
    showLooks();
  });
}
$("dark").addEventListener("click", setDark);
$("images").addEventListener("click", setImages);
const tabs = ["html", "text", "headers", "source"];
for (const name of tabs) {
  $(`tab-${name}`).addEventListener("click", () => setTab(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    setTab(tabs[(tabs.indexOf(name) + by + tabs.length) % tabs.length]);
    $(`tab-${look.tab}`).focus();
  });
}
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("help").addEventListener("click", () => $("keys").showModal());

function toggleList(open_) {
  document.body.classList.toggle("listing", open_);
  $("toggle").setAttribute("aria-expanded", `${open_}`);
  drawRows(true);
  intoSight(current);
}
$("toggle").addEventListener("click", () => toggleList(!document.body.classList.contains("listing")));

try {
  $("single").checked = localStorage.getItem("single keys") !== "off";
} catch { /* a browser that keeps nothing */ }
$("single").addEventListener("change", () => {
  try {
    localStorage.setItem("single keys", $("single").checked ? "on" : "off");
  } catch { /* likewise */ }
});

const actions = {
  j: () => step(1), k: () => step(-1), n: nextKind, p: onlyProblems, w: nextWidth, d: setDark, i: setImages,
  "/": () => { toggleList(true); $("search").focus(); $("search").select(); }, "?": () => $("keys").showModal(),
  1: () => setTab("html"), 2: () => setTab("text"), 3: () => setTab("headers"), 4: () => setTab("source"),
};
function keyed(event) {
  if (event.key === "Escape" && document.body.classList.contains("listing")) toggleList(false);
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open || !state) return;
  if (event.target.matches("input[type=search], textarea")) return;
  if (!$("single").checked && event.key !== "?") return;
  const action = actions[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}
document.addEventListener("keydown", keyed);

listen();

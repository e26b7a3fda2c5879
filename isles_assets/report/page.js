"use strict";
// Sorts, filters and enlarges the subjects, all of which are in the page already.
const byId = (id) => document.getElementById(id);
const container = byId("cards");
const cards = [...container.children];
const values = new Map(cards.map((card) => [card, JSON.parse(card.dataset.values)]));
const controls = { find: byId("find"), show: byId("show"), group: byId("group"), sort: byId("sort") };
const limits = { from: byId("from"), to: byId("to") };
const direction = byId("direction");
const LARGEST_FIRST = new Set(["rank", "missing", "findings"]);
let visible = cards;

const isMeasure = () => controls.sort.selectedOptions[0].dataset.measure === "1";

function valueOf(card, key) {
  if (key === "id") return card.id;
  if (isMeasure()) return values.get(card)[key];
  return Number(card.dataset[key]);
}

function matches(card) {
  const words = controls.find.value.trim().toLowerCase();
  if (words && !card.textContent.toLowerCase().includes(words)) return false;
  if (controls.show.value && !card.dataset.has.split(" ").includes(controls.show.value)) return false;
  if (controls.group && controls.group.value !== "*" && card.dataset.group !== controls.group.value) return false;
  if (!isMeasure()) return true;
  const value = values.get(card)[controls.sort.value];
  if (limits.from.value !== "" && !(value !== null && value >= Number(limits.from.value))) return false;
  return limits.to.value === "" || (value !== null && value <= Number(limits.to.value));
}

function compare(one, other) {
  const key = controls.sort.value;
  const [a, b] = [valueOf(one, key), valueOf(other, key)];
  if (a === b) return one.id < other.id ? -1 : 1;
  if (a === null || b === null) return a === null ? 1 : -1; // missing values last, in either direction
  const reversed = (direction.getAttribute("aria-pressed") === "true") !== LARGEST_FIRST.has(key);
  return (a < b ? -1 : 1) * (reversed ? -1 : 1);
}

function update() {
  for (const input of Object.values(limits)) input.disabled = !isMeasure();
  cards.sort(compare);
  visible = cards.filter(matches);
  for (const card of cards) card.hidden = true;
  for (const card of visible) card.hidden = false;
  container.replaceChildren(...cards);
  byId("count").value = `${visible.length} of ${cards.length} subjects`;
  byId("none").hidden = visible.length > 0;
}

for (const control of [...Object.values(controls), ...Object.values(limits)]) {
  control?.addEventListener("input", update);
}
controls.sort.addEventListener("change", () => {
  limits.from.value = limits.to.value = "";
  update();
});
direction.addEventListener("click", () => {
  direction.setAttribute("aria-pressed", String(direction.getAttribute("aria-pressed") !== "true"));
  update();
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("controls").addEventListener("reset", () => {
  direction.setAttribute("aria-pressed", "false");
  setTimeout(update); // after the fields have been reset
});

// A click on a bar of a histogram shows its subjects.
for (const bin of document.querySelectorAll(".bin")) {
  bin.addEventListener("click", () => {
    byId("controls").reset();
    controls.sort.value = bin.dataset.key;
    setTimeout(() => {
      controls.sort.value = bin.dataset.key;
      limits.from.value = bin.dataset.from;
      limits.to.value = bin.dataset.to;
      update();
      byId("subjects").scrollIntoView();
    });
  });
}

// A link to a subject shows it, even if a filter hides it.
function showLinked() {
  const card = cards.find((each) => `#${each.id}` === decodeURIComponent(location.hash));
  if (!card) return;
  if (card.hidden) {
    byId("controls").reset();
    setTimeout(() => card.scrollIntoView());
  }
  card.querySelector(".open").focus({ preventScroll: true });
}
addEventListener("hashchange", showLinked);

// Arrow keys move from subject to subject.
container.addEventListener("keydown", (event) => {
  const card = event.target.closest(".card");
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.classList.contains("open")) return;
  const other = visible[visible.indexOf(card) + step];
  if (other) other.querySelector(".open").focus();
  event.preventDefault();
});
addEventListener("keydown", (event) => {
  const inField = event.target.closest?.("input, select, textarea");
  if (event.key !== "/" || inField || zoom.open) return;
  controls.find.focus();
  event.preventDefault();
});

// The dialog: one subject, fitted to the window or enlarged. Arrow keys show the others.
const zoom = byId("zoom");
const STEP = 1.4;
let current = null;
let scale = 0; // of the picture's own pixels; 0: fitted to the window

function fit() {
  const image = byId("picture").querySelector("img");
  byId("picture").classList.toggle("fits", scale === 0);
  if (image) image.style.width = scale ? `${image.naturalWidth * scale}px` : "";
}

function resize(factor) {
  const image = byId("picture").querySelector("img");
  if (!image) return;
  const fitted = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
  scale = Math.min(8, Math.max(0.25, (scale || fitted) * factor));
  fit();
}

function open(card) {
  current = card;
  byId("zoom-title").textContent = card.id;
  byId("position").textContent = `${visible.indexOf(card) + 1} of ${visible.length}`;
  const picture = card.querySelector(".open").firstElementChild.cloneNode(true);
  const details = card.querySelector(".details").cloneNode(true);
  details.querySelector("h3").replaceChildren(...[...details.querySelectorAll("h3 .tag")]);
  byId("picture").replaceChildren(picture);
  byId("side").replaceChildren(details);
  byId("side").scrollTop = 0;
  byId("previous").disabled = visible.indexOf(card) <= 0;
  byId("next").disabled = visible.indexOf(card) >= visible.length - 1;
  scale = 0;
  fit();
  if (!zoom.open) zoom.showModal();
  byId("picture").focus();
}

function go(step) {
  const other = visible[visible.indexOf(current) + step];
  if (other) open(other);
}

container.addEventListener("click", (event) => {
  const button = event.target.closest(".open");
  if (button) open(button.closest(".card"));
});
zoom.addEventListener("close", () => {
  const button = current.querySelector(".open");
  button.focus({ preventScroll: true });
  current.scrollIntoView({ block: "nearest" });
});
zoom.addEventListener("click", (event) => {
  if (event.target === zoom) zoom.close();
});
zoom.addEventListener("keydown", (event) => {
  const scrolls = scale !== 0 && byId("picture").contains(document.activeElement);
  const actions = {
    ArrowLeft: () => go(-1),
    ArrowRight: () => go(1),
    "+": () => resize(STEP),
    "=": () => resize(STEP),
    "-": () => resize(1 / STEP),
    0: () => { scale = 0; fit(); },
  };
  if (!actions[event.key] || event.ctrlKey || event.metaKey) return;
  if (scrolls && event.key.startsWith("Arrow")) return; // arrow keys scroll an enlarged picture
  actions[event.key]();
  event.preventDefault();
});
byId("picture").addEventListener("click", () => (scale ? ((scale = 0), fit()) : resize(2)));
byId("previous").addEventListener("click", () => go(-1));
byId("next").addEventListener("click", () => go(1));
byId("smaller").addEventListener("click", () => resize(1 / STEP));
byId("larger").addEventListener("click", () => resize(STEP));
byId("fit").addEventListener("click", () => { scale = 0; fit(); });
byId("close").addEventListener("click", () => zoom.close());

const written = new Date(document.lastModified);
if (location.protocol === "file:" && !Number.isNaN(written.valueOf())) {
  byId("when").textContent = `, ${written.toLocaleString()}`;
}
update();
showLinked();

// The levels of the drawing: what stands side by side, in the whole or in an open group. Their rows and the places
// along them come from the layout; here boxes only make room for a group that is opened, and move back.
const view = drawing.querySelector(".view"), svg = view.querySelector("svg");
const details = drawing.querySelector(".details");
const { gap, rise, head, levels } = JSON.parse(drawing.querySelector("script[type='application/json']").textContent);

levels.forEach((level, i) => {
  const inside = svg.querySelector(`[data-level="${i}"]`);
  level.group = inside.closest(".fold");
  level.inside = inside;
  level.edges = [...inside.querySelector(":scope > .edges").children];
  level.boxes = new Map([...inside.querySelector(":scope > .boxes").children].map((e) => [+e.dataset.slot, e]));
  level.open = i === 0;
});

// Places the slots of a level; its anchor is what stands where the middle of the folded box was.
function arrange(level) {
  const reach = level.slots.map(([, width, height, inner]) => {
    if (inner < 0 || !levels[inner].open) return [width / 2, width / 2, height];
    arrange(levels[inner]);
    return [levels[inner].left, levels[inner].right, levels[inner].height];
  });
  level.x = level.slots.map(([x]) => x);
  level.bands = [];
  const whole = level === levels[0];
  let y = whole ? gap : level.top.length ? 0 : head;
  level.rows.forEach((row, r) => {
    const width = (k) => reach[k][0] + reach[k][1];
    const pivot = row.reduce((best, k, i) => (width(k) > width(row[best]) ? i : best), 0);
    for (let i = pivot + 1; i < row.length; i++) {
      const [a, b] = [row[i - 1], row[i]];
      level.x[b] = Math.max(level.x[b], level.x[a] + reach[a][1] + gap + reach[b][0]);
    }
    for (let i = pivot - 1; i >= 0; i--) {
      const [a, b] = [row[i], row[i + 1]];
      level.x[a] = Math.min(level.x[a], level.x[b] - reach[b][0] - gap - reach[a][1]);
    }
    const height = level.top.length && !r ? head : Math.max(...row.map((k) => reach[k][2]));
    level.bands.push([y, y + height]);
    row.forEach((k) => { level.slots[k].band = level.bands[r]; level.slots[k].reach = reach[k]; });
    y += height + rise;
  });
  level.height = y - rise + (level.bottom.length ? 0 : gap);
  let left = Math.min(...level.x.map((x, k) => x - reach[k][0])) - gap;
  let right = Math.max(...level.x.map((x, k) => x + reach[k][1])) + gap;
  const ports = level.port >= 0 ? [level.port] : level.bottom;
  level.anchor = ports.length ? ports.reduce((sum, k) => sum + level.x[k], 0) / ports.length : (left + right) / 2;
  if (level.top.length) left = Math.min(left, Math.min(...level.top.map((k) => level.x[k])) - level.title - gap / 2);
  right = Math.max(right, left + level.title + gap);
  [level.left, level.right] = [level.anchor - left, right - level.anchor];
}

// A slot's middle; of an open group the place of one of its ports.
function middle(level, k, port) {
  const inner = levels[level.slots[k][3]];
  return level.x[k] + (port >= 0 && inner?.open ? inner.x[port] - inner.anchor : 0);
}

// Upright past the boxes of a row, bent between the rows.
function route(level, [path, out, into]) {
  const last = path.length - 1, isPort = (k) => level.top.includes(k) || level.bottom.includes(k);
  let d = "", x0 = 0, y0 = 0;
  path.forEach((k, i) => {
    const slot = level.slots[k], [top, bottom] = slot.band, half = isPort(k) ? 0 : slot.reach[2] / 2;
    const x = middle(level, k, i === 0 ? out : i === last ? into : -1);
    const upper = i === 0 ? (isPort(k) ? top : (top + bottom) / 2 + half) : top;
    const lower = i === last && !isPort(k) ? (top + bottom) / 2 - half : bottom;
    const y = (y0 + upper) / 2;
    d += i ? ` C${x0},${y} ${x},${y} ${x},${upper} V${lower}` : `M${x},${upper} V${lower}`;
    [x0, y0] = [x, lower];
  });
  return d;
}

// Draws a level and the open groups in it where they now belong.
function draw(level) {
  level.lines.forEach((line, i) => {
    const d = route(level, line);
    for (const path of level.edges[i].children) path.setAttribute("d", d);
  });
  for (const [k, box] of level.boxes) {
    const [top, bottom] = level.slots[k].band, inner = levels[level.slots[k][3]];
    box.setAttribute("transform", `translate(${level.x[k]},${(top + bottom) / 2})`);
    if (!inner?.open) continue;
    const frame = box.querySelector(":scope > .opened > .frame"), heading = frame.nextElementSibling;
    const size = { x: -inner.left, y: -inner.height / 2, width: inner.left + inner.right, height: inner.height };
    for (const [name, value] of Object.entries(size)) frame.setAttribute(name, value);
    heading.setAttribute("transform", `translate(${-inner.left},${-inner.height / 2})`);
    inner.inside.setAttribute("transform", `translate(${-inner.anchor},${-inner.height / 2})`);
    draw(inner);
  }
}

let zoom = 1;
function show() {
  const whole = levels[0];
  arrange(whole);
  draw(whole);
  const width = whole.left + whole.right, left = whole.anchor - whole.left;
  svg.setAttribute("viewBox", `${left} 0 ${width} ${whole.height}`);
  svg.setAttribute("width", width * zoom);
  svg.setAttribute("height", whole.height * zoom);
  for (const text of svg.querySelectorAll("text[data-room]:not([textLength])")) { // whatever face the reader has
    if (text.getComputedTextLength() <= +text.dataset.room) continue;
    text.setAttribute("textLength", text.dataset.room);
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
}

// Opens or folds groups, and keeps the one that was chosen where it was on the screen.
function fold(chosen, open, group) {
  const before = group?.getBoundingClientRect();
  for (const level of chosen) {
    level.open = open;
    level.group.classList.toggle("open", open);
  }
  show();
  if (!group) return centre();
  const head = group.querySelector(open ? ":scope > .opened > .heading" : ":scope > .folded");
  head.focus({ preventScroll: true });
  const after = group.getBoundingClientRect();
  view.scrollLeft += (after.left + after.right - before.left - before.right) / 2;
  view.scrollTop += after.top - before.top;
}

// The goal into the middle of a drawing that is wider than its view.
function centre() {
  const { x, rows, anchor, left } = levels[0];
  view.scrollLeft = (x[rows[rows.length - 1][0]] - anchor + left) * zoom - view.clientWidth / 2;
}

function scale(factor) {
  const x = (view.scrollLeft + view.clientWidth / 2) / zoom, y = (view.scrollTop + view.clientHeight / 2) / zoom;
  zoom = Math.min(4, Math.max(0.05, zoom * factor));
  show();
  view.scrollTo(x * zoom - view.clientWidth / 2, y * zoom - view.clientHeight / 2);
}

// What is said about a node stands beside the drawing, and its edges are lit.
function tell(node) {
  if (!node?.words) return;
  details.replaceChildren(...node.words.split("\n").map((line) => {
    const p = document.createElement("p");
    p.textContent = line;
    return p;
  }));
  svg.querySelectorAll(".chosen, .near").forEach((e) => e.classList.remove("chosen", "near"));
  node.classList.add("chosen");
  const box = node.closest("[data-slot]"), level = levels[box.closest("[data-level]").dataset.level];
  level.lines.forEach(([path], i) => {
    const ends = [path[0], path[path.length - 1]];
    level.edges[i].classList.toggle("near", ends.includes(+box.dataset.slot));
  });
}

for (const title of svg.querySelectorAll("title")) { // they stand beside the drawing now, not over it
  const owner = title.parentElement, words = title.textContent;
  owner.words = words;
  owner.setAttribute("aria-label", owner.getAttribute("role") === "button" ? words.split("\n")[0] : words);
  title.remove();
}
const node = (event) => event.target.closest(".node, .heading");
svg.addEventListener("pointerover", (event) => tell(node(event)));
svg.addEventListener("focusin", (event) => {
  tell(node(event));
  node(event)?.scrollIntoView({ block: "nearest", inline: "nearest" });
});
function press(event) {
  const group = node(event)?.getAttribute("role") === "button" && node(event).closest(".fold");
  if (!group) return false;
  const level = levels.find((l) => l.group === group);
  fold([level], !level.open, group);
  return true;
}
let dragged = false;
svg.addEventListener("click", (event) => dragged || press(event));
svg.addEventListener("keydown", (event) => {
  if ((event.key === "Enter" || event.key === " ") && press(event)) event.preventDefault();
});
view.addEventListener("pointerdown", (event) => {
  dragged = false;
  if (event.pointerType !== "mouse" || event.button) return;
  const start = [event.clientX + view.scrollLeft, event.clientY + view.scrollTop, event.clientX, event.clientY];
  const move = (e) => {
    if (Math.hypot(e.clientX - start[2], e.clientY - start[3]) > 4) dragged = true;
    if (!dragged) return;
    view.classList.add("dragged");
    view.scrollTo(start[0] - e.clientX, start[1] - e.clientY);
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", () => {
    removeEventListener("pointermove", move);
    view.classList.remove("dragged");
  }, { once: true });
});
view.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  scale(event.deltaY < 0 ? 1.15 : 1 / 1.15);
}, { passive: false });

const tools = {
  "+": () => scale(1.25),
  "−": () => scale(0.8),
  "1:1": () => scale(1 / zoom),
  Fit: () => {
    const { width, height } = svg.viewBox.baseVal;
    scale(Math.min(1, (view.clientWidth - 2) / width, (0.82 * innerHeight - 2) / height) / zoom);
  },
  "Unfold all": () => fold(levels.slice(1), true),
  "Fold all": () => fold(levels.slice(1), false),
};
for (const [name, action] of Object.entries(tools)) {
  if (name.includes("old") && levels.length === 1) continue;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.addEventListener("click", action);
  drawing.querySelector(".tools").append(button);
}
show();
if (svg.viewBox.baseVal.width > view.clientWidth) {  // a little too wide: shrunk; much too wide: scrolled
  scale(Math.max(0.6, (view.clientWidth - 2) / svg.viewBox.baseVal.width));
}
centre();

// Runs in a copy of a page: what stands outside its box, what lies over what. The result is left in the page.
const shown = (e) => e.getClientRects().length > 0 && e.getBoundingClientRect().width > 0;
const name = (e) => e.querySelector("text")?.textContent ?? e.outerHTML.slice(0, 60);

function textsOutside(place) {
  const found = [];
  let count = 0;
  for (const box of place.querySelectorAll(".node, .heading")) {
    if (!shown(box)) continue;
    const frame = box.querySelector("rect").getBBox();
    for (const text of box.querySelectorAll("text")) {
      const { x, y, width, height } = text.getBBox();
      count += 1;
      const inside = x >= frame.x && y >= frame.y && x + width <= frame.x + frame.width &&
        y + height <= frame.y + frame.height;
      if (!inside) found.push(text.textContent);
    }
  }
  return [count, found];
}

const overlap = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;

function boxesOver(place) {
  const boxes = [...place.querySelectorAll(".node, .heading")].filter(shown);
  const rects = boxes.map((b) => b.querySelector("rect").getBoundingClientRect());
  const found = [];
  for (let i = 0; i < boxes.length; i++) {
    for (let j = 0; j < i; j++) if (overlap(rects[i], rects[j])) found.push([name(boxes[i]), name(boxes[j])]);
  }
  const frames = [...place.querySelectorAll(".frame")].filter(shown);
  for (const frame of frames) { // a box is inside a frame or outside, but not on its border
    const f = frame.getBoundingClientRect();
    rects.forEach((r, i) => {
      const inside = frame.parentElement.contains(boxes[i]);
      const within = r.left >= f.left && r.right <= f.right && r.top >= f.top && r.bottom <= f.bottom;
      if (inside ? !within : overlap(r, f)) found.push([name(boxes[i]), "frame"]);
    });
  }
  return found;
}

function edgesThrough(place) {
  const boxes = [...place.querySelectorAll(".node, .heading")].filter(shown);
  const rects = boxes.map((b) => b.querySelector("rect").getBoundingClientRect());
  const found = [];
  for (const path of place.querySelectorAll(".view .edge > path:first-child")) {
    if (!shown(path.closest("[data-level]"))) continue;
    const matrix = path.getScreenCTM(), length = path.getTotalLength();
    for (let k = 0; k <= 60; k++) {
      const { x, y } = path.getPointAtLength((length * k) / 60).matrixTransform(matrix);
      const i = rects.findIndex((r) => r.left + 2 < x && x < r.right - 2 && r.top + 2 < y && y < r.bottom - 2);
      if (i >= 0) found.push([path.getAttribute("d").slice(0, 40), name(boxes[i])]);
    }
  }
  return found;
}

function state(place) {
  const [texts, outside] = textsOutside(place);
  return { texts, outside, over: boxesOver(place), through: edgesThrough(place) };
}

const result = [];
for (const place of document.querySelectorAll("[data-name]")) {
  const button = (text) => [...place.querySelectorAll("button")].find((b) => b.textContent === text);
  const states = [["as it comes", state(place)]];
  for (const group of [...place.querySelectorAll(".fold")].filter(shown)) { // one at a time, then all
    group.querySelector(".folded").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
    states.push([`open ${name(group)}`, state(place)]);
    group.querySelector(".heading").dispatchEvent(new MouseEvent("click", { bubbles: true }));
  }
  if (button("Unfold all")) {
    button("Unfold all").click();
    states.push(["all open", state(place)]);
    button("Fold all").click();
    states.push(["all folded", state(place)]);
  }
  place.querySelector(".node")?.focus();
  result.push({ name: place.dataset.name, states, said: place.querySelector(".details")?.textContent ?? "" });
}
const left = document.createElement("script");
left.type = "application/json";
left.id = "result";
left.textContent = JSON.stringify(result).replaceAll("<", "\\u003c");
document.body.append(left);

// The button that switches between light and dark; nothing is remembered beyond this page.
const root = document.documentElement;
const button = document.getElementById("theme");
const preferred = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches);
const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
preferred.addEventListener("change", label);
label();

// Tables: numbers stand to the right, and a table that is too wide or too long scrolls by itself under its heading.
const number = /^[−+-]?(\d[\d  ,]*\.?\d*|\.\d+|∞|inf|nan)(e[−+-]?\d+)?\s?%?$/i;
for (const table of document.querySelectorAll("table")) {
  const found = [];
  for (const cell of table.querySelectorAll("tbody td")) {
    const text = cell.textContent.trim(), count = (found[cell.cellIndex] ??= [0, 0]);
    if (!text) continue;
    count[0] += number.test(text);
    count[1] += 1;
    cell.classList.toggle("number", number.test(text) || cell.classList.contains("number"));
  }
  for (const head of table.querySelectorAll("thead th")) {
    const [numbers, all] = found[head.cellIndex] ?? [0, 0];
    if (all && 2 * numbers > all) head.classList.add("number");
  }
  if (table.closest(".scroll")) continue;
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", table.caption?.textContent ?? "table");
  table.replaceWith(scroll);
  scroll.append(table);
}

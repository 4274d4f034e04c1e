"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const gallery = one("#gallery");
  if (!gallery) return;
  const cards = all(".card").map((node) => ({
    node,
    values: JSON.parse(node.dataset.values),
    text: one(".text", node).textContent.toLowerCase(),
  }));
  const tools = Object.fromEntries(all("#tools input, #tools select").map((node) => [node.id, node]));
  const large = one("#large");
  const content = one("#content");
  let shown = cards;
  let opened = -1;

  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };

  function arrange() {
    const name = tools.order.value;
    const sign = Number(tools.direction.value);
    const words = tools.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const sorted = [...cards].sort((a, b) => {
      const [x, y] = [a.values[name] ?? null, b.values[name] ?? null];
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * compare(x, y);
    });
    const matches = (card) =>
      words.every((word) => card.text.includes(word)) &&
      (!tools.which.value || (card.node.dataset.flagged === "yes") === (tools.which.value === "flagged")) &&
      (!tools.kind || !tools.kind.value || card.node.dataset.kind === tools.kind.value);
    shown = [];
    for (const card of sorted) {
      card.node.hidden = !matches(card);
      if (!card.node.hidden) shown.push(card);
      gallery.append(card.node);
    }
    one("#none").hidden = shown.length > 0;
    one("#count").textContent = `${shown.length} of ${cards.length} shown`;
  }

  function setLayer(button, on) {
    button.setAttribute("aria-pressed", on);
    const name = button.dataset.toggle;
    for (const node of all(".layer")) if (node.dataset.layer === name) node.hidden = !on;
    for (const node of all(".scale")) if (node.dataset.scale === name) node.hidden = !on;
  }

  const toggle = (button) => setLayer(button, button.getAttribute("aria-pressed") !== "true");

  function open(index) {
    if (index < 0 || index >= shown.length) return;
    opened = index;
    const { node } = shown[index];
    const copies = [".stage", ".training", ".text"].map((part) => one(part, node)).filter(Boolean);
    content.replaceChildren(...copies.map((part) => part.cloneNode(true)));
    content.classList.toggle("flagged", node.classList.contains("flagged"));
    one("#which-one").textContent = `${index + 1} of ${shown.length}`;
    one("#previous").disabled = index === 0;
    one("#next").disabled = index === shown.length - 1;
    if (!large.open) large.showModal();
  }

  function step(from, key) {
    const columns = getComputedStyle(gallery).gridTemplateColumns.split(" ").length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    const target = by && shown[from + by];
    if (target) one(".open", target.node).focus();
    return Boolean(target);
  }

  for (const name of ["order", "direction", "which", "kind"]) tools[name]?.addEventListener("change", arrange);
  tools.search.addEventListener("input", arrange);
  one("#tools").addEventListener("submit", (event) => event.preventDefault());
  tools.strength?.addEventListener("input", () => {
    document.documentElement.style.setProperty("--strength", tools.strength.value / 100);
  });
  for (const button of all("[data-toggle]")) button.addEventListener("click", () => toggle(button));
  gallery.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) open(shown.findIndex((card) => card.node.contains(button)));
  });
  one("#close").addEventListener("click", () => large.close());
  one("#previous").addEventListener("click", () => open(opened - 1));
  one("#next").addEventListener("click", () => open(opened + 1));
  large.addEventListener("close", () => {
    content.replaceChildren();
    if (shown[opened]) one(".open", shown[opened].node).focus();
  });
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input:not([type=range]), select")) return;
    const button = /^[1-9]$/.test(event.key) && all("[data-toggle]")[event.key - 1];
    if (button) toggle(button);
    if (large.open) {
      if (event.key === "ArrowLeft") open(opened - 1);
      if (event.key === "ArrowRight") open(opened + 1);
      return;
    }
    if (event.key === "/") {
      event.preventDefault();
      tools.search.focus();
    }
    const at = shown.findIndex((card) => card.node.contains(event.target));
    if (at >= 0 && step(at, event.key)) event.preventDefault();
  });
  const details = one("details");
  addEventListener("beforeprint", () => details.setAttribute("open", ""));
  addEventListener("afterprint", () => details.removeAttribute("open"));
  arrange();
})();

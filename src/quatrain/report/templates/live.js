
"use strict";
// Loads a newer page of a running study; folded parts, controls, order of tables and place stay.
(() => {
  const { seconds, tag } = document.currentScript.dataset;
  const store = "quatrain live page";
  const wording = (element) => (element ? element.textContent : "").replace(/\d+/g, "").trim().slice(0, 200);
  const keyed = (selector, describe) => {
    const found = new Map(), times = new Map();
    for (const element of document.querySelectorAll(selector)) {
      const name = element.id || describe(element), number = times.get(name) || 0;
      times.set(name, number + 1);
      found.set(`${name} #${number}`, element);
    }
    return found;
  };
  const folds = () => keyed("details", (element) => wording(element.querySelector("summary")));
  const controls = () => keyed("input, select", (element) => wording(element.closest("label")));
  const headers = () => keyed("th", wording);
  const regions = () => keyed(".scroll", (element) => element.getAttribute("aria-label") || "");
  const marks = () => keyed("h1, h2, h3, h4, summary, figcaption, tr", wording);
  const entries = (map, read) => [...map].map(([key, element]) => [key, read(element)]);

  const placeOf = () => {
    let place = null;
    for (const [key, element] of marks()) {
      const { top, height } = element.getBoundingClientRect();
      if (height && top <= innerHeight / 4) place = [key, top];
    }
    return scrollY > 0 ? place : null;
  };
  const save = () => {
    const shown = controls();
    sessionStorage.setItem(store, JSON.stringify({
      folds: entries(folds(), (element) => element.open),
      controls: entries(shown, (element) => [element.value, element.checked === true]),
      sorted: entries(headers(), (element) => element.getAttribute("aria-sort")).filter(([, order]) => order),
      regions: entries(regions(), (element) => [element.scrollLeft, element.scrollTop]),
      focus: ([...shown].find(([, element]) => element === document.activeElement) || [])[0],
      caret: document.activeElement.selectionStart,
      place: placeOf(),
      height: scrollY,
    }));
  };

  const restoreControl = (element, [value, checked]) => {
    if (element.value === value && (element.checked === true) === checked) return;
    const isBox = element.type === "checkbox" || element.type === "radio";
    if (isBox) element.checked = checked; else element.value = value;
    for (const kind of ["input", "change"]) element.dispatchEvent(new Event(kind, { bubbles: true }));
  };
  const sortAgain = (header, order) => {
    const button = header.querySelector("button");
    for (let n = 0; button && n < 2 && header.getAttribute("aria-sort") !== order; n++) button.click();
  };
  const each = (list, map, apply) => list.forEach(([key, value]) => map.has(key) && apply(map.get(key), value));
  const scrollBack = (state) => {
    const mark = state.place && marks().get(state.place[0]);
    const top = mark ? scrollY + mark.getBoundingClientRect().top - state.place[1] : state.height;
    scrollTo({ top, behavior: "instant" });
  };
  const restore = (state) => {
    each(state.folds, folds(), (element, open) => { element.open = open; });
    each(state.controls, controls(), restoreControl);
    each(state.sorted, headers(), sortAgain);
    each(state.regions, regions(), (element, [left, top]) => element.scrollTo(left, top));
    const focus = state.focus && controls().get(state.focus);
    if (focus) {
      focus.focus({ preventScroll: true });
      if (focus.setSelectionRange && typeof state.caret === "number") focus.setSelectionRange(state.caret, state.caret);
    }
    scrollBack(state);
    requestAnimationFrame(() => scrollBack(state));
  };

  const notice = document.createElement("p");
  notice.setAttribute("role", "status");
  notice.style.cssText = "position:fixed;inset:auto 0 0 0;margin:0;padding:.5em 1em;background:Canvas;color:CanvasText;border-top:1px solid;text-align:center";
  notice.textContent = "This page is no longer updated: the study has ended or was stopped.";
  const isBusy = () => document.hidden || String(getSelection()) !== "";
  const poll = async () => {
    try {
      const { ok, headers: sent } = await fetch("/", { method: "HEAD", cache: "no-store" });
      notice.remove();
      if (ok && sent.get("ETag") !== `"${tag}"` && !isBusy()) {
        save();
        location.reload();
        return;
      }
    } catch {
      document.body.append(notice);
    }
    setTimeout(poll, 1000 * seconds);
  };

  history.scrollRestoration = "manual";
  const state = sessionStorage.getItem(store);
  sessionStorage.removeItem(store);
  if (state) restore(JSON.parse(state));
  setTimeout(poll, 1000 * seconds);
})();

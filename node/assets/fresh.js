// Keeps a page fresh: hears by /api/v1/changes that something changed, asks for the page again and
// swaps the parts (data-part) that differ. What somebody is typing, where he stands and how far he has
// scrolled stay. Says so when it hears nothing any more. Nothing is listened to while nobody looks.
"use strict";
const page = document.querySelector("main");
const word = page.querySelector("[data-fresh]");
const AGAIN_MS = 3000, SILENT_MS = 25000;
let source = null, heard = 0, asking = false, wanted = false, since = Date.now();

function say(live) {
  const time = new Date(since).toISOString().slice(11, 19);
  const text = (live ? word.dataset.sayLive : word.dataset.sayStale).replace("{time}", time);
  if (word.textContent === text) return;
  word.textContent = text;
  word.className = live ? "" : "bad";
}

// A part in which somebody types or chooses is left alone until he is done.
function inUse(part) {
  const active = document.activeElement;
  return part.contains(active) && active.matches("input, select, textarea");
}

const reachable = part => [...part.querySelectorAll("a[href], button, [tabindex]")];

function swap(old, part) {
  const at = reachable(old).indexOf(document.activeElement);
  const scrolled = [...old.querySelectorAll(".scroll")].map(one => one.scrollLeft);
  old.replaceWith(part);
  part.querySelectorAll(".scroll").forEach((one, n) => { one.scrollLeft = scrolled[n] || 0; });
  if (at >= 0 && reachable(part)[at]) reachable(part)[at].focus({ preventScroll: true });
}

function renew(text) {
  const told = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  if (!told || !told.querySelector("[data-fresh]")) { location.reload(); return; }
  const olds = new Map([...page.querySelectorAll("[data-part]")].map(part => [part.dataset.part, part]));
  let last = null;
  for (const part of told.querySelectorAll("[data-part]")) {
    const old = olds.get(part.dataset.part);
    olds.delete(part.dataset.part);
    if (!old) {
      // Parts that come and go are whole sections.
      if (last) last.closest("main > *").after(part); else page.prepend(part);
      last = part;
    } else if (old.isEqualNode(part) || inUse(old)) {
      last = old;
    } else {
      swap(old, part);
      last = part;
    }
  }
  for (const gone of olds.values()) if (!inUse(gone)) gone.remove();
}

async function ask() {
  if (asking) { wanted = true; return; }
  asking = true;
  try {
    do {
      wanted = false;
      const headers = { accept: "text/html", "x-holdfast-renewal": "1" };
      const answer = await fetch(location.href, { headers, signal: AbortSignal.timeout(15000) });
      if (answer.redirected) { location.assign(answer.url); return; }
      if (!answer.ok) { say(false); return; }
      renew(await answer.text());
      since = Date.now();
      say(true);
    } while (wanted);
  } catch {
    say(false);
  } finally {
    asking = false;
  }
}

function close() {
  if (source) source.close();
  source = null;
}

function listen() {
  close();
  if (document.hidden) return;
  heard = Date.now();
  source = new EventSource("/api/v1/changes?topics=" + word.dataset.fresh);
  for (const name of ["open", "changed"]) {
    source.addEventListener(name, event => {
      heard = Date.now();
      // The browser's own "open" of the connection has no data.
      if (event.data) ask();
    });
  }
  source.addEventListener("end", () => { close(); setTimeout(listen, AGAIN_MS); });
  source.onerror = () => {
    say(false);
    // A refusal is final for the browser; asking for the page tells a login that is over.
    if (source && source.readyState === EventSource.CLOSED) {
      close();
      setTimeout(() => { ask(); listen(); }, AGAIN_MS);
    }
  };
}

if (word) {
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : listen()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", event => { if (event.persisted) listen(); });
  // Figures of the cluster move without a change that is told; and a connection may die unheard.
  setInterval(() => { if (!document.hidden && Date.now() - heard > SILENT_MS) { ask(); heard = Date.now(); } }, 5000);
  listen();
}

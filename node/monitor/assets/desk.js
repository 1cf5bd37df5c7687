// Swaps the middle of the page when the server says that something changed. Whoever is typing is
// left alone until he is done.
"use strict";
const busy = () => document.activeElement && /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
let waiting = false;
async function refresh() {
  if (busy()) { waiting = true; return; }
  waiting = false;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected) { location.href = answer.url; return; }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("main[data-live]");
  const old = document.querySelector("main[data-live]");
  if (fresh && old && !busy()) old.replaceWith(fresh);
}
if (document.querySelector("main[data-live]")) {
  const changes = new EventSource("/changes");
  changes.addEventListener("changed", () => { refresh().catch(() => { waiting = true; }); });
  document.addEventListener("focusout", () => { if (waiting) refresh().catch(() => {}); });
}

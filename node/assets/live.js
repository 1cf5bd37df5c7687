// The live view of a meter's page: shows the rounds of /api/v1/meters/{serial}/live as they come,
// how old they are, and a gap while the meter is silent. Everything is set as text, never as HTML.
"use strict";
const panel = document.querySelector("[data-live]");
const part = name => panel.querySelector(`[data-${name}]`);
const tiles = new Map();
let pause = 0, heard = 0, silent = false, over = false, stop = new AbortController();

function say(state, word, kind) {
  part("state").textContent = state;
  part("state").className = "badge " + kind;
  part("word").textContent = word;
}

function age() {
  if (!heard) return;
  const seconds = Math.max(0, Math.round((Date.now() - heard) / 1000));
  part("age").textContent = `last values ${seconds} s ago`;
  const late = silent || over || seconds > 3 * pause + 5;
  panel.classList.toggle("gap", late);
  if (late && !over && !silent) say("gap", "Nothing has come from the meter for a while.", "expired");
}

function show(value) {
  let tile = tiles.get(value.name);
  if (!tile) {
    tile = document.createElement("li");
    tile.className = "tile";
    tile.append(...["label", "value"].map(kind => {
      const span = document.createElement("span");
      span.className = kind;
      return span;
    }));
    tile.title = value.obis;
    tile.firstChild.textContent = value.name;
    part("values").append(tile);
    tiles.set(value.name, tile);
  }
  tile.lastChild.textContent = value.unit ? `${value.value} ${value.unit}` : String(value.value);
}

const events = {
  open(body) {
    pause = body.pause_s;
    say("open", `A round every ${body.pause_s} s, until ${body.until.slice(11, 19)} UTC at the latest.`, "queued");
  },
  round(body) {
    silent = Boolean(body.failure);
    if (silent) {
      say("silent", `Round ${body.number}: ${body.failure.detail}.`, "expired");
    } else {
      heard = Date.now();
      body.values.forEach(show);
      say("live", `Round ${body.number}.`, "active");
    }
    part("by").textContent = `read by ${body.node} in ${body.took_ms} ms`;
    age();
  },
  end(body) { finish(body.detail); },
};

function finish(word) {
  if (over) return;
  over = true;
  say("over", word, "ended");
  part("stop").textContent = "Look again";
  age();
}

async function look() {
  const answer = await fetch(panel.dataset.live, { signal: stop.signal, headers: { accept: "text/event-stream" } });
  if (!answer.ok || !answer.body) {
    const problem = await answer.json().catch(() => ({}));
    finish(problem.detail || `The node answers ${answer.status}.`);
    return;
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    held += value;
    const whole = held.split("\n\n");
    held = whole.pop();
    for (const event of whole) {
      const name = /^event: (.*)$/m.exec(event), data = /^data: (.*)$/m.exec(event);
      if (name && data && Object.hasOwn(events, name[1])) events[name[1]](JSON.parse(data[1]));
    }
  }
  finish("The node broke off.");
}

if (panel) {
  part("stop").addEventListener("click", () => {
    if (over) { location.reload(); return; }
    stop.abort();
    finish("You stopped it.");
  });
  setInterval(age, 1000);
  look().catch(error => finish(error.name === "AbortError" ? "You stopped it." : "The connection is lost."));
}

// The live view of a meter's page: shows the rounds of /api/v1/meters/{serial}/live as they come,
// how old they are, and a gap while the meter is silent. Everything is set as text, never as HTML.
"use strict";
const panel = document.querySelector("[data-live]");
const part = name => panel.querySelector(`[data-${name}]`);
const tiles = new Map();
let pause = 0, heard = 0, silent = false, over = false, stop = new AbortController();

// A text of the page in the reader's language: its data-say-... attribute, with values put in.
function text(key, values) {
  const said = panel.dataset["say" + key[0].toUpperCase() + key.slice(1)] || "";
  return said.replace(/\{(\w+)\}/g, (whole, name) => (values && name in values ? String(values[name]) : whole));
}

function say(state, word, kind) {
  part("state").textContent = state;
  part("state").className = "badge " + kind;
  part("word").textContent = word;
}

function age() {
  if (!heard) return;
  const seconds = Math.max(0, Math.round((Date.now() - heard) / 1000));
  part("age").textContent = text("age", { s: seconds });
  const late = silent || over || seconds > 3 * pause + 5;
  panel.classList.toggle("gap", late);
  if (late && !over && !silent) say(text("gap"), text("nothing"), "expired");
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
    say(text("opened"), text("every", { s: body.pause_s, until: body.until.slice(11, 19) }), "queued");
  },
  round(body) {
    silent = Boolean(body.failure);
    if (silent) {
      say(text("silent"), text("failed", { n: body.number, why: body.failure.detail }), "expired");
    } else {
      heard = Date.now();
      body.values.forEach(show);
      say(text("live"), text("round", { n: body.number }), "active");
    }
    part("by").textContent = text("by", { node: body.node, ms: body.took_ms });
    age();
  },
  end(body) {
    const words = body.reason.split("_").map(word => word[0].toUpperCase() + word.slice(1));
    finish(text("end" + words.join("")) || body.detail);
  },
};

function finish(word) {
  if (over) return;
  over = true;
  say(text("over"), word, "ended");
  part("stop").textContent = text("again");
  age();
}

async function look() {
  const answer = await fetch(panel.dataset.live, { signal: stop.signal, headers: { accept: "text/event-stream" } });
  if (!answer.ok || !answer.body) {
    const problem = await answer.json().catch(() => ({}));
    finish(problem.detail || text("status", { status: answer.status }));
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
  finish(text("broken"));
}

if (panel) {
  part("stop").addEventListener("click", () => {
    if (over) { location.reload(); return; }
    stop.abort();
    finish(text("stopped"));
  });
  setInterval(age, 1000);
  look().catch(error => finish(error.name === "AbortError" ? text("stopped") : text("lost")));
}

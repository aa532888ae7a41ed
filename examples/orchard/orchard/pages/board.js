// The board, the score list and the curve of the scores: what all of Orchard's pages draw.
// World: {width, height, trees, names, max_ticks, tick, foragers, ripe, scores}; cells are y * width + x.

/** The websocket of this page: `address` as it is, or the page's own URL with `/client/NAME` (or `/clients/NAME`) replaced by `/NAME`. */
export function socketUrl(name) {
  const page = new URL(location.href);
  const address = page.searchParams.get("address");
  const url = address ? new URL(address, page) : page;
  if (!address) {
    url.pathname = url.pathname.replace(new RegExp(`/clients?/${name}/?$`), `/${name}`);
  }
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  url.hash = "";
  return url.href;
}

/** Keep a websocket open: `handlers` maps a message's type to a function; `status` gets a line of text. */
export function connect(url, handlers, status) {
  let pause = 250;
  const link = { send: () => false };
  const open = () => {
    const socket = new WebSocket(url);
    link.send = (message) => {
      if (socket.readyState !== WebSocket.OPEN) return false;
      socket.send(JSON.stringify(message));
      return true;
    };
    socket.onopen = () => { pause = 250; status("connected"); };
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      handlers[message.type]?.(message);
    };
    socket.onclose = (event) => {
      if (event.code === 1000) return;
      if (event.code === 1008 || event.code === 1003) { status(event.reason || "refused"); return; }
      status("connecting…");
      setTimeout(open, pause);
      pause = Math.min(pause * 2, 4000);
    };
  };
  status("connecting…");
  open();
  return link;
}

export function colour(slot) {
  return `hsl(${(slot * 137.508 + 205) % 360} 62% ${46 + (slot % 3) * 5}%)`;
}

/** Apply a `tick` message to a world in place. */
export function applyTick(world, frame) {
  const ripe = world.ripe.split("");
  for (const index of frame.ripened) ripe[index] = "1";
  const scores = world.scores.slice();
  for (const [slot, index] of frame.picked) { ripe[index] = "0"; scores[slot] += 1; }
  world.tick = frame.tick;
  world.foragers = frame.foragers;
  world.ripe = ripe.join("");
  world.scores = scores;
}

export class Board {
  /** Draws into `canvas`; `me` is the seat to mark, if any. */
  constructor(canvas, { me = null } = {}) {
    this.canvas = canvas;
    this.me = me;
    this.world = null;
    this.before = null;
    this.since = 0;
    this.glide = 120;
    this.pops = [];
    new ResizeObserver(() => this.request()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.request());
  }

  /** Show a world; foragers glide from where they stood unless `jump`. */
  show(world, { jump = false } = {}) {
    const now = performance.now();
    const moved = this.world && !jump && world.tick === this.world.tick + 1;
    if (moved) {
      this.glide = Math.max(40, Math.min(160, (now - this.since) * 0.9));
      for (let slot = 0; slot < world.scores.length; slot++) {
        if (world.scores[slot] > this.world.scores[slot]) this.pops.push({ cell: world.foragers[slot], slot, at: now });
      }
      if (this.pops.length > 200) this.pops.splice(0, this.pops.length - 200);
    } else {
      this.pops = [];
    }
    this.before = moved ? this.world.foragers : world.foragers;
    this.world = { ...world };
    this.since = now;
    document.body.dataset.tick = world.tick;
    this.request();
  }

  request() {
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame((now) => { this.waiting = false; this.draw(now); });
    }
  }

  draw(now) {
    const { canvas, world } = this;
    const box = canvas.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    const [w, h] = [Math.round(box.width * scale), Math.round(box.height * scale)];
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, w, h);
    if (!world || !w || !h) return;
    const style = getComputedStyle(document.documentElement);
    const ink = (name) => style.getPropertyValue(name).trim();
    const size = Math.min(w / world.width, h / world.height);
    const [left, top] = [(w - size * world.width) / 2, (h - size * world.height) / 2];
    pen.save();
    pen.translate(left, top);
    pen.beginPath();
    pen.roundRect(0, 0, size * world.width, size * world.height, size * 0.4);
    pen.clip();
    pen.fillStyle = ink("--grass");
    pen.fillRect(0, 0, size * world.width, size * world.height);
    pen.fillStyle = ink("--grass-2");
    for (let y = 0; y < world.height; y++) {
      for (let x = y % 2; x < world.width; x += 2) pen.fillRect(x * size, y * size, size, size);
    }
    this.drawTrees(pen, size, ink);
    const share = Math.min(1, (now - this.since) / this.glide);
    this.drawForagers(pen, size, share, ink);
    this.drawPops(pen, size, now);
    pen.restore();
    if (share < 1 || this.pops.length) this.request();
  }

  drawTrees(pen, size, ink) {
    const { world } = this;
    const [crown, bare, fruit] = [ink("--crown"), ink("--bare"), ink("--fruit")];
    world.trees.forEach((cell, index) => {
      const x = ((cell % world.width) + 0.5) * size;
      const y = (Math.floor(cell / world.width) + 0.5) * size;
      const ripe = world.ripe[index] === "1";
      disc(pen, x, y, size * 0.4, ripe ? crown : bare);
      if (ripe) {
        disc(pen, x, y + size * 0.02, size * 0.2, fruit);
        disc(pen, x - size * 0.06, y - size * 0.05, size * 0.055, "rgb(255 255 255 / 0.65)");
      }
    });
  }

  drawForagers(pen, size, share, ink) {
    const { world, before } = this;
    const crowd = new Map();
    for (const cell of world.foragers) crowd.set(cell, (crowd.get(cell) || 0) + 1);
    const placed = new Map();
    const ease = 1 - (1 - share) ** 2;
    const order = world.foragers.map((_, slot) => slot);
    if (this.me !== null) order.push(...order.splice(this.me, 1));
    for (const slot of order) {
      const [to, from] = [world.foragers[slot], before[slot]];
      const nth = placed.get(to) || 0;
      placed.set(to, nth + 1);
      // Foragers on one cell are fanned out, so that each can be seen.
      const spread = crowd.get(to) > 1 ? size * 0.22 : 0;
      const angle = (nth / crowd.get(to)) * Math.PI * 2 - Math.PI / 2;
      const x = glide(from % world.width, to % world.width, world.width, ease);
      const y = glide(Math.floor(from / world.width), Math.floor(to / world.width), world.height, ease);
      // One that crosses the edge is drawn on both sides.
      for (const dx of [0, world.width, -world.width]) {
        for (const dy of [0, world.height, -world.height]) {
          const [cx, cy] = [(x + dx + 0.5) * size + Math.cos(angle) * spread, (y + dy + 0.5) * size + Math.sin(angle) * spread];
          if (cx < -size || cy < -size || cx > size * (world.width + 1) || cy > size * (world.height + 1)) continue;
          this.drawForager(pen, cx, cy, size * (crowd.get(to) > 1 ? 0.28 : 0.36), slot, ink);
        }
      }
    }
  }

  drawForager(pen, x, y, radius, slot, ink) {
    if (slot === this.me) {
      pen.lineWidth = radius * 0.22;
      pen.strokeStyle = ink("--ink");
      pen.beginPath();
      pen.arc(x, y, radius * 1.32, 0, Math.PI * 2);
      pen.stroke();
    }
    disc(pen, x, y + radius * 0.14, radius, "rgb(0 0 0 / 0.22)");
    disc(pen, x, y, radius, colour(slot));
    pen.lineWidth = radius * 0.14;
    pen.strokeStyle = "rgb(255 255 255 / 0.85)";
    pen.stroke();
    if (radius > 7) {
      pen.fillStyle = "#fff";
      pen.font = `700 ${radius * 1.05}px system-ui, sans-serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.fillText(String(slot), x, y + radius * 0.06);
    }
  }

  drawPops(pen, size, now) {
    this.pops = this.pops.filter((pop) => now - pop.at < 600);
    for (const pop of this.pops) {
      const age = (now - pop.at) / 600;
      pen.globalAlpha = 1 - age;
      pen.fillStyle = colour(pop.slot);
      pen.font = `800 ${size * 0.5}px system-ui, sans-serif`;
      pen.textAlign = "center";
      const x = ((pop.cell % this.world.width) + 0.5) * size;
      pen.fillText("+1", x, (Math.floor(pop.cell / this.world.width) + 0.1 - age * 0.6) * size);
    }
    pen.globalAlpha = 1;
  }
}

function disc(pen, x, y, radius, fill) {
  pen.fillStyle = fill;
  pen.beginPath();
  pen.arc(x, y, radius, 0, Math.PI * 2);
  pen.fill();
}

function glide(from, to, size, share) {
  let way = to - from;
  if (way > size / 2) way -= size;
  if (way < -size / 2) way += size;
  return from + way * share;
}

/** Fill the score list; `connected` greys out seats that nobody sits on. */
export function showScores(list, world, { me = null, connected = null } = {}) {
  const order = world.scores.map((_, slot) => slot).sort((a, b) => world.scores[b] - world.scores[a] || a - b);
  while (list.children.length > order.length) list.lastChild.remove();
  order.forEach((slot, row) => {
    let item = list.children[row];
    if (!item) {
      item = document.createElement("li");
      for (const name of ["seat", "name", "score"]) {
        const part = document.createElement("span");
        part.className = name;
        item.append(part);
      }
      list.append(item);
    }
    const [seat, name, score] = item.children;
    seat.textContent = slot;
    seat.style.background = colour(slot);
    name.textContent = world.names[slot];
    name.title = world.names[slot];
    score.textContent = world.scores[slot];
    item.classList.toggle("me", slot === me);
    item.classList.toggle("away", connected !== null && connected[slot] === false);
  });
}

export function showTick(world) {
  document.querySelector("#tick").textContent = `tick ${world.tick} of ${world.max_ticks}`;
  const bar = document.querySelector("progress");
  bar.max = world.max_ticks;
  bar.value = world.tick;
}

export class Curves {
  /** The scores over time: one line per seat. `history[tick]` is the list of scores then. */
  constructor(canvas) {
    this.canvas = canvas;
    this.history = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  draw(until = this.history.length - 1) {
    const { canvas, history } = this;
    const box = canvas.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(box.width * scale);
    canvas.height = Math.round(box.height * scale);
    const pen = canvas.getContext("2d");
    const known = history.findLast((scores) => scores);
    if (!known || !canvas.width) return;
    const [w, h, pad] = [canvas.width, canvas.height, 5 * scale];
    const top = Math.max(1, ...known);
    const last = Math.max(1, this.length || history.length - 1);
    pen.lineWidth = 1.6 * scale;
    pen.lineJoin = "round";
    const step = Math.max(1, Math.ceil(history.length / w));
    for (let slot = known.length - 1; slot >= 0; slot--) {
      pen.strokeStyle = colour(slot);
      pen.globalAlpha = known.length > 12 ? 0.55 : 0.95;
      pen.beginPath();
      for (let tick = 0; tick < history.length; tick += step) {
        const scores = history[tick];
        if (scores) pen.lineTo(pad + (tick / last) * (w - 2 * pad), h - pad - (scores[slot] / top) * (h - 2 * pad));
      }
      pen.stroke();
    }
    pen.globalAlpha = 1;
    const x = pad + (Math.max(0, until) / last) * (w - 2 * pad);
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--soft");
    pen.lineWidth = scale;
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, h);
    pen.stroke();
  }
}

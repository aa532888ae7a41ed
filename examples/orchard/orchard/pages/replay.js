import { Board, Curves, applyTick, connect, showScores, showTick, socketUrl } from "./board.js";

const board = new Board(document.querySelector("#board"));
const curves = new Curves(document.querySelector("#chart"));
const list = document.querySelector("#scores");
const [play, scrub, speed] = ["#play", "#scrub", "#speed"].map((name) => document.querySelector(name));
const status = (text) => { document.querySelector("#status").textContent = text; };
let worlds = [];
let at = 0;
let playing = true;
let due = 0;

connect(socketUrl("replay"), {
  replay(message) {
    // A world per tick, so that any of them can be shown at once.
    const world = { ...message.start };
    worlds = [{ ...world }];
    for (const frame of message.frames) {
      applyTick(world, frame);
      worlds.push({ ...world });
    }
    scrub.max = worlds.length - 1;
    curves.history = worlds.map((one) => one.scores);
    go(0);
    due = performance.now() + 1000 / speed.value;
    requestAnimationFrame(run);
  },
}, (text) => { if (!worlds.length) status(text); });

function run(now) {
  if (playing && now >= due) {
    // At the end the last picture stays for a second, then it all begins again.
    const steps = Math.min(8, 1 + Math.floor(((now - due) * speed.value) / 1000));
    go(at === worlds.length - 1 ? 0 : Math.min(at + steps, worlds.length - 1));
    if (at === 0) document.body.dataset.loops = 1 + Number(document.body.dataset.loops || 0);
    due = now + (at === worlds.length - 1 ? 1000 : 1000 / speed.value);
  }
  requestAnimationFrame(run);
}

function go(tick) {
  at = tick;
  const world = worlds[tick];
  board.show(world);
  showScores(list, world);
  showTick(world);
  curves.draw(tick);
  scrub.value = tick;
  status(playing ? "playing" : "paused");
}

function toggle(on) {
  playing = on;
  play.textContent = playing ? "pause" : "play";
  due = performance.now();
  if (worlds.length) status(playing ? "playing" : "paused");
}

play.addEventListener("click", () => toggle(!playing));
scrub.addEventListener("input", () => { toggle(false); go(Number(scrub.value)); });
addEventListener("keydown", (event) => {
  if (!worlds.length || event.target === speed) return;
  if (event.code === "Space" && event.target !== play) { toggle(!playing); event.preventDefault(); }
  if (event.target === scrub) return;
  if (event.code === "ArrowRight") { toggle(false); go(Math.min(at + 1, worlds.length - 1)); }
  if (event.code === "ArrowLeft") { toggle(false); go(Math.max(at - 1, 0)); }
});

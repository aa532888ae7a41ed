import { Board, Curves, applyTick, connect, showScores, showTick, socketUrl } from "./board.js";

const board = new Board(document.querySelector("#board"));
const curves = new Curves(document.querySelector("#chart"));
const list = document.querySelector("#scores");
const status = (text) => { document.querySelector("#status").textContent = text; };
let world = null;
let connected = null;
let stale = false;

connect(socketUrl("global"), {
  state(message) {
    world = message;
    curves.history = [];
    curves.length = message.max_ticks;
    note();
  },
  tick(message) {
    applyTick(world, message);
    note();
  },
  status(message) {
    connected = message.connected;
    const seated = connected.filter(Boolean).length;
    if (message.done) status("over");
    else if (message.paused) status("paused");
    else if (message.started) status(`live, ${seated} of ${connected.length} seats connected`);
    else status(`waiting for players, ${seated} of ${connected.length} connected`);
    note();
  },
  finished(message) {
    const winner = message.results.winner;
    status(winner === null ? "over: shared lead" : `over: ${world.names[winner]} has won`);
    document.body.dataset.over = "yes";
  },
}, status);

function note() {
  if (!world) return;
  curves.history[world.tick] = world.scores;
  // Ticks may come faster than the screen: draw the newest world once per picture.
  if (!stale) {
    stale = true;
    requestAnimationFrame(() => {
      stale = false;
      board.show(world);
      showScores(list, world, { connected });
      showTick(world);
      curves.draw();
    });
  }
}

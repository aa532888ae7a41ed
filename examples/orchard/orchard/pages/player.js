import { Board, connect, showScores, showTick, socketUrl } from "./board.js";

const KEYS = {
  ArrowUp: "up", ArrowDown: "down", ArrowLeft: "left", ArrowRight: "right",
  KeyW: "up", KeyS: "down", KeyA: "left", KeyD: "right", Space: "stay",
};
const board = new Board(document.querySelector("#board"));
const list = document.querySelector("#scores");
const status = (text) => { document.querySelector("#status").textContent = text; };
let world = null;
// Keys that are down, the newest last: the newest one steers, and letting it go gives way to the one before.
const held = [];

const link = connect(socketUrl("player"), {
  welcome(message) {
    board.me = message.slot;
    world = { ...message };
    document.title = `Orchard – ${message.names[message.slot]}`;
  },
  observation(message) {
    world = { ...world, ...message };
    show();
    if (held.length) move(held.at(-1));
  },
  final(message) {
    world = { ...world, tick: message.ticks, scores: message.scores };
    show();
    const me = board.me;
    status(message.winner === null ? "over: shared lead" : message.winner === me ? "over: you have won" : `over: ${world.names[message.winner]} has won`);
    document.body.dataset.over = "yes";
  },
}, status);

function show() {
  board.show(world);
  showScores(list, world, { me: board.me });
  showTick(world);
  document.body.dataset.cell = world.foragers[board.me];
  document.body.dataset.score = world.scores[board.me];
}

function move(direction) {
  if (world && link.send({ move: direction, tick: world.tick })) document.body.dataset.sent = direction;
}

addEventListener("keydown", (event) => {
  const direction = KEYS[event.code];
  if (!direction || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (event.repeat) return;
  held.push(direction);
  move(direction);
});
addEventListener("keyup", (event) => {
  const at = held.lastIndexOf(KEYS[event.code]);
  if (at >= 0) held.splice(at, 1);
});
addEventListener("blur", () => { held.length = 0; });
for (const button of document.querySelectorAll("#pad button")) {
  button.addEventListener("pointerdown", () => { held.push(button.dataset.move); move(button.dataset.move); });
  for (const end of ["pointerup", "pointerleave", "pointercancel"]) {
    button.addEventListener(end, () => {
      const at = held.lastIndexOf(button.dataset.move);
      if (at >= 0) held.splice(at, 1);
    });
  }
}

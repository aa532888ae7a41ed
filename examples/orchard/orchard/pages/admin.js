import { connect, socketUrl } from "./board.js";

const status = (text) => { document.querySelector("#status").textContent = text; };
const link = connect(socketUrl("admin"), {
  status(message) {
    const phase = message.done ? "over" : message.paused ? "paused" : message.started ? "running" : "waiting for players";
    status(`${phase}, tick ${message.tick}, ${message.tick_rate || "any number of"} ticks per second`);
  },
}, status);

document.querySelector("#pause").addEventListener("click", () => link.send({ command: "pause" }));
document.querySelector("#resume").addEventListener("click", () => link.send({ command: "resume" }));
document.querySelector("#set").addEventListener("click", () => {
  link.send({ command: "tick_rate", tick_rate: Number(document.querySelector("#rate").value) });
});

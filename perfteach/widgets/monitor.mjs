// PhaseMonitor: a training while it runs. Python sends progress and the run so far; buttons are messages to it.
import { GONE, able, button, floats, make, mount, post, put, set, tips, whenResized } from "./shared.mjs";
import { curves, strip } from "./run.mjs";

const PATIENCE = 4000; // milliseconds after which an answer is late
const LATE = "No answer yet: here the kernel hears buttons only when the cell has ended. To stop now, interrupt the kernel; fit() can go on later.";

// What the progress line says.
export function progressWords({ phase, cycle, epoch, planned, batch, batches, left }) {
  const of = planned ? ` of ${planned}` : "";
  return [`${phase} phase`, `cycle ${cycle}`, `epoch ${epoch}${of}`, `batch ${batch} of ${batches}`, left].filter(Boolean).join(" · ");
}

function render({ model, el }) {
  const root = mount(el, "pt pt-monitor");
  const tip = tips(root);
  const bar = make("progress", { "aria-label": "Epochs" });
  const words = make("span");
  const said = make("div", { class: "pt-said", role: "status" });
  const [says, frozen] = [make("span", { class: "pt-says" }), make("span", { class: "pt-also" })];
  const panels = make("div", { class: "pt-panels" });
  let [waiting, heard] = [0, 0];
  const ask = (what) => () => {
    clearTimeout(waiting);
    if (post(model, { do: what }, () => put(said, GONE))) waiting = setTimeout(() => put(said, LATE), PATIENCE);
  };
  const pause = button("Pause", "Hold training after this batch; press again to continue", ask("pause"));
  const buttons = [
    button("Switch phase now", "End the running phase after this batch", ask("switch")),
    pause,
    button("Stop and keep the best", "End training after this batch; the best weights stay", ask("stop")),
  ];
  root.prepend(
    make("strong", { class: "pt-title", text: "Phase monitor" }),
    make("div", { class: "pt-progress" }, bar, words),
    make("div", { class: "pt-controls" }, ...buttons),
    make("div", { class: "pt-banner" }, says, frozen),
    said,
    panels,
  );

  function progress() {
    const now = model.get("progress");
    const answered = now.heard !== heard || !now.running; // progress comes without being asked for, too
    heard = now.heard;
    if (answered) clearTimeout(waiting);
    set(bar, { max: Math.max(now.planned || now.epoch, 1), value: now.done });
    put(words, now.running ? progressWords(now) : now.words);
    if (answered || said.textContent !== LATE) put(said, now.said);
    put(says, now.says);
    put(frozen, now.frozen);
    set(root, { "data-phase": now.phase });
    put(pause, now.paused ? "Continue" : "Pause");
    buttons.forEach((each) => able(each, now.running));
  }

  let width = 0;
  function draw() {
    const run = { ...model.get("run") };
    if (!width) return;
    if (!run.opens) {
      panels.replaceChildren(make("div", { class: "pt-waiting", text: "The curves appear when the first epoch is done." }));
      return;
    }
    run.scores = floats(run.scores);
    const columns = width < 640 ? 1 : 2;
    const each = Math.floor((width - 14 * (columns - 1)) / columns);
    const drawn = [...(run.layers.length ? [strip(run, null, tip)] : []), curves(run, null, tip)];
    set(panels, { "data-columns": columns });
    panels.replaceChildren(...drawn.map((part) => part.node));
    drawn.forEach((part) => {
      part.resize(each, 244);
      part.show(run.columns.train_error.length);
    });
  }

  model.on("change:progress", progress);
  model.on("change:run", draw);
  progress();
  const stop = whenResized(root, (now) => {
    width = now;
    draw();
  });
  return () => {
    clearTimeout(waiting);
    stop();
    model.off("change:progress", progress);
    model.off("change:run", draw);
  };
}

export default { render };

// The script of the timeline in timeline.py. Gradio's `js_on_load` provides `element`, `props`, `trigger` and `watch`.
const MIN_FRAMES = 1; // minimum length of a section, in frames
// While dragging: { part, frame, start, end }. `part` is 0 (start handle), 1 (end handle) or "band" (the whole section). At the
// start of the drag, the pointer is at `frame`, and the section extends from `start` to `end`.
let drag = null;

const value = () => (Array.isArray(props.value) ? props.value : [20, 40, 60, 20]).map(Number);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function draw() {
  const [start, end, frames, fps] = value(), strip = element.querySelector(".strip");
  if (!strip) return;
  const percent = (frame) => `${(100 * frame) / frames}%`, seconds = (frame) => (frame / fps).toFixed(1);
  const band = strip.querySelector(".band");
  band.style.left = percent(start);
  band.style.width = percent(end - start);
  for (const handle of strip.querySelectorAll(".handle")) {
    const index = Number(handle.dataset.end), frame = [start, end][index];
    handle.style.left = percent(frame);
    handle.setAttribute("aria-valuemin", index ? start + MIN_FRAMES : 0);
    handle.setAttribute("aria-valuemax", index ? frames : end - MIN_FRAMES);
    handle.setAttribute("aria-valuenow", frame);
    handle.setAttribute("aria-valuetext", `frame ${frame}, ${seconds(frame)} s`);
  }
  const ticks = strip.querySelector(".ticks"), step = [0.5, 1, 2, 5, 10, 20, 60].find((s) => frames / fps / s <= 8) ?? 120;
  const marks = [];
  for (let time = 0; time * fps < frames; time += step) {
    const mark = document.createElement("span");
    mark.style.left = percent(time * fps);
    mark.textContent = `${time} s`;
    marks.push(mark);
  }
  ticks.replaceChildren(...marks);
  element.querySelector(".words").textContent = `frames ${start} to ${end} of ${frames} · ${seconds(start)} to ${seconds(end)} s`;
}

function set(start, end) {
  const [, , frames, fps] = value();
  if (start === value()[0] && end === value()[1]) return;
  props.value = [start, end, frames, fps];
  draw();
  trigger("input");
}

function moveHandle(index, frame) {
  const [start, end, frames] = value();
  if (index === 0) set(clamp(frame, 0, end - MIN_FRAMES), end);
  else set(start, clamp(frame, start + MIN_FRAMES, frames));
}

function frameAt(event) {
  const box = element.querySelector(".strip").getBoundingClientRect(), frames = value()[2];
  return clamp(Math.round(((event.clientX - box.left) / box.width) * frames), 0, frames);
}

element.addEventListener("pointerdown", (event) => {
  const strip = event.target.closest(".strip");
  if (!strip || event.button > 0) return;
  const [start, end] = value(), frame = frameAt(event), handle = event.target.closest(".handle");
  const nearest = Math.abs(frame - start) <= Math.abs(frame - end) ? 0 : 1;
  const part = handle ? Number(handle.dataset.end) : event.target.closest(".band") ? "band" : nearest;
  drag = { part, frame, start, end };
  strip.setPointerCapture(event.pointerId);
  if (part !== "band") strip.querySelector(`.handle[data-end="${part}"]`).focus();
  if (!handle && part !== "band") moveHandle(part, frame);
  event.preventDefault();
});

element.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const frame = frameAt(event), frames = value()[2];
  if (drag.part !== "band") return moveHandle(drag.part, frame);
  const offset = clamp(frame - drag.frame, -drag.start, frames - drag.end);
  set(drag.start + offset, drag.end + offset);
});

for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) element.addEventListener(kind, () => (drag = null));

element.addEventListener("keydown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle || event.ctrlKey || event.altKey || event.metaKey) return;
  const index = Number(handle.dataset.end), frames = value()[2], current = value()[index];
  const target = {
    ArrowLeft: current - 1, ArrowDown: current - 1, ArrowRight: current + 1, ArrowUp: current + 1,
    PageDown: current - 10, PageUp: current + 10, Home: 0, End: frames,
  }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  moveHandle(index, target);
});

watch("value", draw);
draw();

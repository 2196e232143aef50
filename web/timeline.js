// The strip of timeline.py. In Gradio's `js_on_load`: `element`, `props`, `trigger` and `watch` are given.
const LEAST = 1; // frame of a stretch
let grabbed = null; // what moves: 0 or 1, an end; "band"; and where it was taken

const value = () => (Array.isArray(props.value) ? props.value : [20, 40, 60, 20]).map(Number);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

function draw() {
  const [start, end, frames, fps] = value(), strip = element.querySelector(".strip");
  if (!strip) return;
  const share = (frame) => `${(100 * frame) / frames}%`, seconds = (frame) => (frame / fps).toFixed(1);
  const band = strip.querySelector(".band");
  band.style.left = share(start);
  band.style.width = share(end - start);
  for (const handle of strip.querySelectorAll(".handle")) {
    const which = Number(handle.dataset.end), frame = [start, end][which];
    handle.style.left = share(frame);
    handle.setAttribute("aria-valuemin", which ? start + LEAST : 0);
    handle.setAttribute("aria-valuemax", which ? frames : end - LEAST);
    handle.setAttribute("aria-valuenow", frame);
    handle.setAttribute("aria-valuetext", `frame ${frame}, ${seconds(frame)} s`);
  }
  const ticks = strip.querySelector(".ticks"), step = [0.5, 1, 2, 5, 10, 20, 60].find((s) => frames / fps / s <= 8) ?? 120;
  const marks = [];
  for (let time = 0; time * fps < frames; time += step) {
    const mark = document.createElement("span");
    mark.style.left = share(time * fps);
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

function move(which, frame) {
  const [start, end, frames] = value();
  if (which === 0) set(clamp(frame, 0, end - LEAST), end);
  else set(start, clamp(frame, start + LEAST, frames));
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
  const which = handle ? Number(handle.dataset.end) : event.target.closest(".band") ? "band" : nearest;
  grabbed = { which, frame, start, end };
  strip.setPointerCapture(event.pointerId);
  if (which !== "band") strip.querySelector(`.handle[data-end="${which}"]`).focus();
  if (!handle && which !== "band") move(which, frame);
  event.preventDefault();
});

element.addEventListener("pointermove", (event) => {
  if (!grabbed) return;
  const frame = frameAt(event), frames = value()[2];
  if (grabbed.which !== "band") return move(grabbed.which, frame);
  const by = clamp(frame - grabbed.frame, -grabbed.start, frames - grabbed.end);
  set(grabbed.start + by, grabbed.end + by);
});

for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) element.addEventListener(kind, () => (grabbed = null));

element.addEventListener("keydown", (event) => {
  const handle = event.target.closest(".handle");
  if (!handle || event.ctrlKey || event.altKey || event.metaKey) return;
  const which = Number(handle.dataset.end), frames = value()[2], now = value()[which];
  const to = {
    ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
    PageDown: now - 10, PageUp: now + 10, Home: 0, End: frames,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  move(which, to);
});

watch("value", draw);
draw();

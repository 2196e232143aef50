// The player: playback state, timeline, list of samples; mouse, touch and keyboard input.
"use strict";

const $ = (id) => document.getElementById(id);
const HOME = { azimuth: 0.49, elevation: 0.22 };
const VIEWS = { 1: [0, 0.1], 2: [Math.PI / 2, 0.1], 3: [Math.PI, 0.1], 4: [0, 1.5] }; // front, left, back, above

const views = { plain: new View($("plain")), ik: new View($("ik")) };
const camera = { ...HOME, distance: 4, pan: [0, 0, 0] };
const state = { clip: 0, frame: 0, playing: false, scrubbing: false };
let clip, colours, stale = true, lastTick = 0; // stale: the view must be redrawn; lastTick: milliseconds

function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "line", "shadow", "left", "right", "middle", "face", "eye", "chest", "path", "ink", "faint", "edge", "panel"];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim().split(/\s+/).map(Number)]));
  stale = true;
}

// Interpolates between frames, for smooth playback at any speed; `at(frame)` returns the array of numbers of a frame.
function between(frames, frame, at) {
  const first = Math.floor(frame), fraction = frame - first, a = at(first), b = at(Math.min(first + 1, frames - 1));
  return fraction ? a.map((value, i) => value + fraction * (b[i] - value)) : a;
}

function drawPerson(view, person, sample, frame, options = {}) {
  const { size, frames, skeleton: { limbs } } = sample;
  const pose = between(frames, frame, (t) => person.points.subarray(t * size, (t + 1) * size));
  if (options.floor !== undefined) {
    view.drawFloor(colours);
    if (options.floor) view.drawTracks(person, frame, colours);
    view.drawShadow(pose, limbs, colours);
    view.drawTrails(person, sample, frame, options.trails, colours);
  }
  view.drawBody(pose, limbs, colours);
}

function draw() {
  const { frame } = state, { frames, followed } = clip;
  const target = $("follow").checked ? between(frames, frame, (t) => followed[t]) : followed[0];
  const options = { floor: $("floor").checked, trails: $("trails").value };
  for (const [name, view] of Object.entries(views)) {
    if (view.canvas.parentElement.hidden) continue;
    view.aim(camera, target, clip.middle);
    drawPerson(view, clip.people[name], clip, frame, options);
  }
  drawTimeline();
  const shown = Math.round(frame), seconds = (t) => (t / clip.fps).toFixed(2);
  $("time").value = `${seconds(shown)} / ${seconds(clip.frames - 1)} s · frame ${shown + 1} / ${clip.frames}`;
  $("timeline").setAttribute("aria-valuenow", shown);
  document.body.dataset.frame = shown;
}

function drawTimeline() {
  const { context: c, width } = cleared($("timeline")), x = (frame) => 22 + (width - 34) * frame / Math.max(clip.frames - 1, 1);
  c.font = "11px system-ui, sans-serif";
  c.textBaseline = "middle";
  ["left", "right"].forEach((side, row) => {
    const y = 8 + 17 * row;
    c.fillStyle = rgb(colours.edge, 0.6);
    c.fillRect(x(0), y, x(clip.frames - 1) - x(0), 12);
    c.fillStyle = rgb(colours[side], 0.85);
    for (const [start, stop] of clip.stands[row]) {
      c.fillRect(x(start), y, Math.max(x(Math.min(stop, clip.frames - 1)) - x(start), 2), 12);
    }
    c.fillText(side[0].toUpperCase(), 6, y + 6.5);
  });
  c.fillStyle = rgb(colours.faint);
  const step = [0.5, 1, 2, 5, 10, 30, 60, 300].find((seconds) => x(seconds * clip.fps) - x(0) > 48) ?? 600;
  c.textAlign = "center";
  for (let t = 0; t <= (clip.frames - 1) / clip.fps; t += step) c.fillText(`${t} s`, Math.min(x(t * clip.fps), width - 16), 52);
  c.fillStyle = rgb(colours.ink);
  c.fillRect(x(state.frame) - 1, 2, 2, 41);
  c.beginPath();
  c.arc(x(state.frame), 43, 4.5, 0, 2 * Math.PI);
  c.fill();
}

function tick(now) {
  const seconds = (now - lastTick) / 1000;
  lastTick = now;
  if (state.playing && !state.scrubbing) {
    const end = clip.frames - 1, next = state.frame + Math.min(seconds, 0.25) * clip.fps * Number($("speed").value);
    state.frame = next > end ? 0 : next;
    stale = true;
  }
  if (stale) {
    stale = false;
    draw();
  }
  requestAnimationFrame(tick);
}

function play(on) {
  state.playing = on;
  if (!on) seek(Math.round(state.frame));
  document.body.dataset.playing = on;
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
}

function seek(frame) {
  state.frame = clamp(frame, 0, clip.frames - 1);
  stale = true;
}

function step(frames) {
  play(false);
  seek(state.frame + frames);
}

function resetCamera() {
  Object.assign(camera, HOME, { distance: clip.distance, pan: [0, 0, 0] });
  stale = true;
}

function showViews() {
  const which = clip.ik ? $("which").value : "plain";
  $("which").parentElement.hidden = !clip.ik;
  for (const [name, view] of Object.entries(views)) view.canvas.parentElement.hidden = which !== "both" && which !== name;
  $("plain").nextElementSibling.hidden = !clip.ik;
  listDownloads();
  stale = true;
}

// Lists links to the files of the motion that is shown.
function listDownloads() {
  const which = clip.ik ? $("which").value : "plain";
  const isShown = (file) => which === "both" || /_ik\.\w+$/.test(file) === (which === "ik");
  const links = (clip.files ?? []).filter(isShown).map((file) => {
    const link = document.createElement("a");
    link.href = file.split("/").map(encodeURIComponent).join("/");
    link.download = "";
    link.textContent = `↓ ${which === "both" && /_ik\.\w+$/.test(file) ? "_ik" : ""}.${file.split(".").pop()}`;
    link.title = file;
    return link;
  });
  $("downloads").replaceChildren(...links);
  $("downloads").hidden = !links.length;
}

function select(index) {
  state.clip = clamp(index, 0, data.clips.length - 1);
  clip = prepare(data.clips[state.clip]);
  $("caption").textContent = clip.caption;
  $("timeline").setAttribute("aria-valuemax", clip.frames - 1);
  document.body.dataset.clip = state.clip;
  [...$("samples").children].forEach((button, i) => {
    button.setAttribute("aria-current", i === state.clip);
    if (i === state.clip) button.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  if (location.protocol !== "about:") history.replaceState(null, "", `#${state.clip + 1}`);  // not allowed in srcdoc frames
  showViews();
  resetCamera();
  seek(0);
}

function listSamples() {
  $("samples").hidden = data.clips.length < 2;
  data.clips.forEach((sample, index) => {
    const button = document.createElement("button"), text = document.createElement("span"), small = document.createElement("small");
    small.textContent = `${index + 1} · ${(sample.frames / sample.fps).toFixed(1)} s`;
    text.textContent = sample.caption;
    text.dir = "auto";
    const label = document.createElement("div");
    label.append(text, small);
    button.append(document.createElement("canvas"), label);
    button.title = sample.caption;
    button.addEventListener("click", () => select(index));
    $("samples").append(button);
  });
}

function drawThumbnails() {
  if (data.clips.length < 2) return;
  data.clips.forEach((sample, index) => setTimeout(() => { // one at a time, so that the page stays responsive
    const view = new View($("samples").children[index].firstChild), { frames, followed, middle } = prepare(sample);
    const frame = Math.floor(0.4 * frames);
    view.aim({ ...HOME, distance: 3.6, pan: [0, 0, 0] }, followed[frame], middle);
    drawPerson(view, sample.people.plain, sample, frame);
  }));
}

// ---- Mouse, touch, keys ----

function turn(azimuth, elevation) {
  camera.azimuth += azimuth;
  camera.elevation = clamp(camera.elevation + elevation, 0.02, Math.PI / 2 - 0.01);
  stale = true;
}

function zoom(factor) {
  camera.distance = clamp(camera.distance * factor, 1, 40);
  stale = true;
}

function move(view, dx, dy) { // in pixels
  const metres = camera.distance / view.focal;
  for (let axis = 0; axis < 3; axis++) camera.pan[axis] += metres * (dy * view.up[axis] - dx * view.right[axis]);
  stale = true;
}

function listenToPointers(view) {
  const fingers = new Map(), { canvas } = view;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const [x, y] = fingers.get(event.pointerId), [dx, dy] = [event.clientX - x, event.clientY - y];
    const otherFingers = [...fingers].filter(([id]) => id !== event.pointerId).map(([, position]) => position);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (otherFingers.length) { // two fingers
      const [ox, oy] = otherFingers[0];
      zoom(Math.max(Math.hypot(x - ox, y - oy), 1) / Math.max(Math.hypot(event.clientX - ox, event.clientY - oy), 1));
      move(view, dx / 2, dy / 2);
    } else if (event.shiftKey || event.buttons > 1) {
      move(view, dx, dy);
    } else {
      turn(-0.008 * dx, 0.008 * dy);
    }
  });
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(clamp(event.deltaY, -100, 100) * 0.0015));
  }, { passive: false });
  canvas.addEventListener("dblclick", resetCamera);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}

function listenToTimeline() {
  const canvas = $("timeline");
  const scrub = (event) => seek(Math.round((event.offsetX - 22) / (canvas.clientWidth - 34) * (clip.frames - 1)));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    state.scrubbing = true;
    scrub(event);
  });
  canvas.addEventListener("pointermove", (event) => state.scrubbing && scrub(event));
  for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, () => { state.scrubbing = false; });
}

const KEYS = {
  " ": () => play(!state.playing),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  ArrowUp: () => select(state.clip - 1),
  ArrowDown: () => select(state.clip + 1),
  "<": () => changeSpeed(-1),
  ">": () => changeSpeed(1),
  "+": () => zoom(0.9),
  "=": () => zoom(0.9),
  "-": () => zoom(1.1),
  r: resetCamera,
  "?": () => { $("help").open = !$("help").open; },
};

function changeSpeed(by) {
  $("speed").selectedIndex = clamp($("speed").selectedIndex + by, 0, $("speed").length - 1);
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("select")) return;
    if (key === " " && target.matches("button, input, summary")) return; // the browser handles it
    const act = KEYS[key] ?? KEYS[key.toLowerCase()];
    if (VIEWS[key]) {
      [camera.azimuth, camera.elevation] = VIEWS[key];
      stale = true;
    } else if (act) {
      act(event);
    } else {
      return;
    }
    event.preventDefault();
  });
}

function start() {
  readColours();
  listSamples();
  Object.values(views).forEach(listenToPointers);
  listenToTimeline();
  listenToKeys();
  $("play").addEventListener("click", () => play(!state.playing));
  $("back").addEventListener("click", () => step(-1));
  $("forth").addEventListener("click", () => step(1));
  $("home").addEventListener("click", resetCamera);
  $("which").addEventListener("change", showViews);
  for (const id of ["follow", "floor", "trails"]) $(id).addEventListener("change", () => { stale = true; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); drawThumbnails(); });
  new ResizeObserver(() => { stale = true; }).observe($("views"));
  select((Number(location.hash.slice(1)) || 1) - 1);
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  requestAnimationFrame((now) => { lastTick = now; tick(now); drawThumbnails(); });
}

start();

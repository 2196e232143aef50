// Draws people made of capsules on a floor, on a 2D canvas, with a perspective camera. Metres, Y up; colours are [r, g, b].
// html.py writes clips as {caption, fps, frames, joints, plain, ik, stands}; `prepare` adds the fields that drawing needs.
"use strict";

// {skeletons: {J: {limbs, owners, reach, feet, bones}}, clips}
const data = JSON.parse(document.getElementById("data").textContent);
const FIELD = 32 * Math.PI / 180; // vertical field of view
const STAGE = 0.85; // radius of the floor relative to the camera distance
const FOLLOW = 0.6; // seconds; standard deviation of the camera's smoothing
const SOLE = [0.04, 0.052]; // radii of a footprint at heel and toe, metres
const LIGHT = [-0.6, -0.8]; // direction to the light on the screen
// A limb is painted in layers: fraction of the radius, shift towards the light, brightness.
const LAYERS = Array.from({ length: 9 }, (_, k) => [1 - 0.8 * (k / 8) ** 1.1, 0.4 * (k / 8) ** 1.4, 0.76 + 0.42 * (k / 8)]);

const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const rgb = (colour, alpha = 1) => `rgb(${colour.map((c) => Math.round(clamp(c, 0, 255))).join(" ")} / ${alpha})`;

// ---- Clips: from base64 to points in metres, and values that are computed once per clip ----

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;

// The points of all frames as a flat array of (frames, points, 3): the joints, then the points stored relative to a joint.
function decode({ scale, values, others }, frames, { owners, reach }) {
  // Typed arrays have the byte order of the machine, which is little-endian wherever browsers run.
  const joints = new Int16Array(bytesOf(values)), offsets = new Int8Array(bytesOf(others));
  const width = joints.length / frames, size = width + 3 * owners.length;
  const points = new Float32Array(frames * size);
  for (let frame = 0; frame < frames; frame++) {
    const to = points.subarray(frame * size, (frame + 1) * size);
    for (let i = 0; i < width; i++) to[i] = joints[frame * width + i] * scale;
    owners.forEach((joint, k) => {
      for (let axis = 0; axis < 3; axis++) {
        to[width + 3 * k + axis] = to[3 * joint + axis] + offsets[(frame * owners.length + k) * 3 + axis] * reach / 127;
      }
    });
  }
  return points;
}

// Smooths a path along time by a Gaussian; beyond the ends, the path is extrapolated by point reflection.
function smooth(path, frames, deviation) {
  const reach = Math.ceil(3 * deviation), last = frames - 1;
  const at = (t, axis) => {
    const inside = clamp(t, 0, last), mirrored = clamp(2 * inside - t, 0, last);
    return inside === t ? path[t][axis] : 2 * path[inside][axis] - path[mirrored][axis];
  };
  return path.map((_, t) => [0, 1].map((axis) => {
    let sum = 0, weights = 0;
    for (let k = -reach; k <= reach; k++) {
      const weight = Math.exp(-0.5 * (k / deviation) ** 2);
      sum += weight * at(t + k, axis);
      weights += weight;
    }
    return sum / weights;
  }));
}

// The angle of a flat capsule's axis, and the angle from the axis at which its straight sides touch its two discs.
function tangents(x0, y0, r0, x1, y1, r1) {
  return [Math.atan2(y1 - y0, x1 - x0), Math.acos(clamp((r0 - r1) / Math.max(Math.hypot(x1 - x0, y1 - y0), 1e-6), -1, 1))];
}

// The outline of a flat capsule on the floor, as points.
function flatCapsule(x0, z0, r0, x1, z1, r1) {
  const [angle, spread] = tangents(x0, z0, r0, x1, z1, r1), rim = [];
  const add = (x, z, r, turn) => rim.push([x + r * Math.cos(angle + turn), 0, z + r * Math.sin(angle + turn)]);
  for (let k = -6; k <= 6; k++) add(x0, z0, r0, Math.PI + (Math.PI - spread) * k / 6);
  for (let k = -6; k <= 6; k++) add(x1, z1, r1, spread * k / 6);
  return rim;
}

function footprints(points, size, clip, feet) {
  const mean = (joint, start, stop) => [0, 2].map((axis) => {
    let sum = 0;
    for (let t = start; t < stop; t++) sum += points[t * size + joint * 3 + axis];
    return sum / (stop - start);
  });
  return clip.stands.flatMap((spans, side) => spans.map(([start, stop]) => {
    const [heel, toe] = feet[side].map((joint) => mean(joint, start, stop));
    return { side, start, outline: flatCapsule(...heel, SOLE[0], ...toe, SOLE[1]) };
  }));
}

function prepare(clip) {
  if (clip.people) return clip;
  const skeleton = data.skeletons[clip.joints];
  const size = 3 * (clip.joints + skeleton.owners.length);
  const person = (packed) => {
    const points = decode(packed, clip.frames, skeleton);
    const path = Array.from({ length: clip.frames }, (_, t) => [points[t * size], points[t * size + 2]]);
    return { points, path, prints: footprints(points, size, clip, skeleton.feet) };
  };
  clip.people = { plain: person(clip.plain), ik: clip.ik && person(clip.ik) };
  clip.followed = smooth(clip.people.plain.path, clip.frames, FOLLOW * clip.fps);
  Object.assign(clip, { skeleton, size }, extent(clip));
  return clip;
}

// Half of the height of the motion, and the camera distance from which all of it is visible.
function extent({ people: { plain: { points } }, followed, frames }) {
  const size = points.length / frames;
  let top = 0.5, wide = 0.5;
  for (let t = 0; t < frames; t++) {
    for (let i = t * size; i < (t + 1) * size; i += 3) {
      top = Math.max(top, points[i + 1]);
      wide = Math.max(wide, Math.hypot(points[i] - followed[t][0], points[i + 2] - followed[t][1]));
    }
  }
  return { middle: top / 2, distance: Math.max(4, Math.max(top / 2 + 0.15, wide) / 0.84 / Math.tan(FIELD / 2) + 0.4 * wide) };
}

// ---- Drawing: a perspective camera on a canvas ----

// Clears a canvas and sets its resolution to that of the screen; returns its context, and width and height in CSS pixels.
function cleared(canvas) {
  const context = canvas.getContext("2d"), ratio = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [wide, high] = [width, height].map((pixels) => Math.round(pixels * ratio));
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

class View {
  constructor(canvas) {
    this.canvas = canvas;
  }

  aim({ azimuth, elevation, distance, pan }, [x, z], middle) {
    Object.assign(this, cleared(this.canvas));
    const [sa, ca, se, ce] = [Math.sin(azimuth), Math.cos(azimuth), Math.sin(elevation), Math.cos(elevation)];
    Object.assign(this, { right: [ca, 0, -sa], up: [-sa * se, ce, -ca * se], back: [sa * ce, se, ca * ce], distance });
    this.target = [x + pan[0], middle + pan[1], z + pan[2]];
    this.focal = Math.min(this.height, 1.2 * this.width) / 2 / Math.tan(FIELD / 2);
    this.stage = STAGE * distance;
    this.flatness = Math.max(se, 0.05);
  }

  // The pixel coordinates of a point, and the pixels per metre at this point. If the point is behind the camera or too near to it,
  // the pixels per metre are 0.
  project(x, y, z) {
    const d = [x - this.target[0], y - this.target[1], z - this.target[2]];
    const along = (axis) => d[0] * axis[0] + d[1] * axis[1] + d[2] * axis[2];
    const depth = this.distance - along(this.back);
    const scale = depth > 0.15 ? this.focal / depth : 0;
    return [this.width / 2 + along(this.right) * scale, this.height / 2 - along(this.up) * scale, scale];
  }

  line(points) {
    this.context.beginPath();
    for (const [x, y, scale] of points) if (scale) this.context.lineTo(x, y);
  }

  drawFloor(colours) {
    const { context: c, stage, target: [x, , z] } = this;
    const [px, py, scale] = this.project(x, 0, z);
    const disc = c.createRadialGradient(0, 0, 0, 0, 0, stage * scale);
    disc.addColorStop(0, rgb(colours.ground));
    disc.addColorStop(0.5, rgb(colours.ground, 0.75));
    disc.addColorStop(1, rgb(colours.ground, 0));
    c.save();
    c.transform(1, 0, 0, this.flatness, px, py);
    c.fillStyle = disc;
    c.fillRect(-stage * scale, -stage * scale, 2 * stage * scale, 2 * stage * scale);
    c.restore();
    const levels = Array.from({ length: 8 }, () => new Path2D()); // lines half a metre apart, fainter towards the rim
    const segment = (from, to) => {
      const distance = Math.hypot((from[0] + to[0]) / 2 - x, (from[2] + to[2]) / 2 - z) / stage;
      const [a, b] = [this.project(...from), this.project(...to)];
      if (distance >= 1 || !a[2] || !b[2]) return;
      const path = levels[Math.floor(8 * (1 - distance * distance) ** 1.5 * 0.999)];
      path.moveTo(a[0], a[1]);
      path.lineTo(b[0], b[1]);
    };
    const cells = Math.ceil(2 * stage), [cx, cz] = [Math.round(2 * x) / 2, Math.round(2 * z) / 2];
    for (let i = -cells; i <= cells; i++) {
      for (let j = -cells; j < cells; j++) {
        segment([cx + i / 2, 0, cz + j / 2], [cx + i / 2, 0, cz + (j + 1) / 2]);
        segment([cx + j / 2, 0, cz + i / 2], [cx + (j + 1) / 2, 0, cz + i / 2]);
      }
    }
    c.lineWidth = 1;
    levels.forEach((path, level) => {
      c.strokeStyle = rgb(colours.line, 0.1 * (level + 0.5));
      c.stroke(path);
    });
  }

  drawTracks({ path, prints }, frame, colours) {
    const c = this.context;
    for (const { side, start, outline } of prints) {
      if (start > frame || Math.hypot(outline[0][0] - this.target[0], outline[0][2] - this.target[2]) > this.stage) continue;
      this.line(outline.map((point) => this.project(...point)));
      c.fillStyle = rgb(side ? colours.right : colours.left, 0.4);
      c.fill();
    }
    const pixels = path.map(([x, z]) => this.project(x, 0, z));
    [c.lineJoin, c.lineCap] = ["round", "round"];
    for (const [points, width, alpha] of [[pixels, 1.2, 0.6], [pixels.slice(0, Math.floor(frame) + 1), 3, 1]]) {
      this.line(points);
      [c.lineWidth, c.strokeStyle] = [width, rgb(colours.path, alpha)];
      c.stroke();
    }
  }

  drawTrails({ points }, { skeleton, size, fps }, frame, which, colours) {
    const c = this.context, now = Math.floor(frame), first = Math.max(0, now - Math.round(1.5 * fps));
    skeleton.bones.forEach((bone, joint) => {
      if (!which || !bone.endsWith(which)) return;
      const colour = bone.startsWith("Left") ? colours.left : bone.startsWith("Right") ? colours.right : colours.middle;
      for (let t = first; t < now; t++) {
        this.line([t, t + 1].map((at) => this.project(...points.subarray(at * size + joint * 3, at * size + joint * 3 + 3))));
        [c.lineWidth, c.strokeStyle] = [2.5, rgb(colour, (t + 1 - first) / (now - first))];
        c.stroke();
      }
    });
  }

  // Draws the shadow of the body, and a darker shadow of the limbs near the floor. The limbs are drawn outside the canvas, so that
  // only their blurred shadows are visible.
  drawShadow(pose, limbs, colours) {
    const c = this.context, aside = 2 * this.width, ratio = this.canvas.width / this.width;
    c.save();
    for (const [maxHeight, blur, alpha] of [[Infinity, 0.09, 0.26], [0.3, 0.05, 0.4]]) {
      c.beginPath();
      for (const [a, b, ra, rb] of limbs) {
        const [[x0, y0, z0], [x1, y1, z1]] = [a, b].map((joint) => pose.subarray(3 * joint, 3 * joint + 3));
        if (Math.min(y0, y1) > maxHeight) continue;
        const outline = flatCapsule(x0 - 0.2 * y0, z0 - 0.15 * y0, ra, x1 - 0.2 * y1, z1 - 0.15 * y1, rb);
        const rim = outline.map((point) => this.project(...point));
        if (rim.some(([, , scale]) => !scale)) continue; // behind the camera
        rim.forEach(([x, y], k) => (k ? c.lineTo(x - aside, y) : c.moveTo(x - aside, y)));
        c.closePath();
      }
      c.shadowColor = rgb(colours.shadow, alpha);
      c.shadowBlur = blur * this.focal / this.distance * ratio;
      c.shadowOffsetX = aside * ratio;
      c.fill();
    }
    c.restore();
  }

  drawBody(pose, limbs, colours) {
    const c = this.context;
    const pixels = Array.from({ length: pose.length / 3 }, (_, i) => this.project(...pose.subarray(3 * i, 3 * i + 3)));
    const shapes = limbs.map(([a, b, ra, rb, side, trunk]) => {
      const [[x0, y0, s0], [x1, y1, s1]] = [pixels[a], pixels[b]];
      return { x0, y0, r0: ra * s0, x1, y1, r1: rb * s1, near: (s0 + s1) / 2, colour: colours[side], trunk };
    }).filter((shape) => shape.r0 && shape.r1); // without limbs behind the camera
    const fill = ({ x0, y0, r0, x1, y1, r1 }, fraction, shift, extra) => {
      const [dx, dy] = [LIGHT[0] * shift, LIGHT[1] * shift];
      const [p, q] = [r0 * fraction + extra, r1 * fraction + extra];
      const [ax, ay, bx, by] = [x0 + dx * r0, y0 + dy * r0, x1 + dx * r1, y1 + dy * r1];
      const [angle, spread] = tangents(ax, ay, p, bx, by, q);
      c.beginPath();
      c.arc(ax, ay, p, angle + spread, angle - spread + 2 * Math.PI);
      c.arc(bx, by, q, angle - spread, angle + spread);
      c.fill();
    };
    for (const part of farToNear(shapes)) { // an outline, then smaller and lighter shapes
      for (const [fraction, shift, brightness] of [[1, 0, 0.45], ...LAYERS]) {
        for (const shape of part) {
          c.fillStyle = rgb(shape.colour.map((value) => value * brightness));
          fill(shape, fraction, shift, brightness < 0.5 ? 1 : 0);
        }
      }
    }
  }
}

// Groups of shapes in the order in which to paint them. The trunk is one group. Each limb outside the trunk is compared with the
// trunk's limb that is nearest to it on the screen. If the limb is behind the trunk's limb, the limb is painted before the trunk,
// otherwise after it.
function farToNear(shapes) {
  const trunk = shapes.filter((shape) => shape.trunk), outer = shapes.filter((shape) => !shape.trunk);
  const distance = (a, b) => Math.hypot(a.x0 + a.x1 - b.x0 - b.x1, a.y0 + a.y1 - b.y0 - b.y1);
  const nearer = (shape, a, b) => (distance(shape, b) < distance(shape, a) ? b : a);
  const nearest = (shape) => trunk.length && trunk.reduce((best, piece) => nearer(shape, best, piece));
  const inFront = (shape) => !trunk.length || shape.near > nearest(shape).near;
  const sorted = outer.sort((a, b) => a.near - b.near).map((shape) => [shape, inFront(shape)]);
  const limbsWhere = (front) => sorted.filter(([, isFront]) => isFront === front).map(([shape]) => [shape]);
  return [...limbsWhere(false), trunk, ...limbsWhere(true)];
}

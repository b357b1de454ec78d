// Chart of the delay from publish to page over the last minute: a dot for each received message, a line for each switch
// that was pressed.

// Span of the time axis. It begins short and grows with the age of the page, so that the chart is full after ten seconds.
const [SPAN_MS_MIN, SPAN_MS_MAX] = [10_000, 60_000];
// Maximum number of labels on the time axis beside "now", and the possible steps between them.
const LABELS_MAX = 6;
const STEPS_SECONDS = [2, 5, 10, 15, 30];
// Range of the logarithmic axis. Messages delayed by an outage can take half a minute.
const [MS_MIN, MS_MAX] = [0.1, 30_000];
const GRID = { 0.1: "0.1 ms", 1: "1 ms", 10: "10 ms", 100: "100 ms", 1000: "1 s", 10_000: "10 s" };
// Maximum number of dots. Five messages a second for two users make 600 a minute.
const DOTS_MAX = 2_000;
const DOT_RADIUS = 2;
// Pixels around the plot: for the delays on the left, the switches above and the times below.
const [LEFT, RIGHT, TOP, BOTTOM] = [52, 12, 16, 20];
// Minimum number of pixels from one label of the time axis to the next.
const LABEL_WIDTH = 64;

export class Chart {
  #canvas;
  #pen;
  #dots = [];
  #marks = [];
  #begin = performance.now();

  constructor(canvas) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
    const draw = () => {
      this.#draw();
      requestAnimationFrame(draw);
    };
    draw();
  }

  // Adds a dot. `color` is the name of a custom property in the style sheet.
  dot(ms, color) {
    this.#dots.push({ at: performance.now(), ms, color });
    if (this.#dots.length > DOTS_MAX) this.#dots.shift();
  }

  mark(label) {
    this.#marks.push({ at: performance.now(), label });
  }

  // Median delay of one color over the last minute; undefined without dots.
  median(color) {
    const delays = this.#dots.filter((dot) => dot.color === color).map(({ ms }) => ms);
    return delays.sort((one, other) => one - other)[Math.floor(delays.length / 2)];
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const style = getComputedStyle(this.#canvas);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const now = performance.now();
    const oldest = Math.max(this.#begin, now - SPAN_MS_MAX);
    const span = Math.max(SPAN_MS_MIN, now - oldest);
    this.#dots = this.#dots.filter(({ at }) => at > oldest);
    this.#marks = this.#marks.filter(({ at }) => at > oldest);

    this.#canvas.width = width * devicePixelRatio;
    this.#canvas.height = height * devicePixelRatio;
    this.#pen.scale(devicePixelRatio, devicePixelRatio);
    this.#pen.font = `11px ${style.fontFamily}`;
    const right = width - RIGHT;
    const bottom = height - BOTTOM;
    const x = (at) => LEFT + ((at - oldest) / span) * (right - LEFT);
    const y = (ms) => {
      const share = Math.log(Math.min(MS_MAX, Math.max(MS_MIN, ms)) / MS_MIN) / Math.log(MS_MAX / MS_MIN);
      return bottom - share * (bottom - TOP);
    };
    for (const [ms, label] of Object.entries(GRID)) {
      this.#line(LEFT, y(ms), right, y(ms), color("edge"));
      this.#text(label, LEFT - 6, y(ms) + 4, color("faint"), "right");
    }
    for (const [seconds, label] of times(now - oldest, span, right - LEFT)) {
      const at = x(now - seconds * 1000);
      this.#line(at, bottom, at, bottom + 4, color("faint"));
      this.#text(label, Math.min(at, width - this.#pen.measureText(label).width / 2), height - 3, color("faint"), "center");
    }
    for (const { at, label } of this.#marks) {
      this.#line(x(at), 0, x(at), bottom, color("caution"));
      const isRoom = this.#pen.measureText(label).width + 5 < x(at);
      if (isRoom) this.#text(label, x(at) - 5, TOP - 4, color("caution"), "right");
    }
    for (const dot of this.#dots) {
      this.#pen.fillStyle = color(dot.color);
      this.#pen.beginPath();
      this.#pen.arc(x(dot.at), y(dot.ms), DOT_RADIUS, 0, 2 * Math.PI);
      this.#pen.fill();
    }
    if (this.#dots.length === 0) {
      const text = now - this.#begin < SPAN_MS_MIN ? "Waiting for the first message" : "No message in the last minute";
      // Between two lines of the grid.
      this.#text(text, (LEFT + right) / 2, y(30) + 4, color("ink"), "center");
    }
  }

  #line(fromX, fromY, toX, toY, color) {
    this.#pen.strokeStyle = color;
    this.#pen.beginPath();
    this.#pen.moveTo(Math.round(fromX) + 0.5, Math.round(fromY) + 0.5);
    this.#pen.lineTo(Math.round(toX) + 0.5, Math.round(toY) + 0.5);
    this.#pen.stroke();
  }

  #text(text, x, y, color, align) {
    this.#pen.fillStyle = color;
    this.#pen.textAlign = align;
    this.#pen.fillText(text, x, y);
  }
}

// Labels of a time axis of this span and width, up to the given age: pairs of seconds and text.
function times(ageMs, spanMs, width) {
  const countMax = Math.min(LABELS_MAX, width / LABEL_WIDTH);
  const step = STEPS_SECONDS.find((seconds) => spanMs / 1000 / seconds <= countMax) ?? STEPS_SECONDS.at(-1);
  const labels = [[0, "now"]];
  for (let seconds = step; seconds * 1000 <= ageMs; seconds += step) labels.push([seconds, `${seconds} s ago`]);
  return labels;
}

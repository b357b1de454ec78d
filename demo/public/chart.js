// Chart of the delay from publish to page over the last minute: a dot for each received message, a line for each switch
// that was pressed.

const SPAN_MS = 60_000;
// Range of the logarithmic axis. Messages delayed by an outage can take half a minute.
const [MS_MIN, MS_MAX] = [0.1, 30_000];
const GRID = { 0.1: "0.1 ms", 1: "1 ms", 10: "10 ms", 100: "100 ms", 1000: "1 s", 10_000: "10 s" };
// Maximum number of dots. Five messages a second for two users make 600 a minute.
const DOTS_MAX = 2_000;
const DOT_RADIUS = 2;

export class Chart {
  #canvas;
  #pen;
  #dots = [];
  #marks = [];

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
    const oldest = performance.now() - SPAN_MS;
    this.#dots = this.#dots.filter(({ at }) => at > oldest);
    this.#marks = this.#marks.filter(({ at }) => at > oldest);

    this.#canvas.width = width * devicePixelRatio;
    this.#canvas.height = height * devicePixelRatio;
    this.#pen.scale(devicePixelRatio, devicePixelRatio);
    this.#pen.font = `11px ${style.fontFamily}`;
    const x = (at) => ((at - oldest) / SPAN_MS) * width;
    const y = (ms) => {
      const share = Math.log(Math.min(MS_MAX, Math.max(MS_MIN, ms)) / MS_MIN) / Math.log(MS_MAX / MS_MIN);
      return height - 10 - share * (height - 20);
    };
    for (const [ms, label] of Object.entries(GRID)) {
      this.#line(0, y(ms), width, y(ms), color("edge"));
      this.#text(label, 0, y(ms) - 3, color("faint"));
    }
    for (const { at, label } of this.#marks) {
      this.#line(x(at), 0, x(at), height, color("caution"));
      const isRoom = this.#pen.measureText(label).width + 5 < x(at);
      this.#pen.textAlign = isRoom ? "right" : "left";
      this.#text(label, x(at) + (isRoom ? -5 : 5), 11, color("caution"));
      this.#pen.textAlign = "left";
    }
    for (const dot of this.#dots) {
      this.#pen.fillStyle = color(dot.color);
      this.#pen.beginPath();
      this.#pen.arc(x(dot.at), y(dot.ms), DOT_RADIUS, 0, 2 * Math.PI);
      this.#pen.fill();
    }
  }

  #line(fromX, fromY, toX, toY, color) {
    this.#pen.strokeStyle = color;
    this.#pen.beginPath();
    this.#pen.moveTo(fromX, Math.round(fromY) + 0.5);
    this.#pen.lineTo(toX, Math.round(toY) + 0.5);
    this.#pen.stroke();
  }

  #text(text, x, y, color) {
    this.#pen.fillStyle = color;
    this.#pen.fillText(text, x, y);
  }
}

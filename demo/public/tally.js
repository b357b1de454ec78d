// What became of the steady traffic on one page. Its messages are numbered without gaps, so that each that is missing or
// comes twice is seen.

export class Tally {
  // The newest that the page was given otherwise than over its socket: up to it, what comes is no news.
  #given;
  #newest;
  // Of what is beyond `through`, these are here.
  #beyond = new Set();

  // Everything up to here is here.
  through;

  seen = 0;
  twice = 0;
  fetched = 0;

  // `newest` is the number of the newest message that the page was rendered with.
  constructor(newest) {
    this.#given = this.#newest = this.through = newest;
  }

  get missing() {
    return this.#newest - this.through - this.#beyond.size;
  }

  // A message came over the socket. What the page was rendered with or has fetched may come again, as may what the
  // sidecar had not acked when it crashed, which says so.
  see(number, wasResent) {
    if (this.#add(number)) this.seen++;
    else if (number > this.#given && !wasResent) this.twice++;
  }

  // The page fetched what there is.
  fetch(numbers) {
    for (const number of numbers) if (this.#add(number)) this.fetched++;
    this.#given = Math.max(this.#given, ...numbers);
  }

  #add(number) {
    if (number <= this.through || this.#beyond.has(number)) return false;
    this.#newest = Math.max(this.#newest, number);
    this.#beyond.add(number);
    while (this.#beyond.delete(this.through + 1)) this.through++;
    return true;
  }
}

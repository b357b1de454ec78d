// Counts the messages of the steady traffic on one page. Their numbers have no gaps, so that missing and duplicate ones
// are detected.

export class Tally {
  // Newest number that the page was rendered with or has refetched. Up to it, a received message is no duplicate.
  #given;
  #newest;
  // Received numbers above `through`.
  #beyond = new Set();

  // Number up to which every message was received or refetched.
  through;

  seen = 0;
  twice = 0;
  fetched = 0;

  // `newest`: number of the newest message that the page was rendered with.
  constructor(newest) {
    this.#given = this.#newest = this.through = newest;
  }

  get missing() {
    return this.#newest - this.through - this.#beyond.size;
  }

  // Counts a message received over the socket. Not a duplicate: a message that the page was rendered with or has
  // refetched, and one marked as resent after a crash of the sidecar.
  see(number, wasResent) {
    if (this.#add(number)) this.seen++;
    else if (number > this.#given && !wasResent) this.twice++;
  }

  // Counts the messages of a refetch that were missing.
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

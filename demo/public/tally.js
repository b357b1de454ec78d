// Counts the messages of the steady traffic on one page. Their numbers have no gaps, so that missing and duplicate ones
// are detected.

export class Tally {
  // Number up to which a received message is no duplicate: the page was rendered with it, or has refetched it.
  #given;
  // Number up to which every message was received or refetched, and the received ones above it.
  #through;
  #beyond = new Set();

  // Newest number received or refetched.
  newest;

  seen = 0;
  twice = 0;
  fetched = 0;

  // `newest`: number of the newest message that the page was rendered with.
  constructor(newest) {
    this.#given = this.newest = this.#through = newest;
  }

  get missing() {
    return this.newest - this.#through - this.#beyond.size;
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

  // Counts the missing messages up to `number`, with which the page was rendered again. Later messages, which the page
  // showed before, can be received again.
  refresh(number) {
    for (let next = this.#through + 1; next <= number; next++) if (this.#add(next)) this.fetched++;
    this.#given = this.newest;
  }

  #add(number) {
    if (number <= this.#through || this.#beyond.has(number)) return false;
    this.newest = Math.max(this.newest, number);
    this.#beyond.add(number);
    while (this.#beyond.delete(this.#through + 1)) this.#through++;
    return true;
  }
}

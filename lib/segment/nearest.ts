/** The k nearest of a stream of (label, distance), ties to the lower label. */
export interface Hit {
  readonly label: number;
  readonly distance: number;
}

export class Nearest {
  readonly #k: number;
  readonly #hits: Hit[] = [];

  constructor(k: number) {
    this.#k = k;
  }

  /** Distances at or above it cannot enter any more (by distance alone). */
  get bound(): number {
    return this.#hits.length < this.#k ? Number.POSITIVE_INFINITY : this.#hits[this.#k - 1]!.distance;
  }

  offer(label: number, distance: number): void {
    const hits = this.#hits;
    if (distance > this.bound) return;
    let start = 0;
    let limit = hits.length;
    while (start < limit) {
      const middle = (start + limit) >>> 1;
      const hit = hits[middle]!;
      if (hit.distance < distance || (hit.distance === distance && hit.label < label)) start = middle + 1;
      else limit = middle;
    }
    if (start >= this.#k) return;
    hits.splice(start, 0, { label, distance });
    if (hits.length > this.#k) hits.pop();
  }

  take(): Hit[] {
    return this.#hits;
  }
}

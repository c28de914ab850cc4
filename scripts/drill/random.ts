/** Seeded choices and generated vectors. The choices repeat with the seed; when the machine acts on them does not. */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number in [0, 1) (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  }

  /** An integer from `start` up to, not including, `limit`. */
  between(start: number, limit: number): number {
    return start + Math.floor(this.next() * (limit - start));
  }

  chance(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.between(0, values.length)]!;
  }

  /** One of the keys, as often as its weight says. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const entries = Object.entries(weights) as [K, number][];
    let rest = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      rest -= weight;
      if (rest < 0) return key;
    }
    return entries[entries.length - 1]![0];
  }

  /** A generator of its own: what one worker draws does not depend on how often the others do. */
  fork(): Random {
    return new Random(this.between(0, 2 ** 32));
  }
}

const clusters = 40;
const spread = 0.35;

/**
 * The vector of one write, from the write's own name: a reader of a record can tell what it must hold. Clustered,
 * since uniform random vectors say nothing about an index.
 */
export function vectorOf(name: string, dims: number): number[] {
  const random = new Random(hashOf(name));
  const centre = new Random(random.between(0, clusters) + 1);
  return Array.from({ length: dims }, () =>
    Math.fround(centre.next() * 2 - 1 + (random.next() * 2 - 1) * spread),
  );
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}

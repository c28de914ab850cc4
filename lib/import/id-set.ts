/**
 * The ids that an import has met, by 64 bits of their sha256, in memory of 16 to 32 bytes an id: among ten million ids the
 * chance that two share those bits is one in 370,000.
 */
import { hash } from "node:crypto";

const slotsMin = 1 << 12;

export class IdSet {
  #words = new Uint32Array(slotsMin * 2);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** False when it was there. */
  add(id: string): boolean {
    if (this.#size * 4 >= this.#words.length) this.#grow();
    const bytes = hash("sha256", id, "buffer");
    // No id has the words of an empty slot.
    const added = this.#place(bytes.readUInt32LE(0), bytes.readUInt32LE(4) || 1);
    if (added) this.#size += 1;
    return added;
  }

  #place(low: number, high: number): boolean {
    const slots = this.#words.length / 2;
    for (let slot = low & (slots - 1); ; slot = (slot + 1) & (slots - 1)) {
      const at = slot * 2;
      if (this.#words[at + 1] === 0) {
        this.#words[at] = low;
        this.#words[at + 1] = high;
        return true;
      }
      if (this.#words[at] === low && this.#words[at + 1] === high) return false;
    }
  }

  #grow(): void {
    const before = this.#words;
    this.#words = new Uint32Array(before.length * 2);
    for (let at = 0; at < before.length; at += 2)
      if (before[at + 1] !== 0) this.#place(before[at]!, before[at + 1]!);
  }
}

/**
 * The ids that an import has met, by 64 bits of their sha256, in memory of 16 to 32 bytes an id: among ten million ids the
 * chance that two share those bits is one in 370,000. Kept beside the resume point, since an import that goes on must know the ids
 * that came before: 8 bytes an id.
 */
import { hash } from "node:crypto";

const slotsMin = 1 << 12;
export const idBytes = 8;

export class IdSet {
  #words = new Uint32Array(slotsMin * 2);
  #size = 0;
  /** Words of the ids that `taken` has not answered yet. */
  #news: number[] = [];

  /** `kept`: what `taken` answered, all of it. */
  static of(kept: Buffer): IdSet {
    const set = new IdSet();
    for (let at = 0; at < kept.length; at += idBytes)
      set.#addWords(kept.readUInt32LE(at), kept.readUInt32LE(at + 4));
    set.#news = [];
    return set;
  }

  /** The ids since the last call, `idBytes` each. */
  taken(): Buffer {
    const words = Uint32Array.from(this.#news);
    this.#news = [];
    return Buffer.from(words.buffer);
  }

  get size(): number {
    return this.#size;
  }

  /** False when it was there. */
  add(id: string): boolean {
    const bytes = hash("sha256", id, "buffer");
    // No id has the words of an empty slot.
    return this.#addWords(bytes.readUInt32LE(0), bytes.readUInt32LE(4) || 1);
  }

  #addWords(low: number, high: number): boolean {
    if (this.#size * 4 >= this.#words.length) this.#grow();
    const added = this.#place(low, high);
    if (added) this.#size += 1;
    if (added) this.#news.push(low, high);
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

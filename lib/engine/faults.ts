/**
 * What fails concerns itself alone: work that consists of parts (a run of the compactor, a look at a shard) writes down
 * which of them failed, does the others, and says so at its end.
 */
import { type ErrorKind, SiltstoneError } from "../core/model/errors.ts";

export interface Fault<Part extends string = string> {
  /** What failed, for people: "queue: receive", "collection docs". */
  readonly part: Part;
  readonly kind: ErrorKind;
  readonly message: string;
}

export class Faults<Part extends string = string> {
  readonly #faults = new Map<Part, Fault<Part>>();
  #unexpected: unknown = null;

  get list(): readonly Fault<Part>[] {
    return [...this.#faults.values()];
  }

  has(part: Part): boolean {
    return this.#faults.has(part);
  }

  /** Null when it fails, or has failed before: a part that does not answer would cost every caller its timeout again. */
  async attempt<T>(part: Part, work: () => Promise<T>): Promise<T | null> {
    if (this.has(part)) return null;
    try {
      return await work();
    } catch (error) {
      this.note(part, error);
      return null;
    }
  }

  note(part: Part, error: unknown): void {
    if (!(error instanceof SiltstoneError)) this.unexpected(error);
    else if (!this.has(part)) this.#faults.set(part, { part, kind: error.kind, message: error.message });
  }

  /** What the engine does not know (a full disk, a defect): the others go on all the same, and it is thrown at the end. */
  unexpected(error: unknown): void {
    this.#unexpected ??= error;
  }

  /** Throws what no list of faults can say. */
  throwUnexpected(): void {
    if (this.#unexpected !== null) throw this.#unexpected;
  }
}

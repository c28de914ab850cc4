import type { Forged, Scene } from "./world.ts";

/** What reads segments (world.ts, `exercise`). */
export type Reading = "cold query" | "query" | "count" | "get" | "query by id" | "verify" | "merge";

export interface Forgery {
  readonly name: string;
  readonly forge: (scene: Scene) => readonly Forged[];
  /** The readings that must refuse it as `corrupt`; the others may answer. Empty for what does no harm. */
  readonly refusedBy: readonly Reading[];
}

/** All but the cold query, which is answered without graphs. */
export const everyone: readonly Reading[] = ["query", "count", "get", "query by id", "verify", "merge"];

/** What an edit answered, if that is a file; else the one that it changed. */
export const bytesFrom = (answer: unknown, changed: () => Buffer): Buffer =>
  Buffer.isBuffer(answer) ? answer : changed();

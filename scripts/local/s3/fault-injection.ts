/**
 * What a laptop's S3 does not do by itself: be as slow as the real one, and fail. Throttling serves cold-start
 * benchmarks; faults are drawn from a seeded generator, so that a failing test can be run again as it was.
 */
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod/mini";
import { S3Error } from "./error.ts";
import type { Operation } from "./request.ts";

export interface Throttle {
  /** Bytes per second of one answer. */
  readonly streamBytesPerSecond?: number;
  /** Bytes per second of all answers together. */
  readonly totalBytesPerSecond?: number;
  /** Wait before every answer. */
  readonly firstByteMs?: number;
}

/**
 * `lostAnswer` does the work and then drops the connection: the client cannot know whether it happened. `hang` does nothing
 * and says nothing for as long as the client waits; `hangBody` falls silent in the middle of a body.
 */
const faultKinds = [
  "slowDown",
  "conflict",
  "internalError",
  "delay",
  "lostRequest",
  "lostAnswer",
  "hang",
  "hangBody",
] as const;
export type FaultKind = (typeof faultKinds)[number];
export interface FaultRule {
  readonly kind: FaultKind;
  /** 0 to 1, drawn for each request that the rule is about. */
  readonly probability: number;
  readonly operations?: readonly Operation[];
  readonly keyIncludes?: string;
  /** Only for `delay`. */
  readonly delayMs?: number;
  /** The rule stops after so many hits. */
  readonly hitsMax?: number;
}
export interface FaultInjection {
  readonly throttle?: Throttle;
  readonly faults?: { readonly seed: number; readonly rules: readonly FaultRule[] };
  /** The server's clock is so much ahead of the machine's, or behind when negative. @default 0 */
  readonly clockAheadMs?: number;
}

const above = z.optional(z.number().check(z.gt(0)));
const atLeastZero = z.optional(z.number().check(z.gte(0)));
const shape = z.strictObject({
  throttle: z.optional(
    z.strictObject({
      streamBytesPerSecond: above,
      totalBytesPerSecond: above,
      firstByteMs: atLeastZero,
    }),
  ),
  faults: z.optional(
    z.strictObject({
      seed: z.int(),
      rules: z.array(
        z.strictObject({
          kind: z.enum(faultKinds),
          probability: z.number().check(z.gte(0), z.lte(1)),
          operations: z.optional(z.array(z.string())),
          keyIncludes: z.optional(z.string()),
          delayMs: atLeastZero,
          hitsMax: atLeastZero,
        }),
      ),
    }),
  ),
  clockAheadMs: z.optional(z.number()),
});

/** Throws InvalidArgument: what was set before stays. */
export function parseFaultInjection(text: string): FaultInjection {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new S3Error("InvalidArgument", "The faults are not JSON.");
  }
  const parsed = z.safeParse(shape, value);
  if (parsed.success) return parsed.data as FaultInjection;
  const [{ path, message } = { path: [], message: "" }] = parsed.error.issues;
  throw new S3Error(
    "InvalidArgument",
    `The faults are wrong at ${path.join(".") || "their top"}: ${message}`,
  );
}

/** Draws faults: the same seed and the same sequence of requests give the same faults. */
export class FaultSource {
  private readonly rules: readonly FaultRule[];
  private readonly hits: number[];
  private state: number;

  constructor(faults: FaultInjection["faults"]) {
    this.rules = faults?.rules ?? [];
    this.hits = this.rules.map(() => 0);
    this.state = faults?.seed ?? 0;
  }

  /** The first rule that hits this request, if one does. */
  draw(operation: Operation, key: string): FaultRule | null {
    for (const [index, rule] of this.rules.entries()) {
      if (rule.operations && !rule.operations.includes(operation)) continue;
      if (rule.keyIncludes !== undefined && !key.includes(rule.keyIncludes)) continue;
      if (this.hits[index]! >= (rule.hitsMax ?? Number.POSITIVE_INFINITY)) continue;
      if (this.random() >= rule.probability) continue;
      this.hits[index]!++;
      return rule;
    }
    return null;
  }

  /** mulberry32 */
  private random(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

/** Lets bytes through at a rate, by keeping account of the time at which the next ones are due. */
export class Pacer {
  private readonly bytesPerSecond: number;
  private dueMs = 0;

  constructor(bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond;
  }

  async take(bytes: number): Promise<void> {
    const nowMs = performance.now();
    this.dueMs = Math.max(this.dueMs, nowMs) + (bytes / this.bytesPerSecond) * 1000;
    // Timers are no finer than this; what is owed is waited for with a later piece.
    if (this.dueMs - nowMs > 2) await sleep(this.dueMs - nowMs);
  }
}

/** The first piece of a body, and then nothing until the client has gone. */
export async function* hanging(source: AsyncIterable<Buffer>, gone: Promise<void>): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    yield piece.subarray(0, Math.ceil(piece.length / 2));
    await gone;
    return;
  }
}

export async function* paced(
  source: AsyncIterable<Buffer>,
  pacers: readonly Pacer[],
): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    for (const pacer of pacers) await pacer.take(piece.length);
    yield piece;
  }
}

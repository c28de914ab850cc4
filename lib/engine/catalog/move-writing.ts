/**
 * Moving an alias's writing side, by a barrier:
 *
 *  1. The alias gets a barrier, with a deadline. From then on no write is acknowledged.
 *  2. All that the old side has is drained into the new one. Whatever was acknowledged was put before the barrier (lib/engine/write/produce-through.ts),
 *     so a LIST that begins now finds it.
 *  3. The alias names the new side, and has no barrier, with If-Match on 1.
 *
 * When the draining fails, or the deadline comes, the barrier is lifted instead, also with If-Match on 1: one of the two happens, also to
 * a driver that sleeps, and of which somebody else lifts the barrier.
 *
 * What draining is, who moves says: it is a port. Without one the side is moved at once, when asked for by name: what the new side does not
 * have is missing from reads by the alias until it is carried over.
 */
import {
  type Alias,
  refuseBarrier,
  type Side,
  sideNamed,
  sideWith,
  withBarrier,
  withoutBarrier,
  withWriting,
} from "../../core/model/alias.ts";
import { invalid, isKind, SiltstoneError } from "../../core/model/errors.ts";
import { barrierMs } from "../../core/policy/time-bounds.ts";
import { type AliasCall, type AliasWorld, byOf, type KnownAlias, readToChange, write } from "./aliases.ts";

/**
 * Makes the new side hold each row of the old one's that was put before it was called, in its order. Throws where it cannot; nothing that
 * it has done until then is harmful.
 */
export type Drain = (from: Side, to: Side) => Promise<void>;

export interface MoveCall extends AliasCall {
  /** Collection that is to be written to: a side of the alias. */
  readonly collection: string;
  /** Without it: moved at once, and what the new side does not have is missing. */
  readonly drain?: Drain | undefined;
  readonly atOnce?: boolean | undefined;
}

/** Answers the alias as it is then. Where that side is written to already, nothing is changed. */
export async function moveWriting(world: AliasWorld, call: MoveCall): Promise<KnownAlias> {
  const known = await readToChange(world, call);
  const { alias } = known;
  refuseBarrier(alias);
  if (sideNamed(alias, alias.writing).collection === call.collection) return known;
  const to = sideWith(alias, call.collection);
  const [from, next] = [sideNamed(alias, alias.writing), sideNamed(alias, to)];
  const { drain, atOnce = false } = call;
  if (atOnce) return write(world, known, withWriting(alias, to, byOf(world, call)));
  if (drain === undefined) throw undrained(alias, from, next);
  const deadlineMs = world.clock.nowMs() + barrierMs;
  const barred = await write(world, known, withBarrier(alias, to, deadlineMs, byOf(world, call)));
  try {
    const isDrained = await world.clock.atMost(barrierMs, drain(from, next));
    if (isDrained === null || world.clock.nowMs() >= deadlineMs) throw late(alias, next);
  } catch (error) {
    await lift(world, barred, call, error);
    throw error;
  }
  return write(world, barred, withWriting(barred.alias, to, byOf(world, call)));
}

async function lift(world: AliasWorld, barred: KnownAlias, call: AliasCall, why: unknown): Promise<void> {
  const reason = why instanceof SiltstoneError ? `not drained: ${why.kind}` : "not drained";
  try {
    await write(world, barred, withoutBarrier(barred.alias, byOf(world, { ...call, reason })));
  } catch (error) {
    // Somebody else has lifted it.
    if (!isKind(error, "conflict")) throw error;
  }
}

const undrained = ({ name }: Alias, from: Side, to: Side): SiltstoneError =>
  invalid(
    `alias ${name}: nothing here can drain ${from.collection} into ${to.collection}; at once (--at-once) skips that: what ` +
      `${from.collection} has acknowledged and ${to.collection} does not hold is missing from reads by the alias until it is carried over`,
  );

const late = ({ name }: Alias, to: Side): SiltstoneError =>
  new SiltstoneError(
    "unavailable",
    `alias ${name}: ${to.collection} did not hold all of it within ${barrierMs / 1_000} s; the writing side stays: ` +
      "let it catch up, and repeat the call",
  );

/**
 * Producing through an alias. A write is acknowledged on the alias's writing side, and nowhere else (I13):
 *
 *  1. While a barrier stands, nothing is put.
 *  2. The rows are put on the writing side, as a call that names it puts them.
 *  3. The alias is read again. Where it still has that writing side and no barrier, the write is acknowledged: whoever moves the side
 *     sets a barrier, and only then LISTs what was put, so that this write is among it.
 *  4. Else the barrier's end is waited for. Where the side has moved by then, the same rows are put there, in the place of those deltas
 *     in the order of writes, and 3 comes again. So nothing depends on a clock, or on how long this process slept.
 *
 * What was put on a side that the alias has left stays there, unacknowledged; rows that come to be on both are the same writes.
 */
import { checkSpaces, ledBy } from "../../core/model/alias.ts";
import type { CheckedRecords } from "../../core/model/check-records.ts";
import type { Collection } from "../../core/model/collection.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { grouped } from "../../core/model/grouped.ts";
import type { DeltaId } from "../../core/model/ids.ts";
import type { DeltaRow } from "../../core/model/row.ts";
import { ulidTimeMs } from "../../core/model/ulid.ts";
import { barrierPollMs, barrierWaitMs, deltaPutMaxMs } from "../../core/policy/time-bounds.ts";
import { type KnownAlias, readAliasAgain, readSide } from "../catalog/aliases.ts";
import {
  answerOf,
  checkCall,
  type EncodedDelta,
  encodeRows,
  type ProduceAnswer,
  type ProduceCall,
  type ProduceWorld,
  putDeltas,
} from "./produce.ts";

/** An alias is moved by a person or a migration: that often within one call it is not. */
const movesMax = 5;

/** What a call has put so far. */
interface Put {
  readonly collection: Collection;
  readonly checked: CheckedRecords;
  readonly deltas: readonly EncodedDelta[];
  readonly notified: boolean;
}

export async function produceThrough(
  world: ProduceWorld,
  call: ProduceCall,
  read: KnownAlias,
): Promise<ProduceAnswer> {
  const waiting = new Waiting(world);
  let known = await waiting.untilOpen(read);
  if (known === null) throw unavailable(read, waiting);
  if (Array.isArray(call.records) && call.records.length > 0) checkSpaces(known.alias, call.embeddingVersion);
  const collection = await readSide(world.store, known.alias, known.alias.writing);
  // Of the first side: the rows have one time wherever they are put.
  const nowMs = world.clock.nowMs();
  const checked = checkCall(collection, call, nowMs);
  const deltas = encodeRows(world, collection, checked.rows, call.producer ?? "");
  const places = new Map(deltas.flatMap(({ delta, rows }) => rows.map((row) => [row, delta] as const)));
  const first: Put = { collection, checked, deltas, notified: await putDeltas(world, deltas) };
  let put = first;
  for (let moves = 0; moves <= movesMax; moves++) {
    known = await lookAgain(world, known, waiting);
    const { alias } = known;
    // A call whose records were all rejected has put nothing, and is no less answered.
    if (alias[alias.writing]?.collectionId === put.collection.id)
      return answerOf(put.collection, put.checked, put.deltas, put.notified, ledBy(alias, alias.writing));
    put = await uncertainWhenRefused(known, putOnNewSide(world, call, known, { first, places, nowMs }));
  }
  throw uncertain(known, `it was moved more than ${movesMax} times meanwhile`);
}

/** The alias as it is after the PUTs, when no barrier stands. */
async function lookAgain(world: ProduceWorld, known: KnownAlias, waiting: Waiting): Promise<KnownAlias> {
  const again = await readAliasAgain(world.store, known).catch((error: unknown) => {
    if (!(error instanceof SiltstoneError)) throw error;
    throw uncertain(known, `the alias could not be read again: ${error.message}`);
  });
  if (again === null) throw uncertain(known, "the alias was deleted meanwhile");
  const open = await waiting.untilOpen(again).catch((error: unknown) => {
    if (!(error instanceof SiltstoneError)) throw error;
    throw uncertain(known, error.message);
  });
  if (open === null) throw uncertain(again, waiting.inVain);
  return open;
}

/** The rows as they were, version and place, checked by the rules of where they go. */
async function putOnNewSide(
  world: ProduceWorld,
  call: ProduceCall,
  { alias }: KnownAlias,
  { first, places, nowMs }: { first: Put; places: ReadonlyMap<DeltaRow, DeltaId>; nowMs: number },
): Promise<Put> {
  const collection = await readSide(world.store, alias, alias.writing);
  const hasVectors = first.checked.rows.some(({ vector }) => vector !== null);
  if (hasVectors && collection.embeddingVersion !== first.collection.embeddingVersion)
    throw new SiltstoneError(
      "conflict",
      `${collection.name} holds ${collection.embeddingVersion}, and the vectors are of ${first.collection.embeddingVersion}: embed the texts anew`,
    );
  const checked = checkCall(collection, call, nowMs);
  const { rows } = checked;
  if (rows.length !== first.checked.rows.length || rows.some(({ id }, i) => id !== first.checked.rows[i]!.id))
    throw new SiltstoneError("conflict", `${collection.name} takes other records of the call`);
  const oldest = first.deltas[0]?.delta;
  // What is that old has no place any more that it could be sure of ("Horizon" in docs/protocol.md).
  if (oldest !== undefined && world.clock.nowMs() - ulidTimeMs(oldest) > deltaPutMaxMs)
    throw new SiltstoneError("conflict", `the call was begun over ${deltaPutMaxMs / 60_000} minutes ago`);
  const placed = grouped(
    rows.map((row, i) => ({ row, place: places.get(first.checked.rows[i]!)! })),
    ({ place }) => place,
  );
  const deltas = [...placed].flatMap(([place, ofDelta]) =>
    encodeRows(
      world,
      collection,
      ofDelta.map(({ row }) => row),
      call.producer ?? "",
      place,
    ),
  );
  return { collection, checked, deltas, notified: await putDeltas(world, deltas) };
}

/** How long one call waits for barriers, all together. */
class Waiting {
  readonly #world: ProduceWorld;
  #leftMs = barrierWaitMs;
  readonly inVain = `its writing side has been about to move for ${barrierWaitMs / 1_000} s`;

  constructor(world: ProduceWorld) {
    this.#world = world;
  }

  /** The alias when it has no barrier; null where that takes too long. */
  async untilOpen(known: KnownAlias): Promise<KnownAlias | null> {
    let current = known;
    while (current.alias.barrier !== null) {
      if (this.#leftMs <= 0) return null;
      this.#leftMs -= barrierPollMs;
      await this.#world.clock.sleep(barrierPollMs);
      const again = await readAliasAgain(this.#world.store, current);
      if (again === null)
        throw new SiltstoneError("notFound", `alias ${current.alias.name} was deleted meanwhile`);
      current = again;
    }
    return current;
  }
}

/** Nothing has been put. */
const unavailable = ({ alias }: KnownAlias, { inVain }: Waiting): SiltstoneError =>
  new SiltstoneError("unavailable", `alias ${alias.name}: ${inVain}; nothing was written, repeat the call`);

const uncertain = ({ alias }: KnownAlias, reason: string): SiltstoneError =>
  new SiltstoneError(
    "uncertain",
    `alias ${alias.name}: ${reason}; what was written to a side is not acknowledged, repeat the call`,
  );

/** Whatever keeps rows from the new side, they are on the old one. */
function uncertainWhenRefused(known: KnownAlias, put: Promise<Put>): Promise<Put> {
  return put.catch((error: unknown) => {
    if (!(error instanceof SiltstoneError)) throw error;
    throw uncertain(
      known,
      `writes go to ${known.alias[known.alias.writing]?.collection} by now: ${error.message}`,
    );
  });
}

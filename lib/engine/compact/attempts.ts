/**
 * Which delta it was: a batch that failed says only that one of its deltas is bad, and a run that died says nothing.
 *
 *  1. Before a batch is read, a note beside the leases names its deltas. At the end of a run it is closed. Only the holder of
 *     the ingest lease writes it.
 *  2. A run that finds an open note knows that the run before it died of that batch, whatever killed it: no memory left, no
 *     time left, a defect. It takes these deltas, the suspects, in 32 parts, and what kills one of these runs in 32 again.
 *     Suspects and others are never in one batch, and no batch of suspects beside another shard's: what dies then died of it.
 *  3. A suspect that kills a run alone is put aside unread: two runs have died of it then, at least.
 *  4. A batch that fails without killing its run is halved at once, by the same run.
 *
 * Nothing is lost when a note is: then it takes longer. A run that slept past its lease looks as if it had died: its deltas
 * are taken in smaller batches for once; to be put aside, a delta needs two such runs, one of them alone with it.
 */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { type DeltaId, deltaId } from "../../core/model/ids.ts";
import { isUlid } from "../../core/model/ulid.ts";
import type { LeaseTable } from "../ports.ts";

/** Each death costs minutes: 2,000 deltas are told apart by four of them, 32 by two. */
const partsOfDeath = 32;

interface Suspects {
  readonly deltas: ReadonlySet<DeltaId>;
  /** Most deltas of one batch. */
  readonly deltasMax: number;
  /** Whether a run died of them. */
  readonly isDeadly: boolean;
}
const noSuspects: Suspects = { deltas: new Set(), deltasMax: 1, isDeadly: false };

export class Attempts {
  readonly #leases: LeaseTable;
  readonly #name: string;
  #suspects: Suspects;
  #isOpen: boolean;
  /** Two runs have died of this delta, the last of them of nothing else. */
  readonly culprit: DeltaId | null;

  /** Looks at what the run before left. `pending`: the backlog. */
  static async open(leases: LeaseTable, shard: ShardRef, pending: readonly DeltaId[]): Promise<Attempts> {
    const name = `attempt/${shardName(shard)}`;
    const note = (await bestEffort(leases.readNote(name))) ?? {};
    return new Attempts(leases, name, note, new Set(pending));
  }

  private constructor(
    leases: LeaseTable,
    name: string,
    note: Readonly<Record<string, unknown>>,
    pending: ReadonlySet<DeltaId>,
  ) {
    this.#leases = leases;
    this.#name = name;
    const { suspects, deltasMax, isDeadly } = note;
    const before = isCount(deltasMax)
      ? { deltas: deltasOf(suspects), deltasMax, isDeadly: isDeadly === true }
      : noSuspects;
    const batch = deltasOf(note.batch);
    // What is ingested by now killed no run.
    const died = [...batch].filter((delta) => pending.has(delta));
    this.#isOpen = batch.size > 0;
    this.#suspects = before;
    if (died.length > 0)
      this.#suspects = {
        deltas: new Set(died),
        deltasMax: Math.ceil(batch.size / partsOfDeath),
        isDeadly: true,
      };
    const [only] = batch;
    const isAlone = died.length === 1 && batch.size === 1;
    this.culprit = isAlone && before.isDeadly && before.deltas.has(only!) ? only! : null;
  }

  /** The next batch: the first of `ready` and those that go with it. */
  choose<T extends { readonly delta: DeltaId }>(ready: readonly T[], deltasMax: number): readonly T[] {
    const { deltas } = this.#suspects;
    const isSuspect = deltas.has(ready[0]!.delta);
    const limit = ready.findIndex(({ delta }) => deltas.has(delta) !== isSuspect);
    const most = isSuspect ? Math.min(deltasMax, this.#suspects.deltasMax) : deltasMax;
    return ready.slice(0, limit < 0 ? most : Math.min(most, limit));
  }

  /** Whether a run may have died of this delta: then its batch goes beside no other shard's. */
  isDeadly(delta: DeltaId): boolean {
    return this.#suspects.isDeadly && this.#suspects.deltas.has(delta);
  }

  async begin(batch: readonly DeltaId[]): Promise<void> {
    this.#isOpen = true;
    await this.#write(batch);
  }

  /** These, together, make no segment: they are tried in two halves. */
  halve(deltas: readonly DeltaId[]): void {
    this.#suspects = { deltas: new Set(deltas), deltasMax: Math.ceil(deltas.length / 2), isDeadly: false };
  }

  /** The run ends alive. */
  async close(): Promise<void> {
    if (this.#isOpen) await this.#write([]);
  }

  async #write(batch: readonly DeltaId[]): Promise<void> {
    const { deltas, ...rest } = this.#suspects;
    await bestEffort(this.#leases.note(this.#name, { batch, suspects: [...deltas], ...rest }));
  }
}

/** Null when the table does not answer: without notes everything goes on, but for finding what kills runs. */
async function bestEffort<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    if (!(error instanceof SiltstoneError)) throw error;
    return null;
  }
}

/** A note has no promised shape. */
const deltasOf = (value: unknown): Set<DeltaId> =>
  new Set(
    (Array.isArray(value) ? value : [])
      .filter((one) => typeof one === "string" && isUlid(one))
      .map((one) => deltaId(one)),
  );
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;

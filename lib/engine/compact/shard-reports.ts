/** What a run did to each shard, gathered while it goes on. What fails concerns its shard alone. */

import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import type { Faults } from "../faults.ts";
import type { Clock } from "../ports.ts";
import type { CollectReport } from "./collect-garbage.ts";
import type { IngestReport } from "./ingest-report.ts";
import type { MergeReport } from "./merge.ts";

export interface ShardReport extends ShardRef {
  /** Time spent on this shard. */
  readonly milliseconds: number;
  /** Nothing waited there, so nothing was ingested: its version where that was read. Or time was over before it. */
  readonly look?: { readonly kind: "idle"; readonly version: number | null } | { readonly kind: "unseen" };
  readonly ingest?: IngestReport;
  readonly merge?: MergeReport;
  readonly collect?: CollectReport;
  /** Why this shard failed, where it did. */
  readonly error?: { readonly kind: string; readonly message: string };
}
/** What a part of its work adds to a shard's report; null when the shard is gone. */
export type ShardPart = Partial<Omit<ShardReport, keyof ShardRef>> | null;

export class ShardReports {
  readonly #clock: Clock;
  readonly #faults: Faults;
  readonly #reports = new Map<string, ShardReport>();

  constructor(clock: Clock, faults: Faults) {
    this.#clock = clock;
    this.#faults = faults;
  }

  get list(): readonly ShardReport[] {
    return [...this.#reports.values()];
  }

  of(ref: ShardRef): ShardReport {
    return (
      this.#reports.get(shardName(ref)) ?? { collection: ref.collection, shard: ref.shard, milliseconds: 0 }
    );
  }

  /** Does a part of a shard's work and notes what it answers; false when it failed. */
  async attempt(ref: ShardRef, work: () => Promise<ShardPart>): Promise<boolean> {
    const startMs = this.#clock.nowMs();
    const spentMs = () => this.of(ref).milliseconds + this.#clock.nowMs() - startMs;
    try {
      const part = await work();
      if (part === null) this.#reports.delete(shardName(ref));
      else this.note(ref, { ...part, milliseconds: spentMs() });
      return true;
    } catch (error) {
      if (!(error instanceof SiltstoneError)) this.#faults.unexpected(error);
      else {
        const { kind, message } = error;
        this.note(ref, { error: { kind, message }, milliseconds: spentMs() });
      }
      return false;
    }
  }

  /** The first error of a shard stays: what follows from it says less. */
  note(ref: ShardRef, part: NonNullable<ShardPart>): void {
    const known = this.of(ref);
    const { error } = known;
    this.#reports.set(shardName(ref), { ...known, ...part, ...(error ? { error } : {}) });
  }

  /** A later round adds to the earlier ones, and one that succeeds makes up for those that did not. */
  noteIngest(ref: ShardRef, report: IngestReport): void {
    const { error: _mended, look: _looked, ...known } = this.of(ref);
    const ingest = known.ingest ? addReports(known.ingest, report) : report;
    this.#reports.set(shardName(ref), { ...known, ingest });
  }
}

const addReports = (a: IngestReport, b: IngestReport): IngestReport => ({
  ...b,
  deltas: a.deltas + b.deltas,
  rows: a.rows + b.rows,
  quarantined: a.quarantined + b.quarantined,
});

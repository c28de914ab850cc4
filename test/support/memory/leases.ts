/**
 * The lease table in memory. A row is never removed, only its holder: the epoch has to outlive release and
 * force-release.
 */
import { type Epoch, epoch } from "../../../lib/core/model/ids.ts";
import { isLeaseHeld } from "../../../lib/core/policy/time-bounds.ts";
import type { Lease, LeaseTable } from "../../../lib/engine/ports.ts";

interface LeaseRow {
  epoch: Epoch;
  /** Null after a release. */
  owner: string | null;
  expiresAtMs: number;
}

export class MemoryLeases implements LeaseTable {
  readonly #rows = new Map<string, LeaseRow>();
  /** As JSON text: what comes back is what a database would give back. */
  readonly #notes = new Map<string, string>();

  async acquire(
    name: string,
    request: { owner: string; leaseMs: number; nowMs: number; epochAbove?: Epoch },
  ): Promise<{ kind: "acquired"; lease: Lease } | { kind: "held"; by: Lease }> {
    const row = this.#rows.get(name) ?? { epoch: epoch(0), owner: null, expiresAtMs: 0 };
    if (row.owner !== null && isLeaseHeld(row.expiresAtMs, request))
      return { kind: "held", by: leaseOf(name, row, row.owner) };
    row.epoch = epoch(Math.max(row.epoch, request.epochAbove ?? 0) + 1);
    row.owner = request.owner;
    row.expiresAtMs = request.nowMs + request.leaseMs;
    this.#rows.set(name, row);
    return { kind: "acquired", lease: leaseOf(name, row, row.owner) };
  }

  async extend(lease: Lease, request: { leaseMs: number; nowMs: number }): Promise<Lease | null> {
    const row = this.#held(lease.name, lease);
    if (!row) return null;
    row.expiresAtMs = request.nowMs + request.leaseMs;
    return leaseOf(lease.name, row, lease.owner);
  }

  async release(lease: Lease): Promise<void> {
    await this.forceRelease(lease.name, lease);
  }

  async read(name: string): Promise<Lease | null> {
    const row = this.#rows.get(name);
    return row && row.owner !== null ? leaseOf(name, row, row.owner) : null;
  }

  async forceRelease(name: string, expected: { owner: string; epoch: Epoch }): Promise<boolean> {
    const row = this.#held(name, expected);
    if (row) row.owner = null;
    return row !== null;
  }

  /** The table is lost, and an empty one is in its place. */
  lose(): void {
    this.#rows.clear();
    this.#notes.clear();
  }

  async note(name: string, value: Readonly<Record<string, unknown>>): Promise<void> {
    this.#notes.set(name, JSON.stringify(value));
  }
  async readNote(name: string): Promise<Readonly<Record<string, unknown>> | null> {
    const text = this.#notes.get(name);
    return text === undefined ? null : (JSON.parse(text) as Record<string, unknown>);
  }

  #held(name: string, by: { owner: string; epoch: Epoch }): LeaseRow | null {
    const row = this.#rows.get(name);
    return row && row.owner === by.owner && row.epoch === by.epoch ? row : null;
  }
}

const leaseOf = (name: string, row: LeaseRow, owner: string): Lease => ({
  name,
  owner,
  epoch: row.epoch,
  expiresAtMs: row.expiresAtMs,
});

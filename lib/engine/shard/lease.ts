/**
 * Holding a lease while working. A lease saves work: two compactors do not do the same twice. It is not what keeps data
 * safe; that is the pointer's If-Match. Still, a holder that slept past its lease stops before it publishes.
 */
import { type ShardRef, shardName } from "../../core/format/keys.ts";
import { SiltstoneError } from "../../core/model/errors.ts";
import { type Epoch, epoch } from "../../core/model/ids.ts";
import { leaseExtendBelowMs, leaseMarginMs, leaseMs } from "../../core/policy/time-bounds.ts";
import type { Lease, World } from "../ports.ts";

export class HeldLease {
  readonly #world: World;
  #lease: Lease;

  private constructor(world: World, lease: Lease) {
    this.#world = world;
    this.#lease = lease;
  }

  /** Null when another holder has it. */
  static async acquire(world: World, name: string, epochAbove = epoch(0)): Promise<HeldLease | null> {
    const nowMs = world.clock.nowMs();
    const result = await world.leases.acquire(name, {
      owner: world.clock.ulid(),
      leaseMs,
      nowMs,
      epochAbove,
    });
    return result.kind === "acquired" ? new HeldLease(world, result.lease) : null;
  }

  get epoch(): Epoch {
    return this.#lease.epoch;
  }

  /** Call before every step that takes long and before every commit. Throws `fenced` when the lease is gone. */
  async check(): Promise<void> {
    const leftMs = this.#lease.expiresAtMs - this.#world.clock.nowMs();
    if (leftMs > leaseExtendBelowMs) return;
    const extended =
      leftMs > leaseMarginMs
        ? await this.#world.leases.extend(this.#lease, { leaseMs, nowMs: this.#world.clock.nowMs() })
        : null;
    if (extended === null) {
      throw new SiltstoneError(
        "fenced",
        `lease ${this.#lease.name} (epoch ${this.epoch}) ran out or was taken: stopped before publishing`,
      );
    }
    this.#lease = extended;
  }

  async release(): Promise<void> {
    await this.#world.leases.release(this.#lease);
  }
}

export const ingestLease = (shard: string): string => `ingest/${shard}`;
export const mergeLease = (shard: string): string => `merge/${shard}`;
export const collectLease = (shard: string): string => `collect/${shard}`;

/** The note, beside the leases, of a shard's last run that found something to do. */
export const shardRunNote = (shard: ShardRef): string => `run/${shardName(shard)}`;

/** CMP-2: a holder that was paused past its lease can neither go on nor take the lease back. */
import { epoch } from "../../../lib/core/model/ids.ts";
import { leaseMs } from "../../../lib/core/policy/time-bounds.ts";
import { HeldLease } from "../../../lib/engine/shard/lease.ts";
import { memoryWorld } from "../../support/memory/world.ts";

test("a held lease is extended while there is time, and lost when there is no time", async () => {
  const world = memoryWorld();
  const lease = (await HeldLease.acquire(world, "ingest/x/0"))!;
  expect(await HeldLease.acquire(world, "ingest/x/0")).toBeNull();
  for (let i = 0; i < 5; i++) {
    world.clock.advance(leaseMs / 2);
    await lease.check();
  }
  world.clock.advance(leaseMs + 1);
  await expect(lease.check()).rejects.toMatchObject({ kind: "fenced" });
});

test("a lease that another took is not extended, and its epoch is the higher one", async () => {
  const world = memoryWorld();
  const first = (await HeldLease.acquire(world, "ingest/x/0"))!;
  // The holder's clock is behind: it still sees time left when the lease has run out for all others.
  const behind = { ...world, clock: world.clock.fork({ seed: 2, skewMs: 3 * leaseMs }) };
  const second = (await HeldLease.acquire(behind, "ingest/x/0"))!;
  expect(second.epoch).toBeGreaterThan(first.epoch);
  world.clock.advance(leaseMs / 2);
  await expect(first.check()).rejects.toMatchObject({ kind: "fenced" });
  await first.release();
  expect(await world.leases.read("ingest/x/0")).toMatchObject({ epoch: second.epoch });
});

test("the epoch is above what the pointer has seen, also when the table was lost", async () => {
  const world = memoryWorld();
  const lease = (await HeldLease.acquire(world, "ingest/x/0", epoch(41)))!;
  expect(lease.epoch).toBe(42);
});

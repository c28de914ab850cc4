/** The contract of LeaseTable, for every implementation. Each test uses a lease name of its own. */
import { type Epoch, epoch } from "../../../lib/core/model/ids.ts";
import type { Lease, LeaseTable } from "../../../lib/engine/ports.ts";

const racers = 50;
const leaseMs = 1_000;

export function leaseTableContract(
  name: string,
  makeTable: () => Promise<{ leases: LeaseTable; namesBelow: string }>,
): void {
  describe(`lease table contract: ${name}`, () => {
    let leases: LeaseTable;
    let shard: string;
    let tests = 0;
    beforeEach(async () => {
      const made = await makeTable();
      leases = made.leases;
      shard = `${made.namesBelow}shard-${++tests}`;
    });

    const take = async (owner: string, nowMs: number, epochAbove?: Epoch): Promise<Lease> => {
      const answer = await leases.acquire(shard, {
        owner,
        leaseMs,
        nowMs,
        ...(epochAbove === undefined ? {} : { epochAbove }),
      });
      if (answer.kind !== "acquired") throw new Error(`held by ${answer.by.owner}`);
      return answer.lease;
    };

    test("a free lease is taken, and seen by every process", async () => {
      expect(await leases.read(shard)).toBeNull();
      const lease = await take("a", 5_000);
      expect(lease).toEqual({ name: shard, owner: "a", epoch: 1, expiresAtMs: 6_000 });
      expect(await leases.read(shard)).toEqual(lease);
    });

    test("a held lease is refused, also to its own holder, and the answer names who holds it", async () => {
      const lease = await take("a", 0);
      for (const owner of ["b", "a"]) {
        expect(await leases.acquire(shard, { owner, leaseMs, nowMs: 999 })).toEqual({
          kind: "held",
          by: lease,
        });
      }
      expect(await leases.read(shard)).toEqual(lease);
    });

    test("a lease whose time has run out is taken, in a higher epoch", async () => {
      const first = await take("a", 0);
      const second = await take("b", 1_000);
      expect(second.epoch).toBeGreaterThan(first.epoch);
      expect(await leases.read(shard)).toEqual(second);
    });

    test("a lease from a clock that was hours ahead keeps no holder waiting, one from a clock that may be right does", async () => {
      await take("a", 3 * 3_600_000);
      const next = await take("b", 0);
      expect(await leases.read(shard)).toEqual(next);
      await leases.release(next);
      await take("c", 30 * 60_000);
      expect(await leases.acquire(shard, { owner: "d", leaseMs, nowMs: 0 })).toMatchObject({ kind: "held" });
    });

    test("a holder past its time can go on only while the lease was not taken", async () => {
      const lease = await take("a", 0);
      const extended = await leases.extend(lease, { leaseMs, nowMs: 50_000 });
      expect(extended).toEqual({ ...lease, expiresAtMs: 51_000 });
      const next = await take("b", 51_000);
      expect(await leases.extend(lease, { leaseMs, nowMs: 51_001 })).toBeNull();
      expect(await leases.read(shard)).toEqual(next);
    });

    test("an extension is for this owner in this epoch", async () => {
      const first = await take("a", 0);
      const again = await take("a", 1_000);
      expect(again.epoch).toBeGreaterThan(first.epoch);
      expect(await leases.extend(first, { leaseMs, nowMs: 1_001 })).toBeNull();
      expect(await leases.extend({ ...again, owner: "b" }, { leaseMs, nowMs: 1_001 })).toBeNull();
      expect(await leases.extend({ ...again, name: `${shard}-other` }, { leaseMs, nowMs: 1_001 })).toBeNull();
      expect(await leases.read(`${shard}-other`)).toBeNull();
      expect(await leases.extend(again, { leaseMs, nowMs: 1_001 })).toEqual({ ...again, expiresAtMs: 2_001 });
    });

    test("a release frees the lease once, and only one's own", async () => {
      const first = await take("a", 0);
      await leases.release(first);
      await leases.release(first);
      expect(await leases.read(shard)).toBeNull();
      expect(await leases.extend(first, { leaseMs, nowMs: 1 })).toBeNull();
      const second = await take("b", 1);
      await leases.release(first);
      expect(await leases.read(shard)).toEqual(second);
    });

    test("the epoch grows over release, expiry and force-release, and above a known one", async () => {
      const epochs: number[] = [];
      const first = await take("a", 0);
      epochs.push(first.epoch);
      await leases.release(first);
      epochs.push((await take("a", 1)).epoch);
      const third = await take("b", 2_000);
      epochs.push(third.epoch);
      expect(await leases.forceRelease(shard, third)).toBe(true);
      const fourth = await take("c", 2_001);
      epochs.push(fourth.epoch);
      await leases.release(fourth);
      epochs.push((await take("d", 2_002, epoch(41))).epoch, (await take("e", 4_000, epoch(7))).epoch);
      expect(epochs).toEqual([1, 2, 3, 4, 42, 43]);
      expect(
        (await leases.acquire(`${shard}-new`, { owner: "a", leaseMs, nowMs: 0, epochAbove: epoch(9) })).kind,
      ).toBe("acquired");
      expect((await leases.read(`${shard}-new`))?.epoch).toBe(10);
    });

    test("a force-release takes it from exactly the owner and epoch named", async () => {
      const lease = await take("a", 0);
      expect(await leases.forceRelease(shard, { owner: "b", epoch: lease.epoch })).toBe(false);
      expect(await leases.forceRelease(shard, { owner: "a", epoch: epoch(lease.epoch + 1) })).toBe(false);
      expect(await leases.forceRelease(`${shard}-none`, lease)).toBe(false);
      expect(await leases.read(shard)).toEqual(lease);
      expect(await leases.forceRelease(shard, lease)).toBe(true);
      expect(await leases.forceRelease(shard, lease)).toBe(false);
      expect(await leases.extend(lease, { leaseMs, nowMs: 1 })).toBeNull();
    });

    test(`one of ${racers} racers gets the lease, round after round, each time in a higher epoch`, async () => {
      let last = 0;
      for (let round = 0; round < 3; round++) {
        const answers = await Promise.all(
          Array.from({ length: racers }, (_, i) =>
            leases.acquire(shard, { owner: `${round}/${i}`, leaseMs, nowMs: round * leaseMs }),
          ),
        );
        const winners = answers.flatMap((answer) => (answer.kind === "acquired" ? [answer.lease] : []));
        expect(winners).toHaveLength(1);
        expect(winners[0]!.epoch).toBe(last + 1);
        for (const answer of answers) if (answer.kind === "held") expect(answer.by).toEqual(winners[0]);
        last = winners[0]!.epoch;
      }
    });

    test("a note is kept as it was given, beside the lease", async () => {
      expect(await leases.readNote(shard)).toBeNull();
      const lease = await take("a", 0);
      const note = {
        ranAt: "2026-01-01T00:00:00Z",
        rows: 12.5,
        nested: { list: [1, "two", null, true] },
        empty: "",
      };
      await leases.note(shard, { first: true });
      await leases.note(shard, note);
      expect(await leases.readNote(shard)).toEqual(note);
      expect(await leases.read(shard)).toEqual(lease);
    });
  });
}

/** What an alias may become, and who reads which side: COL-5. */
import * as fc from "fast-check";
import { decodeAlias, encodeAlias } from "../../../lib/core/format/alias-json.ts";
import {
  type Alias,
  type ChangedBy,
  changesKeptMax,
  newAlias,
  reasonCharsMax,
  type Side,
  sideOfKey,
  withBarrier,
  withOnly,
  withoutBarrier,
  withReadShare,
  withTarget,
  withWriting,
} from "../../../lib/core/model/alias.ts";

const id = "01JZZZZZZZZZZZZZZZZZZZZZZZ";
const by = (more: Partial<ChangedBy> = {}): ChangedBy => ({
  ...{ actor: "ada", reason: "a test", id, atMs: Date.UTC(2026, 10, 27) },
  ...more,
});
const side = (collection: string): Side => ({ collection, collectionId: id, embeddingVersion: "1" });
const one = newAlias("notes", id, side("notes_v1"), by());
const two = withTarget(one, side("notes_v2"), by());
const key = "notes/alias.json";

describe("shares of eventual reads", () => {
  const keys = Array.from({ length: 100_000 }, (_, n) => `user-${n}`);
  const shareOf = (readShare: number) =>
    keys.filter((routingKey) => sideOfKey({ name: "notes", readShare }, routingKey) === "target");

  test("over 100,000 keys each share is within one percent of what was asked for; 0 and 1,000 are exact", () => {
    for (const readShare of [50, 200, 500, 800])
      expect(Math.abs(shareOf(readShare).length / keys.length - readShare / 1_000)).toBeLessThan(0.01);
    expect(shareOf(0)).toEqual([]);
    expect(shareOf(1_000)).toEqual(keys);
  });

  test("a key that the target answers stays with it at every larger share, from 20 to 50 % and any other", () => {
    const before = new Set(shareOf(200));
    const after = new Set(shareOf(500));
    expect([...before].filter((routingKey) => !after.has(routingKey))).toEqual([]);
    void fc.assert(
      fc.property(fc.string(), fc.nat(1_000), fc.nat(1_000), (routingKey, a, b) => {
        const of = (readShare: number) => sideOfKey({ name: "notes", readShare }, routingKey);
        return of(Math.min(a, b)) === "source" || of(Math.max(a, b)) === "target";
      }),
    );
  });

  test("keys keep their places in every later version, and another alias shares them out otherwise", () => {
    const places = ["", "user-1", "user-2", "Ω"].map((routingKey) =>
      Array.from({ length: 1_001 }, (_, readShare) => readShare).findIndex(
        (readShare) => sideOfKey({ name: "notes", readShare }, routingKey) === "target",
      ),
    );
    expect(places).toEqual([267, 757, 830, 856]);
    const other = keys.filter(
      (routingKey) => sideOfKey({ name: "others", readShare: 500 }, routingKey) === "target",
    );
    const both = new Set(shareOf(500));
    expect(other.filter((routingKey) => both.has(routingKey)).length / keys.length).toBeCloseTo(0.25, 1);
  });
});

describe("changes", () => {
  test("each is the next revision, with who made it and why; the last ones are kept, and fit a sealed object", () => {
    let alias: Alias = two;
    const reason = "Ω".repeat(reasonCharsMax);
    for (let n = 0; n < 100; n++) alias = withReadShare(alias, n, by({ reason, actor: "Ω".repeat(100) }));
    expect(alias).toMatchObject({ revision: 102, readShare: 99, writing: "source" });
    expect(alias.changes).toHaveLength(changesKeptMax);
    expect(alias.changes[0]).toMatchObject({ revision: 102, reason, what: "reads: 9.9 % by the target" });
    const bytes = encodeAlias(alias);
    expect(bytes.length).toBeLessThan(64 * 1024);
    expect(decodeAlias(bytes, key, "notes")).toEqual(alias);
  });

  test.each<[string, () => unknown, RegExp]>([
    ["a second target", () => withTarget(two, side("notes_v3"), by()), /has a target already, notes_v2/],
    ["a share without a target", () => withReadShare(one, 5, by()), /has no target/],
    ["a share above the whole", () => withReadShare(two, 1_001, by()), /0 to 1000 thousandths, got 1001/],
    ["a share that is no whole number", () => withReadShare(two, 0.5, by()), /got 0.5/],
    ["writes to no side", () => withWriting(one, "target", by()), /has no target/],
    ["giving up the side that is written to", () => withOnly(two, "target", by()), /writes to its source/],
    [
      "giving up a side that is read",
      () => withOnly(withReadShare(two, 1, by()), "source", by()),
      /its target answers 0.1 %/,
    ],
    [
      "a barrier beside a barrier",
      () => withBarrier(withBarrier(two, "target", 0, by()), "target", 0, by()),
      /is being moved, until 1970/,
    ],
    ["no reason", () => withReadShare(two, 1, by({ reason: "" })), /reason: must be 1 to 200/],
    ["an actor with a line's end", () => withReadShare(two, 1, by({ actor: "a\nb" })), /actor: must be/],
    [
      "a migration's lower revision",
      () =>
        withReadShare(withReadShare(two, 1, by({ migrationRevision: 7 })), 2, by({ migrationRevision: 6 })),
      /revision 6 of its migration has been overtaken by 7/,
    ],
  ])("%s is refused", (_what, change, message) => {
    expect(change).toThrow(message);
  });

  test("what a migration's revision was is kept by changes of people", () => {
    const moved = withReadShare(two, 1, by({ migrationRevision: 7 }));
    expect(withReadShare(moved, 2, by()).migrationRevision).toBe(7);
  });

  test("a barrier is lifted, or ends with the move; what is left of two sides is the source", () => {
    const barred = withBarrier(two, "target", Date.UTC(2026, 10, 27, 1), by());
    expect(barred.barrier).toEqual({ to: "target", deadline: "2026-11-27T01:00:00.000Z" });
    expect(withoutBarrier(barred, by())).toMatchObject({ barrier: null, writing: "source" });
    const moved = withReadShare(withWriting(barred, "target", by()), 1_000, by());
    expect(moved).toMatchObject({ barrier: null, writing: "target" });
    expect(withOnly(moved, "target", by())).toMatchObject({
      ...{ source: side("notes_v2"), target: null, writing: "source", readShare: 0 },
    });
  });
});

test("a stored alias that cannot be one is corrupt, field by field; of another name as well", () => {
  const bad: Partial<Record<keyof Alias, unknown>> = {
    ...{ name: "A", id: "x", revision: 0, source: null, target: 5, writing: "both", readShare: -1 },
    ...{ barrier: {}, migrationRevision: -1, changes: [null] },
  };
  for (const [field, value] of Object.entries(bad)) {
    const bytes = encodeAlias({ ...two, [field]: value } as Alias);
    expect(() => decodeAlias(bytes, key, "notes")).toThrow(`${key} is corrupt: ${field} `);
  }
  for (const field of ["writing", "readShare"] as const) {
    const value = field === "writing" ? "target" : 1;
    expect(() => decodeAlias(encodeAlias({ ...one, [field]: value } as Alias), key, "notes")).toThrow(field);
  }
  expect(() => decodeAlias(encodeAlias(two), key, "others")).toThrow("it is of the alias notes");
});

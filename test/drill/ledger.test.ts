/** The drill's model must itself be able to find a wrong answer: each kind of one is put before it. */
import { Ledger } from "../../scripts/drill/ledger.ts";
import { distanceBetween, nearestDistances, recallOf } from "../../scripts/drill/neighbours.ts";
import { Random } from "../../scripts/drill/random.ts";

const nothing = new Map<string, number>();
const asRead = (ledger: Ledger, write: ReturnType<Ledger["issue"]>) => {
  const { id, document, metadata, version = 17, vector } = ledger.record(write);
  return {
    id,
    version,
    document: document ?? null,
    metadata: metadata ?? null,
    vector: Array.from(vector as number[]),
  };
};

describe.each(["source", "arrival"] as const)("ordered by %s", (ordering) => {
  const scene = () => {
    const ledger = new Ledger({ collection: "c", ordering, dims: 4 });
    const first = ledger.issue("a", "upsert");
    ledger.acknowledge([first]);
    return { ledger, first };
  };

  test("an acknowledged write must be there, with what was written", () => {
    const { ledger, first } = scene();
    const seen = asRead(ledger, first);
    expect(ledger.faultOfGet("a", seen, ledger.promised())).toBeNull();
    expect(ledger.faultOfGet("a", null, ledger.promised())).toContain("is missing");
    expect(ledger.faultOfGet("a", { ...seen, document: "b@1" }, ledger.promised())).toContain("document");
    const [x, ...rest] = seen.vector;
    expect(ledger.faultOfGet("a", { ...seen, vector: [x! + 1, ...rest] }, ledger.promised())).toContain(
      "vector",
    );
  });

  test("a later write that was acknowledged hides the earlier one from a read that promises it", () => {
    const { ledger, first } = scene();
    const second = ledger.issue("a", "upsert");
    expect(ledger.faultOfGet("a", asRead(ledger, first), ledger.promised())).toBeNull();
    expect(ledger.faultOfGet("a", asRead(ledger, second), ledger.promised())).toBeNull();
    ledger.acknowledge([second]);
    expect(ledger.faultOfGet("a", asRead(ledger, first), ledger.promised())).toContain("holds write 1");
    expect(ledger.faultOfGet("a", asRead(ledger, first), nothing)).toBeNull();
  });

  test("a write that was never issued is wrong for every read", () => {
    const { ledger, first } = scene();
    const invented = { ...first, number: 9 };
    expect(ledger.faultOfGet("a", asRead(ledger, invented), nothing)).toContain("holds write 9");
  });

  test("an acknowledged delete must not come back", () => {
    const { ledger, first } = scene();
    const deletion = ledger.issue("a", "delete");
    expect(ledger.faultOfGet("a", null, ledger.promised())).toBeNull();
    expect(ledger.countRange(ledger.promised())).toEqual({ least: 0, most: 1 });
    ledger.acknowledge([deletion]);
    expect(ledger.faultOfGet("a", asRead(ledger, first), ledger.promised())).toContain(
      "possible are delete 2",
    );
    expect(ledger.countRange(ledger.promised())).toEqual({ least: 0, most: 0 });
    expect(ledger.final().size).toBe(0);
  });

  test("a call in doubt widens the count, and must be settled before the end", () => {
    const { ledger } = scene();
    const doubtful = ledger.issue("b", "upsert");
    expect(ledger.countRange(ledger.promised())).toEqual({ least: 1, most: 2 });
    expect(() => ledger.final()).toThrow("is not settled");
    ledger.acknowledge([doubtful]);
    expect(ledger.countRange(ledger.promised())).toEqual({ least: 2, most: 2 });
    expect([...ledger.final().keys()]).toEqual(["a", "b"]);
  });
});

test("a record of a collection ordered by source has the version of its write", () => {
  const ledger = new Ledger({ collection: "c", ordering: "source", dims: 4 });
  const write = ledger.issue("a", "upsert");
  const record = { ...asRead(ledger, write), version: 2 };
  expect(ledger.faultOfGet("a", record, nothing)).toContain("version 2");
});

test("recall counts by distance, so that ties do not matter", () => {
  const base = [[0], [1], [1], [3]];
  const truth = nearestDistances("l2", [0], base, 2);
  expect(truth).toEqual([0, 1]);
  expect(recallOf(truth, [0, 1])).toBe(1);
  expect(recallOf(truth, [0, 9])).toBe(0.5);
  expect(recallOf([], [])).toBe(1);
  expect(distanceBetween("cosine", [1, 0], [0, 2])).toBe(1);
});

test("the same seed makes the same choices", () => {
  const draw = (seed: number) => {
    const random = new Random(seed);
    return Array.from({ length: 20 }, () => random.between(0, 1_000));
  };
  expect(draw(5)).toEqual(draw(5));
  expect(draw(5)).not.toEqual(draw(6));
});

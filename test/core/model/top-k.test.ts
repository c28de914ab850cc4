import fc from "fast-check";
import { mergeTopK } from "../../../lib/core/model/top-k.ts";

test("nearest first, ties by id, each id once at its nearest", () => {
  const lists = [
    [
      { id: "c", distance: 0.5, from: 1 },
      { id: "a", distance: 0.5, from: 1 },
      { id: "z", distance: 2, from: 1 },
    ],
    [],
    [
      { id: "z", distance: 0.1, from: 3 },
      { id: "b", distance: 0.5, from: 3 },
    ],
  ];
  const merged = mergeTopK(lists, 3);
  expect(merged.map(({ id, from }) => [id, from])).toEqual([
    ["z", 3],
    ["a", 1],
    ["b", 3],
  ]);
  expect(mergeTopK(lists, 10)).toHaveLength(4);
  expect(mergeTopK(lists, 0)).toEqual([]);
  expect(mergeTopK([], 5)).toEqual([]);
});

test("the order of lists and of hits in them changes nothing, and the best k are found", () => {
  const hit = fc.record({ id: fc.constantFrom(..."abcdefgh"), distance: fc.constantFrom(-1, 0, 0.25, 1) });
  fc.assert(
    fc.property(fc.array(fc.array(hit)), fc.nat(10), (lists, k) => {
      const merged = mergeTopK(lists, k);
      const reversed = mergeTopK(
        [...lists].reverse().map((list) => [...list].reverse()),
        k,
      );
      expect(reversed).toEqual(merged);
      const nearest = new Map<string, number>();
      for (const { id, distance } of lists.flat())
        nearest.set(id, Math.min(distance, nearest.get(id) ?? distance));
      expect(merged).toHaveLength(Math.min(k, nearest.size));
      for (const { id, distance } of merged) expect(distance).toBe(nearest.get(id));
      const left = [...nearest].filter(([id]) => !merged.some((one) => one.id === id));
      const worst = merged.at(-1)?.distance;
      if (worst !== undefined)
        for (const [, distance] of left) expect(distance).toBeGreaterThanOrEqual(worst);
    }),
  );
});

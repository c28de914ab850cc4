/** Peers are compared at a recall between their settings. */
import { atRecall, settingsAround } from "../../scripts/bench/peers/equal-recall.ts";

const points = [
  { effort: 10, recall: 0.9, ms: 1 },
  { effort: 20, recall: 0.96, ms: 2 },
  { effort: 40, recall: 0.98, ms: 4 },
];

test("between the setting that has less and the one that has more", () => {
  const half = { kind: "between", ms: expect.closeTo(Math.SQRT2), effort: expect.closeTo(10 * Math.SQRT2) };
  expect(atRecall(points, 0.93)).toEqual(half);
  expect(atRecall(points, 0.96)).toMatchObject({ kind: "between", ms: expect.closeTo(2) });
  expect(atRecall(points, 0.9)).toMatchObject({ kind: "between", ms: 1 });
});

test("what finds more, or less, with every setting is not made equal", () => {
  expect(atRecall(points, 0.8)).toEqual({ kind: "above", effort: 10, recall: 0.9, ms: 1 });
  expect(atRecall(points, 0.99)).toEqual({ kind: "below" });
});

test("the settings around a recall, one more to each side", () => {
  const many = [...points, { effort: 80, recall: 0.99 }, { effort: 160, recall: 1 }];
  expect(settingsAround(many, 0.97)).toEqual([10, 20, 40, 80]);
  expect(settingsAround(many, 0.5)).toEqual([10, 20]);
  expect(settingsAround(points, 0.999)).toEqual([10, 20, 40]);
});

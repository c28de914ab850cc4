import fc from "fast-check";
import { featureHash, lexicalDims, lexicalVector } from "../../lib/embedding/lexical-embedder.ts";

const cosine = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const similarity = (a: string, b: string) => cosine(lexicalVector(a), lexicalVector(b));

test("hashes and vectors are the same for ever", () => {
  expect(["", "=stone", "<st", "=石"].map(featureHash)).toEqual([
    2872998923, 2621766224, 3591011175, 4023376465,
  ]);
  expect(Array.from(lexicalVector("Deltas settle into segments.", 8), (value) => value.toFixed(6))).toEqual([
    "-0.346440",
    "0.419299",
    "0.292796",
    "0.173220",
    "0.246419",
    "0.719023",
    "-0.073199",
    "-0.073199",
  ]);
  expect(Array.from(lexicalVector("砂岩は石です", 8), (value) => value.toFixed(6))).toEqual([
    "0.897574",
    "0.000000",
    "0.173486",
    "0.013226",
    "0.173486",
    "0.000000",
    "-0.039679",
    "0.363890",
  ]);
});

test("every text with a letter or digit has a finite vector of length 1; others are invalid", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 1, max: 64 }), (text, dims) => {
      if (!/[\p{L}\p{N}]/u.test(text.normalize("NFKD"))) return;
      const vector = lexicalVector(text, dims);
      expect(vector).toHaveLength(dims);
      expect(cosine(vector, vector)).toBeCloseTo(1, 5);
    }),
    { numRuns: 300 },
  );
  expect(lexicalVector("a")).toHaveLength(lexicalDims);
  for (const text of ["", " \n", "?! —", "🪨"])
    expect(() => lexicalVector(text)).toThrow("it has no letter or digit");
});

test("case, accents, compatibility forms and punctuation do not matter", () => {
  for (const [a, b] of [
    ["Café CRÈME", "cafe creme"],
    ["ﬁle １２", "file 12"],
    ["segments, (segments)!", "Segments segments"],
  ]) {
    expect(similarity(a!, b!)).toBeCloseTo(1, 5);
  }
});

test("word forms and misspellings are near, other words are not", () => {
  expect(similarity("compaction", "compactions")).toBeGreaterThan(0.25);
  expect(similarity("quarantine", "quarantined deltas")).toBeGreaterThan(0.2);
  expect(Math.abs(similarity("compaction", "umbrella"))).toBeLessThan(0.2);
});

test("function words count only where there is nothing else", () => {
  expect(similarity("what is the pointer", "pointer")).toBeCloseTo(1, 5);
  expect(similarity("to be or not to be", "to be or not")).toBeGreaterThan(0.7);
});

test("scripts without spaces match by characters and pairs", () => {
  expect(similarity("砂岩は堆積岩の一種です", "堆積岩")).toBeGreaterThan(0.4);
  expect(Math.abs(similarity("砂岩は堆積岩の一種です", "図書館"))).toBeLessThan(0.2);
  expect(similarity("หินทรายเป็นหินตะกอน", "หินตะกอน")).toBeGreaterThan(0.4);
  expect(similarity("사암은 퇴적암이다", "퇴적암")).toBeGreaterThan(0.2);
  expect(similarity("الحجر الرملي صخر رسوبي", "صخر رسوبي")).toBeGreaterThan(0.4);
});

test("a question finds its passage", () => {
  const passages = [
    "A tombstone is dropped by a merge only when it is past the horizon and every segment that could hold an older row is among the inputs.",
    "The collector keeps the last versions, everything younger than a minimum age, and every pin.",
    "Filters become SQL over declared, indexed columns, and give a set of labels per segment.",
    "The lease is leased in DynamoDB; its fencing epoch comes from an atomic counter.",
    "A corrupt or missing file falls back to the previous view, with a metric.",
  ];
  const vectors = passages.map((passage) => lexicalVector(passage));
  const best = (question: string) => {
    const scores = vectors.map((vector) => cosine(vector, lexicalVector(question)));
    return scores.indexOf(Math.max(...scores));
  };
  expect(best("When are tombstones dropped?")).toBe(0);
  expect(best("Which versions does the collector keep?")).toBe(1);
  expect(best("How is a filter answered with SQL?")).toBe(2);
  expect(best("Where does the fencing epoch of a lease come from?")).toBe(3);
  expect(best("What happens when a file is corrupt?")).toBe(4);
});

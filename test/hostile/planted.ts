/**
 * Ids, metadata, texts and vectors that no log may show, and calls that carry them: some are answered, most are refused,
 * and each kind of value stands where a refusal names it.
 */
/** Of letters, as a name of a field may be. */
const mark = "garnetkeeper";
const number = 47_114_711.25;
const component = 0.618_033_99;

/** As they would be found in a log. */
export const planted: readonly string[] = [mark, "4711471125", "47114711.25", "0.6180339"];

type Call = readonly [functionName: "producer" | "query", event: object];

/** For a collection of `dims` components with the fields {kind: string, year: number}. */
export function plantedCalls(collection: string, dims: number): Call[] {
  const vector = [component, ...Array<number>(dims - 1).fill(0.25)];
  const record = {
    id: `${mark}-good`,
    vector,
    document: `text ${mark}`,
    metadata: { kind: mark, year: number },
  };
  const write = (one: object): Call => ["producer", { collection, records: [{ ...record, ...one }] }];
  const query = (more: object): Call => ["query", { collection, vector, ...more }];
  return [
    write({}),
    write({ id: `${mark}\u0007` }),
    write({ id: "" }),
    write({ id: { [mark]: number } }),
    write({ vector: [component, mark] }),
    write({ vector: vector.map(() => 1e38 * component) }),
    write({ vector: mark.repeat(4) }),
    write({ document: number }),
    write({ metadata: { kind: number } }),
    write({ metadata: { year: mark } }),
    write({ metadata: { [mark]: { nested: mark } } }),
    write({ metadata: mark }),
    write({ [mark]: mark }),
    write({ version: number }),
    ["producer", { collection, records: mark }],
    ["producer", { collection, deletes: [{ id: mark, [mark]: number }, number] }],
    ["producer", { collection, records: [record], onInvalid: mark }],
    ["producer", { collection, records: [record], embeddingVersion: mark }],
    ["producer", { collection: `No ${mark}`, records: [record] }],
    ["producer", { collection, [mark]: [record] }],
    query({ topK: 3, consistency: "strong" }),
    query({ id: mark }),
    query({ vector: undefined, id: `${mark}-absent` }),
    query({ vector: undefined, text: `text ${mark}` }),
    query({ vector: vector.slice(1) }),
    query({ filter: { kind: mark, year: { $gte: number } } }),
    query({ filter: { kind: number } }),
    query({ filter: { [mark]: number } }),
    query({ filter: { year: { [`$${mark}`]: number } } }),
    query({ filter: { $or: [{ year: mark }] } }),
    query({ topK: number }),
    query({ minScore: mark }),
    query({ excludeIds: [mark, number] }),
    query({ include: [mark] }),
    query({ consistency: mark }),
    query({ consistency: "bounded", maxAgeSeconds: number }),
    query({ atLeast: `w1.${mark}` }),
    query({ atLeast: `w1.${Buffer.from(JSON.stringify([mark, [number, mark]])).toString("base64url")}` }),
    query({ embeddingVersion: mark }),
    query({ [mark]: mark }),
    ["query", { op: mark, [mark]: number }],
    ["query", { op: "get", collection, ids: [`${mark}-good`, `${mark}-absent`], consistency: "strong" }],
    ["query", { op: "get", collection, ids: [number] }],
    ["query", { op: "count", collection, filter: { kind: { $in: [mark, number] } } }],
  ];
}

/** Bodies that are no JSON at all. */
export const plantedBodies: readonly string[] = [
  `{"collection":"docs","records":[{"id":"${mark}","vector":[${component},${mark}]}]}`,
  `${mark} ${number}`,
  `{"document":"${mark}`,
];

/** Rows of deltas from other hands, each of which breaks a rule of its collection. */
export function plantedRows(dims: number) {
  const row = {
    id: mark,
    version: 1,
    vector: new Float32Array(dims).fill(component),
    document: mark,
    metadata: null,
  };
  return [
    { ...row, metadata: `{"kind":${number}}` },
    { ...row, metadata: `{"year":"${mark}"}` },
    { ...row, metadata: `{"${mark}":{"a":1}}` },
    { ...row, metadata: `{"kind":"${mark}` },
    { ...row, id: `${mark}\u0007` },
    { ...row, vector: new Float32Array(dims).fill(1e38 * component) },
  ];
}

import { parseEnvironment } from "../../lib/aws/environment.ts";
import { env } from "../../lib/contract/names.ts";
import { cacheBytes, settings } from "../../lib/contract/settings.ts";

const complete = {
  [env.stage]: "dev",
  [env.store]: "Siltstone-dev/VectorStore",
  [env.bucket]: "siltstone-dev",
  [env.table]: "Siltstone-dev-Table",
  [env.queueUrl]: "http://127.0.0.1:9324/000000000000/deltas",
  [env.deadLetterQueueUrl]: "https://sqs.eu-central-1.amazonaws.com/123456789012/dead",
};

test("a complete environment is parsed, with defaults for the two tunables", () => {
  expect(parseEnvironment({ ...complete, PATH: "/bin" })).toEqual({
    stage: "dev",
    store: "Siltstone-dev/VectorStore",
    bucket: "siltstone-dev",
    table: "Siltstone-dev-Table",
    queueUrl: "http://127.0.0.1:9324/000000000000/deltas",
    deadLetterQueueUrl: "https://sqs.eu-central-1.amazonaws.com/123456789012/dead",
    refreshSeconds: 5,
    cacheBytesMax: 268_435_456,
    groupFunctions: [],
    jobQueueUrls: [],
    embedderFunction: "",
    jobDeadLetterQueueUrl: "",
  });
  const tuned = parseEnvironment({
    ...complete,
    [settings["query.refreshSeconds"].variable]: "0",
    [cacheBytes.variable]: "10737418240",
  });
  expect(tuned).toMatchObject({ refreshSeconds: 0, cacheBytesMax: 10 * 2 ** 30 });
});

test("every missing or wrong variable is named with its range and its value, all at once", () => {
  const wrong = {
    ...complete,
    [env.stage]: "Production",
    [env.bucket]: undefined,
    [settings["query.refreshSeconds"].variable]: "301",
  };
  expect(() => parseEnvironment(wrong)).toThrow(
    'environment: SILTSTONE_STAGE must be 1 to 32 of a-z 0-9 -, beginning with a letter, ending with a letter or digit, and not local, got "Production"; ' +
      "SILTSTONE_BUCKET must be a bucket name (3 to 63 of a-z 0-9 . -), but is not set; " +
      'SILTSTONE_REFRESH_SECONDS must be an integer from 0 to 300, got "301"',
  );
});

test("query groups are function names, at most 48", () => {
  const names = Array.from({ length: 49 }, (_, n) => `Group${n}`);
  const parsed = (list: readonly string[]) =>
    parseEnvironment({ ...complete, [env.groupFunctions]: list.join() }).groupFunctions;
  expect(parsed(names.slice(1))).toEqual(names.slice(1));
  // As lib/constructs/query.ts names the groups of a store that keeps processes started.
  expect(parsed(["Group0:live", "Group1:live"])).toEqual(["Group0:live", "Group1:live"]);
  expect(() => parsed(names)).toThrow(/QUERY_GROUP_FUNCTIONS must be at most 48 names/);
});

test.each(["-1", "1.5", "ten", "1e2", " 5", "0x10", "NaN", "9".repeat(400)])(
  "refreshSeconds %j is refused",
  (value) => {
    expect(() =>
      parseEnvironment({ ...complete, [settings["query.refreshSeconds"].variable]: value }),
    ).toThrow(/REFRESH_SECONDS must be an integer/);
  },
);

const stranger = [
  ["stage", ["dev\n", "\uff44\uff45\uff56", "x".repeat(100_000), "__proto__", "-"]],
  ["store", ["a\nb", " a", "a\n", "é", "x".repeat(256), "\u001b[2J"]],
  ["bucket", ["a..b", "192.168.0.1", "a.b\n", "../x", "arn:aws:s3:::x", "A-b"]],
  ["table", ["arn:aws:dynamodb:x", "..", "abc\n", "a/b"]],
  [
    "queueUrl",
    [
      ...["http://a:b@evil/x", "https://\\evil/x", "http://x/\u0007", "https://[/x", "https://host:99999/q"],
      ...["javascript://x/y", `http://h/${"x".repeat(1_000_000)}`, "http://h/q?x=1", "http://h/q\n"],
    ],
  ],
  [
    "groupFunctions",
    [
      "a b",
      "A:",
      ":a",
      "A:b:c",
      ",,,",
      "A,A",
      "A,,B",
      "../x",
      "A,B\n",
      "x".repeat(65),
      "__proto__,__proto__",
    ],
  ],
] as const satisfies [keyof typeof env, string[]][];
test.each(
  stranger.flatMap(([name, values]) => values.map((value): [keyof typeof env, string] => [name, value])),
)("%s of another kind is refused by its name, with what it may be: %j", (name, value) => {
  let message = "it was taken";
  try {
    parseEnvironment({ ...complete, [env[name]]: value });
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message.slice(0, 300)).toMatch(new RegExp(`^environment: ${env[name]} must be .+, got "`));
  expect(message.length).toBeLessThan(2_000);
});

test.each(["", "queue", "ftp://host/queue", "http://host"])("queue URL %j is refused", (value) => {
  expect(() => parseEnvironment({ ...complete, [env.queueUrl]: value })).toThrow(
    /QUEUE_URL must be a queue URL/,
  );
});

/** Messages that wait for a person, whatever others have put into the queues: they are listed, shown and sent again, or said to be none. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalFunctionLogs } from "../../scripts/cli/local-logs.ts";
import { MemoryCli } from "../cli/memory-deployment.ts";
import { memoryWorld } from "../support/memory/world.ts";

const deep = "[".repeat(100_000) + "]".repeat(100_000);
const orders = "\u001b]0;owned\u0007\u009b2J\u202e";
const bodies: [what: string, body: string][] = [
  ["brackets as deep as it is long", deep],
  ["an event nested as deep as it is long", `{"requestPayload":${deep}}`],
  ["an error nested as deep as it is long", `{"responsePayload":{"errorMessage":${deep}}}`],
  ["an error that will not be text", '{"responsePayload":{"errorMessage":{"toString":1,"valueOf":2}}}'],
  ["a condition that is a list", '{"requestContext":{"condition":[{"toString":1}]}}'],
  ["a prototype", '{"__proto__":{"requestPayload":1},"constructor":{"prototype":{}}}'],
  ["commands of a terminal", `{"requestPayload":{"source":"${orders}"}}`],
  ["commands of a terminal, as text", orders],
  ["nothing", ""],
  ["null", "null"],
  ["a megabyte", "x".repeat(1024 * 1024)],
  [
    "an event of EventBridge",
    '{"version":"0","detail-type":"Scheduled Event","source":"aws.events","detail":{}}',
  ],
];

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const commands = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e]/;

test.each(["dlq", "events"])(
  "silt %s: no message stops the others, or commands the terminal",
  async (command) => {
    const world = memoryWorld();
    const cli = new MemoryCli(world);
    const held = command === "dlq" ? cli.deadLetters : cli.failedEvents;
    for (const [, body] of bodies) held.hold({ body, reason: `because ${orders}` });
    for (const [, body] of bodies) held.hold({ body, reason: null });
    const list = await cli.run([command, "list"]);
    expect(list.code).toBe(0);
    expect(list.out).not.toMatch(commands);
    expect(list.out.length).toBeLessThan(10_000);
    for (let i = 0; i < 2 * bodies.length; i++) {
      const shown = await cli.run([command, "show", `message-${i}`]);
      expect([bodies[i % bodies.length]![0], shown.code, shown.err]).toEqual([
        bodies[i % bodies.length]![0],
        0,
        "",
      ]);
      expect(shown.out).not.toMatch(commands);
      const exact = (await cli.run([command, "show", `message-${i}`, "--json"])).json<{ body: string }>();
      expect(exact.body).toBe(bodies[i % bodies.length]![1]);
    }
    const dry = await cli.run([command, "redrive", "--all", "--dry-run"]);
    expect(dry.code).toBe(0);
    expect(dry.out).not.toMatch(commands);
  },
);

test("silt logs: a line whose time is none has that of the line before", async () => {
  const folder = mkdtempSync(join(tmpdir(), "siltstone-logs-"));
  mkdirSync(join(folder, "logs"));
  const lines = [
    '{"timestamp":"2026-11-01T00:00:00.000Z"}',
    '{"_aws":{"Timestamp":1e300}}',
    '{"_aws":{"Timestamp":"soon"}}',
    '{"timestamp":{"toString":1}}',
    '{"_aws":null}',
    `{"a":${deep}}`,
    orders,
  ];
  writeFileSync(join(folder, "logs", "query.log"), `${lines.join("\n")}\n`);
  try {
    const found = await new LocalFunctionLogs(folder).tail("query", 0).next();
    expect(found.map(({ text }) => text)).toEqual(lines);
    expect(new Set(found.map(({ atMs }) => atMs))).toEqual(new Set([Date.parse("2026-11-01T00:00:00.000Z")]));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

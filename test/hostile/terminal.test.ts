/** A terminal that looks at what others wrote: nothing that is printed can command it, and --json loses nothing. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deltaKey, quarantinedDeltaKey, quarantineReasonKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { printable } from "../../scripts/cli/printable.ts";
import { type ErrorStream, startProgress } from "../../scripts/cli/progress.ts";
import { MemoryCli, type Said } from "../cli/memory-deployment.ts";

const title = "\u001b]0;owned\u0007";
const clipboard = "\u001b]52;c;ZXZpbA==\u001b\\";
const c1 = "\u009b31m\u009d0;owned\u009c";
const bidi = "\u202eevil\u202c\u2066\u2069\u200f\u061c";
const invisible = "\u200b\u2060\ufeff\u{e0041}";
const evil = `${title}${clipboard}${c1}${bidi}${invisible}\r\b\u007f`;
const commands =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/;

const home = process.cwd();
let folder: string;
let cli: MemoryCli;
let said: Said[];
const run = async (...args: string[]): Promise<Said> => {
  const one = await cli.run(args);
  said.push(one);
  return one;
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "siltstone-terminal-"));
  process.chdir(folder);
  cli = new MemoryCli();
  said = [];
  await run("collection", "create", "docs", "--dims", "4", "--field", "kind:string");
});
afterEach(async () => {
  process.chdir(home);
  await cli.close();
  rmSync(folder, { recursive: true, force: true });
  for (const { out, err } of said) {
    expect(out).not.toMatch(commands);
    expect(err).not.toMatch(commands);
  }
});

test("documents and metadata of records, printed by get and query; --json has them exactly", async () => {
  const record = { id: "a", vector: [1, 0, 0, 0], document: evil, metadata: { kind: evil } };
  await cli.run(["put", "docs"], { stdin: JSON.stringify(record) });
  await run("compact", "docs");
  expect((await run("get", "docs", "a")).out).toContain("\\u001b]0;owned\\u0007");
  await run("query", "docs", "--vector", "[1,0,0,0]");
  const { records } = (await run("get", "docs", "a", "--json")).json<{ records: unknown[] }>();
  expect(records).toMatchObject([{ document: evil, metadata: { kind: evil } }]);
});

test("reasons that were written into quarantine by hand", async () => {
  const [shard, delta] = [{ collection: "docs", shard: 0 }, cli.world.clock.ulid()];
  await cli.world.store.put(quarantinedDeltaKey(shard, deltaId(delta)), Buffer.from("x"));
  const reason = { format: 1, delta, reason: evil, bytes: 1, at: evil };
  await cli.world.store.put(quarantineReasonKey(shard, deltaId(delta)), Buffer.from(JSON.stringify(reason)));
  for (const args of [
    ["list", "docs"],
    ["show", "docs", delta],
  ])
    await run("quarantine", ...args);
  const json = (await run("quarantine", "list", "docs", "--json")).json<{ deltas: unknown[] }>();
  expect(json.deltas).toMatchObject([{ reason: evil }]);
});

test("bad lines of an import, with ids, values and field names from the file", async () => {
  const lines = [
    `{"id":"a","${"\\u001b"}]0;x":1`,
    `${evil}`,
    JSON.stringify({ id: evil, [evil]: evil, vector: [1] }),
  ];
  writeFileSync("in.jsonl", `${lines.join("\n")}\n`);
  expect((await run("import", "docs", "--records", "in.jsonl")).code).toBe(1);
  const refused = await cli.run(["put", "docs"], {
    stdin: JSON.stringify({ id: evil, vector: [evil], [evil]: 1 }),
  });
  said.push(refused);
  expect(refused.code).toBe(2);
});

test("arguments, object keys and errors", async () => {
  await cli.world.store.put(`docs/0/deltas/${evil}`, Buffer.from("x"));
  await cli.world.store.put(
    deltaKey({ collection: "docs", shard: 0 }, deltaId(cli.world.clock.ulid())),
    Buffer.from(evil),
  );
  await run(evil);
  await run("get", evil, evil);
  await run("query", "docs", "--filter", JSON.stringify({ [evil]: evil }));
  await run("compact", "docs");
  await run("status", "docs");
  await run("verify", "docs");
  await run("snapshot", "pin", "docs", "--version", "1", "--name", evil);
});

test("progress on a terminal", () => {
  const written: string[] = [];
  const stream = {
    isTTY: true,
    write: (text: string) => written.push(text),
    cursorTo: () => true,
    clearLine: () => true,
    moveCursor: () => true,
    on: () => stream,
    removeListener: () => stream,
    columns: 200,
  };
  const progress = startProgress(stream as unknown as ErrorStream, "import", () => 0);
  progress.update(1, 2, evil);
  progress.stop();
  expect(written.join("")).not.toContain(title);
  expect(written.join("")).not.toMatch(/\u009b|\u202e/);
});

test("text that people write stays as it is", () => {
  const text = "Grüße 石 👩‍👩‍👧 می‌خواهم עברית\tcolumn\n";
  expect(printable(text)).toBe(text);
});

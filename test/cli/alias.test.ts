/** silt alias, and what else of the command line takes an alias. */
import { MemoryCli } from "./memory-deployment.ts";

let cli: MemoryCli;
beforeEach(async () => {
  cli = new MemoryCli();
  for (const name of ["notes_v1", "notes_v2"]) await cli.run(["collection", "create", name, "--dims", "2"]);
});
afterEach(() => cli.close());

const reason = ["--reason", "a test", "--actor", "ada"];
const alias = (...words: string[]) => cli.run(["alias", ...words]);
const set = (...words: string[]) => alias("set", "notes", ...words, ...reason);
const json = async (...words: string[]) => (await alias(...words, "--json")).json<Record<string, unknown>>();

test("created, changed, shown, listed and deleted; what would be is said, and not done", async () => {
  expect(await alias("list")).toMatchObject({
    code: 0,
    out: expect.stringContaining("there are no aliases"),
  });
  const dry = await alias("create", "notes", "notes_v1", ...reason, "--dry-run");
  expect(dry).toMatchObject({ code: 0, out: expect.stringContaining("would make the alias notes") });
  expect(await alias("show", "notes")).toMatchObject({ code: 3 });
  expect(await alias("create", "notes", "absent", ...reason)).toMatchObject({ code: 3 });
  expect(await alias("create", "notes", "notes_v1", ...reason)).toMatchObject({ code: 0 });
  expect(await cli.run(["collection", "create", "notes", "--dims", "2"])).toMatchObject({ code: 4 });
  expect(await cli.run(["collection", "delete", "notes_v1", "--confirm", "notes_v1"])).toMatchObject({
    code: 4,
    err: expect.stringContaining("the alias notes leads to it"),
  });
  expect(await set("--target", "notes_v2")).toMatchObject({ code: 0 });
  expect((await set("--reads", "12.5", "--dry-run")).out).toContain("12.5 % of eventual reads");
  expect(await json("show", "notes")).toMatchObject({ alias: { revision: 2, readShare: 0 } });
  expect(await set("--reads", "100")).toMatchObject({ code: 0 });
  expect(await set("--reads", "0", "--revision", "2")).toMatchObject({
    code: 4,
    err: expect.stringContaining("revision 3, not 2"),
  });
  expect(await set("--writes", "notes_v2")).toMatchObject({
    code: 2,
    err: expect.stringContaining("--at-once"),
  });
  const moved = await set("--writes", "notes_v2", "--at-once");
  expect(moved).toMatchObject({
    code: 0,
    out: expect.stringContaining("skipped: what notes_v1 has acknowledged and notes_v2 does not hold"),
  });
  expect((await set("--writes", "notes_v2", "--at-once")).out).toContain("is so already");
  expect(await set("--only", "notes_v2")).toMatchObject({
    code: 2,
    err: expect.stringContaining("--confirm notes"),
  });
  expect(await set("--only", "notes_v2", "--confirm", "notes")).toMatchObject({ code: 0 });
  const { changes } = (await json("history", "notes")) as { changes: object[] };
  expect(changes).toMatchObject([
    { revision: 5, actor: "ada", reason: "a test", what: "only notes_v2" },
    { what: "writes: notes_v2" },
    { what: "reads: 100 % by the target" },
    { what: "target notes_v2" },
    { revision: 1, what: "made; leads to notes_v1" },
  ]);
  expect(await json("list")).toMatchObject({
    aliases: [{ name: "notes", source: { collection: "notes_v2" } }],
  });
  expect(await alias("delete", "notes")).toMatchObject({ code: 2 });
  expect((await alias("delete", "notes", "--dry-run")).out).toContain("would delete the alias notes");
  expect(await alias("delete", "notes", "--confirm", "notes")).toMatchObject({ code: 0 });
  expect(await alias("delete", "notes", "--confirm", "notes")).toMatchObject({ code: 3 });
});

test("set takes one change, with its reason and a share that there is", async () => {
  await alias("create", "notes", "notes_v1", ...reason);
  expect(await set()).toMatchObject({ code: 2, err: expect.stringContaining("exactly one of") });
  expect(await set("--target", "notes_v2", "--reads", "5")).toMatchObject({ code: 2 });
  expect(await set("--reads", "5", "--at-once")).toMatchObject({ code: 2 });
  expect(await alias("set", "notes", "--reads", "5")).toMatchObject({
    code: 2,
    err: expect.stringContaining("--reason"),
  });
  for (const share of ["101", "-1", "5.25", "x"])
    expect(await set("--reads", share)).toMatchObject({ code: 2, err: expect.stringContaining("0 to 100") });
});

test("put, get, count, query and delete take an alias, and say what it led to", async () => {
  await alias("create", "notes", "notes_v1", ...reason);
  const record = JSON.stringify({ id: "a", vector: [1, 2], document: "x" });
  const put = await cli.run(["put", "notes", "--json"], { stdin: record });
  expect(put.json()).toMatchObject({
    written: 1,
    alias: { collection: "notes_v1", side: "source", revision: 1 },
  });
  const { token } = put.json<{ token: string }>();
  expect(await cli.run(["get", "notes", "a", "--at-least", token])).toMatchObject({
    code: 0,
    out: expect.stringContaining("(source notes_v1, snapshot"),
  });
  const strong = ["--consistency", "strong"];
  expect((await cli.run(["count", "notes", ...strong])).out).toMatch(/^1\n/);
  expect((await cli.run(["query", "notes", "--vector", "[1,2]", ...strong])).out).toContain("a");
  expect(await cli.run(["delete", "notes", "a"])).toMatchObject({ code: 0 });
  expect((await cli.run(["count", "notes_v1", ...strong])).out).toMatch(/^0\n/);
});

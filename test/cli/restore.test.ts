/** silt restore: it lists, asks, restores, and says what it did and what comes next. */
import { deltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { MemoryCli } from "./memory-deployment.ts";
import { vectorOf } from "./vectors.ts";

const dims = 8;
let cli: MemoryCli;
beforeEach(() => {
  cli = new MemoryCli();
});
afterEach(() => cli.close());

interface Restored {
  readonly found: readonly { delta: string; shard: number; writtenAt: string; bytes: number }[];
  readonly restored: readonly { delta: string; shard: number; again: string }[];
  readonly failed: readonly { delta: string; kind: string }[];
}

const put = async (id: string, document: string) => {
  cli.world.clock.advance(60_000);
  const stdin = JSON.stringify({ id, vector: vectorOf(1, dims), document });
  const { token } = (await cli.run(["put", "docs", "--json"], { stdin })).json<{ token: string }>();
  return token;
};
const documents = async () =>
  (await cli.run(["get", "docs", "a", "b", "--consistency", "strong", "--json"]))
    .json<{ records: { id: string; document: string }[] }>()
    .records.map(({ id, document }) => `${id}: ${document}`);
const restore = (...args: string[]) => cli.run(["restore", "docs", ...args]);

/** Two writes that a rollback has taken back, and one since. */
async function takenBack(shards = 1): Promise<void> {
  await cli.run(["collection", "create", "docs", "--dims", String(dims), "--shards", String(shards)]);
  await put("a", "old");
  await cli.run(["compact", "docs"]);
  await put("a", "first");
  await put("a", "second");
  await put("b", "new");
  await cli.run(["compact", "docs"]);
  if (shards > 1) return;
  await cli.run(["snapshot", "rollback", "docs", "1"]);
  await put("b", "since");
  expect(await documents()).toEqual(["a: old", "b: since"]);
}

test("restore lists first, and restores when it is confirmed", async () => {
  await takenBack();
  const since = new Date(cli.world.clock.nowMs() - 225_000).toISOString();
  const offered = await restore("--since", since);
  expect(offered).toMatchObject({ code: 0, err: "" });
  expect(offered.out).toMatch(/^SHARD +DELTA +WRITTEN +SIZE\ndocs\/0 .*\n/);
  expect(offered.out).toContain("3 deltas can be restored; nothing was changed");
  const [command] = /silt restore docs --since \S+ --until \S+ --confirm docs/.exec(offered.out) ?? [];
  expect(await documents()).toEqual(["a: old", "b: since"]);

  const done = await cli.run(command!.split(" ").slice(1));
  expect(done).toMatchObject({ code: 0, err: "" });
  expect(done.out).toContain("restored 3 deltas of docs under new names; writes and deletes that came after");
  expect(done.out).toContain("→ ingest them: silt compact docs");
  expect(await documents()).toEqual(["a: second", "b: since"]);
  await cli.run(["compact", "docs"]);
  expect(await documents()).toEqual(["a: second", "b: since"]);

  // The same command again finds the same three, and nothing changes.
  const again = (await cli.run([...command!.split(" ").slice(1), "--json"])).json<Restored>();
  expect(again).toMatchObject({ failed: [] });
  expect(again.restored.map(({ delta }) => delta)).toEqual(again.found.map(({ delta }) => delta));
  expect(again.found).toHaveLength(3);
  await cli.run(["compact", "docs"]);
  expect(await documents()).toEqual(["a: second", "b: since"]);
  expect(await cli.run(["verify", "docs"])).toMatchObject({ code: 0 });
});

test("restore takes one delta by its name, and answers JSON", async () => {
  await takenBack();
  const since = new Date(cli.world.clock.nowMs() - 225_000).toISOString();
  const { found } = (await restore("--since", since, "--json")).json<Restored>();
  expect(found).toMatchObject([{ shard: 0, bytes: expect.any(Number) }, {}, {}]);
  const first = found[0]!.delta;
  expect((await restore(first)).out).toContain(`→ to do it: silt restore docs ${first} --confirm docs\n`);
  const done = (await restore(first, "--confirm", "docs", "--json")).json<Restored>();
  expect(done).toMatchObject({
    collection: "docs",
    found: [{ delta: first }],
    restored: [{ shard: 0, delta: first, again: expect.stringMatching(/^[0-9A-Z]{26}$/) }],
    failed: [],
  });
  expect(await documents()).toEqual(["a: first", "b: since"]);
});

test("deltas that cannot be restored are reported, and the others are restored", async () => {
  await takenBack();
  const bad = deltaId(cli.world.clock.ulid());
  await cli.world.store.put(deltaKey({ collection: "docs", shard: 0 }, bad), Buffer.from("no arrow"));
  await cli.world.store.delete([deltaKey({ collection: "docs", shard: 0 }, bad)]);
  cli.world.clock.advance(60_000);
  const since = new Date(cli.world.clock.nowMs() - 285_000).toISOString();
  const said = await restore("--since", since, "--confirm", "docs");
  expect(said.code).toBe(6);
  expect(said.out).toContain("restored 3 deltas");
  expect(said.out).toContain(`docs/0 ${bad} failed (corrupt): `);
  expect(await documents()).toEqual(["a: second", "b: since"]);
  const stop = new AbortController();
  stop.abort();
  expect(
    await cli.run(["restore", "docs", "--since", since, "--confirm", "docs"], { interrupted: stop.signal }),
  ).toMatchObject({ out: expect.stringContaining("interrupted: 4 deltas were not restored") });
});

test("each of several shards finds its own deltas", async () => {
  await takenBack(4);
  cli.world.clock.advance(1);
  const said = (await restore("--since", "2025-12-31T00:00Z", "--json")).json<Restored>();
  expect(said.found).toHaveLength(4);
  const { shard } = said.found[0]!;
  const of = (await restore("--since", "2025-12-31", "--shard", String(shard), "--json")).json<Restored>();
  expect(of.found.every((found) => found.shard === shard)).toBe(true);
  const { restored } = (
    await restore("--since", "2025-12-31 00:00:00Z", "--confirm", "docs", "--json")
  ).json<Restored>();
  expect(restored.map(({ shard: at, delta }) => [at, delta])).toEqual(
    said.found.map(({ shard: at, delta }) => [at, delta]),
  );
});

test.each([
  [[], "say which: the names of deltas, --since a time (and --until another), or --to"],
  [["--to", "1", "--since", "2026-01-01T00:00Z"], "takes neither deltas nor --since"],
  [["--to", "yesterday"], "It must be a version's number, or a time in UTC"],
  [["--to", "1", "--confirm", "dogs"], "--confirm: must be docs"],
  [["--until", "2026-01-01T00:00Z"], "say which"],
  [["01KDVD79TGESPNYPDWW2FB6MKE", "--since", "2026-01-01T00:00Z"], "say which"],
  [
    ["--since", "2026-01-02T00:00Z", "--until", "2026-01-01T00:00Z"],
    "--until goes with --since, and is later",
  ],
  [["01KDVD79TGESPNYPDWW2FB6MKE", "--until", "2026-01-01T00:00Z"], "--until goes with --since"],
  [["--since", "yesterday"], "It must be a time in UTC"],
  [["--since", "2026-13-01T00:00Z"], "It must be a time in UTC"],
  [["01arz3ndektsv4rrffq69g5fav"], "is not a delta's name"],
  [["--since", "2026-01-01T00:00Z", "--confirm", "dogs"], "--confirm: must be docs"],
])("%j is refused with what is wrong", async (args, reason) => {
  await takenBack();
  expect(await restore(...args)).toMatchObject({ code: 2, err: expect.stringContaining(reason) });
});

test("a delta that is gone, not deleted, or of another time is reported as that", async () => {
  await takenBack();
  const there = cli.world.clock.ulid();
  expect(await restore(there, "--confirm", "docs")).toMatchObject({
    code: 3,
    err: expect.stringContaining(`docs has no deleted delta ${there}`),
  });
  expect(await restore("--since", "2027-01-01T00:00Z", "--confirm", "docs")).toMatchObject({
    code: 0,
    out: expect.stringContaining("docs has no deleted deltas of that time"),
  });
});

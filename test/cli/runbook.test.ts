/** The ways back that docs/runbook.md names, each walked: what they are to save is there at the end. */
import { deltaKey, manifestPrefix, pointerKey, quarantinedDeltaKey } from "../../lib/core/format/keys.ts";
import { deltaId } from "../../lib/core/model/ids.ts";
import { MemoryCli } from "./memory-deployment.ts";
import { vectorOf } from "./vectors.ts";

const dims = 8;
const ref = { collection: "docs", shard: 0 };
let cli: MemoryCli;
beforeEach(async () => {
  cli = new MemoryCli();
  await cli.run(["collection", "create", "docs", "--dims", String(dims)]);
});
afterEach(() => cli.close());

const put = (id: string, document: string) =>
  cli.run(["put", "docs", "--json"], { stdin: JSON.stringify({ id, vector: vectorOf(1, dims), document }) });
const silt = async (...args: string[]) => {
  const said = await cli.run(args);
  expect({ args, code: said.code, err: said.err }).toEqual({ args, code: 0, err: "" });
  return said.out;
};
const documents = async () =>
  (await cli.run(["get", "docs", "a", "b", "c", "--consistency", "strong", "--json"]))
    .json<{ records: { id: string; document: string }[] }>()
    .records.map(({ id, document }) => `${id}: ${document}`);
const body = (key: string) => cli.world.store.bytes(key)!;

test("a damaged pointer: deleted and repaired, nothing is lost; an old version of it would lose what was published since", async () => {
  await put("a", "first");
  await silt("compact", "docs");
  const old = body(pointerKey(ref));
  await put("b", "second");
  await silt("compact", "docs");
  const newest = body(pointerKey(ref));

  await cli.world.store.put(pointerKey(ref), newest.subarray(9));
  expect(await cli.run(["status"])).toMatchObject({ code: 6 });
  await cli.world.store.delete([pointerKey(ref)]);
  await silt("snapshot", "repair", "docs", "--shard", "0");
  await silt("verify", "docs");
  expect(await documents()).toEqual(["a: first", "b: second"]);

  await cli.world.store.put(pointerKey(ref), old);
  await put("c", "third");
  await silt("compact", "docs");
  await cli.close();
  cli = new MemoryCli(cli.world);
  expect(await documents()).toEqual(["a: first", "c: third"]);
});

test("a lost pointer: its newest version is exactly what it was", async () => {
  await put("a", "first");
  await silt("compact", "docs");
  const newest = body(pointerKey(ref));
  await cli.world.store.delete([pointerKey(ref)]);
  expect(await cli.run(["get", "docs", "a", "--consistency", "strong"])).toMatchObject({ code: 6 });
  // As deleting the delete marker does.
  await cli.world.store.put(pointerKey(ref), newest);
  await silt("verify", "docs");
  expect(await documents()).toEqual(["a: first"]);
});

test("a lost collection.json: brought back, everything is there; creating it anew is refused, and names both ways", async () => {
  await put("a", "first");
  await silt("compact", "docs");
  const key = "docs/collection.json";
  const configuration = body(key);
  await cli.world.store.delete([key]);
  const anew = await cli.run(["collection", "create", "docs", "--dims", String(dims)]);
  expect(anew).toMatchObject({
    code: 4,
    err: expect.stringContaining("if its docs/collection.json was lost"),
  });
  await cli.world.store.put(key, configuration);
  expect(await documents()).toEqual(["a: first"]);
  await silt("verify", "docs");
});

test("a delta under a lower-case name: through quarantine/ it gets in, in its order", async () => {
  const ulid = deltaId(cli.world.clock.ulid());
  await put("a", "stranger");
  const [mine] = [...(await keys("docs/0/deltas/"))];
  const bytes = body(mine!);
  await cli.world.store.delete([mine!]);
  const stranger = deltaKey(ref, ulid).replace(ulid, ulid.toLowerCase());
  await cli.world.store.put(stranger, bytes);
  await put("b", "other");
  cli.world.clock.advance(5 * 3_600_000);
  await silt("compact", "docs");
  expect(await documents()).toEqual(["b: other"]);

  await cli.world.store.copy(stranger, quarantinedDeltaKey(ref, ulid));
  await silt("quarantine", "retry", "docs", ulid);
  await cli.world.store.delete([stranger]);
  expect(await documents()).toEqual(["a: stranger", "b: other"]);
  await silt("compact", "docs");
  expect(await documents()).toEqual(["a: stranger", "b: other"]);
  expect(await silt("status")).not.toContain("did not make");
});

test("a delta that was replaced by hand is mended by its former version over the copy in quarantine, and a retry", async () => {
  await put("a", "first");
  const [key] = await keys("docs/0/deltas/");
  const before = body(key!);
  await cli.world.store.put(key!, before.subarray(0, 400));
  await silt("compact", "docs");
  const [{ delta }] = (await cli.run(["quarantine", "list", "docs", "--json"])).json<{
    deltas: [{ delta: string }];
  }>().deltas;
  await cli.world.store.put(quarantinedDeltaKey(ref, deltaId(delta)), before);
  await silt("quarantine", "retry", "docs", delta);
  await silt("compact", "docs");
  expect(await documents()).toEqual(["a: first"]);
  expect(await silt("quarantine", "list", "docs")).toContain("no quarantined deltas");
});

test("a pin of the current version, made before a rollback, is the way back, however late", async () => {
  await put("a", "first");
  await silt("compact", "docs");
  await put("b", "second");
  await silt("compact", "docs");
  await silt("snapshot", "pin", "docs", "2", "--as", "before-rollback");
  await silt("snapshot", "rollback", "docs", "1");
  expect(await documents()).toEqual(["a: first"]);
  for (let i = 0; i < 8; i++) {
    cli.world.clock.advance(3_600_000);
    await put("c", `${i}`);
    await silt("compact", "docs");
    await silt("gc", "docs");
  }
  await silt("snapshot", "rollback", "docs", "2");
  expect(await documents()).toEqual(["a: first", "b: second"]);
});

test("a manifest that was deleted by hand is mended by its former version in its place", async () => {
  await put("a", "first");
  await silt("compact", "docs");
  const newest = (await keys(manifestPrefix(ref))).at(-1)!;
  const manifest = body(newest);
  await cli.world.store.delete([newest]);
  expect(await cli.run(["verify", "docs"])).toMatchObject({ code: 6 });
  await cli.world.store.put(newest, manifest);
  await silt("verify", "docs");
});

async function keys(prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const page of cli.world.store.list(prefix)) found.push(...page.map(({ key }) => key));
  return found;
}

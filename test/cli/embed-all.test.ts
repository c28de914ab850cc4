/** silt embed-all: each action over a deployment in memory, for people and as JSON, with its exit code. */
import { MemoryCli, type Said } from "./memory-deployment.ts";
import { workAll } from "./work-all.ts";

let cli: MemoryCli;
beforeEach(async () => {
  cli = new MemoryCli();
  await cli.run(["collection", "create", "notes", "--embedder", "lexical", "--dims", "8"]);
});
afterEach(() => cli.close());

const silt = (...args: string[]): Promise<Said> => cli.run(["embed-all", "notes", ...args, "--json"]);
const people = async (...args: string[]) => (await cli.run(["embed-all", "notes", ...args])).out;
const save = (...items: object[]) => cli.call("producer", { collection: "notes", items });
const deleteChunksOf = async (...items: string[]) => {
  cli.world.clock.advance(5);
  const found = await cli.run([
    "query",
    "notes",
    "--text",
    "text",
    "--top-k",
    "50",
    "--consistency",
    "strong",
    "--json",
  ]);
  const ids = found
    .json<{ results: { id: string; metadata: { item: string } }[] }>()
    .results.filter(({ metadata }) => items.includes(metadata.item))
    .map(({ id }) => id);
  await cli.run(["delete", "notes", ...ids]);
  cli.world.clock.advance(5);
};

test("analyze says how items stand, and what embedding the others takes; a dry run, a run and its status agree with it", async () => {
  await save(...["a", "b", "c"].map((id) => ({ id, text: `text ${id}`, source: "wiki" })));
  expect((await silt("analyze")).json()).toMatchObject({
    total: 3,
    standings: { pending: 3 },
    toEmbed: { items: 0 },
  });
  await workAll(cli);
  expect(await people("analyze")).toMatch(/^with +3$[\s\S]*nothing is to be embedded/m);
  await deleteChunksOf("a", "b");
  const found = (await silt("analyze")).json();
  expect(found).toMatchObject({
    standings: { with: 1, without: 2 },
    toEmbed: { items: 2, chunks: 2 },
    inCall: false,
  });
  expect(await people("analyze")).toMatch(
    /to embed +2 items, 2 chunks[\s\S]*time +unknown[\s\S]*cost +provider \$0\.00/,
  );
  const counts = { queued: 2, without: 2, embedded: 1, looked: 3 };
  expect((await silt("run", "--dry-run")).json()).toMatchObject({ run: null, dryRun: true, ...counts });
  const run = (await silt("run", "--tag", "first", "--priority", "high")).json<{ run: string }>();
  expect(run).toMatchObject({ dryRun: false, interrupted: false, ...counts });
  expect(cli.jobs.wake.sent.high).toHaveLength(2);
  expect((await silt("status", run.run)).json()).toMatchObject({
    run: { tag: "first", queued: 2, state: "queued" },
    ...{ now: { pending: 2 }, isOver: false },
  });
  await workAll(cli);
  const over = await silt("status", "LATEST", "--follow");
  expect(over.json()).toMatchObject({ now: { with: 2 }, isOver: true });
  expect(over.code).toBe(0);
  expect((await silt("analyze")).json()).toMatchObject({ standings: { with: 3 } });
  expect((await cli.run(["jobs", "report"])).out).toContain(`embed-all notes run ${run.run}: 2 jobs`);
});

test("a run that Ctrl-C ends says how it goes on, and a resumed one has its priority and stage", async () => {
  await save(...["a", "b", "c"].map((id) => ({ id, text: `text ${id}` })));
  await workAll(cli);
  await deleteChunksOf("a", "b", "c");
  const stop = new AbortController();
  const { write } = { write: cli.jobs.table.swap };
  cli.jobs.table.swap = async (...given) => {
    stop.abort();
    return write.apply(cli.jobs.table, given);
  };
  const said = await cli.run(["embed-all", "notes", "run", "--batch-size", "1"], {
    interrupted: stop.signal,
  });
  cli.jobs.table.swap = write;
  expect(said).toMatchObject({ code: 130, out: expect.stringMatching(/queued 1 item as run/) });
  const [, id] = /run --resume (\w+)/.exec(said.out)!;
  expect(await silt("run", "--resume", id!, "--stage", "10")).toMatchObject({ code: 2 });
  expect((await silt("run", "--resume", id!)).json()).toMatchObject({ run: id, queued: 2 });
  await workAll(cli);
  expect((await silt("status", id!)).json()).toMatchObject({ run: { queued: 3 }, now: { with: 3 } });
});

test("status shows what failed, and ends with 1; --follow looks until it is over", async () => {
  await save({ id: "a", text: "text a" }, { id: "b", text: "never" });
  await cli.run(["jobs", "clear", "--all", "--confirm", "local"]);
  await silt("run");
  const following = silt("status", "LATEST", "--follow", "--failed");
  await workAll(cli);
  const said = await following;
  expect(said.code).toBe(1);
  expect(JSON.parse(said.out.trim().split("\n").at(-1)!)).toMatchObject({
    ...{ now: { with: 1, failed: 1 }, isOver: true },
    failures: [{ item: "b", error: { kind: "input" } }],
  });
  expect(await people("status", "LATEST", "--failed")).toMatch(/ITEM +JOB +ERROR\nb /);
});

test("rollback does nothing without --confirm; with it work is stopped, and analyze and run say what to do", async () => {
  await save({ id: "a", text: "text a" });
  expect((await silt("rollback")).json()).toMatchObject({ inCall: false, cancelled: 0, count: 1 });
  expect(await silt("rollback", "--confirm", "other")).toMatchObject({ code: 2 });
  expect((await silt("rollback", "--confirm", "notes")).json()).toMatchObject({ inCall: true, cancelled: 1 });
  expect((await cli.run(["jobs", "stats", "--json"])).json()).toMatchObject({
    now: { cancelled: 1, failed: 0 },
  });
  expect((await silt("analyze")).json()).toMatchObject({ inCall: true, standings: { without: 1 } });
  expect((await silt("run")).json()).toMatchObject({ queued: 1 });
  cli.world.clock.advance(3_000);
  await workAll(cli);
  expect((await silt("analyze")).json()).toMatchObject({ inCall: false, standings: { with: 1 } });
});

test("what is asked wrongly is refused, with what is right named", async () => {
  const refusals: [string[], number, string][] = [
    [["explain"], 2, "analyze, run, status, rollback"],
    [["status"], 2, "its id, or LATEST"],
    [["run", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], 2, "takes no id"],
    [["analyze", "--dry-run"], 2, "--dry-run: is not for analyze"],
    [["run", "--price", "1"], 2, "--price: is not for run"],
    [["run", "--tag", " "], 2, "--tag"],
    [["run", "--stage", "0"], 2, "from 1 to 100"],
    [["status", "LATEST"], 3, "no run LATEST"],
    [["run", "--resume", "01ARZ3NDEKTSV4RRFFQ69G5FAV"], 3, "no run 01ARZ3NDEKTSV4RRFFQ69G5FAV"],
  ];
  for (const [args, code, message] of refusals) {
    const said = await silt(...args);
    expect([args, said.code]).toEqual([args, code]);
    expect(said.json<{ error: { message: string } }>().error.message).toContain(message);
  }
  await cli.run(["collection", "create", "given", "--dims", "4"]);
  expect(await cli.run(["embed-all", "given", "analyze"])).toMatchObject({
    code: 2,
    err: expect.stringContaining("has no embedder"),
  });
});

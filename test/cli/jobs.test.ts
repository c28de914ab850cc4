/** silt jobs: each command over a deployment in memory, for people and as JSON, with its exit code. */
import { chunkId } from "../../lib/jobs/chunk-rows.ts";
import { changeSettings } from "../../lib/jobs/control.ts";
import { MemoryCli, type Said } from "./memory-deployment.ts";
import { workAll } from "./work-all.ts";

let cli: MemoryCli;
const minute = 60_000;
beforeEach(async () => {
  cli = new MemoryCli();
  await cli.run(["collection", "create", "notes", "--embedder", "lexical", "--dims", "8"]);
});
afterEach(() => cli.close());

const silt = (...args: string[]): Promise<Said> => cli.run(["jobs", ...args, "--json"]);
const save = (...items: object[]) => cli.call("producer", { collection: "notes", items });
const jobOf = async (item: string) => (await silt("item", "notes", item)).json<{ job: string }>().job;

test("stats, list, item, inspect, recent and export show a job from its save to its end, and after the next", async () => {
  await save({ id: "a", text: "one", source: "wiki" }, { id: "b", text: "never", priority: "high" });
  expect((await silt("stats")).json()).toMatchObject({
    state: "running",
    now: { pending: 2 },
    ever: { saved: 2 },
  });
  const job = await jobOf("a");
  expect((await silt("inspect", job)).json()).toMatchObject({
    job,
    status: "pending",
    current: true,
    item: "a",
  });
  await workAll(cli);
  expect((await silt("stats")).json()).toMatchObject({
    now: { completed: 1, failed: 1 },
    ever: { completed: 1, failed: 1 },
  });
  const listed = async (...args: string[]) =>
    (await silt("list", ...args)).json<{ jobs: { item: string }[] }>().jobs.map(({ item }) => item);
  expect((await listed()).sort()).toEqual(["a", "b"]);
  expect(await listed("--status", "failed")).toEqual(["b"]);
  expect(await listed("--priority", "normal", "--collection", "notes", "--source", "wiki")).toEqual(["a"]);
  expect(await listed("--since", "2030-01-01")).toEqual([]);
  expect(await listed("--operation", "01ARZ3NDEKTSV4RRFFQ69G5FAV")).toEqual([]);
  expect((await silt("recent", "--limit", "1")).json<{ jobs: [] }>().jobs).toHaveLength(1);
  const lines = (await silt("export")).out.trim().split("\n");
  expect(lines.map((line) => JSON.parse(line).status).sort()).toEqual(["completed", "failed"]);
  expect(lines.join()).not.toContain('"text"');
  await save({ id: "a", text: "two" });
  expect((await silt("inspect", job)).json()).toMatchObject({ status: "completed", current: false });
  expect(await silt("inspect", "01ARZ3NDEKTSV4RRFFQ69G5FAV")).toMatchObject({ code: 3 });
  expect(await silt("item", "notes", "nothing")).toMatchObject({ code: 3 });
  const people = await cli.run(["jobs", "list"]);
  expect(people.out).toMatch(/JOB +ITEM +COLLECTION +STATUS/);
});

test("debug says why a job is where it is, and what to do; exit code 1 where something is", async () => {
  const saidOf = async (item: string) => {
    const { code, json } = await silt("debug", await jobOf(item));
    const { reasons, standing } = json<{
      reasons: { said: string; advice: string | null }[];
      standing: string;
    }>();
    return {
      code,
      standing,
      said: reasons.map(({ said }) => said).join("; "),
      advice: reasons.map(({ advice }) => advice),
    };
  };
  await save({ id: "a", text: "text" }, { id: "b", text: "never" }, { id: "c", text: "bad" });
  expect(await saidOf("a")).toMatchObject({
    code: 0,
    standing: "pending",
    said: expect.stringMatching(/due since 0 s/),
  });
  await silt("pause");
  expect(await saidOf("a")).toMatchObject({
    code: 1,
    said: expect.stringContaining("work is paused"),
    advice: ["silt jobs resume", null],
  });
  await silt("resume");
  cli.world.clock.advance(minute);
  await workAll(cli);
  expect(await saidOf("a")).toMatchObject({
    code: 0,
    standing: "with",
    said: "completed, and every chunk is there",
  });
  expect(await saidOf("b")).toMatchObject({
    code: 1,
    standing: "failed",
    said: expect.stringContaining("failed after 1 of 3 attempts: input"),
  });
  expect(await saidOf("c")).toMatchObject({
    said: expect.stringMatching(/its last run said: broken.*it is due in \d+ s/),
  });
  const [row] = cli.jobs.table.all.filter(({ item }) => item === "c");
  const lease = { owner: "dead", untilMs: cli.world.clock.nowMs() - 1_000 };
  await cli.jobs.table.swap(row!, { ...row!, stamp: "x", status: "processing", lease, deaths: 2 });
  expect(await saidOf("c")).toMatchObject({
    code: 1,
    said: expect.stringMatching(/2 of its runs ended.*its run is over since 1 s/),
  });
  await silt("cancel", await jobOf("c"));
  expect(await saidOf("c")).toMatchObject({ said: expect.stringContaining("cancelled: cancelled by hand") });
  cli.world.clock.advance(5);
  await cli.run(["delete", "notes", chunkId("a", 0)]);
  expect(await saidOf("a")).toMatchObject({
    code: 1,
    standing: "without",
    advice: ["silt embed-all notes run"],
  });
  const former = await jobOf("a");
  await save({ id: "a", text: "newer text" });
  expect((await silt("debug", former)).out).toContain("a newer save took its place");
  expect(await silt("debug", "01ARZ3NDEKTSV4RRFFQ69G5FAV")).toMatchObject({ code: 3 });
  await cli.run(["collection", "delete", "notes", "--confirm", "notes"]);
  const [gone] = cli.jobs.table.all;
  expect((await silt("debug", gone!.job)).out).toContain("was deleted");
});

test("metrics counts what ended within the hours asked for, how long it took, and what waits", async () => {
  await save({ id: "old", text: "text" });
  await workAll(cli);
  cli.world.clock.advance(120 * minute);
  await save({ id: "a", text: "text" }, { id: "b", text: "never", priority: "high" });
  cli.world.clock.advance(minute);
  await workAll(cli);
  await save({ id: "c", text: "text", priority: "low" });
  expect((await silt("metrics", "--hours", "1")).json()).toMatchObject({
    ...{ seconds: 3_600, isWhole: true, ended: { completed: 1, failed: 1, cancelled: 0 }, perMinute: 1 / 60 },
    ...{ waitSeconds: { p50: 60, max: 60 }, attemptsMean: 1, errors: { input: 1 } },
    ...{ waiting: { high: 0, normal: 0, low: 1 }, ever: { completed: 2, chunks: 2, tokens: 2 } },
    tokensPerByte: expect.any(Number),
  });
  expect((await silt("metrics")).json()).toMatchObject({ ended: { completed: 2 } });
  expect((await cli.run(["jobs", "metrics"])).out).toMatch(/^failed +1 \(input 1\)$/m);
});

test("health names each breach with advice, ready says no, and both exit with 1", async () => {
  expect(await silt("health")).toMatchObject({ code: 0 });
  expect(await silt("ready")).toMatchObject({ code: 0 });
  await changeSettings(cli.jobs, { pendingMax: 1, failedMax: 1, oldestHours: 1 }, "test");
  await save({ id: "x", text: "never" }, { id: "y", text: "never" });
  await workAll(cli);
  await save({ id: "a", text: "one" }, { id: "b", text: "two" });
  cli.world.clock.advance(120 * minute);
  await silt("pause");
  const said = await silt("health");
  expect(said.code).toBe(1);
  const { problems } = said.json<{ problems: { name: string; advice: string }[] }>();
  expect(problems.map(({ name }) => name)).toEqual(["state", "pending", "failed", "oldest"]);
  expect(problems.every(({ advice }) => /silt /.test(advice))).toBe(true);
  await silt("resume");
  expect(
    (await silt("health")).json<{ problems: { name: string }[] }>().problems.map(({ name }) => name),
  ).toContain("stalled");
  expect(await silt("ready")).toMatchObject({ code: 1 });
});

test("retry and retry-failed run again what may, and with --force what has had all its attempts", async () => {
  await changeSettings(cli.jobs, { attemptsMax: 1 }, "test");
  await save({ id: "a", text: "bad" }, { id: "b", text: "bad too" });
  await workAll(cli);
  expect(await silt("retry", await jobOf("a"))).toMatchObject({ code: 4 });
  expect((await silt("retry-failed")).json()).toMatchObject({ retried: 0, exhausted: 2 });
  expect((await silt("retry-failed", "--force", "--dry-run")).json()).toMatchObject({
    retried: 2,
    dryRun: true,
  });
  expect((await silt("retry-failed", "--force", "--reason", "too")).json()).toMatchObject({ retried: 1 });
  expect((await silt("retry", await jobOf("a"), "--force")).json()).toMatchObject({
    status: "pending",
    attempts: 0,
  });
  expect((await silt("stats")).json()).toMatchObject({ now: { pending: 2, failed: 0 } });
  expect((await silt("report")).out).toContain("retry-failed --force: 1 job");
});

test("cancel stops one job, clear those that are named, and nothing without --confirm", async () => {
  await save({ id: "a", text: "one" }, { id: "b", text: "two" }, { id: "c", text: "never" });
  expect((await silt("cancel", await jobOf("a"))).json()).toMatchObject({ status: "cancelled" });
  expect(await silt("cancel", await jobOf("a"))).toMatchObject({ code: 4 });
  await workAll(cli);
  expect(await silt("clear")).toMatchObject({ code: 2 });
  expect((await silt("clear", "--status", "failed")).json()).toMatchObject({ cleared: 0, count: 1 });
  expect(await silt("clear", "--all", "--confirm", "prod")).toMatchObject({ code: 2 });
  expect((await silt("clear", "--reason", "input", "--confirm", "local")).json()).toMatchObject({
    cleared: 1,
  });
  expect((await silt("stats")).json()).toMatchObject({ now: { completed: 1, failed: 0, cancelled: 2 } });
});

test("cleanup forgets the items of a deleted collection, and old texts that no item names", async () => {
  await save({ id: "large", text: "word ".repeat(4_000) });
  await cli.world.store.put(`notes/texts/${cli.world.clock.ulid()}.txt`, Buffer.from("orphan"), {
    ifAbsent: true,
  });
  cli.world.clock.advance(2 * 24 * 60 * minute);
  expect((await silt("cleanup", "--dry-run")).json()).toMatchObject({ items: 0, texts: 1 });
  expect((await silt("cleanup")).json()).toMatchObject({ items: 0, texts: 1 });
  expect(cli.world.store.keys("notes/texts/")).toHaveLength(1);
  await cli.run(["collection", "delete", "notes", "--confirm", "notes"]);
  expect((await silt("cleanup")).json()).toMatchObject({ items: 1 });
  expect(cli.jobs.table.all).toEqual([]);
});

test("cleanup-stuck gives back jobs of runs that began long ago", async () => {
  await save({ id: "a", text: "one" });
  const [item] = cli.jobs.table.all;
  const lease = { owner: "dead", untilMs: cli.world.clock.nowMs() + 600 * minute };
  const startedAtMs = cli.world.clock.nowMs();
  await cli.jobs.table.swap(item!, { ...item!, stamp: "x", status: "processing", lease, startedAtMs });
  cli.jobs.wake.take();
  expect((await silt("cleanup-stuck")).json()).toMatchObject({ givenBack: 0 });
  cli.world.clock.advance(31 * minute);
  expect((await silt("cleanup-stuck")).json()).toMatchObject({ givenBack: 1 });
  await workAll(cli);
  expect((await silt("stats")).json()).toMatchObject({ now: { completed: 1 } });
});

test("pause, resume and emergency-stop are settings, and resume wakes all that waits", async () => {
  await save({ id: "a", text: "one" });
  expect((await silt("pause")).json()).toMatchObject({ state: "paused" });
  await workAll(cli);
  expect((await silt("emergency-stop")).json()).toMatchObject({ state: "stopped" });
  cli.world.clock.advance(minute);
  expect((await silt("resume")).json()).toMatchObject({ state: "running", woken: 1 });
  cli.world.clock.advance(minute);
  await workAll(cli);
  expect((await silt("stats")).json()).toMatchObject({ now: { completed: 1 } });
});

test("config shows settings with their ranges, and changes them; what is wrong is named with key, range and value", async () => {
  expect((await silt("config", "set", "concurrency=4", "batchItems=100")).json()).toMatchObject({
    concurrency: 4,
    batchItems: 100,
  });
  expect((await cli.run(["jobs", "config", "show"])).out).toMatch(/concurrency +4 +1–64/);
  const said = await silt("config", "set", "concurrency=0", "colour=1");
  expect(said.code).toBe(2);
  const { message } = said.json<{ error: { message: string } }>().error;
  expect(message).toContain("concurrency must be an integer from 1 to 64, got 0");
  expect(message).toContain("colour is no setting");
  expect(await silt("config", "set", "attemptsMax=20", "backoffSeconds=3600")).toMatchObject({ code: 2 });
  expect(await silt("config", "set", "concurrency")).toMatchObject({ code: 2 });
});

test("monitor and tail write a line a look, and wait-for-completion ends with the work, or in time", async () => {
  await save({ id: "a", text: "one" }, { id: "b", text: "never" });
  expect((await silt("wait-for-completion", "--timeout", "3")).code).toBe(5);
  expect((await silt("monitor", "--times", "1")).json()).toMatchObject({
    waiting: 2,
    running: 0,
    etaSeconds: null,
  });
  const since = new Date(cli.world.clock.nowMs()).toISOString();
  await workAll(cli);
  const lines = (await silt("tail", "--since", since, "--times", "2")).out.trim().split("\n");
  expect(lines.map((line) => JSON.parse(line).item).sort()).toEqual(["a", "b"]);
  expect((await cli.run(["jobs", "monitor", "--times", "2", "--every", "1"])).out).toMatch(
    /0 wait, 0 run.*\n.*failed: input 1/,
  );
  expect((await silt("wait-for-completion")).json()).toMatchObject({ completed: true });
});

test("dlq lists, redrives and purges the messages of the job queues", async () => {
  await cli.jobs.deadLetters.look(async () => false);
  expect((await silt("dlq", "list")).json()).toMatchObject({ count: 0, messages: [] });
  expect((await silt("dlq", "redrive", "--all")).json()).toMatchObject({ redriven: [] });
  expect((await silt("dlq", "purge", "--confirm", "local")).json()).toMatchObject({ purged: true });
});

/** What `silt doctor` looks at, in its order. A check that fails is a finding, and the others go on. */
import { type Refusal, refusalOf } from "../../lib/aws/failure.ts";
import { functionNames } from "../../lib/contract/functions.ts";
import { env } from "../../lib/contract/names.ts";
import { settings } from "../../lib/contract/settings.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { type ErrorKind, isKind, SiltstoneError } from "../../lib/core/model/errors.ts";
import { runNote } from "../../lib/engine/compact/run-summary.ts";
import { verifyNewestSegment } from "../../lib/engine/operate/verify-newest.ts";
import type { Session } from "./session.ts";
import { judged, type StoreState } from "./store-state.ts";
import { bytes, duration, plural } from "./text.ts";

export interface Finding {
  readonly check: string;
  readonly result: "ok" | "wrong" | "skipped";
  readonly found: string;
  /** What to do; of what is wrong. */
  readonly advice?: readonly string[];
  readonly kind?: ErrorKind;
  readonly refusal?: Refusal;
}
/** What there is of the store: looked up once, by the first check that asks. */
type State = () => Promise<StoreState>;
type Look = (session: Session, state: State) => Promise<readonly (Omit<Finding, "check"> | Finding)[]>;
interface Check {
  readonly name: string;
  look(session: Session, state: State): Promise<readonly Finding[]>;
}

const ok = (found: string) => ({ result: "ok", found }) as const;
const wrong = (found: string, ...advice: string[]) => ({ result: "wrong", found, advice }) as const;

/** Errors become findings: of a check that must throw nothing. */
const check = (name: string, look: Look): Check => ({
  name,
  look: async (session, state) => {
    try {
      return (await look(session, state)).map((finding) => ({ check: name, ...finding }));
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      return [{ check: name, ...failed(error) }];
    }
  },
});

function failed(error: SiltstoneError): Omit<Finding, "check"> {
  const refusal = refusalOf(error);
  const advice =
    refusal === "denied"
      ? [
          "give these credentials the operator policy (docs/security.md), or the function its role: deploy again",
        ]
      : error.kind === "corrupt"
        ? ['`silt verify NAME` names every damaged object; docs/runbook.md, "Corrupt", says how to mend each']
        : ["look at the function's log: silt logs --since TIME"];
  return {
    result: "wrong",
    found: error.message,
    advice,
    kind: error.kind,
    ...(refusal === null ? {} : { refusal }),
  };
}

/** Twice the longest interval that a store may be deployed with. What waits is found to be late long before. */
const runAgeMaxMs = 2 * settings["compaction.intervalMinutes"].max * 60_000;

export const checks: readonly Check[] = [
  check("functions", async (session) => {
    const { configurations } = await session.open();
    const all = (await Promise.all(functionNames.map(configurations))).flat();
    const inactive = all.filter(({ state }) => state !== "Active" && state !== "Inactive");
    const names = [env.store, env.bucket, env.table, env.queueUrl, env.deadLetterQueueUrl];
    const odd = names.filter((name) => new Set(all.map(({ variables }) => variables[name])).size > 1);
    return [
      ...inactive.map(({ name, state }) =>
        wrong(`${name} is ${state}`, "deploy again, and look at the function in Lambda's console"),
      ),
      ...odd.map((name) =>
        wrong(`the functions differ in ${name}: they were changed by hand`, "deploy again"),
      ),
      ...(inactive.length + odd.length === 0
        ? [ok(`${plural(all.length, "function")}, of one configuration`)]
        : []),
    ];
  }),
  check("permissions", async (session) => {
    const { world, deleted, deadLetters, failedEvents, call } = await session.open();
    const rights: readonly (readonly [string, () => Promise<unknown>])[] = [
      ["list the bucket", () => world.store.listLevel("")],
      [
        "list noncurrent objects",
        async () => {
          for await (const _ of deleted.list("-", { startAfter: "-" })) break;
        },
      ],
      ["read the table", () => world.leases.readNote(runNote)],
      ["read the dead-letter queue", () => deadLetters.count()],
      ["read the queue of failed events", () => failedEvents().count()],
      ["invoke the query function", () => call("query", { op: "ping" })],
      // Refused before it does anything: so it has started, with what it needs.
      ["invoke the producer", () => call("producer", {}).catch(expectInvalid)],
    ];
    const findings = await Promise.all(
      rights.map(async ([what, use]) => {
        const fault = await use().then(
          () => null,
          (error: unknown) => error,
        );
        if (fault !== null && !(fault instanceof SiltstoneError)) throw fault;
        return fault === null ? null : { ...failed(fault), found: `cannot ${what}: ${fault.message}` };
      }),
    );
    const faults = findings.filter((finding) => finding !== null);
    return faults.length > 0 ? faults : [ok("bucket, table, queue and functions answer")];
  }),
  check("schedules", async (session) => {
    const { world } = await session.open();
    const note = await world.leases.readNote(runNote);
    const startedMs = Date.parse(String(note?.startedAt));
    if (!Number.isFinite(startedMs))
      return [
        wrong("the compactor has not run yet", "are its schedules enabled? Run it by hand: silt compact"),
      ];
    const age = world.clock.nowMs() - startedMs;
    if (age > runAgeMaxMs)
      return [
        wrong(
          `the compactor's last run began ${duration(age)} ago`,
          "are its schedules enabled (EventBridge Scheduler), and may they invoke it? Its log: silt logs compactor",
        ),
      ];
    return [ok(`the compactor ran ${duration(Math.max(0, age))} ago (${String(note?.source)})`)];
  }),
  check("state", async (_, state) => {
    const found = await state();
    const { advice, wrong: wrongs, isDegraded } = judged(found);
    if (!isDegraded && wrongs.length === 0)
      return [
        ok(
          `${plural(found.shards.length, "shard")}: pointers, manifests, backlogs, leases, dead letters, views`,
        ),
      ];
    const kind = wrongs.find((one) => one.kind === "corrupt")?.kind ?? wrongs[0]?.kind;
    return advice.map((line) => ({ ...wrong(line, line), ...(kind === undefined ? {} : { kind }) }));
  }),
  check("failed events", async (session) => {
    const count = await (await session.open()).failedEvents().count();
    return count === 0
      ? [ok("none in the last hour")]
      : [
          wrong(
            `${plural(count, "event")} did not reach the compactor, or failed there`,
            "what failed, and why: silt events list; do their work now: silt events redrive --all",
          ),
        ];
  }),
  check("query", (session, state) => eachCollection(session, state, query)),
  check("newest files", (session, state) => eachCollection(session, state, newestFiles)),
  check("alarms", async (session) => {
    const { alarms } = await session.open();
    const found = await alarms();
    if (found === null) return [{ result: "skipped", found: "the local stack has none" }];
    if (found.length === 0)
      return [wrong("no alarm watches this store", "deploy the store's alarms, to a topic with readers")];
    const raised = found.filter(({ state }) => state === "ALARM");
    if (raised.length === 0) return [ok(`${plural(found.length, "alarm")}, none raised`)];
    return raised.map(({ name, reason, description }) =>
      wrong(
        `${name}: ${reason}`,
        description === "" ? "docs/runbook.md has a section for every alarm" : description,
      ),
    );
  }),
];

function expectInvalid(error: unknown): void {
  if (!isKind(error, "invalid")) throw error;
}

async function eachCollection(
  session: Session,
  state: State,
  look: (session: Session, collection: Collection, state: StoreState) => Promise<Omit<Finding, "check">>,
): Promise<readonly Omit<Finding, "check">[]> {
  const found = await state();
  const findings: Omit<Finding, "check">[] = [];
  for (const collection of found.collections)
    try {
      findings.push(await look(session, collection, found));
    } catch (error) {
      if (!(error instanceof SiltstoneError)) throw error;
      findings.push({ ...failed(error), found: `${collection.name}: ${error.message}` });
    }
  return findings.length > 0 ? findings : [{ result: "skipped", found: "there are no collections" }];
}

/** A strong one, so that pointer, manifest, files and backlog of every shard are read by the function itself. */
async function query(
  session: Session,
  { name, dims }: Collection,
  { shards }: StoreState,
): Promise<Omit<Finding, "check">> {
  const { call } = await session.open();
  const vector = Array.from({ length: dims }, (_, i) => (i === 0 ? 1 : 0));
  const answer = (await call("query", { collection: name, vector, topK: 1, consistency: "strong" })) as {
    results: readonly unknown[];
    milliseconds: number;
    warning?: string;
  };
  const rows = shards
    .filter((shard) => shard.collection === name)
    .reduce((sum, { snapshot }) => sum + (snapshot?.rows ?? 0), 0);
  if (answer.warning !== undefined)
    return wrong(`${name}: ${answer.warning}`, `see all of it: silt verify ${name}`);
  if (answer.results.length === 0 && rows > 0) {
    // Rows are counted until they are merged away: all of them may be deleted.
    const { count } = (await call("query", { op: "count", collection: name, consistency: "strong" })) as {
      count: number;
    };
    if (count > 0)
      return wrong(
        `${name}: a query found nothing among ${plural(count, "record")}`,
        `see what is damaged: silt verify ${name}`,
      );
  }
  return ok(`${name}: answered in ${duration(answer.milliseconds)}`);
}

async function newestFiles(session: Session, collection: Collection): Promise<Omit<Finding, "check">> {
  const { world } = await session.open();
  let [files, size] = [0, 0];
  for (let shard = 0; shard < collection.shards; shard++) {
    const proved = await verifyNewestSegment(world, collection, shard);
    files += proved.files;
    size += proved.bytes;
  }
  return ok(`${collection.name}: ${plural(files, "file")} of the newest segments (${bytes(size)}) by sha256`);
}

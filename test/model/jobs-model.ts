/**
 * Items and jobs as a model: one item, its record in the table, its chunks' rows on S3, and those who save, work, cancel and wait, each
 * cut into its single effects. A change of the record is one effect, since it is written where what it was made from still stands (lib/jobs/change.ts).
 * Time is left out: a lease may run out at any moment, a worker may sleep between any two effects, and die before any.
 */
import type { Model, Step } from "./explore.ts";
import { allJobRules, type JobRules, type JobSetup, jobConfigurations } from "./jobs-rules.ts";

type Status = "pending" | "processing" | "completed" | "cancelled";

interface ItemRecord {
  /** Of the save: no other has it, also after the record has gone. */
  readonly job: number;
  readonly revision: number;
  readonly version: number;
  /** Of its text; 0 for a delete. */
  readonly chunks: number;
  readonly status: Status;
  /** Worker that has it, and which of its runs. */
  readonly owner: string | null;
  readonly highWater: number;
}

/** What the fold has of a chunk's id: the newest row. */
interface Row {
  readonly version: number;
  readonly isThere: boolean;
}

interface Worker {
  readonly at: "idle" | "record" | "put" | "finish";
  readonly runsLeft: number;
  /** What it has claimed. */
  readonly job: number;
  readonly revision: number;
  readonly version: number;
  readonly chunks: number;
  /** As it was recorded. */
  readonly highWater: number;
  /** Rows that are put by now: over several shards they are several deltas. */
  readonly put: number;
}

interface JobState {
  readonly record: ItemRecord | null;
  readonly rows: readonly (Row | null)[];
  readonly workers: readonly Worker[];
  readonly saves: number;
  readonly cancels: number;
  readonly retries: number;
  readonly horizons: number;
  readonly again: number;
  /** Order of PUTs, for rules that go by it. */
  readonly puts: number;
  /** Versions: what was saved last, and the newest that was finished. */
  readonly clock: number;
  readonly finished: number;
}

const chunksMax = 2;
const idle = (runsLeft: number): Worker => ({
  ...{ at: "idle", runsLeft, job: 0, revision: 0, version: 0, chunks: 0, highWater: 0, put: 0 },
});

export function jobModelWithout(name: string, without: readonly (keyof JobRules)[] = []): Model<JobState> {
  const found = jobConfigurations.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no configuration ${name}`);
  const rules = { ...allJobRules, ...Object.fromEntries(without.map((rule) => [rule, false])) };
  const setup: JobSetup = { ...found, rules };
  return {
    initial: {
      record: null,
      rows: Array.from({ length: chunksMax }, () => null),
      workers: Array.from({ length: setup.workers }, () => idle(setup.runs)),
      ...{ saves: 0, cancels: 0, retries: 0, horizons: 0, again: 0, puts: 0, clock: 0, finished: 0 },
    },
    steps: (state) => [
      ...saves(state, setup),
      ...people(state, setup),
      ...horizon(state, setup),
      ...state.workers.flatMap((_, index) => workerSteps(state, setup, index)),
    ],
    pack: (state) => JSON.stringify(state, (_, value: unknown) => value),
    fault: faultOf,
  };
}

function saves(state: JobState, { saves: texts, again, rules }: JobSetup): Step<JobState>[] {
  const { record } = state;
  const steps = (texts[state.saves] ?? []).map((chunks) => {
    const does = chunks === 0 ? "saver: deletes the item" : `saver: saves a text of ${chunks}`;
    return { does, next: { ...state, ...nextRecord(state, chunks, rules), saves: state.saves + 1 } };
  });
  if (state.again < again && record !== null && !isActive(record))
    steps.push({
      does: "bulk run: makes the revision once more",
      next: { ...state, ...nextRecord(state, record.chunks, rules), again: state.again + 1 },
    });
  return steps;
}

function nextRecord(
  { record, clock, saves, again }: JobState,
  chunks: number,
  { versionAbove }: JobRules,
): Pick<JobState, "record" | "clock"> {
  // A record that has gone leaves the clock, which is past all that it said.
  const version = versionAbove ? clock + 1 : Math.max(1, record?.version ?? clock + 1);
  return {
    clock: Math.max(clock, version),
    record: {
      job: saves + again + 1,
      ...{ revision: (record?.revision ?? 0) + 1, version, chunks, status: "pending", owner: null },
      highWater: record?.highWater ?? 0,
    },
  };
}

const isActive = ({ status }: ItemRecord): boolean => status === "pending" || status === "processing";

function people(state: JobState, { cancels, retries }: JobSetup): Step<JobState>[] {
  const { record } = state;
  if (record === null) return [];
  const steps: Step<JobState>[] = [];
  if (state.cancels < cancels && isActive(record))
    steps.push({
      does: "person: cancels the job",
      next: { ...state, cancels: state.cancels + 1, record: { ...record, status: "cancelled", owner: null } },
    });
  if (state.retries < retries && record.status === "cancelled")
    steps.push({
      does: "person: tries it again",
      next: { ...state, retries: state.retries + 1, record: { ...record, status: "pending" } },
    });
  return steps;
}

/** Longer than any worker that has recorded may still put: tombstones go, and the record that may. */
function horizon(state: JobState, { horizons, rules }: JobSetup): Step<JobState>[] {
  const { record } = state;
  if (state.horizons >= horizons || record === null || isActive(record)) return [];
  const isGone = record.chunks === 0 && record.status === "completed";
  const expires = rules.expireGone ? isGone || record.highWater === 0 : true;
  const workers = state.workers.map((worker) =>
    worker.at === "put" && rules.lateRefused ? idle(worker.runsLeft) : worker,
  );
  const rows = state.rows.map((row) => (row !== null && !row.isThere ? null : row));
  return [
    {
      does: `time passes: tombstones go${expires ? ", and the record" : ""}`,
      next: { ...state, workers, rows, horizons: state.horizons + 1, record: expires ? null : record },
    },
  ];
}

function workerSteps(state: JobState, setup: JobSetup, index: number): Step<JobState>[] {
  const worker = state.workers[index]!;
  const steps = forward(state, setup, index);
  // It dies, and another run begins some time.
  if (worker.at !== "idle" && worker.runsLeft > 0)
    steps.push({ does: `worker ${index}: dies`, next: withWorker(state, index, idle(worker.runsLeft)) });
  return steps;
}

function forward(state: JobState, { rules }: JobSetup, index: number): Step<JobState>[] {
  const worker = state.workers[index]!;
  const { record } = state;
  const owner = `${index}.${worker.runsLeft}`;
  const isHeld = record !== null && record.job === worker.job && isOwn(record, owner, rules);
  switch (worker.at) {
    case "idle": {
      if (worker.runsLeft === 0 || record === null || !isActive(record)) return [];
      const runsLeft = worker.runsLeft - 1;
      const { job, revision, version, chunks } = record;
      const claimed: ItemRecord = { ...record, status: "processing", owner: `${index}.${runsLeft}` };
      const next = withWorker({ ...state, record: claimed }, index, {
        ...{ at: "record", runsLeft, job, revision, version, chunks, highWater: record.highWater, put: 0 },
      });
      return [{ does: `worker ${index}: claims revision ${revision}`, next }];
    }
    case "record": {
      if (rules.recordHeld && !isHeld) return [lost(state, index)];
      if (record === null) return [lost(state, index)];
      const highWater = rules.highWaterKept ? Math.max(record.highWater, worker.chunks) : worker.chunks;
      const next = withWorker(
        { ...state, record: rules.recordBefore ? { ...record, highWater } : record },
        index,
        { ...worker, at: "put", highWater: Math.max(highWater, rules.highWaterKept ? record.highWater : 0) },
      );
      return [{ does: `worker ${index}: records a high-water of ${highWater}`, next }];
    }
    case "put":
      return [putNext(state, rules, index)];
    default: {
      if (rules.finishHeld ? !isHeld : record === null) return [lost(state, index)];
      const highWater = Math.max(record!.highWater, rules.recordBefore ? 0 : worker.chunks);
      const completed: ItemRecord = { ...record!, status: "completed", owner: null, highWater };
      const next = withWorker(
        { ...state, record: completed, finished: Math.max(state.finished, worker.version) },
        index,
        idle(worker.runsLeft),
      );
      return [{ does: `worker ${index}: finishes revision ${worker.revision}`, next }];
    }
  }
}

const isOwn = ({ status, owner }: ItemRecord, own: string, { claimAlone }: JobRules): boolean =>
  status === "processing" && (!claimAlone || owner === own);

const lost = (state: JobState, index: number): Step<JobState> => ({
  does: `worker ${index}: finds that its claim does not hold`,
  next: withWorker(state, index, idle(state.workers[index]!.runsLeft)),
});

/** Chunk by chunk, then the tombstones: each lands when it lands. */
function putNext(state: JobState, rules: JobRules, index: number): Step<JobState> {
  const worker = state.workers[index]!;
  const limit = rules.tombstones ? Math.max(worker.chunks, worker.highWater) : worker.chunks;
  const at = worker.put;
  if (at >= limit)
    return {
      does: `worker ${index}: has put all`,
      next: withWorker(state, index, { ...worker, at: "finish" }),
    };
  const puts = state.puts + (rules.saveOrder ? 0 : 1);
  const row: Row = { version: rules.saveOrder ? worker.version : puts + 100, isThere: at < worker.chunks };
  const rows = state.rows.map((before, i) =>
    i === at && (before === null || row.version >= before.version) ? row : before,
  );
  return {
    does: `worker ${index}: puts ${row.isThere ? "chunk" : "tombstone of chunk"} ${at} of version ${worker.version}`,
    next: withWorker({ ...state, rows, puts }, index, { ...worker, put: at + 1 }),
  };
}

const withWorker = (state: JobState, index: number, worker: Worker): JobState => ({
  ...state,
  workers: state.workers.map((one, i) => (i === index ? worker : one)),
});

/** I15; and of a completed item exactly the chunks of its last save. */
function faultOf({ record, rows, finished }: JobState): string | null {
  for (const [i, row] of rows.entries())
    if (row?.isThere && row.version < finished)
      return `I15: chunk ${i} of version ${row.version} is visible, and version ${finished} is finished`;
  if (record?.status !== "completed") return null;
  const there = rows.map((row) => row?.isThere === true);
  const wanted = rows.map((_, i) => i < record.chunks);
  const own = rows.every((row, i) => !wanted[i] || row?.version === record.version);
  if (there.every((one, i) => one === wanted[i]) && own) return null;
  return `last: revision ${record.revision} has ${record.chunks} chunks, there are ${there.map(Number).join("")}`;
}

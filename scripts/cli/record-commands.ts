/** silt put | delete | get | count: through the functions, as users' code goes. */
import { type Command, Option } from "commander";
import { checkJsonBounds } from "../../lib/aws/json-text.ts";
import type { LedBy } from "../../lib/core/model/alias.ts";
import { invalid } from "../../lib/core/model/errors.ts";
import { parseExactly } from "../../lib/core/model/exact-json.ts";
import { embedMissing } from "../../lib/embedding/collection-embedder.ts";
import type { Provenance, ReadRecord } from "../../lib/engine/read/read-request.ts";
import type { ProduceAnswer } from "../../lib/engine/write/produce.ts";
import {
  type FreshnessOptions,
  filterOption,
  freshness,
  freshnessOptions,
  integer,
  openNamed,
} from "./arguments.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import { inputBytesMax, putRecords } from "./put-parts.ts";
import { readText } from "./read-text.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { duration, excerpt, plural } from "./text.ts";

const documentCharsShown = 300;

interface GetOptions extends FreshnessOptions {
  readonly include?: readonly string[];
}

export function addRecordCommands(program: Command, run: Runner): void {
  program
    .command("put")
    .description("write records through the producer function: one JSON object, a list of them, or JSONL")
    .argument("<name>")
    .option("--file <path>", "read them from a file instead of stdin")
    .action(run(put));
  program
    .command("delete")
    .description("delete records through the producer function")
    .argument("<name>")
    .argument("<id...>")
    .option(
      "--source-version <n>",
      "the source's version of the deletion (ordering source)",
      integer(0, Number.MAX_SAFE_INTEGER),
    )
    .action(run(remove));
  const get = program
    .command("get")
    .description("records by id, through the query function")
    .argument("<name>")
    .argument("<id...>")
    .addOption(includeOption());
  for (const option of freshnessOptions()) get.addOption(option);
  get.action(run(getRecords));
  const count = program
    .command("count")
    .description("the exact number of live records, through the query function")
    .argument("<name>")
    .addOption(filterOption());
  for (const option of freshnessOptions()) count.addOption(option);
  count.action(run(countRecords));
}

/** `--include a,b`; none of them is an answer too. */
export const includeOption = (): Option =>
  new Option("--include <parts>", "of document, metadata, vector; comma-separated, or none").argParser(
    (text) => (text === "none" ? [] : text.split(",").map((part) => part.trim())),
  );

async function put(session: Session, name: string, options: { file?: string }): Promise<Outcome> {
  const records = parseRecords(await readRecordsText(session, options.file));
  const { deployment, collection } = await openNamed(session, name);
  const whole = await Promise.all(records.map((record) => embedMissing(collection, record)));
  return written(name, await putRecords(deployment, { name, collection }, whole));
}

function readRecordsText(session: Session, path: string | undefined): Promise<string> {
  const more = `one put takes at most ${inputBytesMax} bytes; for more: \`silt import NAME --records FILE.jsonl\``;
  return readText(session, { path, option: "--file", bytesMax: inputBytesMax, more });
}

/** One object, a list, or an object a line. What is nested deeper than a call may be is not made a text again. */
function parseRecords(text: string): unknown[] {
  const records = parsedRecords(text);
  for (const record of records) checkJsonBounds(record);
  return records;
}

function parsedRecords(text: string): unknown[] {
  if (text.trim() === "") throw invalid("there are no records in the input");
  try {
    const value = parseExactly(text);
    return Array.isArray(value) ? value : [value];
  } catch (whole) {
    const lines = text.split("\n");
    const records: unknown[] = [];
    for (const [i, line] of lines.entries()) {
      if (line.trim() === "") continue;
      try {
        records.push(parseExactly(line));
      } catch (error) {
        // Text that spans lines is one faulty document rather than JSONL.
        const reason = i === 0 ? (whole as Error).message : `line ${i + 1}: ${(error as Error).message}`;
        throw invalid(`the input is neither JSON nor JSONL: ${reason}`);
      }
    }
    return records;
  }
}

async function remove(
  session: Session,
  name: string,
  ids: string[],
  options: { sourceVersion?: number },
): Promise<Outcome> {
  const { deployment } = await openNamed(session, name);
  const { sourceVersion: version } = options;
  const deletes = version === undefined ? ids : ids.map((id) => ({ id, version }));
  return written(name, (await deployment.call("producer", { collection: name, deletes })) as ProduceAnswer);
}

function written(name: string, answer: ProduceAnswer): Outcome {
  const done = [
    ...(answer.written > 0 ? [`wrote ${plural(answer.written, "record")}`] : []),
    ...(answer.deleted > 0 ? [`deleted ${plural(answer.deleted, "id")}`] : []),
  ];
  return {
    value: answer,
    text: `${done.join(", ") || "wrote nothing"} in ${plural(answer.deltas.length, "delta")}\ntoken ${answer.token}`,
    next: [
      `read your write: silt query ${name} … --at-least TOKEN, or --consistency strong; others see it after the next compaction`,
    ],
  };
}

type GetAnswer = {
  readonly records: readonly ReadRecord[];
  readonly missing: readonly string[];
} & Provenance;

async function getRecords(
  session: Session,
  name: string,
  ids: string[],
  options: GetOptions,
): Promise<Outcome> {
  const { deployment } = await openNamed(session, name);
  const include = options.include === undefined ? {} : { include: options.include };
  const call = { op: "get", collection: name, ids, ...include, ...freshness(options) };
  const answer = (await deployment.call("query", call)) as GetAnswer;
  const shown = answer.records.map(recordText);
  const missing = answer.missing.map((id) => `${JSON.stringify(id)} does not exist`);
  return {
    value: answer,
    text: [...shown, ...missing, provenanceText(answer)].join("\n"),
    ...(missing.length > 0 ? { exitCode: exitCodes.notFound } : {}),
  };
}

function recordText({ id, version, document, metadata, vector }: ReadRecord): string {
  const lines = [`${id}  (version ${version})`];
  if (metadata) lines.push(`  metadata  ${JSON.stringify(metadata)}`);
  if (document) lines.push(`  document  ${excerpt(document, documentCharsShown)}`);
  if (vector) lines.push(`  vector    ${JSON.stringify(vector)}`);
  return lines.join("\n");
}

async function countRecords(
  session: Session,
  name: string,
  options: FreshnessOptions & { filter?: unknown },
): Promise<Outcome> {
  const { deployment } = await openNamed(session, name);
  const filter = options.filter === undefined ? {} : { filter: options.filter };
  const call = { op: "count", collection: name, ...filter, ...freshness(options) };
  const answer = (await deployment.call("query", call)) as { count: number } & Provenance;
  return { value: answer, text: `${answer.count}\n${provenanceText(answer)}` };
}

/** Where an answer comes from, on one line. */
export function provenanceText(answer: Provenance & { readonly alias?: LedBy }): string {
  const parts = [
    ...(answer.alias === undefined ? [] : [`${answer.alias.side} ${answer.alias.collection}`]),
    `snapshot ${answer.snapshotVersion}`,
    answer.consistency,
    plural(answer.segments, "segment"),
    ...(answer.deltasOverlaid > 0
      ? [`${plural(answer.deltasOverlaid, "delta")} of the backlog included`]
      : []),
    duration(answer.milliseconds),
    plural(answer.requests, "S3 request"),
    ...(answer.warning === undefined ? [] : [`warning: ${answer.warning}`]),
    ...(answer.takenBack ?? []).map(
      ({ shard, delta, version }) =>
        `warning: shard ${shard} was rolled back to version ${version}, which may have taken back the write ${delta}`,
    ),
  ];
  return `(${parts.join(", ")})`;
}

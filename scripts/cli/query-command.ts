/** silt query: nearest records, through the query function. */
import { type Command, Option } from "commander";
import pLimit from "p-limit";
import { invalid } from "../../lib/core/model/errors.ts";
import { vectorToBase64 } from "../../lib/core/model/vector.ts";
import { type Provenance, type QueryResult, topKMax } from "../../lib/engine/read/read-request.ts";
import { VectorFile } from "../../lib/import/vector-file.ts";
import {
  type FreshnessOptions,
  filterOption,
  freshness,
  freshnessOptions,
  integer,
  json,
  openNamed,
  real,
  several,
} from "./arguments.ts";
import type { Deployment } from "./deployment.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import { includeOption, provenanceText } from "./record-commands.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { excerpt, table } from "./text.ts";

/** Queries of a file that are under way at a time; each may start a function process of its own. */
const queriesAtOnce = 4;
/** Answers that are waited for in order. */
const queriesAhead = 64;
const documentCharsShown = 80;
const metadataCharsShown = 60;

interface QueryOptions extends FreshnessOptions {
  readonly text?: string;
  readonly id?: string;
  readonly vector?: unknown;
  readonly vectors?: string;
  readonly topK?: number;
  readonly filter?: unknown;
  readonly minScore?: number;
  readonly exclude?: readonly string[];
  readonly include?: readonly string[];
}
type QueryAnswer = { readonly results: readonly QueryResult[] } & Provenance;

export function addQueryCommand(program: Command, run: Runner): void {
  const query = program
    .command("query")
    .description("the nearest records to a text, a record, a vector, or each vector of a file")
    .argument("<name>")
    .option("--text <text>", "text, where the collection has an embedder")
    .option("--id <id>", "the vector of this record")
    .option("--vector <json>", "a list of numbers, or base64 of little-endian float32 as a JSON string", json)
    .option("--vectors <file>", "an fvecs file: one query a row; with --json one line a query")
    .addOption(new Option("--top-k <k>", "results").argParser(integer(0, topKMax)))
    .addOption(filterOption())
    .option("--min-score <score>", "only results that are at least this near", real)
    .option("--exclude <id>", "leave this record out (may be repeated)", several)
    .addOption(includeOption());
  for (const option of freshnessOptions()) query.addOption(option);
  query.action(run(runQuery));
}

async function runQuery(session: Session, name: string, options: QueryOptions): Promise<Outcome> {
  const { text, id, vector, vectors } = options;
  const given = [text, id, vector, vectors].filter((one) => one !== undefined).length;
  if (given !== 1) throw invalid(`give exactly one of --text, --id, --vector and --vectors, got ${given}`);
  const { deployment, collection } = await openNamed(session, name);
  const call = { op: "query", collection: name, ...conditions(options), ...freshness(options) };
  if (vectors !== undefined) {
    const file = await VectorFile.open(vectors, collection.dims);
    return queryFile(session, deployment, call, file).finally(() => file.close());
  }
  const by = text !== undefined ? { text } : id !== undefined ? { id } : { vector };
  const answer = (await deployment.call("query", { ...call, ...by })) as QueryAnswer;
  return {
    value: answer,
    text: `${answer.results.length === 0 ? "no results" : resultTable(answer.results)}\n${provenanceText(answer)}`,
  };
}

function conditions({ topK, filter, minScore, exclude, include }: QueryOptions): object {
  const all = { topK, filter, minScore, excludeIds: exclude, include };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

function resultTable(results: readonly QueryResult[]): string {
  const rows = results.map(({ id, score, distance, document, metadata }, i) => [
    i + 1,
    score.toPrecision(4),
    distance.toPrecision(4),
    id,
    excerpt(document ?? "", documentCharsShown),
    metadata ? excerpt(JSON.stringify(metadata), metadataCharsShown) : "",
  ]);
  return table(["#", "SCORE", "DISTANCE", "ID", "DOCUMENT", "METADATA"], rows);
}

/** One answer a row, in the order of the rows, a bounded number under way. */
async function queryFile(
  session: Session,
  deployment: Deployment,
  call: object,
  file: VectorFile,
): Promise<Outcome> {
  const limit = pLimit(queriesAtOnce);
  const waiting: Promise<QueryAnswer>[] = [];
  const progress = session.progress("query");
  let answered = 0;
  const settleFirst = async () => {
    const answer = await waiting.shift()!;
    session.writeLine(session.json ? JSON.stringify(answer) : answerLine(answered, answer));
    answered += 1;
    progress.update(answered, file.rows, `${answered} of ${file.rows} queries`);
  };
  try {
    for (let row = 0; row < file.rows && !session.interrupted.aborted; row++) {
      const vector = await file.vector(row);
      if (typeof vector === "string") throw invalid(`--vectors: ${vector}`);
      const answer = limit(() =>
        deployment.call("query", { ...call, vector: vectorToBase64(vector) }),
      ) as Promise<QueryAnswer>;
      answer.catch(() => {}); // Awaited in order; a later one may fail first.
      waiting.push(answer);
      if (waiting.length >= queriesAhead) await settleFirst();
    }
    while (waiting.length > 0) await settleFirst();
  } finally {
    limit.clearQueue();
    progress.stop();
  }
  return {
    value: null,
    text: `answered ${answered} of ${file.rows} queries`,
    ...(answered < file.rows ? { exitCode: exitCodes.interrupted } : {}),
  };
}

const answerLine = (row: number, { results }: QueryAnswer): string =>
  `${row}  ${results.map(({ id, score }) => `${id} ${score.toPrecision(4)}`).join("  ") || "no results"}`;

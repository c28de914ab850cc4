/** silt put: one call of the producer function, or several where its records make more than a function takes. */

import { decodeToken, encodeToken } from "../../lib/core/format/token.ts";
import { checkRecords } from "../../lib/core/model/check-records.ts";
import type { Collection } from "../../lib/core/model/collection.ts";
import { SiltstoneError } from "../../lib/core/model/errors.ts";
import type { ProduceAnswer } from "../../lib/engine/write/produce.ts";
import type { Deployment } from "./deployment.ts";

/** What one call of the producer function takes, and a little less. */
export const inputBytesMax = 5_500_000;

/** The records are what the input had, and vectors that were embedded for it, which may be larger. */
export async function putRecords(
  { call, world }: Deployment,
  { name, collection }: { readonly name: string; readonly collection: Collection },
  records: readonly unknown[],
): Promise<ProduceAnswer> {
  const parts = partsOf(records);
  const put = async (part: readonly unknown[]) =>
    (await call("producer", { collection: name, records: part })) as ProduceAnswer;
  if (parts.length === 1) return put(records);
  // A bad record refuses all of them.
  checkRecords(collection, { records }, world.clock.nowMs());
  const answers: ProduceAnswer[] = [];
  for (const part of parts)
    answers.push(await put(part).catch((error: unknown) => fail(answers, parts, error)));
  const deltas = answers.flatMap((answer) => answer.deltas);
  const sum = (value: (answer: ProduceAnswer) => number) =>
    answers.reduce((total, answer) => total + value(answer), 0);
  return {
    token: tokenOf(answers),
    written: sum(({ written }) => written),
    deleted: sum(({ deleted }) => deleted),
    rejected: [],
    deltas,
    notified: answers.every(({ notified }) => notified),
    ...(answers[0]!.alias === undefined ? {} : { alias: answers.at(-1)!.alias! }),
  };
}

/** Of calls that an alias led to two sides, that of the first alone: a read by it is a strong one then, and has the others too. */
function tokenOf(answers: readonly ProduceAnswer[]): string {
  const tokens = answers.map(({ token }) => decodeToken(token));
  const first = tokens[0]!;
  const ofFirst = tokens.filter(({ collectionId }) => collectionId === first.collectionId);
  return encodeToken({ ...first, deltas: ofFirst.flatMap(({ deltas }) => deltas) });
}

function fail(answers: readonly ProduceAnswer[], parts: readonly unknown[][], error: unknown): never {
  if (!(error instanceof SiltstoneError) || answers.length === 0) throw error;
  const written = answers.reduce((sum, answer) => sum + answer.written, 0);
  throw new SiltstoneError(
    "uncertain",
    `${answers.length} of ${parts.length} calls were answered, with ${written} records; repeat the command: ${error.message}`,
    { cause: error },
  );
}

function partsOf(records: readonly unknown[]): unknown[][] {
  const parts: unknown[][] = [[]];
  let bytes = 0;
  for (const record of records) {
    const more = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (bytes + more > inputBytesMax && bytes > 0) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(record);
    bytes += more;
  }
  return parts;
}

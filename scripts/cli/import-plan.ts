/**
 * silt import --plan: what is there, and what would come of it. It reads the source's description and its first rows, and says how
 * many; nothing is written, and the collection need not exist.
 */
import { type Collection, type FieldType, fieldsMax } from "../../lib/core/model/collection.ts";
import { isKind } from "../../lib/core/model/errors.ts";
import { measured } from "../../lib/core/policy/cost/measured.ts";
import { prices } from "../../lib/core/policy/cost/prices.ts";
import { rowBytes } from "../../lib/core/policy/cost/workload.ts";
import type { Selection } from "../../lib/import/import-rows.ts";
import { openCollection } from "./arguments.ts";
import { type EmbeddingEstimate, estimateEmbedding, estimateText } from "./embedding-estimate.ts";
import type { ImportArguments } from "./import-options.ts";
import { look, type Survey } from "./import-survey.ts";
import type { Outcome } from "./outcome.ts";
import type { Session } from "./session.ts";
import { bytes, duration, pairs, plural } from "./text.ts";

/** Lines that are looked at unless --limit says otherwise. */
const linesDefault = 20_000;
/** What an import writes in a second at the most, at 384 dims on two processors (docs/lab/performance.md). */
const writtenPerSecond = 8_000;
const reasonsShownMax = 10;

export async function planImport(
  session: Session,
  name: string,
  selection: Selection,
  { limit = linesDefault }: ImportArguments,
): Promise<Outcome> {
  const description = await selection.source.describe();
  const known = await collectionOf(session, name);
  const startMs = performance.now();
  const seen = await look(known, selection, { description, limit, name });
  const seconds = Math.max(0.001, (performance.now() - startMs) / 1000);
  const { collection } = seen;
  const rows = description.rows ?? (seen.isAll ? seen.lines : null);
  const dims = collection?.dims ?? description.dims;
  const estimate =
    rows === null || dims === null
      ? null
      : estimateOf(rows, dims, seen.bytes / Math.max(1, seen.taken), seen.lines / seconds);
  const embedding = known === null ? null : await estimateEmbedding(session, known, seen);
  const value = {
    collection: name,
    exists: known !== null,
    rows,
    looked: seen.lines,
    dims,
    metric: description.metric,
    norms: seen.taken === 0 ? null : { least: seen.normMin, most: seen.normMax },
    documents: seen.documents,
    documentChars: seen.documentChars,
    namespaces: Object.fromEntries(seen.namespaces),
    repeatedIds: seen.repeated,
    fields: Object.fromEntries(seen.fields()),
    rejected: seen.rejected,
    reasons: Object.fromEntries(seen.reasons),
    notes: description.notes,
    embedding,
    estimate,
  };
  return { value, text: textOf(value, seen), next: nextSteps(name, known, selection, value) };
}

async function collectionOf(session: Session, name: string): Promise<Collection | null> {
  try {
    return (await openCollection(session, name)).collection;
  } catch (error) {
    if (isKind(error, "notFound") || isKind(error, "unavailable")) return null;
    throw error;
  }
}

interface Estimate {
  readonly seconds: number;
  /** Once, for requests and for building the index. */
  readonly dollars: number;
  readonly dollarsPerMonth: number;
  readonly bytes: number;
}

function estimateOf(rows: number, dims: number, recordBytes: number, readPerSecond: number): Estimate {
  const scale = dims / 384;
  const stored = rows * rowBytes({ vectors: rows, dims, recordBytes } as Parameters<typeof rowBytes>[0]);
  const puts = (rows / 2_000) * (measured.producePuts + measured.ingestPuts);
  // A bulk of rows is inserted into a graph about twice until it rests.
  const built = ((rows * 2) / measured.insertRowsPerSecond) * scale * 1.769 * prices.lambdaGbSecondX86;
  return {
    seconds: rows / Math.min(readPerSecond, writtenPerSecond / Math.max(1, scale)),
    dollars: (puts / 1e6) * prices.s3PutPerMillion + built,
    dollarsPerMonth: (stored / 1e9) * prices.s3GbMonth,
    bytes: stored,
  };
}

type PlanValue = {
  readonly rows: number | null;
  readonly looked: number;
  readonly dims: number | null;
  readonly metric: string | null;
  readonly norms: { readonly least: number; readonly most: number } | null;
  readonly repeatedIds: number;
  readonly rejected: number;
  readonly notes: readonly string[];
  readonly embedding: EmbeddingEstimate | null;
  readonly estimate: Estimate | null;
};

function textOf(plan: PlanValue, seen: Survey): string {
  const { norms, estimate } = plan;
  const facts = pairs({
    rows: plan.rows ?? "not known before all of it is read",
    looked: `${plural(plan.looked, "line")}${seen.isAll ? ", which is all" : " (more with --limit N)"}`,
    dims: plan.dims ?? "not known",
    metric: plan.metric ?? "the source does not say",
    norms: norms === null ? "none" : `${norms.least.toPrecision(4)} to ${norms.most.toPrecision(4)}`,
    documents: `${seen.documents} with ${seen.documentChars} characters, about ${Math.ceil(seen.documentChars / 4)} tokens if they are embedded`,
    ...(seen.namespaces.size > 0
      ? {
          namespaces: [...seen.namespaces]
            .map(([name, rows]) => `${JSON.stringify(name)} (${rows})`)
            .join(" "),
        }
      : {}),
    "repeated ids": plan.repeatedIds,
    fields:
      seen
        .fields()
        .map(([name, { type }]) => `${name}:${type ?? "mixed"}`)
        .join(" ") || "none",
    rejected: plan.rejected,
    ...(plan.embedding === null ? {} : { embedding: estimateText(plan.embedding) }),
    ...(estimate === null
      ? {}
      : {
          time: `about ${duration(estimate.seconds * 1000)}`,
          cost: `about $${estimate.dollars.toFixed(2)} once and $${estimate.dollarsPerMonth.toFixed(2)} a month for ${bytes(estimate.bytes)} in S3, in a stack of AWS`,
        }),
  });
  const reasons = [...seen.reasons].sort(([, a], [, b]) => b - a).slice(0, reasonsShownMax);
  return [
    facts,
    ...reasons.map(([reason, rows]) => `  ${rows} × ${reason}`),
    ...plan.notes.map((note) => `note: ${note}`),
  ].join("\n");
}

function nextSteps(
  name: string,
  known: Collection | null,
  { source }: Selection,
  plan: PlanValue & {
    readonly fields: Readonly<Record<string, { type: FieldType | null; canBeDeclared: boolean }>>;
  },
): string[] {
  const differs = known !== null && plan.metric !== null && known.metric !== plan.metric;
  const declared = Object.entries(plan.fields)
    .filter(([, { canBeDeclared }]) => canBeDeclared)
    .slice(0, fieldsMax)
    .map(([field, { type }]) => ` --field ${field}:${type}`);
  return [
    ...(differs
      ? [`the source compares by ${plan.metric}, collection ${name} by ${known.metric}: scores will differ`]
      : []),
    ...(known === null && plan.dims !== null
      ? [
          `create it (declare only what is filtered by): silt collection create ${name} --dims ${plan.dims} ` +
            `--metric ${plan.metric ?? "cosine"}${declared.join("")}`,
        ]
      : []),
    ...(source.repeatsReplace && plan.repeatedIds > 0
      ? ["of an id that is repeated the last row counts"]
      : []),
    "import it: the same command without --plan",
  ];
}

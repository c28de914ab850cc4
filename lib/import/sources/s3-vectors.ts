/**
 * An index of Amazon S3 Vectors, listed in segments side by side: pages come from each segment in turn, and a cursor is the place in
 * each. The order is the same whenever nothing is written meanwhile.
 */
import type { Metric } from "../../core/model/collection.ts";
import { invalid } from "../../core/model/errors.ts";
import {
  type Cursor,
  type FieldNames,
  type ImportSource,
  ownFields,
  type SourceDescription,
  type SourceItem,
  type SourcePage,
} from "../source.ts";

const segments = 4;
const metricOf: Readonly<Record<string, Metric>> = { cosine: "cosine", euclidean: "l2" };

export interface ListedVector {
  readonly key: string;
  readonly values: readonly number[] | null;
  readonly metadata: Readonly<Record<string, unknown>> | null;
}

/** S3 Vectors, as far as it is needed here. */
export interface S3Vectors {
  index(bucket: string, name: string): Promise<{ dims: number; metric: string; createdAt: string }>;
  list(
    bucket: string,
    name: string,
    place: { segment: number; segments: number; token: string | null },
  ): Promise<{ vectors: readonly ListedVector[]; token: string | null }>;
}

export class S3VectorsIndex implements ImportSource {
  readonly fields: FieldNames = { ...ownFields, document: "text" };
  readonly repeatsReplace = false;
  readonly givesVersions = false;
  readonly #store: S3Vectors;
  readonly #bucket: string;
  readonly #name: string;

  /** `BUCKET/INDEX`. */
  constructor(store: S3Vectors, location: string) {
    const [bucket, name, ...others] = location.split("/");
    if (!bucket || !name || others.length > 0)
      throw invalid(`s3vectors:${location}: say s3vectors:BUCKET/INDEX`);
    this.#store = store;
    this.#bucket = bucket;
    this.#name = name;
  }

  async describe(): Promise<SourceDescription> {
    const { dims, metric, createdAt } = await this.#store.index(this.#bucket, this.#name);
    const identity = `${this.#bucket}/${this.#name} ${createdAt}`;
    return { rows: null, dims, metric: metricOf[metric] ?? null, notes: [], identity };
  }

  async *pages(after: Cursor | null): AsyncGenerator<SourcePage> {
    /** By segment: where it goes on; undefined where it has not begun, null where it has ended. */
    const tokens: (string | null | undefined)[] = Array.from(
      { length: segments },
      (_, i) => after?.[`s${i}`],
    ) as never;
    const ask = (segment: number) => {
      const token = tokens[segment] ?? null;
      const asked = this.#store.list(this.#bucket, this.#name, { segment, segments, token });
      // Awaited in its turn; an earlier one may fail first.
      asked.catch(() => {});
      return asked;
    };
    const asked = tokens.map((token, segment) => (token === null ? null : ask(segment)));
    let turn = Number(after?.turn ?? 0);
    while (asked.some((one) => one !== null)) {
      for (let turns = 0; turns < segments; turns++) {
        const segment = turn;
        turn = (turn + 1) % segments;
        const answer = await asked[segment];
        if (answer == null) continue;
        tokens[segment] = answer.token;
        asked[segment] = answer.token === null ? null : ask(segment);
        const items = answer.vectors.map(itemOf);
        const places = tokens.flatMap((token, i) => (token === undefined ? [] : [[`s${i}`, token]]));
        if (items.length > 0)
          yield { items, cursor: { ...Object.fromEntries(places), turn } as Cursor, progress: null };
      }
    }
  }

  async close(): Promise<void> {}
}

const itemOf = ({ key, values, metadata }: ListedVector): SourceItem => ({
  at: `vector ${JSON.stringify(key)}`,
  row: { id: key, vector: values, metadata: metadata ?? {} },
});

/** What every import source keeps to, whatever it reads (lib/import/source.ts): one suite over all of them. */
import { checkRecords } from "../../lib/core/model/check-records.ts";
import { newCollection } from "../../lib/core/model/collection.ts";
import type { DeltaRow } from "../../lib/core/model/row.ts";
import { metRows } from "../../lib/import/import-rows.ts";
import type { Shape } from "../../lib/import/shape-row.ts";
import type { Cursor, ImportSource, SourcePage } from "../../lib/import/source.ts";
import { vectorOf } from "../cli/vectors.ts";

export const dims = 4;
/** More than a page. */
export const rowCount = 1_200;

/** What the fixtures of all sources hold. */
export interface ExpectedRow {
  readonly id: string;
  readonly vector: number[];
  readonly document: string | null;
  readonly metadata: Record<string, string | number | boolean | string[]>;
}
export const expectedRow = (n: number): ExpectedRow => ({
  id: `notes/${n}`,
  vector: Array.from(Float32Array.from(vectorOf(n, dims))),
  document: `Ünïcode 漢字 🪨 ${n}, "quoted"\nand a second line`,
  metadata: { kind: n % 2 ? "odd" : "even", n, f: n / 4, ok: n % 3 === 0 },
});
export const expectedRows = (count = rowCount): ExpectedRow[] =>
  Array.from({ length: count }, (_, n) => expectedRow(n));

export interface SourceCase {
  readonly name: string;
  /** A source of `rows`, opened anew each time. */
  open(): Promise<ImportSource>;
  /** @default expectedRows() */
  readonly rows?: readonly ExpectedRow[];
  /** What this format cannot keep: by default nothing. */
  readonly expected?: (row: ExpectedRow, n: number) => Partial<ExpectedRow>;
  readonly shape?: Partial<Shape>;
  /** How far components may be from those of `rows`, which the source itself rounds. @default 0 */
  readonly rounding?: number;
  readonly metric?: "cosine" | "l2" | "ip" | null;
}

export async function readAll(source: ImportSource, after: Cursor | null = null): Promise<SourcePage[]> {
  const pages: SourcePage[] = [];
  for await (const page of source.pages(after)) pages.push(page);
  return pages;
}

/** The rows of pages as the engine takes them. */
export async function rowsOf(
  source: ImportSource,
  pages: readonly SourcePage[],
  shape: Partial<Shape> = {},
  ofDims = dims,
): Promise<DeltaRow[]> {
  const whole: Shape = {
    fields: source.fields,
    renamed: new Map(),
    only: null,
    nested: "reject",
    reEmbed: false,
    ids: new Map(),
    newIds: new Set(),
    deriveIds: null,
    ...shape,
  };
  const rows: DeltaRow[] = [];
  let n = 0;
  const collection = newCollection({ name: "docs", dims: ofDims, metric: "l2" }, "id", 0);
  for (const { items } of pages) {
    const met = metRows(collection, { shape: whole, namespace: null }, items, n);
    n += items.length;
    for (const { at, found } of met) {
      if (found.kind === "faulty") throw new Error(`${at}: ${found.fault.field} ${found.fault.reason}`);
      rows.push(...checkRecords(collection, { records: [found.record] }, 0).rows);
    }
  }
  return rows;
}

export function describeSource(sourceCase: SourceCase): void {
  const {
    name,
    expected = (row) => row,
    shape = {},
    rounding = 0,
    rows: wanted = expectedRows(),
  } = sourceCase;
  describe(name, () => {
    let source: ImportSource;
    beforeEach(async () => {
      source = await sourceCase.open();
    });
    afterEach(() => source.close());

    test("gives every row once, as it is", async () => {
      const pages = await readAll(source);
      const rows = await rowsOf(source, pages, shape, wanted[0]!.vector.length);
      expect(rows).toHaveLength(wanted.length);
      const wrong = rows.flatMap((row, n) => {
        const found = {
          id: row.id,
          vector: Array.from(row.vector!),
          document: row.document,
          metadata: JSON.parse(row.metadata ?? "{}") as object,
        };
        const right = { ...found, ...expected(wanted[n]!, n) };
        if (found.vector.every((value, i) => Math.abs(value - right.vector[i]!) <= rounding))
          right.vector = found.vector;
        return JSON.stringify(sorted(found)) === JSON.stringify(sorted(right)) ? [] : [{ found, right }];
      });
      expect(wrong.slice(0, 2)).toEqual([]);
    });

    test("goes on behind every page, in the same order", async () => {
      const pages = await readAll(source);
      expect(pages.length).toBeGreaterThan(1);
      const places = (of: readonly SourcePage[]) => of.flatMap(({ items }) => items.map(({ at }) => at));
      for (const [i, { cursor }] of pages.entries()) {
        // A resume point is a file: what comes out of JSON is what goes on.
        const rest = await readAll(source, JSON.parse(JSON.stringify(cursor)) as Cursor);
        expect(places(rest)).toEqual(places(pages.slice(i + 1)));
      }
    });

    test("describes itself without reading its rows", async () => {
      const { rows, dims: said, metric } = await source.describe();
      expect([null, wanted.length]).toContain(rows);
      expect([null, wanted[0]!.vector.length]).toContain(said);
      expect(metric).toBe(sourceCase.metric ?? null);
    });

    test("ends where its reader stops", async () => {
      for await (const page of source.pages(null)) {
        expect(page.items.length).toBeGreaterThan(0);
        break;
      }
    });
  });
}

const sorted = (row: ExpectedRow | Record<string, unknown>): unknown => ({
  ...row,
  metadata: Object.entries(row.metadata as object).sort(([a], [b]) => (a < b ? -1 : 1)),
});

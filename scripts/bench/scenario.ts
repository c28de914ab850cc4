/**
 * What a benchmark is: a name, two sizes, and a run that gives tables and checks. The tiny size runs in `npm test`, so
 * that no scenario can rot; what it measures means nothing.
 */

export type Cell = string | number;

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
}

/** A target with what was measured; `met` is the bench's own judgement, printed beside both. */
export interface Check {
  readonly target: string;
  readonly measured: Cell;
  readonly met: boolean;
  /** It compares counts (requests, bytes, answers), which no machine changes, and holds at the tiny size: a test asserts it. */
  readonly counted?: boolean;
}

export interface Result {
  readonly tables: readonly Table[];
  readonly checks: readonly Check[];
}

/** Where a run says what it is doing. */
export type Log = (line: string) => void;

export interface Scenario<Size extends { readonly rows: number }> {
  readonly name: string;
  readonly about: string;
  readonly full: Size;
  readonly tiny: Size;
  run(size: Size, log: Log): Promise<Result>;
}

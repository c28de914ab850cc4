/** What came of an import, in words and as a value. */
import type { Imported } from "../../lib/import/import-rows.ts";
import type { RejectsFile } from "../../lib/import/rejects-file.ts";
import { exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import { duration, plural } from "./text.ts";
import type { Verified } from "./verify-imported.ts";

export interface ImportEnd extends Imported {
  readonly rejects: RejectsFile;
  readonly ingested: { readonly quarantined: number } | null;
  readonly verified: Verified | null;
  readonly interrupted: boolean;
  readonly milliseconds: number;
  readonly unused: number;
}

export function importOutcome(name: string, imported: ImportEnd): Outcome {
  const { lines, written, deltas, rejects, ingested, verified, interrupted } = imported;
  const { milliseconds, unused, repeated, resumedAt, embedded } = imported;
  const rejected = rejects.rows;
  const differ = verified?.differing ?? 0;
  const isOther = verified?.complete === true && verified.isWhole && verified.linesRead !== lines;
  const parts = [
    `${interrupted ? "interrupted: " : ""}wrote ${plural(written, "row")} in ${plural(deltas.length, "delta")}`,
    `${plural(lines, "line")} in ${duration(milliseconds)}`,
    ...(embedded.texts > 0
      ? [
          `${plural(embedded.texts, "text")} embedded${embedded.tokens > 0 ? `, ${plural(embedded.tokens, "token")}` : ""}`,
        ]
      : []),
  ];
  const text = [
    parts.join("; "),
    ...(resumedAt > 0 ? [`went on behind line ${resumedAt}, where an earlier run was ended`] : []),
    ...(repeated > 0 ? [`${plural(repeated, "row")} replaced an earlier one of the same id`] : []),
    ...(ingested ? ["all of it is ingested and seen by every reader"] : []),
    ...(unused > 0 ? [`${unused} vectors at the end of --vectors have no line and were not used`] : []),
    ...(rejected > 0 ? [`REJECTED ${plural(rejected, "row")}; each with its reason in ${rejects.path}`] : []),
    ...rejects.examples.map(({ at, id, problems: [first] }) => {
      return `  ${at}${id === undefined ? "" : ` (${id})`}: ${first?.field} ${first?.reason}`;
    }),
    ...(verified === null ? [] : verified.lines),
    ...(isOther
      ? [
          `the second reading found ${plural(verified.linesRead, "line")}: the source changed meanwhile, import again`,
        ]
      : []),
  ].join("\n");
  const next = [
    ...(interrupted ? ["go on: run the same command again; rows that are there already change nothing"] : []),
    ...(rejected > 0
      ? [`mend the records in that file, and import it: silt import ${name} --from records:FILE`]
      : []),
    ...(ingested === null && written > 0
      ? [`it is durable now, and ingested by the next run of the compactor (at once: silt compact ${name})`]
      : []),
    ...(written > 0
      ? [`count it: silt count ${name}${ingested === null ? " --consistency strong" : ""}`]
      : []),
  ];
  const exitCode =
    interrupted || verified?.complete === false
      ? exitCodes.interrupted
      : rejected > 0 || differ > 0 || isOther || (ingested?.quarantined ?? 0) > 0
        ? exitCodes.failure
        : exitCodes.ok;
  const value = {
    collection: name,
    lines,
    written,
    deltas: deltas.length,
    rejected,
    rejectsFile: rejected > 0 ? rejects.path : null,
    repeated,
    resumedAt,
    embedded,
    vectorsUnused: unused,
    merged: ingested !== null,
    verified: verified === null ? null : { equal: verified.equal, differing: differ },
    interrupted,
    milliseconds,
  };
  return { value, text, next, exitCode };
}

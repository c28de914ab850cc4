/** silt doctor: everything that can be wrong with a store, looked at once; each finding with what to do about it. */
import type { Command } from "commander";
import { type ErrorKind, isKind } from "../../lib/core/model/errors.ts";
import { openCollection } from "./arguments.ts";
import { checks, type Finding } from "./doctor-checks.ts";
import { type ExitCode, exitCodes } from "./exit-code.ts";
import type { Outcome } from "./outcome.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import { type StoreState, storeState } from "./store-state.ts";
import { plural, table } from "./text.ts";

export function addDoctorCommand(program: Command, run: Runner): void {
  program
    .command("doctor")
    .description(
      "look at everything that can be wrong, with a real query, and say what to do about each finding",
    )
    .argument("[name]", "one collection; all by default")
    .action(run(doctor));
}

const marks = { ok: "ok", wrong: "WRONG", skipped: "-" } as const;

async function doctor(session: Session, name: string | undefined): Promise<Outcome> {
  await session.open();
  // A name that is none is the caller's mistake, and not the store's.
  if (name !== undefined)
    await openCollection(session, name).catch((error: unknown) => {
      if (isKind(error, "notFound") || isKind(error, "invalid")) throw error;
    });
  let known: Promise<StoreState> | null = null;
  const state = (): Promise<StoreState> => {
    known ??= storeState(session, name);
    return known;
  };
  const findings: Finding[] = [];
  const progress = session.progress("doctor");
  try {
    for (const [i, check] of checks.entries()) {
      progress.update(i, checks.length, check.name);
      findings.push(...(await check.look(session, state)));
    }
  } finally {
    progress.stop();
  }
  const wrong = findings.filter(({ result }) => result === "wrong");
  return {
    value: { ok: wrong.length === 0, findings },
    text: [
      table(
        ["CHECK", "", "FOUND"],
        findings.map(({ check, result, found }) => [check, marks[result], found]),
      ),
      "",
      wrong.length === 0
        ? "nothing is wrong, as far as this looks"
        : `${plural(wrong.length, "thing")} to mend`,
    ].join("\n"),
    next: [...new Set(wrong.flatMap(({ advice }) => advice ?? []))],
    exitCode: exitCodeOfFindings(wrong),
  };
}

/** Damage outranks a right that is missing, and that the rest. */
function exitCodeOfFindings(wrong: readonly Finding[]): ExitCode {
  const isOf = (kind: ErrorKind) => wrong.some((finding) => finding.kind === kind);
  if (wrong.length === 0) return exitCodes.ok;
  if (isOf("corrupt")) return exitCodes.corrupt;
  return wrong.some(({ refusal }) => refusal === "denied") ? exitCodes.denied : exitCodes.failure;
}
